"""Nodes of Connect endpoints: how a computer becomes one, what it is told, and what it tells."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog

from towpath import __version__
from towpath.platform.database import Connection, Database
from towpath.transfer.connect import versions
from towpath.transfer.connect.collections import Reported, take_over
from towpath.transfer.connect.keys import HOST_LIFETIME, SERVICE_SUBJECT, ConnectKeys
from towpath.transfer.connect.managed import Root, agents_name, reported_of
from towpath.transfer.connect.setup_keys import VALID_S, digest, new_secret
from towpath.transfer.store import circuits, connect, endpoints, relays
from towpath.transfer.store.connect import Kind, Node
from towpath.transfer.store.endpoints import Endpoint, EntityType
from towpath.tunnel.names import CONNECT_PORT, connect_host

CONFIGURATION_INTERVAL_S = 3600
"""How often agents ask for their configuration: twice before a new key of grants signs, and a relay
that was added is known within it."""
MAX_NODES = 100
"""Of a server endpoint."""

_log = structlog.stdlib.get_logger("towpath.connect")


class BadSetup(Exception):  # noqa: N818 - an answer, not a fault
    """The node cannot be set up so; the text says what to do."""


class SetupKeyInvalid(BadSetup):
    """The setup key is not good (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A computer that wants to be a node."""

    setup_key: str = field(repr=False)
    tunnel_key: str
    certificate_request: str
    version: str
    node_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a node tells of itself; None: nothing of that."""

    version: str
    node_name: str
    paused: bool
    draining: bool
    folders: Sequence[Mapping[str, Any]]
    collections: Sequence[Reported] | None
    mappings: Sequence[Mapping[str, Any]] | None
    roots: Sequence[Root] | None = None


@dataclass(frozen=True, slots=True)
class SetUp:
    """A new node, with its token, which nobody is told again."""

    endpoint: Endpoint
    node: Node
    token: str = field(repr=False)


class Nodes:
    """All nodes of the deployment."""

    def __init__(self, database: Database, keys: ConnectKeys) -> None:
        self._database = database
        self._keys = keys

    async def new_setup_key(self, conn: Connection, endpoint_id: UUID) -> str:
        """The secret of a new setup key, in place of the one before."""
        secret = new_secret()
        await connect.put_setup_key(conn, endpoint_id, digest(secret), valid_s=VALID_S)
        return secret

    async def set_up(self, asked: Asked) -> SetUp:
        """Make a node of who shows a setup key. Raises SetupKeyInvalid, BadSetup, TooOld."""
        versions.check(asked.version, __version__)
        token, node_id = new_secret(), uuid4()
        async with self._database.transaction() as conn:
            key = await connect.spend_setup_key(conn, digest(asked.setup_key))
            if key is None:
                raise SetupKeyInvalid(
                    "This setup key is not good any more: it was used, replaced, or is older than"
                    " a week. Ask the owner of the endpoint for a new one"
                )
            endpoint = await endpoints.get(conn, key.endpoint_id, lock=True)
            assert endpoint is not None, "endpoints are never removed from the table"
            if key.kind == "personal":
                await connect.remove_nodes(conn, endpoint.id)
            elif await connect.count_nodes(conn, endpoint.id) >= MAX_NODES:
                raise BadSetup(f"The endpoint has {MAX_NODES} nodes already")
            await connect.add_node(
                conn,
                node_id=node_id,
                endpoint_id=endpoint.id,
                name=asked.node_name,
                token_hash=digest(token),
                tunnel_key=asked.tunnel_key,
                version=asked.version,
                certificate=await self._certificate(endpoint.id, asked.certificate_request),
            )
            node = await connect.node(conn, node_id)
        assert node is not None, "it was made just now"
        _log.info("connect.set_up", node=str(node_id), endpoint=str(endpoint.id), kind=node.kind)
        return SetUp(endpoint, node, token)

    async def renew_certificate(self, node: Node, request: str) -> None:
        """Another host certificate for a node. Raises BadSetup."""
        certificate = await self._certificate(node.endpoint_id, request)
        async with self._database.connection() as conn:
            await connect.renew_certificate(conn, node.id, certificate)

    async def _certificate(self, endpoint_id: UUID, request: str) -> str:
        authority = await self._keys.authority()
        host = connect_host(endpoint_id)
        try:
            pem = await asyncio.to_thread(
                authority.certify_host, request.encode(), host, self._keys.now(), HOST_LIFETIME
            )
        except ValueError as error:
            raise BadSetup(f"certificate_request: {error}") from None
        return pem.decode("ascii")

    async def report(self, node: Node, told: Report) -> None:
        """Take over what a node tells. Raises TooOld."""
        versions.check(told.version, __version__)
        host = connect_host(node.endpoint_id)
        async with self._database.transaction() as conn:
            await connect.report(
                conn,
                node.id,
                name=told.node_name,
                version=told.version,
                paused=told.paused,
                draining=told.draining,
                folders=told.folders,
            )
            if node.kind == "server" and told.collections is not None:
                endpoint = await endpoints.get(conn, node.endpoint_id)
                assert endpoint is not None, "endpoints are never removed from the table"
                await take_over(conn, endpoint, told.collections)
            if node.kind == "server" and told.mappings is not None:
                await connect.set_mappings(conn, node.endpoint_id, told.mappings)
            if node.kind == "server" and told.roots is not None:
                roots = [one.to_document() for one in told.roots]
                await connect.set_roots(conn, node.endpoint_id, roots)
            if not told.paused and not told.draining:
                await circuits.close_now(conn, host, CONNECT_PORT)

    async def configuration(self, node_id: UUID) -> dict[str, Any]:
        """All that an agent needs to know of the service."""
        keys = await self._keys.keys()
        authority = await self._keys.authority()
        async with self._database.connection() as conn:
            node = await connect.node(conn, node_id)
            assert node is not None, "nodes are never removed from the table"
            endpoint = await endpoints.get(conn, node.endpoint_id)
            assert endpoint is not None, "endpoints are never removed from the table"
            alive = await relays.alive(conn)
            parts = await endpoints.collections(conn, endpoint.id)
        return {
            "DATA_TYPE": "connect_configuration",
            "issuer": self._keys.issuer,
            "audience": str(endpoint.id),
            "kind": node.kind,
            "display_name": endpoint.display_name,
            "keys": keys.published.to_jwks(),
            "authority": authority.certificate_pem,
            "service_subject": SERVICE_SUBJECT,
            "host": connect_host(endpoint.id),
            "host_certificate": node.certificate,
            "relays": [
                {"host": one.host, "port": one.port, "host_key": one.host_key} for one in alive
            ],
            "collections": [
                {
                    "id": str(one.id),
                    "name": agents_name(one),
                    "base_path": one.base_path,
                    "access": reported_of(one)["access"],
                }
                for one in parts
                if not one.made_by_manager
            ],
            # apart: an agent that does not know of such must not take them for its own
            "managed_collections": [
                {
                    "id": str(one.id),
                    "name": one.display_name,
                    "base_path": one.base_path,
                    "access": one.access,
                }
                for one in parts
                if one.made_by_manager
            ],
            "versions": {
                "service": __version__,
                "oldest_served": versions.oldest_served(__version__),
                "warning": versions.warning(node.version, __version__),
            },
            "interval_s": CONFIGURATION_INTERVAL_S,
        }


def new_endpoint(
    *,
    kind: Kind,
    endpoint_id: UUID,
    owner_id: UUID,
    owner_string: str,
    display_name: str,
    public: bool,
    details: dict[str, Any],
) -> Endpoint:
    """A Connect endpoint as it is before any node is set up."""
    return Endpoint(
        id=endpoint_id,
        owner_id=owner_id,
        owner_string=owner_string,
        display_name=display_name,
        host=connect_host(endpoint_id),
        port=CONNECT_PORT,
        subject=None,
        data_hosts=(),
        public=public,
        details=details,
        entity_type=EntityType.PERSONAL if kind == "personal" else EntityType.CONNECT,
    )


def key_ends(now: datetime) -> datetime:
    """Until when a setup key that is made now is good."""
    return now + timedelta(seconds=VALID_S)
