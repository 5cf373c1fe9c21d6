"""Attacks on pages and forms. References: OWASP ASVS 5.0 (V3, V6, V7), RFC 9700.

Routes are found in the app itself: a page or a form that is added later is attacked, too.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI

from plugins.nexus_people import ORIGIN, PASSWORD, Browser, Town, forms, said
from towpath.nexus.pages.frame import PAGE_PREFIXES, STATIC


def page_routes(app: FastAPI, method: str) -> Iterator[str]:
    """The paths of all pages, with something in the place of parameters."""
    found = {
        re.sub(r"\{[^}]+\}", str(uuid4()), path)
        for path, methods in _routes(app.routes)
        if method in methods
        and any(path == one or path.startswith(one + "/") for one in PAGE_PREFIXES)
        and not path.startswith(STATIC)
    }
    yield from sorted(found)


def _routes(routes: Any) -> Iterator[tuple[str, set[str]]]:
    for route in routes:
        if hasattr(route, "original_router"):  # FastAPI keeps included routers as they are
            for inner in route.original_router.routes:
                yield inner.path, inner.methods
        elif hasattr(route, "methods") and route.methods:
            yield route.path, route.methods


def csrf_of(page: httpx.Response) -> str:
    return page.text.partition('name="csrf" value="')[2][:64]


async def test_forms_from_elsewhere_are_refused(town: Town) -> None:
    """ASVS 3.5.1, RFC 9700 4.7: without its token, with another browser's, from another origin."""
    browser = await town.settle("ada")
    other = town.browser()
    own = csrf_of(await browser.get("/account/profile"))
    foreign = csrf_of(await other.get("/v2/web/login"))
    assert len(own) == len(foreign) == 64
    posts = list(page_routes(town.app, "POST"))
    assert {"/v2/web/login", "/v2/web/logout", "/account/profile"} <= set(posts)
    before = await town.rows("SELECT count(*) AS n FROM browser_session")
    attempts: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {"Origin": ORIGIN}),
        ({"csrf": foreign}, {"Origin": ORIGIN}),
        ({"csrf": own}, {"Origin": "https://evil.example"}),
        ({"csrf": own}, {"Origin": "null"}),
        ({"csrf": own}, {}),
    ]
    for path in posts:
        for form, headers in attempts:
            answer = await browser.http.post(path, data=form, headers=headers)
            assert answer.status_code == 403, (path, form, headers, answer.status_code)
            sent = {**headers, **({"X-CSRF-Token": form["csrf"]} if form else {})}
            answer = await browser.http.post(path, json={}, headers=sent)
            assert answer.status_code == 403, (path, "as JSON", form, headers, answer.status_code)
    assert await town.rows("SELECT count(*) AS n FROM browser_session") == before
    assert (await browser.http.get("/account")).status_code == 200


async def test_pages_change_nothing_by_other_methods(town: Town) -> None:
    """ASVS 3.5.3: what is not safe is done by POST alone."""
    for method in ("PUT", "DELETE", "PATCH"):
        assert not list(page_routes(town.app, method))


async def test_every_page_has_the_headers(town: Town) -> None:
    """ASVS 3.4.3, 3.4.4, 3.4.6, RFC 9700 4.16: nobody frames them, scripts are ours alone."""
    for browser in (await town.settle("ada"), town.browser()):
        for path in page_routes(town.app, "GET"):
            page = await browser.http.get(path)
            assert page.headers["cache-control"] == "no-store", path
            assert page.headers["x-content-type-options"] == "nosniff", path
            if not page.headers.get("content-type", "").startswith("text/html"):
                continue
            policy = dict(
                part.strip().split(" ", 1)
                for part in page.headers["content-security-policy"].split(";")
            )
            assert policy["default-src"] == "'none'", path
            assert policy["frame-ancestors"] == "'none'", path
            assert policy["base-uri"] == "'none'", path
            assert policy["script-src"] == policy["style-src"] == "'self'", path
            assert page.headers["x-frame-options"] == "DENY"
            assert page.headers["referrer-policy"] == "same-origin"
            assert page.headers["cross-origin-opener-policy"] == "same-origin"
            assert not re.search(r"<[^>]+\s(style|on\w+)=", page.text), path
            assert "<script>" not in page.text, path
            for form in forms(page.text):
                assert form["method"] != "post" or len(form["hidden"]["csrf"]) == 64, path


async def test_every_cookie_is_ours_alone(town: Town) -> None:
    """ASVS 3.3.1 to 3.3.4."""
    browser = town.browser()
    link = await town.invite(username="ada@towpath.example")
    answers = [
        await browser.http.get(link),
        await browser.http.get("/v2/web/welcome"),
        await browser.send(
            "/v2/web/welcome", name="Ada", email="a@mail.example", password=PASSWORD
        ),
        await browser.send("/v2/web/logout"),
        await browser.log_in("ada"),
    ]
    cookies = [one for answer in answers for one in answer.headers.get_list("set-cookie")]
    assert len({one.partition("=")[0] for one in cookies}) == 3
    for cookie in cookies:
        assert cookie.startswith("__Host-"), cookie
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; ")), cookie
        assert "Domain" not in cookie


