"""The hub: hears what changes, looks once for all who listen, and gives all of them the same bytes.

Whoever listens gets a task's state at once, and then when it has changed, at most twice a second.
What nobody tells is found by looking now and then. While the database is away streams stay open;
when it is back all is looked at again.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.transfer.live.listener import Listener
from towpath.transfer.live.messages import message
from towpath.transfer.store import progress
from towpath.transfer.store.progress import PROGRESS_CHANNEL, Progress
from towpath.transfer.store.rows import TASK_CHANNEL
from towpath.transfer.store.tasks import Event

LOOK_EVERY_S: Final = 0.5
"""Of a task that changes all the time two states a second are shown: a bar seems to move."""
NEWCOMERS_WAIT_S: Final = 0.05
"""Who begins to listen is not kept waiting; many who do at once, as after a lost connection, are
looked up together."""
LOOK_ANYWAY_S: Final = 5.0
"""What changes without being told is found within so long."""
RETRY_S: Final = 1.0
"""While the database is away."""
RATE_HOLDS_S: Final = 10.0
"""A rate that is not told again is that of a worker that was lost."""
EVENTS_AT_ONCE: Final = 100
"""Of a task with one look; listeners read what is more by themselves."""
LISTENERS_PER_CALLER: Final = 50
"""A person with ten tabs, and scripts; more is a program that forgets to close what it opened."""
LISTENERS_LIMIT: Final = 500
"""Each is a connection: half of the 1024 files that a process may have open by default."""
END_TAKES_S: Final = 5.0
"""A task's completion time is that at which its end began to be written, which may take so long."""
TOLD_AT_ONCE: Final = 50
"""Tasks, before others get their turn: a few milliseconds."""
ENDED_KEPT: Final = 10_000
"""Tasks that are known to have ended, so that listeners hear of each end once."""

JsonObject = dict[str, Any]

_log = structlog.stdlib.get_logger("towpath.live")


class TooManyListenersError(Exception):
    """There is no room for one more; `of_caller`: this caller has too many."""

    def __init__(self, *, of_caller: bool) -> None:
        super().__init__()
        self.of_caller = of_caller


@dataclass(frozen=True, slots=True)
class Documents:
    """How what is told is shown."""

    state: Callable[[Progress, int], JsonObject]
    """Of a task, and the bytes that move in a second."""
    event: Callable[[Event], JsonObject]
    files: Callable[[str, JsonObject], JsonObject]
    """Of a task's id, and what the worker tells of its files in flight."""


CHANGES_BY_ITSELF: Final = frozenset({"time", "effective_bytes_per_second"})
"""Of a state; one in which nothing else is new is not told."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A task that somebody listens to, as it was told."""

    task_no: int
    owner_id: UUID
    fixed: JsonObject
    """The state without what changes by itself."""
    state: bytes
    state_of_many: bytes
    """The same, with a number: the moment, from which a stream of all tasks can go on."""
    end: bytes | None
    last_event: int


@dataclass(slots=True)
class _Wanted:
    """What is to be looked at."""

    tasks: set[int] = field(default_factory=set)
    owners: set[UUID] = field(default_factory=set)
    """All of whose tasks that are not finished."""

    def __bool__(self) -> bool:
        return bool(self.tasks or self.owners)

    def add(self, other: "_Wanted") -> None:
        """That, too."""
        self.tasks |= other.tasks
        self.owners |= other.owners


