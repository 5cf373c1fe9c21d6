"""Tree transfers between two real servers, in health and with everything that goes wrong."""

import asyncio
import filecmp
import os
import random
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path

import pytest

from towpath.demo.gct import GctServer
from towpath.demo.processes import descendants
from towpath.gridftp.client import tree
from towpath.gridftp.client.dial import Timeouts
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.tree import Directory, File, Found, Moved, Told, TreeTransfer, Unmade
from towpath.gridftp.errors import GridFTPError, Kind

SEED = 20


class Lanes:
    """Opens lanes with the fixture, and remembers them."""

    def __init__(self, open_lane: Callable) -> None:
        self._open = open_lane
        self.opened: list[Lane] = []
        self.given_back: list[Lane] = []

    async def open(self) -> Lane:
        lane = await self._open()
        self.opened.append(lane)
        return lane

    async def give_back(self, lane: Lane) -> None:
        self.given_back.append(lane)
        await lane.close()


@pytest.fixture
def lanes(open_lane) -> Lanes:
    return Lanes(open_lane)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "RETRY_DELAY_S", 0.05)


def make(root: Path, files: int, directories: int) -> list[Path]:
    chance = random.Random(SEED)
    made = []
    for number in range(files):
        path = root / "src" / f"d{number % directories}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice((0, 1, 700, 3000))))
        made.append(path)
    return made


def found(root: Path, paths: Iterable[Path]) -> list[Found]:
    """What a listing would tell of these."""
    told: list[Found] = []
    seen = set()
    for path in paths:
        name = path.relative_to(root / "src")
        for parent in reversed(name.parents[:-1]):
            if parent not in seen:
                seen.add(parent)
                told.append(Directory(str(root / "dst" / parent)))
        size = path.stat().st_size if path.exists() else 5
        told.append(File(str(path), str(root / "dst" / name), size))
    return told


async def streamed(
    items: Sequence[Found], batch: int = 97
) -> AsyncGenerator[Sequence[Found], None]:
    for first in range(0, len(items), batch):
        yield items[first : first + batch]
        await asyncio.sleep(0)


async def run(
    lanes: Lanes, root: Path, items: Sequence[Found], **options: object
) -> tuple[list[str], dict[str, GridFTPError]]:
    """The sources that were moved, and errors by source or directory."""
    given: dict = {"checksum": lambda _lane: "SHA256", **options}
    transfer = TreeTransfer(lanes, str(root / "dst"), **given)
    done, failed = [], {}
    async for batch in transfer.run(streamed(items)):
        for told in batch:
            if isinstance(told, Unmade):
                failed[told.destination] = told.error
            elif told.error is not None:
                failed[told.file.source] = told.error
            else:
                assert told.digest is not None or "checksum" in options
                done.append(told.file.source)
    assert len(done) == len(set(done)), "each file is told once"
    return done, failed


def differences(root: Path) -> list[str]:
    """Files that are not the same on both sides, or on one side only."""
    names = {
        path.relative_to(side)
        for side in (root / "src", root / "dst")
        for path in side.rglob("*")
        if not path.is_dir()
    }
    return [
        str(name)
        for name in sorted(names)
        if not (root / "dst" / name).exists()
        or not (root / "src" / name).exists()
        or not filecmp.cmp(root / "src" / name, root / "dst" / name, shallow=False)
    ]


async def test_a_tree_arrives(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 600, 23)
    empty = [Directory(str(tmp_path / "dst/empty")), Directory(str(tmp_path / "dst/deep/er/still"))]
    done, failed = await run(lanes, tmp_path, [*found(tmp_path, paths), *empty])
    assert (len(done), failed) == (600, {})
    assert differences(tmp_path) == []
    assert (tmp_path / "dst/empty").is_dir()
    assert (tmp_path / "dst/deep/er/still").is_dir(), "above it, too"
    assert len(lanes.opened) == tree.SMALL_LANES
    assert set(lanes.given_back) == set(lanes.opened)


async def test_nothing_to_do(lanes: Lanes, tmp_path: Path) -> None:
    assert await run(lanes, tmp_path, []) == ([], {})


