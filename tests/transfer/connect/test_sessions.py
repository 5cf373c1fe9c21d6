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

from grants.test_paths import READING, WRITING
from plugins.connect import until
from plugins.own_server import OwnServer, own_server
from plugins.shares import allow, share, take_back
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
from towpath.transfer.store import connect, endpoints, principals
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


@pytest.fixture
async def shared(
    database: Database, laptop: tuple[Endpoint, Peer], tmp_path: Path
) -> tuple[Endpoint, dict[str, UUID]]:
    """A directory of Alice's laptop, and the rules by which Bob may read it, and write to `in`."""
    files = tmp_path / "files"
    for directory in ("pub/in", "private"):
        (files / directory).mkdir(parents=True)
        (files / directory / "f").write_text(directory)
    (files / "pub" / "f").write_text("pub")
    for place in ("pub", "pub/in"):
        (files / place / "out").symlink_to(files / "private")
        (files / place / "nowhere").symlink_to(files / "private" / "new")
    async with database.transaction() as conn:
        guest = await share(conn, laptop[0], ALICE, "/pub")
        rules = {
            "/": await allow(conn, guest, "/", who=BOB),
            "/in/": await allow(conn, guest, "/in/", "rw", who=BOB),
        }
    return guest, rules


async def test_a_guest_acts_with_the_sharers_right_as_far_as_rules_let_him(
    sessions: EndpointSessions, laptop: tuple[Endpoint, Peer], shared: tuple[Endpoint, Any]
) -> None:
    (host, peer), (guest, _) = laptop, shared
    async with sessions.borrow(guest.id, BOB, writes=False, paths=("/",)) as use:
        listed = [one async for batch in use.session.list("/") for one in batch]
        assert {one.name for one in listed} == {"f", "in"}
    async with sessions.borrow(guest.id, BOB, paths=("/in/new",)) as use:
        await use.session.mkdir("/in/new")
    reading, writing = peer.grants
    assert reading.prefixes == (("/pub", False),)
    assert writing.prefixes == (("/pub", False), ("/pub/in", True))
    for grant in peer.grants:
        assert (grant.subject, grant.account) == (str(BOB.id), None)
        assert (grant.audience, grant.collection) == (str(host.id), str(host.id))
    login = await sessions.login(guest.id, BOB)
    assert str(login.server) == f"“results” ({guest.id})"
    assert login.namespace == (await sessions.login(host.id, ALICE)).namespace + "/pub"
    with pytest.raises(NotAllowed, match="no access rule"):
        await sessions.login(guest.id, Who.alone(uuid4()))


async def test_an_agent_keeps_a_guest_in_whatever_the_service_sends(
    sessions: EndpointSessions,
    laptop: tuple[Endpoint, Peer],
    shared: tuple[Endpoint, Any],
    tmp_path: Path,
) -> None:
    """With what the service signs for a guest, and with paths as only the owner may send them."""
    guest, _ = shared
    login = replace(await sessions.login(guest.id, BOB), root=None)
    session = await sessions.open_login(login)
    files = tmp_path / "files"

    def everything() -> dict[str, object]:
        return {
            str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
            for path in files.rglob("*")
        }

    before = everything()
    outside = ("/private", "/private/f", "/pub/../private/f", "/pub/out", "/pub/in/out/f", "/new")
    tried = [(path, line) for path in outside for line in (*READING, *WRITING)]
    tried += [("/pub/f", line) for line in WRITING]
    for path, lines in tried:
        if path == "/pub/out" and lines.startswith(("RNFR", "SITE SYMLINK")):
            continue  # the link itself, which may be looked at
        receives = lines.startswith(("STOR", "APPE", "ESTO"))
        address = "PASV" if receives else "PORT 127,0,0,1,255,255"
        said = [address, *lines.format(path, path).split("|")]
        *_, reply = await session.answers(session.submit(said))
        assert not reply.ok, (path, lines, reply)
    for path in ("/pub/in/nowhere", "/pub/in/out/new"):
        *_, reply = await session.answers(session.submit(["PASV", f"STOR {path}"]))
        assert not reply.ok, (path, reply)
    assert everything() == before
    await session.close()


