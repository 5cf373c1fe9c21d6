"""How a task begins and ends, without a server."""

import time
from random import Random
from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Connection, Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.driver import Driver
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import leases, plan, rows
from towpath.transfer.store.plan import File
from towpath.transfer.store.rows import fetch_one

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
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 2)
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
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 2)
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


@pytest.mark.parametrize("lost", [True, False])
async def test_after_a_lost_lease_no_task_is_final_at_once(
    database: Database, make_task: MakeTask, *, lost: bool
) -> None:
    """The loser may still make a directory or a link: the plan does not know of these."""
    await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await leases.note_fatal_error(conn, context.task_no, FATAL)
        if not lost:
            await leases.release(conn, context.task_no)
    await leases.expire_worker(database, "w")
    context.settings = EngineSettings(settle_s=0.5)
    began = time.monotonic()
    await Driver(await admitted(database, context)).run()
    assert (time.monotonic() - began >= 0.5) is lost


async def admitted(database: Database, before: TaskContext) -> TaskContext:
    """The successor's."""
    [before.grant] = await leases.admit(database, worker="v", limit=1, lease_s=30, per_owner=3)
    return before


async def test_what_was_not_listed_to_its_end_is_forgotten_in_parts(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS_AT_ONCE", 2)
    await make_task()
    context = await begun(database)
    async with context.fenced() as conn:
        await plan.hide(conn, context.task_no, 2)
        await leases.release(conn, context.task_no)
    driver, seen = Driver(await admitted(database, context)), []

    async def no_homes(*_: object, **__: object) -> tuple[str, str]:
        return "", ""

    async def spied(conn: Connection, *_: object) -> None:
        seen.append(await left(conn))
        raise InterruptedError

    monkeypatch.setattr(Driver, "_homes", no_homes)
    monkeypatch.setattr(plan, "resume", spied)
    with pytest.raises(InterruptedError):
        await driver._begin(Recorder(context))
    assert seen == [1]
