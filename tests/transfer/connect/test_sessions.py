"""Sessions at agents: who may, with what right, and that they stay permitted."""

import asyncio
import getpass
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from plugins.own_server import OwnServer, own_server
from towpath.connect.logins import GrantLogins, Place
from towpath.demo.authority import Domain
from towpath.dsi.posix import PosixStorage
from towpath.grants import Grant, Verifier
from towpath.gridftp.client.channel import ControlChannel
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.trust import TrustRoots
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.secrets import Sealer
from towpath.platform.settings import GridftpSettings
from towpath.transfer import sessions as module
from towpath.transfer.connect.collections import Reported, take_over
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.rights import Who
from towpath.transfer.sessions import EndpointSessions, NotAllowed, NotFunctional
from towpath.transfer.store import connect, endpoints
from towpath.transfer.store.connect import Kind as EndpointKind
from towpath.transfer.store.endpoints import Endpoint
from towpath.tunnel.names import connect_host

ALICE, BOB = Who.alone(uuid4()), Who.alone(uuid4())


def named(who: Who, username: str) -> Who:
    """The same, with a name."""
    return replace(who, username=username)


ISSUER = "https://towpath.test"
MAPPING = {
    "DATA_TYPE": "expression_identity_mapping#1.0.0",
    "mappings": [{"source": "{username}", "match": r"(.*)@example\.org", "output": "{0}"}],
}


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> ConnectKeys:
    return ConnectKeys(database, Sealer(tmp_path / "seal.key"), ISSUER)


@pytest.fixture
async def sessions(
    database: Database, keys: ConnectKeys, tmp_path: Path
) -> AsyncIterator[EndpointSessions]:
    made = EndpointSessions(
        database,
        Sealer(tmp_path / "seal.key"),
        DialPolicy(allow_loopback=True),
        GridftpSettings(),
        connect=keys,
    )
    yield made
    await made.close()


async def registered(database: Database, kind: EndpointKind = "personal") -> Endpoint:
    """Alice's."""
    made = new_endpoint(
        kind=kind,
        endpoint_id=uuid4(),
        owner_id=ALICE.id,
        owner_string="alice@example.org",
        display_name="laptop",
        public=True,
        details={},
    )
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {})
        await connect.make(conn, made.id, kind)
    return made


@dataclass
class Peer:
    """Our own server in an agent's place, and the grants that it has taken."""

    server: OwnServer
    grants: list[Grant] = field(default_factory=list)


class _Noting(Verifier):
    def __init__(self, grants: list[Grant], **more: Any) -> None:
        super().__init__(**more)
        self._grants = grants

    def _verified(self, *shown: Any) -> Grant:
        self._grants.append(super()._verified(*shown))
        return self._grants[-1]


@contextmanager
def agent(endpoint: Endpoint, root: Path, authority: Any, published: Any) -> Iterator[Peer]:
    host = authority.issue("agent", datetime.now(UTC), timedelta(days=1), hosts=[endpoint.host])
    domain = SimpleNamespace(
        host=SimpleNamespace(credential=lambda: host),
        trust=TrustRoots.from_files(authority.trust_files),
    )
    grants: list[Grant] = []
    verifier = _Noting(
        grants, issuer=ISSUER, audience=str(endpoint.connect_id), keys=lambda: published
    )
    tokens = GrantLogins(verifier, lambda _: Place(getpass.getuser(), "/"))
    with own_server(
        cast("Domain", domain), PosixStorage(root), gridmap=False, tokens=tokens
    ) as server:
        yield Peer(server, grants)


@pytest.fixture
async def laptop(
    database: Database,
    keys: ConnectKeys,
    sessions: EndpointSessions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Endpoint, Peer]]:
    """Alice's, with an agent that the relay connects at once."""
    endpoint = await registered(database)
    (tmp_path / "files").mkdir()
    authority, known = await keys.authority(), await keys.keys()
    with agent(endpoint, tmp_path / "files", authority, known.published) as peer:

        async def dial(endpoint_id: UUID) -> socket.socket:
            assert endpoint_id == endpoint.id
            made = socket.create_connection(("127.0.0.1", peer.server.port))
            made.setblocking(False)
            return made

        monkeypatch.setattr(sessions._agents, "dial", dial)
        yield endpoint, peer


