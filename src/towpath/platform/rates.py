"""How often somebody may ask: a token bucket for each, in this process's memory."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

KEYS_KEPT: Final = 10_000
"""About 2 MB. Who asked longest ago is forgotten first, and nearly always has a full bucket."""

_K = TypeVar("_K", bound=Hashable)


class TooOften(Exception):  # noqa: N818 - a state, named as one
    """There were too many; the next may come after `retry_after_s`."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too many, try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class Rates(Generic[_K]):
    """`per_minute` of each key on average, and as many at once after a pause."""

    def __init__(
        self,
        per_minute: int,
        *,
        keys_kept: int = KEYS_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._full = float(per_minute)
        self._per_s = per_minute / 60
        self._keys_kept = keys_kept
        self._clock = clock
        self._left: OrderedDict[_K, tuple[float, float]] = OrderedDict()
        """What is left of a bucket, and when that was so."""

    def take(self, key: _K) -> None:
        """One more. Raises TooOften, and then it does not count."""
        left, now = self._now(key)
        if left < 1:
            raise TooOften((1 - left) / self._per_s)
        self._left[key] = (left - 1, now)
        self._left.move_to_end(key)
        if len(self._left) > self._keys_kept:
            self._left.popitem(last=False)

    def check(self, key: _K) -> None:
        """Raises TooOften if there is no room for one more; it is not counted."""
        left, _ = self._now(key)
        if left < 1:
            raise TooOften((1 - left) / self._per_s)

    def _now(self, key: _K) -> tuple[float, float]:
        now = self._clock()
        left, at = self._left.get(key, (self._full, now))
        return min(self._full, left + (now - at) * self._per_s), now
