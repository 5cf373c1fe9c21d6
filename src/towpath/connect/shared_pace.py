"""One bandwidth limit for all sessions of an agent, also for those in other processes.

What is shared is a piece of memory that processes inherit when they are forked. A lock of the
kernel's guards it, which goes with whoever holds it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from towpath.gridftp.data.pace import Pace

_STATE: Final = struct.Struct("=ddq")
"""Bytes a second (0: no limit), when all is paid for, bytes moved so far."""


class SharedPace(Pace):
    """See `Pace`. Counts what moves, also without a limit."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._file = os.memfd_create("towpath-pace", os.MFD_CLOEXEC)
        os.ftruncate(self._file, mmap.PAGESIZE)
        self._memory = mmap.mmap(self._file, mmap.PAGESIZE)
        self._threads = threading.Lock()
        super().__init__(clock=clock, wait=wait)

    @property
    def bytes_per_s(self) -> float | None:
        """See `Pace`."""
        return self._read()[0] or None

    @bytes_per_s.setter
    def bytes_per_s(self, rate: float | None) -> None:
        with self._locked():
            _rate, paid_at, moved = self._read()
            # What was asked to wait by the old rate waits no longer than by the new one.
            paid_at = min(paid_at, self._clock()) if rate is None else paid_at
            self._write(rate or 0.0, paid_at, moved)

    @property
    def moved_bytes(self) -> int:
        """Since the agent began, both directions together."""
        return self._read()[2]

    def take(self, count: int) -> None:
        """See `Pace`."""
        with self._locked():
            rate, paid_at, moved = self._read()
            now = self._clock()
            if rate:
                paid_at = max(paid_at, now) + count / rate
            self._write(rate, paid_at, moved + count)
        if rate and paid_at > now:
            self._wait(paid_at - now)

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _read(self) -> tuple[float, float, int]:
        rate, paid_at, moved = _STATE.unpack_from(self._memory)
        return rate, paid_at, moved

    def _write(self, rate: float, paid_at: float, moved: int) -> None:
        _STATE.pack_into(self._memory, 0, rate, paid_at, moved)


class SessionPace(Pace):
    """One session's part of a pace that all share: counts what this one moves."""

    def __init__(self, shared: Pace) -> None:
        super().__init__()
        self._shared = shared
        self._counting = threading.Lock()
        self.moved_bytes = 0
        self.meter = Meter(lambda: self.moved_bytes)

    @property
    def part_bytes(self) -> int:
        """See `Pace`."""
        return self._shared.part_bytes

    def take(self, count: int) -> None:
        """See `Pace`."""
        with self._counting:
            self.moved_bytes += count
        self._shared.take(count)


class Meter:
    """What moves per second, from counts that are read now and then."""

    def __init__(
        self, moved: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._moved = moved
        self._clock = clock
        self._readings = [(clock(), moved())]

    @property
    def rate(self) -> float:
        """Bytes a second, between the last readings."""
        (first_at, first), (last_at, last) = self._readings[0], self._readings[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0

    def read(self) -> None:
        """To be called every second or so."""
        self._readings = [*self._readings[-READINGS:], (self._clock(), self._moved())]


READINGS: Final = 5
"""Of a meter: a rate of some seconds, which people can follow."""
