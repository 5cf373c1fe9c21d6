"""Upstream providers, whom they mean, and logins that were begun there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from towpath.nexus.hashing import digest
from towpath.nexus.store import tokens
from towpath.platform.database import Connection

_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class UpstreamRow:
    """An upstream as it is stored; its secret is sealed."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    client_secret: bytes | None
    domains: list[str]
    username_claim: str
    authority: str | None


@dataclass(frozen=True)
class AttemptRow:
    """A login that was begun at an upstream."""

    provider_id: UUID
    purpose: Literal["login", "link"]
    request: str | None
    place: str | None
    account_id: UUID | None
    session_id: UUID | None
    fresh: bool
    begun_at: datetime


@dataclass(frozen=True)
class Known:
    """An identity, and what a login as it must know of its account."""

    identity_id: UUID
    username: str
    provider_id: UUID
    status: str
    has_subject: bool
    account_id: UUID | None
    account_suspended: bool
    account_administrator: bool
    account_size: int
    """Identities of the account."""


_UPSTREAM = """
SELECT p.id, p.name, u.issuer, u.client_id, u.client_secret, p.domains, u.username_claim,
       u.authority
FROM upstream u JOIN identity_provider p ON p.id = u.provider_id
"""

_KNOWN = """
SELECT i.id AS identity_id, i.username, i.identity_provider AS provider_id, i.status,
       s.identity_id IS NOT NULL AS has_subject, a.id AS account_id,
       a.suspended_at IS NOT NULL AS account_suspended,
       coalesce(a.administrator, false) AS account_administrator,
       (SELECT count(*) FROM identity o WHERE o.account_id = a.id) AS account_size
FROM identity i LEFT JOIN account a ON a.id = i.account_id
LEFT JOIN upstream_subject s ON s.identity_id = i.id
"""


async def upstreams(connection: Connection) -> list[UpstreamRow]:
    """All that log people in, by name; a deployment has a few."""
    async with connection.cursor(row_factory=class_row(UpstreamRow)) as cursor:
        await cursor.execute(f"{_UPSTREAM} ORDER BY p.name, p.id")
        return await cursor.fetchall()


async def upstream(connection: Connection, provider_id: UUID) -> UpstreamRow | None:
    """One of them."""
    async with connection.cursor(row_factory=class_row(UpstreamRow)) as cursor:
        await cursor.execute(f"{_UPSTREAM} WHERE p.id = %s", (provider_id,))
        return await cursor.fetchone()


async def domains_of_others(
    connection: Connection, provider_id: UUID, domains: Sequence[str]
) -> list[str]:
    """Those of ``domains`` for which another provider speaks."""
    cursor = await connection.execute(
        "SELECT DISTINCT domain FROM identity_provider, unnest(domains) AS domain"
        " WHERE id <> %s AND domain = ANY (%s) ORDER BY domain",
        (provider_id, list(domains)),
    )
    return [row["domain"] for row in await cursor.fetchall()]


async def set_upstream(connection: Connection, row: UpstreamRow) -> None:
    """Make an upstream and its identity provider, or change them."""
    await connection.execute(
        "INSERT INTO identity_provider (id, name, short_name, kind, domains)"
        " VALUES (%(id)s, %(name)s, %(name)s, 'oidc', %(domains)s) ON CONFLICT (id) DO UPDATE"
        " SET name = excluded.name, short_name = excluded.short_name, domains = excluded.domains",
        {"id": row.id, "name": row.name, "domains": row.domains},
    )
    await connection.execute(
        "INSERT INTO upstream"
        " (provider_id, issuer, client_id, client_secret, username_claim, authority)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (provider_id) DO UPDATE SET"
        " client_id = excluded.client_id, client_secret = excluded.client_secret,"
        " username_claim = excluded.username_claim, authority = excluded.authority",
        (
            row.id,
            row.issuer,
            row.client_id,
            row.client_secret,
            row.username_claim,
            row.authority,
        ),
    )


