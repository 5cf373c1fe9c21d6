"""Contested files: a command of a lost lease or a lost session may still write them (I3).

Such a path is written again only after its size and time have stood still for `settle_s`, and it
counts only after it has been compared with the source (size and checksum, whatever the options)
at least `settle_s` after its last write. A group of files is watched as one: the commands of a
lost lane run one after the other, so as long as one of its files moves, the others may follow.
"""

import asyncio
import posixpath
from collections.abc import Iterable, Sequence

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.ranges import cut
from towpath.gridftp.errors import Kind, Phase
from towpath.transfer.engine.arrived import equal, remove_spoiled
from towpath.transfer.engine.changes import as_now, change, take_note
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    Work,
    at_destination,
    at_source,
)
from towpath.transfer.engine.faults import not_removed, skipped
from towpath.transfer.engine.large import (
    COMPARED_AT_ONCE,
    LargeFile,
    checksum_timeout_s,
    digests_of_both,
    present,
)
from towpath.transfer.engine.pairs import Pair, checksum_algorithm, open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.standstill import GROUP_FILES, look, stand_still
from towpath.transfer.engine.stopwatch import RECOVERY
from towpath.transfer.store import plan
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.plan import LARGE_FILE_BYTES, File, Returned, State


class Settlement:
    """Brings a task's contested files to their end, beside its lanes."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self._unreadable: dict[int, tuple[File, SidedError]] = {}
        """Files that the task leaves out, when the lane that tried to send them has ended."""

    async def run(self) -> None:
        """Until the task is complete. Raises TaskFaultError or LeaseLostError."""
        context = self._context
        while not context.complete:
            arrived = context.arrivals.count(Work.CONTESTED)
            files = await self._contested()
            if files:
                with context.stopwatch.phase(RECOVERY):
                    await self._settle(files)
            else:
                await self._wait_for_more(arrived)

    async def _wait_for_more(self, arrived: int) -> None:
        """Than there were at that number of arrivals. What waits for its time is looked for now and
        then."""
        context, since = self._context, self._context.clock()
        while (
            arrived == context.arrivals.count(Work.CONTESTED)
            and context.clock() - since < context.settings.poll_s
            and not context.complete
        ):
            await context.changed.wait(context.settings.poll_s)

    async def _contested(self) -> list[File]:
        await self._recorder.flush()
        async with self._context.db.connection() as conn:
            return await plan.contested(conn, self._context.task_no, GROUP_FILES)

    async def _settle(self, files: list[File]) -> None:
        """One group: stand still, compare, write again what differs; until all are equal.

        A file that fails leaves the group and stays contested, for later.
        """
        pair = await open_pair(self._context, markers=True)
        self._context.lanes_open += 1
        group = {f.file_no for f in files}
        try:
            while files and not pair.lane.broken:
                await stand_still(self._context, pair.destination, self._destinations(files))
                different = await self._compare(pair, files)
                await self._write_again(pair, different)
                # As the plan has them now: sizes may have changed, failed files wait.
                left = {f.file_no for f in different} - self._unreadable.keys()
                files = [f for f in await self._contested() if f.file_no in group & left]
        finally:
            self._context.lanes_open -= 1
            still = await pair.lane.close()
        unreadable, self._unreadable = self._unreadable, {}
        if unreadable:
            await self._leave_out(unreadable.values(), still=still)

    async def _leave_out(
        self, unreadable: Iterable[tuple[File, SidedError]], *, still: bool
    ) -> None:
        """Files whose source cannot be read, if what had been sent of them can be removed.

        `still`: the lane that may have written them does not any more.
        """
        pair = await open_pair(self._context, markers=False)
        try:
            for file, sided in unreadable:
                path = self._context.paths_of(file)[1]
                if still and await remove_spoiled(self._context, pair.destination, path):
                    left_out = skipped(file.item_no, file.path, sided.error, is_directory=False)
                    self._recorder.skipped(file.file_no, left_out)
                else:
                    self._recorder.event(
                        not_removed(self._context.judge_sided(sided, Phase.CHECKSUM))
                    )
                    self._wait(file)
        finally:
            await pair.lane.close()

    def _failed(self, file: File, sided: SidedError) -> None:
        """A failure of one file. Raises TaskFaultError for more."""
        if self._context.skips(sided.error, at_source=sided.at_source):
            self._unreadable[file.file_no] = file, sided
        else:
            self._recorder.event(self._context.of_one_file(sided, Phase.CHECKSUM))
            self._wait(file)

    def _wait(self, file: File) -> None:
        """It is tried again later."""
        delay_s = self._context.backoff_s(file.attempt + 1)
        self._recorder.returned(
            Returned(file.file_no, State.CONTESTED, failed=True, delay_s=delay_s)
        )

    def _destinations(self, files: Sequence[File]) -> list[str]:
        return [self._context.paths_of(file)[1] for file in files]

    async def _compare(self, pair: Pair, files: Sequence[File]) -> list[File]:
        """Files that are equal at both ends count; the others are returned."""
        different: list[File] = []
        for first in range(0, len(files), COMPARED_AT_ONCE):
            some = files[first : first + COMPARED_AT_ONCE]
            compared = await asyncio.gather(
                *(self._differing(pair, file) for file in some), return_exceptions=True
            )
            for file, differing in zip(some, compared, strict=True):
                if isinstance(differing, SidedError):
                    self._failed(file, differing)
                elif isinstance(differing, BaseException):
                    raise differing
                elif differing is not None:
                    different.append(differing)
        return different

    async def _differing(self, pair: Pair, file: File) -> File | None:
        """The file as it is at the source now, if the ends differ; if not, it is counted."""
        source_path, destination_path = self._context.paths_of(file)
        with at_source():
            source = await pair.source.stat(source_path)
        changed = change(file, source, where=str(pair.source.server), path=source_path)
        if changed is not None:
            self._recorder.event(self._context.judge(changed, Phase.CHECKSUM, at_source=True).event)
            file = as_now(file, source)
            await take_note(self._context, [file])
        algorithm = checksum_algorithm(self._context, pair, file.item_no)
        with at_destination():
            destination = await look(pair.destination, destination_path)
        if destination is None or source.size != destination.size:
            return file
        timeout_s = checksum_timeout_s(source.size)
        here, there = await digests_of_both(
            pair, source_path, destination_path, algorithm, None, timeout_s
        )
        if here != there:
            return file
        fault = await equal(
            *(self._context, self._recorder, pair, file, source), algorithm=algorithm, digest=here
        )
        if fault is not None:
            raise fault
        return None

    async def _write_again(self, pair: Pair, files: Sequence[File]) -> None:
        """Send the files; those that fail wait, and a broken lane leaves the rest contested."""
        for file in files:
            if file.size >= LARGE_FILE_BYTES and not pair.lane.broken:
                await self._write_large(pair, file)
        small = [f for f in files if f.size < LARGE_FILE_BYTES]
        flying = 0
        while not pair.lane.broken and (small or pair.lane.in_flight):
            batch: list[Piece] = []
            while small and (flying == 0 or self._has_room(pair, batch, flying + small[0].size)):
                file = small.pop(0)
                flying += file.size
                batch.append(self._piece(file))
            if batch:
                directories = sorted({posixpath.dirname(p.destination_path) for p in batch})
                self._context.lease.check()
                pair.lane.send(batch, directories=directories)
                self._recorder.resent(sum(p.size for p in batch))
            for outcome in await pair.lane.outcomes():
                flying -= outcome.piece.size
                if outcome.status == "failed":
                    self._outcome_failed(outcome)

    def _has_room(self, pair: Pair, batch: Sequence[Piece], flying_bytes: int) -> bool:
        settings = self._context.settings
        return (
            pair.lane.in_flight + len(batch) < settings.in_flight_files
            and flying_bytes <= settings.in_flight_bytes
        )

    async def _write_large(self, pair: Pair, file: File) -> None:
        """Send what its restart points leave; none of them is trusted without a comparison."""
        large = LargeFile(self._context, self._recorder, pair, file)
        try:
            ranges = await large.prepare()
            if large.file.size < LARGE_FILE_BYTES:
                return  # it is a small file now, and comes back as one
            if ranges and not cut(large.file.size, present(ranges)):
                # All of it had been confirmed, and yet the file differs.
                try:
                    await large.compare_ranges(ranges)
                    await large.drop([r.first for r in ranges])
                except SidedError as sided:
                    if sided.error.kind is not Kind.CHECKSUM_MISMATCH:
                        raise
                ranges = await large.prepare()
            failed = await large.send_missing(ranges)
        except SidedError as sided:
            self._failed(file, sided)
            return
        if failed is not None:
            self._outcome_failed(failed)

    def _outcome_failed(self, outcome: Outcome) -> None:
        assert outcome.error is not None, "a failed outcome says why"
        sided = SidedError(outcome.error, at_source=outcome.failed_side == "source")
        self._failed(outcome.piece.tag, sided)

    def _piece(self, file: File) -> Piece:
        source_path, destination_path = self._context.paths_of(file)
        preserve = self._context.options.preserve_timestamp
        return Piece(
            source_path,
            destination_path,
            file.size,
            modified=file.modified if preserve else None,
            tag=file,
        )


def contested_event(count: int) -> Event:
    """Told once when a lease begins with contested files."""
    return Event(
        EventCode.RECOVERED,
        "taken over",
        {
            "reason": "A worker was lost, or could not end its sessions, with files under way.",
            "contested_files": count,
            "advice": "Nothing needs to be done.",
            "next": "Files that were under way are compared at both ends before they count.",
        },
    )
