"""Rows as tuples: the plan's queries return many, and a dict for each would be a waste."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import tuple_row


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