async def test_a_persons_computer_is_open_to_its_owner_only(
    database: Database, sessions: EndpointSessions
) -> None:
    endpoint = await registered(database)
    login = await sessions.login(endpoint.id, ALICE)
    assert login.server.host == connect_host(endpoint.id)
    assert str(login.server) == f"“laptop” ({endpoint.id})"
    assert login.permit is not None
    assert login.permit.account is None
    with pytest.raises(NotAllowed, match="only its owner"):
        await sessions.login(endpoint.id, BOB)


async def test_a_collection_is_open_to_whom_it_maps(
    database: Database, sessions: EndpointSessions
) -> None:
    endpoint = await registered(database, "server")
    with pytest.raises(NotFunctional):
        await sessions.login(endpoint.id, named(ALICE, "alice@example.org"))
    parts = [Reported("all", "/srv", "rw", {}), Reported("archive", "/srv/archive", "r", {})]
    async with database.transaction() as conn:
        await take_over(conn, endpoint, parts)
        everything, archive = await endpoints.collections(conn, endpoint.id)
    with pytest.raises(NotAllowed, match="no account"):
        await sessions.login(everything.id, named(BOB, "bob@example.org"))
    async with database.connection() as conn:
        await connect.set_mappings(conn, endpoint.id, [MAPPING])
    login = await sessions.login(everything.id, named(BOB, "bob@example.org"))
    assert login.permit is not None
    assert (login.permit.account, login.permit.audience) == ("bob", endpoint.id)
    assert login.permit.collection == everything.id
    assert login.permit.writes
    with pytest.raises(NotAllowed):
        await sessions.login(everything.id, named(BOB, "bob@example.com"))
    with pytest.raises(NotAllowed):
        await sessions.login(everything.id, BOB)
    other = await sessions.login(archive.id, named(BOB, "bob@example.org"))
    assert other.permit is not None
    assert not other.permit.writes, "the collection may only be read"
    assert login.namespace != other.namespace


async def test_reading_sessions_cannot_write_and_are_not_shared_with_writing_ones(
    sessions: EndpointSessions, laptop: tuple[Endpoint, Peer]
) -> None:
    endpoint, peer = laptop
    async with sessions.borrow(endpoint.id, ALICE, writes=False) as reading:
        with pytest.raises(GridFTPError) as refused:
            await reading.session.mkdir("/new")
        assert refused.value.kind is Kind.PERMISSION_DENIED
    async with sessions.borrow(endpoint.id, ALICE) as writing:
        assert writing.session is not reading.session
        await writing.session.mkdir("/new")
    async with sessions.borrow(endpoint.id, ALICE, writes=False) as again:
        assert again.session is reading.session
    assert [grant.prefixes[0].write for grant in peer.grants] == [False, True]
    assert {grant.subject for grant in peer.grants} == {str(ALICE.id)}


async def test_sessions_are_renewed_parked_or_not(
    sessions: EndpointSessions, laptop: tuple[Endpoint, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.05)
    endpoint, peer = laptop
    async with sessions.borrow(endpoint.id, ALICE) as borrowed:
        await borrowed.session.mkdir("/one")
    async with asyncio.timeout(10):
        while len(peer.grants) < 4:
            await asyncio.sleep(0.01)
    async with sessions.borrow(endpoint.id, ALICE) as again:
        assert again.session is borrowed.session
        await again.session.mkdir("/two")
    assert len({grant.grant_id for grant in peer.grants}) == len(peer.grants)


async def test_who_may_not_any_more_is_not_renewed(
    sessions: EndpointSessions,
    laptop: tuple[Endpoint, Peer],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_S", 0.05)
    endpoint, peer = laptop
    async with sessions.borrow(endpoint.id, ALICE) as borrowed:
        async with asyncio.timeout(10):
            while len(peer.grants) < 2:
                await asyncio.sleep(0.01)
        async with database.connection() as conn:
            await endpoints.mark_deleted(conn, endpoint.id)
        looking_after = sessions._renewing[borrowed.session]
        await asyncio.wait_for(asyncio.shield(looking_after), 10)
        assert not borrowed.session.closed


async def test_a_reset_from_a_relay_proves_nothing() -> None:
    """The relay's word for a tunnel that it has lost: the agent may go on by itself."""
    ends: list[bool] = []
    for reset_is_end in (True, False):
        listening = socket.create_server(("127.0.0.1", 0))
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        ours.setblocking(False)
        _, channel = await asyncio.get_running_loop().create_connection(
            lambda: ControlChannel("x", clear_text=True), sock=ours
        )
        channel.reset_is_end = reset_is_end
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        await asyncio.wait_for(asyncio.shield(channel.lost), 5)
        ends.append(await channel.end(1))
        listening.close()
    assert ends == [True, False]
