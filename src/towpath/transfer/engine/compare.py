"""Files that are compared at both ends before it is known whether they are copied (sync level 3).

Beside the lanes, like settlement. Nothing is written here: an equal file is done, a different one
goes to the lanes.
"""

import asyncio
from collections.abc import Sequence

from towpath.gridftp.errors import Kind, Phase
from towpath.transfer.engine.context import SidedError, TaskContext, at_destination
from towpath.transfer.engine.faults import skipped
from towpath.transfer.engine.large import COMPARED_AT_ONCE, checksum_timeout_s, digests_of_both
from towpath.transfer.engine.pairs import Ends, Pair, PairOpener, checksum_algorithm
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.stopwatch import CHECKSUM
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File, Returned, State

# Between two looks into the plan.
TAKEN_AT_ONCE = 400


class Comparison:
    """Brings the files that are to be compared to a decision."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self._opener = PairOpener(context, recorder, markers=False)

    async def run(self) -> None:
        """Until the task is complete. Raises TaskFaultError or LeaseLostError."""
        while not self._context.complete:
            files = await self._take()
            if not files:
                await self._context.changed.wait(self._context.settings.poll_s)
                continue
            pair = await self._opener.open()
            if pair is None:
                continue
            self._context.lanes_open += 1
            try:
                with self._context.stopwatch.phase(CHECKSUM):
                    while files:
                        await self._compare(pair, files)
                        files = await self._take()
            finally:
                self._context.lanes_open -= 1
                await pair.lane.close()

    async def _take(self) -> list[File]:
        await self._recorder.flush()
        async with self._context.db.connection() as conn:
            return await plan.to_compare(conn, self._context.task_no, TAKEN_AT_ONCE)

    async def _compare(self, pair: Pair, files: Sequence[File]) -> None:
        for first in range(0, len(files), COMPARED_AT_ONCE):
            some = files[first : first + COMPARED_AT_ONCE]
            results = await asyncio.gather(
                *(equal(self._context, pair, file) for file in some), return_exceptions=True
            )
            for file, result in zip(some, results, strict=True):
                if isinstance(result, SidedError):
                    self._failed(file, result)
                elif isinstance(result, BaseException):
                    raise result
                elif result:
                    self._recorder.synced(file.file_no, checksummed=file.size)
                else:
                    self._recorder.returned(Returned(file.file_no, State.PENDING))

    def _failed(self, file: File, sided: SidedError) -> None:
        """One file could not be compared. Raises TaskFaultError for more."""
        error = sided.error
        if not sided.at_source and error.kind is Kind.NOT_FOUND:
            self._recorder.returned(Returned(file.file_no, State.PENDING))
            return
        if self._context.skips(error, at_source=sided.at_source):
            left_out = skipped(file.item_no, file.path, error, is_directory=False)
            self._recorder.skipped(file.file_no, left_out)
            return
        self._recorder.event(self._context.of_one_file(sided, Phase.CHECKSUM))
        delay_s = self._context.backoff_s(file.attempt + 1)
        self._recorder.returned(Returned(file.file_no, State.COMPARE, failed=True, delay_s=delay_s))


async def equal(context: TaskContext, ends: Ends, file: File) -> bool:
    """Whether the destination is the source, or what its external checksum says. Raises SidedError
    or TaskFaultError."""
    algorithm = checksum_algorithm(context, ends, file.item_no)
    source_path, destination_path = context.paths_of(file)
    timeout_s = checksum_timeout_s(file.size)
    expected = context.items[file.item_no].external_checksum
    if expected is not None:
        with at_destination():
            found = await ends.destination.checksum(
                destination_path, algorithm, timeout_s=timeout_s
            )
        return found == expected
    here, there = await digests_of_both(
        ends, source_path, destination_path, algorithm, None, timeout_s
    )
    return here == there
