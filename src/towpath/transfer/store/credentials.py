"""Sealed endpoint credentials: one per endpoint and user. This module never sees a PEM."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    moved: bool = False
    """Whether the endpoint was given another server since, by somebody else: it is not to be shown
    there."""

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
    moved: bool = False
    """Whether it is of no use, because the endpoint was given another server since."""


KEPT_MOST = 1000
"""Shown of one user's, as of endpoints that a search finds."""

_MOVED = "coalesce(c.moved_at >= c.updated_at, false)"
_KEPT = f"""
    SELECT c.endpoint_id, e.display_name AS endpoint_display_name, c.subject, c.not_after,
           c.updated_at, {_MOVED} AS moved
      FROM credential c JOIN endpoint e ON e.id = c.endpoint_id
     WHERE c.owner_id = %s
"""  # noqa: S608 - a constant


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
               not_after = excluded.not_after, updated_at = clock_timestamp(), moved_at = NULL
        """,
        (endpoint_id, owner_id, sealed, subject, not_after),
    )


async def get(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> StoredCredential | None:
    """A user's credential for an endpoint, if there is one; it may have expired."""
    async with conn.cursor(row_factory=class_row(StoredCredential)) as cursor:
        await cursor.execute(
            f"""
            SELECT c.endpoint_id, c.owner_id, c.sealed, c.subject, c.not_after, c.updated_at,
                   {_MOVED} AS moved
              FROM credential c WHERE c.endpoint_id = %s AND c.owner_id = %s
            """,  # noqa: S608 - a constant
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


async def mark_moved(conn: Connection, endpoint_id: UUID, *, but: Collection[UUID]) -> int:
    """The endpoint is given another server: credentials were not given for that, but those of who
    does it (`but`). How many they are."""
    found = await conn.execute(
        "UPDATE credential SET moved_at = clock_timestamp()"
        " WHERE endpoint_id = %s AND owner_id <> ALL(%s)",
        (endpoint_id, list(but)),
    )
    return found.rowcount


async def delete_all(conn: Connection, endpoint_id: UUID) -> None:
    """Forget everybody's credentials for an endpoint that is deleted."""
    await conn.execute("DELETE FROM credential WHERE endpoint_id = %s", (endpoint_id,))


@dataclass(frozen=True, slots=True)
class Expiring:
    """A credential whose end is near, and what it is needed for."""

    endpoint_id: UUID
    endpoint_display_name: str
    owner_id: UUID
    subject: str
    not_after: datetime
    tasks: int
    """Unfinished ones that need it: the owner's, and those of people who use what he shares."""


# Who needs it: tasks of its owner there, and tasks at what he shares there, which go with it. Those
# that ended lately say that there will be others.
_EXPIRING = f"""
WITH ending AS (
    SELECT c.endpoint_id, c.owner_id, c.subject, c.not_after, c.updated_at FROM credential c
     WHERE c.not_after > now() AND c.not_after <= now() + %(within)s
       AND c.warned_of IS DISTINCT FROM c.not_after AND NOT {_MOVED}
       AND now() - c.updated_at >= (c.not_after - c.updated_at) / 2
     ORDER BY c.not_after FOR UPDATE SKIP LOCKED
), places AS (
    SELECT e.endpoint_id, e.owner_id, e.endpoint_id AS at, true AS own FROM ending e
     UNION ALL
    SELECT e.endpoint_id, e.owner_id, g.id, false FROM ending e JOIN endpoint g
        ON g.host_endpoint_id = e.endpoint_id AND g.owner_id = e.owner_id
       AND g.entity_type = 'GCSv4_share'
), needed AS (
    SELECT p.endpoint_id, p.owner_id, count(DISTINCT t.task_no) AS used,
           count(DISTINCT t.task_no) FILTER (WHERE t.status IN ('ACTIVE', 'INACTIVE')) AS open
      FROM places p JOIN task t ON p.at IN (t.source_endpoint_id, t.destination_endpoint_id)
       AND (NOT p.own OR t.owner_id = p.owner_id)
       AND (t.status IN ('ACTIVE', 'INACTIVE') OR t.completion_time > now() - %(lately)s)
     GROUP BY 1, 2
), told AS (
    SELECT e.*, n.open FROM ending e JOIN needed n USING (endpoint_id, owner_id)
     ORDER BY e.not_after LIMIT %(most)s
)
UPDATE credential c SET warned_of = c.not_after
  FROM told t JOIN endpoint e ON e.id = t.endpoint_id
 WHERE c.endpoint_id = t.endpoint_id AND c.owner_id = t.owner_id AND e.deleted_at IS NULL
RETURNING c.endpoint_id, e.display_name AS endpoint_display_name, c.owner_id, c.subject,
          c.not_after, t.open AS tasks
"""  # noqa: S608 - a constant


async def take_expiring(
    conn: Connection, *, within: timedelta, lately: timedelta, most: int
) -> list[Expiring]:
    """Up to `most` credentials that end `within`, of which more than half of the time that they
    were kept for is over, and that unfinished tasks need or others needed `lately`. Each is
    returned once: who takes it tells its owner in the same transaction."""
    async with conn.cursor(row_factory=class_row(Expiring)) as cursor:
        await cursor.execute(_EXPIRING, {"within": within, "lately": lately, "most": most})
        return await cursor.fetchall()
