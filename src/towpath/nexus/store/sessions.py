"""Browser sessions: who has logged in, in which browser, with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import DictRow, class_row

from towpath.nexus.hashing import digest
from towpath.nexus.well_known import WEB_CLIENT
from towpath.platform.database import Connection

ADDRESS_LIMIT = 64
USER_AGENT_LIMIT = 300
"""Characters kept; real ones have 100 to 200."""
SEEN_EVERY_S = 60
"""How exactly the time of last use is kept: not every page is a write."""
SESSIONS_KEPT = 100
"""Of an account: more browsers than a person has. The one used least lately goes."""
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Authentication:
    """One identity's login in a session."""

    at: datetime
    provider_id: UUID
    amr: list[str]
    """How (RFC 8176): ``pwd``, ``hwk``, ``mfa`` ..."""
    acr: str | None


@dataclass(frozen=True)
class Session:
    """A browser in which an account is logged in."""

    id: UUID
    account_id: UUID
    authentications: Mapping[UUID, Authentication] = field(default_factory=dict)
    """By identity."""


@dataclass(frozen=True)
class SessionRow:
    """A session as its owner sees it."""

    id: UUID
    address: str
    user_agent: str
    created_at: datetime
    last_seen_at: datetime


async def create(
    connection: Connection,
    *,
    session_id: UUID,
    value: str,
    account_id: UUID,
    address: str,
    user_agent: str,
    lifetime_s: float,
) -> None:
    """Begin a session whose cookie is ``value``; and remove some that have ended."""
    swept = await connection.execute(
        "DELETE FROM browser_session WHERE id IN (SELECT id FROM browser_session"
        " WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id",
        (_SWEPT_AT_ONCE,),
    )
    await _ended(connection, swept)
    await connection.execute(
        "INSERT INTO browser_session (id, value_hash, account_id, address, user_agent, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
        (
            session_id,
            digest(value),
            account_id,
            address[:ADDRESS_LIMIT],
            user_agent[:USER_AGENT_LIMIT],
            lifetime_s,
        ),
    )
    too_many = await connection.execute(
        "DELETE FROM browser_session WHERE account_id = %(account)s AND id IN"
        " (SELECT id FROM browser_session WHERE account_id = %(account)s"
        "  ORDER BY last_seen_at DESC, created_at DESC OFFSET %(keep)s) RETURNING id",
        {"account": account_id, "keep": SESSIONS_KEPT},
    )
    await _ended(connection, too_many)


async def rotate(connection: Connection, session_id: UUID, value: str) -> None:
    """Give the session a new cookie; the old one is worth nothing from now on."""
    await connection.execute(
        "UPDATE browser_session SET value_hash = %s, last_seen_at = now() WHERE id = %s",
        (digest(value), session_id),
    )


async def authenticated(
    connection: Connection,
    session_id: UUID,
    identity_id: UUID,
    *,
    provider_id: UUID,
    amr: Sequence[str],
    acr: str | None = None,
    at: datetime | None = None,
) -> None:
    """Note that an identity has logged in, in the session: now, or when its provider says, but not
    in the future.
    """
    await connection.execute(
        "INSERT INTO session_authentication (session_id, identity_id, provider_id, at, amr, acr)"
        " VALUES (%s, %s, %s, least(%s, clock_timestamp()), %s, %s)"
        " ON CONFLICT (session_id, identity_id) DO UPDATE SET provider_id = excluded.provider_id,"
        " at = excluded.at, amr = excluded.amr, acr = excluded.acr",
        (session_id, identity_id, provider_id, at, list(amr), acr),
    )
    await connection.execute(
        "UPDATE identity SET last_authentication = now() WHERE id = %s", (identity_id,)
    )


