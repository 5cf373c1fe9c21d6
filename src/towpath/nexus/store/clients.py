"""Clients: programs that ask for tokens, and the secrets they prove themselves with."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from towpath.nexus.hashing import digest
from towpath.nexus.store import identities, tokens
from towpath.nexus.store.columns import set_columns
from towpath.platform.database import Connection

_SERVICE_TYPES = frozenset(
    {"resource_server", "hybrid_confidential_client_resource_server", "globus_connect_server"}
)
DEPENDENT_TOKEN = "urn:globus:auth:grant_type:dependent_token"  # noqa: S105 - a name
"""The grant by which a service gets tokens for what it was asked to do."""
INSTALLED = "public_installed_client"
PUBLIC_TYPES = frozenset({INSTALLED, "public_webapp_client"})
"""Programs that cannot keep a secret (RFC 6749, 2.1)."""
UNUSED_KEPT_H = 24
"""A client that a program made for itself is removed if nobody has logged in with it by then."""
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Client:
    """A registered client (RFC 6749, 2)."""

    id: UUID
    name: str
    administrator: bool
    client_type: str = "client_identity"
    resource_server: str | None = None
    visibility: str = "private"
    redirect_uris: Sequence[str] = ()
    terms_and_conditions: str | None = None
    privacy_policy: str | None = None
    required_idp: UUID | None = None
    preselect_idp: UUID | None = None
    prompt_for_named_grant: bool = True
    userinfo_from_effective_identity: bool = True
    template_id: UUID | None = None
    parent_id: UUID | None = None
    project_id: UUID | None = None
    created_at: datetime | None = None

    @property
    def public(self) -> bool:
        """Whether it has no secret; it proves its requests by PKCE alone."""
        return self.client_type in PUBLIC_TYPES

    @property
    def is_service(self) -> bool:
        """Whether others ask for tokens for it."""
        return self.client_type in _SERVICE_TYPES

    @property
    def grant_types(self) -> Sequence[str]:
        """What it may ask for at the token endpoint (RFC 7591, 2)."""
        if self.public:
            return ("authorization_code", "refresh_token")
        if self.template_id is not None:
            # anybody makes such a one: it acts for people who log in with it, and not for itself
            return ("authorization_code", "refresh_token")
        own = ("authorization_code", "client_credentials", "refresh_token")
        return (*own, DEPENDENT_TOKEN) if self.is_service else own

    @property
    def server_name(self) -> str:
        """What the tokens for its scopes name as their resource server."""
        return self.resource_server or str(self.id)


@dataclass(frozen=True)
class Credential:
    """A secret of a client, without the secret."""

    id: UUID
    client_id: UUID
    name: str
    created_at: datetime


_COLUMNS = """
SELECT c.id, c.name, c.administrator, c.client_type, c.resource_server, c.visibility,
       c.redirect_uris, c.terms_and_conditions, c.privacy_policy, c.required_idp, c.preselect_idp,
       c.prompt_for_named_grant, c.userinfo_from_effective_identity, c.template_id, c.parent_id,
       c.project_id, c.created_at
