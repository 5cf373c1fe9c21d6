"""Tokens are asked for once, remembered for a moment, refused when nobody can vouch for them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from towpath.platform.errors import ApiError
from towpath.platform.guard import FRESH_S, STALE_S, Authentication, Guard

SUB = uuid4()


@dataclass
class Nexus:
    """A double, because it must fail on command."""

    active: bool = True
    down: bool = False
    asked: int = 0
    expires_at: float = 1e12
    more: dict[str, Any] = field(default_factory=dict)
    slow: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.slow.wait()
        if self.down:
            raise httpx.ConnectError("down")
        if not self.active:
            return httpx.Response(200, json={"active": False})
        return httpx.Response(
            200,
            json={
                "active": True,
                "sub": str(SUB),
                "username": "u",
                "client_id": str(SUB),
                "scope": "a b",
                "exp": self.expires_at,
                **self.more,
            },
        )


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nexus() -> Nexus:
    made = Nexus()
    made.slow.set()
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def guard(nexus: Nexus, clock: Clock) -> AsyncIterator[Guard]:
    transport = httpx.MockTransport(nexus.answer)
    async with httpx.AsyncClient(transport=transport, base_url="https://nexus") as http:
        yield Guard(http, UUID(int=1), "secret", monotonic=clock, wall=clock)


async def _status(guard: Guard, token: str = "t") -> int:
    try:
        await guard.principal(token)
    except ApiError as error:
        return error.status
    return 200


async def test_answer_is_reused_for_five_seconds(guard: Guard, nexus: Nexus, clock: Clock) -> None:
    assert (await guard.principal("t")).sub == SUB
    nexus.active = False
    clock.now += FRESH_S
    assert await _status(guard) == 200
    clock.now += 0.1
    assert await _status(guard) == 401
    assert nexus.asked == 2


async def test_many_at_once_ask_once(guard: Guard, nexus: Nexus) -> None:
    nexus.slow.clear()
    waiting = [asyncio.create_task(guard.principal("t")) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one that goes away takes nothing from the others
    nexus.slow.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(r, "sub", None) for r in results[1:]] == [SUB] * 49
    assert nexus.asked == 1


async def test_fails_closed_after_a_minute_without_nexus(
    guard: Guard, nexus: Nexus, clock: Clock
) -> None:
    assert await _status(guard) == 200
    nexus.down = True
    clock.now += STALE_S
    assert await _status(guard) == 200
    assert await _status(guard, "never seen") == 503
    clock.now += 0.1
    assert await _status(guard) == 503


async def test_expired_token_is_refused_from_the_cache_too(
    guard: Guard, nexus: Nexus, clock: Clock
) -> None:
    nexus.expires_at = clock.now + 1
    assert await _status(guard) == 200
    clock.now += 1
    assert await _status(guard) == 401
    assert nexus.asked == 1


async def test_nonsense_is_not_asked_about(guard: Guard, nexus: Nexus) -> None:
    assert await _status(guard, "") == 401
    assert await _status(guard, "x" * 5000) == 401
    assert nexus.asked == 0


async def test_the_principal_has_identities_groups_and_how_they_logged_in(
    guard: Guard, nexus: Nexus
) -> None:
    alone = await guard.principal("alone")
    assert (alone.identity_set, alone.groups, alone.authentications) == ({SUB}, frozenset(), {})
    other, group = uuid4(), uuid4()
    nexus.more = {
        "identity_set": [str(SUB), str(other)],
        "groups": [str(group)],
        "session_info": {
            "session_id": str(uuid4()),
            "authentications": {
                str(other): {"auth_time": 1700000000, "amr": ["hwk", "mfa"], "acr": None}
            },
        },
    }
    found = await guard.principal("another")
    assert (found.identity_set, found.groups) == ({SUB, other}, {group})
    login = Authentication(at=1700000000, amr=frozenset({"hwk", "mfa"}), acr=None)
    assert found.authentications == {other: login}


@pytest.mark.parametrize(
    "more",
    [{"groups": ["no id"]}, {"session_info": {"authentications": {str(SUB): {}}}}, {"sub": None}],
)
async def test_an_answer_that_cannot_be_understood_lets_nobody_in(
    guard: Guard, nexus: Nexus, more: dict[str, Any]
) -> None:
    nexus.more = more
    assert await _status(guard) == 503


async def test_a_revocation_counts_from_before_nexus_was_asked(
    guard: Guard, nexus: Nexus, clock: Clock
) -> None:
    """What nexus says may be as old as its answer took: the five seconds begin before it."""
    nexus.slow.clear()
    asking = asyncio.create_task(guard.principal("t"))
    while not nexus.asked:
        await asyncio.sleep(0)
    clock.now += FRESH_S  # nexus took as long
    nexus.slow.set()
    await asking
    nexus.active = False
    clock.now += 0.1
    assert await _status(guard) == 401
