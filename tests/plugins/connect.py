"""Agents with real relays, and a double of the service that can do wrong.

The double is served over https, as agents want it, and gives relays what they ask (`relay_rig`).
"""

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from plugins import relay_rig
from plugins.relay_rig import ISSUER, RELAY_ID, WAIT_S, Double, Rig
from towpath import __version__
from towpath.connect.agent import Agent, Loaded, with_limits
from towpath.connect.choices import Choices, Folder
from towpath.connect.directory import AgentDirectory
from towpath.connect.running import PERSONAL_LIMITS, serve_own
from towpath.connect.setting_up import Wishes, set_up
from towpath.grants import Grant, KeySet, Prefix, certificate_sha256, mint
from towpath.grants.passes import Pass
from towpath.grants.passes import mint as mint_pass
from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.authority import Authority, as_trust_files
from towpath.gridftp.security.trust import TrustRoots
from towpath.platform.certificates import server_certificate
from towpath.platform.serving import HttpsServer, bind
from towpath.tunnel.names import CONNECT_PORT, connect_host
from towpath.tunnel.prologue import AnswerReader, Joined, PassShown, prologue

SOMEBODY = "a2a8e2f0-95a1-4bb2-9d3c-0f4a0f4a0001"
RELAY = "127.0.0.2"
"""Where relays are: a host of its own, other than all the rest of a test."""
QUICK = Timeouts(connect_s=10, login_s=20, reply_s=20, close_s=2)
READ = (Prefix("/", write=False),)
WRITE = (Prefix("/", write=True),)


