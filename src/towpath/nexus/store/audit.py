"""The audit log's rows: pending ones, and the chain."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection

SEALING_LOCK = 0x73656C6F
"""Advisory ("selo"): one process chains at a time."""
FETCHED_AT_ONCE = 1000


@dataclass(frozen=True)
class Record:
    """An act as it was recorded."""

    at: datetime
    kind: str
    actor: UUID | None
    subject: str | None
    client: UUID | None
    address: str | None
    request_id: str | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Sealed(Record):
    """A record in its place in the chain."""

    sequence: int
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True)
class Head:
    """The chain's last link, or one that was the last: all before it hangs on its hash."""

    sequence: int
    hash: bytes


_TAKE = """
WITH oldest AS (SELECT id FROM audit_pending ORDER BY id LIMIT %s),
taken AS (DELETE FROM audit_pending WHERE id IN (SELECT id FROM oldest) RETURNING *)
SELECT at, kind, actor, subject, client, address, request_id, details FROM taken ORDER BY id
"""
_ADD = """
COPY audit (at, kind, actor, subject, client, address, request_id, details, sequence,
  previous_hash, hash) FROM STDIN
"""
_CHAIN = """
SELECT at, kind, actor, subject, client, address, request_id, details, sequence, previous_hash, hash
FROM audit ORDER BY sequence
"""
_LIST = """
SELECT at, kind, actor, subject, client, address, request_id, details, sequence, previous_hash, hash
FROM audit
WHERE (%(kind)s::text IS NULL OR kind = %(kind)s
       OR (right(%(kind)s, 1) = '.' AND starts_with(kind, %(kind)s)))
  AND (%(actor)s::uuid IS NULL OR actor = %(actor)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
ORDER BY sequence DESC LIMIT %(limit)s
"""


async def add_pending(
    connection: Connection,
    *,
    kind: str,
    actor: UUID | None,
    subject: str | None,
    client: UUID | None,
    address: str | None,
    request_id: str | None,
    details: dict[str, Any],
) -> None:
    """Record an act; its time is now."""
    await connection.execute(
        "INSERT INTO audit_pending (kind, actor, subject, client, address, request_id, details)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (kind, actor, subject, client, address, request_id, Jsonb(details)),
    )


async def lock_chain(connection: Connection) -> bool:
    """Become the one who chains, until the transaction ends; False if another one does."""
    cursor = await connection.execute(
        "SELECT pg_try_advisory_xact_lock(%s) AS ours", (SEALING_LOCK,)
    )
    row = await cursor.fetchone()
    return row is not None and row["ours"] is True


async def take_pending(connection: Connection, limit: int) -> list[Record]:
    """Take the oldest committed records out of the pending ones, in order."""
    async with connection.cursor(row_factory=class_row(Record)) as cursor:
        await cursor.execute(_TAKE, (limit,))
        return await cursor.fetchall()


async def add_sealed(connection: Connection, rows: Sequence[Sealed]) -> None:
    """Add links to the end of the chain."""
    async with (
        connection.cursor() as cursor,
        cursor.copy(_ADD) as copy,
    ):
        for row in rows:
            await copy.write_row(
                (
                    row.at,
                    row.kind,
                    row.actor,
                    row.subject,
                    row.client,
                    row.address,
                    row.request_id,
                    Jsonb(row.details),
                    row.sequence,
                    row.previous_hash,
                    row.hash,
                )
            )


async def head(connection: Connection) -> Head | None:
    """The chain's last link; None if there is none."""
    async with connection.cursor(row_factory=class_row(Head)) as cursor:
        await cursor.execute("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")
        return await cursor.fetchone()


async def hash_of(connection: Connection, sequence: int) -> bytes | None:
    """The hash of one link."""
    cursor = await connection.execute("SELECT hash FROM audit WHERE sequence = %s", (sequence,))
    row = await cursor.fetchone()
    return None if row is None else row["hash"]


async def pending(connection: Connection) -> int:
    """How many records are not in the chain yet."""
    cursor = await connection.execute("SELECT count(*) AS n FROM audit_pending")
    row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def chain(connection: Connection) -> AsyncIterator[Sealed]:
    """Every link in order, in the caller's transaction: a stream, whatever their number."""
    async with connection.cursor("audit_chain", row_factory=class_row(Sealed)) as cursor:
        cursor.itersize = FETCHED_AT_ONCE
        await cursor.execute(_CHAIN)
        async for row in cursor:
            yield row


async def listed(
    connection: Connection,
    *,
    kind: str | None,
    actor: UUID | None,
    since: datetime | None,
    limit: int,
) -> list[Sealed]:
    """The newest ``limit`` links that match, oldest first. ``kind`` ending in ``.`` is a family."""
    async with connection.cursor(row_factory=class_row(Sealed)) as cursor:
        await cursor.execute(
            _LIST,
            {"kind": kind, "actor": actor, "since": since, "limit": limit},
        )
        return (await cursor.fetchall())[::-1]
