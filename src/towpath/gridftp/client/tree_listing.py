"""Stub."""
import posixpath
from collections import deque
from typing import NamedTuple
from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.errors import GridFTPError, Kind
class Listed(NamedTuple):
    entries: list[Entry]
    failed: list[tuple[str, GridFTPError]]
async def list_tree(open_session, root, *, security, sessions=3):
    s = await open_session()
    e = await s.stat(root)
    if not e.is_directory: raise GridFTPError(Kind.NOT_A_DIRECTORY, "x", "", root)
    w = deque([""])
    while w:
        r = w.popleft()
        async for b in s.list(posixpath.join(root, r)):
            es=[x._replace(name=posixpath.join(r,x.name)) for x in b]
            w.extend(x.name for x in es if x.is_directory and x.link_target is None)
            yield Listed(es, [])
    await s.close()
