"""Probes of servers that do not answer: what follows from what each of them meets."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import AWAY, Database
from towpath.transfer.engine import probes
from towpath.transfer.engine.probes import Probes
from towpath.transfer.store import circuits
from towpath.transfer.store.rows import fetch_one

HOST, PORT = "localhost", 2811  # of the endpoints that `make_task` makes


class Server:
    """Stands where the sessions should be: each greeting is what the next of `does` does."""

    def __init__(self, *does: Callable[[], Awaitable[None]]) -> None:
        self._does = list(does)
        self.asked = 0

    async def greet(self, host: str, port: int) -> None:
        assert (host, port) == (HOST, PORT)
        self.asked += 1
        await self._does.pop(0)()


async def greets() -> None:
    """It is there."""


async def hangs() -> None:
    await asyncio.sleep(3600)


def fails(kind: Kind) -> Callable[[], Awaitable[None]]:
    async def failing() -> None:
        raise GridFTPError(kind, "it does not", f"{HOST}:{PORT}")

    return failing


@asynccontextmanager
async def probing(database: Database, server: Any) -> AsyncIterator[None]:
    running = asyncio.create_task(Probes(database, server, Random(1)).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def failed_probes(database: Database) -> int | None:
    """Of the open circuit; None: it is closed."""
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT failed_probes FROM circuit")
    return None if row is None else int(row[0])


async def until_closed(database: Database) -> None:
    async with asyncio.timeout(30):
        while await failed_probes(database) is not None:
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
async def _doubted(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's login has failed; probes are quick."""
    await make_task()
    await circuits.doubt(database, HOST, PORT)
    monkeypatch.setattr(probes, "probe_after_s", lambda _outage_s, _random: 0.02)
    monkeypatch.setattr(circuits, "CLAIM_S", 0.3)


async def test_it_is_asked_until_it_greets(database: Database) -> None:
    server = Server(fails(Kind.CONNECT), fails(Kind.TIMEOUT), greets)
    async with probing(database, server):
        await until_closed(database)
    assert server.asked == 3


async def test_what_is_no_absence_is_left_to_the_tasks(database: Database) -> None:
    """They meet it themselves, and say so."""
    server = Server(fails(Kind.ADDRESS_REFUSED))
    async with probing(database, server):
        await until_closed(database)
    assert server.asked == 1


async def test_a_probe_that_hangs_is_held_until_its_worker_is_lost(database: Database) -> None:
    async def claimed_until() -> datetime:
        async with database.connection() as conn:
            row = await fetch_one(conn, "SELECT next_probe FROM circuit")
        assert row is not None
        until: datetime = row[0]
        return until

    hanging, greeting = Server(hangs), Server(greets)
    async with probing(database, hanging), asyncio.timeout(30):
        while hanging.asked == 0:
            await asyncio.sleep(0.01)
        first = await claimed_until()
        while await claimed_until() - first < timedelta(seconds=2 * circuits.CLAIM_S):
            await asyncio.sleep(0.01)
    async with probing(database, greeting):
        await until_closed(database)
    assert greeting.asked == 1


async def test_what_another_worker_has_locked_is_not_looked_for_in_a_spin(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    claim_due = circuits.claim_due

    async def claim(*args: Any, **options: Any) -> Sequence[circuits.Circuit]:
        looked.append(time.monotonic())
        return await claim_due(*args, **options)

    monkeypatch.setattr(circuits, "claim_due", claim)
    async with database.transaction() as conn:
        await conn.execute("SELECT FROM circuit FOR UPDATE")
        async with probing(database, Server()), asyncio.timeout(30):
            while len(looked) < 3:
                await asyncio.sleep(0.01)
    assert looked[2] - looked[0] >= 2 * probes.LOOKS_APART_S * 0.9


async def test_a_probe_whose_worker_lost_the_database_ends_and_its_failure_is_seen(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    ended = asyncio.Event()

    async def breaks_when_cancelled() -> None:
        try:
            await hangs()
        finally:
            ended.set()
            raise GridFTPError(Kind.CONNECTION_LOST, "it broke", f"{HOST}:{PORT}")

    async def away(*_: object) -> None:
        raise AWAY[0]

    monkeypatch.setattr(circuits, "hold", away)
    server: Any = Server(breaks_when_cancelled)
    await Probes(database, server, Random(1))._probe(circuits.Circuit(HOST, PORT, 0, 0.0))
    assert ended.is_set()
    gc.collect()
    assert unseen == []
