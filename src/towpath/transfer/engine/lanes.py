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
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence, file_backoff_s
from towpath.transfer.engine.large import LargeFile
from towpath.transfer.engine.pairs import Pair, checksum_algorithm, open_pair, remove_spoiled
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File, Returned, State
from towpath.transfer.store.segments import Finished

log = structlog.get_logger()

# A lane that broke so often without one file done in between is no longer a hiccup.
BREAKS_MAX = 3
REOPEN_AFTER_S = 0.5
# How long a lane waits for work before it looks again; it is woken earlier when there is some.
LOOK_AGAIN_S = 1.0
# While other lanes work, one that cannot open (a server's session limit, say) tries again later.
OPEN_AGAIN_S = 5.0


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

    async def run(self) -> None:
        """Until there is nothing left. Raises TaskFaultError or LeaseLostError."""
        try:
            while not self._context.complete:
                files = await self._take()
                if not files and not self._flying:
                    await self._context.changed.wait(LOOK_AGAIN_S)
                    continue
                if self._large:
                    await self._move_large(files[0])
                else:
                    await self._move(files)
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
        pair = await self._open()
        if pair is None:
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
        void: list[Piece] = []
        state = State.PENDING
        if pair.lane.broken:
            state = await self._state_after_break(pair)
            self._pair = None
            self._context.lanes_open -= 1
        for outcome in outcomes:
            file: File = outcome.piece.tag
            del self._flying[file.file_no]
            if outcome.status == "done":
                self._breaks = 0
                self._record(outcome)
            elif outcome.status == "void":
                void.append(outcome.piece)
            else:
                failure = self._failed(file, outcome, state) or failure
        if failure is not None:
            if state is State.PENDING:
                await self._send_once_more(void)
            raise failure
        for piece in void:
            self._recorder.returned(Returned(piece.tag.file_no, state), resent=piece.size)
        if self._pair is None:
            await asyncio.sleep(REOPEN_AFTER_S)
            if self._context.spoiled:
                await self._open()  # which removes them

    def _record(self, outcome: Outcome) -> None:
        file: File = outcome.piece.tag
        algorithm = outcome.piece.checksum if outcome.digest else None
        self._recorder.finished(
            file.file_no,
            Finished(file.item_no, file.path, file.size, algorithm, outcome.digest),
            transferred=file.size,
            checksummed=file.size if outcome.digest else 0,
        )

    async def _send_once_more(self, void: list[Piece]) -> None:
        """The task fails, but what was sent behind the failure may hold another file's bytes.

        So it is brought to its right end before the task's; what fails now is given up.
        """
        while void:
            pair = await self._open()
            if pair is None:
                return
            self._context.lease.check()
            pair.lane.send(void)
            self._recorder.resent(sum(piece.size for piece in void))
            void = []
            while outcomes := await pair.lane.outcomes():
                for outcome in outcomes:
                    if outcome.status == "done":
                        self._record(outcome)
                    elif outcome.status == "void":
                        void.append(outcome.piece)
                    elif outcome.failed_side == "source":
                        self._context.spoiled.append(outcome.piece.destination_path)
            if pair.lane.broken:
                await pair.lane.close()
                self._pair = None
                self._context.lanes_open -= 1

    def _failed(self, file: File, outcome: Outcome, state: State) -> TaskFaultError | None:
        """Record a failed file; the error to raise if the task cannot go on."""
        assert outcome.error is not None, "a failed outcome says why"
        verdict = self._context.judge(outcome.error, at_source=outcome.failed_side == "source")
        of_file = verdict.consequence is Consequence.RETRY_FILE
        if outcome.failed_side == "source" and outcome.piece.byte_range is None:
            # Its destination was opened, and may hold the bytes of the file behind it.
            self._context.spoiled.append(outcome.piece.destination_path)
        attempt = file.attempt + int(of_file)
        self._recorder.returned(
            Returned(
                file.file_no,
                state,
                failed=of_file,
                delay_s=file_backoff_s(attempt, self._context.random) if of_file else None,
            ),
            resent=outcome.piece.size,
        )
        if verdict.consequence in (Consequence.FAIL_TASK, Consequence.SUSPEND_TASK):
            return TaskFaultError(verdict)
        if not of_file:
            self._breaks += 1
            if self._breaks >= BREAKS_MAX:
                return TaskFaultError(verdict)
        self._recorder.event(verdict.event)
        return None

    async def _state_after_break(self, pair: Pair) -> State:
        """Close both sessions and see whether their commands are known to be still."""
        settled = await pair.lane.close()
        log.info("lane broken", lane=self._number, settled=settled)
        return State.PENDING if settled else State.CONTESTED

    async def _move_large(self, file: File) -> None:
        pair = await self._open()
        if pair is None:
            return
        large = LargeFile(self._context, self._recorder, pair, file)
        outcome = await large.transfer()
        if outcome is None:
            del self._flying[file.file_no]
            self._breaks = 0
            return
        await self._settle_outcomes(pair, [outcome])

    async def _open(self) -> Pair | None:
        if self._pair is not None:
            return self._pair
        try:
            self._pair = await open_pair(self._context, markers=self._large)
        except TaskFaultError as fault:
            stops = fault.verdict.consequence is not Consequence.RETRY_TASK
            if stops or self._context.lanes_open == 0:
                raise
            for file_no in list(self._flying):
                self._recorder.returned(Returned(file_no, State.PENDING))
                del self._flying[file_no]
            await asyncio.sleep(OPEN_AGAIN_S)
            return None
        self._context.lanes_open += 1
        await remove_spoiled(self._context, self._pair.destination)
        return self._pair

    async def _close(self) -> None:
        """Leave: what is in flight goes back if both servers confirm that it is still."""
        state = State.PENDING
        if self._pair is not None:
            self._context.lanes_open -= 1
            state = await self._state_after_break(self._pair)
            self._pair = None
        most = self._context.settings.in_flight_bytes  # of a large file no more was under way
        for file_no, file in self._flying.items():
            self._recorder.returned(Returned(file_no, state), resent=min(file.size, most))
        self._flying.clear()
