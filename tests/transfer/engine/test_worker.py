"""The worker: what it does when we ourselves are wrong."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, LiteralString, cast

import psycopg
import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import IDLE_TRANSACTION_LIMIT, Database
from towpath.platform.settings import EngineSettings, Settings
from towpath.transfer.engine.context import USABLE_PART_OF_LEASE
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.engine.probes import LOOKS_APART_S
from towpath.transfer.engine.worker import OUT_OF_MEMORY, Worker
from towpath.transfer.store import dates, leases
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.rows import fetch_one

TAKEOVER_S = 30.0
"""Within this time of a worker's death another one acts."""


def test_by_default_a_dead_workers_task_is_taken_over_in_time() -> None:
    """On another host, where nobody sees it die; the notification of the lease's end is missed.

    Where the worker was stopped in the middle of a write, its locks go before the lease does."""
    settings = Settings().engine
    assert settings.lease_s + settings.poll_s <= TAKEOVER_S
    locked_s = 2 * int(IDLE_TRANSACTION_LIMIT.removesuffix("s"))
    assert locked_s <= settings.lease_s


def test_by_default_nothing_is_written_again_before_a_lost_lease_is_over() -> None:
    """Even if the database's clock is set forward, and lets another worker in at once: contested
    files stand still for longer than the first worker acts without having renewed."""
    settings = Settings().engine
    assert settings.lease_s * USABLE_PART_OF_LEASE <= settings.settle_s


class Wrong:
    """Stands where the sessions should be."""

    async def person(self, known: Any) -> Any:
        return known

    async def login(self, *_: object, **_how: object) -> None:
        raise RuntimeError("secret detail of ours")


@asynccontextmanager
async def working(database: Database, witness: Any = None, **engine: Any) -> AsyncIterator[None]:
    sessions: Any = Wrong()
    settings = Settings(engine=EngineSettings(**engine))
    worker = Worker(database, sessions, settings, name=WorkerName.own(), witness=witness)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(20):
            yield
    finally:
        worker.stop()
        await running


async def until(database: Database, query: LiteralString) -> tuple[Any, ...]:
    """The first row, when there is one."""
    while True:
        async with database.connection() as conn:
            if (row := await fetch_one(conn, query)) is not None:
                return row
        await asyncio.sleep(0.02)


async def starts_fail(database: Database, sqlstate: str) -> None:
    """PostgreSQL itself refuses what a task writes when it starts."""
    async with database.transaction() as conn:
        await conn.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN RAISE 'secret detail of ours' USING ERRCODE = '{sqlstate}'; END$$"  # type: ignore[arg-type]
        )
        await conn.execute(
            "CREATE TRIGGER fail BEFORE INSERT ON frontier FOR EACH ROW EXECUTE FUNCTION fail()"
        )


class Listening:
    """A witness that only listens."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def begins(self, grant: Grant) -> None:
        self.told.append(("begins", grant.lease_epoch))

    def ends(self, grant: Grant) -> None:
        self.told.append(("ends", grant.lease_epoch))


async def test_the_witness_is_told_of_each_lease(database: Database, make_task: MakeTask) -> None:
    await make_task()
    witness = Listening()
    async with working(database, witness, retry_first_s=0.05, poll_s=0.05):
        async with asyncio.timeout(20):
            while len(witness.told) < 4:
                await asyncio.sleep(0.01)
    assert witness.told[:4] == [("begins", 1), ("ends", 1), ("begins", 2), ("ends", 2)]


DISK_FULL, STARTING_UP = "53100", "57P03"


@pytest.mark.parametrize("in_database", [False, True])
async def test_a_mistake_of_ours_is_told_and_the_task_tries_again(
    database: Database, make_task: MakeTask, *, in_database: bool
) -> None:
    """Also what the database refuses for good, such as when its disk is full."""
    await make_task()
    if in_database:
        await starts_fail(database, DISK_FULL)
    async with working(database):
        details, *task = await until(
            database,
            "SELECT e.details, t.status, t.faults, t.not_before > now() FROM event e"
            " JOIN task t USING (task_no) WHERE is_error"
            " AND code = 'INTERNAL_ERROR' AND t.lease_until IS NULL",
        )
    assert task == ["ACTIVE", 1, True]
    assert "secret detail" not in details
    assert "tried again" in json.loads(details)["next"]


class WithoutMemory:
    """Stands where the sessions should be."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def person(self, known: Any) -> Any:
        return known

    async def login(self, *_: object, **_how: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        psycopg.DatabaseError("out of memory for query result"),
    ],
)
async def test_a_worker_without_memory_ends(
    database: Database, make_task: MakeTask, error: Exception
) -> None:
    """It cannot know what it has lost with it; others see its end, and take over."""
    await make_task()
    sessions: Any = WithoutMemory(error)
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    worker = Worker(
        database, sessions, Settings(), name=WorkerName.own(), exit_process=ended.set_result
    )
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(10):
            assert await ended == OUT_OF_MEMORY
    finally:
        worker.stop()
        await running


