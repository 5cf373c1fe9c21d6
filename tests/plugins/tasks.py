"""Fixtures: tasks stored directly, for tests of the engine's side of the store."""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID, uuid4

import pytest

from towpath.platform.database import Database

MakeTask = Callable[..., Awaitable[int]]


async def store_task(
    database: Database, owner: UUID | None = None, items: int = 1, age_s: int = 0
) -> int:
    """Store a transfer task; its number."""
    owner = owner or uuid4()
    endpoint = uuid4()
    async with database.transaction() as conn:
        await conn.execute(
            "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port)"
            " VALUES (%s, %s, 'o', 'e', 'localhost', 2811)",
            (endpoint, owner),
        )
        cursor = await conn.execute(
            "INSERT INTO task (id, owner_id, username, submission_id, type, options,"
            " source_endpoint_id, destination_endpoint_id, deadline, request_time)"
            " VALUES (%s, %s, 'u', %s, 'TRANSFER', '{}', %s, %s, now() + interval '1 day',"
            " now() - make_interval(secs => %s)) RETURNING task_no",
            (uuid4(), owner, uuid4(), endpoint, endpoint, age_s),
        )
        row = await cursor.fetchone()
        assert row is not None
        task_no: int = row["task_no"]
        for number in range(items):
            await conn.execute(
                "INSERT INTO item VALUES (%s, %s, '/s', '/d', NULL)", (task_no, number)
            )
    return task_no


@pytest.fixture
def make_task(database: Database) -> MakeTask:
    """`await make_task(owner=None, items=1)` stores a transfer task and returns its number."""
    return partial(store_task, database)
