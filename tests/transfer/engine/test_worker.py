"""The worker: what it does when we ourselves are wrong."""

import asyncio
import json
import time
from typing import Any, cast

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import IDLE_TRANSACTION_LIMIT, Database
from towpath.platform.settings import Settings
from towpath.transfer.engine.context import USABLE_PART_OF_LEASE
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.engine.probes import LOOKS_APART_S
from towpath.transfer.engine.worker import Worker
from towpath.transfer.store import dates, leases
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

    async def login(self, *_: object) -> None:
        raise RuntimeError("secret detail of ours")


async def test_a_mistake_of_ours_is_told_and_the_task_tries_again(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    sessions: Any = Wrong()
    worker = Worker(database, sessions, Settings(), name=WorkerName.own())
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(10):
            row = None
            while row is None:
                await asyncio.sleep(0.02)
                async with database.connection() as conn:
                    row = await fetch_one(
                        conn,
                        "SELECT e.details, t.status, t.faults, t.not_before > now() FROM event e"
                        " JOIN task t USING (task_no) WHERE task_no = %s AND is_error"
                        " AND code = 'INTERNAL_ERROR' AND t.lease_until IS NULL",
                        (task_no,),
                    )
    finally:
        worker.stop()
        await running
    details, *task = row
    assert task == ["ACTIVE", 1, True]
    assert "secret detail" not in details
    assert "tried again" in json.loads(details)["next"]


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
