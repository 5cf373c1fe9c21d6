"""The deployment's own keys, sealed: its authority for Connect, and those that sign grants, or
manifests.

All times are the database's.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from towpath.platform.database import Connection
from towpath.transfer.store.rows import fetch, fetch_one

Purpose = Literal["authority", "grants", "manifests"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key, sealed. `begun`: it may be used by now."""

    id: str
    sealed: bytes
    begins_at: datetime
    begun: bool

    def __repr__(self) -> str:
        return f"StoredKey({self.id}, from {self.begins_at:%Y-%m-%dT%H:%M})"


def seal_context(purpose: Purpose, key_id: str) -> bytes:
    """What a sealed key is bound to."""
    return f"transfer.connect:{purpose}:{key_id}".encode()


async def lock(conn: Connection) -> None:
    """One process at a time makes keys; until the transaction ends."""
    await fetch(conn, "SELECT pg_advisory_xact_lock(hashtext('towpath.connect_key'))")


async def add(
    conn: Connection, purpose: Purpose, key_id: str, sealed: bytes, *, begins_in_s: float = 0
) -> datetime:
    """Keep a key; when it begins."""
    row = await fetch_one(
        conn,
        "INSERT INTO connect_key (id, purpose, sealed, begins_at)"
        " VALUES (%s, %s, %s, now() + make_interval(secs => %s)) RETURNING begins_at",
        (key_id, purpose, sealed, begins_in_s),
    )
    assert row is not None
    begins: datetime = row[0]
    return begins


async def end_others(conn: Connection, key_id: str, *, after_s: float) -> None:
    """The other keys of its purpose end so long after this one begins."""
    await conn.execute(
        """
        UPDATE connect_key k SET ends_at = n.begins_at + make_interval(secs => %s)
          FROM connect_key n
         WHERE n.id = %s AND k.purpose = n.purpose AND k.id <> n.id
           AND (k.ends_at IS NULL OR k.ends_at > n.begins_at + make_interval(secs => %s))
        """,
        (after_s, key_id, after_s),
    )


async def forget_ended(conn: Connection) -> None:
    """Keys that are over are of no use to anybody."""
    await conn.execute("DELETE FROM connect_key WHERE ends_at <= now()")


async def get(conn: Connection, purpose: Purpose) -> list[StoredKey]:
    """Those that are not over, the newest first."""
    async with conn.cursor(row_factory=class_row(StoredKey)) as cursor:
        await cursor.execute(
            "SELECT id, sealed, begins_at, begins_at <= now() AS begun FROM connect_key"
            " WHERE purpose = %s AND (ends_at IS NULL OR ends_at > now())"
            " ORDER BY begins_at DESC, id",
            (purpose,),
        )
        return await cursor.fetchall()


async def newest_age_s(conn: Connection) -> float | None:
    """Seconds since the newest key of grants has begun (or, if it has not, less than 0)."""
    row = await fetch_one(
        conn,
        "SELECT extract(epoch FROM now() - max(begins_at))::double precision FROM connect_key"
        " WHERE purpose = 'grants'",
    )
    assert row is not None
    return None if row[0] is None else float(row[0])
