"""Dates ahead: when the next task is due, and that none is further away than it can be.

The database's clock may be set back, as after a failover to a host whose clock was right. What was
dated before would then be due hours late: a dead worker's lease, a task's or a file's back-off.
"""

import math
from typing import Any

from psycopg import AsyncConnection

from towpath.platform.database import Database
from towpath.transfer.store.rows import fetch_one


async def next_due_s(db: Database) -> float:
    """Seconds until the next task's back-off or lease ends; infinite if there is none."""
    async with db.connection() as conn:
        row = await fetch_one(
            conn,
            """
            SELECT extract(epoch FROM min(greatest(not_before, lease_until)) - now())
            FROM task WHERE status = 'ACTIVE' AND greatest(not_before, lease_until) > now()
            """,
        )
    assert row is not None
    return math.inf if row[0] is None else float(row[0])


async def bound_tasks(db: Database, *, longest_lease_s: float, longest_wait_s: float) -> int:
    """Leases and waits end no later than they can; returns how many tasks' were bounded.

    Of INACTIVE tasks too: one whose deadline has passed is granted to be ended. A worker that
    lives renews its lease before the bound.
    """
    async with db.transaction() as conn:
        cursor = await conn.execute(
            """
            WITH dated AS (
                SELECT task_no FROM task WHERE status IN ('ACTIVE', 'INACTIVE')
                   AND (lease_until > now() + make_interval(secs => %(lease_s)s)
                        OR not_before > now() + make_interval(secs => %(wait_s)s))
                   FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE task t SET
                not_before = CASE WHEN not_before > now() + make_interval(secs => %(wait_s)s)
                             THEN now() ELSE not_before END,
                lease_until = CASE WHEN lease_until IS NOT NULL
                              THEN least(lease_until, now() + make_interval(secs => %(lease_s)s))
                              END
            FROM dated d WHERE t.task_no = d.task_no
            """,
            {"lease_s": longest_lease_s, "wait_s": longest_wait_s},
        )
        return cursor.rowcount


async def bound_plan(conn: AsyncConnection[Any], task_no: int, *, longest_s: float) -> None:
    """No file or directory of the task backs off for longer; inside `fenced`."""
    for table in ("file", "frontier"):
        await conn.execute(
            f"UPDATE {table} SET not_before = now()"  # noqa: S608 - constants
            " WHERE task_no = %s AND not_before > now() + make_interval(secs => %s)",
            (task_no, longest_s),
        )
