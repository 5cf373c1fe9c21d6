"""GridFTP in pure Python: the wire, its security, and a client. Usable by itself.

The room knows nothing of the rest of the package: `wire` is pure and does no I/O, `security` stands
on it, `client` on both. Errors of all three are `towpath.gridftp.errors.GridFTPError`.
"""
