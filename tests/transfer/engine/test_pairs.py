"""Sessions of a task."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from towpath.gridftp.client.session import Server, Session
from towpath.transfer.claims import storage_of
from towpath.transfer.engine.context import LeaseClock, TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence
from towpath.transfer.engine.large import _checker
from towpath.transfer.engine.pairs import close_opened, open_session
from towpath.transfer.store.events import EventCode


class Sessions:
    async def login(self, endpoint_id: UUID, owner_id: UUID) -> str:
        return f"{owner_id} at {endpoint_id}"

    async def open_login(self, login: str) -> Any:
        return SimpleNamespace(
            login=login, channel=SimpleNamespace(may_send=None), close=AsyncMock()
        )


@asynccontextmanager
async def of_a_pair(context: TaskContext) -> AsyncIterator[Session]:
    session, login = await open_session(context, UUID(int=2), at_source=True)
    assert cast("Any", session).login == login
    yield session


@asynccontextmanager
async def of_a_checker(context: TaskContext) -> AsyncIterator[Session]:
    async with _checker(context, cast("Any", "login")) as session:
        yield session


@pytest.mark.parametrize("opened", [of_a_pair, of_a_checker])
async def test_a_session_sends_only_under_the_lease(
    opened: Callable[[TaskContext], AbstractAsyncContextManager[Session]],
) -> None:
    now = 0.0
    lease = LeaseClock(0.0, 10.0, lambda: now)
    grant = SimpleNamespace(owner_id=UUID(int=1), destination_endpoint_id=UUID(int=3))
    context = cast(
        "TaskContext", SimpleNamespace(sessions=Sessions(), grant=grant, lease=lease, opened={})
    )
    async with opened(context) as session:
        may_send = session.channel.may_send
    assert may_send is not None
    assert may_send()
    now = 10.0
    assert not may_send()
    lease.renewed(now, 10.0)
    assert may_send()


class Moved(Sessions):
    """The endpoint was given another server."""

    async def login(self, endpoint_id: UUID, owner_id: UUID) -> Any:  # noqa: ARG002
        return SimpleNamespace(server=Server("new.example.org", 2811, None))


@pytest.mark.parametrize("type_", ["TRANSFER", "DELETE"])
async def test_a_task_does_not_write_where_it_has_no_claims(type_: str) -> None:
    destination = UUID(int=3) if type_ == "TRANSFER" else None
    context = cast(
        "TaskContext",
        SimpleNamespace(
            sessions=Moved(),
            grant=SimpleNamespace(owner_id=UUID(int=1), destination_endpoint_id=destination),
            lease=LeaseClock(0.0, 10.0, lambda: 0.0),
            opened={},
            claimed_storage=storage_of("old.example.org", 2811),
        ),
    )
    at_source = destination is None  # a delete's endpoint counts as its source
    with pytest.raises(TaskFaultError) as caught:
        await open_session(context, UUID(int=3), at_source=at_source)
    assert caught.value.verdict.consequence is Consequence.RETRY_TASK
    assert caught.value.verdict.event.code is EventCode.ENDPOINT_ERROR
    context.claimed_storage = storage_of("NEW.example.org", 2811)
    await open_session(context, UUID(int=3), at_source=at_source)


async def test_sessions_that_nobody_needs_are_closed_although_the_task_is_cancelled_meanwhile() -> (
    None
):
    """A task that waits for another has given its lease back, and is cancelled by the next renewal
    if that finds it still closing its sessions."""
    left = {"one", "two"}
    closing = asyncio.Event()

    def session(name: str) -> Any:
        async def close() -> None:
            closing.set()
            await asyncio.sleep(60)

        async def give_up() -> None:
            left.discard(name)

        return SimpleNamespace(close=close, give_up=give_up)

    opened = {number: (session(name), None) for number, name in enumerate(sorted(left))}
    context = cast("TaskContext", SimpleNamespace(opened=opened))
    task = asyncio.create_task(close_opened(context))
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not left
    assert not context.opened
