"""Lanes at work: pending files go into flight, their outcomes to the recorder.

A data command is sent only after its row is committed as in flight, and only under a lease that
is usable at that moment. The order rule (one failure voids all that was sent after it) is the
lane's; what a voided file's state is afterwards depends on whether both servers confirmed their
sessions' end: if not, a command may still be running, and the file is contested (I3).
"""

import asyncio
import posixpath

import structlog

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.errors import Scope
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence, file_backoff_s, task_backoff_s
from towpath.transfer.engine.large import LargeFile
from towpath.transfer.engine.pairs import Pair, checksum_algorithm, open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.repair import record, remove_spoiled, spoiled_path
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File, Returned, State

log = structlog.get_logger()

# A lane that broke so often without one file done in between is no longer a hiccup.
BREAKS_MAX = 3
REOPEN_AFTER_S = 0.5
# How long a lane waits for work before it looks again; it is woken earlier when there is some.
LOOK_AGAIN_S = 1.0
# An idle lane's sessions are processes at the servers; the next file may well be minutes away.
IDLE_MAX_S = 5.0


class LaneRunner:
    """Runs one lane of a task until the task is complete: all small files, or all large ones."""

    def __init__(
        self, context: TaskContext, recorder: Recorder, *, number: int, large: bool
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._number = number
        self._large = large
        self._pair: Pair | None = None
        self._flying: dict[int, File] = {}
        self._breaks = 0
        self._refusals = 0
        # Pieces whose destination may hold another file's bytes, until they are on their way again.
        self._suspects: list[Piece] = []

    async def run(self) -> None:
        """Until there is nothing left. Raises TaskFaultError or LeaseLostError."""
        idle_since = self._context.clock()
        try:
            while not self._context.complete:
                files = await self._take()
                if not files and not self._flying:
                    await self._context.changed.wait(LOOK_AGAIN_S)
                    if self._context.clock() - idle_since >= IDLE_MAX_S:
                        await self._drop_pair()
                    continue
                if self._large:
                    await self._move_large(files[0])
                else:
                    await self._move(files)
                idle_since = self._context.clock()
        finally:
            await self._close()

    async def _take(self) -> list[File]:
        settings = self._context.settings
        room = 1 if self._large else settings.in_flight_files - len(self._flying)
        flying_bytes = sum(f.size for f in self._flying.values())
        if not self._large and self._flying and room < settings.in_flight_files // 2:
            return []  # half a window is still under way: that is enough to be busy meanwhile
        async with self._context.fenced() as conn:
            files = await plan.take(
                conn,
                self._context.task_no,
                epoch=self._context.grant.lease_epoch,
                lane=self._number,
                large=self._large,
                files=room,
                size_bytes=max(settings.in_flight_bytes - flying_bytes, 1),
            )
        self._flying.update({f.file_no: f for f in files})
        return files

    async def _move(self, files: list[File]) -> None:
        # While outcomes are due, they come from the pair there is, whatever became of it.
        due = len(self._flying) > len(files)
        pair = self._pair if due else await self._open()
        if pair is None:
            self._hand_back(State.PENDING)  # nothing was sent
            return
        if files:
            pieces = [self._piece(pair, f) for f in files]
            # A retried file may have lost its directory meanwhile.
            retried = {posixpath.dirname(p.destination_path) for p in pieces if p.tag.attempt}
            self._context.lease.check()
            pair.lane.send(pieces, directories=sorted(retried))
        outcomes = await pair.lane.outcomes()
        await self._settle_outcomes(pair, outcomes)

    def _piece(self, pair: Pair, file: File) -> Piece:
        options = self._context.options
        return Piece(
            source_path=self._context.source_path(file.item_no, file.path),
            destination_path=self._context.destination_path(file.item_no, file.path),
            size=file.size,
            modified=file.modified if options.preserve_timestamp else None,
            checksum=checksum_algorithm(self._context, pair) if options.verify_checksum else None,
            tag=file,
        )

    async def _settle_outcomes(self, pair: Pair, outcomes: list[Outcome]) -> None:
        failure: TaskFaultError | None = None
        state = State.PENDING
        broken = pair.lane.broken
        if broken:
            self._suspects = [o.piece for o in outcomes if o.status == "void"]
            state = await self._drop_pair()
            spoiled = spoiled_path(outcomes)
            if spoiled is not None and not self._large and state is State.PENDING:
                # Now, while the file is ours alone.
                fresh = await self._open()
                if fresh is not None:
                    await remove_spoiled(self._context, fresh.destination, spoiled)
        for outcome in outcomes:
            file: File = outcome.piece.tag
            self._flying.pop(file.file_no, None)
            if outcome.status == "done":
                self._breaks = 0
                record(self._recorder, outcome)
            elif outcome.status == "void":
                self._recorder.returned(Returned(file.file_no, state), resent=outcome.piece.size)
            else:
                failure = self._failed(file, outcome, state) or failure
        if failure is not None:
            raise failure
        self._suspects = []
        if broken and self._pair is None:
            await asyncio.sleep(REOPEN_AFTER_S)

    def _failed(self, file: File, outcome: Outcome, state: State) -> TaskFaultError | None:
        """Record a failed file; the error to raise if the task cannot go on."""
        assert outcome.error is not None, "a failed outcome says why"
        verdict = self._context.judge(outcome.error, at_source=outcome.failed_side == "source")
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
                delay_s=file_backoff_s(attempt, self._context.random) if own else None,
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

    async def _drop_pair(self) -> State:
        """Close both sessions; how files of theirs stand then: PENDING if all is known to be still.

        Where a server does not confirm its session's end, a command may still be running.
        """
        pair, self._pair = self._pair, None
        if pair is None:
            return State.PENDING
        self._context.lanes_open -= 1
        settled = await pair.lane.close()
        log.debug("lane closed", lane=self._number, settled=settled)
        return State.PENDING if settled else State.CONTESTED

    async def _move_large(self, file: File) -> None:
        pair = await self._open()
        if pair is None:
            self._hand_back(State.PENDING)  # nothing was sent
            return
        large = LargeFile(self._context, self._recorder, pair, file)
        outcome = await large.transfer()
        if outcome is None:
            del self._flying[file.file_no]
            self._breaks = 0
            return
        await self._settle_outcomes(pair, [outcome])

    async def _open(self) -> Pair | None:
        pair = self._pair
        if pair is not None:
            if not (pair.source.closed or pair.destination.closed or pair.lane.broken):
                return pair
            await self._drop_pair()  # a server ended an idle session
        try:
            self._pair = await open_pair(self._context, markers=self._large)
        except TaskFaultError as fault:
            stops = fault.verdict.consequence is not Consequence.RETRY_TASK
            if stops or self._context.lanes_open == 0:
                raise
            # The other lanes go on; this one, a server's session limit in its way, waits.
            self._recorder.event(fault.verdict.event)
            self._refusals += 1
            await asyncio.sleep(task_backoff_s(self._refusals, self._context.random))
            return None
        self._refusals = 0
        self._context.lanes_open += 1
        return self._pair

    async def _close(self) -> None:
        """Leave: what is in flight goes back if both servers confirm that it is still."""
        cut_off: list[Piece] = []
        if self._pair is not None and not self._large:
            cut_off = [self._piece(self._pair, f) for f in self._flying.values()]
            if self._pair.lane.broken:
                self._suspects += cut_off
        state = await self._drop_pair()
        if state is State.PENDING:
            self._context.shifted += self._suspects
            self._context.cut_off += cut_off
        self._hand_back(state, sent=True)

    def _hand_back(self, state: State, *, sent: bool = False) -> None:
        """All that this lane holds goes back into the plan."""
        most = self._context.settings.in_flight_bytes  # of a large file no more was under way
        for file_no, file in self._flying.items():
            resent = min(file.size, most) if sent else 0
            self._recorder.returned(Returned(file_no, state), resent=resent)
        self._flying.clear()
