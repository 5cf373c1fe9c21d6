"""The deployment's own web interface as an OAuth client: nobody is asked, so it has no more than
what is fixed, and ends with the session. Logging out by it (RP-Initiated Logout 1.0).
"""

import asyncio
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from plugins.nexus import ISSUER, REDIRECT, VERIFIER, Nexus, Person, answered, pkce, request
from towpath.nexus.bootstrap import ClientSecret, ensure_web_client
from towpath.nexus.oauth import consents
from towpath.nexus.oauth.keys import ALGORITHM
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.store import projects, sessions
from towpath.nexus.well_known import WEB_CLIENT, WEB_SCOPES

CALLBACK = f"{ISSUER}/login/callback"
WEB = ClientSecret(WEB_CLIENT, "")
SCOPE = f"openid profile email {TRANSFER_ALL}"


@pytest.fixture(autouse=True)
async def _interface(nexus: Nexus) -> None:
    async with nexus.database.transaction() as connection:
        await ensure_web_client(connection, CALLBACK)


def asks(**asked: str) -> dict[str, str]:
    """The interface's own request."""
    return request(WEB, redirect_uri=CALLBACK, scope=SCOPE, prompt="none", **pkce()) | asked


async def answer(nexus: Nexus, cookie: str | None, **asked: str) -> dict[str, str]:
    """What it gets at its callback."""
    async with nexus.browser(cookie) as browser:
        page = await browser.get("/v2/oauth2/authorize", params=asks(**asked))
    assert page.status_code == 303, page.text
    assert page.headers["location"].startswith(f"{CALLBACK}?")
    return answered(page)


async def redeem(nexus: Nexus, code: str) -> httpx.Response:
    return await nexus.post(
        "token",
        None,
        client_id=str(WEB_CLIENT),
        grant_type="authorization_code",
        redirect_uri=CALLBACK,
        code=code,
        code_verifier=VERIFIER,
    )


async def tokens(nexus: Nexus, cookie: str) -> dict[str, Any]:
    """Its tokens, silently, as on each load."""
    done = await redeem(nexus, (await answer(nexus, cookie))["code"])
    assert done.status_code == 200, done.text
    document: dict[str, Any] = done.json()
    return document


async def active(nexus: Nexus, document: dict[str, Any]) -> bool:
    (transfer,) = document["other_tokens"]
    seen = await nexus.post("token/introspect", nexus.transfer, token=transfer["access_token"])
    return bool(seen.json()["active"])


async def test_nobody_is_asked_and_it_gets_what_it_needs(nexus: Nexus) -> None:
    _, cookie = await nexus.log_in(await nexus.person())
    document = await tokens(nexus, cookie)
    (transfer,) = document["other_tokens"]
    assert {*document["scope"].split(), *transfer["scope"].split()} == WEB_SCOPES
    assert "refresh_token" not in document, "a page can keep no secret"
    assert "refresh_token" not in transfer


async def test_it_is_none_of_the_applications_that_somebody_allowed(nexus: Nexus) -> None:
    _, cookie = await nexus.log_in(await nexus.person())
    client = await nexus.client(name="Tides", redirect_uris=[REDIRECT])
    await nexus.log_in_at(client, cookie=cookie)
    await tokens(nexus, cookie)
    async with nexus.browser(cookie) as browser:
        shown = (await browser.get("/account/applications")).text
    assert "Tides" in shown
    assert "web interface" not in shown


async def test_without_a_session_it_is_told_to_log_in(nexus: Nexus) -> None:
    assert (await answer(nexus, None))["error"] == "login_required"


TOO_MUCH = (
    {"scope": f"{SCOPE} urn:globus:auth:scope:groups.api.globus.org:all"},
    {"scope": f"{TRANSFER_ALL}[*{TRANSFER_ALL}]"},
    {"scope": "urn:globus:auth:scope:auth.globus.org:manage_projects"},
    {"scope": f"{SCOPE} offline_access"},
    {"access_type": "offline"},
    {"session_message": "Type your password at evil.example"},
    {"code_challenge": ""},
    {"code_challenge_method": "plain"},
)


async def test_whoever_asks_for_more_gets_nothing(nexus: Nexus) -> None:
    """Any page can send a browser here in the interface's name."""
    _, cookie = await nexus.log_in(await nexus.person())
    async with nexus.browser(cookie) as browser:
        for more in TOO_MUCH:
            for prompt in ("none", "login"):
                asked = asks(prompt=prompt) | more
                given = {name: text for name, text in asked.items() if text}
                page = await browser.get("/v2/oauth2/authorize", params=given)
                found = answered(page)
                assert found["error"] in ("invalid_scope", "invalid_request"), (more, found)
                assert "code" not in found


