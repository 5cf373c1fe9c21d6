"""What people allow: trees of consents, from a client's scope down to what services need."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection


@dataclass(frozen=True)
class Consent:
    """A node: ``client_id`` may ask for the scope, on the path from the root to here."""

    id: int
    identity_id: UUID
    root_client_id: UUID
    parent_id: int | None
    client_id: UUID
    scope_id: UUID
    scope_string: str
    resource_server: str
    scope_allows_refresh: bool
    path: list[int]
    allows_refresh: bool
    auto_approved: bool
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime


_COLUMNS = """
SELECT n.id, n.identity_id, n.root_client_id, n.parent_id, n.client_id, n.scope_id, s.scope_string,
       coalesce(c.resource_server, c.id::text) AS resource_server,
       s.allows_refresh_token AS scope_allows_refresh, n.path, n.allows_refresh, n.auto_approved,
       n.created_at, n.updated_at, n.last_used_at
FROM consent n JOIN scope s ON s.id = n.scope_id JOIN client c ON c.id = s.client_id
"""


async def _consents(connection: Connection, where: str, *values: object) -> list[Consent]:
    async with connection.cursor(row_factory=class_row(Consent)) as cursor:
        await cursor.execute(f"{_COLUMNS} WHERE {where} ORDER BY n.id", values)
        return await cursor.fetchall()


async def of_identity(connection: Connection, identity_id: UUID) -> list[Consent]:
    """All of them, parents before children."""
    return await _consents(connection, "n.identity_id = %s", identity_id)


async def of_client(
    connection: Connection, identity_id: UUID, root_client_id: UUID
) -> list[Consent]:
    """An identity's trees that begin at one client, parents before children."""
    return await _consents(
        connection, "n.identity_id = %s AND n.root_client_id = %s", identity_id, root_client_id
    )


async def by_id(connection: Connection, ids: Sequence[int]) -> list[Consent]:
    """Those that still hold."""
    return await _consents(connection, "n.id = ANY(%s)", list(ids))


async def below(connection: Connection, ids: Sequence[int], client_id: UUID) -> list[Consent]:
    """What ``client_id`` may ask for, by consents directly below these."""
    return await _consents(
        connection, "n.parent_id = ANY(%s) AND n.client_id = %s", list(ids), client_id
    )


async def allowed_below(
    connection: Connection, asked: Sequence[tuple[UUID, UUID, str, str, UUID | None]]
) -> list[bool]:
    """For each of (client, identity, scope, another, root): whether the identity lets the client
    ask for the scope, and whose that is for the other below it; on a path from the root client, if
    one is named.
    """
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM consent p JOIN scope ps ON ps.id = p.scope_id"
        "  JOIN consent n ON n.parent_id = p.id JOIN scope s ON s.id = n.scope_id"
        "  WHERE p.identity_id = a.identity AND p.client_id = a.client"
        "  AND ps.scope_string = a.above AND s.scope_string = a.scope"
        "  AND (a.root IS NULL OR p.root_client_id = a.root)) AS allowed"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::uuid[])"
        " WITH ORDINALITY AS a(client, identity, above, scope, root, n) ORDER BY a.n",
        [list(column) for column in zip(*asked, strict=True)],
    )
    return [row["allowed"] for row in await cursor.fetchall()]


async def hold(connection: Connection, identity_id: UUID, client_id: UUID) -> None:
    """Be the only one who puts consents of the identity for the client, until the transaction
    ends.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"nexus.consent {identity_id} {client_id}",),
    )


async def put(
    connection: Connection,
    *,
    identity_id: UUID,
    root_client_id: UUID,
    parent: int | None,
    client_id: UUID,
    scope_id: UUID,
    allows_refresh: bool,
    auto_approved: bool,
) -> int:
    """Make a node, or find the one that is there: consents add up, and are never narrowed here."""
    cursor = await connection.execute(
        "INSERT INTO consent AS n (identity_id, root_client_id, parent_id, client_id, scope_id,"
        " path, allows_refresh, auto_approved)"
        " VALUES (%(identity)s, %(root)s, %(parent)s, %(client)s, %(scope)s, '{}', %(refresh)s,"
        " %(auto)s)"
        " ON CONFLICT (identity_id, root_client_id, parent_id, scope_id) DO UPDATE SET"
        " allows_refresh = n.allows_refresh OR excluded.allows_refresh,"
        " auto_approved = n.auto_approved AND excluded.auto_approved,"
        " updated_at = CASE WHEN excluded.allows_refresh AND NOT n.allows_refresh"
        " THEN now() ELSE n.updated_at END, last_used_at = now()"
        " RETURNING n.id, n.path",
        {
            "identity": identity_id,
            "root": root_client_id,
            "parent": parent,
            "client": client_id,
            "scope": scope_id,
            "refresh": allows_refresh,
            "auto": auto_approved,
        },
    )
    row = await cursor.fetchone()
    assert row is not None
    if not row["path"]:  # new: its own id ends the path
        await connection.execute(
            "UPDATE consent n SET path = coalesce((SELECT p.path FROM consent p"
            " WHERE p.id = n.parent_id), '{}') || n.id WHERE n.id = %s",
            (row["id"],),
        )
    return int(row["id"])


async def note_use(connection: Connection, ids: Sequence[int]) -> None:
    """A token was given for these."""
    await connection.execute(
        "UPDATE consent SET last_used_at = now() WHERE id = ANY(%s)"
        " AND last_used_at < now() - interval '1 minute'",
        (list(ids),),
    )


async def withdraw_client(connection: Connection, identity_id: UUID, client_id: UUID) -> None:
    """Take back all that an identity allowed a client. End its grants first."""
    await connection.execute(
        "DELETE FROM consent WHERE identity_id = %s AND root_client_id = %s",
        (identity_id, client_id),
    )
