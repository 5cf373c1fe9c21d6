"""Identities, and the providers that vouch for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection

CLIENTS_PROVIDER = UUID("2f6e1f0e-6e0b-5b8e-9d2c-0c8f1f1f7a55")
"""The identity provider of clients' own identities."""
CLIENTS_DOMAIN = "clients.auth.globus.org"
"""Fixed in the Globus clients' world, like the scope strings."""

Status = Literal["used", "unused", "private", "closed"]
ProviderKind = Literal["local", "clients", "oidc"]


@dataclass(frozen=True)
class Identity:
    """Somebody: a name at an identity provider."""

    id: UUID
    username: str
    name: str | None
    email: str | None
    organization: str | None
    identity_provider: UUID
    created_at: datetime
    account_id: UUID | None = None
    """The person's account; None for a client, and while nobody has logged in with it."""
    status: Status = "used"
    email_verified: bool = False
    last_authentication: datetime | None = None
    provider_name: str = ""
    """The provider's, to be shown."""


@dataclass(frozen=True)
class Provider:
    """Who vouches for identities whose names end in its domains."""

    id: UUID
    name: str
    short_name: str
    kind: ProviderKind
    domains: list[str]
    alternative_names: list[str]


_IDENTITY = """
SELECT i.id, i.username, i.name, i.email, i.organization, i.identity_provider, i.created_at,
       i.account_id, i.status, i.email_verified, i.last_authentication, p.name AS provider_name
FROM identity i JOIN identity_provider p ON p.id = i.identity_provider
"""
_BY_ID = f"{_IDENTITY} WHERE i.id = ANY(%s)"
_BY_USERNAME = f"{_IDENTITY} WHERE lower(i.username) = ANY(%s)"
_BY_ACCOUNT = f"{_IDENTITY} WHERE i.account_id = %s ORDER BY i.created_at, i.id"
_BY_EMAIL = f"{_IDENTITY} WHERE lower(i.email) = lower(%s) ORDER BY i.created_at, i.id LIMIT %s"
_PROVIDER = "SELECT id, name, short_name, kind, domains, alternative_names FROM identity_provider"


async def _identities(connection: Connection, query: str, *values: object) -> list[Identity]:
    async with connection.cursor(row_factory=class_row(Identity)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def identities_by_id(connection: Connection, ids: Sequence[UUID]) -> list[Identity]:
    """Those of ``ids`` that exist, in no order."""
    return await _identities(connection, _BY_ID, list(ids))


async def identities_by_username(
    connection: Connection, usernames: Sequence[str]
) -> list[Identity]:
    """Those of ``usernames`` that exist, whatever their case."""
    return await _identities(connection, _BY_USERNAME, [name.lower() for name in usernames])


async def identities_of_account(connection: Connection, account_id: UUID) -> list[Identity]:
    """The account's identity set, the oldest first."""
    return await _identities(connection, _BY_ACCOUNT, account_id)


async def identities_by_email(connection: Connection, email: str, limit: int) -> list[Identity]:
    """Those with this address, whatever its case; at most ``limit``, the oldest first."""
    return await _identities(connection, _BY_EMAIL, email, limit)


async def identity_set(connection: Connection, identity_id: UUID) -> list[UUID]:
    """All identities of the same person, this one first; itself alone without an account."""
    cursor = await connection.execute(
        "SELECT other.id FROM identity one JOIN identity other"
        " ON other.id = one.id OR other.account_id = one.account_id"
        " WHERE one.id = %s ORDER BY other.id <> one.id, other.created_at, other.id",
        (identity_id,),
    )
    return [row["id"] for row in await cursor.fetchall()]


async def add_identity(
    connection: Connection,
    *,
    identity_id: UUID,
    username: str,
    provider: UUID,
    name: str | None = None,
    email: str | None = None,
    organization: str | None = None,
    status: Status = "used",
    email_verified: bool = False,
) -> None:
    """Make an identity without an account. Raises ``psycopg.errors.UniqueViolation``."""
    await connection.execute(
        "INSERT INTO identity (id, username, identity_provider, name, email, organization, status,"
        " email_verified) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (identity_id, username, provider, name, email, organization, status, email_verified),
    )


async def provision(
    connection: Connection, *, identity_id: UUID, username: str, provider: UUID
) -> None:
    """Make an unused identity, unless there is one of that name."""
    await connection.execute(
        "INSERT INTO identity (id, username, identity_provider, status)"
        " VALUES (%s, %s, %s, 'unused') ON CONFLICT (lower(username)) DO NOTHING",
        (identity_id, username, provider),
    )


async def claim(
    connection: Connection,
    identity_id: UUID,
    *,
    name: str | None,
    email: str | None,
    organization: str | None,
    email_verified: bool,
) -> bool:
    """Fill in an unused identity; whether it was one."""
    cursor = await connection.execute(
        "UPDATE identity SET name = %s, email = %s, organization = %s, email_verified = %s,"
        " status = 'used' WHERE id = %s AND status = 'unused' AND account_id IS NULL",
        (name, email, organization, email_verified, identity_id),
    )
    return cursor.rowcount == 1


async def describe(
    connection: Connection, identity_id: UUID, *, name: str | None, organization: str | None
) -> None:
    """Replace what the person tells of themselves."""
    await connection.execute(
        "UPDATE identity SET name = %s, organization = %s WHERE id = %s",
        (name, organization, identity_id),
    )


async def set_email(connection: Connection, identity_id: UUID, email: str) -> None:
    """Replace the address, by one that was verified."""
    await connection.execute(
        "UPDATE identity SET email = %s, email_verified = true WHERE id = %s", (email, identity_id)
    )


async def providers(connection: Connection) -> list[Provider]:
    """All of them, by name; a deployment has a few."""
    async with connection.cursor(row_factory=class_row(Provider)) as cursor:
        await cursor.execute(f"{_PROVIDER} ORDER BY name, id")
        return await cursor.fetchall()


async def local_provider(connection: Connection) -> Provider | None:
    """The deployment's own, whose first domain is the one of new names."""
    async with connection.cursor(row_factory=class_row(Provider)) as cursor:
        await cursor.execute(f"{_PROVIDER} WHERE kind = 'local'")
        return await cursor.fetchone()


async def set_local_provider(
    connection: Connection, *, provider_id: UUID, name: str, domain: str
) -> None:
    """Make the deployment's own provider with ``provider_id``, or give it this name and domain.

    The domains that it had stay its own: there are names that end in them.
    """
    await connection.execute(
        "INSERT INTO identity_provider (id, name, short_name, kind, domains)"
        " VALUES (%(id)s, %(name)s, %(name)s, 'local', ARRAY[%(domain)s::text])"
        " ON CONFLICT (kind) WHERE kind = 'local' DO UPDATE SET name = excluded.name,"
        " short_name = excluded.short_name,"
        " domains = excluded.domains || array_remove(identity_provider.domains, %(domain)s::text)",
        {"id": provider_id, "name": name, "domain": domain.lower()},
    )


async def provider_of_domain(connection: Connection, domain: str) -> Provider | None:
    """Who vouches for names that end in ``domain``."""
    async with connection.cursor(row_factory=class_row(Provider)) as cursor:
        await cursor.execute(
            f"{_PROVIDER} WHERE %s = ANY (domains)"
            " ORDER BY kind = 'local' DESC, created_at LIMIT 1",
            (domain.lower(),),
        )
        return await cursor.fetchone()
