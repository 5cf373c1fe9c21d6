"""Sessions on a real server."""

import asyncio
import contextlib
import hashlib
import os
import pwd
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from plugins.sessions import OpenSession
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.listing import BATCH_ENTRIES, WAITING_BATCHES, Listing
from towpath.gridftp.client.session import Server, Session, account_of
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import EntryType
from towpath.gridftp.wire.ranges import ByteRange
from towpath.gridftp.wire.replies import Reply

ODD_NAMES = [
    b"; odd = name; ",
    b"quo\"te's \\ back",
    b" leading and trailing ",
    "žluťoučký 🐎".encode(),
    b"latin-1 \xe9\xff",
    b"\x01\x7f\t control",
    b"-rf",
    b"%2e%2e*?[a]{b}$HOME`id`",
    b"x" * 255,
    b"250 End.",
]


def name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@pytest.fixture(scope="module")
def anonymous_server(
    domain_a: Domain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GctServer]:
    args = ["-aa", "-anonymous-user", "root"] if os.getuid() == 0 else ["-aa"]
    with GctServer.start(domain_a, tmp_path_factory.mktemp("anonymous"), args=args) as server:
        yield server


LARGE_DIRECTORY = 9_000


@pytest.fixture(scope="module")
def large_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large")
    for number in range(LARGE_DIRECTORY):
        (path / f"f{number:05d}").touch()
    return path


async def raised(awaitable) -> GridFTPError:
    with pytest.raises(GridFTPError) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize(
    ("reply", "account"),
    [
        (Reply.of(230, "User ada logged in."), "ada"),
        (Reply.of(230, "Welcome", "User ada logged in, proceed."), "ada"),
        (Reply.of(230, "You are in."), None),
        (Reply.of(331, "User ada logged in."), None),
        (Reply.of(230, "User \udce9 logged in."), None),
        (Reply.of(230, f"User {'a' * 257} logged in."), None),
    ],
)
def test_whom_a_greeting_names(reply: Reply, account: str | None) -> None:
    assert account_of(reply) == account


@pytest.mark.parametrize("delegate", [False, True])
async def test_login(open_a, delegate: bool) -> None:
    session = await open_a(delegate=delegate)
    assert session.peer_ip == "127.0.0.1"
    assert session.peer_subject == "/O=DomA/CN=localhost"
    assert session.home
    assert "SHA256" in session.features.checksums
    assert session.features.dcsc
    assert await session.whoami()
    assert session.account == pwd.getpwuid(os.geteuid()).pw_name
    assert not session.closed
    assert await session.close() is True
    assert session.closed
    assert (await raised(session.command("NOOP"))).kind is Kind.CONNECTION_LOST


async def test_the_server_process_is_gone_when_close_says_so(open_a, server_a) -> None:
    before = set(server_a.session_pids())
    session = await open_a()
    mine = set(server_a.session_pids()) - before
    assert len(mine) == 1
    assert await session.close() is True
    async with asyncio.timeout(5):
        while mine & set(server_a.session_pids()):
            await asyncio.sleep(0.01)


async def test_clear_text_takes_ascii_names_only(anonymous_server, tmp_path) -> None:
    session = await Session.open(
        Server("localhost", anonymous_server.port), credential=None, trust=None
    )
    assert session.peer_subject is None
    await session.mkdir(f"{tmp_path}/ascii")
    assert (tmp_path / "ascii").is_dir()
    error = await raised(session.mkdir(f"{tmp_path}/dé"))
    assert error.kind is Kind.INVALID_NAME
    assert [path.name for path in tmp_path.iterdir()] == ["ascii"]
    assert [
        entry.name for batch in [b async for b in session.list(str(tmp_path))] for entry in batch
    ]
    assert await session.close()


async def test_odd_names_are_listed_and_used(open_a, tmp_path) -> None:
    session = await open_a()
    for number, raw in enumerate(ODD_NAMES):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + raw)).write_bytes(b"x" * number)
    entries = {e.name: e async for batch in session.list(str(tmp_path)) for e in batch}
    assert sorted(entries) == sorted(map(name, ODD_NAMES))
    for number, raw in enumerate(ODD_NAMES):
        path = f"{tmp_path}/{name(raw)}"
        assert entries[name(raw)].size == number
        assert (await session.stat(path)).size == number
        assert await session.size(path) == number
        assert await session.checksum(path, "MD5") == hashlib.md5(b"x" * number).hexdigest()
        await session.rename(path, path + "2" if len(raw) < 255 else path[:-1])
    assert len(list(tmp_path.iterdir())) == len(ODD_NAMES)
    await session.mkdir(f"{tmp_path}/ {name(ODD_NAMES[3])}")
    assert (await session.stat(f"{tmp_path}/ {name(ODD_NAMES[3])}")).type is EntryType.DIRECTORY