FROM client c
"""
SETTABLE = (
    "name",
    "visibility",
    "redirect_uris",
    "terms_and_conditions",
    "privacy_policy",
    "required_idp",
    "preselect_idp",
    "prompt_for_named_grant",
    "userinfo_from_effective_identity",
)
"""Columns that whoever manages a client may change."""


async def add_client(
    connection: Connection,
    *,
    client_id: UUID,
    name: str,
    secret: str | None,
    administrator: bool = False,
    client_type: str = "client_identity",
    resource_server: str | None = None,
    template_id: UUID | None = None,
    parent_id: UUID | None = None,
    project_id: UUID | None = None,
) -> None:
    """Make a client and the identity that it has itself (same id)."""
    await connection.execute(
        "INSERT INTO client (id, name, administrator, client_type, resource_server, template_id,"
        " parent_id, project_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            client_id,
            name,
            administrator,
            client_type,
            resource_server,
            template_id,
            parent_id,
            project_id,
        ),
    )
    if secret is not None:
        await add_credential(connection, client_id, name="first", secret=secret)
    await identities.add_identity(
        connection,
        identity_id=client_id,
        username=f"{client_id}@{identities.CLIENTS_DOMAIN}",
        name=name,
        provider=identities.CLIENTS_PROVIDER,
    )


async def find(connection: Connection, client_id: UUID) -> Client | None:
    """The client."""
    found = await find_all(connection, [client_id])
    return found[0] if found else None


async def find_all(connection: Connection, ids: Sequence[UUID]) -> list[Client]:
    """Those of ``ids`` that exist, in no order."""
    async with connection.cursor(row_factory=class_row(Client)) as cursor:
        await cursor.execute(f"{_COLUMNS} WHERE c.id = ANY(%s)", (list(ids),))
        return await cursor.fetchall()


async def of_projects(connection: Connection, project_ids: Sequence[UUID]) -> list[Client]:
    """The clients of some projects, and their child clients, by name."""
    async with connection.cursor(row_factory=class_row(Client)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} LEFT JOIN client parent ON parent.id = c.parent_id"
            " WHERE c.project_id = ANY(%(ids)s) OR parent.project_id = ANY(%(ids)s)"
            " ORDER BY c.name, c.id",
            {"ids": list(project_ids)},
        )
        return await cursor.fetchall()


async def registered(connection: Connection) -> list[Client]:
    """Those that somebody has registered, by name: no parts of the deployment, and none that
    programs made for themselves.
    """
    async with connection.cursor(row_factory=class_row(Client)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} WHERE c.template_id IS NULL AND c.resource_server IS NULL"  # noqa: S608 - our own words
            " AND NOT c.administrator AND NOT EXISTS"
            " (SELECT 1 FROM service_client s WHERE s.client_id = c.id) ORDER BY c.name, c.id"
        )
        return await cursor.fetchall()


async def of_parent(connection: Connection, parent_id: UUID) -> list[Client]:
    """A client's child clients, by name."""
    async with connection.cursor(row_factory=class_row(Client)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} WHERE c.parent_id = %s ORDER BY c.name, c.id", (parent_id,)
        )
        return await cursor.fetchall()


async def update(connection: Connection, client_id: UUID, changes: Mapping[str, Any]) -> None:
    """Set some of SETTABLE."""
    await set_columns(connection, "client", client_id, changes, SETTABLE)
    if "name" in changes:
        await connection.execute(
            "UPDATE identity SET name = %s WHERE id = %s", (changes["name"], client_id)
        )


async def delete(connection: Connection, client_id: UUID) -> None:
    """Delete a client, with its child clients, scopes and tokens, and with their identities."""
    cursor = await connection.execute(
        "WITH RECURSIVE doomed AS (SELECT id FROM client WHERE id = %s"
        " UNION SELECT c.id FROM client c JOIN doomed d ON c.parent_id = d.id)"
        " SELECT id FROM doomed",
        (client_id,),
    )
    ids = [row["id"] for row in await cursor.fetchall()]
    await tokens.revoke_of_services(connection, ids)
    await connection.execute("DELETE FROM client WHERE id = ANY(%s)", (ids,))
    await connection.execute("DELETE FROM identity WHERE id = ANY(%s)", (ids,))


async def add_credential(
    connection: Connection, client_id: UUID, *, name: str, secret: str
) -> Credential:
    """Give a client one more secret."""
    async with connection.cursor(row_factory=class_row(Credential)) as cursor:
        await cursor.execute(
            "INSERT INTO client_credential (id, client_id, name, secret_hash)"
            " VALUES (%s, %s, %s, %s) RETURNING id, client_id, name, created_at",
            (uuid4(), client_id, name, digest(secret)),
        )
        made = await cursor.fetchone()
    assert made is not None
    return made


async def credentials(connection: Connection, client_id: UUID) -> list[Credential]:
    """A client's secrets, the oldest first."""
    async with connection.cursor(row_factory=class_row(Credential)) as cursor:
        await cursor.execute(
            "SELECT id, client_id, name, created_at FROM client_credential WHERE client_id = %s"
            " ORDER BY created_at, id",
            (client_id,),
        )
        return await cursor.fetchall()


