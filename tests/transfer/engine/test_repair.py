"""What a failing task looks at, and sends once more, before its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.ranges import ByteRange
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import arrived
from towpath.transfer.engine import repair as module
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext, TaskFaultError
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.repair import repair
from towpath.transfer.store import counters, leases, plan
from towpath.transfer.store.plan import File, State
from towpath.transfer.store.rows import fetch

FILES = [File(number, 1, f"f{number}", 5, 0) for number in range(1, 7)]
RIGHT = {f"/from/f{number}": b"%d----" % number for number in range(1, 7)}


@dataclass
class End:
    """A server's session, as far as it is asked."""

    files: dict[str, bytes]
    server: str = "there"
    features: Any = field(default_factory=lambda: SimpleNamespace(checksums={"MD5"}))

    async def stat(self, path: str) -> Any:
        if path not in self.files:
            raise GridFTPError(Kind.NOT_FOUND, "none", self.server, path)
        return SimpleNamespace(size=len(self.files[path]), modified=0, is_directory=False)

    async def checksum(self, path: str, _algorithm: str, part: ByteRange, _timeout_s: float) -> str:
        if b"unreadable" in self.files[path]:
            raise GridFTPError(Kind.PERMISSION_DENIED, "no", self.server, path)
        return self.files[path][part.first : part.after].hex()


@dataclass
class Lane:
    """The second piece that it sends fails; what is behind it is void."""

    source: End
    destination: End
    ends: bool = True
    broken: bool = False
    sent: list[str] = field(default_factory=list)
    flying: list[Piece] = field(default_factory=list)

    def send(self, pieces: Sequence[Piece]) -> None:
        self.sent += [piece.tag.path for piece in pieces]
        self.flying = list(pieces)

    async def outcomes(self) -> list[Outcome]:
        if self.broken or not self.flying:
            return []
        first, *rest = self.flying
        self.destination.files[first.destination_path] = self.source.files[first.source_path]
        self.flying = []
        told = [Outcome(first, "done")]
        if rest:
            self.broken = True
            lost = GridFTPError(Kind.CONNECTION_LOST, "lost", "there")
            told.append(Outcome(rest[0], "failed", lost, "destination"))
        return told + [Outcome(piece, "void") for piece in rest[1:]]

    async def close(self) -> bool:
        return self.ends


async def failing(database: Database) -> TaskContext:
    """All files were sent, and none has arrived."""
    asked_at = time.monotonic()
    [grant] = await leases.admit(database, worker="w", limit=1, lease_s=30, per_owner=3)
    sessions: Any = None
    context = TaskContext(
        db=database,
        grant=grant,
        lease=LeaseClock(asked_at, 30, time.monotonic),
        sessions=sessions,
        data_credentials=DataCredentials(),
        settings=EngineSettings(),
        random=Random(1),
        clock=time.monotonic,
        options=Options.from_document({}),
    )
    context.items = {1: plan.Item(1, "/from", "/to", True)}
    async with context.fenced() as conn:
        await plan.add_files(conn, context.task_no, FILES)
        await plan.take_these(
            conn, context.task_no, [f.file_no for f in FILES], epoch=grant.lease_epoch
        )
        await plan.put_back(
            conn, context.task_no, [plan.Returned(f.file_no, State.PENDING) for f in FILES]
        )
    return context


async def states(database: Database) -> dict[int, int]:
    async with database.connection() as conn:
        return dict(await fetch(conn, "SELECT file_no, state FROM file ORDER BY file_no"))


async def events(database: Database) -> list[tuple[str, str]]:
    async with database.connection() as conn:
        return [
            (code, details)
            for code, details in await fetch(conn, "SELECT code, details FROM event")
        ]


@pytest.fixture
async def context(database: Database, make_task: MakeTask) -> TaskContext:
    await make_task()
    return await failing(database)


def lanes(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, bytes], *, ends: bool = True
) -> list[Lane]:
    """The lanes that are opened, to ends with these files."""
    opened: list[Lane] = []

    async def open_pair(*_: object, **__: object) -> Any:
        lane = Lane(End(RIGHT), End(there), ends=ends)
        opened.append(lane)
        return SimpleNamespace(
            lane=lane,
            source=lane.source,
            destination=lane.destination,
            destination_login=SimpleNamespace(restriction=None),
        )

    monkeypatch.setattr(module, "open_pair", open_pair)
    return opened


async def sent(context: TaskContext) -> list[File]:
    async with context.db.connection() as conn:
        return await plan.sent(conn, context.task_no, 100)


async def brought_right(context: TaskContext) -> list[int]:
    """The numbers of the files that are not."""
    until = context.clock() + 60
    files = await sent(context)
    return [file.file_no for file in await repair(context, Recorder(context), files, until=until)]