@pytest.mark.parametrize("bad", ["a\nb", "a\r\nDELE b", "a\0b"])
async def test_names_that_would_be_commands_are_never_sent(open_a, tmp_path, bad: str) -> None:
    session = await open_a()
    (tmp_path / "b").write_text("keep")
    for call in (session.stat, session.mkdir, session.delete_file, session.size):
        assert (await raised(call(f"{tmp_path}/{bad}"))).kind is Kind.INVALID_NAME
    assert (await raised(anext(session.list(f"{tmp_path}/{bad}")))).kind is Kind.INVALID_NAME
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    await session.command("NOOP")


@pytest.mark.parametrize("hostile", ["two\nlines", "x\n250 End.\r\n200 forged", "x\r\n150 End."])
async def test_a_name_cannot_forge_replies(open_a, tmp_path, hostile: str) -> None:
    session = await open_a()
    (tmp_path / hostile).touch()
    (tmp_path / "other").touch()

    async def read() -> None:
        async for _ in session.list(str(tmp_path)):
            pass

    assert (await raised(read())).kind is Kind.INVALID_NAME
    assert session.closed


async def test_a_forged_end_on_a_clear_text_session_ends_it(anonymous_server, tmp_path) -> None:
    session = await Session.open(
        Server("localhost", anonymous_server.port), credential=None, trust=None
    )
    for hostile in ("x\n250 End.\r\n200 forged", "other"):
        (tmp_path / hostile).touch()

    async def use() -> None:
        async for _ in session.list(str(tmp_path)):
            pass
        await session.command("NOOP")
        await session.command("NOOP")

    assert (await raised(use())).kind in (Kind.INVALID_NAME, Kind.PROTOCOL)
    assert session.closed


async def test_a_large_directory_comes_in_batches_no_faster_than_it_is_read(
    open_a, large_directory
) -> None:
    count = LARGE_DIRECTORY
    session = await open_a()
    batches = session.list(str(large_directory))
    first = await anext(batches)
    assert 0 < len(first) <= BATCH_ENTRIES
    listing = session.channel._queue[0]
    assert isinstance(listing, Listing)
    async with asyncio.timeout(20):
        while session.channel._transport.is_reading():
            await asyncio.sleep(0.001)
    waiting = sum(map(len, listing._batches))
    # one portion of the socket may come after the decision to pause
    assert waiting <= WAITING_BATCHES * BATCH_ENTRIES + 4000 < count
    names = [entry.name for entry in first]
    names += [entry.name async for batch in batches for entry in batch]
    assert sorted(names) == [f"f{number:05d}" for number in range(count)]
    await session.command("NOOP")


async def test_a_listing_left_early_ends_the_session(open_a, large_directory) -> None:
    session = await open_a()
    batches = session.list(str(large_directory))
    await anext(batches)
    await batches.aclose()
    assert session.closed


async def test_listing_what_is_not_there(open_a, tmp_path) -> None:
    session = await open_a()
    error = await raised(anext(session.list(f"{tmp_path}/none")))
    assert error.kind is Kind.NOT_FOUND
    assert error.path == f"{tmp_path}/none"
    (tmp_path / "empty").mkdir()
    assert [b async for b in session.list(f"{tmp_path}/empty")] == []


async def test_directories(open_a, tmp_path) -> None:
    session = await open_a()
    await session.make_directories(f"{tmp_path}/a/b/c/")
    await session.make_directories(f"{tmp_path}/a/b/c")
    assert (tmp_path / "a/b/c").is_dir()
    assert (await raised(session.mkdir(f"{tmp_path}/a"))).kind is Kind.EXISTS
    assert (await raised(session.delete_directory(f"{tmp_path}/a"))).kind is Kind.NOT_EMPTY
    await session.delete_directory(f"{tmp_path}/a/b/c")
    (tmp_path / "file").touch()
    error = await raised(session.make_directories(f"{tmp_path}/file"))
    assert error.kind is Kind.NOT_A_DIRECTORY
    error = await raised(session.make_directories(f"{tmp_path}/file/below"))
    assert error.kind is Kind.NOT_A_DIRECTORY
    assert (await raised(session.mkdir(f"{tmp_path}/no/such"))).kind is Kind.NOT_FOUND


