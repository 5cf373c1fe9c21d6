"""A bandwidth limit that connections share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PART_S: Final = 0.05
"""Time's worth of bytes that are moved at one go: so long a connection is quiet between two parts,
and so soon it sees that it is given up."""
SMALLEST_PART: Final = 4096
LARGEST_PART: Final = 4 * 1024 * 1024
"""Bytes of a part, whatever the rate is."""


class Pace:
    """A token bucket for bytes, both directions together. For several threads.

    What moves takes its part first and then waits until it has been paid for: nobody waits while
    less goes than may. Without a rate nothing waits.
    """

    def __init__(
        self,
        bytes_per_s: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """None: no limit, until one is set."""
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._paid_at = 0.0
        """When all that was taken so far is paid for."""
        self.bytes_per_s = bytes_per_s
        """May be set at any time, from any thread."""

    @property
    def part_bytes(self) -> int:
        """How much to move before asking again."""
        rate = self.bytes_per_s
        if rate is None:
            return LARGEST_PART
        return int(min(max(rate * PART_S, SMALLEST_PART), LARGEST_PART))

    def take(self, count: int) -> None:
        """So many bytes were moved: wait until more may be."""
        rate = self.bytes_per_s
        if rate is None:
            return
        with self._lock:
            now = self._clock()
            self._paid_at = max(self._paid_at, now) + count / rate
            wait_s = self._paid_at - now
        self._wait(wait_s)