async def delete_credential(
    connection: Connection, client_id: UUID, credential_id: UUID
) -> Credential | None:
    """Delete one of a client's secrets; None if it has no such one."""
    async with connection.cursor(row_factory=class_row(Credential)) as cursor:
        await cursor.execute(
            "DELETE FROM client_credential WHERE id = %s AND client_id = %s"
            " RETURNING id, client_id, name, created_at",
            (credential_id, client_id),
        )
        return await cursor.fetchone()


async def set_secret(connection: Connection, client_id: UUID, secret: str) -> None:
    """Replace a client's secrets by one; its grants go with the old ones."""
    await connection.execute("DELETE FROM client_credential WHERE client_id = %s", (client_id,))
    await add_credential(connection, client_id, name="first", secret=secret)
    await connection.execute("DELETE FROM oauth_grant WHERE client_id = %s", (client_id,))


async def authenticate(connection: Connection, client_id: UUID, secret: str) -> Client | None:
    """The client, if ``secret`` is one of its secrets."""
    cursor = await connection.execute(
        "SELECT secret_hash FROM client_credential WHERE client_id = %s", (client_id,)
    )
    wanted = digest(secret)
    known = [row["secret_hash"] for row in await cursor.fetchall()]
    if not any([hmac.compare_digest(one, wanted) for one in known]):  # noqa: C419 - all, always
        return None
    return await find(connection, client_id)


async def note_use(connection: Connection, client_id: UUID) -> None:
    """Remember that somebody logs in with it: it is not swept any more."""
    await connection.execute(
        "UPDATE client SET used_at = now() WHERE id = %s AND used_at IS NULL", (client_id,)
    )


async def unused_since(connection: Connection, seconds: float) -> int:
    """How many clients programs have made for themselves in that time, and not used."""
    cursor = await connection.execute(
        "SELECT count(*) AS n FROM client WHERE template_id IS NOT NULL AND used_at IS NULL"
        " AND created_at > now() - make_interval(secs => %s)",
        (seconds,),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["n"])


async def sweep_unused(connection: Connection) -> None:
    """Remove some of the clients that programs made for themselves, and that nobody has used."""
    cursor = await connection.execute(
        "DELETE FROM client WHERE id IN (SELECT id FROM client WHERE template_id IS NOT NULL"
        " AND used_at IS NULL AND created_at < now() - make_interval(hours => %s) LIMIT %s"
        " FOR UPDATE SKIP LOCKED) RETURNING id",
        (UNUSED_KEPT_H, _SWEPT_AT_ONCE),
    )
    ids = [row["id"] for row in await cursor.fetchall()]
    await connection.execute("DELETE FROM identity WHERE id = ANY(%s)", (ids,))


async def client_of_role(connection: Connection, role: str) -> UUID | None:
    """The client that is the deployment's ``role`` (``operator``, ``transfer``)."""
    cursor = await connection.execute(
        "SELECT client_id FROM service_client WHERE role = %s", (role,)
    )
    row = await cursor.fetchone()
    return None if row is None else row["client_id"]


async def is_service(connection: Connection, client_id: UUID) -> bool:
    """Whether the client is a part of the deployment."""
    cursor = await connection.execute(
        "SELECT 1 FROM service_client WHERE client_id = %s AND role <> 'operator'", (client_id,)
    )
    return await cursor.fetchone() is not None


async def set_role(connection: Connection, role: str, client_id: UUID) -> None:
    """Make a client the deployment's ``role``."""
    await connection.execute(
        "INSERT INTO service_client (role, client_id) VALUES (%s, %s)"
        " ON CONFLICT (role) DO UPDATE SET client_id = excluded.client_id",
        (role, client_id),
    )


async def make_service(connection: Connection, client_id: UUID, name: str) -> None:
    """Make the client the one whose scopes' tokens name ``name`` as their resource server."""
    await connection.execute(
        "UPDATE client SET resource_server = NULL WHERE resource_server = %s AND id <> %s",
        (name, client_id),
    )
    await connection.execute(
        "UPDATE client SET resource_server = %s,"
        " client_type = 'hybrid_confidential_client_resource_server' WHERE id = %s",
        (name, client_id),
    )


async def client_exists(connection: Connection, client_id: UUID) -> bool:
    """Whether there is such a client."""
    cursor = await connection.execute("SELECT 1 FROM client WHERE id = %s", (client_id,))
    return await cursor.fetchone() is not None
