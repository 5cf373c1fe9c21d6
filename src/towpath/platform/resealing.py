"""Sealed values under a new key: which tables hold some, and all of them sealed anew, in batches.

Whoever stops in between has lost nothing: a row is under one key or under another, and both open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from psycopg.rows import tuple_row

from towpath.platform.database import Connection, Database
from towpath.platform.secrets import PREFIX_BYTES, Sealer, SealError

ROWS_AT_ONCE: Final = 200
"""In one transaction: some 10 ms, in which their rows are locked."""


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of sealed values."""

    table: str
    column: str
    key: tuple[str, ...]
    """The table's primary key."""
    context: Callable[..., bytes]
    """What a value is bound to; is given `key`'s values."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """Of a column: how many values are under the first key now, and how many did not open."""

    values: int
    unreadable: int


async def reseal(
    database: Database, sealer: Sealer, column: SealedColumn, *, rows: int = ROWS_AT_ONCE
) -> Resealed:
    """Seal all values of a column anew that are not under the sealer's first key."""
    values = unreadable = 0
    after: tuple[Any, ...] | None = None
    while True:
        async with database.transaction() as conn:
            found = await _others(conn, sealer, column, after, rows)
            for key, sealed in found:
                context = column.context(*key)
                try:
                    text = sealer.unseal(sealed, context)
                except SealError:
                    unreadable += 1
                    continue
                await _replace(conn, column, key, sealer.seal(text, context))
                values += 1
        if len(found) < rows:
            return Resealed(values, unreadable)
        after = found[-1][0]


async def keys_in_use(conn: Connection, column: SealedColumn) -> dict[str, int]:
    """How many values are under which key."""
    query = sql.SQL(
        "SELECT encode(substring({column} FROM 2 FOR {size}), 'hex'), count(*) FROM {table}"
        " WHERE {column} IS NOT NULL GROUP BY 1"
    ).format(
        column=sql.Identifier(column.column),
        size=sql.Literal(PREFIX_BYTES - 1),
        table=sql.Identifier(column.table),
    )
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query)
        return dict(await cursor.fetchall())


async def _others(
    conn: Connection,
    sealer: Sealer,
    column: SealedColumn,
    after: tuple[Any, ...] | None,
    rows: int,
) -> list[tuple[tuple[Any, ...], bytes]]:
    key = sql.SQL(", ").join(map(sql.Identifier, column.key))
    places = sql.SQL(", ").join(sql.Placeholder() * len(column.key))
    behind: sql.Composable = sql.SQL("")
    if after is not None:
        behind = sql.SQL(" AND ({}) > ({})").format(key, places)
    query = sql.SQL(
        "SELECT {key}, {column} FROM {table}"
        " WHERE substring({column} FROM 1 FOR {size}) <> {placeholder}{behind}"
        " ORDER BY {key} LIMIT {rows} FOR UPDATE"
    ).format(
        key=key,
        column=sql.Identifier(column.column),
        table=sql.Identifier(column.table),
        size=sql.Literal(PREFIX_BYTES),
        placeholder=sql.Placeholder(),
        behind=behind,
        rows=sql.Literal(rows),
    )
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, [sealer.key_prefix, *(after or ())])
        return [(row[:-1], row[-1]) for row in await cursor.fetchall()]


async def _replace(
    conn: Connection, column: SealedColumn, key: tuple[Any, ...], sealed: bytes
) -> None:
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in column.key
    )
    query = sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(
        sql.Identifier(column.table), sql.Identifier(column.column), sql.Placeholder(), same
    )
    await conn.execute(query, [sealed, *key])
