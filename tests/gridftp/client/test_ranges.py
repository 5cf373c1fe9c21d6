"""One large file by ranges between two real servers, checked on other sessions while it moves."""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.doubles import scripted
from plugins.site import is_connected
from towpath.gridftp.client.checkers import Check, Checkers
from towpath.gridftp.client.lane import Lane, Outcome, Piece
from towpath.gridftp.client.ranges import (
    FEW_RANGES,
    RANGE_MAX_BYTES,
    RANGE_MIN_BYTES,
    Checks,
    RangeTransfer,
    checker_sessions,
    cut,
    move_file,
    range_size,
)
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

STEP = 1 << 20
SIZES = st.integers(min_value=0, max_value=1 << 36)


# -- cutting


@given(SIZES, st.lists(st.tuples(SIZES, SIZES), max_size=8))
def test_what_is_cut_and_what_is_there_are_the_whole_file_and_do_not_overlap(
    size: int, pairs: list[tuple[int, int]]
) -> None:
    present = RangeSet(ByteRange(min(a, b, size), min(max(a, b), size)) for a, b in pairs)
    before = present.total
    missing = cut(size, present)
    assert before + sum(r.length for r in missing) == size
    for one in missing:
        assert 0 < one.length <= range_size(size)
        present.add(one)
    assert present.total == size


@given(SIZES)
def test_a_lost_range_is_a_small_part_of_a_very_large_file(size: int) -> None:
    assert RANGE_MIN_BYTES <= range_size(size) <= RANGE_MAX_BYTES


def test_few_ranges_are_not_worth_more_sessions() -> None:
    assert checker_sessions(FEW_RANGES - 1, lanes=4) == 0
    assert checker_sessions(FEW_RANGES, lanes=1) == 1
    assert checker_sessions(1000, lanes=3) == 3
    assert checker_sessions(1000, lanes=64) < 10


# -- the rig


@dataclass
class Opener:
    """Opens checkers at one end and knows their processes."""

    open_session: Callable
    server: object
    parked: list[tuple[Session, int]] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    opened: int = 0
    closed: int = 0
    in_order: int = 0
    on_open: Callable[[int], None] = lambda _pid: None

    async def login(self) -> tuple[Session, int]:
        before = set(self.server.session_pids())
        session = await self.open_session()
        (pid,) = set(self.server.session_pids()) - before
        return session, pid

    async def park(self) -> None:
        """The next one is there at once."""
        self.parked.append(await self.login())

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[Session]:
        session, pid = self.parked.pop() if self.parked else await self.login()
        self.opened += 1
        self.used.add(pid)
        self.on_open(pid)
        try:
            yield session
            self.in_order += 1
        finally:
            self.closed += 1
            await session.give_up()


@pytest.fixture
def source_checkers(open_a, server_a) -> Opener:
    return Opener(open_a, server_a)


@pytest.fixture
def destination_checkers(open_b, server_b) -> Opener:
    return Opener(open_b, server_b)


@pytest.fixture
async def checks(source_checkers, destination_checkers) -> Checks:
    """SHA-256 by one checker at each end, where a session waits for that."""
    await source_checkers.park()
    await destination_checkers.park()
    return Checks("SHA256", source_checkers, destination_checkers, sessions=1)


@pytest.fixture
def content(tmp_path) -> bytes:
    """Of the source file."""
    made = os.urandom(STEP) + os.urandom(20 * STEP + 17)
    (tmp_path / "from").write_bytes(made)
    return made


def parts(size: int, step: int = STEP) -> list[ByteRange]:
    return [ByteRange(at, min(at + step, size)) for at in range(0, size, step)]


async def run(transfer: RangeTransfer) -> list[Outcome]:
    """All outcomes."""
    told: list[Outcome] = []
    async with asyncio.timeout(30), transfer:
        while some := await transfer.outcomes():
            told += some
    return told


def statuses(told: list[Outcome]) -> set[str]:
    return {outcome.status for outcome in told}


def assert_digests(told: list[Outcome], content: bytes) -> None:
    assert len(told) == len({outcome.piece.byte_range for outcome in told})
    for outcome in told:
        part = outcome.piece.byte_range
        assert outcome.status == "done", outcome
        assert outcome.digest == hashlib.sha256(content[part.first : part.after]).hexdigest()


