"""How sessions end when their owner is ended, too."""

import asyncio
from typing import cast
from unittest.mock import AsyncMock

import pytest

from towpath.gridftp.client.session import Session, close_all


async def test_none_stays_open_when_whoever_closes_them_has_been_cancelled() -> None:
    """The tasks of a `gather` that is cancelled before it waits never begin."""
    sessions = [AsyncMock(spec=Session) for _ in range(2)]

    async def end() -> None:
        me = asyncio.current_task()
        assert me is not None
        me.cancel()
        await close_all(cast("list[Session]", sessions))

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(end())
    for session in sessions:
        session.close.assert_not_awaited()
        session.give_up.assert_awaited_once()


@pytest.mark.parametrize(("confirmed", "all_"), [((True, True), True), ((True, False), False)])
async def test_the_end_of_all_is_certain_if_that_of_each_is(
    confirmed: tuple[bool, bool],
    all_: bool,
) -> None:
    sessions = [AsyncMock(spec=Session) for _ in confirmed]
    for session, one in zip(sessions, confirmed, strict=True):
        session.close.return_value = one
    assert await close_all(cast("list[Session]", sessions)) is all_
