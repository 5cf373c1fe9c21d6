"""Timers in ``towpath up``: they reach Transfer and nexus as over the network, without one."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp

from towpath.nexus.bootstrap import ClientSecret
from towpath.platform.database import Database
from towpath.platform.guard import Guard
from towpath.platform.secrets import Sealer
from towpath.platform.settings import TimerSettings
from towpath.timers.api.app import create_app
from towpath.timers.api.service import TimersService
from towpath.timers.nexus import Kept, Nexus
from towpath.timers.owners import OwnerWatch
from towpath.timers.runner import Runner
from towpath.timers.transfer import Transfer


@dataclass(frozen=True)
class OwnTimers:
    """The app, and what must run beside it, with what is said if it ends."""

    app: FastAPI
    work: tuple[tuple[Awaitable[None], str], ...]


@asynccontextmanager
async def own_timers(
    database: Database,
    client: ClientSecret,
    *,
    nexus: httpx.AsyncClient,
    transfer: ASGIApp,
    sealer: Sealer,
    limits: TimerSettings,
) -> AsyncIterator[OwnTimers]:
    """``nexus``: a client of it, as Transfer has."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=transfer), base_url="https://transfer"
    ) as http:
        parts = (Nexus(nexus, client.client_id, client.client_secret), Transfer(http))
        kept = Kept(sealer)
        runner = Runner(database, *parts, kept)
        service = TimersService(
            database,
            Guard(nexus, client.client_id, client.client_secret),
            *parts,
            kept,
            runner.wake,
            limits,
        )
        login = httpx.BasicAuth(str(client.client_id), client.client_secret)
        watch = OwnerWatch(database, nexus, login)
        yield OwnTimers(
            create_app(service),
            (
                (runner.run(), "timers are not run any more"),
                (watch.run(), "timers do not follow their owners' accounts any more"),
            ),
        )