async def find(connection: Connection, value: str, *, idle_s: float) -> Session | None:
    """The session whose cookie is ``value``, if it has not ended and its account may log in."""
    cursor = await connection.execute(
        "SELECT s.id, s.account_id,"
        " s.last_seen_at < now() - make_interval(secs => %(every)s) AS unseen"
        " FROM browser_session s JOIN account a ON a.id = s.account_id"
        " WHERE s.value_hash = %(hash)s AND s.expires_at > now() AND a.suspended_at IS NULL"
        " AND s.last_seen_at > now() - make_interval(secs => %(idle)s)",
        {"hash": digest(value), "idle": idle_s, "every": SEEN_EVERY_S},
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    if row["unseen"]:
        await connection.execute(
            "UPDATE browser_session SET last_seen_at = now() WHERE id = %s", (row["id"],)
        )
    return Session(row["id"], row["account_id"], await authentications(connection, row["id"]))


async def authentications(connection: Connection, session_id: UUID) -> dict[UUID, Authentication]:
    """Who has logged in, in the session, by identity; empty if it has ended."""
    # an identity that was taken out of the account is no longer logged in by it
    cursor = await connection.execute(
        "SELECT sa.identity_id, sa.at, sa.provider_id, sa.amr, sa.acr"
        " FROM session_authentication sa"
        " JOIN browser_session s ON s.id = sa.session_id"
        " JOIN identity i ON i.id = sa.identity_id AND i.account_id = s.account_id"
        " WHERE sa.session_id = %s AND s.expires_at > now()",
        (session_id,),
    )
    return {
        row["identity_id"]: Authentication(row["at"], row["provider_id"], row["amr"], row["acr"])
        for row in await cursor.fetchall()
    }


async def of_account(
    connection: Connection, account_id: UUID, *, idle_s: float
) -> list[SessionRow]:
    """The account's sessions that have not ended, the one used last first."""
    async with connection.cursor(row_factory=class_row(SessionRow)) as cursor:
        await cursor.execute(
            "SELECT id, address, user_agent, created_at, last_seen_at FROM browser_session"
            " WHERE account_id = %s AND expires_at > now()"
            " AND last_seen_at > now() - make_interval(secs => %s)"
            " ORDER BY last_seen_at DESC, id",
            (account_id, idle_s),
        )
        return await cursor.fetchall()


async def hold(connection: Connection, session_id: UUID) -> bool:
    """Keep the session from ending until the transaction does: what the web interface is given
    meanwhile ends with it. Whether it is there.
    """
    cursor = await connection.execute(
        "SELECT 1 FROM browser_session WHERE id = %s FOR KEY SHARE", (session_id,)
    )
    return await cursor.fetchone() is not None


async def end(connection: Connection, session_id: UUID) -> None:
    """End a session."""
    await connection.execute("DELETE FROM browser_session WHERE id = %s", (session_id,))
    await _end_web_interface(connection, [session_id])


async def end_of_account(
    connection: Connection, account_id: UUID, *, but: UUID | None = None
) -> list[UUID]:
    """End the account's sessions, all but one; returns which were ended."""
    cursor = await connection.execute(
        "DELETE FROM browser_session WHERE account_id = %s AND id IS DISTINCT FROM %s RETURNING id",
        (account_id, but),
    )
    return await _ended(connection, cursor)


async def end_one_of_account(
    connection: Connection, account_id: UUID, session_id: UUID
) -> list[UUID]:
    """End one of the account's sessions; returns it, or nothing if it is not the account's."""
    cursor = await connection.execute(
        "DELETE FROM browser_session WHERE id = %s AND account_id = %s RETURNING id",
        (session_id, account_id),
    )
    return await _ended(connection, cursor)


async def age_s(connection: Connection, session_id: UUID) -> float:
    """Seconds since the session began."""
    cursor = await connection.execute(
        "SELECT extract(epoch FROM now() - created_at)::float8 AS age FROM browser_session"
        " WHERE id = %s",
        (session_id,),
    )
    row = await cursor.fetchone()
    return float("inf") if row is None else float(row["age"])


async def forget_identity(
    connection: Connection, account_id: UUID, identity_id: UUID
) -> list[UUID]:
    """The account's sessions know of no login as this identity any more; those that rested on it
    alone end. Returns which.
    """
    await connection.execute(
        "DELETE FROM session_authentication a USING browser_session s"
        " WHERE s.id = a.session_id AND s.account_id = %s AND a.identity_id = %s",
        (account_id, identity_id),
    )
    cursor = await connection.execute(
        "DELETE FROM browser_session s WHERE account_id = %s AND NOT EXISTS"
        " (SELECT 1 FROM session_authentication a WHERE a.session_id = s.id) RETURNING id",
        (account_id,),
    )
    return await _ended(connection, cursor)


async def _ended(connection: Connection, cursor: AsyncCursor[DictRow]) -> list[UUID]:
    found = [row["id"] for row in await cursor.fetchall()]
    if found:
        await _end_web_interface(connection, found)
    return found


async def _end_web_interface(connection: Connection, ended: Sequence[UUID]) -> None:
    """The web interface is the deployment's own: who logs out has logged out there, too, also in
    tabs that are still open. Other applications go on.

    A statement of its own, after the sessions are gone: it sees what was given while it waited for
    them (:func:`hold`).
    """
    await connection.execute(
        "DELETE FROM oauth_grant WHERE session_id = ANY(%s) AND client_id = %s",
        (list(ended), WEB_CLIENT),
    )
