"""What a failing task sends once more before its end."""

import time
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import repair as module
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.repair import repair
from towpath.transfer.store import leases, plan
from towpath.transfer.store.plan import File, State
from towpath.transfer.store.rows import fetch

FILES = [File(number, 0, f"f{number}", 5, None) for number in range(1, 5)]


async def failing(database: Database) -> TaskContext:
    """Three files were cut off, of which one is contested; a fourth never began."""
    asked_at = time.monotonic()
    [grant] = await leases.admit(database, worker="w", limit=1, lease_s=30, per_owner=3)
    sessions: Any = None
    context = TaskContext(
        db=database,
        grant=grant,
        lease=LeaseClock(asked_at, 30, time.monotonic),
        sessions=sessions,
        data_credentials=DataCredentials(),
        settings=EngineSettings(),
        random=Random(1),
        clock=time.monotonic,
        options=Options.from_document({}),
    )
    async with context.fenced() as conn:
        context.items = {item.item_no: item for item in await plan.items(conn, context.task_no)}
        await plan.add_files(conn, context.task_no, FILES)
        await plan.put_back(conn, context.task_no, [plan.Returned(3, State.CONTESTED)])
    context.open_files = len(FILES)
    context.cut_off = [Piece("/s", "/d", 5, tag=file) for file in FILES[:3]]
    return context


async def states(database: Database) -> dict[int, int]:
    async with database.connection() as conn:
        return dict(await fetch(conn, "SELECT file_no, state FROM file ORDER BY file_no"))


class Lane:
    """Sends the first, fails with the second, and ends as it is told."""

    def __init__(self, *, ends: bool) -> None:
        self.broken = False
        self.sent: list[Piece] = []
        self._ends = ends

    def send(self, pieces: Sequence[Piece]) -> None:
        self.sent += pieces

    async def outcomes(self) -> list[Outcome]:
        if self.broken:
            return []
        self.broken = True
        lost = GridFTPError(Kind.CONNECTION_LOST, "lost", "there")
        first, second = self.sent
        return [Outcome(first, "done"), Outcome(second, "failed", lost, "destination")]

    async def close(self) -> bool:
        return self._ends


@pytest.mark.parametrize(("ends", "left"), [(True, State.PENDING), (False, State.IN_FLIGHT)])
async def test_it_is_in_flight_until_its_end_is_certain(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ends: bool,
    left: State,
) -> None:
    """A takeover meanwhile must find it contested. What is contested is not sent at all."""
    await make_task()
    context = await failing(database)
    lane, seen = Lane(ends=ends), []

    async def open_pair(*_: object, **__: object) -> Any:
        seen.append(await states(database))
        return SimpleNamespace(lane=lane, destination=SimpleNamespace(server="there"))

    monkeypatch.setattr(module, "open_pair", open_pair)
    recorder = Recorder(context)
    await repair(context, recorder, failed=True)
    await recorder.flush()
    flying, pending, contested = State.IN_FLIGHT, State.PENDING, State.CONTESTED
    assert seen == [{1: flying, 2: flying, 3: contested, 4: pending}]
    assert [piece.tag.file_no for piece in lane.sent] == [1, 2]
    assert await states(database) == {2: left, 3: contested, 4: pending}
