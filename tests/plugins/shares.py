"""Guest collections and their rules, made in the database as the API makes them; and guests of a
whole deployment."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx

from towpath.demo.deployment import Deployment
from towpath.nexus.store import clients
from towpath.platform.database import Connection, Database
from towpath.platform.settings import DataDirectory
from towpath.transfer.rights import PrincipalType, Who
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint, EntityType

T = TypeVar("T")
SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"

_KINDS = {
    EntityType.SERVER: EntityType.SERVER_SHARE,
    EntityType.PERSONAL: EntityType.PERSONAL_SHARE,
    EntityType.COLLECTION: EntityType.COLLECTION_SHARE,
}


async def share(
    conn: Connection, host: Endpoint, sharer: Who, path: str, *, name: str = "results"
) -> Endpoint:
    """A guest collection: `path` of `host`."""
    made = Endpoint(
        id=uuid4(),
        owner_id=sharer.id,
        owner_string=sharer.username or "somebody",
        display_name=name,
        host=host.host,
        port=host.port,
        subject=host.subject,
        data_hosts=host.data_hosts,
        public=False,
        details={},
        entity_type=_KINDS[host.entity_type],
        host_endpoint_id=host.id,
        share_path=path.rstrip("/"),
    )
    await endpoints.insert(conn, made, {})
    found = await endpoints.get(conn, made.id)
    assert found is not None
    return found


async def allow(
    conn: Connection,
    guest: Endpoint | UUID,
    path: str = "/",
    permissions: str = "r",
    *,
    who: Who | None = None,
    group: UUID | None = None,
    expires_at: datetime | None = None,
) -> UUID:
    """A rule, for somebody, for a group, or for all who are logged in; its id."""
    rule_id = uuid4()
    kind, principal = PrincipalType.ALL, None
    if who is not None:
        kind, principal = PrincipalType.IDENTITY, who.id
    elif group is not None:
        kind, principal = PrincipalType.GROUP, group
    guest_id = guest if isinstance(guest, UUID) else guest.id
    await conn.execute(
        "INSERT INTO access_rule (id, endpoint_id, principal_type, principal, path, permissions,"
        " created_by, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (rule_id, guest_id, kind, principal, path, permissions, uuid4(), expires_at),
    )
    return rule_id


async def take_back(conn: Connection, rule_id: UUID) -> None:
    """The rule is gone."""
    await conn.execute("DELETE FROM access_rule WHERE id = %s", (rule_id,))


def in_store(
    data_dir: Path, act: Callable[[Connection], Awaitable[T]], schema: str = "transfer"
) -> T:
    """Do something in the database of a deployment."""
    url = DataDirectory(data_dir).read_state()["database_url"]

    async def run() -> T:
        async with (
            Database(url, schema=schema, max_size=1) as database,
            database.transaction() as conn,
        ):
            return await act(conn)

    return asyncio.run(run())


class Guest(Deployment):
    """The same service as somebody else sees it."""

    def __init__(self, deployment: Deployment, client: httpx.Client, sub: UUID) -> None:
        self.data_dir = deployment.data_dir
        self.url = deployment.url
        self._client = client
        self.sub = sub

    @classmethod
    def new(cls, deployment: Deployment) -> "Guest":
        """Somebody new; close his `client`."""
        client_id, secret = uuid4(), str(uuid4()) * 2
        in_store(
            deployment.data_dir,
            lambda conn: clients.add_client(
                conn, client_id=client_id, name="Guest", secret=secret, administrator=False
            ),
            "nexus",
        )
        client = httpx.Client(
            base_url=deployment.url,
            verify=ssl.create_default_context(cafile=deployment.data_dir / "tls" / "ca.pem"),
            timeout=60,
            trust_env=False,
        )
        answer = client.post(
            "/v2/oauth2/token",
            data={"grant_type": "client_credentials", "scope": SCOPE},
            auth=(str(client_id), secret),
        )
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return cls(deployment, client, client_id)

    @property
    def who(self) -> Who:
        """As rules name him."""
        return Who.alone(self.sub)

    def refused(self, method: str, route: str, **more: Any) -> str:
        """The code with which something is not done, and what is said."""
        answer = self.client.request(method, f"/v0.10/{route}", **more)
        assert answer.is_error, answer.text
        return f"{answer.status_code} {answer.json()['code']}: {answer.json()['message']}"

    def refused_transfer(self, source: str, destination: str, *items: tuple[str, str]) -> str:
        """The same of a transfer of trees."""
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": source,
            "destination_endpoint": destination,
            "DATA": [
                {"DATA_TYPE": "transfer_item", "source_path": here, "destination_path": there}
                | {"recursive": True}
                for here, there in items
            ],
        }
        return self.refused("POST", "transfer", json=document)
