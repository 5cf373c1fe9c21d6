"""Sessions of a task."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from towpath.transfer.engine.context import LeaseClock, TaskContext
from towpath.transfer.engine.pairs import open_session


class Sessions:
    async def login(self, endpoint_id: UUID, owner_id: UUID) -> str:
        return f"{owner_id} at {endpoint_id}"

    async def open_login(self, login: str) -> Any:
        return SimpleNamespace(login=login, channel=SimpleNamespace(may_send=None))


async def test_a_session_sends_only_under_the_lease() -> None:
    now = 0.0
    lease = LeaseClock(0.0, 10.0, lambda: now)
    grant = SimpleNamespace(owner_id=UUID(int=1))
    context = cast("TaskContext", SimpleNamespace(sessions=Sessions(), grant=grant, lease=lease))
    session, login = await open_session(context, UUID(int=2), at_source=True)
    assert cast("Any", session).login == login
    may_send = session.channel.may_send
    assert may_send is not None
    assert may_send()
    now = 10.0
    assert not may_send()
    lease.renewed(now, 10.0)
    assert may_send()
