"""What one stream has still to send. However slow its reader is, this stays small: of each task the
latest state, of each kind of thing in flight the latest list, and a few events."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import UUID

EVENTS_KEPT: Final = 100
"""Of new events so many wait for a reader; one that is slower reads them from the database, from
where it is."""


class Listener:
    """One stream, as the hub sees it. `take` what there is to send; `news` is set when there is."""

    def __init__(
        self, owner_id: UUID, task_no: int | None, after: int = 0, *, since: float = 0.0
    ) -> None:
        """`task_no` None: all tasks of `owner_id`. `after`: the last event that the reader has.
        `since`: when it began, by the hub's clock."""
        self.owner_id = owner_id
        self.task_no = task_no
        self.since = since
        self.cursor = after
        """The last event that was taken, or waits to be."""
        self.newest = after
        """The latest event that there is, as far as the hub knows."""
        self.behind = task_no is not None
        """Whether events after `cursor` are to be read from the database."""
        self.began = False
        """Whether a state has come; before it nothing is sent."""
        self.over = False
        """Whether nothing more will come."""
        self.news = asyncio.Event()
        self._states: dict[int, bytes] = {}
        self._ends: dict[int, bytes] = {}
        self._files = b""
        self._events: deque[bytes] = deque()

    # -- from the hub

    def put_state(self, task_no: int, state: bytes, end: bytes | None) -> None:
        """How a task stands now, which replaces how it stood; `end`: it will not change again."""
        self.began = True
        self._states[task_no] = state
        if end is not None:
            self._ends[task_no] = end
        self.news.set()

    def put_files(self, files: bytes) -> None:
        """What is in flight now."""
        self._files = files
        self.news.set()

    def put_events(self, newest: int, events: Sequence[tuple[int, bytes]], *, after: int) -> None:
        """The first events with numbers above `after`; the latest is `newest`."""
        self.newest = max(self.newest, newest)
        fresh = [(number, event) for number, event in events if number > self.cursor]
        if self.cursor < after or len(self._events) + len(fresh) > EVENTS_KEPT:
            self.behind = True
        if not self.behind:
            self._events.extend(event for _, event in fresh)
            self.cursor = max([self.cursor, *(number for number, _ in fresh)])
            self.behind = self.cursor < newest
        self.news.set()

    def end(self) -> None:
        """The service stops."""
        self.over = True
        self.news.set()

    # -- from the stream

    def caught_up(self, cursor: int, *, more: bool) -> None:
        """Events up to `cursor` were read from the database; `more`: perhaps not all."""
        self.cursor = max(self.cursor, cursor)
        self.behind = more or self.cursor < self.newest

    def take(self) -> bytes:
        """What is to be sent now; while `behind`, what comes before the events that are missing."""
        self.news.clear()
        chunks = [*self._states.values(), *self._events, self._files]
        self._states.clear()
        self._events.clear()
        self._files = b""
        if self._ends and not self.behind:
            chunks += self._ends.values()
            self._ends.clear()
            self.over |= self.task_no is not None
        return b"".join(chunks)