async def test_files(open_a, tmp_path) -> None:
    session = await open_a()
    path = f"{tmp_path}/file"
    content = os.urandom(5000)
    Path(path).write_bytes(content)
    digest = await session.checksum(path, "SHA256", ByteRange(1000, 3000))
    assert digest == hashlib.sha256(content[1000:3000]).hexdigest()
    error = await raised(session.checksum(path, "CRC99"))
    assert error.kind is Kind.CHECKSUM_UNSUPPORTED
    await session.set_modified(path, 1577934245)
    entry = await session.stat(path)
    assert (entry.modified, entry.size, entry.type) == (1577934245, 5000, EntryType.FILE)
    assert (await raised(session.rename(f"{tmp_path}/none", path))).kind is Kind.NOT_FOUND
    await session.delete_file(path)
    assert not Path(path).exists()
    for call in (session.delete_file, session.size, session.stat):
        assert (await raised(call(path))).kind is Kind.NOT_FOUND


async def test_more_commands_than_a_server_queues(open_a) -> None:
    session = await open_a()
    lines = ["PWD" if number % 3 else "NOOP" for number in range(3000)]
    replies = await session.answers(session.submit(lines))
    assert [reply.code for reply in replies] == [257 if n % 3 else 200 for n in range(3000)]


async def test_an_answer_nobody_waits_for_does_not_shift_the_next(open_a) -> None:
    session = await open_a()
    waiting = asyncio.create_task(session.command("PWD"))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await session.command("SITE WHOAMI")).code == 200


async def test_commands_sent_during_the_login(server_a, domain_a) -> None:
    session = await Session.start(
        Server("localhost", server_a.port), credential=domain_a.credential, trust=domain_a.trust
    )
    early = session.submit(["SITE WHOAMI", "NOOP"])
    await session.ready()
    assert [reply.code for reply in await session.answers(early)] == [200, 200]
    await session.close()


async def test_a_killed_server_is_noticed(open_a, server_a) -> None:
    session = await open_a()
    server_a.kill_sessions()

    async def use() -> None:
        async with asyncio.timeout(5):
            while True:
                await session.command("NOOP")

    assert (await raised(use())).kind is Kind.CONNECTION_LOST
    assert await session.close() is True


async def test_a_restriction_holds_for_the_whole_session(open_a, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "theirs").mkdir()
    session = await open_a(restriction=f"RW{tmp_path}/mine")
    await session.mkdir(f"{tmp_path}/mine/made")
    for path in (f"{tmp_path}/theirs", "/etc/passwd"):
        assert (await raised(session.stat(path))).kind is Kind.PATH_NOT_ALLOWED
    with pytest.raises(GridFTPError):
        await session.command("SITE RESTRICT RW/")
    assert (await raised(session.stat("/etc/passwd"))).kind is Kind.PATH_NOT_ALLOWED


async def test_the_way_to_the_server_is_measured(open_a) -> None:
    session = await open_a()
    assert 0 < session.rtt_s < 1


@pytest.mark.parametrize(
    "act",
    [
        lambda session, path: session.mkdir(path),
        lambda session, path: session.make_directories(path),
        lambda session, path: session.make_link(path, f"{path}/.."),
        lambda session, path: session.rename(f"{path}/../kept", path),
        lambda session, path: session.set_modified(f"{path}/../kept", 0),
        lambda session, path: session.set_mode(f"{path}/../kept", 0),
        lambda session, path: session.set_group(f"{path}/../kept", "root"),
        lambda session, path: session.truncate(f"{path}/../kept", 0),
        lambda session, path: session.delete_file(f"{path}/../kept"),
        lambda session, path: session.delete_directory(f"{path}/../directory"),
        lambda session, path: session.delete_tree(f"{path}/../directory"),
    ],
)
async def test_a_session_that_may_only_read_changes_nothing(
    open_a: OpenSession, tmp_path: Path, act: Callable[[Session, str], Awaitable[None]]
) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "directory").mkdir()
    before = {path: path.stat() for path in tmp_path.iterdir()}
    session = await open_a()
    session.channel.only_reads = True
    looking = asyncio.create_task(session.stat(str(tmp_path / "kept")))
    with pytest.raises(GridFTPError, match="may only read"):
        await act(session, str(tmp_path / "new"))
    with contextlib.suppress(GridFTPError):  # what was gathered before it may be lost with it
        assert (await looking).size == 4
    assert session.closed
    assert {path: path.stat() for path in tmp_path.iterdir()} == before


async def test_a_session_that_may_only_read_does_so(open_a: OpenSession, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    session = await open_a()
    session.channel.only_reads = True
    assert [entry.name async for batch in session.list(str(tmp_path)) for entry in batch] == ["f"]
    assert await session.checksum(str(tmp_path / "f"), "MD5") == hashlib.md5(b"f").hexdigest()