async def remove_upstream(connection: Connection, provider_id: UUID) -> bool:
    """It logs nobody in any more, and speaks for no domain; its identities keep its name."""
    cursor = await connection.execute("DELETE FROM upstream WHERE provider_id = %s", (provider_id,))
    await connection.execute(
        "UPDATE identity_provider SET domains = '{}' WHERE id = %s AND kind = 'oidc'",
        (provider_id,),
    )
    return cursor.rowcount == 1


async def begin(
    connection: Connection, state: str, browser: str, attempt: AttemptRow, *, lifetime_s: float
) -> None:
    """Store a login that begins; and remove some that never came back."""
    await connection.execute(
        "DELETE FROM upstream_attempt WHERE state_hash IN (SELECT state_hash FROM upstream_attempt"
        " WHERE begun_at < now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED)",
        (lifetime_s, _SWEPT_AT_ONCE),
    )
    await connection.execute(
        "INSERT INTO upstream_attempt (state_hash, browser_hash, provider_id, purpose, request,"
        " place, account_id, session_id, fresh, begun_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            digest(state),
            digest(browser),
            attempt.provider_id,
            attempt.purpose,
            attempt.request,
            attempt.place,
            attempt.account_id,
            attempt.session_id,
            attempt.fresh,
            attempt.begun_at,
        ),
    )


async def take(
    connection: Connection, state: str, browser: str, *, lifetime_s: float
) -> AttemptRow | None:
    """The login of ``state`` that this browser began; it is gone then, whatever comes of it."""
    async with connection.cursor(row_factory=class_row(AttemptRow)) as cursor:
        await cursor.execute(
            "DELETE FROM upstream_attempt WHERE state_hash = %s AND browser_hash = %s"
            " AND begun_at > now() - make_interval(secs => %s) RETURNING"
            " provider_id, purpose, request, place, account_id, session_id, fresh, begun_at",
            (digest(state), digest(browser), lifetime_s),
        )
        return await cursor.fetchone()


async def lock_accounts(connection: Connection) -> None:
    """One at a time: logins that may make or join accounts. Until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('nexus.upstream_subject'))")


async def known_subject(connection: Connection, provider_id: UUID, subject: str) -> Known | None:
    """Whom the upstream means."""
    async with connection.cursor(row_factory=class_row(Known)) as cursor:
        await cursor.execute(
            f"{_KNOWN} WHERE s.provider_id = %s AND s.subject = %s", (provider_id, subject)
        )
        return await cursor.fetchone()


async def known_username(connection: Connection, username: str) -> Known | None:
    """Who has this name."""
    async with connection.cursor(row_factory=class_row(Known)) as cursor:
        await cursor.execute(f"{_KNOWN} WHERE lower(i.username) = lower(%s)", (username,))
        return await cursor.fetchone()


async def set_subject(
    connection: Connection, *, provider_id: UUID, subject: str, identity_id: UUID
) -> None:
    """From now on the upstream means this identity by ``subject``."""
    await connection.execute(
        "INSERT INTO upstream_subject (provider_id, subject, identity_id) VALUES (%s, %s, %s)",
        (provider_id, subject, identity_id),
    )


async def describe(
    connection: Connection,
    identity_id: UUID,
    *,
    username: str | None,
    name: str | None,
    email: str | None,
    email_verified: bool,
    organization: str | None,
) -> None:
    """What the upstream says of an identity now; ``username`` None leaves the name as it is."""
    await connection.execute(
        "UPDATE identity SET username = coalesce(%s, username), name = %s, email = %s,"
        " email_verified = %s, organization = %s WHERE id = %s",
        (username, name, email, email_verified, organization, identity_id),
    )


async def end_emptied(connection: Connection, account_id: UUID, identity_id: UUID) -> None:
    """Delete an account whose only identity has become another's, with its browser sessions.

    What it gave to applications ends: they knew the identity as a person of its own.
    """
    await tokens.revoke_of_identity(connection, identity_id)
    await connection.execute("DELETE FROM account WHERE id = %s", (account_id,))
