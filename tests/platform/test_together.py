"""What is asked for at the same time is done together, and each gets his own answer."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from towpath.platform.together import Together


class Doubling:
    """Doubles numbers; it can be held up, and refuses what is negative."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = asyncio.Event()

    async def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(asked))
        await self.may_go.wait()
        if 13 in asked:
            raise OSError("away")
        return [ValueError("negative") if one < 0 else 2 * one for one in asked]


async def started(calls: Sequence[asyncio.Task[int]]) -> None:
    for _ in calls:
        await asyncio.sleep(0)


async def test_who_comes_while_others_are_served_is_served_with_the_next() -> None:
    work = Doubling()
    double = Together(work, most=3)
    calls = [asyncio.create_task(double(number)) for number in range(6)]
    await started(calls)
    work.may_go.set()
    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10]
    assert work.batches == [[0, 1, 2], [3, 4, 5]]
    assert await double(7) == 14
    assert work.batches[-1] == [7]


async def test_each_has_his_own_error_and_all_have_that_of_the_work() -> None:
    work = Doubling()
    work.may_go.set()
    double = Together(work, most=10)
    told = await asyncio.gather(double(1), double(-1), return_exceptions=True)
    assert told[0] == 2
    assert isinstance(told[1], ValueError)
    told = await asyncio.gather(double(1), double(13), return_exceptions=True)
    assert [type(one) for one in told] == [OSError, OSError]
    assert await double(2) == 4


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    work = Doubling()
    double = Together(work, most=1)
    first, second, third = (asyncio.create_task(double(number)) for number in (1, 2, 3))
    await started([first, second, third])
    first.cancel()
    second.cancel()
    work.may_go.set()
    assert await third == 6
    assert work.batches == [[1], [3]]
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_what_is_done_for_all_has_nobodys_context() -> None:
    request: ContextVar[str] = ContextVar("request", default="")
    seen: list[str] = []

    async def work(asked: Sequence[int]) -> Sequence[int]:
        seen.append(request.get())
        return asked

    request.set("of the first")
    assert await Together(work, most=1)(1) == 1
    assert seen == [""]