async def test_a_session_cookie_from_before_is_worth_nothing(town: Town) -> None:
    """Session fixation. ASVS 7.2.4: a new one at each login, and the old one is dead."""
    name = "__Host-towpath-session"
    await town.settle("ada")
    victim = town.browser()
    victim.http.cookies.set(name, "planted", domain="towpath.example")
    await victim.log_in("ada")
    first = {cookie.value for cookie in victim.http.cookies.jar if cookie.name == name} - {
        "planted"
    }
    assert len(first) == 1
    for value in ("planted", *first):
        thief = town.browser()
        thief.http.cookies.set(name, value, domain="towpath.example")
        expected = 303 if value == "planted" else 200
        assert (await thief.http.get("/account")).status_code == expected
    [one] = first
    again = town.browser()
    again.http.cookies.set(name, one, domain="towpath.example")
    page = await again.get("/account")
    # log in once more, as an application may ask for: the value changes again
    again.http.cookies.set("__Host-towpath-browser", "x" * 43, domain="towpath.example")
    done = await again.http.post(
        "/v2/web/login",
        data={"csrf": csrf_of(page), "username": "ada", "password": PASSWORD},
        headers={"Origin": ORIGIN},
    )
    assert done.status_code == 303
    thief = town.browser()
    thief.http.cookies.set(name, one, domain="towpath.example")
    assert (await thief.http.get("/account")).status_code == 303


async def test_logging_out_ends_the_session_on_our_side(town: Town) -> None:
    """ASVS 7.4.1."""
    browser = await town.settle("ada")
    kept = dict(browser.cookies)
    await browser.send("/v2/web/logout")
    thief = town.browser()
    for name, value in kept.items():
        thief.http.cookies.set(name, value, domain="towpath.example")
    assert (await thief.http.get("/account")).status_code == 303


ELSEWHERE = (
    "https://evil.example/",
    "//evil.example/account",
    "/\\evil.example",
    "/account/../../\\evil.example",
    "/account//evil.example",
    "/account?next=https://evil.example",
    "/account\r\nLocation: https://evil.example",
    "javascript:alert(1)",
    "/v2/oauth2/authorize?client_id=x",
    "%2f%2fevil.example",
)


async def test_a_login_leads_nowhere_else(town: Town) -> None:
    """Open redirects. RFC 9700 4.11, ASVS 3.7.2."""
    await town.settle("ada")
    for target in ELSEWHERE:
        for field in ("to", "request"):
            browser = town.browser()
            token = csrf_of(await browser.http.get("/v2/web/login", params={field: target}))
            done = await browser.http.post(
                "/v2/web/login",
                data={"csrf": token, "username": "ada", "password": PASSWORD, field: target},
                headers={"Origin": ORIGIN},
            )
            assert (done.status_code, done.headers["location"]) == (303, "/"), target


async def test_links_name_us_whatever_the_request_says(town: Town) -> None:
    """A poisoned Host header must not lead a mail's link elsewhere. ASVS 4.1.3."""
    await town.settle("ada")
    browser = town.browser()
    token = csrf_of(await browser.get("/v2/web/forgot"))
    done = await browser.http.post(
        "/v2/web/forgot",
        data={"csrf": token, "username": "ada"},
        headers={"Origin": ORIGIN, "Host": "evil.example", "X-Forwarded-Host": "evil.example"},
    )
    assert done.status_code == 200
    await town.post.delivered()
    text = town.mailbox.messages[-1].get_content()
    assert "evil" not in text
    assert f"{ORIGIN}/v2/web/reset?link=" in text


async def test_what_people_write_is_text(town: Town) -> None:
    """ASVS 1.2.1: markup in names stays what it is; and no mail gets another header."""
    bad = "<script>alert(1)</script>\"'{{7*7}}"
    browser = await town.settle("ada")
    await browser.send("/account/profile", name=bad, organization=bad, email="ada@mail.example")
    for path in ("/account", "/account/profile"):
        page = await browser.get(path)
        assert "<script>" not in page.text
        assert "{{7*7}}" in page.text, "a template of ours does not run in it"
    login = await town.browser().send("/v2/web/login", username=bad, password=bad)
    assert "<script>" not in login.text
    answer = await browser.send(
        "/account/profile", name="Ada", organization="", email="a@b.example\r\nBcc: x@evil.example"
    )
    assert answer.status_code == 422


async def test_nobody_makes_themselves_more_than_invited(town: Town) -> None:
    """Mass assignment. ASVS 15.3.3."""
    browser: Browser = town.browser()
    done = await browser.send(
        await town.invite(),
        "/v2/web/welcome",
        username="eve",
        name="Eve",
        email="eve@mail.example",
        password=PASSWORD,
        administrator="true",
        email_verified="true",
        account_id=str(uuid4()),
    )
    assert done.status_code == 303
    [row] = await town.rows(
        "SELECT a.administrator, i.email_verified FROM account a"
        " JOIN identity i ON i.account_id = a.id"
    )
    assert row == {"administrator": False, "email_verified": False}


async def test_suspended_people_are_out(town: Town) -> None:
    """ASVS 7.4.2; and only who knows the password learns of it."""
    browser = await town.settle("ada")
    await town.run("UPDATE account SET suspended_at = now()")
    assert (await browser.http.get("/account")).status_code == 303
    stranger = town.browser()
    assert "not right" in said(await stranger.log_in("ada", "wrong password!"))
    assert "suspended" in said(await stranger.log_in("ada"))
    assert "__Host-towpath-session" not in stranger.cookies
