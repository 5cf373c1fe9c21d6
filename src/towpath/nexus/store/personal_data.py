"""All that is kept of a person, found by the schema itself: what refers to account or identity.

So a table that is added later is a part of it without being named here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import sql

from towpath.platform.database import Connection

_PROOFS = frozenset(
    {"hash", "value_hash", "browser_hash", "parent_hash", "state_hash", "private_key"}
)
"""Columns that say nothing of the person and would help whoever finds the export."""
_REFERENCES = """
SELECT c.conrelid::regclass::text AS table, a.attname AS column, c.confdeltype::text AS on_delete,
       c.confrelid = 'account'::regclass AS to_account
FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
WHERE c.contype = 'f' AND cardinality(c.conkey) = 1
  AND c.confrelid IN ('account'::regclass, 'identity'::regclass)
  AND c.connamespace = current_schema()::regnamespace
ORDER BY 1, 2
"""
_ACCOUNT, _IDENTITY = "account", "identity"


@dataclass(frozen=True)
class _Reference:
    table: str
    column: str
    cascades: bool
    to_account: bool


async def _references(connection: Connection) -> list[_Reference]:
    cursor = await connection.execute(_REFERENCES)
    return [
        _Reference(row["table"], row["column"], row["on_delete"] == "c", row["to_account"])
        for row in await cursor.fetchall()
        if row["table"] not in (_ACCOUNT, _IDENTITY)
    ]


async def collect(
    connection: Connection, account_id: UUID, identity_ids: Sequence[UUID]
) -> dict[str, Any]:
    """Table -> rows, as JSON can say them."""
    found: dict[str, list[dict[str, Any]]] = {}

    async def add(table: str, column: str, values: Sequence[UUID]) -> None:
        cursor = await connection.execute(
            sql.SQL("SELECT to_jsonb(t) AS row FROM {} t WHERE {} = ANY(%s)").format(
                sql.Identifier(table), sql.Identifier(column)
            ),
            (list(values),),
        )
        rows = found.setdefault(table, [])
        for row in await cursor.fetchall():
            kept = {name: value for name, value in row["row"].items() if name not in _PROOFS}
            if kept not in rows:
                rows.append(kept)

    await add(_ACCOUNT, "id", [account_id])
    await add(_IDENTITY, "id", identity_ids)
    for one in await _references(connection):
        await add(one.table, one.column, [account_id] if one.to_account else identity_ids)
    return dict(sorted(found.items()))


async def forget(connection: Connection, account_id: UUID, identity_ids: Sequence[UUID]) -> None:
    """Remove every row that would go with the person's account or identities (``ON DELETE
    CASCADE``): the identities' rows themselves stay, as tombstones.
    """
    for one in await _references(connection):
        if one.cascades:
            await connection.execute(
                sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(
                    sql.Identifier(one.table), sql.Identifier(one.column)
                ),
                ([account_id] if one.to_account else list(identity_ids),),
            )
