"""Sealed endpoint credentials: one per endpoint and user. This module never sees a PEM."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """What is kept of a credential; `sealed` is opaque here (invariant I6)."""

    endpoint_id: UUID
    owner_id: UUID
    sealed: bytes
    subject: str
    not_after: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        return f"StoredCredential({self.endpoint_id}, {self.owner_id}, {self.subject!r})"


@dataclass(frozen=True, slots=True)
class Kept:
    """What may be shown of a credential, and the endpoint's name."""

    endpoint_id: UUID
    endpoint_display_name: str
    subject: str
    not_after: datetime
    updated_at: datetime


KEPT_MOST = 1000
"""Shown of one user's, as of endpoints that a search finds."""

_KEPT = """
    SELECT c.endpoint_id, e.display_name AS endpoint_display_name, c.subject, c.not_after,
           c.updated_at
      FROM credential c JOIN endpoint e ON e.id = c.endpoint_id
     WHERE c.owner_id = %s
"""


def seal_context(endpoint_id: UUID, owner_id: UUID) -> bytes:
    """What a sealed credential is bound to: moved to another row, it does not open."""
    return b"transfer.credential:" + endpoint_id.bytes + owner_id.bytes


async def put(
    conn: Connection,
    *,
    endpoint_id: UUID,
    owner_id: UUID,
    sealed: bytes,
    subject: str,
    not_after: datetime,
) -> None:
    """Store, or replace, a user's credential for an endpoint."""
    await conn.execute(
        """
        INSERT INTO credential (endpoint_id, owner_id, sealed, subject, not_after)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (endpoint_id, owner_id) DO UPDATE
           SET sealed = excluded.sealed, subject = excluded.subject,
               not_after = excluded.not_after, updated_at = clock_timestamp()
        """,
        (endpoint_id, owner_id, sealed, subject, not_after),
    )


async def get(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> StoredCredential | None:
    """A user's credential for an endpoint, if there is one; it may have expired."""
    async with conn.cursor(row_factory=class_row(StoredCredential)) as cursor:
        await cursor.execute(
            """
            SELECT endpoint_id, owner_id, sealed, subject, not_after, updated_at
              FROM credential WHERE endpoint_id = %s AND owner_id = %s
            """,
            (endpoint_id, owner_id),
        )
        return await cursor.fetchone()


async def kept(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> Kept | None:
    """What may be shown of a user's credential for an endpoint."""
    async with conn.cursor(row_factory=class_row(Kept)) as cursor:
        await cursor.execute(_KEPT + "AND c.endpoint_id = %s", (owner_id, endpoint_id))
        return await cursor.fetchone()


async def kept_by(conn: Connection, owner_id: UUID) -> list[Kept]:
    """What may be shown of a user's credentials, for endpoints that he sees, by name."""
    async with conn.cursor(row_factory=class_row(Kept)) as cursor:
        await cursor.execute(
            _KEPT + "AND e.deleted_at IS NULL AND (e.public OR e.owner_id = c.owner_id)"
            " ORDER BY lower(e.display_name), e.id LIMIT %s",
            (owner_id, KEPT_MOST),
        )
        return await cursor.fetchall()


async def delete(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> bool:
    """Forget a user's credential for an endpoint; False if there is none."""
    found = await conn.execute(
        "DELETE FROM credential WHERE endpoint_id = %s AND owner_id = %s", (endpoint_id, owner_id)
    )
    return found.rowcount > 0


async def delete_all(conn: Connection, endpoint_id: UUID) -> None:
    """Forget everybody's credentials for an endpoint that is deleted."""
    await conn.execute("DELETE FROM credential WHERE endpoint_id = %s", (endpoint_id,))