async def test_nothing_is_looked_for_in_a_spin(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by who has no room, and by nobody because many tasks are due one after the other."""
    looks = 0

    async def due_now(_: Database) -> float:
        nonlocal looks
        looks += 1
        return 0.001

    monkeypatch.setattr(dates, "next_due_s", due_now)
    engine, nobody = Settings().engine, cast("Any", None)
    worker = Worker(database, nobody, Settings(), name=WorkerName.own())
    assert await worker._next_look_s() == LOOKS_APART_S
    worker._running = dict.fromkeys(range(engine.tasks_per_worker), nobody)
    assert await worker._next_look_s() == engine.poll_s
    assert looks == 1


async def test_a_stop_waits_for_drivers_that_were_replaced(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    second_ended = asyncio.Event()

    class Lingering:
        """Ends last, if it was there first."""

        made = 0

        def __init__(self, context: Any, **_: object) -> None:
            self.context = context
            self._number = Lingering.made
            self._stopped = asyncio.Event()
            Lingering.made += 1

        def interrupt(self, **_: object) -> None:
            self._stopped.set()

        async def run(self) -> None:
            try:
                await self._stopped.wait()
            finally:
                if self._number == 0:
                    await second_ended.wait()
                    await asyncio.sleep(0.1)
                ended.append(self._number)
                second_ended.set()

    monkeypatch.setattr("towpath.transfer.engine.worker.Driver", Lingering)
    await make_task()
    name = WorkerName.own()
    [grant] = await leases.admit(database, worker=str(name), limit=1, lease_s=15, per_owner=1)
    worker = Worker(database, cast("Any", None), Settings(), name=name)
    for _ in range(2):
        worker._start(grant, time.monotonic())
        await asyncio.sleep(0)
    worker.stop()
    await worker.run()
    assert ended == [1, 0]


async def test_a_task_whose_database_went_away_rests_before_it_is_granted_again(
    database: Database, make_task: MakeTask
) -> None:
    """Or it would log in everywhere, and fail, in a spin."""
    await make_task()
    await starts_fail(database, STARTING_UP)
    async with working(database, retry_first_s=60.0, retry_max_s=60.0):
        epoch, rests = await until(
            database,
            "SELECT lease_epoch, lease_until > now() + interval '30 s' FROM task"
            " WHERE lease_epoch > 0 AND lease_worker IS NULL",
        )
    assert (epoch, rests) == (1, True)


async def test_a_driver_that_ends_is_not_cancelled_again(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would leave open what it is closing: a worker that was stopped may see that its lease is
    another's, and be granted the task once more, at the same time."""
    closed: list[int] = []

    class Closing:
        def __init__(self, context: Any, **_: object) -> None:
            self.context = context

        def interrupt(self, **_: object) -> None:
            pass

        async def run(self) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.05)
                closed.append(1)

    monkeypatch.setattr("towpath.transfer.engine.worker.Driver", Closing)
    await make_task()
    name = WorkerName.own()
    [grant] = await leases.admit(database, worker=str(name), limit=1, lease_s=15, per_owner=1)
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET lease_epoch = lease_epoch + 1")
    worker = Worker(database, cast("Any", None), Settings(), name=name)
    worker._start(grant, time.monotonic())
    _, driving = worker._running[grant.task_no]
    await asyncio.sleep(0)
    await worker._renew_once()
    await asyncio.sleep(0)
    worker._start(grant, time.monotonic())
    await asyncio.wait([driving])
    assert closed == [1]
    _, again = worker._running[grant.task_no]
    again.cancel()
    await asyncio.wait([again])
