"""A deployment with two upstreams, whose answers the test decides."""

import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from joserfc.jwk import RSAKey

from plugins.browsing import Browser
from plugins.nexus_people import CountingHasher
from plugins.upstream import FakeUpstream
from towpath.nexus.app import create_app
from towpath.nexus.federation.logins import Logins, secret_context
from towpath.nexus.federation.relying_party import RelyingParty
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.people.passwords import Passwords
from towpath.nexus.people.service import new_link
from towpath.nexus.store import federation, identities
from towpath.nexus.store.federation import UpstreamRow
from towpath.platform.database import Database
from towpath.platform.secrets import Sealer

ORIGIN = "https://towpath.example"
PASSWORD = "seven slow barges"
UNI, LAB = UUID(int=7), UUID(int=8)


class Federated:
    """The deployment, its upstreams and browsers."""

    def __init__(self, database: Database, app: Any) -> None:
        self.database = database
        self.app = app
        self.uni = FakeUpstream()
        self.lab = FakeUpstream("https://login.lab.example")
        self.lab.claims = {"preferred_username": "ada@lab.example", "sub": "lab-1"}
        self.browsers: list[Browser] = []

    def of(self, provider: UUID) -> FakeUpstream:
        return self.uni if provider == UNI else self.lab

    def browser(self) -> Browser:
        made = Browser(self.app, ORIGIN)
        self.browsers.append(made)
        return made

    async def request(self, method: str, url: str, **rest: Any) -> Any:
        """In place of the network."""
        upstream = self.uni if url.startswith(self.uni.issuer) else self.lab
        return await upstream.request(method, url, **rest)

    async def begin(self, browser: Browser, provider: UUID, **fields: str) -> str:
        """From the login page to the upstream; returns the state."""
        await browser.get("/v2/web/login")
        fields["csrf"] = form_token(browser)
        answer = await browser.post(f"/v2/web/upstream/{provider}", **fields)
        assert answer.status_code == 200, answer.text
        return self.at_upstream(browser, provider)

    def at_upstream(self, browser: Browser, provider: UUID) -> str:
        url = browser.onward()
        self.of(provider).sent(url)
        return parse_qs(urlsplit(url).query)["state"][0]

    async def back(self, browser: Browser, provider: UUID, state: str) -> httpx.Response:
        issuer = self.of(provider).issuer
        return await browser.get(
            f"/v2/web/upstream/{provider}/callback?code=c&state={state}&iss={issuer}"
        )

    async def log_in(self, browser: Browser, provider: UUID = UNI, **fields: str) -> httpx.Response:
        state = await self.begin(browser, provider, **fields)
        return await self.back(browser, provider, state)

    async def settle(self, name: str = "ann") -> Browser:
        """Somebody with a local account, logged in."""
        browser = self.browser()
        async with self.database.transaction() as connection:
            details: dict[str, object] = {"username": f"{name}@towpath.example"}
            link = await new_link(connection, ORIGIN, "invitation", lifetime_s=60, details=details)
        await browser.get(link.removeprefix(ORIGIN))
        await browser.get("/v2/web/welcome")
        done = await browser.send(
            "/v2/web/welcome", name=name, password=PASSWORD, email=f"{name}@mail.example"
        )
        assert done.status_code == 303, done.text
        return browser

    async def link(self, browser: Browser, provider: UUID = LAB) -> httpx.Response:
        await browser.get("/account/identities")
        answer = await browser.send(f"/account/identities/link/{provider}")
        if answer.status_code != 200:
            return answer
        return await self.back(browser, provider, self.at_upstream(browser, provider))

    async def identity(self, username: str) -> identities.Identity:
        async with self.database.connection() as connection:
            (found,) = await identities.identities_by_username(connection, [username])
        return found


def form_token(browser: Browser) -> str:
    """Of the browser's forms, as a page of ours has it."""
    cookies = browser.http.cookies
    secret = cookies.get("__Host-towpath-session") or cookies["__Host-towpath-browser"]
    return hmac.new(secret.encode(), b"towpath form", hashlib.sha256).hexdigest()


_CLEAR = """
DELETE FROM browser_session;
UPDATE identity SET account_id = NULL;
DELETE FROM account;
DELETE FROM identity;
DELETE FROM upstream_attempt;
DELETE FROM upstream;
DELETE FROM signing_key;
DELETE FROM throttle;
DELETE FROM identity_provider WHERE kind <> 'clients';
"""


@pytest.fixture
async def people_database(shared_database_url: str) -> AsyncIterator[Database]:
    """Nexus' pool on a database in which nobody is yet."""
    async with Database(shared_database_url, schema="nexus") as pool:
        async with pool.connection() as connection:
            await connection.execute(_CLEAR)
        yield pool


@pytest.fixture
async def federated(
    people_database: Database, tmp_path: Path, signing_key: RSAKey
) -> AsyncIterator[Federated]:
    sealer = Sealer(tmp_path / "seal.key")
    made = Federated(people_database, None)
    keys = KeyRing(people_database, sealer, generate=lambda: signing_key)
    await keys.ensure()
    passwords = Passwords(1, CountingHasher())
    party = RelyingParty(made)  # type: ignore[arg-type]
    made.app = create_app(
        people_database,
        issuer=ORIGIN,
        keys=keys,
        passwords=passwords,
        logins=Logins(people_database, party, sealer, ORIGIN),
    )
    async with people_database.transaction() as connection:
        for provider, name, domains in (
            (UNI, "Uni", ["uni.example"]),
            (LAB, "Lab", ["lab.example"]),
        ):
            secret = sealer.seal(b"shared secret", secret_context(provider))
            row = UpstreamRow(
                id=provider,
                name=name,
                issuer=made.of(provider).issuer,
                client_id="towpath",
                client_secret=secret,
                domains=domains,
                username_claim="preferred_username",
                authority=None,
            )
            await federation.set_upstream(connection, row)
    yield made
    for browser in made.browsers:
        await browser.close()
    passwords.close()
