"""Copies between two servers of two authorities, as a library does them."""

import asyncio
import filecmp
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.processes import descendants
from towpath.gridftp.client import tree
from towpath.gridftp.client.copy.between import Lanes
from towpath.gridftp.client.copy.copying import copy
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.plan import Access, CopyingOptions, End, Progress
from towpath.gridftp.client.lane import Piece
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.ranges import move_file
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire.features import Features
from towpath.gridftp.wire.listings import Entry

MEBIBYTE = 1024 * 1024


@dataclass
class Heard(Progress):
    """A progress that remembers."""

    planned_bytes: int = 0
    moved_bytes: int = 0
    finished: list[str] = field(default_factory=list)
    failures: dict[str, Kind] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def planned(self, size: int) -> None:
        self.planned_bytes += size

    def moved(self, count: int) -> None:
        self.moved_bytes += count

    def done(self, path: str) -> None:
        self.finished.append(path)

    def failed(self, path: str, error: GridFTPError) -> None:
        self.failures[path] = error.kind

    def skipped(self, path: str, reason: str) -> None:
        self.left_out[path] = reason


@dataclass
class Ends:
    """Two directories on the two servers."""

    accesses: tuple[Access, Access]
    servers: tuple[GctServer, GctServer]
    root: Path

    def at(self, number: int, name: str) -> End:
        """A path below source (0) or destination (1)."""
        path = str(self.root / ("src", "dst")[number] / name)
        location = Location(path, Server("localhost", self.servers[number].port))
        return End(location, self.accesses[number])

    def sessions(self) -> set[int]:
        """The processes of both servers' sessions."""
        return {pid for server in self.servers for pid in descendants(server.pid)}

    async def watch(self, seen: set[int]) -> None:
        """Add all sessions to `seen`; a login takes longer than a look."""
        while True:
            seen |= self.sessions()
            await asyncio.sleep(0.005)


@pytest.fixture
def ends(
    tmp_path: Path,
    domain_a: Domain,
    domain_b: Domain,
    server_a: GctServer,
    server_b: GctServer,
) -> Ends:
    (tmp_path / "src").mkdir()
    (tmp_path / "dst").mkdir()
    here, there = (Access(domain.credential, domain.trust) for domain in (domain_a, domain_b))
    return Ends((here, there), (server_a, server_b), tmp_path)


async def test_a_large_file_goes_on_where_it_was_cut(ends: Ends) -> None:
    size = 400 * MEBIBYTE
    source, destination = ends.root / "src/big", ends.root / "dst/big"
    source.write_bytes(os.urandom(MEBIBYTE) * 400)
    heard = Heard()
    copying = asyncio.create_task(
        copy(ends.at(0, "big"), ends.at(1, "big"), CopyingOptions(), heard)
    )
    while heard.moved_bytes < size // 3:
        await asyncio.sleep(0.01)
    before = heard.moved_bytes
    for pid in descendants(ends.servers[1].pid):
        os.kill(pid, signal.SIGKILL)
    assert await copying
    assert before < size, "it was cut in the middle"
    assert heard.moved_bytes == size, "what was compared was not sent again"
    assert filecmp.cmp(source, destination, shallow=False)


async def test_large_and_small_files_of_a_tree(ends: Ends, monkeypatch) -> None:
    monkeypatch.setattr(tree, "LARGE_BYTES", 20 * MEBIBYTE)
    (ends.root / "src/deep/down").mkdir(parents=True)
    for number in range(40):
        (ends.root / f"src/deep/f{number}").write_bytes(os.urandom(number))
    for name in ("deep/down/large-1", "large-2"):
        (ends.root / "src" / name).write_bytes(os.urandom(MEBIBYTE) * 33)
    (ends.root / "src/link").symlink_to(ends.root / "src/deep")
    heard = Heard()
    assert await copy(ends.at(0, ""), ends.at(1, "new"), CopyingOptions(recursive=True), heard)
    assert len(heard.finished) == 42
    assert list(heard.left_out.values()) == ["a link to a directory"]
    difference = filecmp.dircmp(ends.root / "src", ends.root / "dst/new")
    assert difference.left_only == ["link"]
    for path in (ends.root / "src").rglob("*"):
        if path.is_file():
            there = ends.root / "dst/new" / path.relative_to(ends.root / "src")
            assert filecmp.cmp(path, there, shallow=False)


@pytest.mark.parametrize("recursive", [False, True])
async def test_a_pool_saves_logins_and_data_channels(ends: Ends, recursive: bool) -> None:
    for number in range(20):
        (ends.root / f"src/f{number}").write_bytes(os.urandom(100))
    name = "" if recursive else "f1"
    options = CopyingOptions(recursive=recursive)
    pool = SessionPool()
    try:
        assert await copy(ends.at(0, name), ends.at(1, name), options, Heard(), pool)
        await asyncio.sleep(0.5)  # sessions are given back in the background
        before = ends.sessions()
        assert before
        seen: set[int] = set()
        watching = asyncio.create_task(ends.watch(seen))
        for _ in range(3):
            heard = Heard()
            assert await copy(ends.at(0, name), ends.at(1, name), options, heard, pool)
            assert len(heard.finished) == (20 if recursive else 1)
            await asyncio.sleep(0.2)
        watching.cancel()
        assert seen == before
    finally:
        await pool.close()


