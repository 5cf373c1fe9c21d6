"""What the parts of a running task know for those who watch it; `engine.telling` tells it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, NamedTuple

from towpath.transfer.store.plan import File

RATE_OVER_S: Final = 5.0
"""Servers tell of bytes once a second, and small files come many at a time: over less a rate jumps,
over more it lags behind."""


class FileState(StrEnum):
    """Of a file in flight, as the API shows it."""

    SENDING = "sending"
    VERIFYING = "verifying"
    WAITING = "waiting"  # its commands may have been sent ahead; other files' bytes move


class Moving(NamedTuple):
    """A file in flight."""

    file: File
    moved_bytes: int
    """As far as the servers have told: of small files they do when all is there."""
    state: FileState


class Rate:
    """The mean rate of a count that rises, over the last few seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now: float, count: int) -> int:
        """Per second, as it is with the count of `now`. Of a first note it is 0."""
        samples = self._samples
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - RATE_OVER_S:
            samples.popleft()
        began, before = samples[0]
        return max(int((count - before) / (now - began)), 0) if now > began else 0


class News:
    """Of one task under one lease. Noting is cheap, whether somebody tells it or not."""

    def __init__(self) -> None:
        self.changed = False
        """Whether something was committed since that was told."""
        self.moved_bytes = 0
        """That have arrived under this lease, committed or not."""
        self.wake: Callable[[], object] = lambda: None
        """Called when there is something to tell."""
        self._lanes: list[Callable[[], Sequence[Moving]]] = []

    def change(self) -> None:
        """Something was committed."""
        self.changed = True
        self.wake()

    def move(self, size: int) -> None:
        """So many bytes more have arrived."""
        self.moved_bytes += size
        self.wake()

    @contextmanager
    def showing(self, in_flight: Callable[[], Sequence[Moving]]) -> Iterator[None]:
        """Meanwhile a lane has files in flight, and tells which if it is asked."""
        self._lanes.append(in_flight)
        try:
            yield
        finally:
            self._lanes.remove(in_flight)

    def in_flight(self) -> list[Moving]:
        """All files in flight."""
        return [moving for lane in self._lanes for moving in lane()]
