"""Of which credentials their owners are told that they end, and how often."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Connection, Database
from towpath.transfer.expiry import expires_soon
from towpath.transfer.store.rows import fetch
from towpath.transfer.watches.expiry import ExpiryWatch

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stored_h_ago", "left_h", "soon"),
    [
        (1, 240, False),
        (240, 25, False),
        (240, 23, True),
        (1, 11, False),  # a day's proxy, just made
        (7, 5, True),
        (1, 0.9, True),  # whatever it was made for
    ],
)
def test_when_a_credential_should_be_renewed(
    stored_h_ago: float, left_h: float, soon: bool
) -> None:
    stored, ends = NOW - timedelta(hours=stored_h_ago), NOW + timedelta(hours=left_h)
    assert expires_soon(stored, ends, NOW) is soon


async def credential(conn: Connection, endpoint: UUID, owner: UUID, stored: str, ends: str) -> None:
    await conn.execute(
        "INSERT INTO credential (endpoint_id, owner_id, sealed, subject, not_after, updated_at)"
        " VALUES (%s, %s, '', '/CN=x', now() + %s::interval, now() - %s::interval)",
        (endpoint, owner, ends, stored),
    )


async def told(database: Database) -> list[tuple[UUID, dict[str, Any]]]:
    async with database.connection() as conn:
        rows = await fetch(conn, "SELECT recipient_id, document FROM outbox ORDER BY id")
    return [(row[0], row[1]) for row in rows]


async def test_each_is_told_once_and_of_the_next_end_again(
    database: Database, make_task: MakeTask
) -> None:
    cases = {
        "unfinished": ("10 days", "20 hours", "ACTIVE"),
        "used lately": ("10 days", "20 hours", "SUCCEEDED"),
        "not near": ("10 days", "30 hours", "ACTIVE"),
        "just given": ("1 hour", "11 hours", "ACTIVE"),
        "over": ("10 days", "-1 hour", "ACTIVE"),
    }
    owners = {name: uuid4() for name in cases}
    for name, (stored, ends, status) in cases.items():
        task_no = await make_task(owners[name])
        async with database.transaction() as conn:
            rows = await fetch(
                conn,
                "UPDATE task SET status = %s, completion_time = CASE WHEN %s = 'SUCCEEDED'"
                " THEN now() - interval '3 days' END WHERE task_no = %s"
                " RETURNING source_endpoint_id",
                (status, status, task_no),
            )
            await credential(conn, rows[0][0], owners[name], stored, ends)
            # of whoever does not use it nobody is told
            await credential(conn, rows[0][0], uuid4(), "10 days", "20 hours")
    watch = ExpiryWatch(database)
    assert await watch.look() == 2
    found = dict(await told(database))
    assert set(found) == {owners["unfinished"], owners["used lately"]}
    assert found[owners["unfinished"]]["unfinished_tasks"] == 1
    assert found[owners["used lately"]]["unfinished_tasks"] == 0
    assert found[owners["unfinished"]]["subject"] == "/CN=x"
    assert await watch.look() == 0
    async with database.transaction() as conn:
        await conn.execute("UPDATE credential SET not_after = not_after + interval '1 hour'")
    assert await watch.look() == 2


async def test_who_shares_is_told_for_the_tasks_of_guests(
    database: Database, make_task: MakeTask
) -> None:
    sharer, share = uuid4(), uuid4()
    task_no = await make_task(uuid4())
    async with database.transaction() as conn:
        rows = await fetch(
            conn, "SELECT source_endpoint_id FROM task WHERE task_no = %s", (task_no,)
        )
        await conn.execute(
            "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port,"
            " entity_type, host_endpoint_id, share_path)"
            " SELECT %s, %s, 's', 'share', host, port, 'GCSv4_share', id, '/x' FROM endpoint"
            " WHERE id = %s",
            (share, sharer, rows[0][0]),
        )
        await conn.execute(
            "UPDATE task SET source_endpoint_id = %s, destination_endpoint_id = %s", (share, share)
        )
        await credential(conn, rows[0][0], sharer, "10 days", "20 hours")
    assert await ExpiryWatch(database).look() == 1
    assert [one for one, _ in await told(database)] == [sharer]
