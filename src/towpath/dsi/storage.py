"""What a server stores to: the interface of a storage ("data storage interface", DSI).

A storage is synchronous and is called from threads. One storage serves one session, or several of
one account; every method may be called from several threads at once. Paths are absolute and
virtual: bytes that begin with ``/``, are made of names joined by single ``/``, and hold neither
``.`` nor ``..`` nor NUL; ``/`` is the root that the storage presents. Names are bytes, and a
storage changes none.

Everything that fails raises `OSError`, and its ``errno`` says what: ENOENT, EACCES, ENOSPC, EDQUOT,
... What a storage cannot do at all raises ENOTSUP (`Capabilities` says so beforehand).

Symbolic links are told of as GCT does it: an entry that is a link has the type and size of what it
leads to, and a link that leads nowhere, or out of the root, does not exist; only `remove_file`,
`remove_tree` and `rename` act on the link itself.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from towpath.dsi.rules import Rules

Bytes: TypeAlias = bytes | bytearray | memoryview


class EntryType(StrEnum):
    """What an entry is, in the words of MLSx (RFC 3659, 7.5.1)."""

    FILE = "file"
    DIRECTORY = "dir"
    OTHER = "other"
    """A pipe, a socket or a device: told of, and never opened."""


class Facts(Enum):
    """How much of an entry is wanted; less may be cheaper."""

    TYPE = "type"
    """`Status.type` only, and whether it is a link; the rest is left at its defaults."""
    ALL = "all"


class Status(NamedTuple):
    """What is known of a file or directory. For a link: of what it leads to."""

    type: EntryType
    size: int = 0
    """Bytes."""
    modified: int = 0
    """Unix seconds."""
    mode: int = 0
    """Permission bits: at most 0o7777."""
    uid: int = 0
    gid: int = 0
    owner: str = ""
    """A name; the number as text, if no name is known."""
    group: str = ""
    unique: str = ""
    """Equal for two names of one file, and different for two files ("device-inode" in hex)."""
    links: int = 1
    """Hard links."""
    link_target: bytes | None = None
    """For a link: the virtual path, all links resolved, that it leads to."""
    perm: str = ""
    """What the account may do: letters of RFC 3659, 7.5.5, in the order of GCT (``awr``,
    ``cfmpel``)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a storage can do besides storing whole files in directories."""

    random_writes: bool = True
    """Offsets in any order, and into a file that is there already."""
    rename: bool = True
    links: bool = True
    """`make_link`."""
    modes: bool = True
    """`set_mode`."""
    groups: bool = True
    """`set_group`."""
    modified: bool = True
    """`set_modified`, and `Writer.finish` with a time."""
    truncate: bool = True


class PathNotAllowedError(PermissionError):
    """A rule of the server forbids the path. Not the file system: to ask again is useless."""

    def __init__(self, path: bytes, *, writing: bool = False) -> None:
        """`writing`: it was to be changed, perhaps besides being read."""
        super().__init__(errno.EACCES, "Path not allowed", path)
        self.writing = writing


class Reader(Protocol):
    """A file that is open for reading. Any thread may read, several at once."""

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""

    def fileno(self) -> int | None:
        """A regular file that the kernel can send from (sendfile); None: use `read_into`."""

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """Read at `offset` into `view`, and return how many bytes; 0 only at the end."""

    def close(self) -> None:
        """Let go of it. May be called twice."""


class Writer(Protocol):
    """A file that is open for writing. Any thread may write, several at once."""

    def fileno(self) -> int | None:
        """A regular file that may be written to directly (pwrite); None: use `write`."""

    def write(self, view: Bytes, offset: int) -> None:
        """Write all of `view` at `offset`."""

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """Read back what was written, as `Reader.read_into`; ENOTSUP unless opened so."""

    def finish(self, *, modified: int | None, durable: bool) -> None:
        """The close that counts: all is stored, with the time `modified` (unix s) if one is given.

        With `durable` both the file and its name are on the disk when this returns. Closes in any
        case.
        """

    def close(self) -> None:
        """Give up. What was written stays: it can be resumed. No-op after `finish`."""


class Storage(Protocol):
    """A tree of files and directories."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def restricted(self, rules: Rules) -> Storage:
        """The same storage, for which `rules` hold besides those that held before.

        ValueError: they are too many.
        """

    def status(self, path: bytes, *, facts: Facts = Facts.ALL) -> Status:
        """What `path` is; links are followed."""

    def entries(self, path: bytes, *, facts: Facts = Facts.ALL) -> Iterator[tuple[bytes, Status]]:
        """The names in a directory and what they are, in no order, without ``.`` and ``..``.

        Streams: memory does not grow with the directory. What vanishes meanwhile is left out. The
        directory is opened by the call, so that this raises what is to be raised before a reply is
        sent; whoever stops early closes the iterator.
        """

    def open_reader(self, path: bytes) -> Reader:
        """Open a file for reading: EISDIR for a directory, EINVAL for what is no file."""

    def open_writer(self, path: bytes, *, truncate: bool, readable: bool = False) -> Writer:
        """Open a file for writing, and create it if it is not there; `truncate`: empty it.

        `readable`: the writer's `read_into` is wanted. A file that is not emptied must be one that
        may be read, then.
        """

    def make_directory(self, path: bytes) -> None:
        """Make a directory in one that is there: EEXIST, ENOENT."""

    def remove_file(self, path: bytes) -> None:
        """Remove a file, or a link itself: EISDIR for a directory."""

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory: ENOTEMPTY, ENOTDIR."""

    def remove_tree(self, path: bytes, *, aborted: Callable[[], bool] = lambda: False) -> None:
        """Remove a directory and all that is in it; links are removed, never followed.

        ECANCELED soon after `aborted` becomes true; what is gone is gone.
        """

    def rename(self, old: bytes, new: bytes) -> None:
        """Give another name; a file that has it already is replaced, in one step."""

    def set_modified(self, path: bytes, modified: int) -> None:
        """Set the time of the last change, in unix seconds."""

    def set_mode(self, path: bytes, mode: int) -> None:
        """Set permission bits. EPERM: a file would run as its owner or group, whoever runs it."""

    def set_group(self, path: bytes, group: str) -> None:
        """Set the group: a name, or a number as text. EINVAL if there is none of this name."""

    def make_link(self, target: bytes, path: bytes) -> None:
        """Make a symbolic link at `path`. `target`: relative to its directory, and kept as it is;
        or a virtual path."""

    def truncate(self, path: bytes, size: int) -> None:
        """Cut a file to `size` bytes; EINVAL if it is shorter."""
