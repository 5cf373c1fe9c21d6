"""A large file against a model, in a real database: lanes that break, workers that die, bytes that
are lost or damaged, and a source that changes, in any order.

Never is a file finished that has a hole, or a part that is not the source's.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from plugins.tasks import store_task
from towpath.gridftp.client import ranges
from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.ranges import RANGE_MIN_BYTES
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.gridftp.wire.ranges import ByteRange
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine.changes import take_note
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.large import LargeFile
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import leases, plan, segments
from towpath.transfer.store.plan import LARGE_FILE_BYTES, File, Item, Returned, State
from towpath.transfer.store.rows import fetch
from towpath.transfer.store.segments import Finished

T = TypeVar("T")

BLOCK = RANGE_MIN_BYTES
"""What the model knows of contents; ranges of files of these sizes begin where blocks do."""
SIZES = [LARGE_FILE_BYTES, LARGE_FILE_BYTES + 1, LARGE_FILE_BYTES + BLOCK + 5, 6 * BLOCK]
SMALL = 1000

GARBAGE = "garbage"
FATES = ("ok", "ok", "ok", "flush", "damaged", "breaks", "forgets", "dies", "changes")
rarely = st.sampled_from([False, False, True])
sizes = st.sampled_from([*SIZES, *SIZES, SMALL])


class DiedError(Exception):
    """The worker's process is gone."""


