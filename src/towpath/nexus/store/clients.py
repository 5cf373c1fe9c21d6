"""Clients and identities."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

CLIENTS_PROVIDER = UUID("2f6e1f0e-6e0b-5b8e-9d2c-0c8f1f1f7a55")
"""The identity provider of clients' own identities."""
USERNAME_DOMAIN = "clients.auth.globus.org"
"""Fixed in the Globus clients' world, like the scope strings."""


@dataclass(frozen=True)
class Client:
    """A program that can authenticate itself."""

    id: UUID
    name: str
    administrator: bool


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


_BY_ID = """
SELECT id, username, name, email, organization, identity_provider, created_at FROM identity
WHERE id = ANY(%s)
"""
_BY_USERNAME = """
SELECT id, username, name, email, organization, identity_provider, created_at FROM identity
WHERE lower(username) IN (SELECT lower(wanted) FROM unnest(%s::text[]) AS wanted)
"""


async def add_client(
    connection: Connection, *, client_id: UUID, name: str, secret: str, administrator: bool
) -> None:
    """Make a client and the identity that it has itself (same id)."""
    await connection.execute(
        "INSERT INTO client (id, name, secret_hash, administrator) VALUES (%s, %s, %s, %s)",
        (client_id, name, digest(secret), administrator),
    )
    await connection.execute(
        "INSERT INTO identity (id, username, name, identity_provider) VALUES (%s, %s, %s, %s)",
        (client_id, f"{client_id}@{USERNAME_DOMAIN}", name, CLIENTS_PROVIDER),
    )


async def set_secret(connection: Connection, client_id: UUID, secret: str) -> None:
    """Replace a client's secret; its tokens go with the old one."""
    await connection.execute(
        "UPDATE client SET secret_hash = %s WHERE id = %s", (digest(secret), client_id)
    )
    await connection.execute("DELETE FROM token WHERE client_id = %s", (client_id,))


async def authenticate(connection: Connection, client_id: UUID, secret: str) -> Client | None:
    """The client, if ``secret`` is its secret."""
    cursor = await connection.execute(
        "SELECT id, name, administrator, secret_hash FROM client WHERE id = %s", (client_id,)
    )
    row = await cursor.fetchone()
    if row is None or not hmac.compare_digest(row["secret_hash"], digest(secret)):
        return None
    return Client(row["id"], row["name"], row["administrator"])


async def client_of_role(connection: Connection, role: str) -> UUID | None:
    """The client that is the deployment's ``role`` (``operator``, ``transfer``)."""
    cursor = await connection.execute(
        "SELECT client_id FROM service_client WHERE role = %s", (role,)
    )
    row = await cursor.fetchone()
    return None if row is None else row["client_id"]


async def set_role(connection: Connection, role: str, client_id: UUID) -> None:
    """Make a client the deployment's ``role``."""
    await connection.execute(
        "INSERT INTO service_client (role, client_id) VALUES (%s, %s)"
        " ON CONFLICT (role) DO UPDATE SET client_id = excluded.client_id",
        (role, client_id),
    )


async def client_exists(connection: Connection, client_id: UUID) -> bool:
    """Whether there is such a client."""
    cursor = await connection.execute("SELECT 1 FROM client WHERE id = %s", (client_id,))
    return await cursor.fetchone() is not None


async def identities_by_id(connection: Connection, ids: Sequence[UUID]) -> list[Identity]:
    """Those of ``ids`` that exist, in no order."""
    async with connection.cursor(row_factory=class_row(Identity)) as cursor:
        await cursor.execute(_BY_ID, (list(ids),))
        return await cursor.fetchall()


async def identities_by_username(
    connection: Connection, usernames: Sequence[str]
) -> list[Identity]:
    """Those of ``usernames`` that exist, whatever their case."""
    async with connection.cursor(row_factory=class_row(Identity)) as cursor:
        await cursor.execute(_BY_USERNAME, (list(usernames),))
        return await cursor.fetchall()
