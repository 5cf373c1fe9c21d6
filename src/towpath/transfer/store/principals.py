"""People as nexus knew them last: for rights where no token is at hand."""

from datetime import datetime
from uuid import UUID

from psycopg.rows import dict_row

from towpath.platform.database import Connection
from towpath.transfer.rights import Who
from towpath.transfer.store.rows import fetch


async def put(conn: Connection, who: Who, *, email: str | None = None) -> None:
    """Remember a person as just heard. An address that is known stays if none is given."""
    await conn.execute(
        """
        INSERT INTO principal (identity_id, username, email, identities, groups)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (identity_id) DO UPDATE
        SET username = excluded.username, email = coalesce(excluded.email, principal.email),
            identities = excluded.identities, groups = excluded.groups, heard_at = now()
        """,
        (who.id, who.username or "", email, sorted(who.identities), sorted(who.groups)),
    )


async def get(conn: Connection, identity_id: UUID, *, since: datetime | None = None) -> Who | None:
    """The person, as last heard; with `since`, if that was not before."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT username, identities, groups FROM principal WHERE identity_id = %s"
            " AND (%s::timestamptz IS NULL OR heard_at >= %s)",
            (identity_id, since, since),
        )
        row = await cursor.fetchone()
    if row is None:
        return None
    return Who(
        identity_id, row["username"] or None, frozenset(row["identities"]), frozenset(row["groups"])
    )


_OLD = """
SELECT wanted.id FROM (
    SELECT t.owner_id AS id, %(old_s)s::float8 AS old_s FROM task t
      JOIN endpoint e ON e.id IN (t.source_endpoint_id, t.destination_endpoint_id)
     WHERE t.status IN ('ACTIVE', 'INACTIVE') AND e.share_path IS NOT NULL
    UNION
    SELECT s.identity_id, %(sharers_old_s)s FROM endpoint e
      JOIN principal s ON s.identity_id = e.owner_id
     WHERE e.share_path IS NOT NULL AND e.deleted_at IS NULL
) wanted LEFT JOIN principal p ON p.identity_id = wanted.id
WHERE p.heard_at IS NULL OR p.heard_at <= now() - make_interval(secs => wanted.old_s)
GROUP BY wanted.id, p.heard_at
ORDER BY p.heard_at NULLS FIRST, wanted.id LIMIT %(limit)s
"""


async def old(conn: Connection, *, old_s: float, sharers_old_s: float, limit: int) -> list[UUID]:
    """Owners of unfinished tasks at guest collections, heard of `old_s` ago or never, and of guest
    collections, heard of `sharers_old_s` ago; the longest unheard first."""
    asked = {"old_s": old_s, "sharers_old_s": sharers_old_s, "limit": limit}
    return [row[0] for row in await fetch(conn, _OLD, asked)]
