"""Checksums of files: of one that is there, and of one that is just being written.

The names are those of the command CKSM. MD5, ADLER32, SHA1, SHA256 and SHA512 as GCT computes
them; BLAKE3 and xxHash (XXH64; XXH3, its 64 bit form; XXH128) because they are many times faster.
Hashing lets go of the interpreter's lock.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from bisect import bisect_right
from collections.abc import Callable
from typing import Final, Protocol

from towpath.dsi.storage import Bytes, Writer

BUFFER_BYTES: Final = 1 << 20
"""Larger ones leave the processor's cache."""
SMALL_BUFFER_BYTES: Final = 1 << 15
"""The first one: making a large one takes longer than a small file does."""
MAX_WAITING_RANGES: Final = 4096
"""Ranges that came before what is missing in front of them: 100 bytes each, and the streams of one
transfer make a few dozen. With more the file is read again at the end instead."""


class AbortedError(Exception):
    """The computation was called off."""


class Digest(Protocol):
    """Bytes go in, in order; a checksum comes out."""

    def update(self, data: Bytes, /) -> object:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """The checksum of what was taken in, in lower case hex."""


class Readable(Protocol):
    """What a range is read from: a `Reader`, or a `Writer` that reads back."""

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """Read at `offset`; 0 at the end."""


