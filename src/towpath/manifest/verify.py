"""Compares a directory with a manifest: whose it is first, and then every file that it names.

Works offline, in bounded memory: a manifest of millions of files is read twice as a stream, once
for its signature and once for its files. Files are hashed in threads, since hashing lets go of the
interpreter's lock; large ones are spread over them range by range.
"""

import hashlib
import os
import stat
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Literal, Self

from towpath.dsi.digests import ALGORITHMS, digest_of
from towpath.grants.keys import KeySet
from towpath.manifest.lines import (
    LINE_LIMIT,
    BadManifestError,
    Entry,
    Tail,
    entry_of,
    head_of,
    read_tail,
)

BLOCK_BYTES: Final = 1 << 20
BATCH_FILES: Final = 64
"""Small files that one thread takes at once: handing over costs as much as hashing one."""
BATCH_BYTES: Final = 16 << 20
AHEAD: Final = 4
"""Pieces of work that wait for each thread."""
WEAK: Final = frozenset({"ADLER32", "MD5", "SHA1", "XXH3", "XXH64", "XXH128"})
"""They find what went wrong by itself, and not what somebody made to fit."""

Side = Literal["destination", "source"]


class Kind(StrEnum):
    """What is to be said of a file."""

    MISSING = "missing"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    UNPROVED = "unproved"  # the transfer did not compare it; its size fits
    EXTRA = "extra"


@dataclass(frozen=True, slots=True)
class Finding:
    """One file that is not as it was, or of which nothing can be said."""

    kind: Kind
    path: bytes
    """Below the directory."""
    why: str


@dataclass(slots=True)
class Found:
    """How a directory compares."""

    files: int = 0
    size_bytes: int = 0
    """Hashed."""
    weak: int = 0
    """Files that only a checksum against accidents stands for."""
    counts: dict[Kind, int] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether anything is not as it was."""
        return any(number for kind, number in self.counts.items() if kind is not Kind.UNPROVED)

    @property
    def unproved(self) -> int:
        """Files of which nothing but the size is known."""
        return self.counts.get(Kind.UNPROVED, 0)


class Manifest:
    """One whose signature holds."""

    def __init__(self, path: Path, trusted: KeySet | None) -> None:
        """Read all of it once. `trusted` None: by whatever key it brings.

        Raises BadManifestError, OSError.
        """
        self._path = path
        with path.open("rb") as file:
            self._end, last = _last_line(file)
            self.tail: Tail = read_tail(last, trusted)
            file.seek(0)
            self.head: dict[str, Any] = head_of(file.readline(LINE_LIMIT))
            if _sum(file, self._end) != self.tail.claims.get("sha256"):
                raise BadManifestError("it was changed after it was signed")
        for name in ("issuer", "task_id"):
            if self.head.get(name) != self.tail.claims.get(name):
                raise BadManifestError(f"its first line and its signature name another {name}")

    @property
    def issuer(self) -> str:
        """The deployment that signed it."""
        return str(self.head.get("issuer"))

    @property
    def files(self) -> int:
        """How many it names."""
        return int(self.tail.claims.get("files", 0))

    @property
    def size_bytes(self) -> int:
        """Of all of them."""
        return int(self.tail.claims.get("bytes", 0))

    def entries(self) -> Iterator[Entry]:
        """Its files, in its order. Raises BadManifestError if it is changed meanwhile."""
        seen = hashlib.sha256()
        with self._path.open("rb") as file:
            seen.update(file.readline(LINE_LIMIT))
            while file.tell() < self._end:
                one = file.readline(LINE_LIMIT)
                seen.update(one)
                yield entry_of(one)
        if seen.hexdigest() != self.tail.claims.get("sha256"):
            raise BadManifestError("it was changed while it was read")


def _last_line(file: BufferedReader) -> tuple[int, bytes]:
    """Where it begins, and what it is."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LINE_LIMIT))
    end = file.read()
    if not end.endswith(b"\n"):
        raise BadManifestError("it was cut off")
    start = end.rfind(b"\n", 0, -1) + 1
    return size - len(end) + start, end[start:]


