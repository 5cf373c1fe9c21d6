"""What a worker tells those who watch: little, in order of interest, and only when it is news."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from towpath.platform.database import Database
from towpath.transfer.engine import telling
from towpath.transfer.engine.news import RATE_OVER_S, FileState, Moving, News, Rate
from towpath.transfer.engine.telling import MOST_FILES, Teller
from towpath.transfer.store.plan import File, Item
from towpath.transfer.store.progress import PAYLOAD_BYTES, PROGRESS_CHANNEL

SENDING, VERIFYING, WAITING = FileState


def context(task_no: int = 1, item: str = "/from") -> Any:
    items = {0: Item(0, item, "/to", recursive=True)}
    return SimpleNamespace(task_no=task_no, news=News(), items=items)


def moving(number: int, state: FileState, moved: int = 0, path: str = "f") -> Moving:
    return Moving(File(number, 0, f"{path}{number}", 100, None, attempt=2), moved, state)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TELL_EVERY_S", 0.01)
    monkeypatch.setattr(telling, "FLIGHTS_EVERY_S", 0.02)


@asynccontextmanager
async def heard(database: Database, teller: Teller) -> AsyncIterator[asyncio.Queue[str]]:
    """What is told meanwhile."""
    told: asyncio.Queue[str] = asyncio.Queue()
    connection = await database.dedicated()
    await connection.execute(f"LISTEN {PROGRESS_CHANNEL}")

    async def hear() -> None:
        async for notification in connection.notifies():
            told.put_nowait(notification.payload)

    parts = [asyncio.create_task(hear()), asyncio.create_task(teller.run())]
    try:
        yield told
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        await connection.close()


async def document(told: asyncio.Queue[str]) -> dict[str, Any]:
    """The next one that says what moves."""
    async with asyncio.timeout(10):
        while True:
            payload = await told.get()
            assert len(payload.encode()) <= PAYLOAD_BYTES
            if " " in payload:
                found: dict[str, Any] = json.loads(payload.partition(" ")[2])
                return found


async def test_what_moves_comes_first_and_the_rest_is_a_number(database: Database) -> None:
    teller, task = Teller(database), context()
    flight = [moving(n, WAITING) for n in range(MOST_FILES)]
    flight += [moving(50, VERIFYING, 100), moving(51, SENDING, 7)]
    async with heard(database, teller) as told:
        with task.news.showing(lambda: flight):
            teller.follow(task)
            task.news.change()
            first = await document(told)
        assert first["items"] == {"0": ["/from", "/to"]}
        assert first["files"][:3] == [
            [0, "f51", 100, 7, 0, "sending", 2],
            [0, "f50", 100, 100, 0, "verifying", 2],
            [0, "f0", 100, 0, 0, "waiting", 2],
        ]
        assert (len(first["files"]), first["more"]) == (MOST_FILES, 2)
        teller.leave(task)
        assert await document(told) == {"rate": 0, "items": {}, "files": [], "more": 0}


@pytest.mark.parametrize(("length", "at_most"), [(500, 15), (4000, 1), (9000, 0)])
async def test_names_of_any_length_fit(database: Database, length: int, at_most: int) -> None:
    teller, task = Teller(database), context()
    flight = [moving(n, SENDING, 1, path="\u00e9" * (length // 2)) for n in range(MOST_FILES)]
    async with heard(database, teller) as told:
        with task.news.showing(lambda: flight):
            teller.follow(task)
            task.news.change()
            found = await document(told)
    assert at_most // 2 <= len(found["files"]) <= at_most
    assert len(found["files"]) + found["more"] == MOST_FILES


async def test_names_of_any_bytes_are_told_as_the_api_spells_them(database: Database) -> None:
    teller, task = Teller(database), context(item="/from/\udcff")
    async with heard(database, teller) as told:
        with task.news.showing(lambda: [moving(1, SENDING, path="\udcfe")]):
            teller.follow(task)
            task.news.change()
            found = await document(told)
    assert found["items"] == {"0": ["/from/\ufffd\u00ff", "/to"]}
    assert found["files"][0][1] == "\ufffd\u00fe1"


async def test_a_mistake_is_not_the_end_of_telling(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor of the worker, which would not go on without it."""
    monkeypatch.setattr(telling, "RETRY_S", 0.01)
    teller, broken, task = Teller(database), context(), context(task_no=2)
    broken.items = {}
    async with heard(database, teller) as told:
        with broken.news.showing(lambda: [moving(1, SENDING)]):
            teller.follow(broken)
            teller.follow(task)
            broken.news.change()
            async with asyncio.timeout(10):
                while broken.news.changed:
                    await asyncio.sleep(0.001)
        task.news.change()
        async with asyncio.timeout(10):
            while not (await told.get()).startswith("2"):
                pass


async def test_nothing_is_told_when_nothing_is_new(database: Database) -> None:
    """While bytes move there is something each time; then once that they do not; then silence."""
    teller, task = Teller(database), context(task_no=7)
    one = moving(1, SENDING, 1)
    async with heard(database, teller) as told:
        with task.news.showing(lambda: [one]):
            teller.follow(task)
            for moved in range(2, 8):
                one = moving(1, SENDING, moved)
                task.news.move(1)
                await document(told)
        task.news.change()
        while (await document(told))["files"]:
            pass
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(RATE_OVER_S + 5):
            began = now()
            while (last := await document(told))["rate"]:
                pass
        assert now() - began < RATE_OVER_S + 1
        assert last == {"rate": 0, "items": {}, "files": [], "more": 0}
        await asyncio.sleep(0.1)
        assert told.empty()
        task.news.change()
        assert await told.get() == "7"


def test_a_rate_is_the_mean_of_the_last_seconds() -> None:
    rate = Rate()
    assert rate.note(0.0, 1000) == 0
    assert rate.note(1.0, 3000) == 2000
    assert [rate.note(float(at), 3000) for at in range(2, 7)] == [1000, 666, 500, 400, 0]
    assert rate.note(7.0, 2000) == 0
