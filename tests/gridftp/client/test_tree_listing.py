"""Listing whole trees: every entry once, whatever happens on the way, and nothing left behind."""

import asyncio
import os
import socket
import stat
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client import asked, lister, tree_listing
from towpath.gridftp.client.data import listing as data_listing
from towpath.gridftp.client.data.listing import ListingChannel
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.client.tree_listing import ALL_FACTS, Listed, Tree, list_tree
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire.listings import Entry, EntryType

OpenSession = Callable[[], Awaitable[Session]]
LIMIT_S = 60.0
"""For what takes a second; a listing that hangs is told, and not waited for."""


def opener(domain: Domain, server: GctServer, timeouts: Timeouts | None = None) -> OpenSession:
    async def open_session() -> Session:
        return await Session.start(
            Server("localhost", server.port),
            credential=domain.credential,
            trust=domain.trust,
            timeouts=timeouts,
        )

    return open_session


@pytest.fixture
def open_session(domain_a: Domain, server_a: GctServer) -> OpenSession:
    return opener(domain_a, server_a)


@pytest.fixture(scope="module")
def security() -> DataSecurity:
    return DataSecurity(DataCredential.create(datetime.now(UTC)))


@pytest.fixture(params=["control", "data", "as it comes"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each directory by MLSC, or by MLSD, or by what is thought to be faster."""
    use(request.param, monkeypatch)
    return request.param


def use(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cost_s = {"control": float("inf"), "data": -1.0}
    if way in cost_s:
        monkeypatch.setattr(tree_listing, "data_setup_s", lambda _rtt_s: cost_s[way])
        monkeypatch.setattr(lister, "data_setup_s", lambda _rtt_s: float("inf"))


async def collect(parts: AsyncIterator[Listed]) -> tuple[list[Entry], dict[str, GridFTPError]]:
    """All of it; directories are told before what is in them, and nothing twice."""
    entries: list[Entry] = []
    failed: dict[str, GridFTPError] = {}
    known = {""}
    async with asyncio.timeout(LIMIT_S):
        async for part in parts:
            for entry in part.entries:
                assert entry.name.rpartition("/")[0] in known, entry.name
                if entry.type is EntryType.DIRECTORY:
                    known.add(entry.name)
            entries += part.entries
            for path, error in part.failed:
                assert path in known
                assert path not in failed
                failed[path] = error
    twice = [name for name, count in Counter(e.name for e in entries).items() if count > 1]
    assert not twice
    return entries, failed


def really(root: Path) -> dict[str, tuple[EntryType, int]]:
    """What is there, as GCT tells it: links as their targets, broken links not at all."""
    found = {}
    for directory, below, files in os.walk(root):
        for name in below + files:
            path = os.path.join(directory, name)  # noqa: PTH118 - tens of thousands of them
            with suppress(FileNotFoundError):
                there = os.stat(path)  # noqa: PTH116
                kind = EntryType.FILE if stat.S_ISREG(there.st_mode) else EntryType.OTHER
                kind = EntryType.DIRECTORY if stat.S_ISDIR(there.st_mode) else kind
                found[path[len(f"{root}/") :]] = (kind, there.st_size)
    return found


def told(entries: list[Entry]) -> dict[str, tuple[EntryType, int]]:
    return {entry.name: (entry.type, entry.size) for entry in entries}


def touch(path: Path, size: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def fill(directory: Path, count: int, name: str = "f{:06d}") -> None:
    made = set()
    for number in range(count):
        path = f"{directory}/{name.format(number)}"
        above = path.rpartition("/")[0]
        if above not in made:
            os.makedirs(above, exist_ok=True)  # noqa: PTH103 - tens of thousands of them
            made.add(above)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deep, wide, empty, linked and oddly named, all in one."""
    root = tmp_path_factory.mktemp("tree")
    touch(root.joinpath(*[f"deep{level}" for level in range(60)], "f"), 1)
    fill(root / "wide", 1500, "d{:04d}/f")
    fill(root / "large", 2345)
    (root / "empty/empty").mkdir(parents=True)
    for name in ["a b", "日本", "semi;colon; x=y", " lead", "trail ", os.fsdecode(b"\xff"), ".dot"]:
        touch(root / "names" / name / name, 7)
    for number, name in enumerate(["+lost", "-", "#", "!x", "$R.BIN", "(copy)", ",", "'", '"']):
        touch(root / f"early{number}" / name / "f", 3)  # names that sort before "."
    for link, target in [("file", "../large/f000000"), ("dir", "../wide"), ("loop", "..")]:
        (root / "links").mkdir(exist_ok=True)
        (root / "links" / link).symlink_to(target)
    (root / "links/broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    random = Random(7)
    for _ in range(400):
        parts = [random.choice("abc") for _ in range(random.randrange(1, 8))]
        touch(root.joinpath("random", *parts, f"f{random.randrange(20)}"), random.randrange(9))
    return root


async def test_everything_once(
    open_session: OpenSession, security: DataSecurity, way: str, tree: Path
) -> None:
    del way
    entries, failed = await collect(list_tree(open_session, str(tree), security=security))
    assert not failed
    assert told(entries) == really(tree)
    links = {entry.name: entry.link_target for entry in entries if entry.link_target is not None}
    assert links == {
        "links/file": str(tree / "large/f000000"),
        "links/dir": str(tree / "wide"),
        "links/loop": str(tree),
    }
    by_name = {entry.name: entry for entry in entries}
    assert by_name["pipe"].modified == int((tree / "pipe").stat().st_mtime)


@pytest.mark.parametrize("sessions", [1, 2, 5])
@pytest.mark.parametrize("protection", ["N", "C", "P", "C-rsa"])
async def test_every_kind_of_data_channel(
    open_session: OpenSession,
    sessions: int,
    protection: str,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use("data", monkeypatch)
    security = DataSecurity()
    if protection != "N":
        key_type = "rsa" if protection.endswith("rsa") else "ec"
        credential = DataCredential.create(datetime.now(UTC), key_type=key_type)
        security = DataSecurity(credential, Protection(protection[0]))
    listing = list_tree(open_session, f"{tree}/", security=security, sessions=sessions)
    entries, failed = await collect(listing)
    assert not failed
    assert told(entries) == really(tree)


async def test_the_servers_own_recursive_listing_loses_directories(
    open_session: OpenSession, tmp_path: Path
) -> None:
    """Why MLSR is not used. When this fails, a server has appeared on which it could be."""
    touch(tmp_path / "a/+lost/f")
    touch(tmp_path / "a/f")
    session = await open_session()
    arrived = asyncio.Event()
    channel = ListingChannel(
        DataSecurity(), frozenset({"127.0.0.1"}), where="", on_change=arrived.set
    )
    await session.answers(session.submit(channel.listen("127.0.0.1")))
    assert (await session.command(f"MLSR {tmp_path}")).code == 226
    while not (channel.listings and channel.listings[0].ended):
        arrived.clear()
        await arrived.wait()
    data = channel.listings[0].take()
    assert b" a/f\r\n" in data
    assert b"+lost" not in data
    channel.close()
    await session.close()


# -- roots


@pytest.mark.parametrize("place", ["missing", "file", "closed"])
async def test_a_root_that_cannot_be_listed_raises(
    domain_a: Domain,
    unprivileged_server: GctServer,
    security: DataSecurity,
    open_tmp_path: Path,
    way: str,
    place: str,
) -> None:
    del way
    touch(open_tmp_path / "file", 1)
    (open_tmp_path / "closed").mkdir(mode=0o000)
    root = str(open_tmp_path / place)
    with pytest.raises(GridFTPError) as caught:
        await collect(list_tree(opener(domain_a, unprivileged_server), root, security=security))
    assert caught.value.path == root
    assert (
        caught.value.kind
        is {
            "missing": Kind.NOT_FOUND,
            "file": Kind.NOT_A_DIRECTORY,
            "closed": Kind.PERMISSION_DENIED,
        }[place]
    )


async def test_an_empty_root(
    open_session: OpenSession, security: DataSecurity, way: str, tmp_path: Path
) -> None:
    del way
    assert await collect(list_tree(open_session, str(tmp_path), security=security)) == ([], {})


async def test_all_facts(open_session: OpenSession, tmp_path: Path) -> None:
    touch(tmp_path / "d/f", 5)
    (tmp_path / "d/f").chmod(0o640)
    entries, _ = await collect(list_tree(open_session, str(tmp_path), facts=ALL_FACTS))
    file = {entry.name: entry for entry in entries}["d/f"]
    assert (file.mode, file.size, file.unique is None) == (0o640, 5, False)
    assert file.owner == (tmp_path / "d/f").owner()


# -- directories that cannot be listed


async def test_a_closed_directory_in_the_middle(
    domain_a: Domain,
    unprivileged_server: GctServer,
    security: DataSecurity,
    open_tmp_path: Path,
    way: str,
) -> None:
    del way
    root = open_tmp_path / "tree"
    for number in range(30):
        fill(root / f"a{number}/b{number}", 3)
    closed = [root / "a3/b3", root / "a7/b7", root / "a8/b8", root / "a20"]
    for directory in closed:
        directory.chmod(0o000)
    expected = {
        path: facts
        for path, facts in really(root).items()  # root of this machine may see it all
        if not any((root / path).is_relative_to(directory / "x") for directory in closed)
        and not any(directory in (root / path).parents for directory in closed)
    }
    session = opener(domain_a, unprivileged_server)
    entries, failed = await collect(list_tree(session, str(root), security=security))
    assert told(entries) == expected
    assert set(failed) == {"a3/b3", "a7/b7", "a8/b8", "a20"}
    assert {error.kind for error in failed.values()} == {Kind.PERMISSION_DENIED}
    assert failed["a20"].path == str(root / "a20")


@pytest.mark.parametrize(
    "name", ["line\nbreak", "x\n250 End.\r\n200 forged", "end\r", "x\n150-y", "x\n150 y\r"]
)
async def test_a_directory_with_a_name_that_no_line_can_hold(
    open_session: OpenSession, security: DataSecurity, way: str, tmp_path: Path, name: str
) -> None:
    del way
    for number in range(40):
        fill(tmp_path / f"d{number}", 3)
    (tmp_path / "d7" / name).touch()
    (tmp_path / "d30" / name).touch()
    entries, failed = await collect(list_tree(open_session, str(tmp_path), security=security))
    assert set(failed) == {"d7", "d30"}
    assert {error.kind for error in failed.values()} == {Kind.INVALID_NAME}
    good = {path for path in really(tmp_path) if not path.startswith(("d7/", "d30/"))}
    assert set(told(entries)) == good


@pytest.fixture
def open_in_clear(domain_a: Domain, tmp_path: Path) -> Iterator[OpenSession]:
    args = ["-aa", "-anonymous-user", "root"] if os.getuid() == 0 else ["-aa"]
    with GctServer.start(domain_a, tmp_path / "server", args=args) as server:

        async def open_session() -> Session:
            return await Session.start(
                Server("localhost", server.port), credential=None, trust=None
            )

        yield open_session


async def test_clear_text_carries_ascii_names_only(
    open_in_clear: OpenSession, tmp_path: Path
) -> None:
    fill(tmp_path / "tree/dé", 2)
    fill(tmp_path / "tree/d", 2)
    entries, failed = await collect(list_tree(open_in_clear, str(tmp_path / "tree")))
    assert set(told(entries)) == {"dé", "d", "d/f000000", "d/f000001"}
    assert [(path, error.kind) for path, error in failed.items()] == [("dé", Kind.INVALID_NAME)]


async def test_in_clear_text_a_name_cannot_answer_for_other_directories(
    open_in_clear: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("control", monkeypatch)
    root = tmp_path / "tree"
    fill(root, 40, "d{:02d}/f")
    (root / "d07" / ("a" + "\r\n250 End." * 20)).touch()
    entries, failed = await collect(list_tree(open_in_clear, str(root)))
    assert list(failed) == ["d07"]
    assert set(told(entries)) == {path for path in really(root) if not path.startswith("d07/")}


# -- large directories


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one directory with very many files."""
    root = tmp_path_factory.mktemp("large")
    fill(root / "d", 20_000)
    return root


@pytest.mark.parametrize("below", ["", "d"])
async def test_twenty_thousand_files_in_one_directory(
    open_session: OpenSession, security: DataSecurity, way: str, large: Path, below: str
) -> None:
    opened = 0

    async def counted() -> Session:
        nonlocal opened
        opened += 1
        return await open_session()

    root = str(large / below)
    entries, failed = await collect(list_tree(counted, root, security=security))
    assert not failed
    assert len(entries) == 20_000 + (not below)
    # It is worth beginning again, by data, although another session is needed.
    assert opened == (2 if way == "as it comes" else 1)


class Cut:
    """Cuts data connections after so many bytes of one listing, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after_bytes: int, times: int) -> None:
        self.times = times
        self.meanwhile: Callable[[], None] = lambda: None
        take = data_listing.Arriving.take
        seen: dict[int, int] = {}

        def counted(arriving: data_listing.Arriving) -> bytes:
            data = take(arriving)
            seen[id(arriving)] = seen.get(id(arriving), 0) + len(data)
            if self.times and seen[id(arriving)] > after_bytes:
                self.times -= 1
                seen.clear()
                self.meanwhile()
                channel = arriving._channel
                assert channel._chosen is not None
                channel._chosen._end(GridFTPError(Kind.DATA_BROKEN, "cut", ""))
            return data

        monkeypatch.setattr(data_listing.Arriving, "take", counted)


@pytest.mark.parametrize("times", [1, 2, 9])
async def test_a_listing_that_breaks_half_way_tells_each_entry_once(
    open_session: OpenSession,
    security: DataSecurity,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """After a few times it goes on without data channels."""
    use("data", monkeypatch)
    cut = Cut(monkeypatch, 700_000, times)
    entries, failed = await collect(list_tree(open_session, str(large), security=security))
    assert cut.times == max(0, times - tree_listing.MAX_DATA_TROUBLES)
    assert not failed
    assert told(entries) == really(large)


async def test_a_directory_that_changes_before_it_is_listed_again_is_told(
    open_session: OpenSession,
    security: DataSecurity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use("data", monkeypatch)
    cut = Cut(monkeypatch, 700_000, 1)
    fill(tmp_path / "large", 20_000)
    fill(tmp_path / "other", 10)
    cut.meanwhile = (tmp_path / "large/f000100").unlink
    entries, failed = await collect(list_tree(open_session, str(tmp_path), security=security))
    assert list(failed) == ["large"]
    assert failed["large"].kind is Kind.DATA_BROKEN
    assert {f"other/f{number:06d}" for number in range(10)} <= set(told(entries))


# -- servers that do not reach us


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A listener that takes no connection: the server's waits for us, as behind a firewall."""
    listen = ListingChannel.listen
    with socket.create_server(("127.0.0.1", 0)) as hole:
        high, low = divmod(hole.getsockname()[1], 256)

        def elsewhere(self: ListingChannel, address: str) -> list[str]:
            lines = listen(self, address)
            return [*lines[:-1], f"PORT 127,0,0,1,{high},{low}"]

        monkeypatch.setattr(ListingChannel, "listen", elsewhere)
        monkeypatch.setattr(lister, "CONNECT_WAIT_S", 0.5)
        yield


async def test_a_server_without_mlsc(
    open_session: OpenSession, security: DataSecurity, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lister.commands, "mlsc", lambda path: f"XMLSC {path}")
    entries, failed = await collect(list_tree(open_session, str(tree), security=security))
    assert not failed
    assert told(entries) == really(tree)


@pytest.mark.usefixtures("deaf")
async def test_a_server_without_mlsc_that_does_not_reach_us(
    open_session: OpenSession, security: DataSecurity, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lister.commands, "mlsc", lambda path: f"XMLSC {path}")
    with pytest.raises(GridFTPError) as caught:
        await collect(list_tree(open_session, str(tree), security=security))
    assert caught.value.kind is Kind.UNSUPPORTED


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("sessions", [1, 3])
async def test_a_server_that_does_not_reach_us(
    open_session: OpenSession,
    security: DataSecurity,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    sessions: int,
) -> None:
    use("data", monkeypatch)
    listing = list_tree(open_session, str(tree), security=security, sessions=sessions)
    entries, failed = await collect(listing)
    assert not failed
    assert told(entries) == really(tree)


@pytest.mark.parametrize("refused", ["PORT 127,0,0,1,0,1", "DCSC P garbage", "PROT X"])
async def test_a_data_channel_that_cannot_be_set_up(
    open_session: OpenSession,
    security: DataSecurity,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
) -> None:
    use("data", monkeypatch)
    listen = ListingChannel.listen

    def wrongly(self: ListingChannel, address: str) -> list[str]:
        verb = refused.partition(" ")[0]
        lines = listen(self, address)
        return [refused if line.startswith(verb) else line for line in lines]

    monkeypatch.setattr(ListingChannel, "listen", wrongly)
    entries, failed = await collect(list_tree(open_session, str(tree), security=security))
    assert not failed
    assert told(entries) == really(tree)


async def test_strangers_on_the_data_channel(
    open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone connects first, as anyone on the way could: the listing is the server's all the
    same, with a credential, and else, from the server's address, it cannot be told apart."""
    use("data", monkeypatch)
    fill(tmp_path, 30, "d{}/f")
    listen = ListingChannel.listen
    strangers: list[socket.socket] = []

    def with_stranger(self: ListingChannel, address: str) -> list[str]:
        self._allowed = frozenset({"192.0.2.1"})  # the server's; the stranger is another
        lines = listen(self, address)
        port = [int(number) for number in lines[-1].rpartition(" ")[2].split(",")][-2:]
        stranger = socket.create_connection(("127.0.0.1", port[0] * 256 + port[1]))
        stranger.sendall(b"\x16\x03\x01\x00\x05hello")
        strangers.append(stranger)
        return lines

    monkeypatch.setattr(ListingChannel, "listen", with_stranger)
    security = DataSecurity(DataCredential.create(datetime.now(UTC)))
    try:
        entries, failed = await collect(list_tree(open_session, str(tmp_path), security=security))
    finally:
        for stranger in strangers:
            stranger.close()
    assert strangers
    assert not failed
    assert told(entries) == really(tmp_path)


# -- sessions that end, and consumers that do


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.02)


def sockets() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of this very listing
            found.add(str(descriptor.readlink()))
    return {link for link in found if link.startswith("socket:")}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree that takes some time."""
    root = tmp_path_factory.mktemp("busy")
    for number in range(150):
        fill(root / f"d{number}", 100)
    return root


@pytest.fixture
def own_server(domain_a: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GctServer]:
    with GctServer.start(domain_a, tmp_path_factory.mktemp("own")) as server:
        yield server


async def test_sessions_killed_half_way_are_replaced(
    domain_a: Domain, own_server: GctServer, security: DataSecurity, way: str, busy: Path
) -> None:
    del way
    parts: list[Listed] = []
    kills = 3

    async def watched() -> AsyncIterator[Listed]:
        nonlocal kills
        async for part in list_tree(opener(domain_a, own_server), str(busy), security=security):
            parts.append(part)
            if kills and sum(len(part.entries) for part in parts) > 3_000 * (4 - kills):
                kills -= 1
                own_server.kill_sessions()
            yield part

    entries, failed = await collect(watched())
    assert kills == 0
    assert not failed
    assert told(entries) == really(busy)


async def test_a_server_killed_half_way_raises(
    domain_a: Domain, own_server: GctServer, security: DataSecurity, way: str, busy: Path
) -> None:
    del way

    async def consume() -> None:
        async for _ in list_tree(opener(domain_a, own_server), str(busy), security=security):
            own_server.stop()

    with pytest.raises(GridFTPError) as caught:
        await asyncio.wait_for(consume(), LIMIT_S)
    assert caught.value.kind in (Kind.CONNECT, Kind.CONNECTION_LOST)


@pytest.mark.parametrize("after", [1, 5])
async def test_a_consumer_that_stops_early_leaves_nothing_behind(
    domain_a: Domain,
    own_server: GctServer,
    security: DataSecurity,
    way: str,
    busy: Path,
    after: int,
) -> None:
    del way
    await asyncio.to_thread(int)  # the executor's own thread and socket are not ours
    before, tasks = sockets(), asyncio.all_tasks()
    listing = list_tree(opener(domain_a, own_server), str(busy), security=security)
    async with aclosing(listing):
        for _ in range(after):
            await anext(listing)
    await until(lambda: not sockets() - before)
    await until(lambda: not own_server.session_pids())
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("delay_s", [0, 0.02, 0.05, 0.1, 0.3])
async def test_cancelling_leaves_nothing_behind(
    domain_a: Domain,
    own_server: GctServer,
    security: DataSecurity,
    way: str,
    busy: Path,
    delay_s: float,
) -> None:
    """At whatever moment: connecting, in a login, while data come."""
    del way
    await asyncio.to_thread(int)
    before, tasks = sockets(), asyncio.all_tasks()

    async def consume() -> None:
        async with aclosing(
            list_tree(opener(domain_a, own_server), str(busy), security=security)
        ) as listing:
            async for _ in listing:
                await asyncio.sleep(0.05)

    task = asyncio.create_task(consume())
    await asyncio.sleep(delay_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(LIMIT_S):
            await task
    await until(lambda: not sockets() - before)
    await until(lambda: not own_server.session_pids())
    assert asyncio.all_tasks() == tasks


async def test_a_whole_listing_leaves_nothing_behind(
    domain_a: Domain, own_server: GctServer, security: DataSecurity, way: str, busy: Path
) -> None:
    del way
    await asyncio.to_thread(int)
    before, tasks = sockets(), asyncio.all_tasks()
    await collect(list_tree(opener(domain_a, own_server), str(busy), security=security))
    await until(lambda: not sockets() - before)
    await until(lambda: not own_server.session_pids())
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("after", [1, None])
async def test_sessions_are_kept_after_a_whole_listing_only(
    domain_a: Domain,
    own_server: GctServer,
    security: DataSecurity,
    way: str,
    busy: Path,
    after: int | None,
) -> None:
    del way
    kept: list[Session] = []
    open_session = opener(domain_a, own_server)
    listing = list_tree(open_session, str(busy), security=security, keep_session=kept.append)
    if after:
        async with aclosing(listing):
            await anext(listing)
        assert not kept
        return
    await collect(listing)
    assert kept
    spare = list(kept)

    async def kept_session() -> Session:
        return spare.pop() if spare else await open_session()

    entries, _ = await collect(list_tree(kept_session, str(busy), keep_session=kept.append))
    assert len(entries) == 15_150
    for session in set(kept):
        assert (await session.command("NOOP")).ok
        assert await session.close()


@pytest.mark.parametrize("shape", [pytest.param("wide", marks=pytest.mark.long), "flat"])
async def test_while_nobody_takes_anything_the_servers_wait(
    open_session: OpenSession,
    security: DataSecurity,
    way: str,
    tmp_path: Path,
    shape: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del way
    monkeypatch.setattr(tree_listing, "WAITING_ENTRIES", 5_000)
    if shape == "flat":
        fill(tmp_path, 30_000)
    else:
        for number in range(60):
            fill(tmp_path / f"d{number}", 500)
    tree = Tree(open_session, str(tmp_path), security, 3, tree_listing.FACTS)
    tree.start()
    most = tree_listing.WAITING_ENTRIES + 3 * asked.HELD_ENTRIES
    last = -1
    while last != tree._in_basket or not last:
        last = tree._in_basket
        assert last <= most
        await asyncio.sleep(0.3)
    assert last >= tree_listing.WAITING_ENTRIES
    count = 0
    while (part := await tree.next()) is not None:
        count += len(part.entries)
    await tree.close()
    assert count == 30_000 + (60 if shape == "wide" else 0)


async def test_a_server_that_takes_no_second_session(
    open_session: OpenSession, security: DataSecurity, way: str, busy: Path
) -> None:
    del way
    opened = 0

    async def only_one() -> Session:
        nonlocal opened
        opened += 1
        if opened > 1:
            raise GridFTPError(Kind.CONNECT, "too many", "")
        return await open_session()

    entries, failed = await collect(list_tree(only_one, str(busy), security=security))
    assert not failed
    assert told(entries) == really(busy)
    assert 2 <= opened <= 3  # all that were wanted, once


@pytest.mark.parametrize("eager", [False, True])
async def test_a_server_that_takes_one_session_at_a_time(
    open_session: OpenSession,
    security: DataSecurity,
    large: Path,
    monkeypatch: pytest.MonkeyPatch,
    eager: bool,
) -> None:
    """Even the one that has begun anew, by data, waits until the first is gone."""
    monkeypatch.setattr(tree_listing, "EAGER_RTT_S", 0.0 if eager else 1.0)
    calls = 0

    async def slowly_free() -> Session:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            raise GridFTPError(Kind.CONNECT, "too many", "")
        return await open_session()

    root = str(large / "d")
    entries, failed = await collect(list_tree(slowly_free, root, security=security))
    assert not failed
    assert len(entries) == 20_000
    assert calls >= 4


async def test_no_session_at_all(domain_a: Domain, own_server: GctServer, domain_b: Domain) -> None:
    async def as_a_stranger() -> Session:
        return await Session.start(
            Server("localhost", own_server.port),
            credential=domain_b.credential,
            trust=domain_a.trust,
        )

    with pytest.raises(GridFTPError) as caught:
        await collect(list_tree(as_a_stranger, "/"))
    assert caught.value.kind is Kind.AUTHENTICATION
    own_server.stop()
    with pytest.raises(GridFTPError) as caught:
        await collect(list_tree(opener(domain_a, own_server), "/"))
    assert caught.value.kind is Kind.CONNECT
