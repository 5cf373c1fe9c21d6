"""Attacks on logins at upstreams and on linking, through the pages.

References: RFC 9700 (OAuth 2.0 Security Best Current Practice); RFC 6819; OWASP ASVS 5.0.
"""

from typing import Any
from uuid import uuid4

import pytest

from plugins.browsing import Browser
from plugins.federated import LAB, ORIGIN, UNI, Federated, form_token
from towpath.nexus.people import throttle
from towpath.nexus.store import accounts


async def nobody_is_logged_in(browser: Browser) -> None:
    assert (await browser.get("/account/identities")).status_code == 303


async def count(federated: Federated, table: str) -> int:
    async with federated.database.connection() as connection:
        cursor = await connection.execute(f"SELECT count(*) AS n FROM {table}")  # type: ignore[call-overload]
        row = await cursor.fetchone()
    return int(row["n"])


async def test_state_of_another_browser(federated: Federated) -> None:
    """RFC 9700, 4.7: the attacker's login, finished in the victim's browser (login CSRF)."""
    attacker, victim = federated.browser(), federated.browser()
    await victim.get("/v2/web/login")  # it has a cookie of its own
    state = await federated.begin(attacker, UNI)
    answer = await federated.back(victim, UNI, state)
    assert answer.status_code == 400
    await nobody_is_logged_in(victim)
    assert not federated.uni.forms  # the code was not redeemed either


async def test_state_without_a_browser(federated: Federated) -> None:
    state = await federated.begin(federated.browser(), UNI)
    answer = await federated.back(federated.browser(), UNI, state)
    assert answer.status_code == 400


async def test_answer_a_second_time(federated: Federated) -> None:
    """RFC 9700, 4.2.4: an answer from the history or a log."""
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    assert (await federated.back(browser, UNI, state)).status_code == 303
    assert (await federated.back(browser, UNI, state)).status_code == 400
    assert len(federated.uni.forms) == 1


async def test_failed_answer_a_second_time(federated: Federated) -> None:
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    answer = await browser.get(
        f"/v2/web/upstream/{UNI}/callback?error=access_denied&state={state}"
        f"&iss={federated.uni.issuer}"
    )
    assert answer.status_code == 403
    assert (await federated.back(browser, UNI, state)).status_code == 400


async def test_answer_long_after(federated: Federated) -> None:
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    async with federated.database.connection() as connection:
        await connection.execute(
            "UPDATE upstream_attempt SET begun_at = begun_at - interval '11 minutes'"
        )
    assert (await federated.back(browser, UNI, state)).status_code == 400


async def test_answer_at_the_redirect_uri_of_another_upstream(federated: Federated) -> None:
    """Mix-up (RFC 9700, 4.4): the code of an honest upstream goes to no other."""
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    answer = await browser.get(f"/v2/web/upstream/{LAB}/callback?code=c&state={state}")
    assert answer.status_code == 400
    assert not federated.uni.forms
    assert not federated.lab.forms


async def test_answers_that_are_none(federated: Federated) -> None:
    browser = federated.browser()
    await federated.begin(browser, UNI)
    for query in ("", "state=", "state=x&state=y&code=c", "code=c", "state=" + "x" * 9000):
        answer = await browser.get(f"/v2/web/upstream/{UNI}/callback?{query}")
        assert answer.status_code == 400, query


async def test_parameter_twice(federated: Federated) -> None:
    """RFC 6749, 3.1: which of two codes would be meant."""
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    answer = await browser.get(
        f"/v2/web/upstream/{UNI}/callback?code=a&code=b&state={state}&iss={federated.uni.issuer}"
    )
    assert answer.status_code == 400
    assert not federated.uni.forms