class ConnectDouble(Double):
    """The routes of agents, besides those of relays."""

    def __init__(self, kind: str = "personal") -> None:
        super().__init__()
        now = datetime.now(UTC)
        self.kind = kind
        self.endpoint_id = str(uuid4())
        self.authority = Authority.create("Towpath Connect", now, timedelta(days=30))
        self.service = self.authority.issue("service", now, timedelta(days=1))
        self.keys = [self.key]
        self.relays: list[dict[str, Any]] = []
        self.secrets: dict[str, int] = {}
        """Of setup keys: how often each is good."""
        self.nodes: dict[str, dict[str, Any]] = {}
        """By token."""
        self.reports: list[dict[str, Any]] = []
        self.collections: list[dict[str, Any]] = []
        self.fault: tuple[int, str] | None = None
        """What agents are answered instead."""
        self.refused_report: dict[str, str] | None = None
        """What a report is answered, with 400."""
        self.warning: str | None = None
        self.pem = b""
        """Of the authority of the https certificate."""
        self.allowed_all = True

    def setup_key(self, port: int, *, uses: int = 1) -> str:
        """A new one."""
        secret = f"{len(self.secrets):043d}"
        self.secrets[secret] = uses
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.pem.decode())).hexdigest()
        return f"localhost:{port}/{digest}/{secret}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As an ASGI app."""
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        url = f"https://service{scope['path']}"
        request = httpx.Request(scope["method"], url, headers=headers, content=body)
        answer = await self._handle(request)
        start = {"type": "http.response.start", "status": answer.status_code, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": answer.content})

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v0.10")
        if path == "/relay/dial" and self.allowed_all:
            document = json.loads(request.content)
            self.allowed.add((document["host"], document["port"]))
        if not path.startswith("/connect/"):
            return await super()._handle(request)
        if path == "/connect/authority":
            return httpx.Response(200, content=self.pem)
        document = json.loads(request.content) if request.content else None
        self.asked.append((path, document))
        if self.fault is not None:
            status, code = self.fault
            return httpx.Response(status, json={"code": code, "message": "as the test wants it."})
        if path == "/connect/setup":
            return self._set_up(document)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        node = self.nodes.get(token)
        if node is None:
            return httpx.Response(401, json={"code": "AuthenticationFailed", "message": "who?"})
        if path == "/connect/certificate":
            self._certify(node, document["certificate_request"])
        if path == "/connect/report" and self.refused_report is not None:
            return httpx.Response(400, json=self.refused_report)
        if path == "/connect/report":
            self.reports.append(document)
            if document["collections"] is not None:
                known = {one["name"]: one["id"] for one in self.collections}
                self.collections = [
                    {
                        "id": known.get(one["name"], str(uuid4())),
                        "name": one["name"],
                        "base_path": one["base_path"],
                        "access": one["access"],
                    }
                    for one in document["collections"]
                ]
        return httpx.Response(200, json=self.configuration(node))

    def _set_up(self, document: dict[str, Any]) -> httpx.Response:
        secret = document["setup_key"]
        if not self.secrets.get(secret):
            refusal = {"code": "SetupKeyInvalid", "message": "This setup key was used."}
            return httpx.Response(403, json=refusal)
        self.secrets[secret] -= 1
        token = f"agent-{len(self.nodes)}"
        node = {"node_id": str(uuid4()), "endpoint_id": self.endpoint_id}
        self._certify(node, document["certificate_request"])
        self.nodes[token] = node
        self.agents[" ".join(document["tunnel_key"].split()[:2])] = node
        answer = {
            "DATA_TYPE": "connect_setup",
            "endpoint_id": self.endpoint_id,
            "node_id": node["node_id"],
            "kind": self.kind,
            "display_name": "laptop",
            "owner": {"id": SOMEBODY, "username": "ana@people.example"},
            "agent_token": token,
            "configuration": self.configuration(node),
        }
        return httpx.Response(200, json=answer)

    def _certify(self, node: dict[str, Any], request: str) -> None:
        host = connect_host(self.endpoint_id)
        now = datetime.now(UTC)
        pem = self.authority.certify_host(request.encode(), host, now, timedelta(days=29))
        node["certificate"] = pem.decode()

    def configuration(self, node: dict[str, Any]) -> dict[str, Any]:
        return {
            "DATA_TYPE": "connect_configuration",
            "issuer": ISSUER,
            "audience": self.endpoint_id,
            "kind": self.kind,
            "display_name": "laptop",
            "keys": KeySet.of(self.keys).to_jwks(),
            "authority": self.authority.certificate_pem,
            "service_subject": self.service.subject,
            "host": connect_host(self.endpoint_id),
            "host_certificate": node["certificate"],
            "relays": self.relays,
            "collections": self.collections,
            "versions": {
                "service": __version__,
                "oldest_served": __version__,
                "warning": self.warning,
            },
            "interval_s": 3600,
        }


@dataclass(eq=False)
class World:
    """The service, its relays, and agents in this process."""

    service: ConnectDouble
    port: int
    """Of the service."""
    tmp_path: Path
    stack: contextlib.AsyncExitStack
    relays: list[Rig] = field(default_factory=list)

    async def relay(self, **place: Any) -> Rig:
        """One more."""
        number = len(self.relays)
        directory = self.tmp_path / f"relay-{number}"
        directory.mkdir()
        where = {"host": RELAY, "bind_host": RELAY, "data_addresses": (RELAY,), **place}
        rig = await self.stack.enter_async_context(
            relay_rig.opened(directory, self.service, **where)
        )
        self.relays.append(rig)
        self.announce(*self.relays)
        return rig

    def announce(self, *relays: Rig) -> None:
        """These live, says the service."""
        self.service.relays = [
            {"host": RELAY, "port": one.relay.port, "host_key": one.relay.host_key}
            for one in relays
        ]

    async def directory(self, name: str = "agent", **wishes: Any) -> AgentDirectory:
        """A computer that has been set up; it shares a folder of its own."""
        directory = AgentDirectory(self.tmp_path / name)
        await set_up(self.service.setup_key(self.port), directory, Wishes(name=name, **wishes))
        if self.service.kind == "personal":
            home = self.tmp_path / f"{name}-home"
            home.mkdir(exist_ok=True)
            directory.keep_choices(Choices(folders=(Folder(str(home.resolve()), "rw"),)))
        return directory

    def home(self, name: str = "agent") -> Path:
        """The folder that an agent shares."""
        return (self.tmp_path / f"{name}-home").resolve()

    @contextlib.asynccontextmanager
    async def running(
        self, directory: AgentDirectory, *, connected: bool = True
    ) -> AsyncIterator[Agent]:
        """Its agent, in this process."""
        loaded = Loaded.of(directory)
        agents: list[Agent] = []
        limits = with_limits(PERSONAL_LIMITS, loaded.choices)
        task = asyncio.create_task(serve_own(directory, loaded, limits, agents.append))
        await until(lambda: bool(agents) or task.done())
        try:
            if not agents:
                await task
            if connected:
                await until(lambda: agents[0].keeper.tunnel is not None or task.done())
                await until(lambda: self.is_present(agents[0]) or task.done())
            yield agents[0]
        finally:
            if agents:
                agents[0].stop()
            await task

    def is_present(self, agent: Agent) -> bool:
        """Whether its relay has told the service of it."""
        return agent.identity.node_id in self.service.connected

    def grant(self, prefixes: tuple[Prefix, ...] = WRITE, **changes: Any) -> str:
        """A grant, signed."""
        first = self.service.service.certificates[0]
        claims: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": self.service.endpoint_id,
            "subject": SOMEBODY,
            "account": None,
            "collection": self.service.endpoint_id,
            "prefixes": prefixes,
            "certificate_sha256": certificate_sha256(first.public_bytes(Encoding.DER)),
            "now": time.time(),
            **changes,
        }
        return mint(Grant.issue(**claims), self.service.keys[-1])

    async def dial(self, node_id: str, rig: Rig) -> socket.socket:
        """A control connection to a node, as a worker makes it."""
        return await dial_node(
            (RELAY, rig.relay.port),
            mint_pass(
                Pass.issue(
                    issuer=ISSUER,
                    audience=RELAY_ID,
                    endpoint=self.service.endpoint_id,
                    node=node_id,
                    now=time.time(),
                ),
                self.service.key,
            ),
        )

    async def open(self, node_id: str, rig: Rig | None = None, **grant: Any) -> Session:
        """A session with a node, as the service opens it."""
        at = rig or self.relays[0]

        async def dial(_host: str, _port: int) -> socket.socket:
            return await self.dial(node_id, at)

        return await Session.open(
            Server(connect_host(self.service.endpoint_id), CONNECT_PORT),
            credential=self.service.service,
            trust=TrustRoots.from_files(as_trust_files([self.service.authority.certificate_pem])),
            token=lambda: self.grant(**grant),
            dial=dial,
            timeouts=QUICK,
        )


