"""Each failure that real servers have words for, provoked: its name, and how far it reaches."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins.pairs import ANSWER_S, Pair, Told, tell
from plugins.sessions import OpenSession
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind, Scope, cause_of
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort

WRONG_MD5 = "0" * 32
SILENT_S = 0.3
"""After one end has failed; one that waits for the other would wait for ever."""


@dataclass
class Ground:
    """What failures are provoked with: `root` holds a file `f`, a directory `d` with an `x`."""

    pair: Pair
    root: Path
    domain: Domain
    other: Domain
    server: GctServer
    modest: GctServer

    @property
    def session(self) -> Session:
        return self.pair.source

    async def log_in(self, server: GctServer | None = None, **options: object) -> Session:
        given: dict = {"credential": self.domain.credential, "trust": self.domain.trust, **options}
        return await Session.open(Server("localhost", (server or self.server).port), **given)

    async def as_nobody(self, line: str) -> None:
        session = await self.log_in(self.modest)
        try:
            await session.command(line)
        finally:
            await session.close()

    async def move(self, here: str, there: str, *settings: str) -> None:
        """Raises the cause of both ends' failures; an end may have nothing to say."""
        await self.pair.set_both(*(settings or ("DCAU N",)))
        await self.pair.connect()
        sides = ((self.pair.source, here), (self.pair.destination, there))
        ends = [asyncio.create_task(tell(session, line)) for session, line in sides]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends, timeout=SILENT_S)
        cause = cause_of(*(self._failure(end) for end in ends))
        assert cause is not None
        raise cause

    def _failure(self, end: asyncio.Task[Told]) -> GridFTPError | None:
        if not end.done():
            end.cancel()
            return None
        reply = end.result().final
        assert reply is not None
        return None if reply.ok else classify(reply, where=str(self.session.server))

    async def kill_source_of_a_transfer(self) -> None:
        with (self.root / "big").open("wb") as file:
            file.truncate(4 << 30)
        await self.pair.set_both("DCAU N")
        await self.pair.connect()
        (stored,) = self.pair.destination.submit(["STOR /dev/null"])
        self.pair.source.submit([f"RETR {self.root}/big"])
        await asyncio.sleep(0.1)
        await self.pair.source.give_up()
        async with asyncio.timeout(ANSWER_S):
            self.pair.destination.require(await stored)

    async def connect_to_nobody(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            await self.session.command("DCAU N")
            await self.session.command(commands.port(HostPort(*taken.getsockname())))
            await self.session.command(f"RETR {self.root}/f")

    async def expired(self) -> None:
        then = datetime.now(UTC) - timedelta(minutes=45)
        proxy = self.domain.make_proxy(timedelta(minutes=10), now=then)
        await self.log_in(credential=proxy, clock=lambda: then)

    async def stranger(self) -> None:
        await self.log_in(credential=self.domain.issue("stranger", "Mallory").credential())

    async def rename_to_another_file_system(self) -> None:
        await self.session.command(f"RNFR {self.root}/f")
        await self.session.command(f"RNTO /dev/shm/{self.root.name}")

    async def killed(self) -> None:
        self.server.kill_sessions()
        await self.session.command("NOOP")


Row = tuple[Callable[[Ground], Awaitable[object]], Kind, Scope, bool]
SEND, STORE = "RETR {0}/f", "STOR {0}/new"


def moving(here: str, there: str, *settings: str) -> Callable[[Ground], Awaitable[object]]:
    return lambda g: g.move(here.format(g.root), there.format(g.root), *settings)


def asking(line: str) -> Callable[[Ground], Awaitable[object]]:
    return lambda g: g.session.command(line.format(g.root))


def restricted(line: str) -> Callable[[Ground], Awaitable[object]]:
    async def ask(ground: Ground) -> None:
        await ground.session.restrict("RW/nowhere")
        await ground.session.command(line.format(ground.root))

    return ask


def restricted_move(here: str, there: str) -> Callable[[Ground], Awaitable[object]]:
    async def move(ground: Ground) -> None:
        await ground.pair.destination.restrict("RW/nowhere")
        await ground.move(here.format(ground.root), there.format(ground.root))

    return move


ROWS: dict[str, Row] = {
    "missing": (asking("MLST {0}/none"), Kind.NOT_FOUND, Scope.FILE, True),
    "missing source": (moving("RETR {0}/none", STORE), Kind.NOT_FOUND, Scope.FILE, True),
    "missing directory": (moving(SEND, "STOR {0}/none/x"), Kind.NOT_FOUND, Scope.FILE, True),
    "permission": (
        lambda g: g.as_nobody("MKD /usr/x"),
        Kind.PERMISSION_DENIED,
        Scope.FILE,
        True,
    ),
    "permission to read": (
        lambda g: g.as_nobody(f"CKSM MD5 0 -1 {g.server.workdir}/host.key"),
        Kind.PERMISSION_DENIED,
        Scope.FILE,
        True,
    ),
    "directory": (asking("DELE {0}/d"), Kind.IS_A_DIRECTORY, Scope.FILE, True),
    "directory as source": (moving("RETR {0}/d", STORE), Kind.IS_A_DIRECTORY, Scope.FILE, True),
    "directory as destination": (moving(SEND, "STOR {0}/d"), Kind.IS_A_DIRECTORY, Scope.FILE, True),
    "no directory": (asking("MKD {0}/f/x"), Kind.NOT_A_DIRECTORY, Scope.FILE, True),
    "exists": (asking("MKD {0}/d"), Kind.EXISTS, Scope.FILE, True),
    "not empty": (asking("RMD {0}/d"), Kind.NOT_EMPTY, Scope.FILE, True),
    "disk full": (moving(SEND, "STOR /dev/full"), Kind.NO_SPACE, Scope.ENDPOINT, False),
    "path rule": (restricted("MLST {0}/f"), Kind.PATH_NOT_ALLOWED, Scope.FILE, True),
    "path rule of SIZE": (restricted("SIZE {0}/f"), Kind.PATH_NOT_ALLOWED, Scope.FILE, True),
    "path rule of a transfer": (
        restricted_move(SEND, STORE),
        Kind.PATH_NOT_ALLOWED,
        Scope.FILE,
        True,
    ),
    "bad disk": (moving("RETR /proc/self/mem", STORE), Kind.STORAGE, Scope.FILE, False),
    "data refused": (Ground.connect_to_nobody, Kind.DATA_REFUSED, Scope.CHANNEL, False),
    "data reset": (Ground.kill_source_of_a_transfer, Kind.DATA_BROKEN, Scope.CHANNEL, False),
    "data authentication": (moving(SEND, STORE, "DCAU A"), Kind.DATA_AUTH, Scope.CHANNEL, True),
    "data credential": (asking("DCSC P aGVsbG8="), Kind.DATA_AUTH, Scope.CHANNEL, True),
    "no data channel": (asking("STOR {0}/new"), Kind.CHANNEL_GONE, Scope.CHANNEL, False),
    "checksum": (
        moving(SEND, STORE, "DCAU N", f"SCKS MD5 {WRONG_MD5}"),
        Kind.CHECKSUM_MISMATCH,
        Scope.FILE,
        False,
    ),
    "checksum unknown": (
        asking("CKSM CRC32 0 -1 {0}/f"),
        Kind.CHECKSUM_UNSUPPORTED,
        Scope.ENDPOINT,
        True,
    ),
    "credential expired": (Ground.expired, Kind.CREDENTIAL_EXPIRED, Scope.CREDENTIAL, True),
    "credential not trusted": (
        lambda g: g.log_in(credential=g.other.credential),
        Kind.AUTHENTICATION,
        Scope.CREDENTIAL,
        True,
    ),
    "mapping": (Ground.stranger, Kind.MAPPING, Scope.CREDENTIAL, True),
    "not logged in": (
        lambda g: g.log_in(credential=None),
        Kind.LOGIN,
        Scope.CREDENTIAL,
        True,
    ),
    "session killed": (Ground.killed, Kind.CONNECTION_LOST, Scope.SESSION, False),
    "no words for it": (Ground.rename_to_another_file_system, Kind.UNKNOWN, Scope.FILE, False),
    "unknown command": (asking("NOSUCH x"), Kind.UNSUPPORTED, Scope.ENDPOINT, True),
    "unknown SITE command": (asking("SITE NOSUCH"), Kind.UNSUPPORTED, Scope.ENDPOINT, True),
    "senseless argument": (asking("PORT x"), Kind.UNSUPPORTED, Scope.ENDPOINT, True),
}


@pytest.fixture
async def ground(
    open_a: OpenSession,
    open_b: OpenSession,
    domain_a: Domain,
    domain_b: Domain,
    server_a: GctServer,
    unprivileged_server: GctServer,
    tmp_path: Path,
) -> Ground:
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "d" / "x").mkdir(parents=True)
    pair = Pair(await open_a(), await open_b())
    return Ground(pair, tmp_path, domain_a, domain_b, server_a, unprivileged_server)


@pytest.mark.parametrize("row", ROWS)
async def test_provoked(ground: Ground, row: str) -> None:
    provoke, kind, scope, permanent = ROWS[row]
    with pytest.raises(GridFTPError) as caught:
        await provoke(ground)
    error = caught.value
    assert (error.kind, error.scope, error.permanent) == (kind, scope, permanent), error
    assert error.advice
    assert error.where.startswith("localhost:")
    assert error.reply or kind is Kind.CONNECTION_LOST
    assert error.message in str(error)
    await ground.pair.source.close()
