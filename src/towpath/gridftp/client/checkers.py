"""Digests of ranges at one end of a transfer, on sessions of their own while the ranges move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from towpath.gridftp.client.lane import SLOWEST_CHECKSUM_BYTES_S
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire.ranges import ByteRange

OpenSession = Callable[[], AbstractAsyncContextManager[Session]]
"""Gives a session, logged in, for as long as its context lasts. What ends by an exception may have
answers outstanding."""

IN_FLIGHT: Final = 2
"""Checks under way per session: the next is there when one ends. More would only wait."""

OPENINGS: Final = 2
"""A session that broke is opened once more. One that breaks again may have broken at what it was
asked, and would for ever."""


class Check:
    """A range whose digest is wanted."""

    __slots__ = ("done", "part", "wanted")

    def __init__(self, part: ByteRange, done: Callable[[str | GridFTPError], None]) -> None:
        self.part = part
        self.done = done
        """Gets the digest, or why there is none."""
        self.wanted = True
        """Set to False it is left out, unless it is under way."""


class Checkers:
    """Sessions at one server that compute digests of ranges of one file."""

    def __init__(
        self,
        open_session: OpenSession,
        sessions: int,
        path: str,
        algorithm: str,
        *,
        on_change: Callable[[], None],
        on_end: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """Opens `sessions` sessions at once; those that cannot be opened are done without.

        `on_change` is called when one is open, or is so no more, or will not be; `on_end` with each
        task of ours that ended.
        """
        self._open_session = open_session
        self._path = path
        self._algorithm = algorithm
        self._on_change = on_change
        self._queue: asyncio.Queue[Check | None] = asyncio.Queue()
        self._open = 0
        self._left = sessions
        """Sessions that are open or may yet be."""
        self._given_up: GridFTPError | None = None
        self._under_way = 0
        self._over = False
        self._tasks = [asyncio.create_task(self._run()) for _ in range(sessions)]
        for task in self._tasks:
            task.add_done_callback(on_end)

    @property
    def ready(self) -> bool:
        """Whether a session is open."""
        return self._open > 0

    @property
    def opening(self) -> bool:
        """Whether none is open yet, but may soon be."""
        return self._open == 0 and self._left > 0

    def put(self, check: Check) -> None:
        """Have a digest computed, after those put before. Without sessions it fails at once."""
        if self._given_up is not None:
            check.done(self._given_up)
        else:
            self._queue.put_nowait(check)

    def end(self) -> None:
        """End the sessions: in good order, or, if any is still busy or being opened, at once."""
        self._over = True
        busy = self._under_way or not self._queue.empty() or self._open < self._left
        for task in self._tasks:
            if busy:
                task.cancel()
        for _ in range(self._open * IN_FLIGHT):
            self._queue.put_nowait(None)

    async def ended(self) -> None:
        """Wait until they have."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        """One session, and another one if it breaks."""
        for _ in range(OPENINGS):
            if self._over:  # the words that end it may be gone, taken by the session that broke
                return
            opened = False
            try:
                async with self._open_session() as session:
                    opened = True
                    self._count(open_=1)
                    try:
                        await self._serve(session)
                    finally:
                        self._count(open_=-1)
                    return
            except GridFTPError as caught:
                error = caught
            if not opened:
                break
        self._count(left=-1)
        if self._left == 0:
            self._give_up(error)

    def _count(self, *, open_: int = 0, left: int = 0) -> None:
        self._open += open_
        self._left += left
        self._on_change()

    async def _serve(self, session: Session) -> None:
        slots = [asyncio.create_task(self._slot(session)) for _ in range(IN_FLIGHT)]
        try:
            await asyncio.gather(*slots)
        finally:
            for slot in slots:
                slot.cancel()
            await asyncio.gather(*slots, return_exceptions=True)

    async def _slot(self, session: Session) -> None:
        while (check := await self._queue.get()) is not None:
            if check.wanted:
                check.done(await self._compute(session, check))

    async def _compute(self, session: Session, check: Check) -> str | GridFTPError:
        """A check that the session's end cut off goes to another session."""
        part = check.part
        silent_s = session.timeouts.stall_s + part.length / SLOWEST_CHECKSUM_BYTES_S
        self._under_way += 1
        try:
            return await session.checksum(self._path, self._algorithm, part, timeout_s=silent_s)
        except GridFTPError as error:
            if not session.closed:
                return error
            self._queue.put_nowait(check)
            raise
        except asyncio.CancelledError:  # the other slot has seen the end first
            self._queue.put_nowait(check)
            raise
        finally:
            self._under_way -= 1

    def _give_up(self, error: GridFTPError) -> None:
        self._given_up = error
        while not self._queue.empty():
            check = self._queue.get_nowait()
            if check is not None:
                check.done(error)