# -- ranges


@pytest.mark.parametrize("lanes", [1, 2])
async def test_ranges_are_compared_on_other_sessions(
    open_lane, tmp_path, content, checks, source_checkers, destination_checkers, lanes: int
) -> None:
    opened = [await open_lane() for _ in range(lanes)]
    ranges = parts(len(content))
    told = await run(
        RangeTransfer(opened, f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks)
    )
    assert {outcome.piece.byte_range for outcome in told} == set(ranges)
    assert_digests(told, content)
    assert (tmp_path / "to").read_bytes() == content
    on_lanes = [outcome for outcome in told if outcome.piece.checksum]
    assert len(on_lanes) <= 2 * lanes, "only while the checkers were being opened"
    for opener in (source_checkers, destination_checkers):
        assert opener.opened == opener.closed == opener.in_order == 1
    assert all(lane.usable and not lane.due for lane in opened)


async def test_what_has_arrived_is_told_before_it_is_compared(
    open_lane, tmp_path, content, checks, destination_checkers
) -> None:
    arrived: list[ByteRange] = []
    transfer = RangeTransfer(
        [await open_lane()],
        f"{tmp_path}/from",
        f"{tmp_path}/to",
        parts(len(content)),
        checks=checks,
        on_arrived=arrived.append,
    )
    told: list[Outcome] = []
    async with asyncio.timeout(30), transfer:
        while some := await transfer.outcomes():
            apart = [o.piece.byte_range for o in some if o.piece.checksum is None]
            assert set(apart) <= set(arrived)
            told += some
    assert_digests(told, content)
    assert destination_checkers.opened == 1
    assert arrived == [o.piece.byte_range for o in told if o.piece.checksum is None]


async def test_without_checks(open_lane, tmp_path, content) -> None:
    lane = await open_lane(streams=2)
    ranges = parts(len(content))
    told = await run(RangeTransfer([lane], f"{tmp_path}/from", f"{tmp_path}/to", ranges))
    assert [outcome.piece.byte_range for outcome in told] == ranges
    assert statuses(told) == {"done"}
    assert {outcome.digest for outcome in told} == {None}
    assert (tmp_path / "to").read_bytes() == content


async def test_nothing_to_move(open_lane, checks) -> None:
    assert await run(RangeTransfer([await open_lane()], "/from", "/to", [], checks=checks)) == []


async def test_few_ranges_are_checked_on_the_lane(
    open_lane, tmp_path, content, source_checkers, destination_checkers
) -> None:
    checks = Checks("SHA256", source_checkers, destination_checkers)
    ranges = parts(len(content), 4 * STEP)
    lane = await open_lane()
    told = await run(
        RangeTransfer([lane], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks)
    )
    assert_digests(told, content)
    assert source_checkers.opened == destination_checkers.opened == 0


async def test_ranges_go_on_the_lane_while_checkers_are_being_opened(
    open_lane, tmp_path, content, source_checkers, destination_checkers
) -> None:
    go = asyncio.Event()
    on_lane: list[bool] = []

    @asynccontextmanager
    async def late() -> AsyncIterator[Session]:
        await go.wait()
        async with destination_checkers() as session:
            yield session

    checks = Checks("SHA256", source_checkers, late, sessions=1)
    ranges = parts(len(content))
    transfer = RangeTransfer(
        [await open_lane()], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks
    )
    async with asyncio.timeout(30), transfer:
        told: list[Outcome] = []
        while some := await transfer.outcomes():
            assert len(transfer._moving) <= 2 or go.is_set()
            told += some
            on_lane += [outcome.piece.checksum is not None for outcome in some]
            if len(told) >= 5:
                go.set()
    assert_digests(told, content)
    assert on_lane.count(True) >= 5
    assert (tmp_path / "to").read_bytes() == content


