"""Grants and their tokens, by hash. All tokens belong to a grant: one login of one client."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

LIFETIME_S = 172_800
"""48 hours, as customary: the SDK asks for no refresh token unless it is told to."""
REFRESH_IDLE_S = 180 * 86_400
"""A refresh token that was not used for half a year is over, as at Globus."""
REPLACED_KEPT = 100
"""Rotated refresh tokens that a login remembers for each service, the latest. A thief comes back
with a recent one; a program that refreshes in a loop must not fill the table for half a year."""
_SWEPT_AT_ONCE = 100

_EMPTY_GRANTS = """
DELETE FROM oauth_grant g USING (SELECT DISTINCT grant_id FROM gone) AS touched
WHERE g.id = touched.grant_id AND NOT EXISTS (
    SELECT 1 FROM token t WHERE t.grant_id = g.id AND t.hash NOT IN (SELECT hash FROM gone))
"""
# One at a time: of two who sweep the last tokens of a grant neither would see that it is empty.
# What was given for an expired token ends with what that one was given for, a refresh token.
_SWEEP = f"""
WITH RECURSIVE turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('nexus.token sweep')) AS mine),
gone AS (
    DELETE FROM token WHERE hash IN (
        SELECT hash FROM token WHERE expires_at < now() AND (SELECT mine FROM turn)
        LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING hash, grant_id, parent_hash),
above AS (
    SELECT hash, parent_hash FROM gone
    UNION SELECT a.hash, g.parent_hash FROM above a JOIN gone g ON g.hash = a.parent_hash),
adopted AS (
    UPDATE token t SET parent_hash = a.parent_hash FROM above a
    WHERE t.parent_hash = a.hash AND t.hash NOT IN (SELECT hash FROM gone)
    AND (a.parent_hash IS NULL OR a.parent_hash NOT IN (SELECT hash FROM gone)))
{_EMPTY_GRANTS}
"""  # noqa: S608 - our own words
_HOLD = """
SELECT 1 FROM oauth_grant g JOIN token t ON t.grant_id = g.id WHERE t.hash = %s FOR UPDATE OF g
"""
_REVOKE = f"""
WITH RECURSIVE doomed AS (
    SELECT hash FROM token WHERE hash = %s
    UNION SELECT t.hash FROM token t JOIN doomed d ON t.parent_hash = d.hash),
gone AS (
    DELETE FROM token WHERE hash IN (SELECT hash FROM doomed) RETURNING hash, grant_id)
{_EMPTY_GRANTS}
"""  # noqa: S608

# Grants of services stand on consents that were given to others.
_REVOKE_BELOW = """
DELETE FROM oauth_grant g USING token t, consent c WHERE t.grant_id = g.id
AND g.identity_id = c.identity_id AND g.client_id <> c.root_client_id
AND c.id = ANY(t.consent_ids) AND c.root_client_id = ANY(%s)
"""

Kind = Literal["access", "refresh"]


@dataclass(frozen=True)
class Grant:
    """One login of one client, or (without a session) a client for itself."""

    id: UUID
    client_id: UUID
    identity_id: UUID
    session_id: UUID | None
    authentications: dict[str, Any]
    """Of the browser session when it was made: identity -> idp, auth_time, acr, amr."""


@dataclass(frozen=True)
class Token:
    """A token that is active now, or a refresh token that was replaced."""

    client_id: UUID
    identity_id: UUID
    resource_server: str
    scopes: list[str]
    issued_at: datetime
    expires_at: datetime
    kind: Kind
    grant_id: UUID
    consent_ids: list[int]
    """What its scopes stand on."""
    replaced_at: datetime | None


async def add_grant(
    connection: Connection,
    *,
    client_id: UUID,
    identity_id: UUID,
    session_id: UUID | None = None,
    authentications: dict[str, Any] | None = None,
) -> UUID:
    """Make a grant."""
    made = uuid4()
    await connection.execute(
        "INSERT INTO oauth_grant (id, client_id, identity_id, session_id, authentications)"
        " VALUES (%s, %s, %s, %s, %s)",
        (made, client_id, identity_id, session_id, Jsonb(authentications or {})),
    )
    return made


async def grant(connection: Connection, grant_id: UUID) -> Grant | None:
    """The grant."""
    async with connection.cursor(row_factory=class_row(Grant)) as cursor:
        await cursor.execute(
            "SELECT id, client_id, identity_id, session_id, authentications FROM oauth_grant"
            " WHERE id = %s",
            (grant_id,),
        )
        return await cursor.fetchone()


async def add(
    connection: Connection,
    token: str,
    *,
    kind: Kind,
    grant_id: UUID,
    client_id: UUID,
    identity_id: UUID,
    resource_server: str,
    scopes: Sequence[str],
    consent_ids: Sequence[int] = (),
    parent: str | None = None,
) -> None:
    """Store a new token; and remove some expired ones, so that the table does not grow for ever.

    ``parent`` is the token that it was given for: it ends when that is revoked.
    """
    await connection.execute(_SWEEP, (_SWEPT_AT_ONCE,))
    await connection.execute(
        "INSERT INTO token (hash, kind, grant_id, client_id, identity_id, resource_server, scopes,"
        " consent_ids, parent_hash, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
        (
            digest(token),
            kind,
            grant_id,
            client_id,
            identity_id,
            resource_server,
            list(scopes),
            list(consent_ids),
            None if parent is None else digest(parent),
            LIFETIME_S if kind == "access" else REFRESH_IDLE_S,
        ),
    )


async def find_any(connection: Connection, token: str, *, lock: bool = False) -> Token | None:
    """The token of either kind, if it has not expired. Look at ``kind`` and ``replaced_at``.

    ``lock``: until the transaction ends nobody else refreshes, revokes or ends what belongs to its
    grant, nor gives more for it.
    """
    if lock:
        # always the grant, and first: whoever ends it takes the same way
        await connection.execute(_HOLD, (digest(token),))
    async with connection.cursor(row_factory=class_row(Token)) as cursor:
        await cursor.execute(
            "SELECT client_id, identity_id, resource_server, scopes,"
            " issued_at, expires_at, kind,"
            " grant_id, consent_ids, replaced_at"
            " FROM token WHERE hash = %s AND expires_at > now()",
            (digest(token),),
        )
        return await cursor.fetchone()


async def find(connection: Connection, token: str, *, lock: bool = False) -> Token | None:
    """The access token, if it is active; ``lock`` as in :func:`find_any`."""
    found = await find_any(connection, token, lock=lock)
    return found if found is not None and found.kind == "access" else None


async def note_use(connection: Connection, refresh_token: str) -> None:
    """A refresh token lives on from each use."""
    await connection.execute(
        "UPDATE token SET expires_at = now() + make_interval(secs => %s) WHERE hash = %s",
        (REFRESH_IDLE_S, digest(refresh_token)),
    )


async def replace(connection: Connection, old: str, new: str) -> None:
    """Mark a rotated refresh token, and make what was given for it the new one's.

    It is kept, as one of the latest, to notice when it comes again (RFC 9700, 4.14.2).
    """
    await connection.execute(
        "UPDATE token SET replaced_at = now(), parent_hash = NULL WHERE hash = %s", (digest(old),)
    )
    await connection.execute(
        "UPDATE token SET parent_hash = %s WHERE parent_hash = %s", (digest(new), digest(old))
    )
    await connection.execute(
        "DELETE FROM token WHERE hash IN (SELECT t.hash FROM token t"
        " JOIN token latest ON latest.grant_id = t.grant_id AND latest.client_id = t.client_id"
        " AND latest.resource_server = t.resource_server WHERE latest.hash = %s"
        " AND t.replaced_at IS NOT NULL ORDER BY t.replaced_at DESC OFFSET %s)",
        (digest(new), REPLACED_KEPT),
    )


async def revoke(connection: Connection, token: str) -> None:
    """End the token and all that were given for it; nothing if there is no such one. In a
    transaction.
    """
    await connection.execute(_HOLD, (digest(token),))
    await connection.execute(_REVOKE, (digest(token),))


async def revoke_of_grant(connection: Connection, grant_id: UUID) -> None:
    """End a login: its code and all its tokens, also those that services got for it."""
    await connection.execute("DELETE FROM oauth_grant WHERE id = %s", (grant_id,))


async def revoke_of_identity(connection: Connection, identity_id: UUID) -> None:
    """End all logins of an identity, whatever the client."""
    await connection.execute("DELETE FROM oauth_grant WHERE identity_id = %s", (identity_id,))


async def revoke_without_login(connection: Connection, account_id: UUID) -> None:
    """End the account's logins at clients that rest on no identity which it still has; also those
    of browser sessions that have ended.
    """
    await connection.execute(
        "DELETE FROM oauth_grant g USING identity i WHERE i.id = g.identity_id"
        " AND i.account_id = %(account)s AND g.session_id IS NOT NULL AND NOT EXISTS"
        " (SELECT 1 FROM identity o WHERE o.account_id = %(account)s"
        "  AND g.authentications ? o.id::text)",
        {"account": account_id},
    )


async def revoke_of_client(connection: Connection, client_id: UUID) -> None:
    """End all logins by a client, and what it got as a service for others' logins."""
    await connection.execute("DELETE FROM oauth_grant WHERE client_id = %s", (client_id,))
    await connection.execute("DELETE FROM token WHERE client_id = %s", (client_id,))


async def revoke_of_client_for_identity(
    connection: Connection, client_id: UUID, identity_id: UUID
) -> None:
    """End all logins of an identity by a client, and what services got for later on its consents,
    which still hold now.
    """
    await connection.execute(
        "DELETE FROM oauth_grant WHERE client_id = %s AND identity_id = %s",
        (client_id, identity_id),
    )
    await connection.execute(f"{_REVOKE_BELOW} AND c.identity_id = %s", ([client_id], identity_id))


async def revoke_of_services(connection: Connection, client_ids: Sequence[UUID]) -> None:
    """End what services got for later on all consents of some clients, which still hold now."""
    await connection.execute(_REVOKE_BELOW, (list(client_ids),))
