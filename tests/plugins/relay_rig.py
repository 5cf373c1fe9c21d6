"""A relay with a double of its service, and agents that are plain SSH clients."""

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncssh
import httpx

from towpath.grants.keys import KeySet, SigningKey
from towpath.grants.passes import Pass, mint
from towpath.platform.dial import DialPolicy
from towpath.relay.relay import Place, Relay
from towpath.relay.service import Service
from towpath.tunnel import CONTROL_FORWARD, PROTOCOL, SUBSYSTEM
from towpath.tunnel import messages as words
from towpath.tunnel.prologue import (
    AnswerReader,
    Joined,
    NotJoined,
    PassShown,
    Said,
    TicketSaid,
    prologue,
)

WAIT_S = 20.0
ISSUER = "https://service.example.org"
RELAY_ID = "5f0b2c39-0000-4000-8000-000000000001"


class Double(httpx.MockTransport):
    """The service's side of the contract; it can be away, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(self._handle)
        self.key = SigningKey.new()
        self.agents: dict[str, dict[str, Any]] = {}
        """By public key."""
        self.limits: dict[str, int] = {}
        self.allowed: set[tuple[str, int]] = set()
        self.away = False
        self.asked: list[tuple[str, Any]] = []
        self.connected: dict[str, dict[str, Any]] = {}
        self.lost: list[dict[str, Any]] = []
        self.cut: list[str] = []
        self.tokens = 0

    def count(self, path: str) -> int:
        """How often something was asked."""
        return sum(asked == path for asked, _ in self.asked)

    def enrol(self, key: asyncssh.SSHKey) -> "Identity":
        """A node with this key."""
        node = Identity(str(uuid4()), str(uuid4()), key)
        self.agents[" ".join(key.export_public_key().decode().split()[:2])] = {
            "node_id": node.node_id,
            "endpoint_id": node.endpoint_id,
        }
        return node

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if self.away:
            raise httpx.ConnectError("nobody is there", request=request)
        if path == "/v2/oauth2/token":
            self.tokens += 1
            answer = {"access_token": f"token-{self.tokens}", "expires_in": 3600}
            return httpx.Response(200, json=answer)
        if request.headers["Authorization"] != f"Bearer token-{self.tokens}":
            return httpx.Response(401, json={"code": "AuthenticationFailed", "message": "no"})
        document = json.loads(request.content)
        self.asked.append((path.removeprefix("/v0.10"), document))
        match self.asked[-1][0]:
            case "/relay":
                answer = {
                    "relay_id": RELAY_ID,
                    "issuer": ISSUER,
                    "keys": KeySet.of([self.key]).to_jwks(),
                    "interval_s": 0.2,
                    "cut": self.cut,
                }
            case "/relay/agent":
                known = self.agents.get(document["tunnel_key"])
                if known is None or known["node_id"] != document["node_id"]:
                    return httpx.Response(404, json={"code": "AgentNotFound", "message": "who?"})
                answer = {
                    "endpoint_id": known["endpoint_id"],
                    "kind": "personal",
                    "limits": self.limits,
                }
            case "/relay/presence":
                if document["all"]:
                    self.connected = {}
                for one in document["connected"]:
                    self.connected[one["node_id"]] = one
                for one in document["lost"]:
                    self.connected.pop(one["node_id"], None)
                    self.lost.append(one)
                answer = {"cut": self.cut}
            case "/relay/dial":
                allowed = (document["host"], document["port"]) in self.allowed
                answer = {"allowed": allowed, "message": "no active task needs it"}
            case _:
                return httpx.Response(404, json={"code": "NotFound", "message": path})
        return httpx.Response(200, json=answer)


@dataclass(frozen=True)
class Identity:
    """What an agent is known by."""

    node_id: str
    endpoint_id: str
    key: asyncssh.SSHKey


NewControl = Callable[[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]], Awaitable[None]]


@dataclass(eq=False)
class TestAgent:
    """An agent: one SSH connection, and what the relay has told it."""

    __test__ = False

    identity: Identity
    connection: asyncssh.SSHClientConnection
    writer: asyncssh.SSHWriter[bytes]
    reader: asyncssh.SSHReader[bytes]
    events: asyncio.Queue[words.Event] = field(default_factory=asyncio.Queue)
    answers: dict[int, asyncio.Future[words.Answer]] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        lines = words.Lines()
        with contextlib.suppress(asyncssh.Error, OSError):
            while data := await self.reader.read(65536):
                for line in lines.feed(data):
                    report = words.decode_report(line)
                    if isinstance(report, words.Answer):
                        self.answers.pop(report.id).set_result(report)
                    else:
                        self.events.put_nowait(report)

    def say(self, request: words.Request) -> None:
        self.writer.write(words.encode(request))

    async def ask(self, make: Callable[[int], words.Request]) -> words.Answer:
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        answer = self.answers[number]
        self.say(make(number))
        return await asyncio.wait_for(answer, WAIT_S)

    async def listen(self, *candidates: str) -> words.Listening:
        answer = await self.ask(lambda number: words.Listen(number, candidates))
        assert isinstance(answer, words.Listening), answer
        return answer

    async def dial(self, host: str, port: int) -> words.Answer:
        return await self.ask(lambda number: words.Dial(number, host, port))

    async def event(self) -> words.Event:
        return await asyncio.wait_for(self.events.get(), WAIT_S)

    async def incoming(self) -> words.Incoming:
        event = await self.event()
        assert isinstance(event, words.Incoming), event
        return event

    async def close(self) -> None:
        self.connection.abort()
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
        with contextlib.suppress(asyncssh.Error, OSError):
            await self.connection.wait_closed()


async def echo(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """The simplest server behind a control connection."""
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


@dataclass(eq=False)
class Connection:
    """A connection to the relay's port, or to one of its listeners."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), WAIT_S)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), WAIT_S)

    async def answer(self) -> Joined | NotJoined:
        """The prologue's."""
        line = await asyncio.wait_for(self.reader.readline(), WAIT_S)
        found = AnswerReader().feed(line)
        assert found is not None, line
        return found

    def end(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass(eq=False)
class Rig:
    """All of them together."""

    relay: Relay
    service: Double
    stack: contextlib.AsyncExitStack
    agents_from: str | None = None
    """The address that agents dial from."""

    def identity(self) -> Identity:
        return self.service.enrol(asyncssh.generate_private_key("ssh-ed25519"))

    async def log_in(self, identity: Identity) -> asyncssh.SSHClientConnection:
        connection = await asyncssh.connect(
            "127.0.0.1",
            self.relay.port,
            config=None,
            agent_path=None,
            username=identity.node_id,
            client_keys=[identity.key],
            known_hosts=([asyncssh.import_public_key(self.relay.host_key)], [], []),
            local_addr=None if self.agents_from is None else (self.agents_from, 0),
        )
        self.stack.callback(connection.abort)
        return connection

    async def agent(
        self, identity: Identity | None = None, control: NewControl = echo
    ) -> TestAgent:
        """One that has said hello and takes control connections."""
        known = identity or self.identity()
        connection = await self.log_in(known)
        running: set[asyncio.Task[None]] = set()

        def new_control(_host: str, _port: int) -> Any:
            def begin(reader: Any, writer: Any) -> None:
                task = asyncio.ensure_future(control(reader, writer))
                running.add(task)
                task.add_done_callback(running.discard)

            return begin

        await connection.start_server(new_control, *CONTROL_FORWARD, encoding=None)
        writer, reader, _ = await connection.open_session(subsystem=SUBSYSTEM, encoding=None)
        agent = TestAgent(known, connection, writer, reader)
        agent.reading = asyncio.create_task(agent.read())
        self.stack.push_async_callback(agent.close)
        welcome = await agent.ask(lambda number: words.Hello(number, "0.1.0", PROTOCOL))
        assert isinstance(welcome, words.Welcome), welcome
        return agent

    async def dial(self, port: int | None = None, ahead: bytes = b"") -> Connection:
        """A connection to the relay, at the one port or at a listener's."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.relay.port)
        made = Connection(reader, writer)
        self.stack.push_async_callback(made.close)
        if ahead:
            await made.send(ahead)
        return made

    async def say(self, said: Said, ahead: bytes = b"") -> Connection:
        return await self.dial(ahead=prologue(said) + ahead)

    async def control(self, agent: Identity, **changes: Any) -> Connection:
        return await self.say(PassShown(self.mint(agent, **changes)))

    def mint(self, agent: Identity, **changes: Any) -> str:
        """A pass for an agent."""
        key = changes.pop("key", self.service.key)
        claims: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": RELAY_ID,
            "endpoint": agent.endpoint_id,
            "node": agent.node_id,
            "now": time.time(),
            **changes,
        }
        return mint(Pass.issue(**claims), key)

    async def joined(self) -> tuple[TestAgent, Connection, Connection]:
        """An agent; somebody who connected to its listener; and the agent's half."""
        agent = await self.agent()
        listener = await agent.listen()
        outside = await self.dial(listener.port)
        inside = await self.say(TicketSaid((await agent.incoming()).ticket))
        assert await inside.answer() == Joined()
        return agent, outside, inside

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for something that nobody tells."""
        async with asyncio.timeout(WAIT_S):
            while not true():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(
    directory: Path,
    service: Double | None = None,
    policy: Callable[[int], DialPolicy] = lambda _: DialPolicy(allow_loopback=True),
    **place: Any,
) -> AsyncIterator[Rig]:
    """A relay on loopback that has registered."""
    double = service or Double()
    where = Place(
        **{
            "directory": directory,
            "host": "127.0.0.1",
            "bind_host": "127.0.0.1",
            "port": 0,
            "data_addresses": ("127.0.0.1",),
            **place,
        }
    )
    async with httpx.AsyncClient(transport=double, base_url="https://service") as http:
        relay = Relay(where, Service(http, "relay", "the relay's own secret"), policy)
        relay.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                rig = Rig(relay, double, stack)
                await rig.until(lambda: relay.registered or double.away)
                yield rig
        finally:
            await relay.close()