async def test_a_server_that_allows_no_more_sessions(
    domain_b, open_a, tmp_path, content, data_credential, source_checkers
) -> None:
    """The ranges are checked on the lane then."""
    from towpath.demo.gct import GctServer

    with GctServer.start(domain_b, tmp_path / "s", args=("-connections-max", "1")) as full:

        async def login() -> Session:
            return await Session.open(
                Server("localhost", full.port), credential=domain_b.credential, trust=domain_b.trust
            )

        refusals: list[GridFTPError] = []

        @asynccontextmanager
        async def refused() -> AsyncIterator[Session]:
            try:
                session = await login()
            except GridFTPError as error:
                refusals.append(error)
                raise
            yield session

        lane = await Lane.open(await open_a(), await login(), data_credential=data_credential)
        told = await run(
            RangeTransfer(
                [lane],
                f"{tmp_path}/from",
                f"{tmp_path}/to",
                parts(len(content)),
                checks=Checks("SHA256", source_checkers, refused, sessions=1),
            )
        )
        assert len(refusals) == 1
        assert_digests(told, content)
        assert {outcome.piece.checksum for outcome in told} == {"SHA256"}
        assert (tmp_path / "to").read_bytes() == content
        await lane.close()


async def test_a_range_that_differs_fails_alone(open_lane, tmp_path, content, checks) -> None:
    # The source ends within the last range: it is cut in silence, and old bytes stay behind it.
    size = 22 * STEP
    (tmp_path / "to").write_bytes(b"o" * size)
    ranges = parts(size)
    lane = await open_lane()
    told = await run(
        RangeTransfer([lane], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks)
    )
    failed = [outcome for outcome in told if outcome.status != "done"]
    (outcome,) = failed
    assert outcome.piece.byte_range == ranges[-1]
    assert outcome.error.kind is Kind.CHECKSUM_MISMATCH
    assert outcome.error.path == f"{tmp_path}/to"
    assert str(ranges[-1]) in outcome.error.message
    assert outcome.failed_side == "destination"
    assert len(told) == len(ranges)
    assert lane.usable


async def test_an_algorithm_that_a_server_does_not_know(
    open_lane, tmp_path, content, source_checkers, destination_checkers
) -> None:
    checks = Checks("CRC99", source_checkers, destination_checkers, sessions=1)
    told = await run(
        RangeTransfer(
            [await open_lane()],
            f"{tmp_path}/from",
            f"{tmp_path}/to",
            parts(len(content)),
            checks=checks,
        )
    )
    assert len(told) == len(parts(len(content)))
    assert statuses(told) == {"failed"}
    assert {outcome.error.kind for outcome in told} == {Kind.CHECKSUM_UNSUPPORTED}


async def test_a_broken_lane_leaves_its_ranges_and_the_other_goes_on(
    open_lane, tmp_path, content, checks, server_b
) -> None:
    one = await open_lane()
    before = set(server_b.session_pids())
    other = await open_lane()
    (pid,) = set(server_b.session_pids()) - before
    ranges = parts(len(content))
    transfer = RangeTransfer(
        [one, other], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks
    )
    told: list[Outcome] = []
    async with asyncio.timeout(30), transfer:
        told += await transfer.outcomes()
        os.kill(pid, signal.SIGKILL)
        while some := await transfer.outcomes():
            told += some
    assert one.usable
    assert other.broken
    assert len(told) == len(ranges)
    lost = [outcome for outcome in told if outcome.status != "done"]
    assert [outcome.status for outcome in lost] == ["failed"] + ["void"] * (len(lost) - 1)
    assert lost[0].error.kind in (Kind.CONNECTION_LOST, Kind.DATA_BROKEN)
    assert_digests([outcome for outcome in told if outcome.status == "done"], content)
    again = [outcome.piece.byte_range for outcome in lost]
    told = await run(
        RangeTransfer([one], f"{tmp_path}/from", f"{tmp_path}/to", again, checks=checks)
    )
    assert_digests(told, content)
    assert (tmp_path / "to").read_bytes() == content


# -- checkers