async def test_rules_that_change_reach_a_session_that_runs(
    sessions: EndpointSessions,
    laptop: tuple[Endpoint, Peer],
    shared: tuple[Endpoint, dict[str, UUID]],
    database: Database,
) -> None:
    (_, peer), (guest, rules) = laptop, shared
    sessions.access_every_s = 0.05
    async with sessions.borrow(guest.id, BOB) as use:
        await use.session.mkdir("/in/one")
        async with database.transaction() as conn:
            await take_back(conn, rules["/in/"])
        await until(lambda: peer.grants[-1].prefixes == (("/pub", False),))
        with pytest.raises(GridFTPError) as refused:
            await use.session.mkdir("/in/two")
        assert refused.value.kind is Kind.PERMISSION_DENIED
        assert (await use.session.stat("/in/one")).is_directory
        assert len(peer.grants) == 2, "nothing else has changed since"
        async with database.transaction() as conn:
            await take_back(conn, rules["/"])
        await until(lambda: use.session.closed)
    with pytest.raises(NotAllowed):
        await sessions.login(guest.id, BOB)


async def test_what_was_heard_before_a_session_gives_it_nothing(
    sessions: EndpointSessions,
    laptop: tuple[Endpoint, Peer],
    shared: tuple[Endpoint, dict[str, UUID]],
    database: Database,
) -> None:
    """Who asks with a token that names no group has left the one that he was in last year."""
    (_, peer), (guest, _) = laptop, shared
    group = uuid4()
    async with database.transaction() as conn:
        await principals.put(conn, replace(BOB, groups=frozenset({group})))
        await allow(conn, guest, "/secret/", "rw", group=group)
    sessions.access_every_s = 0.02
    async with sessions.borrow(guest.id, BOB) as use:
        await asyncio.sleep(0.3)
        assert len(peer.grants) == 1
        async with database.transaction() as conn:
            await principals.put(conn, replace(BOB, groups=frozenset({group})))
        await until(lambda: ("/pub/secret", True) in peer.grants[-1].prefixes)
        assert not use.session.closed


async def test_a_guest_at_a_collection_acts_as_the_sharers_account(
    database: Database, sessions: EndpointSessions
) -> None:
    endpoint = await registered(database, "server")
    alice = named(ALICE, "alice@example.org")
    async with database.transaction() as conn:
        await take_over(conn, endpoint, [Reported("all", "/srv/", "rw", {})])
        (host,) = await endpoints.collections(conn, endpoint.id)
        await connect.set_mappings(conn, endpoint.id, [MAPPING])
        guest = await share(conn, host, alice, "/data")
        await allow(conn, guest, "/", "rw", who=BOB)
    login = await sessions.login(guest.id, BOB)
    assert login.permit is not None
    assert (login.permit.account, login.permit.subject) == ("alice", BOB.id)
    assert (login.permit.audience, login.permit.collection) == (endpoint.id, host.id)
    assert login.permit.prefixes == (("/data", True),)
    assert guest.base == "/srv/data"
    async with database.transaction() as conn:
        await connect.set_mappings(conn, endpoint.id, [])
    with pytest.raises(NotAllowed, match=r"who shares it, alice@example\.org, has no access there"):
        await sessions.login(guest.id, BOB)
    async with database.transaction() as conn:
        await connect.set_mappings(conn, endpoint.id, [MAPPING])
        await take_over(conn, endpoint, [Reported("all", "/srv/", "r", {})])
    login = await sessions.login(guest.id, BOB)
    assert login.permit is not None
    assert login.permit.prefixes == (("/data", False),), "the site lets nobody write any more"