def _sum(file: BufferedReader, end: int) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    left = end
    while left and (block := file.read(min(BLOCK_BYTES, left))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Ground:
    """Where files are looked for."""

    directory: bytes
    base: str
    """The path of it in the manifest."""
    side: Side
    to_wire: Callable[[str], str]
    """A path of the API's spelling as servers have it."""

    def below(self, entry: Entry) -> bytes:
        """The path of a file below the directory. Raises BadManifestError."""
        named = entry.destination_path if self.side == "destination" else entry.source_path
        path, base = _plain(named), _plain(self.base)
        if path == base:
            below = path.rpartition("/")[2]
        elif path.startswith(f"{base}/"):
            below = path[len(base) + 1 :]
        else:
            raise BadManifestError(f"{named} is not below {self.base}: say what is with --base")
        wire = self.to_wire(below).encode("utf-8", "surrogateescape")
        if b"\0" in wire or any(part in (b"", b".", b"..") for part in wire.split(b"/")):
            raise BadManifestError(f"{named} is no path of a file")
        return wire


def _plain(path: str) -> str:
    """As servers understand it: people may name `/data//run/./1/`."""
    if "//" not in path and "/." not in path:
        return path.rstrip("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/".join(["", *parts] if path.startswith("/") else parts)


Report = Callable[[Finding], None]
Advance = Callable[[int, int], None]
"""So many more files, and bytes, are done."""


def verify(
    manifest: Manifest,
    ground: Ground,
    *,
    report: Report,
    advance: Advance = lambda _files, _size: None,
    threads: int | None = None,
    extra: bool = False,
) -> Found:
    """Compare all files; what is wrong is reported as it is found. `extra`: also what is there and
    not in the manifest. Raises BadManifestError, OSError.
    """
    found = Found()
    threads = threads or os.cpu_count() or 1
    names: array[int] | None = array("Q") if extra else None

    def tell(one: Finding) -> None:
        found.counts[one.kind] = found.counts.get(one.kind, 0) + 1
        report(one)

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[_Work] = deque()
        try:
            for work in _works(manifest, ground, names, found):
                work.begin(pool)
                waiting.append(work)
                if len(waiting) >= threads * AHEAD:
                    waiting.popleft().end(tell, advance)
            while waiting:
                waiting.popleft().end(tell, advance)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if names is not None:
        for path in _others(ground.directory, array("Q", sorted(names))):
            tell(Finding(Kind.EXTRA, path, "it is not in the manifest"))
    return found


def _works(
    manifest: Manifest, ground: Ground, names: "array[int] | None", found: Found
) -> Iterator["_Work"]:
    batch: list[tuple[bytes, Entry]] = []
    size = 0
    for entry in manifest.entries():
        path = ground.below(entry)
        if names is not None:
            names.append(_key(path))
        found.files += 1
        found.size_bytes += entry.size
        if entry.algorithm is not None:
            if entry.algorithm not in ALGORITHMS:
                raise BadManifestError(f"this program does not know {entry.algorithm}")
            found.weak += entry.algorithm in WEAK
        if entry.range_bytes is not None and entry.size > entry.range_bytes:
            yield from _pieces(ground.directory, path, entry)
            continue
        batch.append((path, entry))
        size += entry.size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield _Batch(ground.directory, batch)
            batch, size = [], 0
    if batch:
        yield _Batch(ground.directory, batch)


class _Work:
    """A piece of work for one thread."""

    def begin(self, pool: ThreadPoolExecutor) -> None:
        raise NotImplementedError

    def end(self, report: Report, advance: Advance) -> None:
        """Wait for it, and tell."""
        raise NotImplementedError


class _Batch(_Work):
    """Whole files."""

    def __init__(self, directory: bytes, files: Sequence[tuple[bytes, Entry]]) -> None:
        self._directory = directory
        self._files = files
        self._future: Future[list[Finding]] | None = None

    def begin(self, pool: ThreadPoolExecutor) -> None:
        self._future = pool.submit(self._run)

    def end(self, report: Report, advance: Advance) -> None:
        assert self._future is not None, "begun"
        for one in self._future.result():
            report(one)
        advance(len(self._files), sum(entry.size for _, entry in self._files))

    def _run(self) -> list[Finding]:
        findings = [_compare(self._directory, path, entry) for path, entry in self._files]
        return [one for one in findings if one is not None]


def _pieces(directory: bytes, path: bytes, entry: Entry) -> Iterator["_Piece"]:
    """Of a large file: each range is a piece, and the last one tells."""
    assert entry.range_bytes is not None, "it was compared by ranges"
    file = _Large(path, entry)
    for first in range(0, entry.size, entry.range_bytes):
        yield _Piece(directory, file, first, min(entry.range_bytes, entry.size - first))


@dataclass(slots=True)
class _Large:
    path: bytes
    entry: Entry
    sum: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    finding: Finding | None = None


class _Piece(_Work):
    """A range of a large file."""

    def __init__(self, directory: bytes, file: _Large, first: int, length: int) -> None:
        self._directory = directory
        self._file = file
        self._first = first
        self._length = length
        self._future: Future[str | Finding] | None = None

    def begin(self, pool: ThreadPoolExecutor) -> None:
        if self._file.finding is None:  # nobody reads the rest of what is wrong
            self._future = pool.submit(self._run)

    def end(self, report: Report, advance: Advance) -> None:
        file, entry = self._file, self._file.entry
        said = None if self._future is None else self._future.result()
        if isinstance(said, Finding):
            file.finding = file.finding or said
        elif said is not None:
            file.sum.update(f"{said}\n".encode("ascii"))
        is_last = self._first + self._length >= entry.size
        if is_last and file.finding is None and file.sum.hexdigest() != entry.digest:
            file.finding = Finding(Kind.CHANGED, file.path, _OTHER)
        if is_last and file.finding is not None:
            report(file.finding)
        advance(int(is_last), self._length)

    def _run(self) -> str | Finding:
        entry = self._file.entry
        assert entry.algorithm is not None, "it was compared"
        with _Opened(self._directory, self._file.path, entry) as opened:
            if opened.finding is not None:
                return opened.finding
            try:
                return digest_of(opened, entry.algorithm, self._first, self._length)
            except OSError as error:
                return Finding(Kind.UNREADABLE, self._file.path, str(error.strerror))


_OTHER: Final = "its content is not what was transferred"


def _compare(directory: bytes, path: bytes, entry: Entry) -> Finding | None:
    with _Opened(directory, path, entry) as opened:
        if opened.finding is not None:
            return opened.finding
        if entry.algorithm is None:
            return Finding(Kind.UNPROVED, path, "the transfer did not compare it; its size fits")
        try:
            found = digest_of(opened, entry.algorithm)
        except OSError as error:
            return Finding(Kind.UNREADABLE, path, str(error.strerror))
    if entry.range_bytes is not None:  # one range
        found = hashlib.sha256(f"{found}\n".encode("ascii")).hexdigest()
    return None if found == entry.digest else Finding(Kind.CHANGED, path, _OTHER)


class _Opened:
    """A file, if it is one and has the size that it should have; otherwise what is wrong."""

    def __init__(self, directory: bytes, path: bytes, entry: Entry) -> None:
        self._fd = -1
        self.finding: Finding | None = None
        try:
            # a FIFO, or a device, must not be waited for
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._fd = os.open(os.path.join(directory, path), flags)  # noqa: PTH118 - bytes
            here = os.fstat(self._fd)
        except (FileNotFoundError, NotADirectoryError):
            self.finding = Finding(Kind.MISSING, path, "it is not there")
            return
        except OSError as error:
            self.finding = Finding(Kind.UNREADABLE, path, str(error.strerror))
            return
        if not stat.S_ISREG(here.st_mode):
            self.finding = Finding(Kind.CHANGED, path, "it is not a file any more")
        elif here.st_size != entry.size:
            why = f"it has {here.st_size} bytes, and had {entry.size}"
            self.finding = Finding(Kind.CHANGED, path, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """Read at `offset`; 0 at the end."""
        return os.preadv(self._fd, [view], offset)


def _key(path: bytes) -> int:
    """64 bits for a path: a few million of them fit into memory, and two that are the same by
    chance, which would hide one extra file, come once in 10^13 files."""
    return hash(path) & 0xFFFF_FFFF_FFFF_FFFF


def _others(directory: bytes, known: "array[int]") -> Iterator[bytes]:
    """Files and links below the directory whose names are not known."""
    below: list[bytes] = [b""]
    while below:
        here = below.pop()
        with os.scandir(os.path.join(directory, here)) as entries:  # noqa: PTH118 - bytes
            for entry in entries:
                path = here + b"/" + entry.name if here else entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                    continue
                key = _key(path)
                place = bisect_left(known, key)
                if place == len(known) or known[place] != key:
                    yield path