ELSEWHERE = (
    REDIRECT,
    f"{ISSUER}/v2/web/auth-code",
    f"{CALLBACK}/",
    f"{CALLBACK}?x=1",
    "http://localhost:8000/login/callback",
    f"{ISSUER}:444/login/callback",
    CALLBACK.upper(),
)


async def test_its_answers_go_to_the_own_origin_only(nexus: Nexus) -> None:
    _, cookie = await nexus.log_in(await nexus.person())
    async with nexus.browser(cookie) as browser:
        for uri in ELSEWHERE:
            page = await browser.get("/v2/oauth2/authorize", params=asks(redirect_uri=uri))
            assert page.status_code == 400, uri
            assert "location" not in page.headers


async def test_another_client_is_not_taken_for_it(nexus: Nexus) -> None:
    """Neither by its kind and name, nor by its redirect URI."""
    _, cookie = await nexus.log_in(await nexus.person())
    for more in ({"client_type": "public_webapp_client"}, {}):
        other = await nexus.client(name="Towpath web interface", redirect_uris=[CALLBACK], **more)
        asked = asks(client_id=str(other.client_id))
        async with nexus.browser(cookie) as browser:
            page = await browser.get("/v2/oauth2/authorize", params=asked)
            assert answered(page)["error"] == "consent_required"
            shown = await browser.get("/v2/oauth2/authorize", params=asked | {"prompt": ""})
            assert "asks to act for you" in shown.text


async def test_its_code_is_of_no_use_without_the_verifier(nexus: Nexus) -> None:
    _, cookie = await nexus.log_in(await nexus.person())
    code = (await answer(nexus, cookie))["code"]
    for verifier in ("", "another-verifier-of-at-least-forty-three-characters"):
        form = {"client_id": str(WEB_CLIENT), "grant_type": "authorization_code", "code": code}
        form |= {"redirect_uri": CALLBACK} | ({"code_verifier": verifier} if verifier else {})
        assert (await nexus.post("token", None, **form)).status_code == 401


async def test_nobody_changes_it(nexus: Nexus) -> None:
    person = await nexus.person()
    _, cookie = await nexus.log_in(person)
    client = await nexus.client(redirect_uris=[REDIRECT])
    async with nexus.database.transaction() as connection:
        fields = {"display_name": "p", "contact_email": "p@x", "admin_group_ids": []}
        await projects.add(connection, fields | {"admin_ids": [str(person.identity_id)]})
    manage = "urn:globus:auth:scope:auth.globus.org:manage_projects"
    token = (await nexus.log_in_at(client, cookie=cookie, scope=manage))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    path = f"/v2/api/clients/{WEB_CLIENT}"
    evil = {"client": {"redirect_uris": ["https://evil.example/"]}}
    assert (await nexus.http.put(path, json=evil, headers=bearer)).status_code in (403, 404)
    assert (await nexus.http.delete(path, headers=bearer)).status_code in (403, 404)


async def test_it_ends_with_the_session_and_others_go_on(nexus: Nexus) -> None:
    person = await nexus.person()
    session, cookie = await nexus.log_in(person)
    _, elsewhere = await nexus.log_in(person)
    client = await nexus.client(redirect_uris=[REDIRECT])
    tab, other_tab = await tokens(nexus, cookie), await tokens(nexus, cookie)
    other_browser = await tokens(nexus, elsewhere)
    application = await nexus.log_in_at(client, cookie=cookie, scope=f"openid {TRANSFER_ALL}")
    async with nexus.database.transaction() as connection:
        await sessions.end_one_of_account(connection, person.account_id, session)
    assert not await active(nexus, tab)
    assert not await active(nexus, other_tab)
    assert await active(nexus, other_browser)
    assert await active(nexus, application)
    async with nexus.database.transaction() as connection:
        await sessions.end_of_account(connection, person.account_id)
    assert not await active(nexus, other_browser)


