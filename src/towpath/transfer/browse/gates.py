"""How many may do something at once: each key has so many places, and others wait for one."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from towpath.transfer.browse.errors import TooBusy

_K = TypeVar("_K", bound=Hashable)


@dataclass(slots=True)
class _Gate:
    """The places of one key; forgotten when nobody uses it."""

    places: asyncio.Semaphore
    users: int = 0


class Gates(Generic[_K]):
    """Keys are endpoints, or users."""

    def __init__(self, places: int, wait_s: float, busy: str) -> None:
        """`busy`: what is told to who has waited `wait_s` in vain."""
        self._places = places
        self._wait_s = wait_s
        self._busy = busy
        self._gates: dict[_K, _Gate] = {}

    def __len__(self) -> int:
        """Keys that somebody uses, or waits for."""
        return len(self._gates)

    @asynccontextmanager
    async def place(self, key: _K) -> AsyncIterator[None]:
        """One of the places, held. Raises TooBusy."""
        gate = self._gates.setdefault(key, _Gate(asyncio.Semaphore(self._places)))
        gate.users += 1
        try:
            try:
                async with asyncio.timeout(self._wait_s):
                    await gate.places.acquire()
            except TimeoutError:
                raise TooBusy(self._busy) from None
            try:
                yield
            finally:
                gate.places.release()
        finally:
            gate.users -= 1
            if gate.users == 0:
                self._gates.pop(key, None)
