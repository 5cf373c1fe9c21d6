"""The acceptor half of our own server with a session half that only says what it has heard, and a
client that writes what it is told."""

import asyncio
import base64
import getpass
import socket
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from towpath.demo.authority import Domain
from towpath.gridftp.security.acceptor import HostSecurity
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.acceptor import ControlServer, listen
from towpath.gridftp.server.account_process import Sessions
from towpath.gridftp.server.accounts import Accounts
from towpath.gridftp.server.control import LoginReport, Service
from towpath.gridftp.server.frames import FrameReader, Notice, Opening, frame
from towpath.gridftp.server.gridmap import Gridmap
from towpath.gridftp.server.limits import COMMAND_BYTES, Limits
from towpath.gridftp.server.permission import Tokens
from towpath.gridftp.wire.replies import Reply, ReplyReader


def now() -> datetime:
    return datetime.now(UTC)


class EchoHost:
    """Sessions that answer `200 <command>`.

    `BIG n` has n lines, `DEAF` reads nothing more, `DIE` closes the socket, `QUIT` says goodbye
    first, `MARK` says 112 before its 226, `SLOW` waits for `release`.
    """

    def __init__(self) -> None:
        self.openings: list[Opening] = []
        self.heard: list[bytes] = []
        self.notices: list[Notice] = []
        self.ended = 0
        self.release = asyncio.Event()

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        self.openings.append(opening)
        loop = asyncio.get_running_loop()
        reader = FrameReader(COMMAND_BYTES, self.notices.append)
        try:
            while data := await loop.sock_recv(connection, 65536):
                for command in reader.feed(data):
                    self.heard.append(command)
                    if command == b"DIE":
                        return
                    if command == b"DEAF":
                        await self.release.wait()
                    if command == b"SLOW":
                        await self.release.wait()
                    await loop.sock_sendall(connection, b"".join(map(frame, self.answer(command))))
                    if command == b"QUIT":
                        return
        except ConnectionError:
            pass
        finally:
            self.ended += 1

    @staticmethod
    def answer(command: bytes) -> list[bytes]:
        if command == b"QUIT":
            return [b"221 Goodbye.\r\n"]
        if command == b"MARK":
            return [b"112-Perf Marker\r\n Timestamp: 1\r\n112 End.\r\n", b"226 Done.\r\n"]
        if command.startswith(b"BIG "):
            lines = b"".join(b" line %d\r\n" % number for number in range(int(command[4:])))
            return [b"250-Big\r\n" + lines + b"250 End.\r\n"]
        return [b"200 " + command.replace(b"\n", b"\\n") + b"\r\n"]


@dataclass
class Front:
    """A running acceptor half."""

    server: ControlServer
    host: EchoHost
    port: int
    domain: Domain
    sessions: Sessions
    reports: list[LoginReport] = field(default_factory=list)


@asynccontextmanager
async def front(
    domain: Domain,
    *,
    gsi: bool = True,
    anonymous: str | None = None,
    passwords: dict[str, str] | None = None,
    gridmap: Path | None = None,
    limits: Limits | None = None,
    host: EchoHost | None = None,
    tokens: Tokens | None = None,
) -> AsyncIterator[Front]:
    """Run one, on a free port of 127.0.0.1."""
    host = host or EchoHost()
    reports: list[LoginReport] = []
    failed: list[BaseException] = []
    sessions = Sessions(host, failed=failed.append)
    security = HostSecurity(domain.host.credential(), domain.trust, now=now)

    def check(user: str, password: str) -> str | None:
        right = passwords is not None and passwords.get(user) == password
        return getpass.getuser() if right else None

    with ThreadPoolExecutor(2) as threads:
        service = Service(
            accounts=Accounts(
                Gridmap(gridmap or domain.gridmap_file),
                only=getpass.getuser(),
                anonymous=anonymous,
                password=None if passwords is None else check,
            ),
            security=(lambda: security) if gsi else None,
            open_session=sessions.open,
            threads=threads,
            limits=limits or Limits(),
            report=reports.append,
            tokens=tokens,
        )
        server = ControlServer(service)
        (listening,) = listen(0, ["127.0.0.1"])
        port = listening.getsockname()[1]
        await server.start([listening])
        try:
            yield Front(server, host, port, domain, sessions, reports)
        finally:
            await server.close()
            host.release.set()
            await sessions.close()
    assert failed == []