def held(opener: Opener, times: int) -> list[int]:
    """The first sessions opened are stopped before they can check anything; their processes."""
    stopped: list[int] = []

    def stop(pid: int) -> None:
        if len(stopped) < times:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    opener.on_open = stop
    return stopped


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("end", ["source", "destination"])
async def test_a_checker_that_breaks_is_opened_once_more(
    open_lane, tmp_path, content, checks, source_checkers, destination_checkers, end: str
) -> None:
    opener = source_checkers if end == "source" else destination_checkers
    stopped = held(opener, 1)
    ranges = parts(len(content))
    transfer = RangeTransfer(
        [await open_lane()], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks
    )
    working = asyncio.create_task(run(transfer))
    await until(lambda: stopped and transfer._checkers[end]._under_way == 2)
    os.kill(stopped[0], signal.SIGKILL)
    told = await working
    assert len(told) == len(ranges)
    assert_digests(told, content)
    assert (opener.opened, opener.in_order) == (2, 1)
    assert (tmp_path / "to").read_bytes() == content


@pytest.mark.parametrize("end", ["source", "destination"])
async def test_a_checker_that_breaks_twice_fails_what_it_had(
    open_lane, tmp_path, content, checks, source_checkers, destination_checkers, end: str
) -> None:
    opener = source_checkers if end == "source" else destination_checkers
    stopped = held(opener, 2)
    ranges = parts(len(content))
    lane = await open_lane()
    transfer = RangeTransfer(
        [lane], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks, window_bytes=5 * STEP
    )
    working = asyncio.create_task(run(transfer))
    for number in (1, 2):
        await until(lambda n=number: len(stopped) == n and transfer._checkers[end]._under_way == 2)
        os.kill(stopped[-1], signal.SIGKILL)
    told = await working
    assert len(told) == len(ranges)
    failed = [outcome for outcome in told if outcome.status == "failed"]
    assert 2 <= len(failed) <= 5
    assert {outcome.error.kind for outcome in failed} == {Kind.CONNECTION_LOST}
    assert {outcome.failed_side for outcome in failed} == {end}
    rest = [outcome for outcome in told if outcome not in failed]
    assert_digests(rest, content)
    assert opener.opened == opener.closed == 2
    assert lane.usable


