"""Passkeys, and attacks on them. References: WebAuthn Level 3, 7.1 and 7.2 (steps), 13."""

import json
from html import unescape
from typing import Any
from uuid import uuid4

import pytest

from plugins.authenticator import Authenticator
from plugins.browsing import Browser
from plugins.federated import ORIGIN, PASSWORD, Federated, form_token
from towpath.nexus.store import sessions

PAGE = "/account/security/passkeys"
LOGIN = "/v2/web/passkey"
RP = "towpath.example"


def key(**how: Any) -> Authenticator:
    return Authenticator(ORIGIN, RP, **how)


async def challenge(browser: Browser, path: str) -> dict[str, Any]:
    answer = await browser.ask(f"{path}/challenge", form_token(browser))
    assert answer.status_code == 200, answer.text
    options = answer.json()
    assert isinstance(options, dict)
    return options


async def register(browser: Browser, authenticator: Authenticator, **fields: str) -> int:
    options = await challenge(browser, PAGE)
    return await send(browser, PAGE, authenticator.create(options), **fields)


async def send(browser: Browser, path: str, answer: str, **fields: str) -> int:
    done = await browser.post(path, csrf=form_token(browser), credential=answer, **fields)
    return done.status_code


async def log_in(browser: Browser, authenticator: Authenticator) -> int:
    if not browser.http.cookies:
        await browser.get("/v2/web/login")
    return await send(browser, LOGIN, authenticator.get(await challenge(browser, LOGIN)))


async def amr(federated: Federated, browser: Browser) -> list[str]:
    async with federated.database.connection() as connection:
        session = await sessions.find(
            connection, browser.http.cookies["__Host-towpath-session"], idle_s=60
        )
    assert session is not None
    (how,) = session.authentications.values()
    return how.amr


async def nobody_is_logged_in(browser: Browser) -> None:
    assert (await browser.get(PAGE)).status_code == 303


async def test_register_and_log_in(federated: Federated) -> None:
    authenticator = key()
    owner = await federated.settle()
    assert await register(owner, authenticator, name="my phone") == 303
    assert "my phone" in (await owner.get(PAGE)).text
    browser = federated.browser()
    assert await log_in(browser, authenticator) == 303
    # an authenticator that asks for a PIN or a finger is two factors
    assert await amr(federated, browser) == ["hwk", "user", "mfa"]
    assert "ann@towpath.example" in (await browser.get("/account")).text


async def test_answer_a_second_time(federated: Federated) -> None:
    """13.4.3: a challenge is used once, also if the counter would let it pass."""
    authenticator = key()
    await register(await federated.settle(), authenticator)
    browser = federated.browser()
    await browser.get("/v2/web/login")
    answer = authenticator.get(await challenge(browser, LOGIN))
    assert await send(browser, LOGIN, answer) == 303
    del browser.http.cookies["__Host-towpath-session"]
    assert await send(browser, LOGIN, answer) == 403
    await nobody_is_logged_in(browser)


async def test_challenge_that_failed_is_used_up(federated: Federated) -> None:
    authenticator, stranger = key(), key()
    await register(await federated.settle(), authenticator)
    browser = federated.browser()
    await browser.get("/v2/web/login")
    options = await challenge(browser, LOGIN)
    assert await send(browser, LOGIN, stranger.get(options)) == 403
    assert await send(browser, LOGIN, authenticator.get(options)) == 403


async def test_challenge_of_another_browser(federated: Federated) -> None:
    """An answer that was made elsewhere (a relay) is not taken here."""
    authenticator = key()
    await register(await federated.settle(), authenticator)
    one, other = federated.browser(), federated.browser()
    for browser in (one, other):
        await browser.get("/v2/web/login")
    answer = authenticator.get(await challenge(one, LOGIN))
    assert await send(other, LOGIN, answer) == 403
    await nobody_is_logged_in(other)


async def test_challenges_that_are_none_of_ours(federated: Federated) -> None:
    authenticator = key()
    owner = await federated.settle()
    await register(owner, authenticator)
    browser = federated.browser()
    await browser.get("/v2/web/login")
    for made_up in ("", "AAAA", "A" * 43, "*", "x" * 30_000):
        assert await send(browser, LOGIN, authenticator.get({"challenge": made_up})) == 403
    # one for a registration is none for a login (type confusion)
    options = await challenge(owner, PAGE)
    assert await send(owner, LOGIN, authenticator.get(options)) == 403


async def test_old_challenge(federated: Federated) -> None:
    authenticator = key()
    await register(await federated.settle(), authenticator)
    browser = federated.browser()
    await browser.get("/v2/web/login")
    options = await challenge(browser, LOGIN)
    async with federated.database.connection() as connection:
        await connection.execute(
            "UPDATE passkey_challenge SET made_at = made_at - interval '6 minutes'"
        )
    assert await send(browser, LOGIN, authenticator.get(options)) == 403


