"""Tasks that move without a worker: the bench writes and tells what theirs would."""

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from towpath.platform.database import Database
from towpath.transfer.store import counters, leases, progress

WRITE_EVERY_S = 0.25
"""About as the recorder. Every second time there is news, and every fourth time files in flight."""
FLIGHT = 3
"""Files in flight of a task."""

Moving = tuple[int, UUID]
"""Number and id of a task."""


async def begin(
    database: Database, owners: Sequence[UUID], tasks: int, *, bytes_found: int = 0
) -> list[Moving]:
    """That many transfers that have begun, shared out among the owners in turn."""
    endpoint = uuid4()
    begun = []
    async with database.transaction() as conn:
        await conn.execute(
            "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port)"
            " VALUES (%s, %s, 'bench', 'bench', 'localhost', 2811)",
            (endpoint, endpoint),
        )
        for number in range(tasks):
            task_id = uuid4()
            cursor = await conn.execute(
                "INSERT INTO task (id, owner_id, username, submission_id, type, options, label,"
                " source_endpoint_id, destination_endpoint_id, deadline, files, bytes_found)"
                " VALUES (%s, %s, 'bench', %s, 'TRANSFER', '{}', %s, %s, %s,"
                " now() + interval '1 day', 10000, %s) RETURNING task_no",
                (
                    task_id,
                    owners[number % len(owners)],
                    uuid4(),
                    f"Transfer {number}",
                    endpoint,
                    endpoint,
                    bytes_found,
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            await leases.start(conn, row["task_no"])
            begun.append((row["task_no"], task_id))
    return begun


async def move(
    database: Database,
    tasks: Sequence[Moving],
    *,
    step_bytes: int = 1,
    written: Callable[[UUID, int], None] = lambda _task_id, _moved: None,
) -> None:
    """All of them move, for ever. `written`: is told of each commit, the how-manieth it is."""
    loop = asyncio.get_running_loop()
    for moved in itertools.count(1):
        began = loop.time()
        for task_no, task_id in tasks:
            async with database.transaction() as conn:
                await counters.transferred(
                    conn,
                    task_no,
                    files=1,
                    transferred_bytes=step_bytes,
                    checksummed_bytes=step_bytes,
                    resent_bytes=0,
                    deadline_after_h=1,
                )
            written(task_id, moved)
        if moved % 2 == 0:
            rate = round(step_bytes / WRITE_EVERY_S)
            told = [str(no) if moved % 4 else _payload(no, moved, rate) for no, _ in tasks]
            async with database.connection() as conn:
                await progress.tell(conn, told)
        await asyncio.sleep(max(0.0, began + WRITE_EVERY_S - loop.time()))


def _payload(task_no: int, moved: int, rate: int) -> str:
    rows = [
        [0, f"a/directory/file-{n:08}", 10**9, moved, moved, "sending", 0] for n in range(FLIGHT)
    ]
    document = {"rate": rate, "items": {"0": ["/from", "/to"]}, "files": rows, "more": 0}
    return f"{task_no} {json.dumps(document)}"
