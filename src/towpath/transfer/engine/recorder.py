"""The recorder: commits outcomes in batches, at most `record_every_s` old.

A file is finished when its outcome is committed. A batch is written again after a lost database
connection, whose commit may or may not have happened; so what it adds is counted only for rows
that were still there.
"""

import asyncio
from dataclasses import dataclass, field

import psycopg

from towpath.transfer.engine.context import TaskContext
from towpath.transfer.store import events, plan, segments
from towpath.transfer.store.events import Event
from towpath.transfer.store.plan import Range, Returned
from towpath.transfer.store.segments import Finished

# Small segments are merged this often: fewer rows, and each merge stays a few milliseconds.
MERGE_AFTER_SEGMENTS = 64
DATABASE_RETRY_S = 0.5


@dataclass(slots=True)
class _Batch:
    finished: dict[int, tuple[Finished, int]] = field(default_factory=dict)
    returned: list[Returned] = field(default_factory=list)
    ranges: list[tuple[int, Range]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    checksummed: int = 0
    resent: int = 0

    def __bool__(self) -> bool:
        return bool(self.finished or self.returned or self.ranges or self.events or self.resent)


class Recorder:
    """Takes outcomes from lanes, walk and settlement; one for each running task."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._batch = _Batch()
        self._writing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._segments = 0
        self._moved_bytes = 0

    def finished(self, file_no: int, file: Finished, *, transferred: int, checksummed: int) -> None:
        """The file is at its destination. `transferred`: bytes not counted by ranges before."""
        self._batch.finished[file_no] = (file, transferred)
        self._batch.checksummed += checksummed
        self._wanted.set()

    def range_done(self, file_no: int, done: Range, *, checksummed: int) -> None:
        """A restart point of a large file."""
        self._batch.ranges.append((file_no, done))
        self._batch.checksummed += checksummed
        self._wanted.set()

    def returned(self, file: Returned, *, resent: int = 0) -> None:
        """A file goes back into the plan; up to `resent` of its bytes were sent in vain."""
        self._batch.returned.append(file)
        self._batch.resent += resent
        self._wanted.set()

    def resent(self, size: int) -> None:
        """Bytes that are sent again."""
        self._batch.resent += size
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
        while True:
            await self._wanted.wait()
            await asyncio.sleep(self._context.settings.record_every_s)
            await self.flush()

    async def flush(self) -> None:
        """Commit all that was recorded before the call. Raises LeaseLostError."""
        async with self._writing:
            batch, self._batch = self._batch, _Batch()
            self._wanted.clear()
            if not batch:
                return
            while True:
                try:
                    await self._write(batch)
                    return
                except psycopg.OperationalError:
                    # The database is away; what was sent stays in flight there until it is back
                    # or the lease is over.
                    self._context.lease.check()
                    await asyncio.sleep(DATABASE_RETRY_S)

    async def _write(self, batch: _Batch) -> None:
        task_no = self._context.task_no
        async with self._context.fenced() as conn:
            gone = await plan.remove(conn, task_no, list(batch.finished))
            done = [batch.finished[no] for no in batch.finished if no in gone]
            new_range_bytes = await plan.add_ranges(conn, task_no, batch.ranges)
            await plan.put_back(conn, task_no, batch.returned)
            if done:
                await segments.append(conn, task_no, [file for file, _ in done])
                self._segments += 1
            if self._segments >= MERGE_AFTER_SEGMENTS:
                await segments.merge(conn, task_no)
                self._segments = 0
            transferred = new_range_bytes + sum(size for _, size in done)
            await plan.count_transferred(
                conn,
                task_no,
                files=len(done),
                transferred_bytes=transferred,
                checksummed_bytes=batch.checksummed,
                resent_bytes=batch.resent,
            )
            await events.append(conn, task_no, batch.events)
        self._moved_bytes += transferred
        self._context.open_files -= len(batch.finished)
        self._context.changed.wake()