class Hub:
    """Hears and tells while there are listeners. `close` it."""

    def __init__(
        self,
        database: Database,
        documents: Documents,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._documents = documents
        self._clock = clock
        self._by_task: dict[int, set[Listener]] = {}
        self._by_owner: dict[UUID, set[Listener]] = {}
        self._known: dict[int, _Known] = {}
        self._ended: dict[int, None] = {}
        self._rates: dict[int, tuple[int, float]] = {}
        self._told = _Wanted()
        self._new = _Wanted()
        """For who has just begun to listen."""
        self._wake = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._closed = False

    # -- listeners

    def listen(self, owner_id: UUID, task_no: int | None, *, after: int = 0) -> Listener:
        """Begin to listen to a task, or to all tasks of an owner; `leave` in the end.

        Raises TooManyListenersError.
        """
        everybody = [*self._by_task.values(), *self._by_owner.values()]
        if self._closed or sum(map(len, everybody)) >= LISTENERS_LIMIT:
            raise TooManyListenersError(of_caller=False)
        theirs = sum(one.owner_id == owner_id for some in everybody for one in some)
        if theirs >= LISTENERS_PER_CALLER:
            raise TooManyListenersError(of_caller=True)
        listener = Listener(owner_id, task_no, after, since=self._clock())
        if task_no is not None:
            self._by_task.setdefault(task_no, set()).add(listener)
            known = [self._known[task_no]] if task_no in self._known else []
            if not known:
                self._new.tasks.add(task_no)
        else:
            others = self._by_owner.setdefault(owner_id, set())
            known = [one for one in self._known.values() if one.owner_id == owner_id]
            known = [one for one in known if one.end is None]
            if not others:
                self._new.owners.add(owner_id)
            others.add(listener)
        for one in known:
            state = one.state if task_no is not None else one.state_of_many
            listener.put_state(one.task_no, state, one.end)
        self._wake.set()
        if not self._running:
            self._running = [asyncio.create_task(part()) for part in (self._hear, self._look)]
            for part in self._running:
                part.add_done_callback(self._stopped)
        return listener

    def leave(self, listener: Listener) -> None:
        """It is gone."""
        if listener.task_no is not None:
            _discard(self._by_task, listener.task_no, listener)
        else:
            _discard(self._by_owner, listener.owner_id, listener)
        for task_no, known in list(self._known.items()):
            if task_no in self._by_task:
                continue
            if known.end is not None or known.owner_id not in self._by_owner:
                del self._known[task_no]

    def tell_ended(self, listener: Listener, tasks: Iterable[Progress]) -> None:
        """What had ended before it began to listen."""
        for task in tasks:
            shown = self._documents.state(task, 0)
            listener.put_state(task.task_no, _of_many(task, shown), _end(task))

    async def close(self) -> None:
        """All streams end; there are no new ones."""
        self._closed = True
        self._end_all()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _stopped(self, part: asyncio.Task[None]) -> None:
        """A mistake of ours: who listens is not left without news, but comes again."""
        if part.cancelled() or self._closed:
            return
        _log.error("live.failed", exc_info=part.exception())
        for other in self._running:
            other.cancel()
        self._running = []
        self._known.clear()
        self._end_all()

    def _end_all(self) -> None:
        for listeners in (*self._by_task.values(), *self._by_owner.values()):
            for listener in listeners:
                listener.end()

    # -- hearing

    async def _hear(self) -> None:
        told = False
        while True:
            try:
                connection = await self._database.dedicated()
                try:
                    await connection.execute(f"LISTEN {PROGRESS_CHANNEL}")
                    await connection.execute(f"LISTEN {TASK_CHANNEL}")
                    self._look_at_all()  # nobody heard what was told meanwhile
                    told = False
                    async for notification in connection.notifies():
                        self._heard(notification.payload)
                finally:
                    await connection.close()
            except AWAY as error:
                if not is_away(error):
                    raise
                if not told:
                    _log.warning("live.not_listening", error=str(error))
                    told = True
            await asyncio.sleep(RETRY_S)

    def _heard(self, payload: str) -> None:
        number, _, more = payload.partition(" ")
        if not number:  # of any task
            self._look_at_all()
            return
        task_no = int(number)
        known = self._known.get(task_no)
        if more:
            told = json.loads(more)
            self._rates[task_no] = (told["rate"], self._clock())
            listeners = self._by_task.get(task_no)
            if listeners and known is not None:
                files = message("files", self._documents.files(known.fixed["task_id"], told))
                for listener in listeners:
                    listener.put_files(files)
        if known is not None or task_no in self._by_task or self._by_owner:
            self._told.tasks.add(task_no)
            self._wake.set()

    def _look_at_all(self) -> None:
        self._told.add(_Wanted({*self._known, *self._by_task}, {*self._by_owner}))
        self._wake.set()

    # -- looking

    async def _look(self) -> None:
        looked_at = -math.inf
        anyway_at = self._clock() + LOOK_ANYWAY_S
        while True:
            now = self._clock()
            if now >= anyway_at:
                self._forget_rates(now)
                self._look_at_all()
                anyway_at = now + LOOK_ANYWAY_S
            if self._told and now - looked_at >= LOOK_EVERY_S:
                looked_at = now
                wanted, self._told = self._told, _Wanted()
                await self._look_and_tell(wanted)
            elif self._new:
                await asyncio.sleep(NEWCOMERS_WAIT_S)
                wanted, self._new = self._new, _Wanted()
                await self._look_and_tell(wanted, newcomers=True)
            else:
                due_at = looked_at + LOOK_EVERY_S if self._told else anyway_at
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(due_at - now):
                        await self._wake.wait()

    async def _look_and_tell(self, wanted: _Wanted, *, newcomers: bool = False) -> None:
        """`newcomers`: who listens already is not told sooner because of others."""
        for number, (one, events) in enumerate(await self._look_at(wanted), 1):
            if not (newcomers and one.task_no in self._known):
                self._tell(one, events)
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _look_at(self, wanted: _Wanted) -> list[tuple[Progress, Sequence[Event]]]:
        """How tasks stand that somebody listens to, and their new events. Of tasks that nobody has
        been told of there are none: who listens reads those of before by himself."""
        try:
            async with self._database.connection() as conn:
                found = await progress.look(
                    conn,
                    tasks=wanted.tasks & self._by_task.keys(),
                    told=wanted.tasks,
                    owners=self._by_owner,
                    all_of=wanted.owners,
                )
                grown = {
                    one.task_no: known.last_event
                    for one in found
                    if one.task_no in self._by_task
                    and (known := self._known.get(one.task_no)) is not None
                    and one.last_event > known.last_event
                }
                events = await progress.events_after(conn, grown, most=EVENTS_AT_ONCE)
        except AWAY as error:
            if not is_away(error):
                raise
            self._told.add(wanted)
            await asyncio.sleep(RETRY_S)
            return []
        return [(one, events.get(one.task_no, ())) for one in found]

    def _tell(self, task: Progress, events: Sequence[Event]) -> None:
        task_no, known = task.task_no, self._known.get(task.task_no)
        of_task = self._by_task.get(task_no, set())
        of_owner = self._by_owner.get(task.owner_id, set())
        if task.finished and known is None:  # who has heard of its end, or came after it, does not
            of_owner = set() if task_no in self._ended else self._there_at_end(of_owner, task)
        if not of_task and not of_owner:
            return
        after = task.last_event if known is None else known.last_event
        last_event = max([task.last_event, *(event.seq for event in events)])
        if last_event > after or known is None:
            chunks = [
                (event.seq, message("event", self._documents.event(event), id=event.seq))
                for event in events
            ]
            for listener in of_task:
                listener.put_events(last_event, chunks, after=after)
        shown = self._documents.state(task, 0 if task.finished else self._rate(task_no))
        fixed = {key: value for key, value in shown.items() if key not in CHANGES_BY_ITSELF}
        if known is not None and fixed == known.fixed:
            self._known[task_no] = replace(known, last_event=last_event)
            return
        state, of_many = message("task", shown), _of_many(task, shown)
        end = _end(task) if task.finished else None
        for listener in of_task:
            listener.put_state(task_no, state, end)
        for listener in of_owner:
            listener.put_state(task_no, of_many, end)
        if not task.finished or of_task:
            self._known[task_no] = _Known(
                task_no, task.owner_id, fixed, state, of_many, end, last_event
            )
        else:
            self._known.pop(task_no, None)
        if task.finished:
            self._ended[task_no] = None
            while len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]

    def _there_at_end(self, listeners: set[Listener], task: Progress) -> set[Listener]:
        """Of these who listened when the task ended."""
        ended_at = self._clock() - (task.ended_s_ago or 0.0) + END_TAKES_S
        return {one for one in listeners if one.since <= ended_at}

    def _rate(self, task_no: int) -> int:
        rate, told_at = self._rates.get(task_no, (0, -math.inf))
        return rate if self._clock() - told_at < RATE_HOLDS_S else 0

    def _forget_rates(self, now: float) -> None:
        for task_no, (_, told_at) in list(self._rates.items()):
            if now - told_at >= RATE_HOLDS_S:
                del self._rates[task_no]


def _of_many(task: Progress, shown: JsonObject) -> bytes:
    return message("task", shown, id=int(task.looked_at.timestamp() * 1e6))


def _end(task: Progress) -> bytes:
    return message("end", {"task_id": str(task.id), "status": task.status})


def _discard(listeners: dict[Any, set[Listener]], key: object, listener: Listener) -> None:
    left = listeners.get(key)
    if left is not None:
        left.discard(listener)
        if not left:
            del listeners[key]
