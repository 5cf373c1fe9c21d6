"""One large file, by ranges: each confirmed range is a restart point (I4).

Writing ranges truncates nothing, so the destination is removed before the first one.
Ranges of an earlier pair of sessions are compared again before the file counts: what a lost
session reported as written was received, not necessarily kept.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.pieces import SideName
from towpath.gridftp.client.ranges import Checks, RangeTransfer, cut, range_size
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.transfer.engine.arrived import refuted
from towpath.transfer.engine.changes import SourceWatch, as_now, change, take_note
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    at_destination,
    at_source,
)
from towpath.transfer.engine.news import FileState, Moving
from towpath.transfer.engine.pairs import Ends, Pair, checksum_algorithm, open_another
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.stopwatch import CHECKSUM
from towpath.transfer.sessions import Login
from towpath.transfer.store import restart_points
from towpath.transfer.store.plan import LARGE_FILE_BYTES, File, Returned, State
from towpath.transfer.store.restart_points import Range
from towpath.transfer.store.segments import Finished, ranges_digest

MEBIBYTE = 1024 * 1024
# A slow disk reads this fast; a server says nothing while it computes a checksum.
CHECKSUM_MIN_RATE = 20 * MEBIBYTE
CHECKSUM_GRACE_S = 60.0
# Files compared side by side; each has a command or two under way at each server.
COMPARED_AT_ONCE = 50


def present(ranges: Sequence[Range]) -> RangeSet:
    """The bytes that restart points cover."""
    return RangeSet(ByteRange(r.first, r.after) for r in ranges)


def checksum_timeout_s(size: int) -> float:
    """How long a server may be silent over a checksum of `size` bytes."""
    return CHECKSUM_GRACE_S + size / CHECKSUM_MIN_RATE


class LargeFile:
    """The transfer of one large file over one pair of sessions."""

    def __init__(self, context: TaskContext, recorder: Recorder, pair: Pair, file: File) -> None:
        self._context = context
        self._recorder = recorder
        self._pair = pair
        self._file = file
        self._source_path = context.source_path(file.item_no, file.path)
        self._destination_path = context.destination_path(file.item_no, file.path)
        self._marked = 0
        """Bytes of ranges that have not arrived, as the destination tells."""
        self._arrived = 0
        self._sends = False
        self.begun = file.sent_before
        """Whether something of it may be at the destination, from us."""

    @property
    def file(self) -> File:
        """As it is now at the source, once prepared."""
        return self._file

    @property
    def standing(self) -> Moving:
        """How far it has come."""
        moved = min(self._arrived + self._marked, self._file.size)
        if not self._sends:
            return Moving(self._file, moved, FileState.WAITING)
        all_there = self._arrived >= self._file.size
        return Moving(self._file, moved, FileState.VERIFYING if all_there else FileState.SENDING)

    def _note_marked(self, size: int) -> None:
        self._marked += size
        self._context.news.move(size)

    def _note_arrived(self, part: ByteRange) -> None:
        marked = min(self._marked, part.length)
        self._marked -= marked
        self._arrived += part.length
        self._context.news.move(part.length - marked)

    async def transfer(self) -> Outcome | None:
        """Send what is missing and finish the file; an outcome only if that failed.

        The lane is broken afterwards if the failure was of a data command. A file that has become
        small meanwhile goes back into the plan, for the lanes of small files.
        """
        try:
            ranges = await self.prepare()
            if self._file.size < LARGE_FILE_BYTES:
                self._recorder.returned(Returned(self._file.file_no, State.PENDING))
                return None
            failed = await self.send_missing(ranges)
            if failed is not None:
                return failed
            await self._finish()
        except SidedError as sided:
            if sided.error.kind is Kind.NOT_FOUND and not sided.at_source:
                await self.drop(None)  # somebody removed it
            side: SideName = "source" if sided.at_source else "destination"
            return Outcome(self._whole(), "failed", sided.error, side)
        return None

    def _whole(self) -> Piece:
        return Piece(self._source_path, self._destination_path, 0, tag=self._file)

    async def prepare(self) -> list[Range]:
        """The restart points that hold: none if the source is not what it was.

        Raises SidedError.
        """
        await self._recorder.flush()
        async with self._context.db.connection() as conn:
            ranges = await restart_points.of_file(conn, self._context.task_no, self._file.file_no)
        self.begun |= bool(ranges)
        with at_source():
            entry = await self._pair.source.stat(self._source_path)
        changed = self._change(entry)
        if changed is not None:
            self._recorder.event(self._context.judge(changed, Phase.DATA, at_source=True).event)
            await self._take_note(entry)
            ranges = []
        self.begun = True
        if not ranges and self._file.size >= LARGE_FILE_BYTES:
            self._context.lease.check()
            with at_destination():
                try:
                    await self._pair.destination.delete_file(self._destination_path)
                except GridFTPError as error:
                    if error.kind is not Kind.NOT_FOUND:
                        raise
        return ranges

    async def send_missing(self, ranges: Sequence[Range]) -> Outcome | None:
        """Send all ranges but the given ones; an outcome if one failed, or if the source changes.

        Each is a restart point when it has arrived. With verification on it is compared, too: other
        sessions with the same logins do that meanwhile. One that could not be is compared before
        the file counts.
        """
        failed: Outcome | None = None
        checks = self._checks()
        self._arrived = sum(one.after - one.first for one in ranges)
        self._pair.lane.on_progress = self._note_marked
        self._sends = True
        arrived: set[ByteRange] = set()

        def note(part: ByteRange) -> None:
            arrived.add(part)
            self._note_arrived(part)
            self._record(part, verified=False)

        watch = SourceWatch(self._source_now, self._context.clock)
        changed: Entry | None = None
        transfer = RangeTransfer(
            [self._pair.lane],
            self._source_path,
            self._destination_path,
            cut(self._file.size, present(ranges)),
            checks=checks,
            window_bytes=self._context.settings.in_flight_bytes,
            on_arrived=note,
        )
        async with transfer, aclosing(watch):
            while outcomes := await transfer.outcomes():
                for outcome in outcomes:
                    done = outcome.piece.byte_range
                    assert done is not None, "only ranges were sent"
                    if outcome.status == "done":
                        if done not in arrived:
                            self._note_arrived(done)
                        self._record(
                            done,
                            verified=checks is not None,
                            is_new=done not in arrived,
                            algorithm=None if checks is None else checks.algorithm,
                            digest=outcome.digest,
                        )
                        continue
                    failed = failed or outcome
                    if done not in arrived:
                        self._recorder.resent(done.length)
                    elif _differs(outcome):
                        await self._recorder.flush()
                        await self.drop([done.first])
                    transfer.stop()  # what was sent may still arrive
                if failed is not None and self._pair.lane.broken:
                    break  # a check may be waiting for a server that is gone, too
                seen = watch.seen()
                if seen is not None and self._change(seen) is not None:
                    changed = seen
                    transfer.stop()
        await self._recorder.flush()
        if failed is not None and changed is None and not self._pair.lane.broken:
            with at_source():
                changed = await self._source_now()
        if changed is not None:
            await self._check_unchanged(changed)
        if failed is not None:
            assert failed.error is not None, "a failed outcome says why"
            failed = Outcome(self._whole(), "failed", failed.error, failed.failed_side)
        return failed

    def _checks(self) -> Checks | None:
        if not self._context.verifies(self._file.item_no):
            return None
        context, pair = self._context, self._pair
        return Checks(
            checksum_algorithm(context, pair, self._file.item_no),
            partial(_checker, context, pair.source_login),
            partial(_checker, context, pair.destination_login),
        )

    def _record(
        self,
        done: ByteRange,
        *,
        verified: bool,
        is_new: bool = True,
        algorithm: str | None = None,
        digest: str | None = None,
    ) -> None:
        generation = self._pair.generation
        self._recorder.range_done(
            self._file.file_no,
            Range(done.first, done.after, verified, generation, algorithm, digest),
            checksummed=done.length if verified else 0,
            is_new=is_new,
        )

    async def _source_now(self) -> Entry:
        """Behind what the lane has under way."""
        return await self._pair.source.stat(self._source_path)

    def _lost(self) -> GridFTPError:
        return GridFTPError(
            Kind.CONNECTION_LOST,
            "the sessions were lost before the file was finished",
            where=str(self._pair.destination.server),
            path=self._destination_path,
        )

    def _change(self, now: Entry) -> GridFTPError | None:
        where = str(self._pair.source.server)
        return change(self._file, now, where=where, path=self._source_path)

    async def _take_note(self, now: Entry) -> None:
        self._file = as_now(self._file, now)
        await take_note(self._context, [self._file])

    async def _check_unchanged(self, now: Entry) -> None:
        """Raises SidedError if the source has changed; the plan then has what it is now."""
        changed = self._change(now)
        if changed is not None:
            await self._take_note(now)
            raise SidedError(changed, at_source=True)

    async def _finish(self) -> None:
        """Compare what must be compared; then the file counts. Raises SidedError."""
        async with self._context.db.connection() as conn:
            ranges = await restart_points.of_file(conn, self._context.task_no, self._file.file_no)
        if cut(self._file.size, present(ranges)):
            raise SidedError(self._lost(), at_source=False)
        verify = self._context.verifies(self._file.item_no)
        unsure = [
            r
            for r in ranges
            if r.session_generation != self._pair.generation or (verify and not r.verified)
        ]
        if unsure:
            with self._context.stopwatch.phase(CHECKSUM):
                compared_now = {one.first: one for one in await self.compare_ranges(unsure)}
            ranges = [compared_now.get(one.first, one) for one in ranges]
        with at_source():
            entry = await self._pair.source.stat(self._source_path)
        await self._check_unchanged(entry)
        with at_destination():
            stored = await self._pair.destination.size(self._destination_path)
            if stored != self._file.size:
                await self.drop([r.first for r in ranges])
                raise GridFTPError(
                    Kind.CHECKSUM_MISMATCH,
                    f"{stored} bytes arrived, {self._file.size} were sent",
                    where=str(self._pair.destination.server),
                    path=self._destination_path,
                )
        algorithm, digest = await self._whole_digest()
        await self.restore_time()
        compared = sum(r.after - r.first for r in unsure if not r.verified)
        together = digest_of_ranges(self._file.size, ranges)
        self.record_finished(algorithm, digest, compared=compared, ranges=together)

    async def _whole_digest(self) -> tuple[str | None, str | None]:
        """Of the file at the destination, if it must be a certain one. Raises TaskFaultError if it
        is another."""
        expected = self._context.items[self._file.item_no].external_checksum
        if expected is None:
            return None, None
        algorithm = checksum_algorithm(self._context, self._pair, self._file.item_no)
        with at_destination():
            digest = await self._pair.destination.checksum(
                self._destination_path, algorithm, timeout_s=checksum_timeout_s(self._file.size)
            )
        if digest != expected:
            await self.drop(None)  # before the file goes
        fault = await refuted(self._context, self._file, digest, self._pair.destination.server)
        if fault is not None:
            raise fault
        return algorithm, digest

    async def restore_time(self) -> None:
        """Give the destination the source's time, if the task asks for it."""
        if self._context.options.preserve_timestamp and self._file.modified is not None:
            self._context.lease.check()
            with at_destination():
                await self._pair.destination.set_modified(
                    self._destination_path, self._file.modified
                )

    def record_finished(
        self,
        algorithm: str | None,
        digest: str | None,
        *,
        compared: int,
        ranges: Sequence[object] | None = None,
    ) -> None:
        """The file counts; its bytes were counted range by range, but those `compared` at last."""
        file = self._file
        self._recorder.finished(
            file.file_no,
            Finished(
                *(file.item_no, file.path, file.size, algorithm, digest),
                attempts=file.attempt + 1,
                ranges=ranges,
            ),
            transferred=0,
            checksummed=compared,
        )

    async def compare_ranges(self, ranges: Sequence[Range]) -> list[Range]:
        """Digests of both ends over these ranges, which are returned with them; drops those that
        differ and raises SidedError."""
        algorithm = checksum_algorithm(self._context, self._pair, self._file.item_no)
        equal: list[Range] = []
        wrong: list[int] = []
        for one in ranges:
            part = ByteRange(one.first, one.after)
            timeout_s = checksum_timeout_s(part.length)
            here, there = await digests_of_both(
                self._pair, self._source_path, self._destination_path, algorithm, part, timeout_s
            )
            if here != there:
                wrong.append(one.first)
            else:
                equal.append(replace(one, verified=True, algorithm=algorithm, digest=here))
        if wrong:
            await self.drop(wrong)
            error = GridFTPError(
                Kind.CHECKSUM_MISMATCH,
                f"{len(wrong)} ranges of an interrupted transfer differ; they are sent again",
                where=str(self._pair.destination.server),
                path=self._destination_path,
            )
            raise SidedError(error, at_source=False)
        return equal

    async def drop(self, firsts: Sequence[int] | None) -> None:
        """These restart points do not hold; None: none does."""
        async with self._context.fenced() as conn:
            await restart_points.drop(conn, self._context.task_no, self._file.file_no, firsts)