async def test_page_of_somebody_else(federated: Federated) -> None:
    """13.4.9, 7.2 steps 12 to 15: an answer that was made for another origin or RP id."""
    authenticator = key()
    await register(await federated.settle(), authenticator)
    browser = federated.browser()
    for origin, rp_id, kind in (
        ("https://towpath.evil.example", RP, None),
        ("https://evil.towpath.example", RP, None),
        ("http://towpath.example", RP, None),
        (ORIGIN + ":8443", RP, None),
        ("null", RP, None),
        (ORIGIN, "evil.example", None),
        (ORIGIN, "example", None),
        (ORIGIN, RP, "webauthn.create"),
        (ORIGIN, RP, "payment.get"),
    ):
        authenticator.origin, authenticator.rp_id, authenticator.kind = origin, rp_id, kind
        assert await log_in(browser, authenticator) == 403, (origin, rp_id, kind)
    await nobody_is_logged_in(browser)


async def test_registration_for_another_place(federated: Federated) -> None:
    """7.1 steps 7 to 14."""
    owner = await federated.settle()
    for how in (
        {"origin": "https://evil.example", "rp_id": RP},
        {"origin": ORIGIN, "rp_id": "evil.example"},
    ):
        assert await register(owner, Authenticator(**how)) == 403
    assert await register(owner, key(kind="webauthn.get")) == 403


async def test_copied_key(federated: Federated) -> None:
    """6.1.1, 7.2 step 22: a counter that does not rise is that of a copy."""
    authenticator = key()
    await register(await federated.settle(), authenticator)
    for _ in range(3):
        assert await log_in(federated.browser(), authenticator) == 303
    authenticator.count = 1
    browser = federated.browser()
    assert await log_in(browser, authenticator) == 403
    await nobody_is_logged_in(browser)


async def test_key_of_somebody_else(federated: Federated) -> None:
    """The signature decides, not the ids that come with it."""
    mine, yours = key(), key()
    await register(await federated.settle("ann"), mine)
    await register(await federated.settle("bea"), yours)
    browser = federated.browser()
    stolen_name = key(credential_id=mine.credential_id, user_handle=mine.user_handle, count=9)
    assert await log_in(browser, stolen_name) == 403
    stolen_handle = key(
        key=yours.key,
        credential_id=yours.credential_id,
        user_handle=mine.user_handle,
        count=9,
    )
    assert await log_in(browser, stolen_handle) == 403
    await nobody_is_logged_in(browser)


async def test_credential_id_that_is_taken(federated: Federated) -> None:
    """7.1 step 26: nobody registers somebody else's credential id over it."""
    mine = key()
    await register(await federated.settle("ann"), mine)
    assert (
        await register(await federated.settle("bea"), key(credential_id=mine.credential_id)) == 403
    )
    browser = federated.browser()
    assert await log_in(browser, mine) == 303
    assert "ann@towpath.example" in (await browser.get("/account")).text


@pytest.mark.parametrize("transports", [1, [[]], [{"usb": 1}], "usb"])
async def test_registration_with_transports_that_are_none(
    federated: Federated, transports: object
) -> None:
    """5.8.4: authenticators say what they want; what is unknown is left out, or all is refused."""
    browser = await federated.settle()
    answer = json.loads(key().create(await challenge(browser, PAGE)))
    answer["response"]["transports"] = transports
    assert await send(browser, PAGE, json.dumps(answer)) in (303, 403)


async def test_answers_nested_deeper_than_a_reader_goes(federated: Federated) -> None:
    browser = federated.browser()
    await browser.get("/v2/web/login")
    assert await send(browser, LOGIN, "[" * 15_000) == 403


async def test_registration_for_another_account(federated: Federated) -> None:
    """The challenge says whose passkey it will be; a login in between changes nothing of that."""
    ann, bea = await federated.settle("ann"), await federated.settle("bea")
    options = await challenge(ann, PAGE)
    assert await send(bea, PAGE, key().create(options)) == 403
    # bea logs in, in ann's browser, where the challenge is from
    await ann.get("/v2/web/logout")
    await ann.send("/v2/web/logout")
    await ann.get("/v2/web/login")
    await ann.send("/v2/web/login", username="bea", password=PASSWORD)
    assert await send(ann, PAGE, key().create(options)) == 403
    assert await rows(federated) == []


async def test_key_without_pin_is_no_login(federated: Federated) -> None:
    """Possession alone is one factor: it counts after a password that was just typed."""
    authenticator = key(verifies_user=False)
    owner = await federated.settle()
    await register(owner, authenticator)
    browser = federated.browser()
    assert await log_in(browser, authenticator) == 403
    await nobody_is_logged_in(browser)
    await browser.get("/v2/web/login")
    await browser.send("/v2/web/login", username="ann", password=PASSWORD)
    assert await amr(federated, browser) == ["pwd"]
    assert await log_in(browser, authenticator) == 303
    assert await amr(federated, browser) == ["pwd", "hwk", "mfa"]