async def dial_node(relay: tuple[str, int], shown: str) -> socket.socket:
    """Show a pass at a relay's port. Raises `GridFTPError` (CONNECT)."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    try:
        await loop.sock_connect(connection, relay)
        await loop.sock_sendall(connection, prologue(PassShown(shown)))
        line = b""
        while not line.endswith(b"\n"):
            part = await loop.sock_recv(connection, 1)
            if not part:
                raise ConnectionError("the relay hung up")
            line += part
        answer = AnswerReader().feed(line)
        if not isinstance(answer, Joined):
            raise ConnectionError(str(answer))
    except OSError as error:
        connection.close()
        raise GridFTPError(Kind.CONNECT, str(error), "relay") from error
    return connection


async def until(true: Callable[[], object], within_s: float = WAIT_S) -> None:
    """Wait for something that nobody tells."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(tmp_path: Path, kind: str = "personal") -> AsyncIterator[World]:
    """A service without relays."""
    service = ConnectDouble(kind)
    files = server_certificate(tmp_path / "tls", ["localhost"])
    service.pem = files.authority.read_bytes()
    server = HttpsServer(service, bind("localhost", 0), cert=files.cert, key=files.key)
    await server.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            yield World(service, server.port, tmp_path, stack)
    finally:
        await server.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A service of personal endpoints, and one relay."""
    async with opened(tmp_path) as made:
        await made.relay()
        yield made


@pytest.fixture
async def lonely_world(tmp_path: Path) -> AsyncIterator[World]:
    """A service without a relay."""
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def server_world(tmp_path: Path) -> AsyncIterator[World]:
    """A service of a server endpoint, and one relay."""
    async with opened(tmp_path, "server") as made:
        await made.relay()
        yield made


TOWPATH = (sys.executable, "-m", "towpath.cli")
"""The command."""
