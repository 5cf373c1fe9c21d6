"""A tree in memory: the smallest whole storage, for tests and as a pattern for new ones."""

# ruff: noqa: ARG002 - the parameters are those of the interface

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from towpath.dsi.rules import FREE, Access, Rules
from towpath.dsi.storage import (
    Bytes,
    Capabilities,
    EntryType,
    Facts,
    Status,
)

_numbers: Final = count(1)


@dataclass
class _Node:
    modified: int
    content: bytearray | None = None
    children: dict[bytes, _Node] = field(default_factory=dict)
    mode: int = 0o644
    number: int = field(default_factory=lambda: next(_numbers))


class MemoryStorage:
    """Files in memory, without links, owners and groups. Full (ENOSPC) at `capacity` bytes."""

    capabilities: Final = Capabilities(links=False, groups=False)

    def __init__(self, capacity: int = 1 << 26, clock: Callable[[], float] = time.time) -> None:
        """An empty tree."""
        self._clock = clock
        self._root = _Node(int(clock()), mode=0o755)
        self._free = [capacity]
        self._lock = threading.RLock()
        self._rules = FREE

    def restricted(self, rules: Rules) -> MemoryStorage:
        """See `Storage`."""
        other = object.__new__(MemoryStorage)
        other.__dict__.update(self.__dict__, _rules=self._rules.and_also(rules))
        return other

    def status(self, path: bytes, *, facts: Facts = Facts.ALL) -> Status:
        """See `Storage`."""
        self._rules.demand(path, Access.ENTER)
        return self._status(path, self._find(path))

    def entries(self, path: bytes, *, facts: Facts = Facts.ALL) -> Iterator[tuple[bytes, Status]]:
        """See `Storage`."""
        self._rules.demand(path, Access.ENTER)
        with self._lock:
            found = list(self._directory(path).children.items())
        prefix = path.rstrip(b"/") + b"/"
        return (
            (name, self._status(prefix + name, node))
            for name, node in found
            if self._rules.access(prefix + name)
        )

    def open_reader(self, path: bytes) -> MemoryFile:
        """See `Storage`."""
        self._rules.demand(path, Access.READ)
        node = self._find(path)
        if node.content is None:
            raise _error(errno.EISDIR, path)
        return MemoryFile(self, node)

    def open_writer(self, path: bytes, *, truncate: bool, readable: bool = False) -> MemoryFile:
        """See `Storage`. What was written can always be read back."""
        if readable and not truncate:
            self._rules.demand(path, Access.READ)
        with self._lock:
            node = self._place(path)[0].children.get(_name(path))
            if node is None:
                node = _Node(int(self._clock()), bytearray())
                self._directory(_above(path)).children[_name(path)] = node
            if node.content is None:
                raise _error(errno.EISDIR, path)
            if truncate:
                self.resize(node, 0)
        return MemoryFile(self, node)

    def make_directory(self, path: bytes) -> None:
        """See `Storage`."""
        with self._lock:
            parent, name = self._place(path)
            if name in parent.children:
                raise _error(errno.EEXIST, path)
            parent.children[name] = _Node(int(self._clock()), mode=0o755)

    def remove_file(self, path: bytes) -> None:
        """See `Storage`."""
        with self._lock:
            parent, name = self._place(path)
            node = self._find(path)
            if node.content is None:
                raise _error(errno.EISDIR, path)
            self._free[0] += len(node.content)
            del parent.children[name]

    def remove_directory(self, path: bytes) -> None:
        """See `Storage`."""
        with self._lock:
            parent, name = self._place(path)
            if self._directory(path).children:
                raise _error(errno.ENOTEMPTY, path)
            del parent.children[name]

    def remove_tree(self, path: bytes, *, aborted: Callable[[], bool] = lambda: False) -> None:
        """See `Storage`."""
        self._rules.demand_below(path, Access.WRITE)
        with self._lock:
            for name, node in list(self._directory(path).children.items()):
                if aborted():
                    raise _error(errno.ECANCELED, path)
                below = path.rstrip(b"/") + b"/" + name
                if node.content is None:
                    self.remove_tree(below, aborted=aborted)
                else:
                    self.remove_file(below)
            self.remove_directory(path)

    def rename(self, old: bytes, new: bytes) -> None:
        """See `Storage`."""
        self._rules.demand_below(new, Access.WRITE)
        shown = Access.READ if self._rules.may_show(new) else Access.NONE
        self._rules.demand_below(old, Access.WRITE | shown)
        with self._lock:
            old_parent, old_name = self._place(old)
            node = self._find(old)
            parent, name = self._place(new)
            replaced = parent.children.get(name)
            if replaced is node:
                return
            if (new + b"/").startswith(old + b"/"):
                raise _error(errno.EINVAL, new)
            if replaced is not None:
                if replaced.content is not None and node.content is None:
                    raise _error(errno.ENOTDIR, new)
                (self.remove_directory if replaced.content is None else self.remove_file)(new)
            del old_parent.children[old_name]
            parent.children[name] = node

    def set_modified(self, path: bytes, modified: int) -> None:
        """See `Storage`."""
        self._rules.demand(path, Access.WRITE)
        if abs(modified) > 1 << 33:
            raise _error(errno.EINVAL, path)
        self._find(path).modified = modified

    def set_mode(self, path: bytes, mode: int) -> None:
        """See `Storage`."""
        self._rules.demand(path, Access.WRITE)
        self._find(path).mode = mode & 0o7777

    def set_group(self, path: bytes, group: str) -> None:
        """Not here."""
        raise _error(errno.ENOTSUP, path)

    def make_link(self, target: bytes, path: bytes) -> None:
        """Not here."""
        raise _error(errno.ENOTSUP, path)

    def truncate(self, path: bytes, size: int) -> None:
        """See `Storage`."""
        self._rules.demand(path, Access.WRITE)
        with self._lock:
            node = self._find(path)
            if node.content is None:
                raise _error(errno.EISDIR, path)
            if len(node.content) < size:
                raise _error(errno.EINVAL, path)
            self.resize(node, size)

    def resize(self, node: _Node, size: int) -> None:
        """Give a file another size, with zeros where it grows."""
        assert node.content is not None
        with self._lock:
            grown = size - len(node.content)
            if grown > self._free[0]:
                raise _error(errno.ENOSPC, b"")
            self._free[0] -= grown
            if grown > 0:
                node.content.extend(bytes(grown))
            else:
                del node.content[size:]
            node.modified = int(self._clock())

    def store(self, node: _Node, view: Bytes, offset: int) -> None:
        """Write into a file."""
        assert node.content is not None
        with self._lock:
            end = offset + len(view)
            if end >= 1 << 63:
                raise _error(errno.EFBIG, b"")
            if end > len(node.content):
                self.resize(node, end)
            node.content[offset:end] = view
            node.modified = int(self._clock())

    def _status(self, path: bytes, node: _Node) -> Status:
        access = self._rules.access(path)
        if node.content is None:
            perm = ("cfmp" if Access.WRITE in access else "") + "el"
            return Status(
                EntryType.DIRECTORY,
                0,
                node.modified,
                node.mode,
                unique=f"{node.number:x}",
                perm=perm,
            )
        perm = ("aw" if Access.WRITE in access else "") + ("r" if Access.READ in access else "")
        size, unique = len(node.content), f"{node.number:x}"
        return Status(EntryType.FILE, size, node.modified, node.mode, unique=unique, perm=perm)

    def _find(self, path: bytes) -> _Node:
        node = self._root
        for name in path.split(b"/"):
            if name:
                if node.content is not None:
                    raise _error(errno.ENOTDIR, path)
                if name not in node.children:
                    raise _error(errno.ENOENT, path)
                node = node.children[name]
        return node

    def _directory(self, path: bytes) -> _Node:
        node = self._find(path)
        if node.content is not None:
            raise _error(errno.ENOTDIR, path)
        return node

    def _place(self, path: bytes) -> tuple[_Node, bytes]:
        """The directory that holds a path that is to be changed, and the name in it."""
        self._rules.demand(path, Access.WRITE)
        if path == b"/":
            raise _error(errno.EBUSY, path)
        if b"\0" in path:
            raise _error(errno.EINVAL, path)
        return self._directory(_above(path)), _name(path)


class MemoryFile:
    """An open file: a `Reader` and a `Writer`."""

    def __init__(self, storage: MemoryStorage, node: _Node) -> None:
        """Open a file of a storage."""
        assert node.content is not None
        self._storage = storage
        self._node = node
        self._content = node.content
        self.size = len(self._content)

    def fileno(self) -> int | None:
        """None: there is no file that the kernel knows."""
        return None

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """See `Reader`."""
        piece = self._content[offset : offset + len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def write(self, view: Bytes, offset: int) -> None:
        """See `Writer`."""
        self._storage.store(self._node, view, offset)

    def finish(self, *, modified: int | None, durable: bool) -> None:
        """See `Writer`. Durable is what memory can be."""
        if modified is not None:
            self._node.modified = modified

    def close(self) -> None:
        """Nothing to let go of."""


def _above(path: bytes) -> bytes:
    return path[: path.rfind(b"/")] or b"/"


def _name(path: bytes) -> bytes:
    return path[path.rfind(b"/") + 1 :]


def _error(number: int, path: bytes) -> OSError:
    return OSError(number, os.strerror(number), path)