@pytest.mark.usefixtures("quick_retries")
async def test_bad_files_cost_only_themselves(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 400, 7)
    gone = [tmp_path / "src/d1" / name for name in ("gone-a", "gone-b")]
    blocked = paths[120]
    (tmp_path / "dst" / blocked.relative_to(tmp_path / "src")).mkdir(parents=True)
    items = found(tmp_path, [*paths[:50], gone[0], *paths[50:200], gone[1], *paths[200:]])
    done, failed = await run(lanes, tmp_path, items)
    assert {path: error.kind for path, error in failed.items()} == {
        str(gone[0]): Kind.NOT_FOUND,
        str(gone[1]): Kind.NOT_FOUND,
        str(blocked): Kind.IS_A_DIRECTORY,
    }
    assert len(done) == 399
    # nothing is left where a file's source could not be opened, and nothing else is wrong
    assert differences(tmp_path) == [str(blocked.relative_to(tmp_path / "src"))]


@pytest.mark.usefixtures("quick_retries")
async def test_nothing_is_left_of_a_file_that_is_given_up(lanes: Lanes, tmp_path: Path) -> None:
    """Also where the source's failure was not known to be for good."""
    paths = make(tmp_path, 30, 3)
    unreadable = tmp_path / "src/d1/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(unreadable))
        items = found(tmp_path, [*paths[:10], unreadable, *paths[10:]])
        done, failed = await run(lanes, tmp_path, items)
    assert {path: error.kind for path, error in failed.items()} == {str(unreadable): Kind.UNKNOWN}
    assert len(done) == 30
    assert not (tmp_path / "dst/d1/socket").exists()


@pytest.mark.usefixtures("quick_retries")
async def test_directories_that_cannot_be_made(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 30, 3)
    (tmp_path / "dst").mkdir()
    (tmp_path / "dst/d1").write_text("a file in the way")
    items = [*found(tmp_path, paths), Directory(str(tmp_path / "dst/d1/sub"))]
    done, failed = await run(lanes, tmp_path, items)
    assert len(done) == 20
    assert all(path.startswith(str(tmp_path / "src/d1/")) for path in set(failed) if "src" in path)
    assert failed[str(tmp_path / "dst/d1/sub")].kind is Kind.NOT_A_DIRECTORY


@pytest.mark.usefixtures("quick_retries")
async def test_lost_sessions_are_replaced(
    lanes: Lanes, tmp_path: Path, server_a: GctServer, server_b: GctServer
) -> None:
    paths = make(tmp_path, 1500, 10)
    done = 0
    # After so many files; at most a few hundred more are under way then.
    kills = [(1, server_b), (300, server_a), (600, server_b)]

    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: "SHA256")
    async for batch in transfer.run(streamed(found(tmp_path, paths))):
        assert all(isinstance(told, Moved) and told.error is None for told in batch)
        done += len(batch)
        while kills and done >= kills[0][0]:
            _, server = kills.pop(0)
            for pid in descendants(server.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
    assert not kills
    assert done == 1500
    assert differences(tmp_path) == []
    assert len(lanes.opened) > tree.SMALL_LANES


@pytest.mark.long
@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("seed", range(3))
async def test_ten_thousand_files_and_failures(
    lanes: Lanes, tmp_path: Path, server_a: GctServer, server_b: GctServer, seed: int
) -> None:
    """Missing sources, blocked destinations, sessions killed: every other file by its bytes."""
    chance = random.Random(seed)
    paths = make(tmp_path, 10_000, 100)
    bad = [tmp_path / f"src/d{n}/gone{n}" for n in chance.sample(range(100), 12)]
    blocked = chance.sample(paths, 8)
    for path in blocked:
        (tmp_path / "dst" / path.relative_to(tmp_path / "src")).mkdir(parents=True)
    mixed = [*paths, *bad]
    chance.shuffle(mixed)
    ended = False

    async def kill_now_and_then() -> None:
        while not ended:
            await asyncio.sleep(chance.uniform(0.3, 0.9))
            sessions = descendants(chance.choice((server_a, server_b)).pid)
            if sessions:
                os.kill(chance.choice(sessions), signal.SIGKILL)

    killing = asyncio.create_task(kill_now_and_then())
    done, failed = await run(lanes, tmp_path, found(tmp_path, mixed))
    ended = True
    await killing
    expected = {str(path) for path in (*bad, *blocked)}
    unlucky = {path for path, error in failed.items() if not error.permanent}
    assert set(failed) - unlucky == expected - unlucky
    assert len(done) + len(failed) == 10_012
    wrong = {str(tmp_path / "src" / name) for name in differences(tmp_path)}
    assert wrong <= expected | unlucky


async def test_large_files_have_a_lane_of_their_own(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "LARGE_BYTES", 2000)
    paths = make(tmp_path, 60, 4)
    large = [path for path in paths if path.stat().st_size >= 2000]
    moved: list[tuple[str, list[str]]] = []

    async def move_large(file: File, directories: Sequence[str]) -> Moved:
        moved.append((file.source, list(directories)))
        return Moved(file, None, "digest")

    done, failed = await run(lanes, tmp_path, found(tmp_path, paths), move_large=move_large)
    assert (len(done), failed) == (60, {})
    assert {source for source, _ in moved} == {str(path) for path in large}
    asked = [directory for _, directories in moved for directory in directories]
    assert str(tmp_path / "dst/d0") in asked
    assert len(asked) == len(set(asked)), "a directory is asked for once"


async def test_a_listing_that_fails_ends_it(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 20, 2)

    async def broken() -> AsyncGenerator[Sequence[Found], None]:
        yield found(tmp_path, paths)
        raise GridFTPError(Kind.CONNECTION_LOST, "gone", "there")

    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: None)
    with pytest.raises(GridFTPError, match="gone"):
        async for _ in transfer.run(broken()):
            pass
    assert not any(lane.usable for lane in lanes.opened)


