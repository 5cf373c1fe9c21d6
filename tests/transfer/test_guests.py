"""Guest collections at a real server: what a guest sees, what he may do, and every way out."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4
from weakref import WeakKeyDictionary

import pytest

from plugins.shares import allow, share, take_back
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.dcsc import DataCredential
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.secrets import Sealer
from towpath.platform.settings import GridftpSettings
from towpath.transfer.browse.browser import Browser
from towpath.transfer.engine.access import look_again
from towpath.transfer.engine.context import TaskContext
from towpath.transfer.rights import Who
from towpath.transfer.sessions import (
    EndpointSessions,
    NoEndpoint,
    NotShared,
    ServerMoved,
    SharerMustAct,
    SharerSuspended,
)
from towpath.transfer.store import credentials, endpoints, principals
from towpath.transfer.store.endpoints import Endpoint

ALICE = Who.alone(uuid4(), "alice@example.org")
"""Shares."""
BOB, EVE = Who.alone(uuid4(), "bob@example.org"), Who.alone(uuid4(), "eve@example.org")
LAB = uuid4()


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "seal.key")


@pytest.fixture
async def sessions(database: Database, sealer: Sealer) -> AsyncIterator[EndpointSessions]:
    made = EndpointSessions(database, sealer, DialPolicy(allow_loopback=True), GridftpSettings())
    yield made
    await made.close()


Give = Callable[[Credential], Awaitable[None]]


@pytest.fixture
async def lake(database: Database, domain_a: Domain, server_a: GctServer) -> Endpoint:
    """Server A."""
    made = Endpoint(
        id=uuid4(),
        owner_id=ALICE.id,
        owner_string="alice@example.org",
        display_name="lake",
        host="localhost",
        port=server_a.port,
        subject=None,
        data_hosts=(),
        public=True,
        details={},
    )
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, dict(domain_a.trust.files))
    return made


@pytest.fixture
async def give(database: Database, sealer: Sealer, lake: Endpoint, domain_a: Domain) -> Give:
    """Stores Alice's credential; she has one."""

    async def store(credential: Credential) -> None:
        sealed = sealer.seal(credential.to_pem(), credentials.seal_context(lake.id, ALICE.id))
        async with database.transaction() as conn:
            await credentials.put(
                conn,
                endpoint_id=lake.id,
                owner_id=ALICE.id,
                sealed=sealed,
                subject=credential.subject,
                not_after=credential.not_after,
            )

    await store(domain_a.credential)
    return store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What is shared, with links that lead out, and what is outside."""
    shared, outside = tmp_path / "home" / "shared, 100%", tmp_path / "home" / "private"
    for directory in (shared / "open" / "deep", shared / "in", shared / "closed", outside / "dir"):
        directory.mkdir(parents=True)
    for file in ("open/a", "open/deep/b", "in/c", "closed/d"):
        (shared / file).write_text(file)
    (outside / "secret").write_text("secret")
    (outside / "dir" / "deep").write_text("secret")
    for directory in ("open", "in"):
        (shared / directory / "to-file").symlink_to(outside / "secret")
        (shared / directory / "to-dir").symlink_to("../../private/dir")
        (shared / directory / "to-closed").symlink_to("../closed")
        (shared / directory / "dangling").symlink_to(outside / "new")
    (shared / "open" / "to-a").symlink_to("a")
    return shared


@pytest.fixture
async def results(database: Database, lake: Endpoint, give: Give, place: Path) -> Endpoint:
    """Alice shares it: Bob may read `open`, and write to `in`."""
    del give
    async with database.transaction() as conn:
        made = await share(conn, lake, ALICE, str(place))
        await allow(conn, made, "/open/", who=BOB)
        await allow(conn, made, "/in/", "rw", who=BOB)
    return made


def state(place: Path) -> dict[str, str]:
    """All that is there, outside as well."""
    return {
        str(path): path.read_text() if path.is_file() else ""
        for path in sorted(place.parent.rglob("*"))
    }


async def test_a_guest_reads_and_writes_without_a_credential_of_his_own(
    sessions: EndpointSessions, results: Endpoint, place: Path
) -> None:
    async with sessions.borrow(results.id, BOB, writes=False, paths=("/open",)) as use:
        listed = [entry async for batch in use.session.list("/open") for entry in batch]
        assert use.session.home == "/"
        found = await use.session.stat("/open/deep/b")
        assert (found.name, found.size) == ("/open/deep/b", len("open/deep/b"))
    links = {entry.name: entry.link_target for entry in listed}
    assert links == {"a": None, "deep": None, "to-a": "/open/a"}
    async with sessions.borrow(results.id, BOB, paths=("/in/new", "/in/newer")) as use:
        await use.session.mkdir("/in/new")
        await use.session.rename("/in/new", "/in/newer")
    assert (place / "in" / "newer").is_dir()


NOT_ALLOWED = (
    (("/",), False),
    (("/closed/d",), False),
    (("/op",), False),
    (("/opener",), False),
    (("/open/a",), True),
    (("/in/c", "/open/c"), True),
    (("/in", "/"), True),
    (("~",), False),
    (("closed",), False),
    (("/~/closed",), False),
)


async def test_the_service_asks_the_server_for_nothing_that_rules_do_not_allow(
    sessions: EndpointSessions, results: Endpoint
) -> None:
    for paths, writes in NOT_ALLOWED:
        with pytest.raises(NotShared):
            async with sessions.borrow(results.id, BOB, writes=writes, paths=paths):
                pass
    for allowed in ("/open", "open/a", "~/open", "/~/open/deep", "/in"):
        (await sessions.login(results.id, BOB)).demand([allowed], writes=False)


LOOKING = ("MLST {}", "SIZE {}", "MDTM {}", "CKSM MD5 0 -1 {}", "MLSC {}", "RNFR {}", "CWD {}")
CHANGING = (
    *("MKD {}/x", "DELE {}", "RMD {}", "SITE RDEL {}", "SITE CHMOD 0777 {}", "SITE TRNC 0 {}"),
    *("SITE UTIME 20200101000000 {}", "MFMT 20200101000000 {}", "SITE CHGRP 0 {}"),
)
OUT = (
    "/closed",
    "/closed/d",
    "/open/to-closed/d",
    "/in/to-closed/d",
    "/open/to-file",
    "/in/to-file",
)
OUT += ("/open/to-dir", "/in/to-dir", "/open/to-dir/deep", "/in/to-dir/deep", "/opener")


async def test_the_server_keeps_a_guests_session_in_by_itself(
    sessions: EndpointSessions, results: Endpoint, place: Path
) -> None:
    """Whatever the service sends, should it be wrong: GCT resolves links before it looks at the
    restriction."""
    before = state(place)
    session = await sessions.open(results.id, BOB)
    tried = [line.format(path) for path in OUT for line in (*LOOKING, *CHANGING)]
    tried += [line.format(path) for path in ("/open/a", "/open/deep") for line in CHANGING]
    tried += [
        f"SITE SYMLINKFROM {path}" for path in (*OUT, "/nowhere", "/in/nowhere", "/in/dangling")
    ]
    replies = await session.answers(session.submit(tried))
    for line, reply in zip(tried, replies, strict=True):
        assert not reply.ok, (line, reply)
        assert str(place) not in reply.text, line
    for old, new in (("/in/c", "/closed/c"), ("/in/c", "/in/to-dir/c"), ("/in/c", "/open/c")):
        with pytest.raises(GridFTPError) as caught:
            await session.rename(old, new)
        assert caught.value.kind is Kind.PATH_NOT_ALLOWED
    for above in ("/../private/secret", "/in/../../private/secret", "/.."):
        with pytest.raises(GridFTPError) as caught:
            await session.stat(above)
        assert caught.value.kind is Kind.INVALID_NAME
    assert state(place) == before
    await session.close()


async def move(source: Session, destination: Session, piece: Piece) -> str:
    """What became of it."""
    lane = await Lane.open(
        source, destination, data_credential=DataCredential.create(datetime.now(UTC))
    )
    lane.send([piece])
    (outcome,) = await lane.outcomes()
    await lane.close()
    return outcome.status if outcome.error is None else outcome.error.kind.value


async def test_no_data_goes_out_or_in_through_links(
    sessions: EndpointSessions, results: Endpoint, place: Path, lake: Endpoint, tmp_path: Path
) -> None:
    before = state(place)
    here = tmp_path / "bob"
    here.mkdir()
    (here / "f").write_text("from bob")

    async def get(path: str) -> str:
        source = await sessions.open(results.id, BOB)
        destination = await sessions.open(lake.id, ALICE)
        return await move(source, destination, Piece(path, str(here / "got"), 1))

    async def put(path: str) -> str:
        source = await sessions.open(lake.id, ALICE)
        destination = await sessions.open(results.id, BOB)
        return await move(source, destination, Piece(str(here / "f"), path, 8, anew=True))

    for path in ("/open/to-file", "/open/to-closed/d"):
        assert await get(path) == Kind.PATH_NOT_ALLOWED.value
    for path in ("/in/to-file", "/in/to-dir/x", "/open/a"):
        assert await put(path) == Kind.PATH_NOT_ALLOWED.value
    assert state(place) == before
    assert (here / "got").read_text() == ""  # made before the source says no
    # GCT would write through a link to nothing, and so make a file anywhere
    assert await put("/in/dangling") == "done"
    assert not (place / "in" / "dangling").is_symlink()
    assert (place / "in" / "dangling").read_text() == "from bob"
    assert not (place.parent / "private" / "new").exists()
    assert await put("/in/c") == "done"
    assert await get("/open/to-a") == "done"
    assert (here / "got").read_text() == "open/a"


async def test_sessions_are_shared_with_nobody_and_with_no_other_rules(
    sessions: EndpointSessions, database: Database, results: Endpoint, lake: Endpoint
) -> None:
    async def borrowed(endpoint: Endpoint, who: Who, *, writes: bool = False) -> Session:
        async with sessions.borrow(endpoint.id, who, writes=writes) as use:
            return use.session

    seen = [
        await borrowed(results, BOB),
        await borrowed(lake, ALICE),
        await borrowed(results, ALICE),
    ]
    assert await borrowed(results, BOB) is seen[0]
    seen.append(await borrowed(results, BOB, writes=True))
    async with database.transaction() as conn:
        rule = await allow(conn, results, "/closed/", who=BOB)
        await allow(conn, results, "/open/", who=EVE)
        await allow(conn, results, "/in/", "rw", who=EVE)
    seen += [await borrowed(results, BOB), await borrowed(results, EVE)]
    assert len(set(map(id, seen))) == len(seen)
    async with database.transaction() as conn:
        await take_back(conn, rule)
    assert await borrowed(results, BOB) is seen[0]


async def test_a_session_that_may_more_than_the_rules_is_closed(
    sessions: EndpointSessions, database: Database, results: Endpoint
) -> None:
    """The server holds a session to what the rules were when it began, whatever they are now."""
    async with database.transaction() as conn:
        rule = await allow(conn, results, "/closed/", "rw", who=BOB)
    wide = await sessions.login(results.id, BOB)
    context = cast(
        "TaskContext",
        SimpleNamespace(
            sessions=sessions,
            owner=BOB,
            grant=SimpleNamespace(options={}),
            deletes=False,
            items={1: SimpleNamespace(source_path="/open", destination_path="/in/copy")},
            reached={},
            guest_logins={True: wide, False: wide},
            opened={},
            own_sessions=WeakKeyDictionary(),
        ),
    )
    session = await sessions.open_login(wide)
    context.own_sessions[session] = wide
    context.opened[results.id, False] = (session, wide)
    await look_again(context)
    assert not session.closed
    assert (await session.stat("/closed/d")).size == len("closed/d")
    async with database.transaction() as conn:
        more = await allow(conn, results, "/closed/deeper/", "rw", who=BOB)
        await take_back(conn, rule)
        await take_back(conn, more)
    await look_again(context)
    assert session.closed
    assert context.opened == {}
    with pytest.raises(GridFTPError, match="allow less than before") as caught:
        await session.stat("/open/a")
    assert caught.value.kind is Kind.CONNECTION_LOST
    narrow = await sessions.login(results.id, BOB)
    another = await sessions.open_login(narrow)
    context.own_sessions[another] = narrow
    with pytest.raises(GridFTPError) as caught:
        await another.stat("/closed/d")
    assert caught.value.kind is Kind.PATH_NOT_ALLOWED
    async with database.transaction() as conn:
        await allow(conn, results, "/closed/", who=BOB)
    await look_again(context)
    assert not another.closed, "it may less than the rules"
    await another.close()


async def test_who_is_let_in_and_who_not(
    sessions: EndpointSessions, database: Database, results: Endpoint
) -> None:
    with pytest.raises(NotShared, match="no access rule of “results” lets you in"):
        await sessions.login(results.id, EVE)
    async with database.transaction() as conn:
        await allow(conn, results, "/in/", group=LAB)
    member = replace(EVE, groups=frozenset({LAB}))
    assert (await sessions.login(results.id, member)).restriction is not None
    other_identity = replace(EVE, identities=frozenset({EVE.id, BOB.id}))
    (await sessions.login(results.id, other_identity)).demand(["/open"], writes=False)
    async with database.transaction() as conn:
        await principals.put(conn, member)
    assert await sessions.person(EVE) == member
    assert await sessions.person(BOB) == BOB
    whole = await sessions.login(results.id, ALICE)
    whole.demand(["/", "/closed/d"], writes=True)
    async with database.transaction() as conn:
        await allow(conn, results, "/closed/")
        await allow(
            conn, results, "/", "rw", who=EVE, expires_at=datetime.now(UTC) + timedelta(hours=1)
        )
    (await sessions.login(results.id, EVE)).demand(["/closed/d"], writes=True)
    sessions._now = lambda: datetime.now(UTC) + timedelta(hours=2)
    late = await sessions.login(results.id, EVE)
    late.demand(["/closed/d"], writes=False)
    with pytest.raises(NotShared, match="let you read /closed/d, but not change it"):
        late.demand(["/closed/d"], writes=True)


async def test_a_credential_is_not_used_where_somebody_else_has_led_the_endpoint(
    sessions: EndpointSessions,
    database: Database,
    results: Endpoint,
    lake: Endpoint,
    give: Give,
    domain_a: Domain,
) -> None:
    for who, marked in ((ALICE, 0), (EVE, 1)):
        async with database.transaction() as conn:
            assert await credentials.mark_moved(conn, lake.id, but=who.identities) == marked
    with pytest.raises(ServerMoved, match="another server"):
        await sessions.login(lake.id, ALICE)
    with pytest.raises(SharerMustAct, match=r"alice@example\.org.* before its server was changed"):
        await sessions.login(results.id, BOB)
    await give(domain_a.credential)
    await sessions.login(lake.id, ALICE)
    await sessions.login(results.id, BOB)


async def test_the_sharers_credential_counts_and_nobody_elses(
    sessions: EndpointSessions,
    database: Database,
    results: Endpoint,
    lake: Endpoint,
    give: Give,
    domain_a: Domain,
) -> None:
    await give(domain_a.make_proxy(timedelta(seconds=-60)))
    with pytest.raises(SharerMustAct, match=r"credential of alice@example\.org.* has expired"):
        await sessions.login(results.id, BOB)
    async with database.transaction() as conn:
        await credentials.delete(conn, lake.id, ALICE.id)
    with pytest.raises(SharerMustAct, match="is not there any more") as caught:
        await sessions.login(results.id, BOB)
    assert caught.value.advice == "ask alice@example.org to renew it"
    await give(domain_a.credential)
    await sessions.login(results.id, BOB)


async def test_what_becomes_of_a_share_whose_ground_is_gone(
    sessions: EndpointSessions, database: Database, results: Endpoint, lake: Endpoint
) -> None:
    async def say(what: str | None) -> None:
        async with database.transaction() as conn:
            await conn.execute("DELETE FROM owner_state")
            if what is not None:
                await conn.execute(
                    "INSERT INTO owner_state (owner_id, what) VALUES (%s, %s)", (ALICE.id, what)
                )

    await say("suspended")
    with pytest.raises(SharerSuspended, match=r"account of alice@example\.org"):
        await sessions.login(results.id, BOB)
    await say("deleted")
    with pytest.raises(NoEndpoint, match="is deleted"):
        await sessions.login(results.id, BOB)
    await say(None)
    await sessions.login(results.id, BOB)
    async with database.transaction() as conn:
        await endpoints.mark_deleted(conn, lake.id)
    with pytest.raises(NoEndpoint, match="not registered any more"):
        await sessions.login(results.id, BOB)


async def test_a_server_under_another_name_is_followed(
    database: Database, results: Endpoint, lake: Endpoint
) -> None:
    """Tasks wait for servers, and claim paths there, by what the endpoint's own row says."""
    async with database.transaction() as conn:
        await endpoints.update(conn, replace(lake, host="127.0.0.1", port=2812), None)
        moved = await endpoints.get(conn, results.id)
    assert moved is not None
    assert (moved.host, moved.port) == ("127.0.0.1", 2812)
    assert moved.base == results.share_path


