"""What a person's access rules come to at the server that a guest collection is on. Pure.

The service holds each path against the rules before it sends anything, and the server is told of
them as well: an agent by the prefixes of a grant, another server by a restriction of the session.
"""

from collections.abc import Sequence
from typing import Final

from towpath.grants import Prefix
from towpath.gridftp.wire import commands
from towpath.transfer.rights import Reach

MOST_PLACES: Final = 64
"""Directories that a server is told of for one person. Servers look through all of them for each
command; and a person who needs more of them would rather have one above."""
MOST_BYTES: Final = 16 * 1024
"""Of them together: what a grant has room for, and what GCT takes as one command."""


class TooManyPlaces(ValueError):  # noqa: N818 - reads as what it says
    """A person's rules name more directories than a server is told of."""


def places(reach: Reach, root: str, *, writes: bool = True) -> tuple[Prefix, ...]:
    """The directories at the server, and whether they may be changed; the longest one that fits a
    path holds. `root`: where the guest collection is there. Raises `TooManyPlaces`.

    `writes`: False to take only the right to read.
    """
    writable = set(reach.writable) if writes else set()
    found = {_below(root, place): place in writable for place in reach.readable}
    for place in writable:
        found[_below(root, place)] = True
    if len(found) > MOST_PLACES or sum(map(_size, found)) > MOST_BYTES:
        raise TooManyPlaces(f"{len(found)} directories; a server is told of {MOST_PLACES} at most")
    return tuple(Prefix(path, found[path]) for path in sorted(found))


def _below(root: str, place: str) -> str:
    return f"{root}{place}".rstrip("/") or "/"


def _size(path: str) -> int:
    return len(path.encode("utf-8", "surrogateescape"))


def restriction(prefixes: Sequence[Prefix]) -> str:
    """The same as `SITE RESTRICT` wants it."""
    return commands.restriction(prefixes)


def outside(reach: Reach, paths: Sequence[str], *, writes: bool) -> str | None:
    """The first of these (absolute wire paths of the collection) that may not be read, or changed;
    None: there is none."""
    allowed = reach.writes if writes else reach.reads
    return next((path for path in paths if not allowed(path)), None)
