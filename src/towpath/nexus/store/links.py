"""Links that work once, by hash."""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

Purpose = Literal["invitation", "verification", "reset"]
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Link:
    """What a link is for."""

    purpose: Purpose
    identity_id: UUID | None
    details: dict[str, Any]


async def add(
    connection: Connection,
    value: str,
    purpose: Purpose,
    *,
    lifetime_s: float,
    identity_id: UUID | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    """Store a new link; and remove some that have expired."""
    await connection.execute(
        "DELETE FROM one_time_link WHERE hash IN (SELECT hash FROM one_time_link"
        " WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED)",
        (_SWEPT_AT_ONCE,),
    )
    await connection.execute(
        "INSERT INTO one_time_link (hash, purpose, identity_id, details, expires_at)"
        " VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s))",
        (digest(value), purpose, identity_id, Jsonb(details or {}), lifetime_s),
    )


async def find(connection: Connection, value: str, purpose: Purpose) -> Link | None:
    """The link, if it is good; it stays so."""
    async with connection.cursor(row_factory=class_row(Link)) as cursor:
        await cursor.execute(
            "SELECT purpose, identity_id, details FROM one_time_link"
            " WHERE hash = %s AND purpose = %s AND expires_at > now()",
            (digest(value), purpose),
        )
        return await cursor.fetchone()


async def use(connection: Connection, value: str, purpose: Purpose) -> Link | None:
    """The link, if it is good; nobody else gets it."""
    async with connection.cursor(row_factory=class_row(Link)) as cursor:
        await cursor.execute(
            "DELETE FROM one_time_link WHERE hash = %s AND purpose = %s AND expires_at > now()"
            " RETURNING purpose, identity_id, details",
            (digest(value), purpose),
        )
        return await cursor.fetchone()


async def withdraw(connection: Connection, identity_id: UUID, purpose: Purpose) -> None:
    """Make all the identity's links for this purpose worthless."""
    await connection.execute(
        "DELETE FROM one_time_link WHERE identity_id = %s AND purpose = %s", (identity_id, purpose)
    )


async def withdraw_invitations(connection: Connection, username: str) -> None:
    """Make all invitations for this name worthless."""
    await connection.execute(
        "DELETE FROM one_time_link WHERE purpose = 'invitation' AND details->>'username' = %s",
        (username,),
    )


async def withdraw_first_administrator(connection: Connection) -> None:
    """Make the links of earlier starts worthless."""
    await connection.execute(
        "DELETE FROM one_time_link WHERE purpose = 'invitation' AND details ? 'first'"
    )