async def test_a_server_that_does_not_restrict_serves_no_guests(
    sessions: EndpointSessions,
    database: Database,
    domain_a: Domain,
    lake: Endpoint,
    results: Endpoint,
    tmp_path: Path,
) -> None:
    with GctServer.start(
        domain_a, tmp_path / "old", args=("-disable-command-list", "SITE RESTRICT")
    ) as server:
        async with database.transaction() as conn:
            await endpoints.update(conn, replace(lake, port=server.port), None)
        with pytest.raises(GridFTPError) as caught:
            async with sessions.borrow(results.id, BOB, writes=False):
                pass
        assert caught.value.kind is Kind.UNSUPPORTED


async def test_a_directory_is_shared_where_it_really_is(
    sessions: EndpointSessions, database: Database, lake: Endpoint, give: Give, place: Path
) -> None:
    """Else a server would tell of links in it what looks as if they led out."""
    del give
    (place.parent / "way").symlink_to(place.parent)
    browser = Browser(sessions)
    found = await browser.real_directory(lake.id, ALICE, f"{place.parent}/way/{place.name}/open")
    assert found == f"{place}/open"
    with pytest.raises(GridFTPError) as caught:
        await browser.real_directory(lake.id, ALICE, f"{place}/open/a")
    assert caught.value.kind is Kind.NOT_A_DIRECTORY
    async with database.transaction() as conn:
        made = await share(conn, lake, ALICE, found)
        await allow(conn, made, who=BOB)
    async with sessions.borrow(made.id, BOB, writes=False) as use:
        names = {one.name async for batch in use.session.list("/") for one in batch}
    assert names == {"a", "deep", "to-a"}


async def test_no_error_tells_of_which_server_it_is(
    sessions: EndpointSessions, database: Database, results: Endpoint, lake: Endpoint
) -> None:
    async def told(port: int, host: str, subject: str | None = None) -> GridFTPError:
        async with database.transaction() as conn:
            moved = replace(lake, host=host, port=port, subject=subject)
            await endpoints.update(conn, moved, None)
        with pytest.raises(GridFTPError) as caught:
            async with sessions.borrow(results.id, BOB, writes=False):
                pass
        assert caught.value.where == f"“results” ({results.id})"
        for name in ("localhost", "127.0.0.1", "nowhere", f":{port}"):
            assert name not in str(caught.value)
        return caught.value

    assert (await told(1, "localhost")).kind is Kind.CONNECT
    assert (await told(2811, "nowhere.invalid")).kind is Kind.CONNECT
    another = await told(lake.port, "localhost", "/O=DomA/CN=localhost.example.org")
    assert another.kind is Kind.UNTRUSTED_HOST
