"""Fixtures: the pages of nexus over HTTP on a fresh database, with a hasher that counts."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2.exceptions import VerifyMismatchError
from fastapi import FastAPI
from joserfc.jwk import RSAKey

from towpath.nexus.app import create_app
from towpath.nexus.federation.logins import Logins
from towpath.nexus.federation.relying_party import RelyingParty
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.people.passwords import Passwords
from towpath.nexus.people.service import first_administrator_link, new_link
from towpath.platform.database import Database
from towpath.platform.mail import Post
from towpath.platform.secrets import Sealer
from towpath.platform.settings import PeopleSettings

ORIGIN = "https://towpath.example"
PASSWORD = "seven slow barges"


class CountingHasher:
    """As argon2id seen from outside, without its work; the calls are counted instead."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def hash(self, password: str) -> str:
        self.calls.append("hash")
        return f"hash of {password}"

    def verify(self, hash: str, password: str) -> bool:  # noqa: A002
        self.calls.append("verify")
        if hash != f"hash of {password}":
            raise VerifyMismatchError
        return True

    def check_needs_rehash(self, hash: str) -> bool:  # noqa: A002
        return not hash.startswith("hash of ")


@dataclass
class Mailbox:
    """What was mailed."""

    messages: list[EmailMessage] = field(default_factory=list)

    async def send(self, message: EmailMessage) -> None:
        self.messages.append(message)

    def link(self, number: int = -1) -> str:
        """The first link in a mail, without the origin."""
        text = self.messages[number].get_content()
        return re.search(rf"{re.escape(ORIGIN)}(/\S+link=\S+)", text)[1]  # type: ignore[index]


class Browser:
    """A browser without scripts: follows nothing by itself, sends the form that a page shows."""

    def __init__(self, app: FastAPI, address: str = "192.0.2.1") -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, client=(address, 1)),
            base_url=ORIGIN,
            headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"},
        )

    async def get(self, path: str) -> httpx.Response:
        """A page, after our own redirects."""
        return await self.http.get(path, follow_redirects=True)

    async def send(self, path: str, action: str | None = None, **fields: str) -> httpx.Response:
        """Fill in the form of the page at ``path`` that goes to ``action``, and send it."""
        page = await self.get(path)
        assert page.status_code == 200, page.text
        target = action or str(page.url.path)
        form = next((one for one in forms(page.text) if one["action"] == target), None)
        assert form is not None, f"no form to {target} in {page.text}"
        return await self.http.post(
            target,
            data=form["hidden"] | fields,
            headers={"Origin": ORIGIN},
        )

    async def log_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        return await self.send("/v2/web/login", username=username, password=password)

    @property
    def cookies(self) -> dict[str, str]:
        return dict(self.http.cookies.items())


def forms(page: str) -> list[dict[str, Any]]:
    """The page's forms: action, method, and hidden fields."""
    return [
        {
            "action": unescape(tag[2]),
            "method": tag[1],
            "hidden": {
                name: unescape(value)
                for name, value in re.findall(
                    r'<input type="hidden" name="([^"]+)" value="([^"]*)"', tag[3]
                )
            },
        }
        for tag in re.finditer(
            r'<form method="(\w+)" action="([^"]+)"[^>]*>(.*?)</form>', page, re.DOTALL
        )
    ]


def said(page: httpx.Response) -> str:
    """The page's text without marks."""
    body = page.text.partition("<body>")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


@dataclass
class Town:
    """Nexus with its pages, and whoever lives there."""

    app: FastAPI
    database: Database
    mailbox: Mailbox
    post: Post
    hasher: CountingHasher
    settings: PeopleSettings
    opened: list[Browser] = field(default_factory=list)

    def browser(self, address: str = "192.0.2.1") -> Browser:
        made = Browser(self.app, address)
        self.opened.append(made)
        return made

    async def invite(self, **details: object) -> str:
        """The path of an invitation."""
        async with self.database.transaction() as connection:
            link = await new_link(connection, ORIGIN, "invitation", lifetime_s=60, details=details)
        return link.removeprefix(ORIGIN)

    async def first_link(self) -> str | None:
        async with self.database.transaction() as connection:
            return await first_administrator_link(connection, ORIGIN)

    async def settle(self, name: str = "ada", **details: object) -> Browser:
        """Somebody with an account, logged in."""
        browser = self.browser()
        link = await self.invite(
            username=f"{name}@towpath.example",
            email=f"{name}@mail.example",
            email_verified=True,
            **details,
        )
        done = await browser.send(link, "/v2/web/welcome", name=name.title(), password=PASSWORD)
        assert done.status_code == 303, said(done)
        return browser

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        async with self.database.connection() as connection:
            cursor = await connection.execute(query, values)  # type: ignore[call-overload]
            return list(await cursor.fetchall())

    async def run(self, query: str, *values: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(query, values)  # type: ignore[call-overload]


_CLEAR = """
DELETE FROM browser_session;
UPDATE identity SET account_id = NULL;
DELETE FROM account;
DELETE FROM identity;
DELETE FROM user_group;
DELETE FROM one_time_link;
DELETE FROM throttle;
DELETE FROM account_change;
DELETE FROM audit_pending;
DELETE FROM upstream_attempt;
DELETE FROM upstream;
DELETE FROM signing_key;
DELETE FROM identity_provider WHERE kind <> 'clients';
"""


@pytest.fixture
async def town_database(shared_database_url: str) -> AsyncIterator[Database]:
    """Nexus' pool on a database in which nobody is yet."""
    async with Database(shared_database_url, schema="nexus") as pool:
        async with pool.connection() as connection:
            await connection.execute(_CLEAR)
        yield pool


@pytest.fixture
def people_settings() -> PeopleSettings:
    """Of the town; a test may have others."""
    return PeopleSettings()


@pytest.fixture
async def town(
    town_database: Database,
    signing_key: RSAKey,
    people_settings: PeopleSettings,
    tmp_path: Path,
) -> AsyncIterator[Town]:
    """Nobody lives there yet."""
    mailbox, hasher = Mailbox(), CountingHasher()
    sealer = Sealer(tmp_path / "town-seal.key")
    keys = KeyRing(town_database, sealer, generate=lambda: signing_key)
    await keys.ensure()
    post = Post(mailbox, "towpath@towpath.example")
    passwords = Passwords(1, hasher)
    app = create_app(
        town_database,
        issuer=ORIGIN,
        keys=keys,
        people=people_settings,
        post=post,
        passwords=passwords,
        # its pages are there; no upstream is
        logins=Logins(
            town_database,
            RelyingParty(None),  # type: ignore[arg-type]
            sealer,
            ORIGIN,
        ),
    )
    made = Town(app, town_database, mailbox, post, hasher, people_settings)
    yield made
    for browser in made.opened:
        await browser.http.aclose()
    await post.close()
    passwords.close()
