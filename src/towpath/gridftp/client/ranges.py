"""One large file from server to server by ranges: each is a unit of progress, of verification, and
of what has to be sent again.

A range that both ends have answered for is compared on other sessions, the checkers, while the
lanes move the next ones: a session does one thing at a time. Servers that compute digests while
bytes pass (our own) need no such sessions: they are asked on the lane. Why the ranges are as large
as they are, and are compared in this order, is told in the GridFTP notes of the documentation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final, Self

from towpath.gridftp.client.checkers import Check, Checkers, OpenSession
from towpath.gridftp.client.lane import Lane, Outcome, Piece
from towpath.gridftp.client.pieces import SideName
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

_MEBIBYTE: Final = 1024 * 1024

RANGE_MIN_BYTES: Final = 16 * _MEBIBYTE
"""Smaller ranges cost more in commands than they save when they are sent again."""

RANGE_MAX_BYTES: Final = 64 * _MEBIBYTE
"""Larger ones save no more commands worth counting, and the last one's check takes longer."""

RANGES_PER_FILE: Final = 128
"""Between the two bounds: what is sent again after a failure is some hundredths of the file."""

WINDOW_BYTES: Final = 256 * _MEBIBYTE
"""Sent and not yet told to the caller, per lane: 10 Gbit/s for 0.2 s, of which a round trip is one
part and a range that is being checked another."""

WINDOW_RANGES: Final = 32
"""The same as a number, for files that miss many small ranges."""

OPENING_RANGES: Final = 2
"""The same while the checkers log in: these ranges hold a lane up with their checks."""

FEW_RANGES: Final = 16
"""Below, two more sessions cost more than is won when checks and transfers overlap."""

MOST_CHECKERS: Final = 4
"""Per end: four digest some 5 GB/s, and each is a process of the server's."""

MAX_ATTEMPTS: Final = 3
"""For a range whose digests differ: what differs three times is not the network's doing."""


