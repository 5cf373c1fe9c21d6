"""Access tokens, by hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

LIFETIME_S = 172_800
"""48 hours, as customary: the SDK asks for no refresh token unless it is told to."""
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Token:
    """A token that is active now."""

    client_id: UUID
    identity_id: UUID
    resource_server: str
    scopes: list[str]
    issued_at: datetime
    expires_at: datetime


async def add(
    connection: Connection,
    token: str,
    *,
    client_id: UUID,
    identity_id: UUID,
    resource_server: str,
    scopes: Sequence[str],
) -> None:
    """Store a new token; and remove some expired ones, so that the table does not grow for ever."""
    await connection.execute(
        "DELETE FROM token WHERE hash IN (SELECT hash FROM token WHERE expires_at < now()"
        " LIMIT %s FOR UPDATE SKIP LOCKED)",
        (_SWEPT_AT_ONCE,),
    )
    await connection.execute(
        "INSERT INTO token (hash, client_id, identity_id, resource_server, scopes, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
        (digest(token), client_id, identity_id, resource_server, list(scopes), LIFETIME_S),
    )


async def find(connection: Connection, token: str) -> Token | None:
    """The token, if it is active."""
    async with connection.cursor(row_factory=class_row(Token)) as cursor:
        await cursor.execute(
            "SELECT client_id, identity_id, resource_server, scopes, issued_at, expires_at"
            " FROM token WHERE hash = %s AND expires_at > now()",
            (digest(token),),
        )
        return await cursor.fetchone()


async def revoke(connection: Connection, token: str) -> None:
    """Forget the token, if there is such a one."""
    await connection.execute("DELETE FROM token WHERE hash = %s", (digest(token),))


async def revoke_of_identity(connection: Connection, identity_id: UUID) -> None:
    """End all tokens of an identity, whatever the client."""
    await connection.execute("DELETE FROM token WHERE identity_id = %s", (identity_id,))