async def test_passkey_after_the_password(federated: Federated) -> None:
    authenticator, other = key(), key()
    owner = await federated.settle("ann")
    await register(owner, authenticator)
    await register(await federated.settle("bea"), other)
    await owner.get(PAGE)
    await owner.send(f"{PAGE}/wanted")
    browser = federated.browser()
    await browser.get("/v2/web/login")
    page = await browser.send("/v2/web/login", username="ann", password=PASSWORD)
    assert "Now your passkey" in page.text
    await nobody_is_logged_in(browser)
    options = _options(page.text)
    # somebody else's passkey is none, and the challenge is used up with it
    assert await send(browser, f"{LOGIN}/second", other.get(options)) == 403
    assert await send(browser, f"{LOGIN}/second", authenticator.get(options)) == 403
    await browser.get("/v2/web/login")
    page = await browser.send("/v2/web/login", username="ann", password=PASSWORD)
    assert await send(browser, f"{LOGIN}/second", authenticator.get(_options(page.text))) == 303
    assert await amr(federated, browser) == ["pwd", "hwk", "mfa"]


async def test_second_step_without_the_first(federated: Federated) -> None:
    """The challenge of a login page does not stand for a password."""
    authenticator = key(verifies_user=False)
    await register(await federated.settle(), authenticator)
    browser = federated.browser()
    await browser.get("/v2/web/login")
    options = await challenge(browser, LOGIN)
    assert await send(browser, f"{LOGIN}/second", authenticator.get(options)) == 403
    await nobody_is_logged_in(browser)


def _options(page: str) -> dict[str, Any]:
    options = json.loads(unescape(page.partition('data-options="')[2].partition('"')[0]))
    assert isinstance(options, dict)
    return options


async def test_nobody_learns_who_has_a_passkey(federated: Federated) -> None:
    """14.6.2: before a login no credential ids are told."""
    await register(await federated.settle(), key())
    browser = federated.browser()
    await browser.get("/v2/web/login")
    assert (await challenge(browser, LOGIN)).get("allowCredentials", []) == []


async def test_suspended_account(federated: Federated) -> None:
    authenticator = key()
    await register(await federated.settle(), authenticator)
    async with federated.database.connection() as connection:
        await connection.execute("UPDATE account SET suspended_at = now()")
    browser = federated.browser()
    assert await log_in(browser, authenticator) == 403
    await nobody_is_logged_in(browser)


async def test_removed_passkey(federated: Federated) -> None:
    authenticator = key()
    owner = await federated.settle()
    await register(owner, authenticator)
    (row,) = await rows(federated)
    stranger = await federated.settle("bea")
    for what in ("remove", "rename"):
        answer = await stranger.post(
            f"{PAGE}/{row['id']}/{what}", csrf=form_token(stranger), name="x"
        )
        assert answer.status_code == 404  # insecure direct object reference
    answer = await owner.post(f"{PAGE}/{uuid4()}/remove", csrf=form_token(owner))
    assert answer.status_code == 404
    await owner.get(PAGE)
    await owner.send(f"{PAGE}/{row['id']}/remove")
    assert await rows(federated) == []
    assert await log_in(federated.browser(), authenticator) == 403


async def rows(federated: Federated) -> list[dict[str, Any]]:
    async with federated.database.connection() as connection:
        cursor = await connection.execute("SELECT * FROM passkey")
        return await cursor.fetchall()


async def test_forms_and_scripts_from_elsewhere(federated: Federated) -> None:
    """CSRF: forms by their token, the script's requests by header; both by origin."""
    owner = await federated.settle()
    token = form_token(owner)
    assert (await owner.ask(f"{PAGE}/challenge", "")).status_code == 403
    assert (await owner.ask(f"{LOGIN}/challenge", "")).status_code == 403
    for path in (PAGE, f"{PAGE}/wanted", LOGIN, f"{LOGIN}/second", f"{PAGE}/{uuid4()}/remove"):
        assert (await owner.post(path)).status_code == 403
    owner.origin = "https://evil.example"
    assert (await owner.ask(f"{PAGE}/challenge", token)).status_code == 403
    assert (await owner.post(PAGE, csrf=token, credential="{}")).status_code == 403


async def test_unlocked_screen(federated: Federated) -> None:
    """Who finds a browser logged in adds no key of his own (OWASP ASVS 5.0, 7.5.1)."""
    owner = await federated.settle()
    async with federated.database.connection() as connection:
        await connection.execute(
            "UPDATE browser_session SET created_at = created_at - interval '1 hour'"
        )
        await connection.execute("UPDATE session_authentication SET at = at - interval '1 hour'")
    answer = await owner.ask(f"{PAGE}/challenge", form_token(owner))
    assert answer.status_code == 403


async def test_identity_of_an_institution_has_none(federated: Federated) -> None:
    """Who has left an institution must not come in as its member by a key of his own."""
    browser = federated.browser()
    await federated.log_in(browser)
    answer = await browser.ask(f"{PAGE}/challenge", form_token(browser))
    assert answer.status_code == 403
    assert "at your institution" in (await browser.get(PAGE)).text