def digest_of_ranges(size: int, ranges: Sequence[Range]) -> tuple[int, str, str] | None:
    """For `Finished.ranges`; None if there is nothing to say of all of the file: ranges that were
    not compared, or are not those into which a file of this size is cut."""
    step = range_size(size)
    algorithms = {one.algorithm for one in ranges}
    firsts = [one.first for one in ranges]
    digests = [one.digest for one in ranges if one.digest is not None]
    [algorithm, *others] = algorithms or {None}
    if algorithm is None or others or len(digests) < len(ranges):
        return None
    if firsts != list(range(0, size, step)):
        return None
    return step, algorithm, ranges_digest(digests)


def _differs(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.kind is Kind.CHECKSUM_MISMATCH


@asynccontextmanager
async def _checker(context: TaskContext, login: Login) -> AsyncIterator[Session]:
    """One more session with the login of a pair's end."""
    session = await open_another(context, login, writes=False)
    try:
        yield session
    except BaseException:
        await session.give_up()
        raise
    await session.close()


async def digests_of_both(
    pair: Ends,
    source_path: str,
    destination_path: str,
    algorithm: str,
    part: ByteRange | None,
    timeout_s: float,
) -> tuple[str, str]:
    """Both ends' digests of a file or a range, lower case, computed at once. Raises SidedError."""

    async def source() -> str:
        with at_source():
            return await pair.source.checksum(source_path, algorithm, part, timeout_s)

    async def destination() -> str:
        with at_destination():
            return await pair.destination.checksum(destination_path, algorithm, part, timeout_s)

    here, there = await asyncio.gather(source(), destination())
    return here.lower(), there.lower()
