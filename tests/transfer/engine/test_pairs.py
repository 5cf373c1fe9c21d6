"""Sessions of a task."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock
from uuid import UUID
from weakref import WeakKeyDictionary

import pytest

from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.platform.secrets import NoKeyError
from towpath.transfer.claims import storage_of
from towpath.transfer.engine.context import LeaseClock, TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence, judge
from towpath.transfer.engine.large import _checker
from towpath.transfer.engine.pairs import close_opened, open_session
from towpath.transfer.rights import Who
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import fetch_one


class Sessions:
    async def person(self, known: Any) -> Any:
        return known

    async def login(self, endpoint_id: UUID, who: Who, **_how: Any) -> Any:
        return SimpleNamespace(whose=f"{who.id} at {endpoint_id}", guest=None)

    async def open_login(self, login: Any) -> Any:
        return Opened(login)


class Opened:
    def __init__(self, login: Any) -> None:
        self.login = login
        self.server = getattr(login, "server", None)
        self.channel = SimpleNamespace(may_send=None)
        self.closed = False
        self.close = AsyncMock()


DESTINATION = UUID(int=3)


def a_task(
    sessions: Sessions,
    *,
    destination: UUID | None = DESTINATION,
    lease: LeaseClock | None = None,
    **more: object,
) -> TaskContext:
    """What opening a session asks of a task; without a destination it deletes."""
    given = {
        "opened": {},
        "own_sessions": WeakKeyDictionary(),
        "witness": None,
        "claimed_storage": None,
    }
    given["owner"] = Who.alone(UUID(int=1), "a")
    context = SimpleNamespace(
        planning=False,
        deletes=destination is None,
        sessions=sessions,
        grant=SimpleNamespace(
            owner_id=UUID(int=1), username="a", destination_endpoint_id=destination
        ),
        lease=lease or LeaseClock(0.0, 10.0, lambda: 0.0),
        **given | more,
    )
    return cast("TaskContext", context)


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
    context = a_task(Sessions(), lease=lease)
    async with opened(context) as session:
        may_send = session.channel.may_send
    assert may_send is not None
    assert may_send()
    now = 10.0
    assert not may_send()
    lease.renewed(now, 10.0)
    assert may_send()


async def test_a_key_that_is_missing_is_told_and_waited_for() -> None:
    """It is no mistake of the program's that its operator would have to look for in the log."""

    class Keyless(Sessions):
        async def login(self, *_where: Any, **_how: Any) -> Any:
            raise NoKeyError

    with pytest.raises(TaskFaultError) as raised:
        await open_session(a_task(Keyless()), DESTINATION, at_source=False)
    verdict = raised.value.verdict
    assert verdict.consequence is Consequence.RETRY_TASK
    assert verdict.event.code == EventCode.INTERNAL_ERROR
    assert isinstance(verdict.event.details, dict)
    assert "misses the key" in verdict.event.details["error"]
    assert verdict.event.details["role"] == "destination"


class Listening:
    """A witness that only listens."""

    def __init__(self) -> None:
        self.told: list[tuple[object, bool]] = []

    def hold(self, _grant: object, channel: object, *, writes: bool) -> None:
        self.told.append((channel, writes))


async def test_the_witness_has_all_sessions_and_knows_which_may_write() -> None:
    witness = Listening()

    transfer = a_task(Moved(), witness=witness)
    delete = a_task(Moved(), destination=None, witness=witness)
    opened = [
        await open_session(transfer, UUID(int=2), at_source=True),
        await open_session(transfer, UUID(int=3), at_source=False),
        await open_session(delete, UUID(int=2), at_source=True),
    ]
    async with _checker(transfer, opened[1][1]) as digests:
        pass
    channels = [session.channel for session, _ in opened] + [digests.channel]
    assert witness.told == list(zip(channels, [False, True, True, False], strict=True))


class Moved(Sessions):
    """The endpoint was given another server."""

    async def login(self, endpoint_id: UUID, who: Who, **_how: Any) -> Any:  # noqa: ARG002
        return SimpleNamespace(server=Server("new.example.org", 2811, None), guest=None)


@pytest.mark.parametrize("type_", ["TRANSFER", "DELETE"])
async def test_a_task_does_not_write_where_it_has_no_claims(type_: str) -> None:
    destination = UUID(int=3) if type_ == "TRANSFER" else None
    claimed = storage_of("old.example.org", 2811)
    context = a_task(Moved(), destination=destination, claimed_storage=claimed)
    at_source = destination is None  # a delete's endpoint counts as its source
    with pytest.raises(TaskFaultError) as caught:
        await open_session(context, UUID(int=3), at_source=at_source)
    assert caught.value.verdict.consequence is Consequence.RETRY_TASK
    assert caught.value.verdict.event.code is EventCode.ENDPOINT_ERROR
    context.claimed_storage = storage_of("NEW.example.org", 2811)
    await open_session(context, UUID(int=3), at_source=at_source)


class Full(Sessions):
    """The server of every endpoint allows one session."""

    def __init__(self) -> None:
        self._taken = False

    async def login(self, endpoint_id: UUID, who: Who, **_how: Any) -> Any:  # noqa: ARG002
        return SimpleNamespace(
            server=Server("full.example.org", 2811, None), guest=None, hide_server=Mock()
        )

    async def open_login(self, login: Any) -> Any:
        if self._taken:
            raise GridFTPError(Kind.CONNECT, "the server takes no sessions", str(login.server))
        self._taken = True
        return await super().open_login(login)


async def test_a_server_is_doubted_only_by_a_task_that_has_no_session_there(
    database: Database,
) -> None:
    """Else the lanes of one task that take all that it allows would hold up all other tasks."""
    sessions = Full()

    async def circuits_open() -> int:
        async with database.connection() as conn:
            row = await fetch_one(conn, "SELECT count(*)::integer FROM circuit")
        assert row is not None
        return int(row[0])

    first, second = (a_task(sessions, db=database, judge=judge) for _ in range(2))
    session, _ = await open_session(first, UUID(int=2), at_source=True)
    with pytest.raises(TaskFaultError):
        await open_session(first, UUID(int=2), at_source=True)
    assert await circuits_open() == 0
    with pytest.raises(TaskFaultError):
        await open_session(second, UUID(int=2), at_source=True)
    assert await circuits_open() == 1
    async with database.transaction() as conn:
        await conn.execute("DELETE FROM circuit")
    cast("Any", session).closed = True
    with pytest.raises(TaskFaultError):
        await open_session(first, UUID(int=2), at_source=True)
    assert await circuits_open() == 1


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
