"""Clients."""

import hmac
from dataclasses import dataclass
from uuid import UUID

from towpath.nexus.hashing import digest
from towpath.nexus.store import identities
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Client:
    """A program that can authenticate itself."""

    id: UUID
    name: str
    administrator: bool


async def add_client(
    connection: Connection, *, client_id: UUID, name: str, secret: str, administrator: bool
) -> None:
    """Make a client and the identity that it has itself (same id)."""
    await connection.execute(
        "INSERT INTO client (id, name, secret_hash, administrator) VALUES (%s, %s, %s, %s)",
        (client_id, name, digest(secret), administrator),
    )
    await identities.add_identity(
        connection,
        identity_id=client_id,
        username=f"{client_id}@{identities.CLIENTS_DOMAIN}",
        name=name,
        provider=identities.CLIENTS_PROVIDER,
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
