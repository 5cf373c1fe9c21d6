"""When a path is taken to stand still, and how a task that ends waits for that."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.engine import standstill
from towpath.transfer.engine.context import TaskFaultError
from towpath.transfer.engine.faults import Consequence, Verdict
from towpath.transfer.engine.standstill import END_WITHIN_S, let_settle, stand_still
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.leases import LeaseLostError
from towpath.transfer.store.plan import File

SETTLE_S = 10.0
FILE = File(1, 0, "f", 3, None)


class World:
    """A clock, and a destination whose looks take their time."""

    def __init__(self, sizes: Iterator[int], *, look_s: float = 0.0) -> None:
        self.now = 0.0
        self.looks: list[tuple[float, float]] = []
        self.closed = False
        self._sizes, self._look_s = sizes, look_s
        self.context: Any = SimpleNamespace(
            settings=SimpleNamespace(settle_s=SETTLE_S),
            clock=lambda: self.now,
            destination_path=lambda _item, path: path,
            items={0: None},
            grant=SimpleNamespace(destination_endpoint_id="there", lost_s_ago=None),
            removals_open=0,
            lease=SimpleNamespace(check=lambda: None),
            task_no=1,
            db=self,
        )

    def connection(self) -> "World":
        return self

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass

    async def stat(self, _path: str) -> Any:
        asked_at = self.now
        self.now += self._look_s
        self.looks.append((asked_at, self.now))
        return SimpleNamespace(size=next(self._sizes), modified=0)

    async def close(self) -> None:
        self.closed = True

    async def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.0)

    def has_its_own_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For this module alone: others sleep on the same event loop meanwhile."""
        own = SimpleNamespace(sleep=self.sleep, gather=asyncio.gather)
        monkeypatch.setattr(standstill, "asyncio", own)


def growing(looks: int) -> Iterator[int]:
    """A size that changes for so many looks."""
    yield from range(looks)
    while True:
        yield looks


def install(
    monkeypatch: pytest.MonkeyPatch, world: World, *, unsettled: bool, opens: bool = True
) -> None:
    async def open_session(*_: object, **__: object) -> tuple[Any, None]:
        if not opens:
            event = Event(EventCode.CONNECT_FAILED, "refused", "", is_error=True)
            raise TaskFaultError(Verdict(Consequence.RETRY_TASK, event))
        return world, None

    async def files(*_: object) -> list[File]:
        return [FILE] if unsettled else []

    monkeypatch.setattr(standstill, "open_session", open_session)
    monkeypatch.setattr(standstill.plan, "unsettled", files)
    world.has_its_own_time(monkeypatch)


@pytest.mark.parametrize("look_s", [0.0, 4.0, 30.0])
async def test_a_slow_look_is_not_taken_for_stillness(
    monkeypatch: pytest.MonkeyPatch, look_s: float
) -> None:
    """What was seen the same twice was seen so at least `settle_s` apart, however long a look
    takes."""
    world = World(growing(2), look_s=look_s)
    world.has_its_own_time(monkeypatch)
    destination: Any = world
    assert await stand_still(world.context, destination, ["f"])
    first_of_the_last, last = world.looks[2], world.looks[-1]
    assert last[0] - first_of_the_last[1] >= SETTLE_S


async def test_a_task_ends_when_what_a_lost_session_writes_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session may work through what it was told for longer than it takes to settle."""
    world = World(growing(50))
    install(monkeypatch, world, unsettled=True)
    assert await let_settle(world.context, began=0.0, until=END_WITHIN_S)
    assert world.now >= world.looks[50][1] + SETTLE_S
    assert world.now < world.looks[50][1] + 2 * SETTLE_S
    assert world.closed


async def test_but_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may be writing there."""
    world = World(growing(1_000_000))
    install(monkeypatch, world, unsettled=True)
    assert not await let_settle(world.context, began=0.0, until=END_WITHIN_S)
    assert END_WITHIN_S <= world.now < END_WITHIN_S + 2 * SETTLE_S


@pytest.mark.parametrize(("unsettled", "waits_s"), [(True, SETTLE_S), (False, 0.0)])
async def test_where_nobody_can_look_the_time_has_to_do(
    monkeypatch: pytest.MonkeyPatch, unsettled: bool, waits_s: float
) -> None:
    world = World(growing(0))
    install(monkeypatch, world, unsettled=unsettled, opens=False)
    still = await let_settle(world.context, began=0.0, until=END_WITHIN_S)
    assert still is not unsettled
    assert world.now == waits_s


async def test_also_where_the_server_is_lost_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(growing(0))

    async def lost(_path: str) -> Any:
        world.now += 4.0
        raise GridFTPError(Kind.CONNECTION_LOST, "lost", "there")

    world.stat = lost  # type: ignore[method-assign]
    world.context.judge = lambda *_args, **_kwargs: Verdict(
        Consequence.RETRY_TASK, Event(EventCode.CONNECTION_BROKEN, "lost", "", is_error=True)
    )
    install(monkeypatch, world, unsettled=True)
    assert not await let_settle(world.context, began=0.0, until=END_WITHIN_S)
    assert world.now == SETTLE_S
    assert world.closed


async def test_who_may_not_send_any_more_knows_nothing_of_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another lease looks: this one must not say that nobody could."""
    world = World(growing(0))

    def lost() -> None:
        raise LeaseLostError("the lease was not renewed in time")

    world.context.lease = SimpleNamespace(check=lost)
    install(monkeypatch, world, unsettled=True, opens=False)
    with pytest.raises(LeaseLostError):
        await let_settle(world.context, began=0.0, until=END_WITHIN_S)
