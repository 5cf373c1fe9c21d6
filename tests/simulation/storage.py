"""The file system of a simulated endpoint. What is in a file is told by tokens, not kept."""

import itertools
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple


class Part(NamedTuple):
    """Bytes [first, after) of a file are those of `token` from `offset` on."""

    first: int
    after: int
    token: int
    offset: int


Content = tuple[Part, ...]
"""In order, without holes or overlaps."""

HOLE = 0
"""The token of bytes that nobody wrote."""


def whole(token: int, size: int) -> Content:
    """What a file is that was written in one go."""
    return (Part(0, size, token, 0),) if size else ()


def size_of(content: Content) -> int:
    """In bytes."""
    return content[-1].after if content else 0


def clip(content: Content, first: int, after: int) -> Content:
    """A range of it; positions stay."""
    return tuple(
        Part(
            max(one.first, first),
            min(one.after, after),
            one.token,
            one.offset + max(first - one.first, 0),
        )
        for one in content
        if one.first < after and one.after > first
    )


def moved(content: Content, distance: int) -> Content:
    """The same bytes, elsewhere in a file."""
    return tuple(
        one._replace(first=one.first + distance, after=one.after + distance) for one in content
    )


def overwritten(content: Content, new: Content) -> Content:
    """What is there after `new`, one piece without holes, was written into a file."""
    if not new:
        return content
    first, after, size = new[0].first, new[-1].after, size_of(content)
    hole = (Part(size, first, HOLE, size),) if first > size else ()
    before, behind = clip(content, 0, first), clip(content, after, size)
    joined: list[Part] = []
    for one in (*before, *hole, *new, *behind):
        last = joined[-1] if joined else None
        if last and (last.token, last.offset + one.first - last.first) == (one.token, one.offset):
            joined[-1] = last._replace(after=one.after)
        else:
            joined.append(one)
    return tuple(joined)


def digest(content: Content, first: int = 0, length: int = -1) -> str:
    """Equal for equal bytes."""
    after = size_of(content) if length < 0 else first + length
    told = ";".join(f"{a},{b},{t},{o}" for a, b, t, o in clip(content, first, after))
    return blake2b(told.encode(), digest_size=16).hexdigest()


class File:
    """One file."""

    __slots__ = ("changed_at", "compared_at", "content", "modified", "number", "readable")
    _numbers = itertools.count(1)

    def __init__(self, content: Content, modified: int, changed_at: float) -> None:
        self.content = content
        self.modified = modified
        """As listed: Unix seconds."""
        self.changed_at = changed_at
        """When it was last written, by the world's clock."""
        self.compared_at = -1.0
        """When its whole digest was last asked for."""
        self.readable = True
        self.number = next(File._numbers)


class Refused(Exception):  # noqa: N818 - a reply
    """An operation that a file system refuses; the text is that of strerror(3)."""


@dataclass(frozen=True)
class Place:
    """What a task may write or delete."""

    endpoint: object
    path: str
    is_tree: bool

    def has(self, path: str) -> bool:
        """Whether a path is in it."""
        return path == self.path or (self.is_tree and path.startswith(self.path + "/"))

    def overlaps(self, other: "Place") -> bool:
        """Whether a path can be in both."""
        return self.endpoint is other.endpoint and (self.has(other.path) or other.has(self.path))


class Storage:
    """Directories and files, by absolute path."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.directories: dict[str, dict[str, None]] = {"/": {}}
        """The names in each, in the order in which they were made."""

    def file(self, path: str) -> File:
        """The file there."""
        found = self.files.get(path)
        if found is None:
            raise Refused(
                "Is a directory" if path in self.directories else "No such file or directory"
            )
        return found

    def make_directory(self, path: str) -> None:
        """One."""
        if path in self.directories or path in self.files:
            raise Refused("File exists")
        self._enter(path)
        self.directories[path] = {}

    def make_directories(self, path: str) -> None:
        """And all above it."""
        if path not in self.directories:
            self.make_directories(posixpath.dirname(path))
            self.make_directory(path)

    def put(self, path: str, file: File) -> None:
        """A file, in place of one that may be there."""
        if path in self.directories:
            raise Refused("Is a directory")
        if path not in self.files:
            self._enter(path)
        self.files[path] = file

    def remove_file(self, path: str) -> None:
        """A file."""
        self.file(path)
        del self.files[path]
        self._leave(path)

    def remove_directory(self, path: str) -> None:
        """An empty one."""
        names = self.directories.get(path)
        if names is None:
            raise Refused("Not a directory" if path in self.files else "No such file or directory")
        if names:
            raise Refused("Directory not empty")
        del self.directories[path]
        self._leave(path)

    def tree(self, path: str) -> Iterator[str]:
        """All that is at or below a path, directories before what is in them."""
        if path in self.files:
            yield path
        elif path in self.directories:
            yield path
            for name in list(self.directories[path]):
                yield from self.tree(posixpath.join(path, name))

    def remove_tree(self, path: str) -> None:
        """With all that is in it."""
        for one in list(self.tree(path))[::-1]:
            if one in self.files:
                self.remove_file(one)
            else:
                self.remove_directory(one)

    def _enter(self, path: str) -> None:
        parent, name = posixpath.split(path)
        names = self.directories.get(parent)
        if names is None:
            raise Refused(
                "Not a directory" if parent in self.files else "No such file or directory"
            )
        names[name] = None

    def _leave(self, path: str) -> None:
        parent, name = posixpath.split(path)
        self.directories[parent].pop(name, None)
