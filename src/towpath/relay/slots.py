"""Counted places, so that nobody has more of anything than he may."""

from collections import Counter
from collections.abc import Hashable


class Slots:
    """Places, each held by somebody, bounded for each holder and for all together."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken: Counter[Hashable] = Counter()
        self._all = 0

    @property
    def taken(self) -> int:
        """By all together."""
        return self._all

    def take(self, holder: Hashable, limit: int) -> "Slot | None":
        """A place, unless the holder has ``limit``, or there is none left."""
        if self._all >= self._total or self._taken[holder] >= limit:
            return None
        self._taken[holder] += 1
        self._all += 1
        return Slot(self, holder)

    def _give_back(self, holder: Hashable) -> None:
        self._all -= 1
        self._taken[holder] -= 1
        if not self._taken[holder]:
            del self._taken[holder]


class Slot:
    """One place."""

    def __init__(self, slots: Slots, holder: Hashable) -> None:
        self._slots: Slots | None = slots
        self._holder = holder

    def free(self) -> None:
        """Give it back; more than once is once."""
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._give_back(self._holder)  # noqa: SLF001 - its other half
