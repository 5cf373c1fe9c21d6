"""Setting some columns of one row."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from psycopg import sql

from towpath.platform.database import Connection


async def set_columns(
    connection: Connection,
    table: str,
    row_id: UUID,
    changes: Mapping[str, Any],
    allowed: Collection[str],
) -> None:
    """Set ``changes`` (column -> value) of the row with that id; names are ours, ``allowed``."""
    assert changes.keys() <= set(allowed)
    if not changes:
        return
    columns = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in changes
    )
    await connection.execute(
        sql.SQL("UPDATE {} SET {} WHERE id = {}").format(
            sql.Identifier(table), columns, sql.Placeholder("id_")
        ),
        {**changes, "id_": row_id},
    )
