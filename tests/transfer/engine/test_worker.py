"""The worker: what it does when we ourselves are wrong."""

import asyncio
import json
from typing import Any

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.platform.settings import Settings
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.engine.worker import Worker
from towpath.transfer.store.rows import fetch_one


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
