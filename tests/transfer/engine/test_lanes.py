"""What a lane of small files holds when it is left."""

import asyncio
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.engine import lanes, pairs
from towpath.transfer.engine.context import Options, Signal, TaskContext
from towpath.transfer.engine.faults import judge
from towpath.transfer.engine.lanes import LaneRunner, LargeFiles, SmallFiles
from towpath.transfer.engine.news import News
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.stopwatch import Stopwatch
from towpath.transfer.store.plan import File, Item, Returned, State

LOGIN = SimpleNamespace(restriction=None)
"""Of a pair that no rules of a guest collection narrow."""


class LostLane:
    """Its first file arrives, its last fails with the session; how the session ended is unknown."""

    settled: bool | None = None

    def __init__(self) -> None:
        self.failure: Outcome | None = None
        self.broken = False
        self.usable = True
        self.flying: list[Piece] = []

    @property
    def due(self) -> bool:
        return bool(self.flying)

    @property
    def in_flight(self) -> int:
        return len(self.flying)

    in_flight_bytes = 0

    def send(self, pieces: Sequence[Piece], directories: Sequence[str]) -> None:
        del directories
        self.flying += pieces

    async def outcomes(self) -> list[Outcome]:
        *good, bad = self.flying
        self.flying = []
        self.broken, self.usable = True, False
        lost = GridFTPError(Kind.CONNECTION_LOST, "lost", "there")
        self.failure = Outcome(bad, "failed", lost, "destination")
        return [*(Outcome(p, "done") for p in good), self.failure]

    async def close(self) -> bool:
        await asyncio.sleep(0.05)
        self.settled = False
        return False


class Notes(Recorder):
    """A recorder that writes nothing."""

    def __init__(self) -> None:
        self.back: list[tuple[Returned, int]] = []
        self.arrived: list[int] = []
        self.left_out: list[int] = []
        self.told: list[str] = []

    def returned(self, file: Returned, *, resent: int = 0) -> None:
        self.back.append((file, resent))

    def finished(self, file_no: int, *_: Any, **_options: Any) -> None:
        self.arrived.append(file_no)

    def skipped(self, file_no: int, what: Any) -> None:
        del what
        self.left_out.append(file_no)

    def event(self, event: Any) -> None:
        self.told.append(event.code)


def context() -> TaskContext:
    given: Any = SimpleNamespace(
        settings=SimpleNamespace(in_flight_files=100, in_flight_bytes=1 << 28, lane_idle_s=5),
        options=Options.from_document({}),
        items={1: Item(1, "/from", "/to", True)},
        verifies=lambda _item: False,
        last_look=None,
        skips=lambda _error, at_source: False,  # noqa: ARG005
        lease=SimpleNamespace(check=lambda: None),
        changed=Signal(),
        news=News(),
        clock=asyncio.get_running_loop().time,
        stopwatch=Stopwatch(asyncio.get_running_loop().time),
        random=Random(1),
        complete=False,
        lanes_open=0,
        source_path=lambda _item, path: f"/from/{path}",
        destination_path=lambda _item, path: f"/to/{path}",
        judge=judge,
        backoff_s=lambda _failures: 0.0,
    )
    return given  # type: ignore[no-any-return]


async def left(runner: LaneRunner, when: asyncio.Event) -> None:
    """It runs until then, and is cancelled."""
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(5):
        await when.wait()
    await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_files_that_were_never_sent_go_back_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever became of the lane before: nothing of theirs can be running, or be shifted."""
    opening = asyncio.Event()
    there = SimpleNamespace(server="there")
    first = [SimpleNamespace(lane=LostLane(), destination=there, destination_login=LOGIN)]

    async def open_pair(*_args: Any, **_kwargs: Any) -> Any:
        if first:
            return first.pop()
        opening.set()
        return await asyncio.sleep(60)

    batches = [[File(n, 1, f"f{n}", 10, None, 0) for n in part] for part in ((3, 4), (1, 2))]
    recorder, given = Notes(), context()
    runner = SmallFiles(given, recorder, number=1)

    async def take(_room: object) -> list[File]:
        files = batches.pop() if batches else []
        runner._flying.update({f.file_no: f for f in files})
        return files

    monkeypatch.setattr(pairs, "open_pair", open_pair)
    monkeypatch.setattr(lanes, "REOPEN_AFTER_S", 0)
    monkeypatch.setattr(runner, "_take", take)
    await left(runner, opening)
    states = {file.file_no: (file.state, resent) for file, resent in recorder.back}
    assert recorder.arrived == [1]
    assert states[2] == (State.CONTESTED, 10)
    assert states[3] == states[4] == (State.PENDING, 0)


async def test_a_failure_that_nobody_has_read_is_told_by_who_leaves_the_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or a task that is cancelled while the lane closes would seem to be in good health, and leave
    what the failure has shifted."""
    lane = LostLane()
    closing = asyncio.Event()
    recorder, given = Notes(), context()
    runner = SmallFiles(given, recorder, number=1)

    async def take(_room: object) -> list[File]:
        files = [] if runner._flying else [File(n, 1, f"f{n}", 10, None, 0) for n in (1, 2)]
        runner._flying.update({f.file_no: f for f in files})
        return files

    async def open_pair(*_args: Any, **_kwargs: Any) -> Any:
        there = SimpleNamespace(server="there")
        return SimpleNamespace(lane=lane, destination=there, destination_login=LOGIN)

    async def close() -> bool:
        closing.set()
        await asyncio.sleep(0.05)
        lane.settled = True
        return True

    monkeypatch.setattr(lane, "close", close)
    monkeypatch.setattr(pairs, "open_pair", open_pair)
    monkeypatch.setattr(runner, "_take", take)
    await left(runner, closing)
    assert {file.file_no: file.state for file, _ in recorder.back} == {
        1: State.PENDING,
        2: State.PENDING,
    }
    assert recorder.told == ["CONNECTION_RESET"]


