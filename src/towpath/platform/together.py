"""Does together what is asked for at the same time: one round trip, and one commit, for many."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

Work = Callable[[Sequence[K]], Awaitable[Sequence[V | Exception]]]
"""Answers in the order of what was asked; one that is an exception is raised where it was asked."""


class Together(Generic[K, V]):
    """Calls `work` with all that came while it was busy.

    Who comes alone is served at once, and nobody waits for company. `most`: in one call.
    """

    def __init__(self, work: Work[K, V], *, most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[K, asyncio.Future[V]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, asked: K) -> V:
        """The answer. Raises what `work` raises, or has answered."""
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._running is None:
            # a task of its own: whoever goes away does not take the others' answers along; and in
            # a context of its own: a log line about all of them has not the first one's request
            self._running = asyncio.create_task(self._run(), context=Context())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), self._most)
                taken = [self._waiting.popleft() for _ in range(count)]
                batch = [(asked, answer) for asked, answer in taken if not answer.done()]
                if batch:
                    await self._serve(batch)
        finally:
            self._running = None
            for _, answer in self._waiting:  # only when the loop ends
                answer.cancel()
            self._waiting.clear()

    async def _serve(self, batch: Sequence[tuple[K, asyncio.Future[V]]]) -> None:
        found: Sequence[V | Exception]
        try:
            found = await self._work([asked for asked, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            found = [error] * len(batch)
        except BaseException:
            for _, answer in batch:
                answer.cancel()
            raise
        for (_, answer), one in zip(batch, found, strict=True):
            if answer.done():
                continue
            if isinstance(one, Exception):
                answer.set_exception(one)
            else:
                answer.set_result(one)