async def test_only_what_may_be_another_file_is_sent(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels does not want all that was under way to be sent again. What is whole counts."""
    there = {
        "/to/f1": RIGHT["/from/f1"],  # arrived, and nobody was told
        "/to/f2": RIGHT["/from/f2"][:2],  # cut off
        "/to/f5": RIGHT["/from/f4"],  # shifted
    }
    opened = lanes(monkeypatch, there)
    assert await brought_right(context) == []
    assert [lane.sent for lane in opened] == [["f5"]]
    assert there["/to/f5"] == RIGHT["/from/f5"]
    assert await states(context.db) == dict.fromkeys((2, 3, 4, 6), State.PENDING)
    assert await events(context.db) == []
    async with context.db.connection() as conn:
        done = await counters.totals(conn, context.task_no)
    assert (done.files_succeeded, done.bytes_transferred) == (2, 10)


async def test_what_is_whole_and_not_what_its_owner_said_goes(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody saw it arrive; it is refuted all the same, as every file would be."""
    there = {"/to/f1": RIGHT["/from/f1"]}
    lanes(monkeypatch, there)
    context.items = {1: plan.Item(1, "/from", "/to", True, "MD5", "ab" * 16)}

    async def remove_anew(_context: TaskContext, path: str) -> bool:
        del there[path]
        return True

    monkeypatch.setattr(arrived, "remove_anew", remove_anew)
    assert await brought_right(context) == []
    assert there == {}
    assert [code for code, _ in await events(context.db)] == ["EXTERNAL_CHECKSUM_MISMATCH"]
    assert (await states(context.db))[1] == State.PENDING


async def test_what_cannot_be_compared_is_sent_and_what_is_void_is_looked_at_again(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {
        "/to/f1": RIGHT["/from/f6"],
        "/to/f2": b"unreadable",
        "/to/f3": RIGHT["/from/f3"] + b"+",
        "/to/f4": RIGHT["/from/f5"],
    }
    opened = lanes(monkeypatch, there)
    assert await brought_right(context) == []
    assert [lane.sent for lane in opened] == [["f1", "f2", "f3", "f4"], ["f3", "f4"]]
    assert await states(context.db) == dict.fromkeys((2, 4, 5, 6), State.PENDING)


@pytest.mark.parametrize("ends", [True, False])
async def test_it_is_in_flight_until_its_end_is_certain(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """A takeover meanwhile must find it so."""
    opened = lanes(monkeypatch, {"/to/f1": b"x", "/to/f2": b"y"}, ends=ends)
    seen = []
    send = Lane.send

    def spied(lane: Lane, pieces: Sequence[Piece]) -> None:
        seen.append([piece.tag.file_no for piece in pieces])
        send(lane, pieces)

    async def outcomes(lane: Lane) -> list[Outcome]:
        if not lane.broken:
            assert {n: (await states(context.db))[n] for n in (1, 2, 3)} == {
                1: State.IN_FLIGHT,
                2: State.IN_FLIGHT,
                3: State.PENDING,
            }
        return await told(lane)

    told = Lane.outcomes
    monkeypatch.setattr(Lane, "send", spied)
    monkeypatch.setattr(Lane, "outcomes", outcomes)
    assert await brought_right(context) == ([] if ends else [2])
    assert seen == [[1, 2]]
    assert len(opened) == 1
    assert (await states(context.db))[2] == (State.PENDING if ends else State.IN_FLIGHT)
    assert [code for code, _ in await events(context.db)] == (["CONNECTION_RESET"] if ends else [])


async def test_what_is_right_is_not_in_doubt_because_a_session_does_not_tell_its_end(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent over it."""
    opened = lanes(monkeypatch, {"/to/f1": RIGHT["/from/f1"]}, ends=False)
    context.settings = EngineSettings(in_flight_files=3)
    assert await brought_right(context) == []
    assert [lane.sent for lane in opened] == [[], []]


async def test_no_more_is_in_flight_than_a_lane_may_have(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4. Each has 5 bytes."""
    monkeypatch.setattr(Lane, "outcomes", arrives)
    opened = lanes(monkeypatch, {f"/to/f{number}": b"x" for number in range(1, 7)})
    context.settings = EngineSettings(in_flight_bytes=12)
    assert await brought_right(context) == []
    assert [lane.sent for lane in opened] == [["f1", "f2"], ["f3", "f4"], ["f5", "f6"]]


async def arrives(lane: Lane) -> list[Outcome]:
    told = [Outcome(piece, "done") for piece in lane.flying]
    lane.flying = []
    return told


async def test_what_nobody_can_look_at_is_in_doubt(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = GridFTPError(Kind.CONNECTION_LOST, "refused", "there")
    verdict = context.judge(refused, Phase.LOGIN, at_source=False)

    async def open_pair(*_: object, **__: object) -> Any:
        raise TaskFaultError(verdict)

    monkeypatch.setattr(module, "open_pair", open_pair)
    assert await brought_right(context) == [1, 2, 3, 4, 5, 6]
    assert await events(context.db) == []
    context.lease.renewed(time.monotonic(), -1)
    with pytest.raises(leases.LeaseLostError):  # this one may not even ask
        await brought_right(context)