async def test_a_large_file_is_contested_also_when_its_lane_is_left_while_it_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lane = LostLane()
    closing = asyncio.Event()
    file = File(1, 1, "f1", 10, None, 0)
    recorder, given = Notes(), context()
    runner = LargeFiles(given, recorder, number=1)

    class Fails:
        def __init__(self, *_: object) -> None:
            pass

        async def transfer(self) -> Outcome:
            lane.send([Piece("/from/f1", "/to/f1", 10)], [])
            (outcome,) = await lane.outcomes()
            closing.set()
            return outcome

    async def take(_room: object) -> list[File]:
        runner._flying[1] = file
        return [file]

    async def open_pair(*_args: Any, **_kwargs: Any) -> Any:
        return SimpleNamespace(lane=lane)

    monkeypatch.setattr(pairs, "open_pair", open_pair)
    monkeypatch.setattr(lanes, "LargeFile", Fails)
    monkeypatch.setattr(runner, "_take", take)
    await left(runner, closing)
    assert [back.state for back, _ in recorder.back] == [State.CONTESTED]
    assert given.lanes_open == 0


@pytest.mark.parametrize("sent_before", [False, True])
async def test_a_large_file_of_a_plan_is_looked_at_when_its_turn_has_come(
    monkeypatch: pytest.MonkeyPatch,
    sent_before: bool,
) -> None:
    """The one before it may have taken hours. What is there from us is not held against it."""
    file = File(1, 1, "f", 1 << 40, None, sent_before=sent_before)
    begun, looked, recorder, given = asyncio.Event(), [], Notes(), context()

    class Begins:
        begun = True

        def __init__(self, *_: object) -> None:
            begun.set()

        async def transfer(self) -> Outcome:
            await asyncio.sleep(60)
            raise AssertionError

    async def changed(*ends: object) -> list[tuple[File, object]]:
        looked.append(ends)
        begun.set()
        return [(file, "the destination has changed")]

    async def open_pair(*_args: Any, **_kwargs: Any) -> Any:
        return SimpleNamespace(lane=LostLane(), source="here", destination="there")

    given.last_look = changed  # type: ignore[assignment]
    runner = LargeFiles(given, recorder, number=1)

    async def take(_room: object) -> list[File]:
        if begun.is_set():
            return []
        runner._flying[1] = file
        return [file]

    monkeypatch.setattr(pairs, "open_pair", open_pair)
    monkeypatch.setattr(lanes, "LargeFile", Begins)
    monkeypatch.setattr(runner, "_take", take)
    await left(runner, begun)
    assert recorder.left_out == ([] if sent_before else [1])
    assert looked == ([] if sent_before else [("here", "there", [file])])


async def test_of_files_that_are_gone_one_breaks_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source tells of the others, and nothing stays of what may have been written of them."""
    gone, removed = {"/from/f2", "/from/f4"}, []

    class Source:
        server = "here"

        async def stat(self, path: str) -> Any:
            if path in gone:
                raise GridFTPError(Kind.NOT_FOUND, "none", "here", path)
            return SimpleNamespace(size=99, modified=None)

    async def remove(_context: object, _destination: object, path: str) -> bool:
        removed.append(path)
        return path != "/to/f4"

    fresh: Any = SimpleNamespace(source=Source(), destination=None)
    broken: Any = SimpleNamespace(broken=True, settled=True)
    recorder, given = Notes(), context()
    given.skips = lambda _error, at_source: at_source  # type: ignore[method-assign]
    runner = SmallFiles(given, recorder, number=1)

    async def open_lane() -> Any:
        return fresh

    monkeypatch.setattr(runner, "_open_lane", open_lane)
    monkeypatch.setattr(lanes, "remove_spoiled", remove)
    files = {n: File(n, 1, f"f{n}", 10, None, 0) for n in (2, 3, 4)}
    runner._flying = dict(files)
    pieces = {n: Piece(f"/from/f{n}", f"/to/f{n}", 10, tag=file) for n, file in files.items()}
    missing = GridFTPError(Kind.NOT_FOUND, "none", "here", "/from/f2")
    outcomes = [
        Outcome(pieces[2], "failed", missing, "source"),
        *(Outcome(pieces[n], "void") for n in (3, 4)),
    ]
    await runner.settle(broken, outcomes)
    assert removed == ["/to/f2", "/to/f4"]
    assert recorder.left_out == [2]
    assert [(back.file_no, back.failed) for back, _ in recorder.back] == [(3, False), (4, True)]
