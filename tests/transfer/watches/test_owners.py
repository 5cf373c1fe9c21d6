"""Transfer follows what nexus tells of accounts, in order, whatever fails on the way."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from plugins.tasks import MakeTask
from towpath.platform.account_changes import ROUTE
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings, LimitSettings
from towpath.transfer.store.owners import Fitted
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.watches.owners import OwnerWatch


@dataclass
class Nexus:
    """A double, because it must fail on command; it answers in pages of two."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    broken: httpx.Response | None = None

    def note(self, what: str, *identity_ids: UUID) -> None:
        n = len(self.changes) + 1
        ids = [str(one) for one in identity_ids]
        self.changes.append({"n": n, "identity_ids": ids, "what": what, "at": "2026-01-01"})

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == ROUTE
        assert request.headers["authorization"].startswith("Basic ")
        after = int(request.url.params["after"])
        self.asked.append(after)
        if self.broken is not None:
            return self.broken
        newer = [one for one in self.changes if one["n"] > after]
        return httpx.Response(200, json={"account_changes": newer[:2]})


@pytest.fixture
def nexus() -> Nexus:
    return Nexus()


@pytest.fixture
async def watch(nexus: Nexus, database: Database) -> AsyncIterator[OwnerWatch]:
    transport = httpx.MockTransport(nexus.answer)
    async with httpx.AsyncClient(transport=transport, base_url="https://nexus") as http:
        login = httpx.BasicAuth("id", "secret")
        yield OwnerWatch(database, http, login, limits=LimitSettings(), engine=EngineSettings())


async def after(database: Database) -> int:
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT after FROM account_cursor")
    assert row is not None
    return int(row[0])


async def test_changes_are_taken_over_once_and_in_order(
    watch: OwnerWatch, nexus: Nexus, database: Database, make_task: MakeTask
) -> None:
    kept, held = uuid4(), uuid4()
    await make_task(kept)
    await make_task(held)
    for what in ("suspended", "restored", "suspended", "restored"):
        nexus.note(what, kept)
    nexus.note("suspended", held, uuid4())
    assert await watch.look() == Fitted(1, 0, 0)
    assert nexus.asked == [0, 2, 4, 5]
    assert await after(database) == 5
    assert await watch.look() == Fitted(0, 0, 0)
    assert nexus.asked[4:] == [5]


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(503),
        httpx.Response(200, text="?"),
        httpx.Response(200, json={"account_changes": [{"n": 1}]}),
        httpx.Response(
            200, json={"account_changes": [{"n": 1, "identity_ids": [], "what": "married"}]}
        ),
    ],
    ids=["away", "no document", "half a change", "unknown"],
)
async def test_while_nexus_cannot_be_understood_all_stays_as_it_was(
    watch: OwnerWatch,
    nexus: Nexus,
    database: Database,
    make_task: MakeTask,
    broken: httpx.Response,
) -> None:
    owner = uuid4()
    nexus.note("suspended", owner)
    await watch.look()
    nexus.broken = broken
    await make_task(owner)
    with pytest.raises((httpx.HTTPError, ValueError, KeyError)):
        await watch.look()
    assert await after(database) == 1
    async with database.connection() as conn:  # and who was suspended is
        assert await fetch_one(conn, "SELECT status FROM task") == ("INACTIVE",)
