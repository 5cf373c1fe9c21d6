"""What parts of the area `nexus` are measured in."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from rich.console import Console

from towpath.nexus.app import create_app
from towpath.nexus.bootstrap import ClientSecret, bootstrap
from towpath.nexus.oauth.keys import KeyRing
from towpath.platform import logs
from towpath.platform.database import Database, EmbeddedPostgres
from towpath.platform.migrations import migrate
from towpath.platform.secrets import Sealer
from towpath.platform.settings import LogSettings

ISSUER = "https://bench.example"
AT_ONCE = 8
"""Requests under way, for a rate."""
T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """Where and how a part is measured."""

    directory: Path
    """On a disk, empty."""
    quick: bool
    """Little, to see that it works."""
    console: Console
    new_event_loop: Callable[[], asyncio.AbstractEventLoop]

    def count(self, full: int) -> int:
        """How often to do something."""
        return max(10, full // 100) if self.quick else full

    def run(self, work: Callable[["Service"], Awaitable[T]]) -> T:
        """`work` with nexus in this process, with the service's event loop."""

        async def main() -> T:
            async with _service(self.directory) as service:
                return await work(service)

        with asyncio.Runner(loop_factory=self.new_event_loop) as runner:
            return runner.run(main())


@dataclass(frozen=True)
class Service:
    """Nexus in this process, as in `towpath up`: reached without a network, on a real database."""

    database: Database
    http: httpx.AsyncClient
    clients: dict[str, ClientSecret]
    """By role: the operator's and transfer's."""


@asynccontextmanager
async def _service(directory: Path) -> AsyncIterator[Service]:
    logs.configure("bench", LogSettings(), directory / "log")  # a line a request, as in earnest
    postgres = EmbeddedPostgres(directory / "postgres")
    await postgres.start()
    try:
        await migrate(postgres.url, schema="nexus", package="towpath.nexus.store")
        async with Database(postgres.url, schema="nexus") as database:
            clients = await bootstrap(database, directory)
            keys = KeyRing(database, Sealer(directory / "seal.key"))
            await keys.ensure()
            app = create_app(database, issuer=ISSUER, keys=keys)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
                yield Service(database, http, clients)
    finally:
        await postgres.stop()


async def timed(action: Callable[[], Awaitable[object]], count: int) -> list[float]:
    """`action` one time after the other: the seconds of each, in order of length."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await action()
        took.append(time.perf_counter() - began)
    return sorted(took)


def spread(name: str, took_s: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of ordered times, as figures in ms."""
    return {
        f"{name}_p{percent}_ms": round(took_s[len(took_s) * percent // 100] * 1000, 4)
        for percent in (50, 99)
    }


async def rate_of(action: Callable[[], Awaitable[None]], count: int) -> tuple[float, float]:
    """How many a second with AT_ONCE under way, and this process's CPU seconds for each."""
    left = count
    began, cpu_began = time.perf_counter(), time.process_time()

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await action()

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - began), (time.process_time() - cpu_began) / count
