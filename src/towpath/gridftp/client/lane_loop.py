"""Keeps one lane full: work in, outcomes out, a new lane when one broke."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from towpath.gridftp.client.lane import Lane
from towpath.gridftp.client.pieces import Outcome, Piece

Work = TypeVar("Work")

LEAST_WINDOW_FILES: Final = 10
"""After failures less is sent ahead, because all of it is sent again, but still a few."""


class Room(NamedTuple):
    """How much more may be under way."""

    files: int
    size_bytes: int


class Window(NamedTuple):
    """The bounds of what one lane has under way."""

    files: int
    size_bytes: int
    refill_files: int
    """As many must have room before more is taken: commands go out in batches."""


class Load(NamedTuple):
    """What is sent in one go."""

    pieces: Sequence[Piece]
    directories: Sequence[str] = ()
    """Made first, parents first."""


class Supply(Protocol[Work]):
    """Where a lane's work comes from, and who hears what became of it."""

    async def take(self, room: Room, *, idle: bool) -> Sequence[Work] | None:
        """The next work, at most as much as there is room for (but at least one file).

        Nothing is under way when `idle`: then it may wait for work. Else outcomes are due, and new
        work is told of by `Lane.nudge`. None: there will be none any more.
        """

    def load(self, lane: Lane, work: Sequence[Work]) -> Load:
        """What to send for it. It is sent at once, with no await between. What cannot be sent, as
        its outcome would say, is settled by the supply itself."""

    def put_back(self, work: Sequence[Work]) -> None:
        """It was not sent, because no lane could be opened now."""

    async def settle(self, lane: Lane, outcomes: Sequence[Outcome]) -> None:
        """Outcomes in the order of sending. A broken lane has been closed (`Lane.settled`)."""


class LaneLoop(Generic[Work]):
    """The loop of one lane. Use `run` once; after it, `lane` may still be open."""

    def __init__(
        self,
        supply: Supply[Work],
        open_lane: Callable[[], Awaitable[Lane | None]],
        window: Window,
        *,
        on_close: Callable[[Lane], None] = lambda lane: None,  # noqa: ARG005
    ) -> None:
        """`open_lane` gives a lane ready for pieces, or None when there is none now."""
        self.lane: Lane | None = None
        self._supply = supply
        self._open_lane = open_lane
        self._window = window
        self._fewer_files: int | None = None
        """After a failure less is sent ahead, and more again with each file that arrives."""
        self._on_close = on_close

    async def run(self, *, eager: bool = False) -> None:
        """Move what the supply gives until it ends; `eager` opens the lane before there is work.

        Raises what the supply and `open_lane` raise. Also then, and when it is cancelled, `lane` is
        left to the caller: it knows what is still under way.
        """
        if eager:
            self.lane = await self._open_lane()
        while True:
            lane = self.lane
            due = lane is not None and lane.due
            room = self._room(lane)
            if room is not None:
                work = await self._supply.take(room, idle=not due)
                if work:
                    if not due:
                        lane = await self._usable_lane()
                    self._send(lane, work)
                elif work is None and not due:
                    return
            if lane is not None and lane.due:
                await self._settle(lane)

    async def close(self) -> None:
        """Close the lane if it is open. Cancelled meanwhile, the lane is still here."""
        lane = self.lane
        if lane is not None:
            await lane.close()
            self.lane = None
            self._on_close(lane)

    def _room(self, lane: Lane | None) -> Room | None:
        flying = 0 if lane is None else lane.in_flight
        limit = min(self._fewer_files or self._window.files, self._window.files)
        files = limit - flying
        if flying and files < min(self._window.refill_files, limit):
            return None
        flying_bytes = 0 if lane is None else lane.in_flight_bytes
        if flying_bytes >= self._window.size_bytes:
            return None
        return Room(files, self._window.size_bytes - flying_bytes)

    async def _usable_lane(self) -> Lane | None:
        if self.lane is not None and not self.lane.usable:
            await self.close()  # a server has ended an idle session
        if self.lane is None:
            self.lane = await self._open_lane()
        return self.lane

    def _send(self, lane: Lane | None, work: Sequence[Work]) -> None:
        if lane is None:
            self._supply.put_back(work)
            return
        load = self._supply.load(lane, work)
        lane.send(load.pieces, load.directories)

    async def _settle(self, lane: Lane) -> None:
        outcomes = await lane.outcomes()
        if lane.broken:
            limit = self._fewer_files or self._window.files
            self._fewer_files = max(LEAST_WINDOW_FILES, limit // 2)
            await self.close()
        elif self._fewer_files is not None:
            more = self._fewer_files + len(outcomes)
            self._fewer_files = None if more >= self._window.files else more
        if outcomes:
            await self._supply.settle(lane, outcomes)