async def test_what_comes_when_the_checkers_are_gone_fails_at_once(open_a, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    opened = 0

    @asynccontextmanager
    async def dying() -> AsyncIterator[Session]:
        nonlocal opened
        opened += 1
        session = await open_a()
        await session.give_up()
        yield session

    told: list[str | GridFTPError] = []
    checkers = Checkers(
        dying, 1, f"{tmp_path}/file", "SHA256", on_change=lambda: None, on_end=lambda _: None
    )
    await until(lambda: checkers.ready)
    checkers.put(Check(ByteRange(0, 5), told.append))
    await until(lambda: told)
    assert not checkers.ready
    assert not checkers.opening
    checkers.put(Check(ByteRange(5, 10), told.append))
    assert [error.kind for error in told] == [Kind.CONNECTION_LOST] * 2
    assert opened == 2
    checkers.end()
    await checkers.ended()


async def test_checkers_of_which_one_breaks_while_they_end_end() -> None:
    """The other slot of the broken session has computed what it left, and may take the word that
    ends a slot: a session that was opened after it would lack it."""
    asked = 0

    class Breaks:
        timeouts = Timeouts()
        closed = False

        async def checksum(self, *_: object, **__: object) -> str:
            nonlocal asked
            asked += 1
            if asked == 1:
                self.closed = True
                raise GridFTPError(Kind.CONNECTION_LOST, "lost", "there")
            return "0"

    @asynccontextmanager
    async def breaking() -> AsyncIterator[Any]:
        yield Breaks()

    checkers = Checkers(
        breaking, 1, "/file", "SHA256", on_change=lambda: None, on_end=lambda _: None
    )
    checkers.put(Check(ByteRange(0, 5), lambda _: checkers.end()))
    async with asyncio.timeout(10):
        await checkers.ended()
    assert asked == 2


async def test_what_is_not_checked_counts_as_under_way(
    open_lane, tmp_path, content, checks, destination_checkers
) -> None:
    stopped = held(destination_checkers, 1)
    window = 6 * STEP
    ranges = parts(len(content))
    transfer = RangeTransfer(
        [await open_lane()],
        f"{tmp_path}/from",
        f"{tmp_path}/to",
        ranges,
        checks=checks,
        window_bytes=window,
    )
    most = 0

    def look() -> bool:
        nonlocal most
        most = max(most, sum(part.length for part in transfer._moving))
        return bool(stopped) and sum(m.arrived for m in transfer._moving.values()) == 6

    working = asyncio.create_task(run(transfer))
    await until(look)
    await asyncio.sleep(0.1)
    look()
    assert most == window
    os.kill(stopped[0], signal.SIGCONT)
    assert_digests(await working, content)


async def test_a_reply_without_a_digest_is_none() -> None:
    async with scripted() as server:
        server.answers |= {"CKSM": "250 OK."}
        session = await Session.open(Server("127.0.0.1", server.port), credential=None, trust=None)
        with pytest.raises(GridFTPError) as caught:
            await session.checksum("/x", "SHA256")
        assert caught.value.kind is Kind.PROTOCOL
        await session.close()


# -- the caller's part


@pytest.mark.parametrize("good", [0, 1, 2, 5])
async def test_when_we_may_send_no_more(
    open_lane, tmp_path, content, checks, source_checkers, destination_checkers, good: int
) -> None:
    lane = await open_lane()
    asked = 0

    def may_send() -> bool:
        nonlocal asked
        asked += 1
        return asked <= 2 * good

    for session in (lane.source, lane.destination):
        session.channel.may_send = may_send
    told: list[Outcome] = []
    transfer = RangeTransfer(
        [lane],
        f"{tmp_path}/from",
        f"{tmp_path}/to",
        parts(len(content)),
        checks=checks,
        window_bytes=2 * STEP,
    )
    async with asyncio.timeout(30), transfer:
        while some := await transfer.outcomes():
            told.extend(some)
    [failed] = [outcome for outcome in told if outcome.status == "failed"]
    assert failed.error is not None
    assert failed.error.kind is Kind.CONNECTION_LOST
    assert len([outcome for outcome in told if outcome.status == "done"]) <= good * 2
    for opener in (source_checkers, destination_checkers):
        assert opener.opened == opener.closed


async def test_stopping_tells_what_was_sent(open_lane, tmp_path, content, checks) -> None:
    lane = await open_lane()
    transfer = RangeTransfer(
        [lane],
        f"{tmp_path}/from",
        f"{tmp_path}/to",
        parts(len(content)),
        checks=checks,
        window_bytes=3 * STEP,
    )
    told: list[Outcome] = []
    async with asyncio.timeout(30), transfer:
        while some := await transfer.outcomes():
            told += some
            transfer.stop()
    assert 1 <= len(told) <= 6
    assert_digests(told, content)
    assert lane.usable
    assert not lane.due


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("parked", [False, True])
async def test_cancelled_it_leaves_nothing_behind(
    open_lane, tmp_path, server_a, server_b, source_checkers, destination_checkers, after_s, parked
) -> None:
    size = 512 * STEP
    with (tmp_path / "from").open("wb") as file:
        file.truncate(size)
    openers = source_checkers, destination_checkers
    checks = Checks("SHA256", *openers, sessions=1)
    if parked:
        for opener in openers:
            await opener.park()
    tasks = asyncio.all_tasks()
    lane = await open_lane()
    before = {*server_a.session_pids(), *server_b.session_pids()}
    assert any(map(is_connected, before))
    ranges = parts(size, 16 * STEP)
    working = asyncio.create_task(
        run(RangeTransfer([lane], f"{tmp_path}/from", f"{tmp_path}/to", ranges, checks=checks))
    )
    await asyncio.sleep(after_s)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await lane.close()
    for opener in openers:
        assert opener.opened == opener.closed
        before -= opener.used
    await until(lambda: asyncio.all_tasks() == tasks)
    # The lane's own sessions are the lane's matter. Of the others it counts that we have left them.
    rest = {*server_a.session_pids(), *server_b.session_pids()} - before
    await until(lambda: not any(map(is_connected, rest)))


# -- a whole file


@pytest.fixture
def file(tmp_path, monkeypatch) -> Piece:
    """20 MiB in small ranges, onto a longer file."""
    monkeypatch.setattr("towpath.gridftp.client.ranges.RANGE_MIN_BYTES", STEP)
    size = 20 * STEP + 5
    (tmp_path / "from").write_bytes(os.urandom(size))
    (tmp_path / "to").write_bytes(b"o" * (size + 1000))
    return Piece(f"{tmp_path}/from", f"{tmp_path}/to", size, modified=1577934245)


def same(file: Piece) -> bool:
    return Path(file.source_path).read_bytes() == Path(file.destination_path).read_bytes()


@pytest.mark.parametrize("verified", [False, True])
async def test_a_whole_file(open_lane, file, checks, verified: bool) -> None:
    lanes = [await open_lane(), await open_lane()]
    moved: list[int] = []
    outcome = await move_file(
        lanes, file, checks=checks if verified else None, on_moved=moved.append
    )
    assert outcome == Outcome(file, "done")
    assert same(file)
    assert sum(moved) == file.size
    assert Path(file.destination_path).stat().st_mtime == 1577934245


async def test_a_file_goes_on_over_the_lane_that_is_left(open_lane, file, checks, server_a) -> None:
    lane = await open_lane()
    before = set(server_a.session_pids())
    lanes = [await open_lane(), lane]
    (pid,) = set(server_a.session_pids()) - before
    moved: list[int] = []

    def kill(count: int) -> None:
        if not moved:
            os.kill(pid, signal.SIGKILL)
        moved.append(count)

    outcome = await move_file(lanes, file, checks=checks, window_bytes=3 * STEP, on_moved=kill)
    assert lanes[0].broken
    assert outcome.status == "done", outcome
    assert same(file)
    assert sum(moved) == file.size


async def test_a_file_whose_only_lane_breaks(open_lane, file, server_a) -> None:
    before = set(server_a.session_pids())
    lane = await open_lane()
    (pid,) = set(server_a.session_pids()) - before

    def kill(_: int) -> None:
        with suppress(ProcessLookupError):  # several ranges may be told at once
            os.kill(pid, signal.SIGKILL)

    outcome = await move_file([lane], file, window_bytes=STEP, on_moved=kill)
    assert outcome.status == "failed"
    assert outcome.error.kind in (Kind.CONNECTION_LOST, Kind.DATA_BROKEN)
    assert lane.broken


async def test_a_source_that_is_shorter_than_it_was(open_lane, file, checks) -> None:
    os.truncate(file.source_path, file.size - STEP)
    outcome = await move_file([await open_lane()], file, checks=checks)
    assert outcome.status == "failed"
    assert outcome.error.kind is Kind.CHECKSUM_MISMATCH
    assert "source has changed" in outcome.error.message


async def test_files_that_cannot_be_read_or_written(open_lane, file, tmp_path) -> None:
    (tmp_path / "directory").mkdir()
    blocked = Piece(file.source_path, f"{tmp_path}/directory", file.size)
    outcome = await move_file([await open_lane()], blocked)
    assert outcome.status == "failed"
    assert outcome.error.path == f"{tmp_path}/directory"
    assert outcome.failed_side == "destination"
    missing = Piece(f"{tmp_path}/nothing", file.destination_path, file.size)
    outcome = await move_file([await open_lane()], missing)
    assert outcome.error.kind is Kind.NOT_FOUND
    assert outcome.failed_side == "source"


async def test_a_range_that_differs_once_is_sent_again(
    open_lane, file, source_checkers, destination_checkers
) -> None:
    """Something writes into the file while it comes: the check sees it, a second try helps."""
    written = False

    class Meddling(Opener):
        @asynccontextmanager
        async def __call__(self) -> AsyncIterator[Session]:
            async with super().__call__() as session:
                plain = session.checksum

                async def checksum(path: str, algorithm: str, part: ByteRange, **more) -> str:
                    nonlocal written
                    if not written:
                        written = True
                        with Path(path).open("r+b") as there:
                            there.seek(part.first)
                            there.write(b"meddled")
                    return await plain(path, algorithm, part, **more)

                session.checksum = checksum
                yield session

    meddling = Meddling(destination_checkers.open_session, destination_checkers.server)
    checks = Checks("SHA256", source_checkers, meddling, sessions=1)
    for checkers in (source_checkers, meddling):
        await checkers.park()  # or all could be checked on the lane, before they are there
    moved: list[int] = []
    outcome = await move_file([await open_lane()], file, checks=checks, on_moved=moved.append)
    assert written
    assert outcome.status == "done", outcome
    assert same(file)
    assert sum(moved) == file.size