@dataclass
class Source:
    """A file whose every version has other contents and another time."""

    size: int
    version: int = 0

    def block(self, number: int) -> object:
        return (self.version, number, min(BLOCK, self.size - number * BLOCK))

    def blocks(self) -> list[object]:
        return [self.block(number) for number in range(-(-self.size // BLOCK))]


@dataclass
class World:
    """Two servers with one file each."""

    source: Source
    random: Random
    there: dict[int, object] | None = None
    """Blocks at the destination; None: there is no file."""
    there_size: int = 0
    modified: int | None = None
    recorder: Recorder | None = None
    verify: bool = False
    lost_at_the_end: bool = False
    """Whether the destination's session is lost when all ranges are there."""
    checkers_break: bool = False
    """Whether sessions that only compare are lost now and then."""

    def change(self, size: int) -> None:
        self.source = Source(size, self.source.version + 1)

    def write(self, part: ByteRange, *, damaged: bool = False) -> None:
        """What a server that reads and one that writes make of a range."""
        end = min(part.after, self.source.size)  # a source that is shorter by now sends less
        if self.there is None:
            self.there, self.there_size = {}, 0
        for number in range(part.first // BLOCK, -(-end // BLOCK)):
            self.there[number] = GARBAGE if damaged else self.source.block(number)
            self.there_size = max(self.there_size, end)

    def forget(self) -> None:
        """The destination's host has gone down: some of what it had received is not there."""
        for number in self.there or {}:
            if self.random.random() < 0.5:
                assert self.there is not None
                self.there[number] = GARBAGE


def digest(blocks: dict[int, object], part: ByteRange) -> str:
    numbers = range(part.first // BLOCK, -(-part.after // BLOCK))
    return str([blocks.get(number) for number in numbers]).lower()


@dataclass(eq=False)
class Session:
    """What LargeFile asks of either end."""

    world: World
    server: str
    features: Any = field(default_factory=lambda: SimpleNamespace(checksums=("SHA256",)))
    timeouts: Any = field(default_factory=lambda: SimpleNamespace(checksum_s=1.0, stall_s=1.0))
    channel: Any = field(default_factory=SimpleNamespace)
    closed: bool = False
    account: str | None = None

    async def stat(self, _path: str, timeout_s: float | None = None) -> Entry:
        del timeout_s
        source = self.world.source
        return Entry("f", EntryType.FILE, source.size, source.version)

    async def size(self, _path: str) -> int:
        self._there()
        if self.world.lost_at_the_end:
            raise GridFTPError(Kind.CONNECTION_LOST, "lost", self.server)
        return self.world.there_size

    async def checksum(
        self, _path: str, _algorithm: str, part: ByteRange, timeout_s: float | None = None
    ) -> str:
        del timeout_s
        if self.server == "source":
            return digest(dict(enumerate(self.world.source.blocks())), part)
        return digest(self._there(), part)

    async def delete_file(self, _path: str) -> None:
        self._there()
        self.world.there = None

    async def set_modified(self, _path: str, modified: int) -> None:
        self.world.modified = modified

    async def close(self) -> None:
        self.closed = True

    async def give_up(self) -> None:
        self.closed = True

    def _there(self) -> dict[int, object]:
        if self.world.there is None:
            raise GridFTPError(Kind.NOT_FOUND, "no such file", self.server)
        return self.world.there


@dataclass(frozen=True)
class At:
    """All that one logs in with."""

    server: str
    permit: None = None


class Checker(Session):
    """A session that only compares, and may be lost while it does."""

    async def checksum(
        self, path: str, algorithm: str, part: ByteRange, timeout_s: float | None = None
    ) -> str:
        await asyncio.sleep(0)
        if self.world.checkers_break and self.world.random.random() < 0.3:
            self.closed = True
            raise GridFTPError(Kind.CONNECTION_LOST, "lost", self.server)
        return await super().checksum(path, algorithm, part, timeout_s)


class Lane:
    """Moves ranges in order, each as its fate is."""

    digests_on_the_way = False

    def __init__(self, world: World, fates: Iterable[tuple[str, int]]) -> None:
        self.world = world
        self.fates = iter(fates)
        self.broken = False
        self.destination = SimpleNamespace(server="destination")
        self.queue: list[Piece] = []

    def send(self, pieces: Sequence[Piece]) -> None:
        assert not self.broken
        self.queue += pieces

    async def outcomes(self) -> list[Outcome]:
        await asyncio.sleep(0)
        if not self.queue:
            return []
        piece, fate_of = self.queue.pop(0), next(self.fates, ("ok", 0))
        fate, size = fate_of
        part = piece.byte_range
        assert part is not None
        if fate == "changes":
            self.world.change(size)
        elif fate == "flush":
            assert self.world.recorder is not None
            await self.world.recorder.flush()
        elif fate in ("breaks", "forgets", "dies"):
            return self._end(fate, [piece, *self.queue])
        self.world.write(part, damaged=fate == "damaged" and self.world.verify)
        if piece.checksum is None:
            return [Outcome(piece, "done")]
        here = await Session(self.world, "source").checksum("", "", part)
        there = await Session(self.world, "destination").checksum("", "", part)
        if here == there:
            return [Outcome(piece, "done", digest=here)]
        error = GridFTPError(Kind.CHECKSUM_MISMATCH, "differs", "destination")
        return [Outcome(piece, "failed", error, "destination")]

    def _end(self, fate: str, pieces: list[Piece]) -> list[Outcome]:
        """The pieces may be written or not, and rightly or not."""
        self.broken = True
        self.queue = []
        for piece in pieces:
            assert piece.byte_range is not None
            if self.world.random.random() < 0.5:
                self.world.write(piece.byte_range, damaged=self.world.random.random() < 0.5)
        if fate == "forgets":
            self.world.forget()
        if fate == "dies":
            raise DiedError
        error = GridFTPError(Kind.CONNECTION_LOST, "lost", "destination")
        return [
            Outcome(pieces[0], "failed", error, "destination"),
            *(Outcome(piece, "void") for piece in pieces[1:]),
        ]


class LargeMachine(RuleBasedStateMachine):
    """One task with one file."""

    def __init__(self, database: Database, run: Callable[[Coroutine[Any, Any, T]], T]) -> None:
        super().__init__()
        self.database, self.run = database, run
        self.finished = True

    @initialize(size=st.sampled_from(SIZES), verify=st.booleans(), seed=st.integers(0, 1000))
    def begin(self, size: int, verify: bool, seed: int) -> None:
        self.another_file(size, verify, seed)

    def _done(self) -> bool:
        return self.finished

    @precondition(_done)
    @rule(size=st.sampled_from(SIZES), verify=st.booleans(), seed=st.integers(0, 1000))
    def another_file(self, size: int, verify: bool, seed: int) -> None:
        self.finished = False
        self.world = World(Source(size), Random(seed), verify=verify)
        self.verify = verify
        self.pair: Any = None

        async def store() -> int:
            async with self.database.transaction() as conn:  # those of earlier examples
                await conn.execute("UPDATE task SET status = 'FAILED'")
            task_no = await store_task(self.database)
            async with self.database.transaction() as conn:
                file = File(1, 0, "", size, 0)
                await leases.start(conn, task_no)
                await plan.add_files(conn, task_no, [file])
            return task_no

        self.task_no = self.run(store())
        self._take_over()

    def _take_over(self) -> None:
        async def admit() -> TaskContext:
            [grant] = await leases.admit(
                self.database, worker="w", limit=1, lease_s=1000, per_owner=1
            )
            nothing: Any = None
            world = self.world

            async def open_login(login: At) -> Checker:
                return Checker(world, login.server)

            sessions: Any = SimpleNamespace(open_login=open_login)
            context = TaskContext(
                self.database,
                grant,
                LeaseClock(time.monotonic(), 1000, time.monotonic),
                sessions,
                nothing,
                EngineSettings(),
                Random(1),
                time.monotonic,
                Options.from_document({"verify_checksum": self.verify, "preserve_timestamp": True}),
                items={0: Item(0, "/s", "/d", False)},
            )
            async with context.fenced() as conn:
                await plan.resume(conn, self.task_no, grant.lease_epoch)
                # settlement has seen that what the last worker sent is still
                await plan.put_back(conn, self.task_no, [Returned(1, State.PENDING)])
            return context

        self.context = self.run(admit())
        assert self.context.task_no == self.task_no
        self.recorder = self.world.recorder = Recorder(self.context)
        self.pair = None

    def _unfinished(self) -> bool:
        return not self.finished

    @precondition(_unfinished)
    @rule(
        fates=st.lists(st.tuples(st.sampled_from(FATES), sizes), max_size=8),
        lost=rarely,
        checkers_break=rarely,
    )
    def transfer(self, fates: list[tuple[str, int]], lost: bool, checkers_break: bool) -> None:
        """As a lane for large files does it."""
        self.world.lost_at_the_end = lost
        self.world.checkers_break = checkers_break
        if self.pair is None or self.pair.lane.broken:
            self.pair = SimpleNamespace(
                source=Session(self.world, "source"),
                destination=Session(self.world, "destination"),
                source_login=At("source"),
                destination_login=At("destination"),
                generation=self.context.next_generation(),
            )
        self.pair.lane = Lane(self.world, fates)
        try:
            self.finished = self.run(self._once())
        except DiedError:
            self.run(leases.expire_worker(self.database, "w"))
            self._take_over()
            return
        if self.finished:
            self._check_finished()
        elif lost:
            self.pair = None

    async def _once(self) -> bool:
        """Whether the file has been finished."""
        [[size]] = await self._rows("SELECT size FROM file WHERE task_no = %s")
        async with self.context.fenced() as conn:
            [file] = await plan.take(
                conn,
                self.task_no,
                epoch=self.context.grant.lease_epoch,
                lane=0,
                large=size >= LARGE_FILE_BYTES,
                files=1,
                size_bytes=1,
            )
        if file.size < LARGE_FILE_BYTES:
            await self._send_small(file)
        elif await LargeFile(self.context, self.recorder, self.pair, file).transfer():
            self.recorder.returned(Returned(1, State.PENDING))
        await self.recorder.flush()
        return not await self._rows("SELECT 1 FROM file WHERE task_no = %s")

    async def _send_small(self, file: File) -> None:
        """As a lane for small files does it: the whole file, replacing what is there."""
        source = self.world.source
        if (file.size, file.modified) != (source.size, source.version):
            await take_note(
                self.context, [replace(file, size=source.size, modified=source.version)]
            )
            self.recorder.returned(Returned(1, State.PENDING))
            return
        self.world.there = None
        self.world.write(ByteRange(0, file.size))
        self.world.modified = file.modified
        done = Finished(0, "", file.size, None, None)
        self.recorder.finished(1, done, transferred=file.size, checksummed=0)

    async def _rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.database.connection() as conn:
            return await fetch(conn, query, (self.task_no,))

    @precondition(_unfinished)
    @rule(size=sizes)
    def somebody_writes_the_source(self, size: int) -> None:
        self.world.change(size)

    @precondition(_unfinished)
    @rule(forgets=st.booleans())
    def the_worker_dies(self, forgets: bool) -> None:
        if forgets:
            self.world.forget()
        self.run(leases.expire_worker(self.database, "w"))
        self._take_over()

    @precondition(_unfinished)
    @rule()
    def somebody_removes_the_destination(self) -> None:
        """Between two pairs of sessions."""
        self.pair = None
        self.world.there = None

    @invariant()
    def restart_points_are_apart_and_in_the_file(self) -> None:
        if not hasattr(self, "task_no"):
            return
        rows = self.run(
            self._rows(
                "SELECT first, after, size FROM file_range JOIN file USING (task_no, file_no)"
                " WHERE task_no = %s ORDER BY first"
            )
        )
        at = 0
        for first, after, size in rows:
            assert at <= first < after <= size
            at = after
        assert not (
            self.finished and self.run(self._rows("SELECT 1 FROM file_range WHERE task_no = %s"))
        )

    def _check_finished(self) -> None:
        world = self.world
        source = world.source
        assert world.there is not None
        assert world.there_size == source.size
        assert [world.there.get(n) for n in range(len(world.there))] == source.blocks()
        assert world.modified == source.version
        [(transferred, files)] = self.run(
            self._rows("SELECT bytes_transferred, files_transferred FROM task WHERE task_no = %s")
        )
        assert (transferred, files) == (source.size, 1)

        async def history() -> list[Finished]:
            async with self.database.connection() as conn:
                found = await segments.read_segment(conn, self.task_no, Finished, 0)
            assert found is not None
            return found[1]

        assert [one.size for one in self.run(history())] == [source.size]

    def teardown(self) -> None:
        """Whatever has happened: left in peace, it ends well."""
        if not hasattr(self, "task_no"):
            return
        for _ in range(8):
            if self.finished:
                return
            self.transfer([], lost=False, checkers_break=False)
        raise AssertionError("it is not finished")


@pytest.fixture
def run() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """One loop for all examples."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.mark.parametrize("few_ranges", [0, ranges.FEW_RANGES])
def test_never_is_a_file_finished_with_a_hole(
    database_url: str,
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    monkeypatch: pytest.MonkeyPatch,
    few_ranges: int,
) -> None:
    """Ranges are compared on sessions of their own, or on the lane."""
    monkeypatch.setattr(ranges, "FEW_RANGES", few_ranges)
    database = Database(database_url, schema="transfer", max_size=2)
    run(database.open())
    try:
        run_state_machine_as_test(
            lambda: LargeMachine(database, run),
            settings=settings(
                max_examples=30,
                stateful_step_count=15,
                deadline=None,
                phases=[Phase.generate],  # with Phase.shrink a failure is short, after minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        run(database.close())
