"""Remembers which statements were used."""

from __future__ import annotations

import threading
from heapq import heappop, heappush
from typing import Final

MAX_REMEMBERED: Final = 100_000
"""Statements that are valid and used, 0.3 KiB each. A service that opens or renews a hundred
sessions a second needs two thirds of it; above it nothing is taken that might be a replay."""


class Replays:
    """Each statement once, until it would be refused for its age anyway. For several threads."""

    def __init__(self, most: int = MAX_REMEMBERED) -> None:
        self._most = most
        self._used: set[str] = set()
        self._by_end: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._used)

    def is_first(self, statement_id: str, *, until: float, now: float) -> bool:
        """Remember it; False when it was used, or nothing more can be remembered."""
        with self._lock:
            while self._by_end and self._by_end[0][0] < now:
                self._used.discard(heappop(self._by_end)[1])
            if statement_id in self._used or len(self._used) >= self._most:
                return False
            self._used.add(statement_id)
            heappush(self._by_end, (until, statement_id))
            return True
