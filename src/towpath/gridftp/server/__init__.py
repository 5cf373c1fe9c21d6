"""A GridFTP server on any storage of `towpath.dsi`."""
