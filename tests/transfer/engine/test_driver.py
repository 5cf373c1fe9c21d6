"""How a task begins and ends, without a server."""

import asyncio
import json
import time
from dataclasses import replace
from random import Random
from typing import Any

import psycopg
import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Connection, Database
from towpath.platform.secrets import SealError
from towpath.platform.settings import EngineSettings
from towpath.transfer.claims import claim
from towpath.transfer.engine.context import (
    LeaseClock,
    NothingDueError,
    Options,
    TaskContext,
    TaskFaultError,
)
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.driver import CANCELED, Driver, StopRequestedError
from towpath.transfer.engine.faults import Consequence, Verdict
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import claims, leases, plan
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.plan import File, State
from towpath.transfer.store.rows import fetch, fetch_one
from towpath.transfer.store.tasks import Status

FATAL = {"code": "X", "description": "x"}


async def begun(database: Database) -> TaskContext:
    """The only task, under a new lease, with five files in its plan."""
    asked_at = time.monotonic()
    [grant] = await leases.admit(database, worker="w", limit=1, lease_s=30, per_owner=3)
    sessions: Any = None
    context = TaskContext(
        db=database,
        grant=grant,
        lease=LeaseClock(asked_at, 30, time.monotonic),
        sessions=sessions,
        data_credentials=DataCredentials(),
        settings=EngineSettings(settle_s=0),
        random=Random(1),
        clock=time.monotonic,
        options=Options.from_document({}),
    )
    files = [File(number, 0, str(number), 5, None) for number in range(1, 6)]
    async with context.fenced() as conn:
        await leases.start(conn, context.task_no)
        await plan.add_files(conn, context.task_no, files)
    return context


async def left(conn: Connection) -> int:
    row = await fetch_one(conn, "SELECT count(*) FROM file")
    assert row is not None
    return int(row[0])


async def test_a_large_plan_is_dropped_in_parts(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "ROWS_AT_ONCE", 2)
    await make_task()
    context = await begun(database)
    finish, seen = leases.finish, []

    async def spied(conn: Connection, task_no: int, **how: Any) -> None:
        seen.append(await left(conn))
        await finish(conn, task_no, **how)

    monkeypatch.setattr(leases, "finish", spied)
    await Driver(context)._finish(Recorder(context), "FAILED", FATAL, [])
    assert seen == [0], "the last transaction has little to do"


