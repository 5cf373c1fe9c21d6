"""Fixture `nexus`: the identity service in this process, on a real database, with people in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import RSAKey

from towpath.nexus import hashing
from towpath.nexus.app import create_app
from towpath.nexus.bootstrap import OPERATOR, TRANSFER, ClientSecret, bootstrap
from towpath.nexus.oauth.keys import KeyRing, generate
from towpath.nexus.pages.frame import SESSION_COOKIE
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.store import accounts, clients, identities, sessions
from towpath.platform.database import Database
from towpath.platform.secrets import Sealer

ISSUER = "https://towpath.example"
DOMAIN = "people.example"
PROVIDER = UUID("0d9f4e2c-2f7f-4a44-8a53-6a6ec0b7b0f1")


@dataclass(frozen=True)
class Person:
    """Somebody with an account."""

    identity_id: UUID
    account_id: UUID
    username: str


@dataclass
class Nexus:
    """The service, and ways to be somebody there."""

    http: httpx.AsyncClient
    """Nobody's: no cookies are kept."""
    operator: ClientSecret
    transfer: ClientSecret
    database: Database
    app: FastAPI
    keys: KeyRing

    async def post(self, path: str, client: ClientSecret | None, **form: str) -> httpx.Response:
        """Below ``/v2/oauth2/``, as a client."""
        auth = httpx.BasicAuth(str(client.client_id), client.client_secret) if client else None
        return await self.http.post(f"/v2/oauth2/{path}", data=form, auth=auth)  # type: ignore[arg-type]

    async def token(self, scope: str = TRANSFER_ALL) -> str:
        """The operator's own."""
        answer = await self.post(
            "token", self.operator, grant_type="client_credentials", scope=scope
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def person(self, name: str = "ada", domain: str = DOMAIN) -> Person:
        """Make somebody, with an account of their own."""
        async with self.database.transaction() as connection:
            found = await identities.provider_of_domain(connection, domain)
            provider = PROVIDER if found is None else found.id
            if found is None:
                await identities.set_local_provider(
                    connection, provider_id=PROVIDER, name="People", domain=domain
                )
            identity_id, account_id, username = uuid4(), uuid4(), f"{name}@{domain}"
            await identities.add_identity(
                connection,
                identity_id=identity_id,
                username=username,
                provider=provider,
                name=name.title(),
                email=username,
            )
            await accounts.create(connection, account_id=account_id, primary_identity=identity_id)
        return Person(identity_id, account_id, username)

    async def log_in(
        self, person: Person, *, amr: Sequence[str] = ("pwd",), session: UUID | None = None
    ) -> tuple[UUID, str]:
        """A browser session of ``person``: its id, and the value of its cookie.

        With ``session`` they log in there once more, and the value is empty.
        """
        value = ""
        async with self.database.transaction() as connection:
            if session is None:
                session, value = uuid4(), hashing.new_token()
                await sessions.create(
                    connection,
                    session_id=session,
                    value=value,
                    account_id=person.account_id,
                    address="127.0.0.1",
                    user_agent="test",
                    lifetime_s=3600,
                )
            await sessions.authenticated(
                connection, session, person.identity_id, provider_id=PROVIDER, amr=amr
            )
        return session, value

    @asynccontextmanager
    async def browser(self, cookie: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
        """A browser that keeps cookies and follows no redirects; logged in by ``cookie``."""
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
            if cookie is not None:
                http.cookies.set(SESSION_COOKIE, cookie)
            http.headers["Origin"] = ISSUER
            yield http

    async def client(self, **more: Any) -> ClientSecret:
        """Register a client, with a secret unless it is public."""
        made = ClientSecret(uuid4(), hashing.new_secret())
        kind = more.pop("client_type", "confidential_client")
        async with self.database.transaction() as connection:
            await clients.add_client(
                connection,
                client_id=made.client_id,
                name=more.pop("name", "Application"),
                secret=None if kind in clients.PUBLIC_TYPES else made.client_secret,
                client_type=kind,
            )
            await clients.update(connection, made.client_id, more)
        return made


@pytest.fixture(scope="session")
def signing_key() -> RSAKey:
    """Made once: it takes a while."""
    return generate()


@pytest.fixture
async def nexus_keys(nexus_database: Database, tmp_path: Path, signing_key: RSAKey) -> KeyRing:
    """The keys of id tokens, ready."""
    sealer = Sealer(tmp_path / "nexus-seal" / "seal.key")
    keys = KeyRing(nexus_database, sealer, generate=lambda: signing_key)
    await keys.ensure()
    return keys


@pytest.fixture
async def nexus(
    nexus_database: Database, nexus_keys: KeyRing, tmp_path: Path
) -> AsyncIterator[Nexus]:
    """On a fresh database. ``tmp_path`` has the clients' secrets."""
    made = await bootstrap(nexus_database, tmp_path)
    app = create_app(nexus_database, issuer=ISSUER, keys=nexus_keys)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ISSUER) as http:
        yield Nexus(http, made[OPERATOR], made[TRANSFER], nexus_database, app, nexus_keys)