class _Adler32:
    def __init__(self) -> None:
        self._value = 1

    def update(self, data: Bytes, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _blake3() -> Digest:
    from blake3 import blake3  # noqa: PLC0415 - a tenth of a session's start, and seldom asked for

    return blake3()


def _xxhash(name: str) -> Callable[[], Digest]:
    def make() -> Digest:
        import xxhash  # noqa: PLC0415 - as above

        made: Digest = getattr(xxhash, name)()
        return made

    return make


_MAKERS: Final[dict[str, Callable[[], Digest]]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "ADLER32": _Adler32,
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "BLAKE3": _blake3,
    "XXH64": _xxhash("xxh64"),
    "XXH3": _xxhash("xxh3_64"),
    "XXH128": _xxhash("xxh3_128"),
}
ALGORITHMS: Final = tuple(_MAKERS)
"""Names, as `new_digest` takes them in either case."""


def new_digest(algorithm: str) -> Digest:
    """An empty digest; ValueError for a name that is not known."""
    make = _MAKERS.get(algorithm.upper())
    if make is None:
        raise ValueError(f"no checksum is called {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    return make()


def digest_of(
    source: Readable,
    algorithm: str,
    offset: int = 0,
    length: int = -1,
    *,
    aborted: Callable[[], bool] = lambda: False,
) -> str:
    """The checksum of a range of a file in hex; `length` -1: to the end, which also cuts it.

    ValueError for an unknown algorithm; AbortedError soon after `aborted` becomes true, which is
    asked before each buffer.
    """
    digest = new_digest(algorithm)
    _feed(digest, source, offset, None if length < 0 else offset + length, aborted)
    return digest.hexdigest()


def _feed(
    digest: Digest,
    source: Readable,
    position: int,
    end: int | None,
    aborted: Callable[[], bool],
) -> int:
    """Take in a range, and return where it ended: at `end`, or at the file's."""
    view = memoryview(bytearray(SMALL_BUFFER_BYTES))
    while end is None or position < end:
        if aborted():
            raise AbortedError
        count = source.read_into(view if end is None else view[: end - position], position)
        if count == 0:
            break
        digest.update(view[:count])
        position += count
        if count == SMALL_BUFFER_BYTES:
            view = memoryview(bytearray(BUFFER_BYTES))
    return position


class RunningDigest:
    """A checksum that is computed while a file is being written, in whatever order bytes come.

    What comes next in the file is hashed as it passes by. What comes too early is noted, and read
    back (from the page cache, mostly) once what is in front of it is there. One thread hashes at a
    time, and the others go on writing: who writes while somebody hashes notes and leaves.
    """

    def __init__(self, algorithm: str, written: Readable, start: int = 0) -> None:
        """Hash what is written to `written`, from its byte `start` on, before which nothing is.

        ValueError: unknown algorithm.
        """
        self._algorithm = algorithm
        self._digest = new_digest(algorithm)
        self._written = written
        self._start = start
        self._position = start
        self._waiting: list[tuple[int, int]] = []  # sorted, apart from each other, after _position
        self._busy = False
        self._in_vain = False
        self._lock = threading.Lock()
        self.bytes_read_back = 0
        """How much was read again, for those who tune."""

    def update(self, data: Bytes, offset: int) -> None:
        """Tell of bytes that have been written. From any thread, after the write."""
        end = offset + len(data)
        if end == offset:
            return
        with self._lock:
            if self._in_vain:
                return
            if self._busy or offset != self._position:
                self._note(offset, end)
                return
            self._busy = True
        try:
            self._digest.update(data)
        finally:
            self._hand_over(end)

    def result(self, size: int, *, aborted: Callable[[], bool] = lambda: False) -> str:
        """The checksum of the file from `start` to `size`, when all of it has been written.

        Reads what has not been hashed yet: nothing, after an orderly transfer; all, if bytes were
        written twice. AbortedError as in `digest_of`.
        """
        with self._lock:
            anew = self._in_vain or self._position > size
            position = self._start if anew else self._position
        digest = new_digest(self._algorithm) if anew else self._digest
        self.bytes_read_back += _feed(digest, self._written, position, size, aborted) - position
        return digest.hexdigest()

    def connected(self) -> tuple[int, str] | None:
        """Where what was written ends, and its checksum, when nobody writes any more.

        None if it has gaps, or was written twice: only reading tells then, and this does not read.
        """
        with self._lock:
            if self._in_vain or self._busy or self._waiting:
                return None
            return self._position, self._digest.hexdigest()

    def _hand_over(self, position: int) -> None:
        """End being the one who hashes, after all that is connected now."""
        while True:
            with self._lock:
                self._position = position
                connected = self._waiting.pop(0) if self._is_next_waiting() else None
                if connected is not None and connected[0] < position:
                    self._give_up()  # written again while it was hashed
                if connected is None or self._in_vain:
                    self._busy = False
                    return
            start, end = connected
            try:
                position = _feed(self._digest, self._written, start, end, lambda: self._in_vain)
            except (OSError, AbortedError):
                position = start
            self.bytes_read_back += position - start
            if position < end:  # `result` reads all, and meets what is wrong
                with self._lock:
                    self._give_up()

    def _is_next_waiting(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= self._position

    def _give_up(self) -> None:
        """Only reading all at the end will do."""
        self._in_vain = True
        self._waiting.clear()

    def _note(self, start: int, end: int) -> None:
        """Remember a range; what overlaps was written twice, and then only reading all will do."""
        at = bisect_right(self._waiting, (start, end))
        before = self._waiting[at - 1] if at else (0, self._position)
        after = self._waiting[at] if at < len(self._waiting) else (end + 1, end + 1)
        if start < before[1] or end > after[0] or len(self._waiting) >= MAX_WAITING_RANGES:
            self._give_up()
            return
        joins_before, joins_after = bool(at) and before[1] == start, after[0] == end
        merged = (before[0] if joins_before else start, after[1] if joins_after else end)
        self._waiting[at - joins_before : at + joins_after] = [merged]


class DigestingWriter:
    """A `Writer` that computes a checksum of what is written through it."""

    def __init__(self, writer: Writer, algorithm: str, start: int = 0) -> None:
        """`writer` reads back what was written; for `start` see `RunningDigest`.

        ValueError: unknown algorithm.
        """
        self._writer = writer
        self.digest = RunningDigest(algorithm, writer, start)

    def fileno(self) -> int | None:
        """None: the bytes must pass by here."""
        return None

    def write(self, view: Bytes, offset: int) -> None:
        """See `Writer`."""
        self._writer.write(view, offset)
        self.digest.update(view, offset)

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """See `Writer`."""
        return self._writer.read_into(view, offset)

    def finish(self, *, modified: int | None, durable: bool) -> None:
        """See `Writer`. Ask for the digest's result before."""
        self._writer.finish(modified=modified, durable=durable)

    def close(self) -> None:
        """See `Writer`."""
        self._writer.close()