async def test_what_an_upstream_says_is_text(federated: Federated) -> None:
    """No markup from outside in a page."""
    browser = federated.browser()
    federated.uni.claims = {"name": "<script>alert(1)</script>"}
    await federated.log_in(browser)
    page = await browser.get("/account/identities")
    assert "<script>alert" not in page.text
    state = await federated.begin(browser, UNI)
    page = await browser.get(
        f"/v2/web/upstream/{UNI}/callback?error=<script>alert(1)</script>&state={state}"
        f"&iss={federated.uni.issuer}"
    )
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/web/upstream/{UNI}",
        f"/account/identities/link/{LAB}",
        "/account/identities/{identity}/primary",
        "/account/identities/{identity}/unlink",
    ],
)
@pytest.mark.parametrize("how", ["no token", "of another browser", "another origin"])
async def test_forms_from_elsewhere(federated: Federated, path: str, how: str) -> None:
    """CSRF (RFC 9700, 4.7; OWASP ASVS 5.0, 3.5.1)."""
    browser, other = federated.browser(), federated.browser()
    await federated.log_in(browser)
    await other.get("/v2/web/login")
    path = path.format(identity=(await federated.identity("ada@uni.example")).id)
    token = {"no token": "", "of another browser": form_token(other)}.get(how, form_token(browser))
    if how == "another origin":
        browser.origin = "https://evil.example"
    answer = await browser.post(path, csrf=token)
    assert answer.status_code == 403
    assert await count(federated, "upstream_attempt") == 0


async def test_session_fixation(federated: Federated) -> None:
    """A cookie that somebody planted is worth nothing after the login (OWASP ASVS 5.0, 7.2.4)."""
    browser = federated.browser()
    await federated.log_in(browser)
    planted = browser.http.cookies["__Host-towpath-session"]
    await federated.log_in(browser)
    assert browser.http.cookies["__Host-towpath-session"] != planted
    thief = federated.browser()
    thief.http.cookies.set("__Host-towpath-session", planted)
    await nobody_is_logged_in(thief)


async def test_link_that_ends_in_another_browser(federated: Federated) -> None:
    """The attacker begins to link, and the victim's browser brings the proof; and the other way
    round: the victim's identity would be in the attacker's account."""
    attacker, victim = federated.browser(), federated.browser()
    await federated.log_in(attacker)
    federated.uni.claims = {"sub": "victim", "preferred_username": "victim@uni.example"}
    await federated.log_in(victim)
    await attacker.get("/account/identities")
    await attacker.send(f"/account/identities/link/{LAB}")
    state = federated.at_upstream(attacker, LAB)
    assert (await federated.back(victim, LAB, state)).status_code == 400
    assert await count(federated, "identity WHERE username = 'ada@lab.example'") == 0


@pytest.mark.parametrize("meanwhile", ["logged out", "somebody else"])
async def test_link_for_a_session_that_is_no_more(federated: Federated, meanwhile: str) -> None:
    """Both must be proven: the account that asked must still be logged in in this browser."""
    browser = federated.browser()
    await federated.log_in(browser)
    await browser.get("/account/identities")
    await browser.send(f"/account/identities/link/{LAB}")
    state = federated.at_upstream(browser, LAB)
    if meanwhile == "logged out":
        del browser.http.cookies["__Host-towpath-session"]
    else:
        federated.uni.claims = {"sub": "other", "preferred_username": "other@uni.example"}
        await federated.log_in(browser)
    assert (await federated.back(browser, LAB, state)).status_code == 400
    assert await count(federated, "identity WHERE username = 'ada@lab.example'") == 0


async def test_login_is_no_link(federated: Federated) -> None:
    """A login as somebody else in a logged-in browser changes who is logged in, and no account."""
    browser = federated.browser()
    await federated.log_in(browser, UNI)
    await federated.log_in(browser, LAB)
    uni, lab = (
        await federated.identity("ada@uni.example"),
        await federated.identity("ada@lab.example"),
    )
    assert uni.account_id != lab.account_id
    assert "ada@uni.example" not in (await browser.get("/account/identities")).text


async def test_same_mail_address_links_nothing(federated: Federated) -> None:
    """Account takeover by a claim that anybody can make, verified or not."""
    await federated.log_in(federated.browser(), UNI)
    await federated.log_in(federated.browser(), LAB)  # the same address, by another upstream
    uni, lab = (
        await federated.identity("ada@uni.example"),
        await federated.identity("ada@lab.example"),
    )
    assert uni.email == lab.email
    assert uni.account_id != lab.account_id


