"""Who idles looks into the plan when there may be something new, and not with every wake-up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from towpath.gridftp.client.lane_loop import Room
from towpath.transfer.engine.context import Arrivals, Work
from towpath.transfer.engine.lanes import LOOK_AGAIN_S, LargeFiles, SmallFiles
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File

ROOM = Room(2, 1 << 20)


class Plan:
    """What `plan.take` finds, and how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[File] = []
        self.asked = 0
        self.now = 0.0
        self.arrivals = Arrivals()
        self.context: Any = SimpleNamespace(
            settings=SimpleNamespace(in_flight_files=100, in_flight_bytes=1 << 28),
            arrivals=self.arrivals,
            clock=lambda: self.now,
            fenced=self._fenced,
            task_no=1,
            grant=SimpleNamespace(lease_epoch=1),
        )
        monkeypatch.setattr(plan, "take", self._take)

    def add(self, count: int, *, attempt: int = 0) -> None:
        """So many small files come into the plan."""
        self.files += [File(n, 0, f"f{n}", 1, None, attempt) for n in range(count)]
        self.arrivals.add(Work.SMALL)

    def lane(self, number: int) -> SmallFiles:
        """A lane of the task."""
        return SmallFiles(self.context, SimpleNamespace(), number=number)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _fenced(self) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        yield

    async def _take(self, _conn: object, _task_no: int, *, files: int, **_: object) -> list[File]:
        self.asked += 1
        given, self.files = self.files[:files], self.files[files:]
        return given


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Plan:
    return Plan(monkeypatch)


async def test_an_empty_plan_is_not_looked_at(given: Plan) -> None:
    lane = given.lane(1)
    for _ in range(3):
        assert await lane._take(ROOM) == []
    assert given.asked == 0


async def test_what_waits_for_its_time_is_looked_for_now_and_then(given: Plan) -> None:
    lane = given.lane(1)
    given.files.append(File(1, 0, "f", 1, None, 1))
    given.now = LOOK_AGAIN_S
    assert len(await lane._take(ROOM)) == 1


async def test_of_two_lanes_one_looks_if_it_takes_everything(given: Plan) -> None:
    lanes = [given.lane(1), given.lane(2)]
    given.add(1)
    taken = await asyncio.gather(*(lane._take(ROOM) for lane in lanes))
    assert sorted(map(len, taken)) == [0, 1]
    assert given.asked == 1


@pytest.mark.parametrize("attempt", [0, 1])
async def test_what_one_leaves_the_other_takes(given: Plan, attempt: int) -> None:
    """A full load says that there may be more; so does a failed file, which goes alone."""
    lanes = [given.lane(1), given.lane(2)]
    room = ROOM if attempt == 0 else Room(1, 1 << 20)
    given.add(room.files + 1, attempt=attempt)
    taken = await asyncio.gather(*(lane._take(room) for lane in lanes))
    assert sorted(map(len, taken)) == [1, room.files]


async def test_what_arrives_while_one_looks_is_looked_for_again(given: Plan) -> None:
    lane = given.lane(1)
    given.add(1)
    looking = asyncio.create_task(lane._take(ROOM))
    await asyncio.sleep(0)
    given.arrivals.add(Work.SMALL)
    await looking
    await lane._take(ROOM)
    assert given.asked == 2


async def test_small_files_are_no_work_for_the_lane_of_large_ones(given: Plan) -> None:
    large = LargeFiles(given.context, SimpleNamespace(), number=0)  # type: ignore[arg-type]
    given.add(1)
    assert await large._take(ROOM) == []
    assert given.asked == 0