async def test_it_ends_with_a_session_that_ran_out(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with one that others have pushed out."""
    person = await nexus.person()
    _, cookie = await nexus.log_in(person)
    document = await tokens(nexus, cookie)
    async with nexus.database.transaction() as connection:
        await connection.execute("UPDATE browser_session SET expires_at = now() - interval '1 s'")
    _, cookie = await nexus.log_in(person)
    assert not await active(nexus, document)
    document = await tokens(nexus, cookie)
    monkeypatch.setattr(sessions, "SESSIONS_KEPT", 1)
    await nexus.log_in(person)
    assert not await active(nexus, document)


async def test_a_code_made_while_the_session_ends_is_worth_nothing(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, cookie = await nexus.log_in(await nexus.person())
    held, ending = asyncio.Event(), asyncio.Event()
    record = consents.record

    async def slow(*args: Any, **named: Any) -> Any:
        held.set()
        await ending.wait()
        return await record(*args, **named)

    async def end() -> None:
        async with nexus.database.transaction() as connection:
            await sessions.end(connection, session)

    async def is_waiting() -> bool:
        async with nexus.database.connection() as connection:
            found = await connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE 'DELETE FROM browser_session WHERE id%'"
            )
            return await found.fetchone() is not None

    monkeypatch.setattr(consents, "record", slow)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer(nexus, cookie))
        await held.wait()
        logout = tasks.create_task(end())
        while not await is_waiting() and not logout.done():
            await asyncio.sleep(0.01)
        ending.set()
    assert (await redeem(nexus, answering.result()["code"])).status_code == 401


class Tab:
    """The interface in a browser, about to log out."""

    def __init__(self, nexus: Nexus, person: Person, cookie: str, document: dict[str, Any]) -> None:
        self.nexus, self.person, self.cookie, self.document = nexus, person, cookie, document
        self.id_token = str(document["id_token"])

    async def log_out(self, hint: str, origin: str | None = ISSUER) -> bool:
        """Whether that ended the session without a question."""
        async with self.nexus.browser(self.cookie) as browser:
            if origin is None:
                del browser.headers["Origin"]
            else:
                browser.headers["Origin"] = origin
            done = await browser.post("/v2/oauth2/logout", data={"id_token_hint": hint})
            assert (done.status_code, done.headers["location"]) == (303, "/v2/web/logout")
            shown = await browser.get("/v2/web/logout")
        assert ("You are logged out" in shown.text) != ("Log out?" in shown.text)
        return "You are logged out" in shown.text


@pytest.fixture
async def tab(nexus: Nexus) -> Tab:
    """Of Ada."""
    ada = await nexus.person()
    _, cookie = await nexus.log_in(ada)
    return Tab(nexus, ada, cookie, await tokens(nexus, cookie))


async def test_one_click_logs_out(nexus: Nexus, tab: Tab) -> None:
    assert await tab.log_out(tab.id_token)
    assert not await active(nexus, tab.document)
    assert (await answer(nexus, tab.cookie))["error"] == "login_required"


async def test_who_is_no_page_of_ours_logs_nobody_out(nexus: Nexus, tab: Tab) -> None:
    """CSRF: another site, another application, another person's token, a forged one."""
    _, other = await nexus.log_in(await nexus.person("eve"))
    client = await nexus.client(redirect_uris=[REDIRECT])
    applications = await nexus.log_in_at(client, cookie=tab.cookie, scope="openid")
    claims = {"iss": ISSUER, "aud": str(WEB_CLIENT), "sub": str(tab.person.identity_id)}
    forged = jwt.encode({"alg": ALGORITHM}, claims, RSAKey.generate_key(2048), [ALGORITHM])
    for hint, origin in (
        (tab.id_token, "https://evil.example"),
        (tab.id_token, "null"),
        (tab.id_token, None),
        ((await tokens(nexus, other))["id_token"], ISSUER),
        (applications["id_token"], ISSUER),
        (forged, ISSUER),
        ("", ISSUER),
        ("a.b.c", ISSUER),
        (tab.id_token[:-3], ISSUER),
    ):
        assert not await tab.log_out(hint, origin), (hint, origin)
    assert await active(nexus, tab.document)


async def test_a_link_only_leads_to_the_question(nexus: Nexus, tab: Tab) -> None:
    async with nexus.browser(tab.cookie) as browser:
        asked = {"client_id": str(WEB_CLIENT), "post_logout_redirect_uri": "https://evil.example/"}
        answer = await browser.get("/v2/oauth2/logout", params=asked)
        assert answer.headers["location"] == "/v2/web/logout"
        assert "Log out?" in (await browser.get("/v2/web/logout")).text


async def test_a_hint_may_be_old(nexus: Nexus, tab: Tab) -> None:
    """It says who it is, and that it is the interface (RP-Initiated Logout 1.0, 2)."""
    async with nexus.database.connection() as connection:
        claims = await nexus.keys.verified(connection, tab.id_token)
        assert claims is not None
        old = await nexus.keys.sign(connection, claims | {"iat": 0, "exp": 3600})
    assert await tab.log_out(old)
