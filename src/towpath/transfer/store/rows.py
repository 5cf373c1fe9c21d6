"""Rows as tuples: the plan's queries return many, and a dict for each would be a waste.

And rows deleted in parts, because a task may have many million.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

TASK_CHANNEL: Final = "towpath_task"
"""Workers listen here; the payload is a task_no that has something to do, or nothing."""

ROWS_AT_ONCE: Final = 50_000
"""Deleted of each table in one transaction: a fraction of a second, in which the task's row is
locked and its lease cannot be renewed."""


async def fetch(
    conn: AsyncConnection[Any], query: str, params: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def fetch_one(
    conn: AsyncConnection[Any], query: str, params: Sequence[Any] | Mapping[str, Any] = ()
) -> tuple[Any, ...] | None:
    """The first row of a query, or None."""
    found = await fetch(conn, query, params)
    return found[0] if found else None
