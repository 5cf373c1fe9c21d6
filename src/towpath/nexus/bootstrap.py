"""The clients that a deployment needs before anyone can log in."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from towpath.nexus import hashing
from towpath.nexus.store import clients, scopes
from towpath.nexus.store.scopes import Dependency
from towpath.nexus.well_known import SERVICES, TIMERS_CLIENT, WEB_CLIENT, scope_id
from towpath.platform.database import Connection, Database
from towpath.platform.files import write_private

OPERATOR = "operator"
TRANSFER = "transfer"
RELAY = "relay"
TIMERS = "timers"
OWN_RELAY = "of this deployment"
"""The name of the relay that `towpath up` runs itself."""


class BootstrapError(Exception):
    """A file with a client's secret cannot be used; the message says which."""


@dataclass(frozen=True)
class ClientSecret:
    """A client's id and secret, as its 0600 file has them."""

    client_id: UUID
    client_secret: str

    def __repr__(self) -> str:
        return f"ClientSecret({self.client_id})"

    @classmethod
    def read(cls, file: Path) -> "ClientSecret | None":
        """From ``file``; None if there is no such file. Raises :class:`BootstrapError`."""
        try:
            document = json.loads(file.read_bytes())
            return cls(UUID(document["client_id"]), str(document["client_secret"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BootstrapError(f"{file} cannot be used; remove it to make a new one") from error

    def write(self, file: Path) -> None:
        """To ``file``, 0600."""
        document = {"client_id": str(self.client_id), "client_secret": self.client_secret}
        write_private(file, json.dumps(document, indent=2).encode() + b"\n")


async def bootstrap(database: Database, secrets_directory: Path) -> dict[str, ClientSecret]:
    """Make, at the first start, the operator's client (the first administrator) and the services'.

    Returns role -> client. Database and file agree afterwards, whichever was lost: a lost file gets
    a new secret, a lost row is made again from the file. Raises :class:`BootstrapError`.
    """
    made = {
        OPERATOR: await _ensure(
            database,
            secrets_directory / "operator.json",
            role=OPERATOR,
            name="Towpath operator",
            administrator=True,
        ),
        TRANSFER: await _ensure(
            database,
            secrets_directory / "transfer.json",
            role=TRANSFER,
            name="Towpath transfer service",
            administrator=False,
        ),
        RELAY: await _ensure(
            database,
            secrets_directory / "relay.json",
            role=RELAY,
            name="Towpath relay",
            administrator=False,
        ),
        TIMERS: await _ensure(
            database,
            secrets_directory / "timers.json",
            role=TIMERS,
            name="Timers",
            administrator=False,
            client_id=TIMERS_CLIENT,
        ),
    }
    async with database.transaction() as connection:
        await _ensure_services(connection, made[TRANSFER].client_id)
    return made


async def _ensure(
    database: Database,
    file: Path,
    *,
    role: str,
    name: str,
    administrator: bool,
    client_id: UUID | None = None,
) -> ClientSecret:
    """``client_id``: one that the Globus clients take for granted; else it is made up."""
    kept = ClientSecret.read(file)
    async with database.transaction() as connection:
        known = await clients.client_of_role(connection, role)
        if kept is None:
            kept = ClientSecret(known or client_id or uuid4(), hashing.new_secret())
        exists = await clients.client_exists(connection, kept.client_id)
        if not exists:
            await clients.add_client(
                connection,
                client_id=kept.client_id,
                name=name,
                secret=kept.client_secret,
                administrator=administrator,
            )
        elif await clients.authenticate(connection, kept.client_id, kept.client_secret) is None:
            await clients.set_secret(connection, kept.client_id, kept.client_secret)
        await clients.set_role(connection, role, kept.client_id)
        # before the commit: a client whose secret nobody knows would be of no use
        kept.write(file)
    return kept


async def _ensure_services(connection: Connection, transfer: UUID) -> None:
    """The clients and scopes that the Globus clients take for granted."""
    ids: dict[str, UUID] = {}
    for service in SERVICES:
        client_id = transfer if service.role == TRANSFER else service.fixed_client_id
        if not await clients.client_exists(connection, client_id):
            await clients.add_client(
                connection,
                client_id=client_id,
                name=service.name,
                secret=None,
            )
        await clients.make_service(connection, client_id, service.resource_server)
        for one in service.scopes:
            ids[one.scope] = scope_id(one.scope)
            await scopes.ensure(
                connection,
                scope_id=ids[one.scope],
                client_id=client_id,
                scope_string=one.scope,
                name=one.name,
                description=one.description,
            )
    for service in SERVICES:
        for one in service.scopes:
            needs = [
                # the service acts when the person has long gone
                Dependency(ids[one.scope], ids[name], optional=False, requires_refresh_token=True)
                for name in one.needs
            ]
            await scopes.set_dependencies(connection, ids[one.scope], needs)


async def ensure_web_client(connection: Connection, redirect_uri: str) -> None:
    """The web interface's OAuth client, and where it has its answers: a deployment may move."""
    if not await clients.client_exists(connection, WEB_CLIENT):
        await clients.add_client(
            connection,
            client_id=WEB_CLIENT,
            name="Towpath web interface",
            secret=None,
            client_type="public_webapp_client",
        )
    await clients.update(connection, WEB_CLIENT, {"redirect_uris": [redirect_uri]})