class Client:
    """A control connection that sends what it is told and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.initiator: Initiator | None = None
        self._replies = ReplyReader()
        self._ready: list[Reply] = []
        self.wrapped_lines: list[bytes] = []
        """The 63x lines as they came."""

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=8 << 20))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.writer.transport.abort()

    def send(self, *lines: bytes) -> None:
        """In clear."""
        self.writer.write(b"".join(line + b"\r\n" for line in lines))

    def wrapped(self, command: bytes) -> bytes:
        assert self.initiator is not None
        return b"ENC " + base64.b64encode(self.initiator.wrap(command))

    def send_wrapped(self, *commands: bytes) -> None:
        self.send(*(self.wrapped(command + b"\r\n") for command in commands))

    async def reply(self) -> Reply:
        """The next, unwrapped. Raises EOFError."""
        while not self._ready:
            line = await self.reader.readline()
            if not line.endswith(b"\r\n"):
                raise EOFError(line)
            if line.startswith(b"63") and self.initiator is not None:
                self.wrapped_lines.append(line)
                self._ready += self._replies.feed(self.initiator.unwrap(base64.b64decode(line[4:])))
            else:
                self._ready += self._replies.feed(line)
        return self._ready.pop(0)

    async def replies(self, count: int) -> list[Reply]:
        return [await self.reply() for _ in range(count)]

    async def codes(self, count: int) -> list[int]:
        return [reply.code for reply in await self.replies(count)]

    async def all_codes(self) -> list[int]:
        """Until the end of the connection."""
        found: list[int] = []
        try:
            while True:
                found.append((await self.reply()).code)
        except (EOFError, ConnectionError):
            return found

    async def ask(self, line: bytes) -> Reply:
        self.send(line)
        return await self.reply()

    async def ask_wrapped(self, command: bytes) -> Reply:
        self.send_wrapped(command)
        return await self.reply()

    async def authenticate(
        self, credential: Credential, trust: TrustRoots, *, delegate: bool = False
    ) -> list[Reply]:
        """Banner, AUTH and ADAT; the replies after the banner."""
        client = Initiator(credential, trust, "localhost", None, delegate=delegate, now=now)
        (hello,) = client.step(None)
        self.send(b"AUTH GSSAPI", adat(hello))
        assert (await self.reply()).code == 220
        replies: list[Reply] = []
        expected = 2
        while len(replies) < expected:
            replies.append(await self.reply())
            _text, equals, answer = replies[-1].text.partition("ADAT=")
            if equals and answer:
                tokens = client.step(base64.b64decode(answer))
                self.send(*map(adat, tokens))
                expected += len(tokens)
        self.initiator = client
        return replies

    async def log_in(self, domain: Domain, *, delegate: bool = False) -> list[Reply]:
        """All of it; the replies to USER and PASS."""
        replies = await self.authenticate(domain.credential, domain.trust, delegate=delegate)
        assert replies[-1].code == 235, replies
        self.send_wrapped(b"USER :globus-mapping:", b"PASS x")
        return await self.replies(2)


def adat(token: bytes) -> bytes:
    return b"ADAT " + base64.b64encode(token)


@asynccontextmanager
async def client_of(running: Front) -> AsyncIterator[Client]:
    """A fresh connection."""
    async with await Client.connect(running.port) as client:
        yield client


@asynccontextmanager
async def logged_in(running: Front, *, delegate: bool = False) -> AsyncIterator[Client]:
    """One that has logged in."""
    async with client_of(running) as client:
        assert [r.code for r in await client.log_in(running.domain, delegate=delegate)] == [
            331,
            230,
        ]
        yield client


def quick(**changes: object) -> Limits:
    """Limits for tests."""
    return replace(Limits(), **changes)  # type: ignore[arg-type]


async def until(condition: Iterable[object] | object, *, within_s: float = 20.0) -> None:
    """Wait for a condition (a callable) to hold."""
    assert callable(condition)
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
