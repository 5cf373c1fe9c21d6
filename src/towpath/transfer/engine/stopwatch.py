"""What the parts of a running task wait for, as time goes by.

A part (the walk, a lane, ...) is always in some phase, or idle. The time between two looks is
shared among the parts that are not idle. Phases are as long as a directory or a batch of files, and
a lane is asked what it waits for whenever somebody looks, which is several times a second while
anything is committed: so nothing of this is done for each file.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from towpath.gridftp.client.pieces import Waits
from towpath.transfer.accounting import Category, Entry

TELL_EVERY_S: Final = 2.0
"""As long as a worker that is lost has told nothing; one statement in so long costs nothing."""
TELL_AT_LAST_S: Final = 10.0
"""If nothing is committed in so long, something is for this."""

SERVICE: Final[Entry] = (Category.SERVICE, "")
RETRY: Final[Entry] = (Category.RETRY, "")
LOGIN: Final[Entry] = (Category.LOGIN, "")
RECOVERY: Final[Entry] = (Category.RECOVERY, "")
ENDING: Final[Entry] = (Category.ENDING, "")
DELETING: Final[Entry] = (Category.DELETING, "")
CHECKSUM: Final[Entry] = (Category.CHECKSUM, "")
LISTING_SOURCE: Final[Entry] = (Category.LISTING, "source")
LISTING_DESTINATION: Final[Entry] = (Category.LISTING, "destination")

OF_LANE: Final[Mapping[Waits, Entry]] = {
    Waits.NOTHING: (Category.MOVING, ""),
    Waits.BOTH: (Category.MOVING, ""),
    Waits.SOURCE: (Category.SOURCE, ""),
    Waits.DESTINATION: (Category.DESTINATION, ""),
    Waits.SOURCE_CHECKSUM: (Category.CHECKSUM, "source"),
    Waits.DESTINATION_CHECKSUM: (Category.CHECKSUM, "destination"),
    Waits.BOTH_CHECKSUMS: (Category.CHECKSUM, ""),
}

Phase = Entry | Callable[[], Entry] | None
"""What a part is at, or who can say it; None: it is idle."""


class _Part:
    __slots__ = ("phases", "weak")

    def __init__(self, *, weak: bool) -> None:
        self.phases: list[list[Phase]] = []
        """The last begun decides; each in a box of its own, to be found again."""
        self.weak = weak

    def now(self) -> Entry | None:
        if not self.phases:
            return None if self.weak else SERVICE
        [phase] = self.phases[-1]
        return phase() if callable(phase) else phase


_PART: ContextVar[_Part | None] = ContextVar("part", default=None)


class Stopwatch:
    """Of one task under one lease."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at = self._told_at = clock()
        self._parts: dict[int, _Part] = {}
        self._weights: dict[Entry, float] = {}
        self._last_word = False

    @contextmanager
    def part(self, *, weak: bool = False) -> Iterator[None]:
        """Meanwhile there is one more part; what is begun inside belongs to it. A weak one counts
        when no other does anything."""
        self.look()
        part = _Part(weak=weak)
        self._parts[id(part)] = part
        token = _PART.set(part)
        try:
            yield
        finally:
            self.look()
            _PART.reset(token)
            del self._parts[id(part)]

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Meanwhile this part is at that."""
        part = _PART.get()
        if part is None:
            yield
            return
        self.look()
        box = [phase]
        part.phases.append(box)
        try:
            yield
        finally:
            self.look()
            part.phases = [one for one in part.phases if one is not box]

    def look(self) -> None:
        """Share out the time since the last look. Call it before anything changes."""
        now = self._clock()
        passed, self._at = now - self._at, now
        if passed <= 0:
            return
        entries = self._doing()
        weights = self._weights
        for entry in entries:
            weights[entry] = weights.get(entry, 0.0) + passed / len(entries)

    def _doing(self) -> list[Entry]:
        for weak in (False, True):
            parts = [part for part in self._parts.values() if part.weak is weak]
            doing = [entry for part in parts if (entry := part.now()) is not None]
            if doing:
                return doing
        # everybody waits for what is not due yet
        return [RETRY if self._parts else SERVICE]

    def last_word(self) -> None:
        """The lease is about to be given back: what is committed next tells all."""
        self._last_word = True

    def due(self) -> dict[Entry, float] | None:
        """What is to be told now, in seconds; None: not yet."""
        if not self._last_word and self._clock() - self._told_at < TELL_EVERY_S:
            return None
        self.look()
        return dict(self._weights)

    @property
    def overdue(self) -> bool:
        """Whether nothing has been told for so long that somebody should commit it."""
        return self._clock() - self._told_at >= TELL_AT_LAST_S

    def told(self) -> None:
        """What was due has been committed; what came between goes with it."""
        self._weights.clear()
        self._told_at = self._clock()
