"""Open circuits in the database: who is held back, who probes, who is woken."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.api.documents import task_document
from towpath.transfer.store import circuits, leases, tasks
from towpath.transfer.store.circuits import Circuit
from towpath.transfer.store.rows import fetch, fetch_one

HOST, PORT = "localhost", 2811  # of the endpoints that `make_task` makes
LONGEST_S = 10.0


async def granted(database: Database) -> set[int]:
    grants = await leases.admit(database, worker="w", limit=100, lease_s=15, per_owner=100)
    return {grant.task_no for grant in grants}


async def due(database: Database) -> list[Circuit]:
    return list(await circuits.claim_due(database, limit=10, longest_s=LONGEST_S))


async def execute(database: Database, statement: str, *values: Any) -> None:
    async with database.connection() as conn:
        await conn.execute(statement, values)


async def elsewhere(database: Database, task_no: int, column: str) -> None:
    """Move one end of a task to another server."""
    endpoint = uuid4()
    await execute(
        database,
        "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port)"
        " VALUES (%s, %s, 'o', 'e', 'other', 2811)",
        endpoint,
        uuid4(),
    )
    await execute(database, f"UPDATE task SET {column} = %s WHERE task_no = %s", endpoint, task_no)


async def test_tasks_of_a_doubtful_server_are_not_granted_and_others_are(
    database: Database, make_task: MakeTask
) -> None:
    from_it, to_it, at_it, free = [await make_task() for _ in range(4)]
    await elsewhere(database, from_it, "destination_endpoint_id")
    await elsewhere(database, to_it, "source_endpoint_id")
    for column in ("source_endpoint_id", "destination_endpoint_id"):
        await elsewhere(database, free, column)
    await execute(
        database,
        "UPDATE task SET type = 'DELETE', destination_endpoint_id = NULL WHERE task_no = %s",
        at_it,
    )
    await circuits.doubt(database, HOST, PORT)
    assert await granted(database) == {free}
    await circuits.close(database, Circuit(HOST, PORT, 0, 0.0))
    assert await granted(database) == {from_it, to_it, at_it}


async def test_what_has_to_end_ends_though_its_server_is_away(
    database: Database, make_task: MakeTask
) -> None:
    cancelled, late, waiting, homeless = [await make_task() for _ in range(4)]
    await execute(
        database,
        "UPDATE endpoint SET deleted_at = now() FROM task t"
        " WHERE endpoint.id = t.source_endpoint_id AND t.task_no = %s",
        homeless,
    )
    await execute(database, "UPDATE task SET cancel_requested = true WHERE task_no = %s", cancelled)
    await execute(database, "UPDATE task SET deadline = now() WHERE task_no = %s", late)
    await circuits.doubt(database, HOST, PORT)
    assert await granted(database) == {cancelled, late, homeless}
    async with database.connection() as conn:
        before = await fetch(conn, "SELECT deadline FROM task WHERE task_no = %s", (waiting,))
        await leases.keep_queued(database, deadline_h=100)
        after = await fetch(conn, "SELECT deadline FROM task WHERE task_no = %s", (waiting,))
    assert after == before, "it does not wait for its turn, but for a server"


async def test_one_worker_probes_at_a_time(database: Database, make_task: MakeTask) -> None:
    await make_task()
    await asyncio.gather(*(circuits.doubt(database, HOST, PORT) for _ in range(5)))
    found = await asyncio.gather(*(due(database) for _ in range(5)))
    assert [(c.host, c.port, c.failed_probes) for probes in found for c in probes] == [
        (HOST, PORT, 0)
    ]
    next_s = await circuits.next_due_s(database)
    assert next_s is not None
    assert 0 < next_s <= circuits.CLAIM_S
    await execute(database, "UPDATE circuit SET next_probe = now()")  # its worker was lost
    [circuit] = await due(database)
    await circuits.stays_open(
        database, circuit, probe_after_s=3.0, code="CONNECT_FAILED", error="refused"
    )
    assert await due(database) == []
    await execute(database, "UPDATE circuit SET next_probe = now()")
    assert [c.failed_probes for c in await due(database)] == [1]


@pytest.mark.parametrize("set_back", [True, False])
async def test_a_clock_that_is_set_back_keeps_nobody_waiting(
    database: Database, make_task: MakeTask, set_back: bool
) -> None:
    await make_task()
    await circuits.doubt(database, HOST, PORT)
    ahead_s = 3600 if set_back else LONGEST_S
    await execute(
        database,
        "UPDATE circuit SET next_probe = now() + make_interval(secs => %s),"
        " since = now() + interval '1 hour'",
        ahead_s,
    )
    assert len(await due(database)) == set_back


async def test_nobody_is_asked_whom_nobody_needs(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    await circuits.doubt(database, HOST, PORT)
    await circuits.doubt(database, "never", 1)
    assert [c.host for c in await due(database)] == [HOST]
    await execute(database, "UPDATE circuit SET next_probe = now()")
    await execute(database, "UPDATE task SET status = 'FAILED' WHERE task_no = %s", task_no)
    assert await due(database) == []
    assert await circuits.next_due_s(database) is None


@pytest.mark.parametrize("was_away", [True, False])
async def test_who_backs_off_is_woken_when_a_server_comes_back_that_was_away(
    database: Database, make_task: MakeTask, was_away: bool
) -> None:
    """One that answered the first probe was there: the failure was of this login."""
    backs_off, other = await make_task(), await make_task()
    for column in ("source_endpoint_id", "destination_endpoint_id"):
        await elsewhere(database, other, column)
    await execute(database, "UPDATE task SET not_before = now() + interval '5 minutes'")
    await circuits.doubt(database, HOST, PORT)
    [circuit] = await due(database)
    if was_away:
        await circuits.stays_open(
            database, circuit, probe_after_s=1.0, code="CONNECT_FAILED", error="refused"
        )
    listener = await database.dedicated()
    try:
        await listener.execute(f"LISTEN {circuits.TASK_CHANNEL}")
        await circuits.close(database, circuit)
        async with asyncio.timeout(10):
            await anext(listener.notifies())
    finally:
        await listener.close()
    assert await granted(database) == ({backs_off} if was_away else set())


async def test_the_owner_is_told_for_whom_the_task_waits(
    database: Database, make_task: MakeTask
) -> None:
    owner = uuid4()
    task_no = await make_task(owner)
    await elsewhere(database, task_no, "source_endpoint_id")
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT id, now() FROM task")
    assert row is not None

    async def document() -> dict[str, Any]:
        async with database.connection() as conn:
            task = await tasks.show(conn, owner, UUID(str(row[0])))
        assert task is not None
        return task_document(task, row[1])

    await circuits.doubt(database, HOST, PORT)
    assert (await document())["nice_status"] == "Queued", "only a login has failed"
    [circuit] = await due(database)
    await circuits.stays_open(
        database, circuit, probe_after_s=2.0, code="CONNECT_FAILED", error="connection refused"
    )
    shown = await document()
    assert (shown["nice_status"], shown["is_ok"]) == ("CONNECT_FAILED", False)
    told = json.loads(shown["nice_status_details"])
    assert told["error"] == "connection refused"
    assert (told["endpoint"], told["role"]) == (f"{HOST}:{PORT}", "destination")
    assert told["since"] <= told["tried_next"]
    assert told["next"]
    assert told["advice"]
    await execute(database, "UPDATE endpoint SET deleted_at = now()")
    assert (await document())["nice_status"] == "Queued", "it fails, and needs no server for that"
    await circuits.close(database, circuit)
    assert (await document())["nice_status"] == "Queued"
