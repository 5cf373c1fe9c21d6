"""The plan window against a model, in a real database: walk, lanes and recorder in any order, and
crashes at any time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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


def _begins(file: File) -> State:
    return State.COMPARE if file.compare else State.PENDING


@dataclass
class Model:
    """What is committed, as it should be."""

    frontier: dict[int, float | None] = field(default_factory=dict)
    files: dict[int, Known] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)
    found: int = 0
    synced: int = 0

    def in_state(self, state: State) -> list[int]:
        return [
            no
            for no, file in self.files.items()
            if file.state is state and file.due and not file.hidden
        ]

    @property
    def open(self) -> int:
        return sum(not file.hidden for file in self.files.values())

    def forget_listing(self) -> None:
        self.files = {n: f for n, f in self.files.items() if not f.hidden}


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
        self.file_no = progress.last_file_no
        self.dir_no = progress.last_dir_no

    @rule()
    def crash(self) -> None:
        """The worker dies; the next one takes over."""
        self.unflushed.clear()
        self.flying.clear()
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

    # The walk.

    def _directory(self) -> Directory | None:
        async def ask() -> Directory | None:
            async with self.database.connection() as conn:
                return await plan.next_directory(conn, self.task_no)

        found = self.run(ask())
        due = [number for number, delay_s in self.model.frontier.items() if delay_s != LATER_S]
        assert (found.dir_no if found else None) == max(due, default=None)
        return found

    def _new_files(self, shapes: list[tuple[int, bool]]) -> list[File]:
        made = []
        for size, compare in shapes:
            self.file_no += 1
            made.append(File(self.file_no, 0, f"f{self.file_no}", size, None, compare=compare))
        return made

    def _listed_so_far(self) -> int:
        return sum(file.hidden for file in self.model.files.values())

    def _window_open(self) -> bool:
        return self.context.open_files < WINDOW

    @precondition(_window_open)
    @rule(shapes=st.lists(st.tuples(sizes, st.booleans()), min_size=1, max_size=2))
    def list_a_part(self, shapes: list[tuple[int, bool]]) -> None:
        if self._directory() is None or self._listed_so_far() + len(shapes) > BATCH // 2:
            return
        files = self._new_files(shapes)

        async def add() -> None:
            async with self.context.fenced() as conn:
                if not self._listed_so_far():
                    await plan.hide(conn, self.task_no, files[0].file_no)
                await plan.add_part(conn, self.task_no, files, [])

        self.run(add())
        for file in files:
            self.model.files[file.file_no] = Known(file.size, _begins(file), hidden=True)

    @precondition(_window_open)
    @rule(
        shapes=st.lists(st.tuples(sizes, rarely), min_size=1, max_size=BATCH // 2),
        below=st.integers(0, 2),
        equal=st.integers(0, 2),
    )
    def list_to_the_end(self, shapes: list[tuple[int, bool]], below: int, equal: int) -> None:
        directory = self._directory()
        if directory is None:
            return
        files = self._new_files(shapes)
        directories = [Directory(self.dir_no + n, 0, f"d{n}") for n in range(1, below + 1)]
        self.dir_no += below
        found = self._listed_so_far() + len(files) + equal

        async def listed() -> None:
            async with self.context.fenced() as conn:
                await plan.directory_listed(
                    conn,
                    self.task_no,
                    directory,
                    files=files,
                    directories=directories,
                    in_parts=self._listed_so_far() > 0,
                    files_found=found,
                    files_skipped=equal,
                    links_found=0,
                    is_directory=True,
                )

        self.run(listed())
        self.context.open_files += found - equal
        for file in files:
            self.model.files[file.file_no] = Known(file.size, _begins(file))
        for known in self.model.files.values():
            known.hidden = False
        del self.model.frontier[directory.dir_no]
        self.model.frontier |= dict.fromkeys((d.dir_no for d in directories), None)
        self.model.found += found
        self.model.synced += equal

    @rule(delay_s=st.sampled_from([NOW_S, NOW_S, LATER_S]))
    def listing_fails(self, delay_s: float) -> None:
        directory = self._directory()
        if directory is None:
            return

        async def later() -> None:
            async with self.context.fenced() as conn:
                await plan.forget_unlisted(conn, self.task_no)
                await plan.list_later(conn, self.task_no, directory.dir_no, delay_s=delay_s)

        self.run(later())
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
            assert (file.path, file.size) == (f"f{file.file_no}", known.size)
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
            self.model.finished.add(file.file_no)

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
            self.model.left_out.add(file.file_no)

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
        async def look() -> tuple[list[Any], Any]:
            async with self.database.connection() as conn:
                rows = await fetch(
                    conn,
                    "SELECT file_no, state, attempt FROM file WHERE task_no = %s",
                    (self.task_no,),
                )
                task = await fetch_one(
                    conn,
                    "SELECT files, files_transferred, files_skipped, skipped_errors FROM task"
                    " WHERE task_no = %s",
                    (self.task_no,),
                )
            return rows, task

        rows, task = self.run(look())
        model = self.model
        assert {no: (State(state), attempt) for no, state, attempt in rows} == {
            no: (file.state, file.attempt) for no, file in model.files.items()
        }
        assert task == (model.found, len(model.finished), model.synced, len(model.left_out))
        assert not model.finished & model.files.keys(), "what is finished never comes back"
        assert model.open == self.context.open_files <= WINDOW + BATCH
        accounted = model.open + len(model.finished) + len(model.left_out) + model.synced
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

        for record, numbers in ((Finished, self.model.finished), (Skipped, self.model.left_out)):
            assert self.run(history(record)) == sorted(f"f{number}" for number in numbers)


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
                max_examples=40,
                stateful_step_count=50,
                deadline=None,
                phases=[Phase.generate],  # with Phase.shrink a failure is short, after minutes
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        run(database.close())
