"""No command that removes is left to hit what comes next (I3, I9)."""

import asyncio
import time
from contextlib import nullcontext
from random import Random
from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import removal
from towpath.transfer.engine.arrived import remove_spoiled
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.driver import Driver
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import remove_files, removing
from towpath.transfer.sessions import NoCredential
from towpath.transfer.store import leases
from towpath.transfer.store.rows import fetch_one

SETTLE_S = 0.6


class Sessions:
    """No login; when one was tried is remembered."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def person(self, known: Any) -> Any:
        return known

    async def login(self, *_: object, **_how: object) -> None:
        self.asked_at.append(time.monotonic())
        raise NoCredential("none", "give one")


class Session:
    """Answers each deletion as it is told."""

    def __init__(self, answer: Exception | None = None) -> None:
        self.answer = answer

    async def delete_file(self, _path: str) -> None:
        if self.answer is not None:
            raise self.answer

    async def close(self) -> bool:
        return True


async def begun(database: Database) -> TaskContext:
    """The only task, under a new lease."""
    asked_at = time.monotonic()
    [grant] = await leases.admit(database, worker="w", limit=1, lease_s=30, per_owner=3)
    sessions: Any = Sessions()
    return TaskContext(
        db=database,
        grant=grant,
        lease=LeaseClock(asked_at, 30, time.monotonic),
        sessions=sessions,
        data_credentials=DataCredentials(),
        settings=EngineSettings(settle_s=SETTLE_S),
        random=Random(1),
        clock=time.monotonic,
        options=Options.from_document({}),
    )


async def standing(database: Database, task_no: int) -> tuple[bool, str]:
    async with database.connection() as conn:
        row = await fetch_one(
            conn, "SELECT removals_unsettled, status FROM task WHERE task_no = %s", (task_no,)
        )
    assert row is not None
    return row[0], row[1]


async def change(database: Database, task_no: int, what: str) -> None:
    async with database.transaction() as conn:
        await conn.execute(f"UPDATE task SET {what} WHERE task_no = %s", (task_no,))  # type: ignore[arg-type]


async def remove_all(context: TaskContext, monkeypatch: pytest.MonkeyPatch, *, ends: bool) -> None:
    """With a remover whose sessions end, or do not."""

    class Remover:
        async def close(self) -> bool:
            return ends

    async def open_session(*_: object, **__: object) -> tuple[Session, None]:
        return Session(), None

    monkeypatch.setattr(removal, "Remover", lambda *_, **__: Remover())
    monkeypatch.setattr(removal, "open_session", open_session)
    endpoint_id = context.grant.source_endpoint_id
    async with removing(context, Recorder(context), endpoint_id, at_source=False):
        unsettled, _ = await standing(context.db, context.task_no)
        assert unsettled, "a crash leaves it so"


@pytest.mark.parametrize("ends", [True, False])
async def test_a_task_ends_when_its_removals_have(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    task_no = await make_task()
    context = await begun(database)
    driver = Driver(context)
    await remove_all(context, monkeypatch, ends=ends)
    began = time.monotonic()
    await driver._finish(Recorder(context), "FAILED", {"code": "X", "description": "x"}, [])
    assert (time.monotonic() - began >= SETTLE_S) is not ends
    assert await standing(database, task_no) == (False, "FAILED")


@pytest.mark.parametrize("ends", [True, False])
async def test_a_task_that_pauses_leaves_the_wait_to_its_next_lease(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    task_no = await make_task()
    context = await begun(database)
    await remove_all(context, monkeypatch, ends=ends)
    await Driver(context)._give_back(Recorder(context), 0)
    assert await standing(database, task_no) == (not ends, "ACTIVE")


@pytest.mark.parametrize(
    ("answer", "certain"),
    [
        (None, True),
        (GridFTPError(Kind.PERMISSION_DENIED, "no", "double"), True),
        (GridFTPError(Kind.CONNECTION_LOST, "gone", "double"), False),
    ],
)
async def test_single_files(
    database: Database, make_task: MakeTask, answer: Exception | None, *, certain: bool
) -> None:
    task_no = await make_task()
    context = await begun(database)
    session: Any = Session(answer)
    with nullcontext() if answer is None else pytest.raises(GridFTPError):
        await remove_files(context, session, ["/a", "/b"])
    assert await standing(database, task_no) == (True, "ACTIVE")
    assert (context.removals_open == 0) is certain


async def test_a_spoiled_file_goes_under_the_mark(database: Database, make_task: MakeTask) -> None:
    """Its removal may hit what comes next, as any other may."""
    task_no = await make_task()
    context = await begun(database)
    marked: list[bool] = []

    class Marking(Session):
        async def delete_file(self, path: str) -> None:
            marked.append((await standing(database, task_no))[0])
            await super().delete_file(path)

    session: Any = Marking(GridFTPError(Kind.NOT_FOUND, "gone", "double"))
    assert await remove_spoiled(context, session, "/a")
    assert marked == [True]
    assert context.removals_open == 0


async def test_a_takeover_waits_before_it_looks_or_writes(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    await change(database, task_no, "removals_unsettled = true")
    context = await begun(database)
    began = time.monotonic()
    await Driver(context).run()
    sessions: Any = context.sessions
    assert sessions.asked_at[0] - began >= SETTLE_S
    assert await standing(database, task_no) == (False, "INACTIVE")


async def test_a_pause_ends_the_wait_and_leaves_the_rest(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    await change(database, task_no, "removals_unsettled = true")
    context = await begun(database)
    context.settings = EngineSettings(settle_s=60)
    driver = Driver(context)
    running = asyncio.create_task(driver.run())
    await asyncio.sleep(0.3)
    assert not running.done()
    driver.interrupt(pause=True)
    async with asyncio.timeout(2):
        await running
    assert await standing(database, task_no) == (True, "ACTIVE")


@pytest.mark.parametrize("type_", ["TRANSFER", "DELETE"])
async def test_a_successor_that_only_ends_the_task_waits_too(
    database: Database, make_task: MakeTask, type_: str
) -> None:
    task_no = await make_task()
    await change(
        database, task_no, f"removals_unsettled = true, cancel_requested = true, type = '{type_}'"
    )
    context = await begun(database)
    began = time.monotonic()
    await Driver(context).run()
    assert time.monotonic() - began >= SETTLE_S
    assert await standing(database, task_no) == (False, "FAILED")