async def test_whoever_leaves_early_leaves_nothing_behind(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 2000, 5)
    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: None)
    before = asyncio.all_tasks()
    outcomes = transfer.run(streamed(found(tmp_path, paths)))
    async for batch in outcomes:
        assert batch
        break
    await outcomes.aclose()
    assert not any(lane.usable for lane in lanes.opened)
    assert asyncio.all_tasks() == before


async def test_what_waits_is_bounded(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "IN_FLIGHT_FILES", 100)
    monkeypatch.setattr(tree, "WAITING_FILES", 50)
    monkeypatch.setattr(tree, "WAITING_OUTCOMES", 20)
    monkeypatch.setattr(tree, "WAITING_DIRECTORIES", 3)
    paths = make(tmp_path, 700, 9)
    listed = 0

    async def counted() -> AsyncGenerator[Sequence[Found], None]:
        nonlocal listed
        async for batch in streamed(found(tmp_path, paths), 10):
            listed += len(batch)
            yield batch

    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: None)
    outcomes = transfer.run(counted())
    told: list[Told] = list(await anext(outcomes))
    await asyncio.sleep(0.5)  # nobody takes outcomes: lanes and listing stand still
    assert listed < 600
    async for batch in outcomes:
        told += batch
    assert len(told) == 700
    assert differences(tmp_path) == []


@pytest.mark.usefixtures("quick_retries")
async def test_servers_that_cannot_be_reached(tmp_path: Path) -> None:
    tries = 0

    async def refused() -> Lane:
        nonlocal tries
        tries += 1
        raise GridFTPError(Kind.CONNECT, "cannot connect", "there")

    transfer = TreeTransfer(
        Lanes(refused), str(tmp_path / "dst"), checksum=lambda _lane: None, small_lanes=1
    )
    with pytest.raises(GridFTPError, match="cannot connect"):
        async for _ in transfer.run(streamed(found(tmp_path, make(tmp_path, 3, 1)))):
            pass
    assert tries == tree.MAX_ATTEMPTS


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("large", [False, True])
async def test_directories_that_a_lost_lane_did_not_make(
    open_lane, tmp_path: Path, server_b: GctServer, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """The session ends before it gets to its MKDs: the next one has to make them."""
    stopped: list[int] = []

    async def open_and_stop() -> Lane:
        lane = await open_lane()
        if not all_lanes.opened:
            stopped.extend(descendants(server_b.pid))
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
        return lane

    async def kill_when_sent() -> None:
        while not (all_lanes.opened and all_lanes.opened[0].destination.channel.unanswered):
            await asyncio.sleep(0.01)
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)

    async def move_large(file: File, directories: Sequence[str]) -> Moved:
        lane = (
            next((lane for lane in all_lanes.opened if lane.usable), None) or await all_lanes.open()
        )
        piece = Piece(file.source, file.destination, file.size)
        lane.send([piece], directories)
        (outcome,) = await lane.outcomes()
        return Moved(file, outcome.error)

    all_lanes = Lanes(open_and_stop)
    paths = make(tmp_path, 20, 4)
    if large:
        monkeypatch.setattr(tree, "LARGE_BYTES", 0)
    given: dict = {"small_lanes": 0, "move_large": move_large} if large else {"small_lanes": 1}
    killing = asyncio.create_task(kill_when_sent())
    done, failed = await run(
        all_lanes, tmp_path, found(tmp_path, paths), checksum=lambda _lane: None, **given
    )
    await killing
    assert (len(done), failed) == (20, {})
    assert differences(tmp_path) == []
    for lane in all_lanes.opened:
        await lane.close()