async def test_name_that_was_somebody_elses(federated: Federated) -> None:
    """OpenID Connect Core, 5.7: only the subject is for ever. A name that an upstream gives to its
    next person does not open the account of the last one."""
    await federated.log_in(federated.browser())
    federated.uni.claims = {"sub": "person-2"}
    browser = federated.browser()
    answer = await federated.log_in(browser)
    assert answer.status_code == 403
    await nobody_is_logged_in(browser)
    assert await count(federated, "account") == 1


async def test_rename_to_a_name_that_is_taken(federated: Federated) -> None:
    await federated.log_in(federated.browser())
    federated.uni.claims = {"sub": "person-2", "preferred_username": "eve@uni.example"}
    await federated.log_in(federated.browser())
    federated.uni.claims = {"sub": "person-2", "preferred_username": "ada@uni.example"}
    browser = federated.browser()
    assert (await federated.log_in(browser)).status_code == 303
    page = await browser.get("/account/identities")
    assert "eve@uni.example" in page.text
    assert "ada@uni.example" not in page.text


async def suspend(federated: Federated, username: str) -> None:
    identity = await federated.identity(username)
    async with federated.database.connection() as connection:
        assert identity.account_id is not None
        await accounts.set_suspended(connection, identity.account_id, suspended=True)


async def test_suspended_account(federated: Federated) -> None:
    browser = federated.browser()
    await federated.log_in(browser)
    await suspend(federated, "ada@uni.example")
    answer = await federated.log_in(browser)
    assert answer.status_code == 403
    assert "suspended" in answer.text
    await nobody_is_logged_in(browser)


async def test_suspended_identity_moves_nowhere(federated: Federated) -> None:
    """A fresh account would take the suspended one's identity out of its suspension."""
    await federated.log_in(federated.browser(), LAB)
    await suspend(federated, "ada@lab.example")
    before = (await federated.identity("ada@lab.example")).account_id
    browser = federated.browser()
    await federated.log_in(browser)
    assert (await federated.link(browser)).status_code == 403
    assert (await federated.identity("ada@lab.example")).account_id == before


@pytest.mark.parametrize("why", ["several identities", "an administrator"])
async def test_identity_of_an_account_that_must_stay(federated: Federated, why: str) -> None:
    """Linking takes nobody else's account apart, and gives no rights away."""
    owner = federated.browser()
    await federated.log_in(owner, LAB)
    lab = await federated.identity("ada@lab.example")
    if why == "several identities":
        federated.uni.claims = {"sub": "second", "preferred_username": "second@uni.example"}
        await federated.link(owner, UNI)
        federated.uni.claims = {}
    else:
        async with federated.database.connection() as connection:
            await connection.execute("UPDATE account SET administrator = true")
    browser = federated.browser()
    await federated.log_in(browser)
    assert (await federated.link(browser)).status_code == 403
    assert (await federated.identity("ada@lab.example")).account_id == lab.account_id


@pytest.mark.parametrize("what", ["unlink", "primary"])
async def test_identity_of_somebody_else(federated: Federated, what: str) -> None:
    """Insecure direct object reference (OWASP ASVS 5.0, 8.2.2)."""
    await federated.log_in(federated.browser(), LAB)
    lab = await federated.identity("ada@lab.example")
    browser = federated.browser()
    await federated.log_in(browser)
    for target in (lab.id, uuid4()):
        answer = await browser.post(
            f"/account/identities/{target}/{what}", csrf=form_token(browser)
        )
        assert answer.status_code == 404
    assert (await federated.identity("ada@lab.example")).account_id == lab.account_id


async def test_primary_identity_stays(federated: Federated) -> None:
    """An account without an identity would be nobody's."""
    browser = federated.browser()
    await federated.log_in(browser)
    ada = await federated.identity("ada@uni.example")
    answer = await browser.post(f"/account/identities/{ada.id}/unlink", csrf=form_token(browser))
    assert answer.status_code == 404


