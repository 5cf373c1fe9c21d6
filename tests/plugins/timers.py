"""Timers over ASGI: real nexus, real Transfer (without workers), real database, a clock of ours."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from joserfc.jwk import RSAKey

from plugins.database import new_database
from plugins.nexus import REDIRECT, Nexus, Person, serve_nexus
from plugins.transfer_api import held_to_schemas
from towpath.demo.authority import Domain
from towpath.nexus.bootstrap import TIMERS, ClientSecret
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.store import clients
from towpath.platform.database import Connection, Database, EmbeddedPostgres
from towpath.platform.dial import DialPolicy
from towpath.platform.guard import Guard
from towpath.platform.secrets import Sealer
from towpath.platform.settings import TimerSettings
from towpath.timers.api import answers
from towpath.timers.api.app import create_app
from towpath.timers.api.service import TimersService
from towpath.timers.nexus import TIMER_SCOPE, TRANSFER_SCOPE, Kept
from towpath.timers.nexus import Nexus as AskNexus
from towpath.timers.runner import LEASE_S, Runner
from towpath.timers.transfer import Transfer
from towpath.transfer.api import TransferService
from towpath.transfer.api import create_app as create_transfer

SCOPES = f"{TIMER_SCOPE}[{TRANSFER_SCOPE}] {TRANSFER_SCOPE}"
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
TIMERS_GROUP = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("timers")]
ERRORS = answers.ErrorAnswer | answers.Invalid


@dataclass
class Clock:
    """Stands still until it is moved."""

    at: datetime = START

    async def now(self, _conn: Connection) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class User:
    """Somebody at Timers and at Transfer."""

    sub: UUID
    http: httpx.AsyncClient
    """At Timers."""
    transfer: httpx.AsyncClient
    endpoints: list[str] = field(default_factory=list)

    def body(self, **more: Any) -> dict[str, Any]:
        """A transfer from one endpoint to the other."""
        item = {"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b"}
        return {
            "DATA_TYPE": "transfer",
            "source_endpoint": self.endpoints[0],
            "destination_endpoint": self.endpoints[1],
            "label": "nightly",
            "DATA": [item],
            **more,
        }

    def timer(self, **schedule: Any) -> dict[str, Any]:
        """The document of a timer; every hour, unless it is said otherwise."""
        asked = schedule or {"type": "recurring", "interval_seconds": 3600}
        return {
            "timer": {
                "timer_type": "transfer",
                "name": "mirror",
                "schedule": asked,
                "body": self.body(),
            }
        }

    async def makes(self, **schedule: Any) -> str:
        """A timer's id."""
        made = await self.http.post("/v2/timer", json=self.timer(**schedule))
        assert made.status_code == 201, made.text
        return str(made.json()["timer"]["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """Its document."""
        found = await self.http.get(f"/jobs/{job_id}")
        assert found.status_code == 200, found.text
        document: dict[str, Any] = found.json()
        return document

    async def tasks(self) -> list[dict[str, Any]]:
        """At Transfer, oldest first."""
        found = await self.transfer.get("/v0.10/task_list", params={"orderby": "request_time ASC"})
        listed: list[dict[str, Any]] = found.json()["DATA"]
        return listed

    async def resumes(self, job_id: str, **how: bool) -> httpx.Response:
        return await self.http.post(f"/jobs/{job_id}/resume", json=how)


@dataclass
class Someone:
    """A person who has logged in with an application."""

    user: User
    person: Person
    application: ClientSecret
    document: dict[str, Any]
    """The application's tokens."""


@dataclass
class World:
    """All three services."""

    nexus: Nexus
    transfer: FastAPI
    transfer_database: Database
    database: Database
    client: ClientSecret
    kept: Kept
    clock: Clock
    app: FastAPI
    proxy: str

    def runner(
        self, transfer: Transfer | None = None, *, kept: Kept | None = None, **more: Any
    ) -> Runner:
        """One more instance; with another way to Transfer, or other keys, it may be."""
        asked = AskNexus(self.nexus.http, self.client.client_id, self.client.client_secret)
        return Runner(
            self.database,
            asked,
            transfer or Transfer(self.at(self.transfer)),
            kept or self.kept,
            now=self.clock.now,
            chance=lambda: 0.0,
            **more,
        )

    def at(self, app: FastAPI, token: str | None = None) -> httpx.AsyncClient:
        """A client of an app."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="https://here", headers=headers
        )

    async def user(self) -> User:
        """A new one, a client that acts for itself; with two endpoints."""
        made = ClientSecret(uuid4(), "s" * 40)
        async with self.nexus.database.transaction() as conn:
            await clients.add_client(
                conn, client_id=made.client_id, name="user", secret=made.client_secret
            )
        answer = await self.nexus.post("token", made, grant_type="client_credentials", scope=SCOPES)
        return await self.known(made.client_id, answer.json())

    async def person(self, name: str) -> Someone:
        """Somebody new, who has logged in with an application."""
        person = await self.nexus.person(f"{name}-{uuid4().hex[:8]}")
        application = await self.nexus.client(redirect_uris=[REDIRECT])
        document = await self.log_in(person, application)
        user = await self.known(person.identity_id, document)
        return Someone(user, person, application, document)

    async def log_in(self, person: Person, application: ClientSecret) -> dict[str, Any]:
        """Once more: the application's new tokens."""
        return await self.nexus.log_in_at(
            application, person, scope=f"openid {SCOPES}", access_type="offline"
        )

    async def known(
        self, sub: UUID, document: dict[str, Any], endpoints: Sequence[str] = ()
    ) -> User:
        """Whoever has these tokens, with those endpoints or two new ones."""
        tokens = {
            one["resource_server"]: one["access_token"]
            for one in (document, *document["other_tokens"])
        }
        http = self.at(self.app, tokens[str(self.client.client_id)])
        http.event_hooks["response"].append(held_to_schemas(self.app, error=ERRORS))
        at_transfer = self.at(self.transfer, tokens["transfer.api.globus.org"])
        user = User(sub, http, at_transfer, list(endpoints))
        for name in () if endpoints else ("lake", "sea"):
            user.endpoints.append(await self.endpoint(user, name))
        return user

    async def endpoint(self, user: User, name: str) -> str:
        """One of the user's, with a credential; nobody ever goes there."""
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": name,
            "DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://{name}.example:2811"}],
        }
        made = await user.transfer.post("/v0.10/endpoint", json=document)
        assert made.status_code == 201, made.text
        path = f"/v0.10/endpoint/{made.json()['id']}/credential"
        given = await user.transfer.put(path, json={"proxy": self.proxy})
        assert given.status_code == 200, given.text
        return str(made.json()["id"])

    async def finish(self, status: str = "SUCCEEDED") -> None:
        """All tasks end, as a worker would end them."""
        fatal = '{"code": "FILE_NOT_FOUND", "description": "there is no /a"}'
        async with self.transfer_database.connection() as conn:
            await conn.execute(
                "UPDATE task SET status = %s, completion_time = now(),"
                " fatal_error = CASE WHEN %s = 'FAILED' THEN %s::jsonb END"
                " WHERE status = 'ACTIVE'",
                (status, status, fatal),
            )

    async def rounds(self, runner: Runner) -> None:
        """Until nothing more is due."""
        for _ in range(20):
            if not await runner.round():
                return
        raise AssertionError("it never comes to rest")

    def lease_ends(self) -> None:
        """Of whoever died."""
        self.clock.move(seconds=LEASE_S + 1)


