"""Contested files: a command of a lost lease or a lost session may still write them (I3).

Such a path is written again only after its size and time have stood still for `settle_s`, and it
counts only after it has been compared with the source (size and checksum, whatever the options)
at least `settle_s` after its last write. A group of files is watched as one: the commands of a
lost lane run one after the other, so as long as one of its files moves, the others may follow.
"""

import asyncio
from collections.abc import Sequence

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence, file_backoff_s
from towpath.transfer.engine.large import LargeFile, checksum_timeout_s
from towpath.transfer.engine.pairs import Pair, checksum_algorithm, open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import plan
from towpath.transfer.store.events import Event
from towpath.transfer.store.plan import LARGE_FILE_BYTES, File
from towpath.transfer.store.segments import Finished

# One lost lane's worth (100 files) for each of a few lanes; each look sends one command a file.
GROUP_FILES = 400
# Compared side by side; each has a command or two under way at each server.
COMPARED_AT_ONCE = 50
# How often a path that should stand still is looked at.
LOOKS_IN_SETTLE = 5
LOOK_AT_LEAST_EVERY_S = 1.0


class Settlement:
    """Brings a task's contested files to their end, beside its lanes."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self._attempts = 0

    async def run(self) -> None:
        """Until the task is complete. Raises TaskFaultError or LeaseLostError."""
        while not self._context.complete:
            async with self._context.db.connection() as conn:
                files = await plan.contested(conn, self._context.task_no, GROUP_FILES)
            if not files:
                await self._context.changed.wait(self._context.settings.poll_s)
                continue
            await self._settle(files)

    async def _settle(self, files: list[File]) -> None:
        pair = await open_pair(self._context, markers=True)
        self._context.lanes_open += 1
        try:
            while files:
                await self._stand_still(pair.destination, files)
                different = await self._compare(pair, files)
                if different and not await self._write_again(pair, different):
                    return  # the lane broke or a file failed: they are still contested
                files = different
            self._attempts = 0
        except GridFTPError as error:
            await self._fault(error, at_source=error.where == str(pair.source.server))
        finally:
            self._context.lanes_open -= 1
            await self._recorder.flush()
            await pair.lane.close()

    async def _fault(self, error: GridFTPError, *, at_source: bool) -> None:
        """A failure on the way: told, and tried again later."""
        verdict = self._context.judge(error, at_source=at_source)
        if verdict.consequence is not Consequence.RETRY_FILE:
            raise TaskFaultError(verdict) from error
        self._recorder.event(verdict.event)
        self._attempts += 1
        await asyncio.sleep(file_backoff_s(self._attempts, self._context.random))

    def _paths(self, file: File) -> tuple[str, str]:
        return (
            self._context.source_path(file.item_no, file.path),
            self._context.destination_path(file.item_no, file.path),
        )

    async def _stand_still(self, destination: Session, files: Sequence[File]) -> None:
        """Return when none of the paths has changed for `settle_s`."""
        settle_s = self._context.settings.settle_s
        paths = [self._paths(f)[1] for f in files]
        seen: list[tuple[int, int | None] | None] | None = None
        since = self._context.clock()
        while True:
            entries = await asyncio.gather(*(_look(destination, path) for path in paths))
            now = [None if e is None else (e.size, e.modified) for e in entries]
            if now != seen:
                seen, since = now, self._context.clock()
            elif self._context.clock() - since >= settle_s:
                return
            await asyncio.sleep(min(LOOK_AT_LEAST_EVERY_S, settle_s / LOOKS_IN_SETTLE))

    async def _compare(self, pair: Pair, files: Sequence[File]) -> list[File]:
        """Files that are equal at both ends count; the others are returned, as they are now."""
        algorithm = checksum_algorithm(self._context, pair)
        different: list[File] = []
        for first in range(0, len(files), COMPARED_AT_ONCE):
            some = files[first : first + COMPARED_AT_ONCE]
            compared = await asyncio.gather(
                *(self._compare_one(pair, file, algorithm) for file in some),
                return_exceptions=True,
            )
            for one in compared:
                if isinstance(one, BaseException):
                    raise one
                if one is not None:
                    different.append(one)
        return different

    async def _compare_one(self, pair: Pair, file: File, algorithm: str) -> File | None:
        """None if it is equal, and counted."""
        source_path, destination_path = self._paths(file)
        source, destination = await asyncio.gather(
            pair.source.stat(source_path), _look(pair.destination, destination_path)
        )
        now = File(
            file.file_no, file.item_no, file.path, source.size, source.modified, file.attempt
        )
        if destination is None or source.size != destination.size:
            return now
        timeout_s = checksum_timeout_s(source.size)
        here, there = await asyncio.gather(
            pair.source.checksum(source_path, algorithm, timeout_s=timeout_s),
            pair.destination.checksum(destination_path, algorithm, timeout_s=timeout_s),
        )
        if here.lower() != there.lower():
            return now
        await self._count(pair, now, algorithm, here)
        return None

    async def _count(self, pair: Pair, file: File, algorithm: str, digest: str) -> None:
        if self._context.options.preserve_timestamp and file.modified is not None:
            self._context.lease.check()
            await pair.destination.set_modified(self._paths(file)[1], file.modified)
        async with self._context.db.connection() as conn:
            ranges = await plan.ranges(conn, self._context.task_no, file.file_no)
        counted = sum(r.after - r.first for r in ranges)
        self._recorder.finished(
            file.file_no,
            Finished(file.item_no, file.path, file.size, algorithm, digest),
            transferred=max(file.size - counted, 0),
            checksummed=file.size,
        )

    async def _write_again(self, pair: Pair, files: Sequence[File]) -> bool:
        """Send the files; False if that failed (they stay contested)."""
        small = [f for f in files if f.size < LARGE_FILE_BYTES]
        for file in files:
            if file.size >= LARGE_FILE_BYTES and not await self._write_large(pair, file):
                return False
        window = self._context.settings.in_flight_files
        while small or pair.lane.in_flight:
            if small and pair.lane.in_flight < window:
                room = window - pair.lane.in_flight
                now, small = small[:room], small[room:]
                pieces = [self._piece(f) for f in now]
                self._context.lease.check()
                pair.lane.send(pieces)
                self._recorder.resent(sum(p.size for p in pieces))
            for outcome in await pair.lane.outcomes():
                if outcome.status == "failed":
                    await self._outcome_fault(outcome)
            if pair.lane.broken:
                return False
        return True

    async def _write_large(self, pair: Pair, file: File) -> bool:
        large = LargeFile(self._context, self._recorder, pair, file)
        ranges = await large.prepare()
        if ranges and sum(r.after - r.first for r in ranges) == file.size:
            # All of it had been confirmed, and yet it differs: find the ranges that do.
            try:
                await large.compare_ranges(ranges)
            except GridFTPError as error:
                if error.kind is not Kind.CHECKSUM_MISMATCH:
                    raise
                ranges = await large.prepare()
        failed = await large.send_missing(ranges)
        if failed is not None:
            await self._outcome_fault(failed)
        return failed is None

    async def _outcome_fault(self, outcome: Outcome) -> None:
        assert outcome.error is not None, "a failed outcome says why"
        verdict = self._context.judge(outcome.error, at_source=outcome.failed_side == "source")
        if verdict.consequence in (Consequence.FAIL_TASK, Consequence.SUSPEND_TASK):
            raise TaskFaultError(verdict)
        self._recorder.event(verdict.event)
        self._attempts += 1
        await asyncio.sleep(file_backoff_s(self._attempts, self._context.random))

    def _piece(self, file: File) -> Piece:
        source_path, destination_path = self._paths(file)
        preserve = self._context.options.preserve_timestamp
        return Piece(
            source_path,
            destination_path,
            file.size,
            modified=file.modified if preserve else None,
            tag=file,
        )


async def _look(session: Session, path: str) -> Entry | None:
    try:
        return await session.stat(path)
    except GridFTPError as error:
        if error.kind is Kind.NOT_FOUND:
            return None
        raise


def contested_event(count: int) -> Event:
    """Told once when a lease begins with contested files."""
    return Event(
        "RECOVERED",
        "taken over",
        {
            "contested_files": count,
            "next": "Files that were under way are compared at both ends before they count.",
        },
    )
