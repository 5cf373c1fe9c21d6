"""Tells those who watch a worker's tasks that there is news, and what moves.

It goes by the database's notifications, over a connection of its own: the engine never waits for
it, and goes on whatever happens to it. Nothing of it is stored, and what is lost is told again.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from towpath.platform.database import AWAY, Connection, Database, is_away
from towpath.transfer import names
from towpath.transfer.engine.context import TaskContext
from towpath.transfer.engine.news import FileState, Moving, Rate
from towpath.transfer.store import progress

log = structlog.get_logger()

TELL_EVERY_S: Final = 0.5
"""As often as somebody looks who is told."""
FLIGHTS_EVERY_S: Final = 1.0
"""As often as servers tell of bytes."""
AGAIN_EVERY_S: Final = 5.0
"""A rate that stays as it is is told again, for who has just come."""
MOST_FILES: Final = 20
"""In flight that are told; of the others their number."""
RETRY_S: Final = 1.0
"""While the database is away."""

_ORDER: Final = list(FileState)


class Teller:
    """One for a worker; `run` it beside the worker."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._wake = asyncio.Event()
        self._followed: dict[int, _Followed] = {}

    def follow(self, context: TaskContext) -> None:
        """Tell of this task from now on, in place of an earlier lease of it."""
        self._followed[context.task_no] = _Followed(context)
        context.news.wake = self._wake.set

    def leave(self, context: TaskContext) -> None:
        """Its lease is over: once more, and no more."""
        followed = self._followed.get(context.task_no)
        if followed is not None and followed.context is context:
            followed.ended = True
            context.news.change()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                connection = await self._database.dedicated()
                try:
                    await self._tell(connection)
                finally:
                    await connection.close()
            except Exception as error:  # noqa: BLE001 - no task may suffer from being watched
                known = isinstance(error, AWAY) and is_away(error)
                (log.debug if known else log.error)(
                    "progress not told", error=str(error), exc_info=not known
                )
            await asyncio.sleep(RETRY_S)

    async def _tell(self, connection: Connection) -> None:
        while True:
            waits = any(followed.waits for followed in self._followed.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLIGHTS_EVERY_S if waits else None):
                    await self._wake.wait()
            self._wake.clear()
            now = self._clock()
            payloads = []
            for task_no, followed in list(self._followed.items()):
                payloads += followed.news(now)
                if followed.ended:
                    del self._followed[task_no]
            if payloads:
                await progress.tell(connection, payloads)
            await asyncio.sleep(TELL_EVERY_S)


class _Followed:
    """A task, and what was told of it."""

    def __init__(self, context: TaskContext) -> None:
        self.context = context
        self.ended = False
        self.waits = False
        """Whether there will be something to tell though nothing happens."""
        self._rate = 0
        self._overall = Rate()
        self._files: dict[int, Rate] = {}
        self._flights = ""
        self._flights_at = -FLIGHTS_EVERY_S
        self._again_at = 0.0

    def news(self, now: float) -> list[str]:
        """What there is to tell: one payload at most."""
        news = self.context.news
        changed, news.changed = news.changed, False
        told, self.waits = "", True
        if self.ended or now - self._flights_at >= FLIGHTS_EVERY_S:
            self._flights_at = now
            flights = self._now(now)
            self.waits = self._rate > 0
            if flights != self._flights or (self.waits and now >= self._again_at):
                told, self._flights, self._again_at = flights, flights, now + AGAIN_EVERY_S
        if not changed and not told:
            return []
        return [f"{self.context.task_no} {told}" if told else str(self.context.task_no)]

    def _now(self, now: float) -> str:
        """As JSON, which fits into a notification."""
        news = self.context.news
        moving = [] if self.ended else news.in_flight()
        self._rate = 0 if self.ended else self._overall.note(now, news.moved_bytes)
        moving.sort(key=lambda one: _ORDER.index(one.state))
        shown = moving[:MOST_FILES]
        rates = {
            one.file.file_no: self._files.get(one.file.file_no) or Rate()
            for one in shown
            if one.moved_bytes and one.state is FileState.SENDING
        }
        self._files = rates
        rows = [
            [
                one.file.item_no,
                names.to_text(one.file.path),
                one.file.size,
                one.moved_bytes,
                rates[one.file.file_no].note(now, one.moved_bytes)
                if one.file.file_no in rates
                else 0,
                one.state,
                one.file.attempt,
            ]
            for one in shown
        ]
        room = progress.PAYLOAD_BYTES - len(f"{self.context.task_no} ")
        while True:
            told = self._document(shown[: len(rows)], rows, more=len(moving) - len(rows))
            if len(told.encode()) <= room:
                return told
            rows = rows[: len(rows) // 2]  # long names

    def _document(self, shown: Sequence[Moving], rows: list[list[Any]], *, more: int) -> str:
        items = {one.file.item_no: self.context.items[one.file.item_no] for one in shown}
        bases = {
            no: [names.to_text(path or "") for path in (item.source_path, item.destination_path)]
            for no, item in items.items()
        }
        document = {"rate": self._rate, "items": bases, "files": rows, "more": more}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
