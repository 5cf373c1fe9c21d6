"""How often one address may try to set a node up."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

TRIES_MOST = 30
"""In a minute from one address. Nobody guesses a setup key, but each try is work; behind one
address may be a whole site that is being set up."""
WITHIN_S = 60.0
ADDRESSES_KEPT = 4096


class TooOften(Exception):  # noqa: N818 - a state, named as one
    """Too many tries came from there; `retry_after_s` until the next may."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"more than {TRIES_MOST} tries within {WITHIN_S:g} s")
        self.retry_after_s = retry_after_s


class Tries:
    """Counts them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, address: str) -> None:
        """One try. Raises TooOften."""
        now = self._clock()
        tries = self._by_address.setdefault(address, deque())
        self._by_address.move_to_end(address)
        while len(self._by_address) > ADDRESSES_KEPT:
            self._by_address.popitem(last=False)
        while tries and tries[0] <= now - WITHIN_S:
            tries.popleft()
        if len(tries) >= TRIES_MOST:
            raise TooOften(tries[0] + WITHIN_S - now)
        tries.append(now)
