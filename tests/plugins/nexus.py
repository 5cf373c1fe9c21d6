"""Fixture `nexus`: the identity service in this process, on a real database, with people in it."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import RSAKey

from towpath.nexus import hashing
from towpath.nexus.app import create_app
from towpath.nexus.bootstrap import OPERATOR, TRANSFER, ClientSecret, bootstrap
from towpath.nexus.oauth.grants import challenge_of
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

    async def answer(
        self, cookie: str | None, client: ClientSecret, *, decision: str = "allow", **asked: str
    ) -> dict[str, str]:
        """What an application gets at its redirect URI, from a browser logged in by ``cookie``.

        Whoever sits there says ``decision`` if they are asked.
        """
        async with self.browser(cookie) as browser:
            page = await browser.get("/v2/oauth2/authorize", params=request(client, **asked))
            if page.status_code == 200:
                page = await consent(browser, page, decision)
            assert page.status_code == 303, page.text
            return answered(page)

    async def log_in_at(
        self,
        client: ClientSecret,
        person: Person | None = None,
        *,
        cookie: str | None = None,
        **asked: str,
    ) -> dict[str, Any]:
        """The token document of a whole login of ``person`` at an application."""
        if cookie is None:
            person = person or await self.person()
            _, cookie = await self.log_in(person)
        public = "code_challenge" in asked
        answer = await self.answer(cookie, client, **asked)
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": asked.get("redirect_uri", REDIRECT),
        }
        if public:
            form |= {"code_verifier": VERIFIER, "client_id": str(client.client_id)}
        done = await self.post("token", None if public else client, **form)
        assert done.status_code == 200, done.text
        document: dict[str, Any] = done.json()
        return document


REDIRECT = "https://app.example/callback"
VERIFIER = "a-verifier-of-at-least-forty-three-characters"


def request(client: ClientSecret, **asked: str) -> dict[str, str]:
    """An authorization request; what is asked for as '' is left out."""
    usual = {
        "client_id": str(client.client_id),
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid",
        "state": "a state",
    }
    return {name: value for name, value in (usual | asked).items() if value}


def pkce() -> dict[str, str]:
    """For VERIFIER."""
    return {"code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256"}


def answered(response: httpx.Response) -> dict[str, str]:
    """The parameters of the address that a browser is sent to."""
    pairs = parse_qsl(urlsplit(response.headers["location"]).query, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


async def consent(
    browser: httpx.AsyncClient, page: httpx.Response, decision: str = "allow", **changed: str
) -> httpx.Response:
    """Send the form of a consent page."""
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    form = {name: unescape(value) for name, value in fields.items()}
    return await browser.post(
        "/v2/oauth2/authorize/consent", data=form | {"decision": decision} | changed
    )


@pytest.fixture(scope="session")
def signing_key() -> RSAKey:
    """Made once: it takes a while."""
    return generate()


@pytest.fixture
def nexus_sealer(tmp_path: Path) -> Sealer:
    """What seals the keys."""
    return Sealer(tmp_path / "nexus-seal" / "seal.key")


@pytest.fixture
async def nexus_keys(
    nexus_database: Database, nexus_sealer: Sealer, signing_key: RSAKey
) -> KeyRing:
    """The keys of id tokens, ready."""
    keys = KeyRing(nexus_database, nexus_sealer, generate=lambda: signing_key)
    await keys.ensure()
    return keys


_CLEAR = """
DELETE FROM browser_session;
DELETE FROM throttle;
UPDATE identity SET account_id = NULL;
DELETE FROM account;
DELETE FROM service_client;
DELETE FROM client;
DELETE FROM project;
DELETE FROM user_group;
DELETE FROM identity;
DELETE FROM signing_key;
DELETE FROM identity_provider WHERE kind <> 'clients';
"""


@pytest.fixture
async def nexus(
    shared_database_url: str, nexus_sealer: Sealer, signing_key: RSAKey, tmp_path: Path
) -> AsyncIterator[Nexus]:
    """With nobody there yet. ``tmp_path`` has the clients' secrets."""
    async with Database(shared_database_url, schema="nexus") as database:
        async with database.connection() as connection:
            await connection.execute(_CLEAR)
        keys = KeyRing(database, nexus_sealer, generate=lambda: signing_key)
        await keys.ensure()
        async with serve_nexus(database, keys, tmp_path) as made:
            yield made


@asynccontextmanager
async def serve_nexus(database: Database, keys: KeyRing, directory: Path) -> AsyncIterator[Nexus]:
    """On a database without clients; ``directory`` gets their secrets."""
    made = await bootstrap(database, directory)
    app = create_app(database, issuer=ISSUER, keys=keys)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ISSUER) as http:
        yield Nexus(http, made[OPERATOR], made[TRANSFER], database, app, keys)