_CLEAR = {
    "timers": "DELETE FROM timer",
    "nexus": "DELETE FROM oauth_grant",
    "transfer": "UPDATE task SET status = 'FAILED' WHERE status = 'ACTIVE'",
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def timers_world(
    postgres: EmbeddedPostgres,
    signing_key: RSAKey,
    domain_a: Domain,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[World]:
    """One for all tests: three services take longer to make than a test takes."""
    url, directory = new_database(postgres, "timers_world"), tmp_path_factory.mktemp("timers")
    sealer = Sealer(directory / "seal" / "seal.key")
    async with AsyncExitStack() as stack:
        database, nexus_database, timers_database = [
            await stack.enter_async_context(Database(url, schema=schema))
            for schema in ("transfer", "nexus", "timers")
        ]
        keys = KeyRing(nexus_database, sealer, generate=lambda: signing_key)
        await keys.ensure()
        nexus = await stack.enter_async_context(serve_nexus(nexus_database, keys, directory))
        client = ClientSecret.read(directory / f"{TIMERS}.json")
        assert client is not None
        service = TransferService(
            database=database,
            guard=Guard(nexus.http, nexus.transfer.client_id, nexus.transfer.client_secret),
            sealer=sealer,
            dial=DialPolicy(allow_loopback=True),
        )
        stack.push_async_callback(service.close)
        transfer = create_transfer(service)
        kept, clock = Kept(sealer), Clock()
        over = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=transfer), base_url="https://transfer"
        )
        app = create_app(
            TimersService(
                timers_database,
                Guard(nexus.http, client.client_id, client.client_secret),
                AskNexus(nexus.http, client.client_id, client.client_secret),
                Transfer(over),
                kept,
                lambda: None,
                TimerSettings(timers_per_owner=3, items_per_timer=2),
                clock.now,
            )
        )
        yield World(
            nexus,
            transfer,
            database,
            timers_database,
            client,
            kept,
            clock,
            app,
            domain_a.proxy_file.read_text(),
        )


@pytest_asyncio.fixture(loop_scope="session")
async def timing(timers_world: World) -> World:
    """Without timers or logins. For tests of the session's event loop, in TIMERS_GROUP."""
    timers_world.clock.at = START
    for database in (
        timers_world.database,
        timers_world.nexus.database,
        timers_world.transfer_database,
    ):
        async with database.connection() as conn:
            await conn.execute(_CLEAR[database.schema].encode())
    return timers_world