@pytest.mark.usefixtures("quick_retries")
async def test_a_session_lost_while_it_removes_what_is_spoiled(open_lane, tmp_path: Path) -> None:
    async def open_and_lose_the_second() -> Lane:
        lane = await open_lane()
        if len(all_lanes.opened) == 1:
            lane.destination.channel.fail(GridFTPError(Kind.CONNECTION_LOST, "lost", "there"))
        return lane

    all_lanes = Lanes(open_and_lose_the_second)
    paths = make(tmp_path, 20, 2)
    gone = tmp_path / "src/d1/gone"
    items = found(tmp_path, [*paths[:5], gone, *paths[5:]])
    done, failed = await run(all_lanes, tmp_path, items, small_lanes=1)
    assert (len(done), list(failed)) == (20, [str(gone)])
    assert differences(tmp_path) == []
    assert all(lane.source.closed for lane in all_lanes.opened)


@pytest.mark.usefixtures("quick_retries")
async def test_a_session_lost_while_it_makes_directories(open_lane, tmp_path: Path) -> None:
    async def open_and_lose_the_first() -> Lane:
        lane = await open_lane()
        if not all_lanes.opened:
            lane.destination.channel.fail(GridFTPError(Kind.CONNECTION_LOST, "lost", "there"))
        return lane

    all_lanes = Lanes(open_and_lose_the_first)
    items = [Directory(str(tmp_path / "dst/empty"))]
    assert await run(all_lanes, tmp_path, items, small_lanes=1) == ([], {})
    assert (tmp_path / "dst/empty").is_dir()
    assert all(lane.source.closed for lane in all_lanes.opened)


async def test_a_directory_whose_name_cannot_be_told(open_lane, tmp_path: Path) -> None:
    async def open_like_in_clear_text() -> Lane:
        lane = await open_lane()
        lane.destination.channel.clear_text = True  # then names must be ASCII
        return lane

    bad, good = str(tmp_path / "dst/žluťoučký"), str(tmp_path / "dst/good")
    items = [Directory(bad), Directory(good)]
    _, failed = await run(Lanes(open_like_in_clear_text), tmp_path, items)
    assert {path: error.kind for path, error in failed.items()} == {bad: Kind.INVALID_NAME}
    assert Path(good).is_dir()


async def test_a_small_window_stays_small_after_a_failure(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "IN_FLIGHT_FILES", 4)
    sent: list[int] = []
    send = Lane.send

    def watched(lane: Lane, pieces: Sequence[Piece], directories: Sequence[str] = ()) -> None:
        send(lane, pieces, directories)
        sent.append(lane.in_flight)

    monkeypatch.setattr(Lane, "send", watched)
    paths = make(tmp_path, 30, 2)
    await run(lanes, tmp_path, found(tmp_path, [*paths[:5], tmp_path / "src/d1/gone", *paths[5:]]))
    assert max(sent) == 4


