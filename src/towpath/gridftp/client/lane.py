"""A lane: one pair of control sessions, with its data channel, that moves files pipelined.

Bytes go from server to server. The lane only counts replies, and holds the order rule: servers
answer in order, and after one failure on a cached data channel every later file may have another
file's bytes, although both servers say 226. So the first failure voids all that was sent after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from towpath.gridftp.client.channel import GATHER_S, Receiver
from towpath.gridftp.client.handover import introduce
from towpath.gridftp.client.pieces import (
    Flight,
    Operation,
    Outcome,
    Piece,
    SideName,
    Stage,
    Waits,
    destination_commands,
    source_commands,
)
from towpath.gridftp.client.session import Session
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind, cause_of
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.markers import parse_performance
from towpath.gridftp.wire.numbers import parse_unsigned
from towpath.gridftp.wire.replies import Reply

__all__ = ["Lane", "Outcome", "Piece", "Protection"]

ECHO_WAIT_S: Final = 5.0
"""After one end has failed, how long the other may take to say what it saw: it may know the cause,
but a destination whose sender never connects waits for ever."""

DRAIN_S: Final = 1.0
"""How long a destination may take to fail what is queued there, once the source is closed."""

SOURCE_END_S: Final = 0.5
"""How long a source may take to end, after the destination has."""

SLOWEST_BYTES_S: Final = 256 * 1024
"""Without markers, a file may take its size at this rate, on top of the stall time, in silence."""

SLOWEST_CHECKSUM_BYTES_S: Final = 10 * 1024 * 1024
"""A server says nothing while it reads a file for its digest; slower than this is stalled."""


DIGEST_BYTES: Final = 1024 * 1024
"""Of smaller pieces a server reads again what it has just received or sent: that costs nothing."""


BEHIND_AFTER_S: Final = 4 * GATHER_S
"""Replies gather at each end by themselves: what is read of one may be so much older."""


class _Side(Receiver):
    """One end: the operations whose final replies are to come, in order."""

    def __init__(self, lane: Lane, name: SideName, session: Session) -> None:
        self.lane = lane
        self.name = name
        self.session = session
        self.where = str(session.server)
        self.takes_intermediate = lane.markers
        self.operations: deque[tuple[Operation, Flight | None, str]] = deque()
        self.lost_error: GridFTPError | None = None
        self.stripes: dict[int, int] = {}

    def reply(self, reply: Reply) -> None:
        if self.operations:
            operation, flight, path = self.operations.popleft()
            self.lane.took(self, operation, flight, path, reply)

    def intermediate(self, reply: Reply) -> None:
        self.lane.heard(self, reply)

    def lost(self, error: GridFTPError) -> None:
        if self.lost_error is None:
            self.lane.side_lost(self, error)


class Lane:
    """One pair of sessions that moves pieces, in order; use `open`, from one task at a time."""

    def __init__(
        self,
        source: Session,
        destination: Session,
        *,
        markers: bool,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        """Use `open`."""
        self.broken = False
        """Takes no more pieces: a piece failed, a session was lost, or the lane was closed."""
        self.failure: Outcome | None = None
        """What broke it, if a piece's failure did, also one that was not understood when it was
        closed: from there on nothing that was sent is sure."""
        self.settled: bool | None = None
        """After the end: whether the destination has confirmed that nothing of ours writes."""
        self.directory_errors: dict[str, GridFTPError] = {}
        """Directories that could not be made. A piece that needs one fails with its error."""
        self.markers = markers
        """Whether the destination tells of its progress while a piece moves."""
        self.on_progress = on_progress
        """Gets the bytes received since its last call; a lane may change hands."""
        self._source = _Side(self, "source", source)
        self._destination = _Side(self, "destination", destination)
        self._sides = (self._source, self._destination)
        for side in self._sides:
            side.session.channel.gathers = True
        self._stall_s = min(source.timeouts.stall_s, destination.timeouts.stall_s)
        self._flights: deque[Flight] = deque()
        self._flying_bytes = 0
        self._digested = ""
        self._sent = 0
        self._failed: Flight | None = None
        self._ready: list[Outcome] = []
        self._nudged = False
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._echo_timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[bool] | None = None

    # -- setting up

    @classmethod
    async def open(
        cls,
        source: Session,
        destination: Session,
        *,
        data_credential: DataCredential | None,
        protection: Protection = Protection.CLEAR,
        streams: int = 1,
        markers: bool = False,
        data_hosts: frozenset[str] = frozenset(),
        on_progress: Callable[[int], None] | None = None,
    ) -> Lane:
        """Set both ends up; the sessions may still be logging in (`Session.start`).

        `data_credential` None means data channels without authentication (DCAU N). `markers` asks
        the destination to report progress every second: for large files. `on_progress` gets the
        bytes received since its last call. The destination's passive address must be its control
        peer's or one of `data_hosts` (IP addresses), else ADDRESS_REFUSED is raised and the source
        learns nothing of it. On any error the sessions remain the caller's to close.
        """
        address = await introduce(
            source,
            destination,
            data_credential=data_credential,
            protection=protection,
            streams=streams,
            markers=markers,
            data_hosts=data_hosts,
        )
        lane = cls(source, destination, markers=markers, on_progress=on_progress)
        lane._connect(address)
        return lane

    def _connect(self, address: HostPort) -> None:
        """Give the source the address; its answer is awaited with those of the first piece."""
        side = self._source
        side.operations.append((Operation.CONNECT, None, ""))
        side.session.channel.send([side.session.encode(commands.port(address))], side)

    # -- sending

    @property
    def source(self) -> Session:
        """The sending end's session."""
        return self._source.session

    @property
    def destination(self) -> Session:
        """The receiving end's session."""
        return self._destination.session

    @property
    def in_flight(self) -> int:
        """Pieces sent whose outcome is not known."""
        return len(self._flights)

    @property
    def in_flight_bytes(self) -> int:
        """Their sizes together."""
        return self._flying_bytes

    def under_way(self) -> list[tuple[Piece, Stage]]:
        """The pieces whose outcome is not known, in order, and how far each has come."""
        found: list[tuple[Piece, Stage]] = []
        moves = False
        for flight in self._flights:
            if len(flight.transferred) == len(self._sides):
                found.append((flight.piece, Stage.CHECKED))
            else:
                found.append((flight.piece, Stage.WAITS if moves else Stage.MOVES))
                moves = True
        return found

    @property
    def waits_for(self) -> Waits:
        """What both servers are at now: each works on the oldest command that it has not answered.

        An end counts as behind only if it has been silent for longer than replies may lie here
        unread, so that a lane whose files go by one after the other blames nobody.
        """
        if not self._flights:
            return Waits.NOTHING
        (here, at_source), (there, at_destination) = (_at_now(side) for side in self._sides)
        checksum = Operation.CHECKSUM
        if here == there and (at_source is checksum) == (at_destination is checksum):
            return Waits.BOTH_CHECKSUMS if at_source is checksum else Waits.BOTH
        # Of one piece, what comes before its checksum is behind.
        if here < there or (here == there and at_destination is checksum):
            behind, operation = self._source, at_source
        else:
            behind, operation = self._destination, at_destination
        if operation is checksum:
            return Waits.SOURCE_CHECKSUM if behind is self._source else Waits.DESTINATION_CHECKSUM
        if self._loop.time() - behind.session.channel.answered_at < BEHIND_AFTER_S:
            return Waits.BOTH
        return Waits.SOURCE if behind is self._source else Waits.DESTINATION

    @property
    def digests_on_the_way(self) -> bool:
        """Whether both ends can compute a piece's digest while it moves, and tell it at once."""
        return all(side.session.features.digest for side in self._sides)

    @property
    def due(self) -> bool:
        """Whether `outcomes` has, or will have, something to tell."""
        return bool(self._flights or self._ready)

    @property
    def usable(self) -> bool:
        """Whether pieces can be sent: not broken, and both ends take part."""
        return not self.broken and all(
            side.lost_error is None and not side.session.closed for side in self._sides
        )

    def send(self, pieces: Sequence[Piece], directories: Sequence[str] = ()) -> None:
        """Send commands for directories (parents first), then for pieces, at once.

        A piece that cannot be sent (a bad name) fails alone. On a broken lane every piece is void.
        """
        if self.broken:
            self._ready.extend(Outcome(piece, "void") for piece in pieces)
            self._wake()
            return
        for side in self._sides:
            side.lost_error = side.lost_error or side.session.channel.error
        if not self._flights:
            self._heard_at = self._loop.time()
        if self._usable():
            for path in directories:
                self._make_directory(path)
        for piece in pieces:
            self._sent += 1
            flight = Flight(self._sent, piece)
            self._flights.append(flight)
            self._flying_bytes += piece.size
            if self._usable():
                self._launch(flight)
            else:
                self._hold(flight)
        self._destination.session.channel.flush()
        self._source.session.channel.flush()
        if self._timer is None and self._flights and not self.broken:
            self._check_stall()
        self._advance()
        self._resolve()

    def _usable(self) -> bool:
        return self._failed is None and all(side.lost_error is None for side in self._sides)

    def _hold(self, flight: Flight) -> None:
        """Not sent: it fails, or is void, when what is before it has been understood."""
        flight.waiting = 1
        flight.transferred.update(("source", "destination"))
        for side in self._sides:
            if side.lost_error is not None:
                flight.errors[side.name] = side.lost_error
        self._failed = self._failed or flight

    def _make_directory(self, path: str) -> None:
        side = self._destination
        try:
            line = side.session.encode(commands.mkd(path))
        except GridFTPError as error:
            self.directory_errors[path] = error
            return
        side.operations.append((Operation.DIRECTORY, None, path))
        side.session.channel.queue(line, side)

    def _digest(self, algorithm: str) -> None:
        """What is computed while pieces move from now on; empty: nothing.

        A server that refuses reads the piece when it is asked for the digest.
        """
        if algorithm == self._digested or not self.digests_on_the_way:
            return
        self._digested = algorithm
        for side, line in (
            (self._destination, commands.digest_received(algorithm)),
            (self._source, commands.digest_sent(algorithm)),
        ):
            side.operations.append((Operation.SETTING, None, ""))
            side.session.channel.queue(side.session.encode(line), side)

    def _launch(self, flight: Flight) -> None:
        piece = flight.piece
        if piece.size >= DIGEST_BYTES:
            self._digest(piece.checksum or "")
        try:
            there = [
                (operation, self._destination.session.encode(line))
                for operation, line in destination_commands(
                    piece, self._destination.session.features
                )
            ]
        except GridFTPError as error:
            flight.soft = ("destination", error)
            return
        try:
            here = [
                (operation, self._source.session.encode(line))
                for operation, line in source_commands(piece)
            ]
        except GridFTPError as error:
            flight.soft = ("source", error)
            return
        flight.waiting = len(there) + len(here)
        for side, path, lines in (
            (self._destination, piece.destination_path, there),
            (self._source, piece.source_path, here),
        ):
            for operation, line in lines:
                side.operations.append((operation, flight, path))
                side.session.channel.queue(line, side)

    # -- what the sides report

    def took(
        self, side: _Side, operation: Operation, flight: Flight | None, path: str, reply: Reply
    ) -> None:
        """A side's next final reply."""
        self._heard_at = side.session.channel.heard_at
        if flight is None:
            if operation is Operation.DIRECTORY:
                self._took_directory(side, path, reply)
            elif operation is Operation.CONNECT and not reply.ok:
                self.side_lost(side, classify(reply, where=side.where))
            return
        if self.broken:
            return
        flight.waiting -= 1
        if operation is Operation.TRANSFER:
            flight.transferred.add(side.name)
            side.stripes.clear()
            if reply.code != 226:
                self._fail(side, flight, self._transfer_error(side, path, reply))
                return
        elif operation is Operation.CHECKSUM:
            self._took_checksum(side, flight, path, reply)
        elif operation is Operation.SIZE and reply.ok:
            self._took_size(side, flight, path, reply)
        elif not reply.ok:
            error = classify(reply, where=side.where, path=path)
            if operation is not Operation.REMOVAL or error.kind is not Kind.NOT_FOUND:
                flight.soft = flight.soft or (side.name, error)
        if not flight.waiting:
            self._advance()
        if self._failed is not None:
            self._resolve()

    def heard(self, side: _Side, reply: Reply) -> None:
        """A side's 1xx reply."""
        marker = parse_performance(reply)
        if marker is None:
            return
        more = marker.stripe_bytes - side.stripes.get(marker.stripe, 0)
        if more > 0:  # nothing else is a sign of life: it could be said for ever
            side.stripes[marker.stripe] = marker.stripe_bytes
            self._heard_at = self._loop.time()
            if self.on_progress is not None:
                self.on_progress(more)

    def side_lost(self, side: _Side, error: GridFTPError) -> None:
        """A side's session ended, or can take part in no transfer."""
        side.lost_error = side.lost_error or error
        if self.broken:
            return
        flight = next((flight for _, flight, _ in side.operations if flight is not None), None)
        side.operations.clear()
        if flight is not None:
            self._fail(side, flight, error)
        # else the next piece fails with it

    def _took_directory(self, side: _Side, path: str, reply: Reply) -> None:
        if not reply.ok:
            error = classify(reply, where=side.where, path=path)
            if error.kind is not Kind.EXISTS:
                self.directory_errors[path] = error

    def _took_checksum(self, side: _Side, flight: Flight, path: str, reply: Reply) -> None:
        if reply.code == 213:
            flight.digests[side.name] = reply.text.strip().lower()
            return
        error = (
            GridFTPError(Kind.PROTOCOL, "the server told no checksum", side.where, path)
            if reply.ok
            else classify(reply, where=side.where, path=path)
        )
        if error.kind is Kind.UNSUPPORTED:
            error.kind = Kind.CHECKSUM_UNSUPPORTED
        flight.soft = flight.soft or (side.name, error)

    def _took_size(self, side: _Side, flight: Flight, path: str, reply: Reply) -> None:
        try:
            arrived = parse_unsigned(reply.text.strip())
        except ValueError:
            error = GridFTPError(Kind.PROTOCOL, "the server told no size", side.where, path)
        else:
            if arrived == flight.piece.size:
                return
            sizes = f"{arrived} bytes arrived, {flight.piece.size} were expected"
            error = GridFTPError(Kind.CHECKSUM_MISMATCH, sizes, side.where, path)
        flight.soft = flight.soft or (side.name, error)

    def _transfer_error(self, side: _Side, path: str, reply: Reply) -> GridFTPError:
        if reply.ok:
            return GridFTPError(
                Kind.PROTOCOL,
                "the server's reply does not fit a transfer",
                side.where,
                path,
                f"{reply.code}",
            )
        error = classify(reply, where=side.where, path=path)
        if side is self._destination and error.kind in (Kind.NOT_FOUND, Kind.NOT_A_DIRECTORY):
            parent = path
            while parent := parent.rpartition("/")[0]:
                if parent in self.directory_errors:
                    return self.directory_errors[parent]
        return error

    # -- outcomes and the order rule

    async def outcomes(self) -> list[Outcome]:
        """Wait until the outcome of at least one piece is known; all known ones, in send order.

        First any number of `done` (and pieces that failed alone, by their checksum or name), then
        at most one `failed` that breaks the lane, then `void` for all that was sent after it.
        Empty when nothing is in flight, and when `nudge` was called.
        """
        while not self._ready:
            if not self._flights or self._nudged:
                break
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._nudged = False
        ready, self._ready = self._ready, []
        return ready

    def nudge(self) -> None:
        """Let `outcomes` return although it has none: there is more to send.

        Nothing is remembered when nothing is in flight: the next user of the lane may be another.
        """
        self._nudged = bool(self._flights)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _advance(self) -> None:
        """Move what is complete from the head of the flights to the outcomes."""
        flights = self._flights
        while flights and not flights[0].waiting and not flights[0].errors:
            flight = flights.popleft()
            self._flying_bytes -= flight.piece.size
            self._ready.append(self._judge(flight))
        if not flights and any(side.lost_error is not None for side in self._sides):
            self._break()
        if self._ready:
            self._wake()

    def _judge(self, flight: Flight) -> Outcome:
        piece = flight.piece
        if flight.soft is not None:
            return Outcome(piece, "failed", flight.soft[1], flight.soft[0])
        if piece.checksum is None:
            return Outcome(piece, "done")
        source, destination = flight.digests["source"], flight.digests["destination"]
        if source != destination:
            error = GridFTPError(
                Kind.CHECKSUM_MISMATCH,
                f"{piece.checksum} is {destination} at the destination, {source} at the source",
                self._destination.where,
                piece.destination_path,
            )
            return Outcome(piece, "failed", error, "destination")
        return Outcome(piece, "done", digest=source)

    def _fail(self, side: _Side, flight: Flight, error: GridFTPError) -> None:
        flight.errors.setdefault(side.name, error)
        if self._failed is None or flight.number < self._failed.number:
            self._failed = flight
        self._resolve()

    def _resolve(self, *, waited: bool = False) -> None:
        """Break the lane as soon as the failure and everything before it are understood."""
        failed = self._failed
        if failed is None or self.broken:
            return
        sides = self._sides
        if self._flights[0] is not failed:
            # Pieces before it are still good; the stall check bounds how long they may take.
            if all(side.lost_error is not None for side in sides):
                self._break()
            return
        cause = cause_of(failed.errors.get("source"), failed.errors.get("destination"))
        assert cause is not None
        told = all(side.name in failed.transferred or side.lost_error is not None for side in sides)
        if waited or told or not cause.is_echo:
            self._break(cause)
        elif self._echo_timer is None:
            self._echo_timer = self._loop.call_later(ECHO_WAIT_S, self._echo_waited)
            for side in sides:
                if side.lost_error is None and side.name not in failed.transferred:
                    side.session.submit(["NOOP"])  # a dead connection tells that to who writes

    def _echo_waited(self) -> None:
        self._resolve(waited=True)

    def _break(self, cause: GridFTPError | None = None) -> None:
        """The head has failed, everything behind it is void, both sessions are closed."""
        if self.broken:
            return
        self.broken = True
        self._stop_timers()
        if self._flights:
            head = self._flights.popleft()
            self.failure = self._failure_of(head, cause)
            self._ready.append(self.failure)
        self._void()
        self._begin_closing()

    def _failure_of(self, flight: Flight, cause: GridFTPError | None = None) -> Outcome:
        error = cause or cause_of(flight.errors.get("source"), flight.errors.get("destination"))
        if error is None:
            error = self._source.lost_error or self._destination.lost_error
        failed_side = next((n for n, told in flight.errors.items() if told is error), None)
        return Outcome(flight.piece, "failed", error, failed_side)

    def _void(self) -> None:
        self._ready.extend(Outcome(flight.piece, "void") for flight in self._flights)
        self._flights.clear()
        self._flying_bytes = 0
        self._wake()

    # -- stalls

    def _check_stall(self) -> None:
        self._timer = None
        if not self._flights or self.broken:
            return
        silent_s = self._loop.time() - self._heard_at
        left_s = self._patience_s() - silent_s
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check_stall)
            return
        head = self._flights[0]
        behind: SideName | None = None
        if len(head.transferred) == 1:
            behind = "source" if "destination" in head.transferred else "destination"
        # Of two that are silent the receiver is named: it is the one that tells of progress.
        side = self._source if behind == "source" else self._destination
        error = GridFTPError(
            Kind.STALLED,
            f"no progress for {silent_s:.0f} s (from {self._source.where})",
            side.where,
            head.piece.source_path if behind == "source" else head.piece.destination_path,
        )
        if behind is not None:
            head.errors[behind] = error
        self._break(error)

    def _patience_s(self) -> float:
        """How long silence is fine, by what the two ends are at."""
        longest_s = 0.0
        for side in self._sides:
            if not side.operations:
                continue
            operation, flight, _ = side.operations[0]
            if flight is None:
                continue
            if operation is Operation.CHECKSUM:
                longest_s = max(longest_s, flight.piece.size / SLOWEST_CHECKSUM_BYTES_S)
            elif operation is Operation.TRANSFER and not self.markers:
                longest_s = max(longest_s, flight.piece.size / SLOWEST_BYTES_S)
        return self._stall_s + longest_s

    # -- the end

    async def close(self) -> bool:
        """End both sessions; whether the destination has confirmed its end (`settled`).

        Pieces in flight become void. The sooner the better: what still runs may write wrong bytes.
        """
        if self._failed is not None and self.failure is None:
            self.failure = self._failure_of(self._failed)
        self.broken = True
        self._stop_timers()
        self._void()
        return await asyncio.shield(self._begin_closing())

    async def give_up(self) -> None:
        """Close both sockets at once. With nothing in flight there is no end to wait for."""
        self.broken = True
        self._stop_timers()
        self._void()
        await asyncio.gather(self.source.give_up(), self.destination.give_up())

    def _begin_closing(self) -> asyncio.Task[bool]:
        if self._closing is None:
            self._closing = self._loop.create_task(self._close_sessions())
        return self._closing

    async def _close_sessions(self) -> bool:
        # The source first. A GCT destination that is cut off among queued STORs hangs for good in
        # one of seven cases; one whose sender is gone fails them all within milliseconds, and an
        # idle one, or one that waits for a sender, always ends. A source hangs too (one in 25), but
        # it only reads, and what it might send has nobody to take it.
        source, destination = self._source.session, self._destination.session
        source_end = self._loop.create_task(source.close())
        await destination.channel.drain(DRAIN_S)
        self.settled = await destination.close()
        await asyncio.wait([source_end], timeout=SOURCE_END_S)
        await source.give_up()
        await source_end
        return self.settled

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._echo_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._echo_timer = None


def _at_now(side: _Side) -> tuple[float, Operation | None]:
    """The piece that an end is at, and what of it; an infinite number: it has done all."""
    for operation, flight, _ in side.operations:
        if flight is not None:
            return flight.number, operation
    return inf, None
