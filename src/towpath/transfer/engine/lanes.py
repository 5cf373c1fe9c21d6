"""Lanes at work: pending files go into flight, their outcomes to the recorder.

A data command is sent only after its row is committed as in flight, and only under a lease that
is usable at that moment. The order rule (one failure voids all that was sent after it) is the
lane's; what a voided file's state is afterwards depends on whether both servers confirmed their
sessions' end: if not, a command may still be running, and the file is contested (I3).
"""

import asyncio
import posixpath
from collections.abc import Sequence

import structlog

from towpath.gridftp.client.lane import Lane, Outcome
from towpath.gridftp.client.lane_loop import LaneLoop, Load, Room, Window
from towpath.gridftp.client.pieces import Stage
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree import spoiled_path
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.transfer import accounting
from towpath.transfer.engine.arrived import record, remove_anew, remove_spoiled
from towpath.transfer.engine.changes import as_now, change, take_note
from towpath.transfer.engine.context import SidedError, TaskContext, TaskFaultError, Work
from towpath.transfer.engine.faults import Consequence, not_removed, skipped
from towpath.transfer.engine.large import LargeFile
from towpath.transfer.engine.news import FileState, Moving
from towpath.transfer.engine.pairs import Pair, PairOpener, whole_piece
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.stopwatch import CHECKSUM, OF_LANE, RETRY, SERVICE
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File, Returned, State

log = structlog.get_logger()

_STATES = {
    Stage.WAITS: FileState.WAITING,
    Stage.MOVES: FileState.SENDING,
    Stage.CHECKED: FileState.VERIFYING,
}
# A lane that broke so often without one file done in between is no longer a hiccup.
BREAKS_MAX = 3
# A server that just lost a session may need a moment; more than that is back-off.
REOPEN_AFTER_S = 0.5
# How long a lane waits for work before it looks again; it is woken earlier when there is some.
LOOK_AGAIN_S = 1.0


