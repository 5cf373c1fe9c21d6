"""The plan window against a model, in a real database: walk, lanes and recorder in any order, and
crashes at any time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, TypeVar

import psycopg
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
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import recorder as recorder_module
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import leases, plan, segments
from towpath.transfer.store.plan import LARGE_FILE_BYTES, Directory, File, Returned, State
from towpath.transfer.store.rows import fetch, fetch_one
from towpath.transfer.store.segments import Finished, Skipped

T = TypeVar("T")
Shapes = list[tuple[int, bool]]
"""Of files: their sizes, and whether they are compared first."""

TREES = 5
WINDOW = 8
BATCH = 6
"""Files of one directory at most."""
LATER_S = 3600.0
"""A back-off that does not end while the test runs; `NOW_S` has ended already."""
NOW_S = -1.0

sizes = st.sampled_from([0, 1, 1000, 1000, LARGE_FILE_BYTES - 1, LARGE_FILE_BYTES])
rarely = st.sampled_from([False, False, True])
ENDINGS = ("done", "failed", "lost", "gone")
delays = st.sampled_from([None, None, NOW_S, NOW_S, LATER_S])


@dataclass
class Known:
    """What the model knows of a file in the plan."""

    path: str
    size: int
    state: State
    hidden: bool = False
    """Its directory has not been listed to its end."""
    delay_s: float | None = None
    attempt: int = 0
    epoch: int | None = None

    @property
    def due(self) -> bool:
        return self.delay_s != LATER_S


@dataclass
class Model:
    """What is committed, as it should be."""

    frontier: dict[int, float | None] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    """Found in a directory that is still being listed."""
    files: dict[int, Known] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    found: int = 0
    synced: int = 0

    def in_state(self, state: State) -> list[int]:
        return [no for no, file in self.visible.items() if file.state is state and file.due]

    @property
    def visible(self) -> dict[int, Known]:
        return {no: file for no, file in self.files.items() if not file.hidden}

    @property
    def listed_so_far(self) -> int:
        return len(self.files) - len(self.visible)

    def add(self, files: list[File], *, hidden: bool) -> None:
        for file in files:
            begins = State.COMPARE if file.compare else State.PENDING
            self.files[file.file_no] = Known(file.path, file.size, begins, hidden)

    def show_listing(self) -> None:
        for file in self.files.values():
            file.hidden = False
        self.frontier |= dict.fromkeys(self.hidden, None)
        self.hidden.clear()

    def forget_listing(self) -> None:
        self.files = self.visible
        self.hidden.clear()


class Context(TaskContext):
    """May lose the answer to a commit."""

    answer_lost: bool = False

    @asynccontextmanager
    async def fenced(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with super().fenced() as conn:
            yield conn
        if self.answer_lost:
            self.answer_lost = False
            raise psycopg.OperationalError("the connection broke after the commit")


class PlanMachine(RuleBasedStateMachine):
    """One task. What the worker did and has not flushed is lost in a crash."""

    def __init__(self, database: Database, run: Callable[[Coroutine[Any, Any, T]], T]) -> None:
        super().__init__()
        self.database, self.run = database, run
        self.model = Model()
        self.unflushed: list[Callable[[], None]] = []
        self.flying: list[File] = []
        self.partial: Directory | None = None
        self.names = count(1)

    # The worker.

    @initialize()
    def begin(self) -> None:
        async def store() -> int:
            async with self.database.transaction() as conn:  # those of earlier examples
                await conn.execute("UPDATE task SET status = 'FAILED'")
            return await store_task(self.database, items=TREES)

        self.task_no = self.run(store())
        self._take_over()

        async def start() -> None:
            async with self.context.fenced() as conn:
                await leases.start(conn, self.task_no)

        self.run(start())
        self.model.frontier = dict.fromkeys(range(TREES))
        self.dir_no = TREES - 1

    def _take_over(self) -> None:
        async def admit() -> tuple[Context, plan.Progress]:
            [grant] = await leases.admit(
                self.database, worker="w", limit=1, lease_s=1000, per_owner=1
            )
            nothing: Any = None
            context = Context(
                self.database,
                grant,
                LeaseClock(time.monotonic(), 1000, time.monotonic),
                nothing,
                nothing,
                EngineSettings(),
                Random(1),
                time.monotonic,
                Options.from_document({}),
            )
            async with context.fenced() as conn:
                return context, await plan.resume(conn, self.task_no, grant.lease_epoch)

        self.context, progress = self.run(admit())
        assert self.context.task_no == self.task_no
        self.context.open_files = progress.open_files
        self.recorder = Recorder(self.context)
        self.numbers = count(progress.last_file_no + 1)
        self.last_block = progress.last_file_no // plan.BLOCK_OF_NUMBERS
        self.dir_no = progress.last_dir_no

    @rule()
    def crash(self) -> None:
        """The worker dies; the next one takes over."""
        self.unflushed.clear()
        self.flying.clear()
        self.partial = None
        self.run(leases.expire_worker(self.database, "w"))
        self._take_over()
        self.model.forget_listing()
        for file in self.model.files.values():
            if file.state is State.IN_FLIGHT:
                file.state = State.CONTESTED

    @rule(lost=st.booleans())
    def flush(self, lost: bool) -> None:
        """Also when the answer to the commit is lost: it takes effect once."""
        self.context.answer_lost = lost
        self.run(self.recorder.flush())
        self.context.answer_lost = False
        for effect in self.unflushed:
            effect()
        self.unflushed.clear()

    # The walk: several directories at once, of which one at most is in the plan in parts.

    def _directory(self, *, in_parts: bool = False) -> Directory | None:
        """The next one to list, or the one that is in parts."""
        if in_parts:
            return self.partial
        being_listed = {self.partial.dir_no} if self.partial is not None else set()

        async def ask() -> Directory | None:
            async with self.database.connection() as conn:
                return await plan.next_directory(conn, self.task_no, but=being_listed)

        found = self.run(ask())
        due = [number for number, delay_s in self.model.frontier.items() if delay_s != LATER_S]
        expected = max(set(due) - being_listed, default=None)
        assert (found.dir_no if found else None) == expected
        return found

    def _new_files(self, shapes: Shapes, *, in_parts: bool) -> list[File]:
        numbers = self.numbers_of_parts if in_parts else self.numbers
        # The names are new ones: a number may come again after a crash.
        return [
            File(next(numbers), 0, f"f{next(self.names)}", size, None, compare=compare)
            for size, compare in shapes
        ]

    def _new_directories(self, count: int) -> list[Directory]:
        first = self.dir_no + 1
        self.dir_no += count
        return [Directory(number, 0, f"d{number}") for number in range(first, first + count)]

    def _window_open(self) -> bool:
        return self.context.open_files < WINDOW

    @precondition(_window_open)
    @rule(shapes=st.lists(st.tuples(sizes, rarely), max_size=2), below=st.integers(0, 1))
    def list_a_part(self, shapes: Shapes, below: int) -> None:
        directory = self.partial or self._directory()
        if directory is None or self.model.listed_so_far + len(shapes) > BATCH // 2:
            return
        begins = self.partial is None
        if begins:
            self.last_block += 1
            self.numbers_of_parts = count(self.last_block * plan.BLOCK_OF_NUMBERS)
        files = self._new_files(shapes, in_parts=True)
        directories = self._new_directories(below)

        async def add() -> None:
            async with self.context.fenced() as conn:
                if begins:
                    first = self.last_block * plan.BLOCK_OF_NUMBERS
                    await plan.hide(conn, self.task_no, first)
                await plan.add_part(conn, self.task_no, files, directories)

        self.run(add())
        self.partial = directory
        self.model.add(files, hidden=True)
        self.model.hidden |= {one.dir_no for one in directories}

    @precondition(_window_open)
    @rule(
        in_parts=st.booleans(),
        shapes=st.lists(st.tuples(sizes, rarely), min_size=1, max_size=BATCH // 2),
        below=st.integers(0, 2),
        equal=st.integers(0, 2),
    )
    def list_to_the_end(self, in_parts: bool, shapes: Shapes, below: int, equal: int) -> None:
        directory = self._directory(in_parts=in_parts)
        if directory is None:
            return
        files = self._new_files(shapes, in_parts=in_parts)
        directories = self._new_directories(below)
        found = len(files) + equal + (self.model.listed_so_far if in_parts else 0)

        async def listed() -> None:
            async with self.context.fenced() as conn:
                await plan.directory_listed(
                    conn,
                    self.task_no,
                    directory,
                    files=files,
                    directories=directories,
                    in_parts=in_parts,
                    files_found=found,
                    files_skipped=equal,
                    links_found=0,
                    is_directory=True,
                )

        self.run(listed())
        self.context.open_files += found - equal
        self.model.add(files, hidden=False)
        del self.model.frontier[directory.dir_no]
        self.model.frontier |= dict.fromkeys((one.dir_no for one in directories), None)
        if in_parts:
            self.partial = None
            self.model.show_listing()
        self.model.found += found
        self.model.synced += equal

    @rule(in_parts=st.booleans(), delay_s=st.sampled_from([NOW_S, NOW_S, LATER_S]))
    def listing_fails(self, in_parts: bool, delay_s: float) -> None:
        directory = self._directory(in_parts=in_parts)
        if directory is None:
            return

        async def later() -> None:
            async with self.context.fenced() as conn:
                if in_parts:
                    await plan.forget_unlisted(conn, self.task_no)
                await plan.list_later(conn, self.task_no, directory.dir_no, delay_s=delay_s)

        self.run(later())
        if in_parts:
            self.partial = None
            self.model.forget_listing()
        self.model.frontier[directory.dir_no] = delay_s

    # Lanes.

    @rule(
        large=rarely,
        files=st.integers(1, 6),
        size_bytes=st.sampled_from([1, 1500, 4 * LARGE_FILE_BYTES, 4 * LARGE_FILE_BYTES]),
    )
    def take(self, large: bool, files: int, size_bytes: int) -> None:
        async def take() -> list[File]:
            async with self.context.fenced() as conn:
                return await plan.take(
                    conn,
                    self.task_no,
                    epoch=self.context.grant.lease_epoch,
                    lane=1,
                    large=large,
                    files=files,
                    size_bytes=size_bytes,
                )

        taken = self.run(take())
        pending = [
            number
            for number in sorted(self.model.in_state(State.PENDING))
            if (self.model.files[number].size >= LARGE_FILE_BYTES) is large
        ]
        fresh = [number for number in pending if self.model.files[number].delay_s is None]
        numbers = [file.file_no for file in taken]
        assert len(numbers) <= files
        assert sum(file.size for file in taken[:-1]) < size_bytes, "the last may be too large"
        assert numbers == (fresh or pending[:1])[: len(numbers)]
        assert bool(numbers) is bool(pending), "what is due is taken"
        for file in taken:
            known = self.model.files[file.file_no]
            assert (file.path, file.size) == (known.path, known.size)
            assert file.attempt == known.attempt
            known.state = State.IN_FLIGHT
        self.flying += taken

    def _pick(self, data: st.DataObject, state: State, loads: Callable[..., Any]) -> File | None:
        """One of the first files in a state, as settlement and comparison take them."""

        async def load() -> list[File]:
            async with self.database.connection() as conn:
                found: list[File] = await loads(conn, self.task_no, 3)
                return found

        self.flush(lost=False)
        found = self.run(load())
        assert [file.file_no for file in found] == sorted(self.model.in_state(state))[:3]
        return data.draw(st.sampled_from(found)) if found else None

    def _finish(self, file: File) -> None:
        self.recorder.finished(
            file.file_no,
            Finished(0, file.path, file.size, None, None),
            transferred=file.size,
            checksummed=0,
        )

        def effect() -> None:
            del self.model.files[file.file_no]
            self.model.finished.append(file.path)

        self.unflushed.append(effect)

    def _return(self, file: File, state: State, delay_s: float | None) -> None:
        failed = delay_s is not None
        self.recorder.returned(Returned(file.file_no, state, failed=failed, delay_s=delay_s))

        def effect() -> None:
            known = self.model.files[file.file_no]
            known.state = state
            known.attempt += failed
            known.delay_s = known.delay_s if delay_s is None else delay_s

        self.unflushed.append(effect)

    def _leave_out(self, file: File) -> None:
        self.recorder.skipped(file.file_no, Skipped(0, file.path, False, "GONE", "", 0.0))

        def effect() -> None:
            del self.model.files[file.file_no]
            self.model.left_out.append(file.path)

        self.unflushed.append(effect)

    @precondition(lambda self: self.flying)
    @rule(endings=st.lists(st.tuples(st.sampled_from(ENDINGS), delays), min_size=1, max_size=6))
    def outcomes(self, endings: list[tuple[str, float | None]]) -> None:
        for ending, delay_s in endings[: len(self.flying)]:
            file = self.flying.pop(0)
            if ending == "done":
                self._finish(file)
            elif ending == "gone":
                self._leave_out(file)
            else:
                state = State.CONTESTED if ending == "lost" else State.PENDING
                self._return(file, state, delay_s)

    @rule(data=st.data(), equal=st.booleans(), delay_s=delays)
    def settle(self, data: st.DataObject, equal: bool, delay_s: float | None) -> None:
        file = self._pick(data, State.CONTESTED, plan.contested)
        if file is not None and equal:
            self._finish(file)
        elif file is not None:
            self._return(file, State.CONTESTED, delay_s)

    @rule(data=st.data(), equal=st.booleans(), delay_s=delays)
    def compare(self, data: st.DataObject, equal: bool, delay_s: float | None) -> None:
        file = self._pick(data, State.COMPARE, plan.to_compare)
        if file is None:
            return
        if not equal:
            self._return(file, State.PENDING if delay_s is None else State.COMPARE, delay_s)
            return
        self.recorder.synced(file.file_no, checksummed=0)

        def effect() -> None:
            del self.model.files[file.file_no]
            self.model.synced += 1

        self.unflushed.append(effect)

    # What must always hold.

    @invariant()
    def the_database_is_the_model(self) -> None:
        async def look() -> tuple[list[Any], list[Any], Any]:
            async with self.database.connection() as conn:
                rows = await fetch(
                    conn,
                    "SELECT file_no, path, state, attempt FROM file WHERE task_no = %s",
                    (self.task_no,),
                )
                frontier = await fetch(
                    conn, "SELECT dir_no, listing FROM frontier WHERE task_no = %s", (self.task_no,)
                )
                task = await fetch_one(
                    conn,
                    "SELECT files, files_transferred, files_skipped, skipped_errors FROM task"
                    " WHERE task_no = %s",
                    (self.task_no,),
                )
            return rows, frontier, task

        rows, frontier, task = self.run(look())
        model = self.model
        assert {no: (plan.decode(path), State(state), n) for no, path, state, n in rows} == {
            no: (file.path, file.state, file.attempt) for no, file in model.files.items()
        }
        assert dict(frontier) == {
            **dict.fromkeys(model.frontier, False),
            **dict.fromkeys(model.hidden, True),
        }
        assert task == (model.found, len(model.finished), model.synced, len(model.left_out))
        assert len(model.visible) == self.context.open_files <= WINDOW + BATCH
        accounted = len(model.visible) + len(model.finished) + len(model.left_out) + model.synced
        assert accounted == model.found, "nothing is lost, nothing is there twice"

    def teardown(self) -> None:
        """The history has every file once."""
        if not hasattr(self, "task_no"):
            return

        async def history(record: type[Any]) -> list[str]:
            paths: list[str] = []
            after = 0
            async with self.database.connection() as conn:
                while found := await segments.read_segment(conn, self.task_no, record, after):
                    after = found[0]
                    paths += [one.path for one in found[1]]
            return sorted(paths)

        assert self.run(history(Finished)) == sorted(self.model.finished)
        assert self.run(history(Skipped)) == sorted(self.model.left_out)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """One loop for all examples."""
    monkeypatch.setattr(recorder_module, "DATABASE_RETRY_S", 0)
    with asyncio.Runner() as runner:
        yield runner.run


def test_nothing_is_lost_or_done_twice(
    database_url: str, run: Callable[[Coroutine[Any, Any, Any]], Any]
) -> None:
    database = Database(database_url, schema="transfer", max_size=2)
    run(database.open())
    try:
        run_state_machine_as_test(
            lambda: PlanMachine(database, run),
            settings=settings(
                max_examples=30,
                stateful_step_count=50,
                deadline=None,
                report_multiple_bugs=False,
                phases=[Phase.generate],  # with Phase.shrink a failure is short, after minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        run(database.close())