def range_size(size: int) -> int:
    """Bytes of a range for a file of `size` bytes."""
    return max(RANGE_MIN_BYTES, min(RANGE_MAX_BYTES, size // RANGES_PER_FILE))


def cut(size: int, present: RangeSet) -> list[ByteRange]:
    """The ranges still to send of a file of `size` bytes, in order."""
    step = range_size(size)
    return [
        ByteRange(first, min(first + step, gap.after))
        for gap in present.complement(size)
        for first in range(gap.first, gap.after, step)
    ]


def checker_sessions(ranges: int, lanes: int) -> int:
    """How many checkers so many ranges are worth at each end; 0: they are checked on the lanes.

    One keeps up with one lane: both are one process's work, and a server computes SHA-256 at least
    as fast as it receives.
    """
    return 0 if ranges < FEW_RANGES else min(lanes, MOST_CHECKERS)


@dataclass(frozen=True)
class Checks:
    """How ranges are compared."""

    algorithm: str
    source: OpenSession
    destination: OpenSession
    sessions: int | None = None
    """Checkers at each end; 0: ranges are checked on the lanes; None: none if the servers compute
    digests on the way, else see `checker_sessions`."""


@dataclass(slots=True, eq=False)
class _Road:
    """A lane, with what of ours is on it."""

    lane: Lane
    ranges: int = 0
    size_bytes: int = 0
    driver: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class _Moving:
    """A range that was sent and not told."""

    part: ByteRange
    piece: Piece
    road: _Road
    arrived: bool = False
    checks: list[Check] = field(default_factory=list)
    digests: dict[SideName, str] = field(default_factory=dict)
    failure: tuple[SideName, GridFTPError] | None = None


class RangeTransfer:
    """Moves ranges of one file over lanes; use it as a context, and then `outcomes`.

    Ranges go out in the order given, to whichever lane has room. One that fails, or is void because
    its lane broke, is told and left to the caller; the other lanes go on. Where checkers are not
    open yet, cannot be opened, or broke twice, ranges are checked on the lanes, each behind its own
    transfer.

    The lanes have to be idle. They remain the caller's, and so does what is in flight on them when
    the context is left before `outcomes` has told that all is over: then close them.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        source_path: str,
        destination_path: str,
        ranges: Sequence[ByteRange],
        *,
        checks: Checks | None = None,
        window_bytes: int = WINDOW_BYTES,
        on_arrived: Callable[[ByteRange], None] | None = None,
    ) -> None:
        """The ranges must not overlap. With `checks` None they are done when both ends say so.

        `window_bytes` bounds what is sent and not told, per lane (but one range is always sent).
        `on_arrived` gets a range that both ends have answered for, as soon as that is so, if its
        check follows on other sessions: it needs not be sent again, whatever becomes of these.
        """
        self._roads = [_Road(lane) for lane in lanes]
        self._paths: dict[SideName, str] = {"source": source_path, "destination": destination_path}
        self._waiting = deque(ranges)
        self._checks = checks
        self._checkers: dict[SideName, Checkers] = {}
        self._window_bytes = window_bytes
        self._on_arrived = on_arrived
        self._moving: dict[ByteRange, _Moving] = {}
        self._told: list[Outcome] = []
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    # -- from outside

    async def __aenter__(self) -> Self:
        checks = self._checks
        if checks is None:
            return self
        sessions = checks.sessions
        if sessions is None and self._digests_on_the_way():
            sessions = 0
        if sessions is None:
            sessions = checker_sessions(len(self._waiting), len(self._roads))
        ends: list[tuple[SideName, OpenSession]] = [
            ("source", checks.source),
            ("destination", checks.destination),
        ]
        for side, open_session in ends if sessions else []:
            self._checkers[side] = Checkers(
                open_session,
                sessions,
                self._paths[side],
                checks.algorithm,
                on_change=lambda: self._fill(self._roads),
                on_end=self._ended,
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        drivers = [road.driver for road in self._roads if road.driver is not None]
        for driver in drivers:
            driver.cancel()
        # Before anything is waited for: whoever leaves may be cancelled again.
        for checkers in self._checkers.values():
            checkers.end()
        await asyncio.gather(
            *drivers,
            *(checkers.ended() for checkers in self._checkers.values()),
            return_exceptions=True,
        )

    def stop(self) -> None:
        """Send no more; what was sent is still told."""
        self._waiting.clear()

    async def outcomes(self) -> list[Outcome]:
        """Wait until something is known; what became of ranges. Empty when all is over.

        `done`: both ends have answered for the range, and their digests are equal (`digest`) if
        that was asked for. `failed`: with the error and the side. `void`: it counts for nothing, as
        in `Lane.outcomes`. What is never told was not sent: no lane was left.
        """
        self._fill(self._roads)
        while not self._told:
            if self._failure is not None:
                raise self._failure
            if not self._moving:
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        told, self._told = self._told, []
        return told

    def _digests_on_the_way(self) -> bool:
        """Whether digests are there when the ranges are: then checks hold the lane up no more.

        Of a file that several lanes write to at once a server is not sure, and reads it.
        """
        return len(self._roads) == 1 and self._roads[0].lane.digests_on_the_way

    # -- sending

    def _fill(self, roads: Sequence[_Road]) -> None:
        """Send what there is room for, to the lanes in turn. Whatever makes room calls this."""
        if not any(map(self._has_room, roads)):
            return
        apart = bool(self._checkers) and all(c.ready for c in self._checkers.values())
        algorithm = None if apart or self._checks is None else self._checks.algorithm
        sent: dict[_Road, list[_Moving]] = {}
        while any(map(self._has_room, roads)):
            for road in filter(self._has_room, roads):
                sent.setdefault(road, []).append(self._take(road, algorithm))
        for road, together in sent.items():
            road.lane.send([moving.piece for moving in together])
            if road.driver is None or road.driver.done():
                road.driver = asyncio.create_task(self._drive(road))
                road.driver.add_done_callback(self._ended)
            if apart:
                for moving in together:  # the source's disk then reads the range once, for both
                    self._check(moving, "source")

    def _has_room(self, road: _Road) -> bool:
        if not self._waiting or road.lane.broken:
            return False
        if not road.ranges:
            return True
        opening = any(checkers.opening for checkers in self._checkers.values())
        return (
            road.ranges < (OPENING_RANGES if opening else WINDOW_RANGES)
            and road.size_bytes + self._waiting[0].length <= self._window_bytes
        )

    def _take(self, road: _Road, algorithm: str | None) -> _Moving:
        part = self._waiting.popleft()
        source_path, destination_path = self._paths["source"], self._paths["destination"]
        piece = Piece(source_path, destination_path, part.length, part, checksum=algorithm)
        self._moving[part] = moving = _Moving(part, piece, road)
        road.ranges += 1
        road.size_bytes += part.length
        return moving

    async def _drive(self, road: _Road) -> None:
        while outcomes := await road.lane.outcomes():
            for outcome in outcomes:
                part = outcome.piece.byte_range
                assert part is not None, "only ranges were sent"
                moving = self._moving[part]
                if outcome.status != "done":
                    for check in moving.checks:
                        check.wanted = False
                    self._tell(moving, outcome)
                elif not moving.checks:
                    self._tell(moving, outcome)
                else:
                    moving.arrived = True
                    if self._on_arrived is not None:
                        self._on_arrived(part)
                    self._check(moving, "destination")
                    self._compare(moving)

    # -- checking

    def _check(self, moving: _Moving, side: SideName) -> None:
        check = Check(moving.part, partial(self._checked, moving, side))
        moving.checks.append(check)
        self._checkers[side].put(check)

    def _checked(self, moving: _Moving, side: SideName, told: str | GridFTPError) -> None:
        if isinstance(told, str):
            moving.digests[side] = told
        else:
            moving.failure = moving.failure or (side, told)
        self._compare(moving)

    def _compare(self, moving: _Moving) -> None:
        """Tell what became of a range that has arrived, if that is known by now."""
        if not moving.arrived:
            return
        piece = moving.piece
        if moving.failure is not None:
            side, error = moving.failure
            for check in moving.checks:
                check.wanted = False
            self._tell(moving, Outcome(piece, "failed", error, side))
        elif len(moving.digests) == 2:
            here, there = moving.digests["source"], moving.digests["destination"]
            if here == there:
                self._tell(moving, Outcome(piece, "done", digest=here))
            else:
                error = self._mismatch(moving, here, there)
                self._tell(moving, Outcome(piece, "failed", error, "destination"))

    def _mismatch(self, moving: _Moving, here: str, there: str) -> GridFTPError:
        assert self._checks is not None
        return GridFTPError(
            Kind.CHECKSUM_MISMATCH,
            f"{self._checks.algorithm} of bytes {moving.part} is {there} at the"
            f" destination, {here} at the source",
            str(moving.road.lane.destination.server),
            moving.piece.destination_path,
        )

    # -- telling

    def _tell(self, moving: _Moving, outcome: Outcome) -> None:
        if self._moving.pop(moving.part, None) is None:
            return  # the other end's digest of a range that has failed
        moving.road.ranges -= 1
        moving.road.size_bytes -= moving.part.length
        self._told.append(outcome)
        self._wake()
        self._fill([moving.road])

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def move_file(
    lanes: Sequence[Lane],
    file: Piece,
    *,
    checks: Checks | None = None,
    window_bytes: int = WINDOW_BYTES,
    on_moved: Callable[[int], None] | None = None,
    present: RangeSet | None = None,
) -> Outcome:
    """Move a whole file, which must not be empty, by ranges; what became of it.

    `present` is what earlier calls have moved and compared, and is added to. While that is nothing
    the destination is removed first, because writing ranges truncates nothing. A range that
    differs, or whose lane broke while another works, is sent again. In the end the size must be
    right; then the file gets its time (`modified`). Digests are compared as `checks` says, not
    `file.checksum`. `on_moved` gets the bytes of each range that is done.

    If it failed, lanes that are not broken are idle, and part of the file may be there. If this is
    cancelled, close the lanes.
    """
    if present is None:
        present = RangeSet()
    try:
        if not present:
            await _remove(lanes[0].destination, file.destination_path)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            lanes = [lane for lane in lanes if not lane.broken]
            transfer = RangeTransfer(
                lanes,
                file.source_path,
                file.destination_path,
                cut(file.size, present),
                checks=checks,
                window_bytes=window_bytes,
            )
            failed = await _run(transfer, present, on_moved)
            if failed is None:
                break
            error = failed.error
            assert error is not None, "a failed outcome says why"
            if error.permanent or attempt == MAX_ATTEMPTS or all(lane.broken for lane in lanes):
                return Outcome(file, "failed", error, failed.failed_side)
        working = [lane for lane in lanes if lane.usable]
        if not working or present.complement(file.size):
            raise _no_lane(lanes[0] if lanes else None, file)
        await _finish(working[0], file)
    except GridFTPError as error:
        return Outcome(file, "failed", error, "destination")
    return Outcome(file, "done")


def _no_lane(lane: Lane | None, file: Piece) -> GridFTPError:
    where = "" if lane is None else str(lane.destination.server)
    message = "the sessions were lost before the file was finished"
    return GridFTPError(Kind.CONNECTION_LOST, message, where, file.destination_path)


async def _run(
    transfer: RangeTransfer, present: RangeSet, on_moved: Callable[[int], None] | None
) -> Outcome | None:
    """Add what arrives to `present`; the first failure, after which only some more was tried."""
    failed: Outcome | None = None
    async with transfer:
        while told := await transfer.outcomes():
            for outcome in told:
                part = outcome.piece.byte_range
                assert part is not None, "only ranges were sent"
                if outcome.status == "done":
                    present.add(part)
                    if on_moved is not None:
                        on_moved(part.length)
                elif outcome.error is not None:
                    failed = failed or outcome
                    if outcome.error.permanent:
                        transfer.stop()
    return failed


async def _remove(session: Session, path: str) -> None:
    try:
        await session.delete_file(path)
    except GridFTPError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise


async def _finish(lane: Lane, file: Piece) -> None:
    """A source that became shorter sends ranges that are too short, and says that all is well."""
    path = file.destination_path
    stored = await lane.destination.size(path)
    if stored != file.size:
        raise GridFTPError(
            Kind.CHECKSUM_MISMATCH,
            f"{stored} bytes arrived of a file of {file.size}: the source has changed",
            str(lane.destination.server),
            path,
        )
    if file.modified is not None:
        await lane.destination.set_modified(path, file.modified)