class LaneRunner:
    """Runs one lane of a task until the task is complete. What small and large files share."""

    def __init__(
        self, context: TaskContext, recorder: Recorder, *, number: int, large: bool
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._number = number
        self._large = large
        self._work = Work.LARGE if large else Work.SMALL
        self._looked_at = context.clock()
        self._pair: Pair | None = None
        """The last that was opened; its lane may be closed."""
        self._flying: dict[int, File] = {}
        self._breaks = 0
        self._opener = PairOpener(context, recorder, markers=large)

    async def run(self) -> None:
        """Until there is nothing left. Raises TaskFaultError or LeaseLostError."""
        raise NotImplementedError

    def doing(self) -> accounting.Entry:
        """What it waits for now."""
        raise NotImplementedError

    async def _take(self, room: Room) -> list[File]:
        """What there is in the plan. What waits for its time is looked for now and then."""
        context, arrivals = self._context, self._context.arrivals
        async with arrivals.looking[self._work]:
            arrived = arrivals.count(self._work)
            now = context.clock()
            if not arrivals.due(self._work) and now - self._looked_at < LOOK_AGAIN_S:
                return []
            self._looked_at = now
            async with context.fenced() as conn:
                files = await plan.take(
                    conn,
                    context.task_no,
                    epoch=context.grant.lease_epoch,
                    lane=self._number,
                    large=self._large,
                    files=room.files,
                    size_bytes=room.size_bytes,
                )
            if _left_room(files, room):
                arrivals.none_left(self._work, arrived)
        self._flying.update({f.file_no: f for f in files})
        return files

    async def _open(self) -> Pair | None:
        """A fresh pair, if the servers allow one more. Raises TaskFaultError."""
        pair = await self._opener.open()
        if pair is None:
            return None
        self._context.lanes_open += 1
        self._pair = pair
        return pair

    def _closes(self, lane: Lane) -> None:
        del lane
        self._context.lanes_open -= 1

    def _failed(
        self, file: File, outcome: Outcome, state: State, *, removed: bool, sent: bool = True
    ) -> TaskFaultError | None:
        """Record a failed file; the error to raise if the task cannot go on.

        `sent`: whether something of it may have been; `removed`: nothing of that is there now.
        """
        assert outcome.error is not None, "a failed outcome says why"
        at_source = outcome.failed_side == "source"
        verdict = self._context.judge(outcome.error, Phase.DATA, at_source=at_source)
        if self._context.skips(outcome.error, at_source=at_source):
            if removed and state is State.PENDING:
                left_out = skipped(file.item_no, file.path, outcome.error, is_directory=False)
                self._recorder.skipped(file.file_no, left_out)
            else:
                self._recorder.event(not_removed(verdict))
                delay_s = self._context.backoff_s(file.attempt + 1)
                self._recorder.returned(Returned(file.file_no, state, failed=True, delay_s=delay_s))
            return None
        told = verdict.consequence is Consequence.RETRY_FILE
        # Whatever else broke at this file may be its own doing (a bad disk, a hung mount): it
        # waits and comes back alone, so that it cannot void the same files again and again.
        own = told or (
            verdict.consequence is Consequence.RETRY_TASK
            and outcome.error.scope not in (Scope.ENDPOINT, Scope.CREDENTIAL)
        )
        attempt = file.attempt + int(own)
        self._recorder.returned(
            Returned(
                file.file_no,
                state,
                failed=own,
                delay_s=self._context.backoff_s(attempt) if own else None,
                sent=sent or file.sent_before,
            ),
            resent=outcome.piece.size,
        )
        if verdict.consequence in (Consequence.FAIL_TASK, Consequence.SUSPEND_TASK):
            return TaskFaultError(verdict)
        if not told:
            self._breaks += 1
            if self._breaks >= BREAKS_MAX:
                return TaskFaultError(verdict)
        self._recorder.event(verdict.event)
        return None

    def _hand_back(self, state: State, *, sent: bool = False) -> None:
        """All that this lane holds goes back into the plan."""
        most = self._context.settings.in_flight_bytes  # of a large file no more was under way
        for file_no, file in self._flying.items():
            resent = min(file.size, most) if sent else 0
            back = Returned(file_no, state, sent=sent or file.sent_before)
            self._recorder.returned(back, resent=resent)
        self._flying.clear()


class SmallFiles(LaneRunner):
    """A lane for small files, pipelined."""

    def __init__(self, context: TaskContext, recorder: Recorder, *, number: int) -> None:
        super().__init__(context, recorder, number=number, large=False)
        files = context.settings.in_flight_files
        # Half a window under way is enough to be busy while more is taken from the plan.
        window = Window(files, context.settings.in_flight_bytes, max(files // 2, 1))
        self._loop: LaneLoop[File] = LaneLoop(self, self._open_lane, window, on_close=self._closes)
        self._idle_since = 0.0
        self._sent: Lane | None = None
        """The lane over which what we hold was sent; all of it is, or nothing."""

    async def run(self) -> None:
        """Until there is nothing left. Raises TaskFaultError or LeaseLostError."""
        self._idle_since = self._context.clock()
        try:
            with self._context.news.showing(self._in_flight):
                await self._loop.run()
        finally:
            await self._leave()

    def doing(self) -> accounting.Entry:
        """What it waits for now."""
        return SERVICE if self._sent is None else OF_LANE[self._sent.waits_for]

    def _in_flight(self) -> list[Moving]:
        lane = self._loop.lane
        under_way = [] if lane is None or lane is not self._sent else lane.under_way()
        stages = {piece.tag.file_no: stage for piece, stage in under_way}
        found = []
        for file_no, file in self._flying.items():
            state = _STATES[stages.get(file_no, Stage.WAITS)]
            found.append(Moving(file, file.size if state is FileState.VERIFYING else 0, state))
        return found

    async def take(self, room: Room, *, idle: bool) -> Sequence[File] | None:
        """Pending files, marked as in flight. See `Supply`."""
        while not self._context.complete:
            files = await self._take(room)
            if files or not idle:
                return files
            with self._context.stopwatch.phase(None):
                await self._context.changed.wait(LOOK_AGAIN_S)
            if self._context.clock() - self._idle_since >= self._context.settings.lane_idle_s:
                await self._loop.close()
        return None

    def load(self, lane: Lane, work: Sequence[File]) -> Load:
        """Their pieces, if the lease still holds. See `Supply`."""
        assert self._pair is not None
        assert self._pair.lane is lane
        pieces = [whole_piece(self._context, self._pair, f) for f in work]
        # A retried file may have lost its directory meanwhile.
        retried = {posixpath.dirname(p.destination_path) for p in pieces if p.tag.attempt}
        self._context.lease.check()
        self._context.stopwatch.look()
        self._sent = lane
        return Load(pieces, sorted(retried))

    def put_back(self, work: Sequence[File]) -> None:
        """See `Supply`."""
        assert len(work) == len(self._flying), "nothing else was under way"
        self._hand_back(State.PENDING)

    async def settle(self, lane: Lane, outcomes: Sequence[Outcome]) -> None:
        """Record outcomes; what is void goes back into the plan. See `Supply`."""
        failure: TaskFaultError | None = None
        state = _state_after(lane) if lane.broken else State.PENDING
        looked = await self._look_again(outcomes, state)
        removed: set[str] = set()
        if lane.broken and state is State.PENDING:  # now, while the files are ours alone
            removed = await self._remove_spoiled(outcomes, looked)
        for outcome in looked:
            file: File = outcome.piece.tag
            if outcome.status == "done":
                self._breaks = 0
                self._context.news.move(file.size)
                failure = await self._done(file, outcome) or failure
            elif outcome.status == "void":
                self._recorder.returned(Returned(file.file_no, state), resent=outcome.piece.size)
            else:
                gone = outcome.piece.destination_path in removed
                failure = self._failed(file, outcome, state, removed=gone) or failure
            self._flying.pop(file.file_no, None)
        self._context.stopwatch.look()
        self._sent = lane if self._flying else None
        if failure is not None:
            raise failure
        self._idle_since = self._context.clock()
        if lane.broken and self._loop.lane is None:
            with self._context.stopwatch.phase(RETRY):
                await asyncio.sleep(REOPEN_AFTER_S)

    async def _done(self, file: File, outcome: Outcome) -> TaskFaultError | None:
        assert self._pair is not None, "it was sent"
        there = self._pair.destination.server
        fault = await record(self._context, self._recorder, outcome, there)
        if fault is not None:
            self._recorder.returned(Returned(file.file_no, State.PENDING, failed=True))
        return fault

    async def _look_again(self, outcomes: Sequence[Outcome], state: State) -> list[Outcome]:
        """The outcomes, those of which the source says more than the servers did with that.

        Where what arrived differs, the source may not be what was listed: the plan has what it is
        now. Where a file is left out because it is gone, others may be gone as well: each that was
        sent after it would break the next lane.
        """
        asked = [outcome for outcome in outcomes if _differs(outcome)]
        if state is State.PENDING and any(self._is_left_out(outcome) for outcome in outcomes):
            asked += [outcome for outcome in outcomes if outcome.status == "void"]
        if asked and self._loop.lane is None:
            self._loop.lane = await self._open_lane()
        if not asked or self._loop.lane is None:
            return list(outcomes)
        source = self._loop.lane.source
        now = await asyncio.gather(*(_source_now(source, o.piece.source_path) for o in asked))
        failed: dict[int, Outcome] = {}
        changed: list[File] = []
        for outcome, entry in zip(asked, now, strict=True):
            file, piece = outcome.piece.tag, outcome.piece
            if isinstance(entry, GridFTPError):
                failed[file.file_no] = Outcome(piece, "failed", entry, "source")
            elif entry is not None and outcome.status != "void":  # that is sent anew, as it is then
                where = str(source.server)
                error = change(file, entry, where=where, path=piece.source_path)
                if error is not None:
                    changed.append(as_now(file, entry))
                    sent = piece._replace(size=max(file.size, entry.size))
                    failed[file.file_no] = Outcome(sent, "failed", error, "source")
        if changed:
            await take_note(self._context, changed)
        return [failed.get(outcome.piece.tag.file_no, outcome) for outcome in outcomes]

    def _is_left_out(self, outcome: Outcome) -> bool:
        """Whether its source is gone, and the task goes on without."""
        error, at_source = outcome.error, outcome.failed_side == "source"
        if error is None or error.kind is not Kind.NOT_FOUND:
            return False
        return self._context.skips(error, at_source=at_source)

    async def _remove_spoiled(
        self, outcomes: Sequence[Outcome], looked: Sequence[Outcome]
    ) -> set[str]:
        """The destinations of files that were sent, and cannot be, that are removed."""
        spoiled = spoiled_path(outcomes)
        paths = [] if spoiled is None else [spoiled]
        paths += [
            now.piece.destination_path
            for was, now in zip(outcomes, looked, strict=True)
            if was.status == "void" and now.status == "failed"
        ]
        if paths and self._loop.lane is None:
            self._loop.lane = await self._open_lane()
        if not paths or self._loop.lane is None:
            return set()
        there = self._loop.lane.destination
        gone = await asyncio.gather(*(remove_spoiled(self._context, there, path) for path in paths))
        return {path for path, is_gone in zip(paths, gone, strict=True) if is_gone}

    async def _open_lane(self) -> Lane | None:
        pair = await self._open()
        return None if pair is None else pair.lane

    async def _leave(self) -> None:
        """What is in flight goes back if both servers confirm that it is still."""
        state = State.PENDING
        if self._pair is not None:
            await self._loop.close()
            await self._pair.lane.close()
            state = _state_after(self._pair.lane)
        was_sent = self._sent is not None
        if self._sent is not None and self._sent.failure is not None:
            self._tell(self._sent.failure)
        self._hand_back(state if was_sent else State.PENDING, sent=was_sent)

    def _tell(self, failure: Outcome) -> None:
        """Nobody has been told: the lane was left before its outcomes had been read. A task that is
        cancelled now has not been in good health."""
        assert failure.error is not None, "a failed outcome says why"
        at_source = failure.failed_side == "source"
        self._recorder.event(
            self._context.judge(failure.error, Phase.DATA, at_source=at_source).event
        )


class LargeFiles(LaneRunner):
    """A lane for large files, one at a time, by ranges."""

    def __init__(self, context: TaskContext, recorder: Recorder, *, number: int) -> None:
        super().__init__(context, recorder, number=number, large=True)
        self._moving: LargeFile | None = None

    async def run(self) -> None:
        """Until there is nothing left. Raises TaskFaultError or LeaseLostError."""
        try:
            with self._context.news.showing(self._in_flight):
                await self._move_all()
        finally:
            self._hand_back(await self._close(), sent=True)

    async def _move_all(self) -> None:
        context = self._context
        room = Room(1, max(context.settings.in_flight_bytes, 1))
        idle_since = context.clock()
        while not context.complete:
            files = await self._take(room)
            if files:
                await self._move(files[0])
                idle_since = context.clock()
                continue
            with context.stopwatch.phase(None):
                await context.changed.wait(LOOK_AGAIN_S)
            if context.clock() - idle_since >= context.settings.lane_idle_s:
                await self._close()

    def doing(self) -> accounting.Entry:
        """What it waits for now."""
        if self._moving is None or self._pair is None:
            return SERVICE
        all_there = self._moving.standing.state is FileState.VERIFYING
        return CHECKSUM if all_there else OF_LANE[self._pair.lane.waits_for]

    def _in_flight(self) -> list[Moving]:
        if self._moving is not None:
            return [self._moving.standing]
        return [Moving(file, 0, FileState.WAITING) for file in self._flying.values()]

    async def _move(self, file: File) -> None:
        pair = await self._usable_pair()
        if pair is None:
            self._hand_back(State.PENDING)  # nothing was sent
            return
        if await self._is_something_else(pair, file):
            return
        self._context.stopwatch.look()
        self._moving = large = LargeFile(self._context, self._recorder, pair, file)
        try:
            outcome = await large.transfer()
        finally:
            self._context.stopwatch.look()
            self._moving = None
        state = await self._close() if pair.lane.broken else State.PENDING
        removed = not large.begun or (
            outcome is not None and await self._removed(file, outcome, state)
        )
        del self._flying[file.file_no]
        if outcome is None:
            self._breaks = 0
            return
        failure = self._failed(file, outcome, state, removed=removed, sent=large.begun)
        if failure is not None:
            raise failure
        if self._pair is None:
            with self._context.stopwatch.phase(RETRY):
                await asyncio.sleep(REOPEN_AFTER_S)

    async def _is_something_else(self, pair: Pair, file: File) -> bool:
        """Whether a file of a plan is not what it was when that was made, or when it was looked at:
        the one before it may have taken hours. Then it is left out. Raises TaskFaultError."""
        look = self._context.last_look
        if look is None or file.attempt or file.sent_before:
            return False  # what is at the destination now may be from us
        try:
            changed = await look(pair.source, pair.destination, [file])
        except SidedError as sided:
            self._hand_back(State.PENDING)
            raise TaskFaultError(self._context.judge_sided(sided, Phase.LISTING)) from sided
        for _, what in changed:
            self._recorder.skipped(file.file_no, what)
            del self._flying[file.file_no]
        return bool(changed)

    async def _removed(self, file: File, outcome: Outcome, state: State) -> bool:
        """Whether a file that is left out is removed, as far as it had come."""
        assert outcome.error is not None, "a failed outcome says why"
        if state is not State.PENDING or not self._context.skips(
            outcome.error, at_source=outcome.failed_side == "source"
        ):
            return False
        path = self._context.destination_path(file.item_no, file.path)
        return await remove_anew(self._context, path)

    async def _usable_pair(self) -> Pair | None:
        if self._pair is not None and not self._pair.lane.usable:
            await self._close()  # a server ended an idle session
        return self._pair or await self._open()

    async def _close(self) -> State:
        """Close the pair (one whose closing is cancelled is kept); how files of it stand then."""
        pair = self._pair
        if pair is None:
            return State.PENDING
        await pair.lane.close()
        self._pair = None
        self._closes(pair.lane)
        return _state_after(pair.lane)


def _left_room(files: Sequence[File], room: Room) -> bool:
    """Whether what was taken is all there was: of failed files each is taken alone."""
    return (
        len(files) < room.files
        and sum(file.size for file in files) < room.size_bytes
        and not any(file.attempt for file in files)
    )


def _differs(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.kind is Kind.CHECKSUM_MISMATCH


async def _source_now(source: Session, path: str) -> Entry | GridFTPError | None:
    """The source as it is, or that it is gone; None: it cannot be told.

    The question waits behind what the lane has under way.
    """
    try:
        return await source.stat(path)
    except GridFTPError as error:
        return error if error.kind is Kind.NOT_FOUND else None


def _state_after(lane: Lane) -> State:
    """How files of a closed lane stand: PENDING if all is known to be still.

    Where a server does not confirm its session's end, a command may still be running.
    """
    log.debug("lane closed", settled=lane.settled)
    return State.PENDING if lane.settled else State.CONTESTED
