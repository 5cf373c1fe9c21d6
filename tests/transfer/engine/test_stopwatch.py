"""What the parts of a task wait for is shared out among them, and all of it."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.client.pieces import Waits
from towpath.transfer.accounting import Category, Entry
from towpath.transfer.engine.stopwatch import (
    CHECKSUM,
    LISTING_SOURCE,
    LOGIN,
    OF_LANE,
    RETRY,
    SERVICE,
    TELL_EVERY_S,
    Stopwatch,
)


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(stopwatch: Stopwatch) -> dict[Entry, float]:
    stopwatch.last_word()
    found = stopwatch.due()
    assert found is not None
    stopwatch.told()
    return found


async def test_parts_share_the_time_and_idle_ones_get_none() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    begun, go = asyncio.Event(), asyncio.Event()

    async def lane() -> None:
        with stopwatch.part(), stopwatch.phase(lambda: OF_LANE[Waits.SOURCE]):
            clock.now += 4  # beside a walk that lists
            with stopwatch.phase(None):
                begun.set()
                await go.wait()
            clock.now += 1

    with stopwatch.part(), stopwatch.phase(LISTING_SOURCE):
        work = asyncio.create_task(lane())
        await begun.wait()
        clock.now += 3  # the lane is idle
        go.set()
        await work
    assert told(stopwatch) == {
        LISTING_SOURCE: 2 + 3 + 0.5,
        (Category.SOURCE, ""): 2 + 0.5,
    }


async def test_what_is_begun_in_a_part_belongs_to_it() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)

    async def log_in() -> None:
        with stopwatch.phase(LOGIN):
            await asyncio.sleep(0)

    with stopwatch.part():
        with stopwatch.phase(LOGIN):
            await asyncio.gather(log_in(), log_in())
            clock.now += 2
        clock.now += 1
        with stopwatch.phase(None):
            with stopwatch.part(weak=True), stopwatch.phase(CHECKSUM):
                clock.now += 5  # nobody else does anything
            clock.now += 7  # all wait
    assert told(stopwatch) == {LOGIN: 2, SERVICE: 1, CHECKSUM: 5, RETRY: 7}


@given(st.lists(st.tuples(st.sampled_from((LOGIN, CHECKSUM, None)), st.floats(0, 10))))
def test_all_of_the_time_is_shared_out(steps: list[tuple[Entry | None, float]]) -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with stopwatch.part():
        for phase, seconds in steps:
            with stopwatch.phase(phase):
                clock.now += seconds
    assert abs(sum(told(stopwatch).values()) - sum(seconds for _, seconds in steps)) < 1e-6


def test_it_is_told_now_and_then_and_once() -> None:
    clock = Clock()
    stopwatch = Stopwatch(clock)
    assert stopwatch.due() is None
    clock.now += TELL_EVERY_S
    assert stopwatch.due() == {SERVICE: TELL_EVERY_S}
    assert stopwatch.due() == {SERVICE: TELL_EVERY_S}  # what was not committed is told again
    stopwatch.told()
    assert stopwatch.due() is None
    assert not stopwatch.overdue
    clock.now += 60
    assert stopwatch.overdue