async def test_what_was_dropped_unseen_costs_a_retry(ends: Ends) -> None:
    (ends.root / "src/f").write_bytes(b"content")
    pool = SessionPool()
    try:
        assert await copy(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), Heard(), pool)
        for server in ends.servers:
            for pid in descendants(server.pid):
                os.kill(pid, signal.SIGKILL)
        (ends.root / "dst/f").unlink()
        assert await copy(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), Heard(), pool)
        assert (ends.root / "dst/f").read_bytes() == b"content"
    finally:
        await pool.close()


async def test_a_recursive_copy_of_one_file_is_one_file(ends: Ends) -> None:
    (ends.root / "src/f").write_bytes(b"content")
    assert await copy(ends.at(0, "f"), ends.at(1, ""), CopyingOptions(recursive=True), Heard())
    assert (ends.root / "dst/f").read_bytes() == b"content"


async def test_large_files_that_were_cut_go_on_in_any_order(ends: Ends, monkeypatch) -> None:
    """The next one begins while the first one waits for its next attempt."""
    size = 160 * MEBIBYTE
    for name in ("a", "b"):
        (ends.root / "src" / name).write_bytes(os.urandom(MEBIBYTE) * 160)
    heard = Heard()
    copying = asyncio.create_task(
        copy(ends.at(0, ""), ends.at(1, ""), CopyingOptions(recursive=True), heard)
    )
    while heard.moved_bytes < size // 3:
        await asyncio.sleep(0.005)
    for pid in descendants(ends.servers[1].pid):
        os.kill(pid, signal.SIGKILL)
    assert await copying
    assert heard.moved_bytes == heard.planned_bytes == 2 * size
    for name in ("a", "b"):
        assert filecmp.cmp(ends.root / "src" / name, ends.root / "dst" / name, shallow=False)


async def test_half_of_a_kept_lane_that_died_is_closed(ends: Ends) -> None:
    (ends.root / "src/f").write_bytes(b"content")
    pool = SessionPool()
    try:
        assert await copy(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), Heard(), pool)
        (old,) = descendants(ends.servers[1].pid)
        for pid in descendants(ends.servers[0].pid):
            os.kill(pid, signal.SIGKILL)
        assert await copy(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), Heard(), pool)
    finally:
        await pool.close()
    await asyncio.sleep(0.2)
    assert old not in descendants(ends.servers[1].pid)


@pytest.mark.parametrize("opened", [False, True])
async def test_cancelled_while_it_looks_it_leaves_nothing(
    ends: Ends, opened: bool, monkeypatch
) -> None:
    asked = asyncio.Event()

    async def never(self: Session, path: str) -> Entry:
        asked.set()
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(Session, "stat", never)
    before = asyncio.all_tasks()
    copying = asyncio.create_task(copy(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), Heard()))
    await asked.wait()
    if opened:
        await asyncio.sleep(0.3)  # the lane is opened meanwhile
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert asyncio.all_tasks() == before
    await asyncio.sleep(0.1)
    assert ends.sessions() == set()


@pytest.mark.parametrize("knows", [True, False])
async def test_only_who_knows_no_dcsc_does_without(ends: Ends, knows: bool, monkeypatch) -> None:
    """The other server may still be logging in: what it knows is not known yet."""
    pool = SessionPool()
    lanes = Lanes(ends.at(0, "f"), ends.at(1, "f"), CopyingOptions(), pool)
    monkeypatch.setattr(DataCredential, "blob", "AAAA")
    source, destination = await lanes.sessions()
    await asyncio.gather(source.ready(), destination.ready())
    (source if knows else destination).features = Features()
    try:
        opening = lanes.open_on(source, destination)
        if knows:
            with pytest.raises(GridFTPError, match="DCSC"):
                await opening
        else:
            await (await opening).close()
    finally:
        await pool.close()


async def test_a_large_source_that_changes_meanwhile(ends: Ends) -> None:
    """What is there in the end is one version of it, not a mixture."""
    source, destination = ends.root / "src/big", ends.root / "dst/big"
    source.write_bytes(os.urandom(MEBIBYTE) * 300)
    os.utime(source, (1_600_000_000, 1_600_000_000))
    heard = Heard()
    copying = asyncio.create_task(
        copy(ends.at(0, "big"), ends.at(1, "big"), CopyingOptions(), heard)
    )
    while not heard.moved_bytes:
        await asyncio.sleep(0.005)
    source.write_bytes(os.urandom(MEBIBYTE) * 300)
    assert await copying
    assert heard.moved_bytes == 300 * MEBIBYTE
    assert filecmp.cmp(source, destination, shallow=False)


async def test_a_file_whose_sessions_are_lost_at_its_end(open_lane, tmp_path: Path) -> None:
    lane = await open_lane()
    (tmp_path / "src").write_bytes(b"content")
    piece = Piece(str(tmp_path / "src"), str(tmp_path / "dst"), 7)
    await lane.source.give_up()
    lane.send([], [])
    outcome = await move_file([lane], piece)
    assert outcome.error is not None
    assert outcome.error.kind is Kind.CONNECTION_LOST
