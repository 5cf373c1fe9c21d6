"""Checksums of what was just received or sent, computed while it passed by, for the CKSM to come.

One is given away only for the very bytes it was computed of, in the file as it was when they had
passed: same inode, size, and times. Whatever leaves a doubt is not remembered, and then CKSM reads.

Two doubts are less plain. A kernel's clock for files stands still for some milliseconds, in which
a file can change and keep its times. So a file that was received is given a time of modification
that no clock will give it again (a nanosecond earlier, unless the client has set one), and of one
that is sent nothing is remembered if it has just been changed. And while two sessions write to one
file the bytes of the one may replace those of the other: then neither is remembered.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from towpath.dsi import digests
from towpath.dsi.storage import Reader, Writer
from towpath.gridftp.server.limits import RECENT_DIGESTS
from towpath.gridftp.wire.ranges import ByteRange

SETTLED_NS: Final = 2_000_000_000
"""So old is a change after which any other gets another time: the coarsest file systems count in
steps of two seconds."""

INLINE_BYTES: Final = 256 * 1024
"""To hash this takes less than to start a thread for it."""


class Stamp(NamedTuple):
    """A file, and a state of it."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, descriptor: int) -> Stamp:
        """Of an open file, now."""
        found = os.fstat(descriptor)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _Key(NamedTuple):
    stamp: Stamp
    algorithm: str
    part: ByteRange


class RecentDigests:
    """Those of one process. Used by all its sessions, from their threads."""

    def __init__(self, most: int = RECENT_DIGESTS) -> None:
        """`most` are remembered; the one that was not asked for longest goes first."""
        self._most = most
        self._lock = threading.Lock()
        self._digests: OrderedDict[_Key, str] = OrderedDict()
        self._opening = 0
        self._receiving: dict[tuple[int, int], list[Reception]] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._digests)

    def find(self, descriptor: int, algorithm: str, offset: int, length: int | None) -> str | None:
        """The checksum of a range (None: to the end) of an open file, if it is known for sure."""
        if not self._digests:
            return None
        stamp = Stamp.of(descriptor)
        if offset > stamp.size:
            return None
        after = stamp.size if length is None else min(offset + length, stamp.size)
        key = _Key(stamp, algorithm, ByteRange(offset, after))
        with self._lock:
            digest = self._digests.get(key)
            if digest is not None:
                self._digests.move_to_end(key)
            return digest

    def note(self, stamp: Stamp, algorithm: str, part: ByteRange, digest: str) -> None:
        """Remember one."""
        with self._lock:
            self._digests[_Key(stamp, algorithm, part)] = digest
            while len(self._digests) > self._most:
                self._digests.popitem(last=False)

    @contextmanager
    def receiving(self, open_writer: Callable[[], Writer]) -> Iterator[Reception]:
        """While a file is open to be received, with or without a checksum.

        Closes what `open_writer` gives. Files that are none of the machine's are not remembered.
        """
        with self._lock:
            self._opening += 1
        try:
            reception = Reception(self, open_writer())
            others = self._enter(reception)
        finally:
            with self._lock:
                self._opening -= 1
        try:
            yield reception
        finally:
            with self._lock:
                others.remove(reception)
                if not others and reception.name is not None:
                    del self._receiving[reception.name]
            reception.close()

    def _enter(self, reception: Reception) -> list[Reception]:
        """Those who have the same file open to write."""
        with self._lock:
            others: list[Reception] = []
            if reception.name is not None:
                others = self._receiving.setdefault(reception.name, others)
            for other in others:
                other.disturbed = True
            reception.disturbed = bool(others)
            others.append(reception)
            return others

    def is_sure(self, reception: Reception) -> bool:
        """Whether nobody here may have written to its file, or emptied it by opening it."""
        with self._lock:
            return not (reception.disturbed or self._opening)


class Reception:
    """One file, or range, that is being received."""

    def __init__(self, recent: RecentDigests, opened: Writer) -> None:
        """Use `RecentDigests.receiving`."""
        self.writer: Final = opened
        self.disturbed = False
        """Whether another session has had the file open to write meanwhile."""
        self._recent = recent
        self._descriptor = opened.fileno()
        self.name: Final = None if self._descriptor is None else _name(self._descriptor)
        """Of the file; None: it has none here."""
        self._kept = -1
        self._start = 0
        self._algorithm = ""
        self._digest: digests.RunningDigest | None = None

    def digesting(self, algorithm: str, start: int) -> Writer:
        """The writer, computing the checksum of what is written from `start` on."""
        if self._descriptor is None or self.disturbed:
            return self.writer
        digesting = digests.DigestingWriter(self.writer, algorithm, start)
        self._kept = os.dup(self._descriptor)
        self._start, self._algorithm, self._digest = start, algorithm, digesting.digest
        return digesting

    def finished(self, *, modified: int | None) -> None:
        """The file is stored, with this time: remember its checksum, unless there is a doubt."""
        computed = None if self._digest is None else self._digest.connected()
        if computed is None:
            return
        after, digest = computed
        with suppress(OSError):  # not ours, so nobody lets us set its times
            sealed_ns = self._seal() if modified is None else modified * 1_000_000_000
            stamp = Stamp.of(self._kept)
            if (
                stamp.modified_ns == sealed_ns
                and after <= stamp.size
                and self._recent.is_sure(self)
            ):
                part = ByteRange(self._start, after)
                self._recent.note(stamp, self._algorithm, part, digest)

    def _seal(self) -> int:
        found = os.fstat(self._kept)
        if found.st_mtime_ns % 1_000_000_000 == 0:
            return -1  # it keeps whole seconds only, it seems
        sealed_ns = found.st_mtime_ns - 1
        os.utime(self._kept, ns=(found.st_atime_ns, sealed_ns))
        return sealed_ns

    def close(self) -> None:
        """Nothing more is received."""
        self.writer.close()
        if self._kept >= 0:
            os.close(self._kept)
            self._kept = -1


def _name(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


@contextmanager
def sending(
    recent: RecentDigests, reader: Reader, algorithm: str, part: ByteRange, now_ns: int
) -> Iterator[None]:
    """While a range is being sent: compute its checksum beside it.

    The kernel sends without our seeing the bytes, so they are read: what CKSM would do afterwards,
    at the same cost, is done at the same time. `now_ns`: time of day.
    """
    descriptor = reader.fileno()
    stamp = None if descriptor is None else Stamp.of(descriptor)
    if (
        descriptor is None
        or stamp is None
        or part.after > stamp.size
        or not 0 <= max(stamp.modified_ns, stamp.changed_ns) <= now_ns - SETTLED_NS
    ):
        yield
        return
    over = threading.Event()
    found: list[str] = []

    def compute() -> None:
        with suppress(OSError, digests.AbortedError):
            found.append(
                digests.digest_of(reader, algorithm, part.first, part.length, aborted=over.is_set)
            )

    if part.length <= INLINE_BYTES:
        yield
        compute()
    else:
        thread = threading.Thread(target=compute, daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            over.set()
            raise
        finally:
            thread.join()
    if found and Stamp.of(descriptor) == stamp:
        recent.note(stamp, algorithm, part, found[0])
