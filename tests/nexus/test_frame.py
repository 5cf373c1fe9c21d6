"""The frame of pages: cookies, forms, headers."""

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from towpath.nexus.pages import frame
from towpath.nexus.store import accounts, identities, sessions
from towpath.platform.database import Database
from towpath.platform.errors import AUTH_ERRORS
from towpath.platform.http import new_app
from towpath.platform.settings import PeopleSettings

ORIGIN = "https://towpath.example"


def app() -> FastAPI:
    made = new_app("nexus", AUTH_ERRORS)
    frame.install(made, frame.Frame.of(ORIGIN, PeopleSettings()))

    @made.get("/account/page")
    async def page(request: Request) -> Response:
        return frame.render(
            request, "error.html", title="A <b>", message=frame.csrf_token(request), request_id="x"
        )

    @made.post("/account/page")
    async def send(request: Request) -> Response:
        await frame.checked_form(request)
        return frame.redirect(request, "/account/page")

    return made


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app()), base_url=ORIGIN, headers={"Origin": ORIGIN}
    ) as http:
        yield http


def token_of(page: httpx.Response) -> str:
    return page.text.partition("<p>")[2].partition("</p>")[0]


async def test_a_form_needs_the_token_of_its_browser_and_our_origin(
    browser: httpx.AsyncClient,
) -> None:
    page = await browser.get("/account/page")
    token = token_of(page)
    assert len(token) == 64
    assert "A &lt;b&gt;" in page.text
    assert token_of(await browser.get("/account/page")) == token
    for form, headers in (
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": token}, {"Origin": "https://elsewhere.example"}),
        ({"csrf": token}, {"Origin": "null"}),
        ({"csrf": token}, {"Origin": "", "Referer": f"{ORIGIN}.example/"}),
        ({"csrf": token}, {"Cookie": "__Host-towpath-browser=other"}),
    ):
        answer = await browser.post("/account/page", data=form, headers=headers)
        assert answer.status_code == 403, (form, headers)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (await browser.post("/account/page", data={"csrf": token})).status_code == 303
    browser.cookies.set("__Host-towpath-session", "logged-in-meanwhile", domain="towpath.example")
    assert (await browser.post("/account/page", data={"csrf": token})).status_code == 403


async def test_headers_and_cookies(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/account/page")
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-towpath-browser=")
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert (await browser.get("/account/nowhere")).headers["content-type"].startswith("text/html")


async def test_static_files_by_their_content(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/account/page")
    address = page.text.partition('stylesheet" href="')[2].partition('"')[0]
    style = await browser.get(address)
    assert style.headers["content-type"].startswith("text/css")
    assert "immutable" in style.headers["cache-control"]
    missing = await browser.get("/v2/web/static/..%2ftemplates%2fbase.html")
    assert missing.status_code == 404


async def test_a_session_ends_by_idleness_by_age_and_with_its_account(
    nexus_database: Database,
) -> None:
    identity, account, session = uuid4(), uuid4(), uuid4()
    async with nexus_database.transaction() as connection:
        provider = uuid4()
        await identities.set_local_provider(
            connection, provider_id=provider, name="Here", domain="here.example"
        )
        await identities.add_identity(
            connection, identity_id=identity, username="ada@here.example", provider=provider
        )
        await accounts.create(connection, account_id=account, primary_identity=identity)
        await sessions.create(
            connection,
            session_id=session,
            value="first",
            account_id=account,
            address="192.0.2.1",
            user_agent="x",
            lifetime_s=100,
        )
        await sessions.authenticated(
            connection, session, identity, provider_id=provider, amr=["pwd"]
        )
    async with nexus_database.connection() as connection:
        found = await sessions.find(connection, "first", idle_s=100)
        assert found is not None
        assert found.authentications[identity].amr == ["pwd"]
        await sessions.rotate(connection, session, "second")
        assert await sessions.find(connection, "first", idle_s=100) is None
        assert await sessions.find(connection, "second", idle_s=0) is None
        await accounts.set_suspended(connection, account, suspended=True)
        assert await sessions.find(connection, "second", idle_s=100) is None
        await accounts.set_suspended(connection, account, suspended=False)
        assert await sessions.find(connection, "second", idle_s=100) is not None
        await connection.execute("UPDATE browser_session SET expires_at = now()")
        assert await sessions.find(connection, "second", idle_s=100) is None


async def test_an_account_has_so_many_sessions(
    nexus_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_KEPT", 3)
    identity, account, provider = uuid4(), uuid4(), uuid4()
    async with nexus_database.transaction() as connection:
        await identities.set_local_provider(
            connection, provider_id=provider, name="Here", domain="here.example"
        )
        await identities.add_identity(
            connection, identity_id=identity, username="ada@here.example", provider=provider
        )
        await accounts.create(connection, account_id=account, primary_identity=identity)
    for number in range(5):
        async with nexus_database.transaction() as connection:
            await sessions.create(
                connection,
                session_id=uuid4(),
                value=f"value {number}",
                account_id=account,
                address="",
                user_agent="",
                lifetime_s=60,
            )
    async with nexus_database.connection() as connection:
        left = [
            number
            for number in range(5)
            if await sessions.find(connection, f"value {number}", idle_s=60)
        ]
    assert left == [2, 3, 4]