async def test_unlocked_screen(federated: Federated) -> None:
    """Who finds a browser logged in does not make the account his own (OWASP ASVS 5.0, 7.5.1)."""
    browser = federated.browser()
    await federated.log_in(browser)
    async with federated.database.connection() as connection:
        await connection.execute(
            "UPDATE browser_session SET created_at = created_at - interval '1 hour'"
        )
    answer = await federated.link(browser)
    assert answer.status_code == 403
    assert "some time ago" in answer.text


@pytest.mark.parametrize(
    "said",
    [
        {"request": "//evil.example"},
        {"request": "a&b=c"},
        {"request": "a\r\nSet-Cookie: x=y"},
        {"to": "//evil.example"},
        {"to": "https://evil.example"},
        {"to": "/account/../../evil"},
        {"to": "/account@evil.example"},
    ],
)
async def test_open_redirect(federated: Federated, said: dict[str, str]) -> None:
    """RFC 9700, 4.11: nothing from outside but an id, or a page of ours, is in a redirect."""
    answer = await federated.log_in(federated.browser(), **said)
    assert answer.headers["location"] == "/"


async def test_nothing_to_forge_with_is_stored(federated: Federated) -> None:
    """Who reads the database finds no state, nonce, verifier or client secret."""
    browser = federated.browser()
    state = await federated.begin(browser, UNI)
    values = [state, federated.uni.nonce, "shared secret", *browser.http.cookies.values()]
    async with federated.database.connection() as connection:
        for table in ("upstream_attempt", "upstream", "browser_session", "identity_provider"):
            cursor = await connection.execute(f"SELECT * FROM {table}")  # type: ignore[call-overload]
            stored: Any = await cursor.fetchall()
            assert not [value for value in values if value in str(stored)]


async def test_pages_cannot_be_framed_and_have_no_script_of_others(federated: Federated) -> None:
    """RFC 9700, 4.16 (clickjacking); the way out goes by a page, not by a form's redirect."""
    browser = federated.browser()
    await federated.begin(browser, UNI)
    answer = await browser.get("/v2/web/login")
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert ORIGIN not in policy


async def test_too_many_logins_from_one_address(federated: Federated) -> None:
    """Nobody fills the database, or has us ask an institution without end."""
    browser = federated.browser()
    await federated.begin(browser, UNI)
    for _ in range(throttle.ADDRESS_SIZE - 1):
        answer = await browser.post(f"/v2/web/upstream/{UNI}", csrf=form_token(browser))
        assert answer.status_code == 200
    rows = await count(federated, "upstream_attempt")
    answer = await browser.post(f"/v2/web/upstream/{UNI}", csrf=form_token(browser))
    assert answer.status_code == 429
    assert await count(federated, "upstream_attempt") == rows
    assert federated.uni.asked.count("GET /.well-known/openid-configuration") == 1


async def test_providers_that_are_none(federated: Federated) -> None:
    browser = federated.browser()
    await browser.get("/v2/web/login")
    for provider in (uuid4(), "x"):
        answer = await browser.post(f"/v2/web/upstream/{provider}", csrf=form_token(browser))
        assert answer.status_code in (400, 404, 405), provider
        answer = await browser.get(f"/v2/web/upstream/{provider}/callback?state=x&code=y")
        assert answer.status_code in (400, 404), provider
        assert answer.headers["content-type"].startswith("text/html")


async def test_unlinked_identity_keeps_no_session(federated: Federated) -> None:
    """Who took over an identity, and is logged in by it, is out when its owner unlinks it."""
    owner = federated.browser()
    await federated.log_in(owner)
    await federated.link(owner)
    thief = federated.browser()
    await federated.log_in(thief, LAB)
    assert "ada@uni.example" in (await thief.get("/account/identities")).text
    lab = await federated.identity("ada@lab.example")
    await owner.get("/account/identities")
    assert (await owner.send(f"/account/identities/{lab.id}/unlink")).status_code == 303
    await nobody_is_logged_in(thief)
    assert "ada@uni.example" in (await owner.get("/account/identities")).text