async def test_lanes_share_evenly(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first, so that all end at the same time."""
    sent: dict[Lane, int] = {}
    send, open_one = Lane.send, lanes.open
    both_open = asyncio.Barrier(2)

    async def open_together() -> Lane:
        lane = await open_one()
        await both_open.wait()
        return lane

    monkeypatch.setattr(lanes, "open", open_together)

    def watched(lane: Lane, pieces: Sequence[Piece], directories: Sequence[str] = ()) -> None:
        send(lane, pieces, directories)
        sent[lane] = sent.get(lane, 0) + len(pieces)

    monkeypatch.setattr(Lane, "send", watched)
    paths = make(tmp_path, 300, 3)
    done, _ = await run(lanes, tmp_path, found(tmp_path, paths))
    assert len(done) == 300
    # A few may be done before the second takes its share.
    assert len(sent) == 2
    assert min(sent.values()) >= 130


async def test_the_listing_is_closed_when_somebody_leaves(lanes: Lanes, tmp_path: Path) -> None:
    paths = make(tmp_path, 20, 2)
    closed = False

    async def listing() -> AsyncGenerator[Sequence[Found], None]:
        nonlocal closed
        try:
            yield found(tmp_path, paths)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            closed = True

    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: None)
    outcomes = transfer.run(listing())
    await anext(outcomes)
    await outcomes.aclose()
    assert closed


async def test_the_listing_is_closed_when_it_has_to_wait(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "WAITING_FILES", 5)
    monkeypatch.setattr(tree, "WAITING_OUTCOMES", 5)
    paths = make(tmp_path, 500, 2)
    closed = False

    async def listing() -> AsyncGenerator[Sequence[Found], None]:
        nonlocal closed
        try:
            async for batch in streamed(found(tmp_path, paths), 10):
                yield batch
        finally:
            await asyncio.sleep(0.05)
            closed = True

    transfer = TreeTransfer(lanes, str(tmp_path / "dst"), checksum=lambda _lane: None)
    outcomes = transfer.run(listing())
    await anext(outcomes)
    await asyncio.sleep(0.3)
    await outcomes.aclose()
    assert closed


async def test_leaving_waits_for_a_broken_lane(
    open_lane,
    tmp_path: Path,
    server_a: GctServer,
    server_b: GctServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sessions may still write."""
    monkeypatch.setattr("towpath.gridftp.client.lane.ECHO_WAIT_S", 0.1)
    monkeypatch.setattr("towpath.gridftp.client.lane.DRAIN_S", 0.1)
    stopped: list[int] = []

    async def open_and_stop() -> Lane:
        lane = await open_lane()
        lane.destination.timeouts = Timeouts(close_s=0.5)
        # before anything is sent: else all of it may be done by then
        stopped.extend(descendants(server_b.pid))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        return lane

    closing = asyncio.Event()
    close = Lane.close

    async def watched(lane: Lane) -> bool:
        closing.set()
        return await close(lane)

    monkeypatch.setattr(Lane, "close", watched)
    all_lanes = Lanes(open_and_stop)
    items = found(tmp_path, make(tmp_path, 20, 2))
    moving = asyncio.create_task(run(all_lanes, tmp_path, items, small_lanes=1))
    while not (all_lanes.opened and all_lanes.opened[0].due):
        await asyncio.sleep(0.001)
    (lane,) = all_lanes.opened
    for pid in descendants(server_a.pid):
        os.kill(pid, signal.SIGKILL)
    await closing.wait()
    assert lane.settled is None, "the lane is being closed"
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert lane.settled is False
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)


async def test_leaving_while_lanes_are_given_back(open_lane, tmp_path: Path) -> None:
    class Slow(Lanes):
        async def give_back(self, lane: Lane) -> None:
            self.given_back.append(lane)
            await asyncio.sleep(60)

    all_lanes = Slow(open_lane)
    moving = asyncio.create_task(run(all_lanes, tmp_path, found(tmp_path, make(tmp_path, 5, 1))))
    while not all_lanes.given_back:
        await asyncio.sleep(0.01)
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    (first,) = all_lanes.given_back
    assert [lane.usable for lane in all_lanes.opened if lane is not first] == [False]
    await first.close()


@pytest.mark.usefixtures("quick_retries")
async def test_a_full_disk_ends_it_all(
    lanes: Lanes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file would fail three times, and each time take those behind it along."""
    paths = make(tmp_path, 300, 3)

    def full(_reply: object, *, where: str, path: str | None = None) -> GridFTPError:
        return GridFTPError(Kind.NO_SPACE, "no space left on device", where, path)

    (tmp_path / "dst").mkdir()
    for name in ("d0", "d1", "d2"):
        (tmp_path / "dst" / name).write_text("in the way, so that every file is refused")
    monkeypatch.setattr("towpath.gridftp.client.lane.classify", full)
    with pytest.raises(GridFTPError, match="no space left"):
        await run(lanes, tmp_path, found(tmp_path, paths))
    assert len(lanes.opened) < 12
