"""What listeners are told of tasks: how they stand, their new events, and that there is news.

Workers tell of news by `tell`, at most twice a second for all their tasks together, and not in the
transactions that make it: PostgreSQL commits transactions that notify one after the other, so that
tasks would wait for each other's disk. News that is lost with a worker, or that nobody tells (a
server that answers again, a lease that ran out), is found by looking now and then.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection
from towpath.transfer.store.rows import fetch
from towpath.transfer.store.tasks import EVENT_COLUMNS, Event, Task, select_tasks

PROGRESS_CHANNEL: Final = "towpath_progress"
"""A payload is a task_no, and perhaps a JSON object behind it: what moves, and how fast."""

PAYLOAD_BYTES: Final = 7999
"""PostgreSQL takes no longer ones (its manual, NOTIFY)."""


@dataclass(slots=True, kw_only=True)
class Progress(Task):
    """A task, with what only those who watch it want to know."""

    walked: bool
    """Whether all its files are found."""
    last_event: int
    """The number of its latest event; 0: it has none."""
    ended_s_ago: float | None
    """None: it has not ended."""
    looked_at: datetime
    """When this was so."""


_MORE = """, now() AS looked_at,
           t.status = 'SUCCEEDED' OR (t.status <> 'FAILED' AND t.started_at IS NOT NULL
               AND NOT EXISTS (SELECT FROM frontier f WHERE f.task_no = t.task_no)) AS walked,
           coalesce((SELECT max(seq) FROM event e WHERE e.task_no = t.task_no), 0) AS last_event,
           extract(epoch FROM clock_timestamp() - t.completion_time)::float8 AS ended_s_ago"""
_PROGRESS = select_tasks(_MORE)
_LOOK = f"""
    {_PROGRESS}
     WHERE t.task_no IN (
           SELECT task_no FROM task WHERE task_no = ANY(%(tasks)s)
            UNION
           SELECT task_no FROM task WHERE task_no = ANY(%(told)s) AND owner_id = ANY(%(owners)s)
            UNION
           SELECT task_no FROM task
            WHERE owner_id = ANY(%(all_of)s) AND status IN ('ACTIVE', 'INACTIVE'))
"""  # noqa: S608 - constants


async def look(
    conn: Connection,
    *,
    tasks: Collection[int],
    told: Collection[int],
    owners: Collection[UUID],
    all_of: Collection[UUID],
) -> list[Progress]:
    """How these tasks stand: `tasks`, those of `told` that are one of the `owners`', and all that
    are not finished and one of `all_of`'s."""
    async with conn.cursor(row_factory=class_row(Progress)) as cursor:
        await cursor.execute(
            _LOOK,
            {
                "tasks": list(tasks),
                "told": list(told),
                "owners": list(owners),
                "all_of": list(all_of),
            },
        )
        return await cursor.fetchall()


async def ended_since(
    conn: Connection, owner_id: UUID, moment: datetime, *, most: int
) -> list[Progress]:
    """The latest tasks of an owner that have ended after a moment."""
    async with conn.cursor(row_factory=class_row(Progress)) as cursor:
        await cursor.execute(
            f"{_PROGRESS} WHERE t.owner_id = %s AND t.completion_time > %s"
            " ORDER BY t.completion_time DESC LIMIT %s",
            (owner_id, moment, most),
        )
        return await cursor.fetchall()


async def events_after(
    conn: Connection, after: Mapping[int, int], *, most: int
) -> dict[int, list[Event]]:
    """Of each task the first `most` events with higher numbers than the one given, in order."""
    if not after:
        return {}
    rows = await fetch(
        conn,
        f"""
        SELECT a.task_no, e.* FROM unnest(%s::bigint[], %s::bigint[]) AS a (task_no, seq), LATERAL (
            SELECT {EVENT_COLUMNS} FROM event e WHERE e.task_no = a.task_no AND e.seq > a.seq
             ORDER BY e.seq LIMIT %s
        ) e ORDER BY a.task_no, e.seq
        """,  # noqa: S608 - a constant
        (list(after), list(after.values()), most),
    )
    found: dict[int, list[Event]] = {}
    for task_no, *event in rows:
        found.setdefault(task_no, []).append(Event(*event))
    return found


async def tell(conn: Connection, payloads: Sequence[str]) -> None:
    """Tell all who listen; at once, and with no wait for the disk: nothing is stored."""
    await conn.execute(
        "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, payload)"
        " FROM unnest(%s::text[]) AS payload",
        (PROGRESS_CHANNEL, list(payloads)),
    )