async def test_a_crash_in_the_middle_of_that_leaves_a_task_that_only_ends(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that lacks a part must not be carried out, and be told to be all."""
    monkeypatch.setattr(leases, "ROWS_AT_ONCE", 2)
    task_no = await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await leases.note_fatal_error(conn, task_no, FATAL)
        assert await leases.finish_some(conn, task_no)
        assert await left(conn) == 3
        await leases.release(conn, task_no)
    await Driver(await admitted(database, context)).run()
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT status, fatal_error, lease_until FROM task")
        assert row == ("FAILED", FATAL, None)
        assert await left(conn) == 0


@pytest.mark.parametrize("lost", ["last", "before", None])
async def test_after_a_lost_lease_no_task_is_final_at_once(
    database: Database, make_task: MakeTask, lost: str | None
) -> None:
    """The loser may still make a directory or a link: the plan does not know of these. A successor
    that gave the task back, such as one that could not log in, changes nothing."""
    await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await leases.note_fatal_error(conn, context.task_no, FATAL)
        if lost is None:
            await leases.release(conn, context.task_no)
    await leases.expire_worker(database, "w")
    context.settings = EngineSettings(settle_s=1.5)
    began = time.monotonic()
    await admitted(database, context)
    if lost == "before":
        async with context.fenced() as conn:
            await leases.release(conn, context.task_no)
        await admitted(database, context)
        assert context.grant.lost_s_ago is not None
    await Driver(context).run()
    assert (time.monotonic() - began >= 1.4) is (lost is not None)


@pytest.mark.parametrize(
    ("fatal", "faults", "lost", "looks"),
    [
        ("CANCELED", 0, False, False),
        ("CANCELED", 1, False, True),
        ("CANCELED", 0, True, True),
        ("X", 0, False, True),
    ],
)
async def test_who_fails_looks_at_what_it_has_sent_and_who_cancels_in_good_health_does_not(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    fatal: str,
    faults: int,
    lost: bool,
    looks: bool,
) -> None:
    """Under whatever lease it was sent; and whoever comes next finds a task that only ends."""
    await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.take_these(conn, context.task_no, [2, 3], epoch=context.grant.lease_epoch)
        await plan.put_back(conn, context.task_no, [plan.Returned(3, State.CONTESTED)])
        await claims.make(conn, context.task_no, "there", [claim("/d", is_tree=True)])
        await conn.execute("UPDATE task SET faults = %s", (faults,))
        if not lost:
            await leases.release(conn, context.task_no)
    await leases.expire_worker(database, "w")
    context = await admitted(database, context)
    looked: list[int] = []

    async def repair(
        context: TaskContext, _recorder: Recorder, files: list[File], *, until: float
    ) -> list[File]:
        assert until > context.clock()
        looked.extend(file.file_no for file in files)
        async with context.db.connection() as conn:
            assert await left(conn) == 5
            row = await fetch_one(conn, "SELECT fatal_error->>'code' FROM task")
            assert row == (fatal,)
            assert not await plan.unsettled(conn, context.task_no, 1)
        return []

    async def still(*_: object, **__: object) -> bool:
        return True

    monkeypatch.setattr("towpath.transfer.engine.driver.let_settle", still)
    monkeypatch.setattr("towpath.transfer.engine.driver.repair", repair)
    driver = Driver(context)
    ending = CANCELED if fatal == "CANCELED" else FATAL
    await driver._finish(Recorder(context), Status.FAILED, ending, [])
    assert looked == ([2, 3] if looks else [])
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT status FROM task") == ("FAILED",)


@pytest.mark.parametrize("why", ["moves", "waits for another task", "no claim", "too many"])
async def test_the_owner_is_told_of_what_nobody_could_look_at(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """What moves, a lost session writes still (I3). A task whose endpoint was given another server
    claims its paths there, and may wait for another task to end: these are not its own yet (I9)."""
    task_no = await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.take_these(conn, task_no, [2, 3, 4], epoch=context.grant.lease_epoch)
        if why != "no claim":
            await claims.make(conn, task_no, "there", [claim("/d", is_tree=True)])
        if why == "waits for another task":
            await conn.execute("UPDATE task SET waits_for = task_no")

    async def repair(
        _context: TaskContext, _recorder: Recorder, files: list[File], *, until: float
    ) -> list[File]:
        assert until
        assert why == "too many"
        assert [file.file_no for file in files] == [2]
        return []

    async def settle(*_: object, **__: object) -> bool:
        return why != "moves"

    monkeypatch.setattr("towpath.transfer.engine.driver.MOST_FILES", 1)
    monkeypatch.setattr("towpath.transfer.engine.driver.let_settle", settle)
    monkeypatch.setattr("towpath.transfer.engine.driver.repair", repair)
    await Driver(context)._finish(Recorder(context), Status.FAILED, FATAL, [])
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT status FROM task") == ("FAILED",)
        row = await fetch_one(
            conn, "SELECT details FROM event WHERE code = %s", (EventCode.FILES_IN_DOUBT,)
        )
    assert row is not None
    told = json.loads(row[0])
    assert told["error"].startswith("2 files" if why == "too many" else "3 files")
    assert told["path"] == ("/d/3" if why == "too many" else "/d/2")


async def test_who_was_in_good_health_need_not_log_in_to_end(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paused, say, and then cancelled, while the servers are down: nothing is in doubt."""
    task_no = await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.take_these(conn, task_no, [2], epoch=context.grant.lease_epoch)
        await plan.put_back(conn, task_no, [plan.Returned(2, State.PENDING)])
        await claims.make(conn, task_no, "there", [claim("/d", is_tree=True)])

    async def place_items(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("towpath.transfer.engine.driver.place_items", place_items)
    await Driver(context)._finish(Recorder(context), Status.FAILED, CANCELED, [])
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT status, faults FROM task") == ("FAILED", 0)


async def test_a_mistake_of_ours_does_not_keep_a_task_from_ending(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential that cannot be opened, say: each lease would make the same mistake, and one that
    was cancelled is granted without a back-off."""
    task_no = await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.take_these(conn, task_no, [2], epoch=context.grant.lease_epoch)
        await claims.make(conn, task_no, "there", [claim("/d", is_tree=True)])

    async def open_session(*_: object, **__: object) -> None:
        raise SealError("sealed under a key that this deployment does not have")

    monkeypatch.setattr("towpath.transfer.engine.standstill.open_session", open_session)
    driver = Driver(context)
    with pytest.raises(SealError):
        await driver._finish(Recorder(context), Status.FAILED, FATAL, [])
    await driver.internal_error()
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT status, fatal_error FROM task") == ("FAILED", FATAL)
        codes = [row[0] for row in await fetch(conn, "SELECT code FROM event ORDER BY seq")]
    assert codes == ["INTERNAL_ERROR", "FILES_IN_DOUBT"]


async def test_a_clock_set_back_since_a_lease_was_lost_makes_nobody_wait_longer(
    database: Database, make_task: MakeTask
) -> None:
    await make_task()
    context = await begun(database)
    context.grant = replace(context.grant, lost_s_ago=-7200.0)
    async with asyncio.timeout(10):
        driver = Driver(context)
        await driver._finish(Recorder(context), "FAILED", FATAL, [])


async def admitted(database: Database, before: TaskContext) -> TaskContext:
    """The successor's."""
    [before.grant] = await leases.admit(database, worker="v", limit=1, lease_s=30, per_owner=3)
    return before


async def test_what_was_not_listed_to_its_end_is_forgotten_in_parts(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "ROWS_AT_ONCE", 2)
    await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.hide(conn, context.task_no, 2)
        await leases.release(conn, context.task_no)
    driver, seen = Driver(await admitted(database, context)), []

    async def nothing(*_: object, **__: object) -> None:
        pass

    async def spied(conn: Connection, *_: object) -> None:
        seen.append(await left(conn))
        raise InterruptedError

    monkeypatch.setattr("towpath.transfer.engine.driver.place_items", nothing)
    monkeypatch.setattr(plan, "resume", spied)
    with pytest.raises(InterruptedError):
        await driver._begin(Recorder(context))
    assert seen == [1]


RETRY, SUSPEND = (
    TaskFaultError(Verdict(consequence, Event(EventCode.AUTH, "broken", "", is_error=True)))
    for consequence in (Consequence.RETRY_TASK, Consequence.SUSPEND_TASK)
)


@pytest.mark.parametrize(
    ("pause", "status", "waits_s"),
    [
        (RETRY, "ACTIVE", (0.5, 2.0)),
        (SUSPEND, "INACTIVE", None),
        (NothingDueError(60.0), "ACTIVE", (50.0, 60.0)),
        (StopRequestedError(), "ACTIVE", (-10.0, 0.0)),
    ],
    ids=["fault", "credential", "all wait", "stop"],
)
async def test_who_cannot_go_on_frees_the_place(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    pause: Exception,
    status: str,
    waits_s: tuple[float, float] | None,
) -> None:
    await make_task()
    driver = Driver(await begun(database))

    async def nothing(_recorder: Recorder) -> None:
        raise pause

    monkeypatch.setattr(Driver, "_begin", lambda _self, recorder: nothing(recorder))
    await driver.run()
    async with database.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT status, lease_worker, lease_until,"
            " extract(epoch FROM not_before - now())::float8 FROM task",
        )
    assert row is not None
    assert row[:3] == (status, None, None)
    if waits_s is not None:
        assert waits_s[0] <= row[3] <= waits_s[1]


@pytest.mark.parametrize(("backs_off_s", "gives_back"), [(60, True), (5, False)])
async def test_a_task_of_which_all_waits_for_long_does_not_keep_its_place(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    backs_off_s: int,
    gives_back: bool,
) -> None:
    monkeypatch.setattr("towpath.transfer.engine.driver.WATCH_EVERY_S", 0.01)
    await make_task()
    context = await begun(database)
    async with database.connection() as conn:
        await conn.execute("DELETE FROM frontier")
        await conn.execute(
            "UPDATE file SET not_before = now() + make_interval(secs => %s)", (backs_off_s,)
        )
        context.open_files = await left(conn)
    context.walk_done = True
    driver = Driver(context)
    working = asyncio.create_task(driver._together(Recorder(context), asyncio.sleep(3600)))
    if gives_back:
        async with asyncio.timeout(30):
            with pytest.raises(NothingDueError):
                await working
    else:
        done, _ = await asyncio.wait([working], timeout=0.5)
        assert not done
        working.cancel()


@pytest.mark.parametrize(("sqlstate", "tries"), [("53100", 1), ("57P03", 2)])
async def test_what_the_database_refuses_for_good_is_not_written_again_and_again(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    sqlstate: str,
    tries: int,
) -> None:
    """A full disk is told; a database that starts is waited for."""
    monkeypatch.setattr("towpath.transfer.engine.recorder.DATABASE_RETRY_S", 0.01)
    await make_task()
    context = await begun(database)
    recorder = Recorder(context)
    recorder.event(Event(EventCode.AUTH, "x", ""))
    async with database.connection() as conn:
        await conn.execute("CREATE SEQUENCE tried")
        await conn.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
            " IF nextval('tried') < 2"
            f" THEN RAISE 'no' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END$$"  # type: ignore[arg-type]
        )
        await conn.execute(
            "CREATE TRIGGER fail BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    async with asyncio.timeout(20):
        if tries == 1:
            with pytest.raises(psycopg.errors.DiskFull):
                await recorder.flush()
        else:
            await recorder.flush()
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT last_value FROM tried") == (tries,)


async def test_a_driver_that_is_cancelled_cancels_its_parts_once(
    database: Database, make_task: MakeTask
) -> None:
    """A second time would cut short what they close."""
    await make_task()
    driver = Driver(await begun(database))
    closed = False

    async def closes() -> None:
        nonlocal closed
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            closed = True

    parts = (asyncio.sleep(3600), closes())
    running = asyncio.create_task(driver._together(Recorder(driver.context), *parts))
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert closed
