"""The recorder: commits outcomes in batches, at most `record_every_s` old.

A file is finished when its outcome is committed. A batch whose commit was not answered is written
again under its number, which the task's row remembers: it takes effect once.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection

from towpath.platform.database import AWAY, is_away
from towpath.transfer.engine.context import TaskContext, Work
from towpath.transfer.engine.stopwatch import SERVICE
from towpath.transfer.store import (
    counters,
    events,
    leases,
    plan,
    removals,
    restart_points,
    segments,
    throughput,
)
from towpath.transfer.store.events import Event
from towpath.transfer.store.plan import Returned, State
from towpath.transfer.store.restart_points import Range
from towpath.transfer.store.segments import Finished, Skipped
from towpath.transfer.throughput import Throughput

# Small segments are merged this often: fewer rows, and each merge stays a few milliseconds.
MERGE_AFTER_SEGMENTS = 64
# A database that was restarted is back within seconds, and the lease lasts as long.
DATABASE_RETRY_S = 0.5


@dataclass(slots=True)
class _Batch:
    number: int
    finished: dict[int, tuple[Finished, int]] = field(default_factory=dict)
    skipped: dict[int, Skipped] = field(default_factory=dict)
    synced: dict[int, int] = field(default_factory=dict)
    returned: list[Returned] = field(default_factory=list)
    ranges: dict[tuple[int, int], Range] = field(default_factory=dict)
    """By file and first byte: a range may arrive and be verified within one batch."""
    events: list[Event] = field(default_factory=list)
    checksummed: int = 0
    resent: int = 0
    removed_files: int = 0
    removed_directories: int = 0

    def __bool__(self) -> bool:
        return bool(
            self.finished
            or self.skipped
            or self.synced
            or self.returned
            or self.ranges
            or self.events
            or self.resent
            or self.removed_files
            or self.removed_directories
        )


class Recorder:
    """Takes outcomes from lanes, walk and settlement; one for each running task."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._batch = _Batch(context.next_batch())
        self._unwritten: deque[_Batch] = deque()
        self._writing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._soon = asyncio.Event()
        self._segments = 0
        self._moved_bytes = 0
        self._throughput: Throughput | None = None
        """As it was committed; None: not looked up yet."""
        self._throughput_at = -math.inf

    def finished(self, file_no: int, file: Finished, *, transferred: int, checksummed: int) -> None:
        """The file is at its destination. `transferred`: bytes not counted by ranges before."""
        self._batch.finished[file_no] = (file, transferred)
        self._batch.checksummed += checksummed
        self._wanted.set()

    def skipped(self, file_no: int, what: Skipped) -> None:
        """The file is left out, and nothing of it is at the destination."""
        self._batch.skipped[file_no] = what
        self._wanted.set()

    def synced(self, file_no: int, *, checksummed: int) -> None:
        """The file was at the destination already: bytes of it that were compared."""
        self._batch.synced[file_no] = checksummed
        self._wanted.set()

    def range_done(self, file_no: int, done: Range, *, checksummed: int, is_new: bool) -> None:
        """A restart point of a large file. A new one is committed at once: until then a crash makes
        us send all of the range again."""
        self._batch.ranges[file_no, done.first] = done
        self._batch.checksummed += checksummed
        self._wanted.set()
        if is_new:
            self._soon.set()

    def returned(self, file: Returned, *, resent: int = 0) -> None:
        """A file goes back into the plan; up to `resent` of its bytes were sent in vain."""
        self._batch.returned.append(file)
        self._batch.resent += resent
        self._wanted.set()

    def resent(self, size: int) -> None:
        """Bytes that are sent again."""
        self._batch.resent += size
        self._wanted.set()

    def removed(self, files: int, directories: int) -> None:
        """So many have been deleted."""
        self._batch.removed_files += files
        self._batch.removed_directories += directories
        self._wanted.set()

    def event(self, event: Event) -> None:
        """Something worth telling; errors count as faults."""
        self._batch.events.append(event)
        self._wanted.set()

    def take_bytes(self) -> int:
        """Bytes recorded as transferred since the last call."""
        moved, self._moved_bytes = self._moved_bytes, 0
        return moved

    async def run(self) -> None:
        """Flush until cancelled. Raises LeaseLostError when the lease has gone."""
        stopwatch = self._context.stopwatch
        with stopwatch.part(weak=True):
            while True:
                await self._wanted.wait()
                with stopwatch.phase(SERVICE):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._context.settings.record_every_s):
                            await self._soon.wait()
                    await self.flush()

    async def flush(self) -> None:
        """Commit all that was recorded before the call. Raises LeaseLostError."""
        async with self._writing:
            self._wanted.clear()
            self._soon.clear()
            if self._batch:
                self._unwritten.append(self._batch)
                self._batch = _Batch(self._context.next_batch())
            while self._unwritten:
                try:
                    await self._write(self._unwritten[0])
                except AWAY as error:
                    if not is_away(error):
                        raise
                    # What was sent stays in flight until the database is back, or the lease over.
                    self._context.lease.check()
                    await asyncio.sleep(DATABASE_RETRY_S)
                else:
                    self._unwritten.popleft()

    async def _write(self, batch: _Batch) -> None:
        noted, accounts = self._throughput, self._context.accounts()
        async with self._context.fenced() as conn:
            if await counters.begin_batch(conn, self._context.task_no, batch.number, accounts):
                noted = await self._write_noted(conn, batch)
        self._throughput = noted
        if any(file.state is State.CONTESTED for file in batch.returned):
            self._context.arrivals.add(Work.CONTESTED)
        if any(file.state is State.PENDING for file in batch.returned):
            self._context.arrivals.add(Work.SMALL, Work.LARGE)
        self._context.open_files -= len(batch.finished) + len(batch.skipped) + len(batch.synced)
        self._context.changed.wake()

    async def _write_noted(self, conn: AsyncConnection[Any], batch: _Batch) -> Throughput | None:
        """And the throughput, if it is time for that: once a second at most."""
        task_no, clock = self._context.task_no, self._context.clock()
        known = self._throughput
        if known is not None and clock - self._throughput_at < known.interval_s:
            await self._write_parts(conn, batch)
            return known
        if known is None:
            known = await throughput.of_task(conn, task_no)
        before = await throughput.now(conn, task_no)
        await self._write_parts(conn, batch)
        noted = known.note(before, await throughput.now(conn, task_no))
        if noted is not known:
            self._throughput_at = clock
            await throughput.write(conn, task_no, noted)
        return noted

    async def _write_parts(self, conn: AsyncConnection[Any], batch: _Batch) -> None:
        task_no = self._context.task_no
        await plan.remove(conn, task_no, [*batch.finished])
        await plan.leave_out(conn, task_no, [*batch.skipped, *batch.synced])
        done = list(batch.finished.values())
        ranges = [(file_no, one) for (file_no, _), one in batch.ranges.items()]
        new_range_bytes = await restart_points.add(conn, task_no, ranges)
        await plan.put_back(conn, task_no, batch.returned)
        if done:
            now = int((await leases.database_now(conn)).timestamp())
            await segments.append(conn, task_no, [file._replace(unix_s=now) for file, _ in done])
            self._segments += 1
        if batch.skipped:
            await record_skipped(conn, task_no, list(batch.skipped.values()))
            self._segments += 1
        if batch.synced:
            await counters.synced(
                conn,
                task_no,
                files=len(batch.synced),
                checksummed_bytes=sum(batch.synced.values()),
            )
        if self._segments >= MERGE_AFTER_SEGMENTS:
            await segments.merge(conn, task_no)
            self._segments = 0
        if batch.removed_files or batch.removed_directories:
            await removals.count(
                conn,
                task_no,
                files=batch.removed_files,
                directories=batch.removed_directories,
                deadline_after_h=self._context.settings.deadline_after_progress_h,
            )
        transferred = new_range_bytes + sum(size for _, size in done)
        if done or transferred or batch.checksummed or batch.resent:
            await counters.transferred(
                conn,
                task_no,
                files=len(done),
                transferred_bytes=transferred,
                checksummed_bytes=batch.checksummed,
                resent_bytes=batch.resent,
                deadline_after_h=self._context.settings.deadline_after_progress_h,
            )
        await events.append(
            conn, task_no, batch.events, most=self._context.settings.events_per_task
        )
        self._moved_bytes += transferred


async def record_skipped(conn: AsyncConnection[Any], task_no: int, what: Sequence[Skipped]) -> None:
    """Add to the list of what was left out; inside `fenced`."""
    now = (await leases.database_now(conn)).timestamp()
    await segments.append(conn, task_no, [one._replace(unix_s=now) for one in what])
    await counters.skipped(conn, task_no, len(what))
