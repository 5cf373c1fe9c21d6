"""Attacks on the authorization code flow, on tokens and on clients.

Each names the section of RFC 9700 (Best Current Practice for OAuth 2.0 Security), or what else
describes it.
"""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from plugins.nexus import (
    ISSUER,
    REDIRECT,
    VERIFIER,
    Nexus,
    answered,
    consent,
    pkce,
    request,
)
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.oauth.grants import challenge_of
from towpath.nexus.scopes import GROUPS_ALL, MANAGE_PROJECTS, TRANSFER_ALL
from towpath.nexus.store import authorizations, tokens

CLI = "95fdeba8-fac2-42bd-a357-e068d82ff78e"


async def exchange(
    nexus: Nexus, client: ClientSecret | None, code: str, **fields: str
) -> httpx.Response:
    """At the token endpoint; a field given as '' is left out."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | fields
    return await nexus.post("token", client, **{name: one for name, one in form.items() if one})


def is_invalid_grant(answer: httpx.Response) -> bool:
    """The one answer to a code or token that is not good: who guesses learns nothing."""
    return (answer.status_code, answer.json()["error"]) == (401, "invalid_grant")


async def active(nexus: Nexus, client: ClientSecret, token: str) -> bool:
    answer = await nexus.post("token/validate", client, token=token)
    return bool(answer.json()["active"])


async def a_cookie(nexus: Nexus, name: str = "ada") -> str:
    _, cookie = await nexus.log_in(await nexus.person(name))
    return cookie


async def acts(nexus: Nexus, kind: str) -> int:
    """How many the audit log has, sealed or not."""
    async with nexus.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM audit WHERE kind = %(kind)s)"
            " + (SELECT count(*) FROM audit_pending WHERE kind = %(kind)s) AS n",
            {"kind": kind},
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def test_pkce_is_not_left_out_or_weakened(nexus: Nexus) -> None:
    """RFC 9700, 2.1.1 and 4.8: a public client without a challenge, ``plain``, and the method left
    out (which would be ``plain``) are refused when it begins.
    """
    public = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    confidential = await nexus.client(redirect_uris=[REDIRECT])
    plain = {"code_challenge": VERIFIER, "code_challenge_method": "plain"}
    for client, asked in (
        (public, {}),
        (public, plain),
        (confidential, plain),
        (public, {"code_challenge": challenge_of(VERIFIER)}),
        (public, pkce() | {"code_challenge_method": "S512"}),
        (public, pkce() | {"code_challenge": "too-short"}),
        (confidential, {"code_challenge_method": "S256"}),
    ):
        assert (await nexus.answer(None, client, **asked))["error"] == "invalid_request"


async def test_a_verifier_without_a_challenge_is_refused(nexus: Nexus) -> None:
    """RFC 9700, 4.8.2: somebody took the challenge out of the request on its way."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    code = (await nexus.answer(await a_cookie(nexus), client))["code"]
    assert is_invalid_grant(await exchange(nexus, client, code, code_verifier=VERIFIER))


async def test_a_code_is_of_no_use_without_its_verifier(nexus: Nexus) -> None:
    """RFC 9700, 4.5.3.1 (code injection): also for a client with a secret that has begun with
    PKCE.
    """
    cookie = await a_cookie(nexus)
    public = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    confidential = await nexus.client(redirect_uris=[REDIRECT])
    for client, login, more in (
        (public, None, {"client_id": str(public.client_id)}),
        (confidential, confidential, {}),
    ):
        code = (await nexus.answer(cookie, client, **pkce()))["code"]
        for wrong in ("", "x" * 43, VERIFIER + "x", VERIFIER[:42], challenge_of(VERIFIER)):
            assert is_invalid_grant(
                await exchange(nexus, login, code, code_verifier=wrong, **more)
            ), wrong
        done = await exchange(nexus, login, code, code_verifier=VERIFIER, **more)
        assert done.status_code == 200, "and none of that used it up"


async def test_a_code_that_comes_again_ends_all_that_came_of_it(nexus: Nexus) -> None:
    """RFC 9700, 4.5 and RFC 6749, 4.1.2: code replay; of tokens of services, too."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    code = (await nexus.answer(await a_cookie(nexus), client, access_type="offline"))["code"]
    before = await acts(nexus, "code.replayed")
    document = (await exchange(nexus, client, code)).json()
    tokens = document["access_token"], document["refresh_token"]
    assert [await active(nexus, client, one) for one in tokens] == [True, True]
    assert is_invalid_grant(await exchange(nexus, client, code))
    assert [await active(nexus, client, one) for one in tokens] == [False, False]
    assert is_invalid_grant(
        await nexus.post("token", client, grant_type="refresh_token", refresh_token=tokens[1])
    )
    assert await acts(nexus, "code.replayed") == before + 1


async def test_of_two_who_come_with_a_code_at_once_nobody_stays(nexus: Nexus) -> None:
    """RFC 9700, 4.5: a race does not get round the rule that a code is good once."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    code = (await nexus.answer(await a_cookie(nexus), client))["code"]
    answers = await asyncio.gather(*(exchange(nexus, client, code) for _ in range(4)))
    (good,) = [one for one in answers if one.status_code == 200]
    assert not await active(nexus, client, good.json()["access_token"])


async def test_a_code_is_good_for_a_minute(nexus: Nexus) -> None:
    """RFC 6749, 4.1.2 (ten minutes at most); RFC 9700, 4.2: codes leak through histories and logs.
    One that a person copies by hand lives for the ten.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    cookie = await a_cookie(nexus)
    assert authorizations.CODE_LIFETIME_S == 60
    for age, status in ((58, 200), (61, 401)):
        code = (await nexus.answer(cookie, client))["code"]
        async with nexus.database.connection() as connection:
            await connection.execute(
                "UPDATE authorization_code SET expires_at = expires_at - make_interval(secs => %s)"
                " WHERE used_at IS NULL",
                (age,),
            )
        assert (await exchange(nexus, client, code)).status_code == status


async def test_another_clients_code(nexus: Nexus) -> None:
    """RFC 9700, 4.5: a code is bound to the client that it was made for. And a stranger's attempt
    does not take it from that one.
    """
    client, other = (
        await nexus.client(redirect_uris=[REDIRECT]),
        await nexus.client(redirect_uris=[REDIRECT]),
    )
    public = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    code = (await nexus.answer(await a_cookie(nexus), client))["code"]
    assert is_invalid_grant(await exchange(nexus, other, code))
    named = {"client_id": str(public.client_id)}
    assert is_invalid_grant(await exchange(nexus, None, code, **named))
    assert is_invalid_grant(await exchange(nexus, None, code, code_verifier=VERIFIER, **named))
    assert (await exchange(nexus, client, code)).status_code == 200


async def test_the_redirect_uri_is_compared_as_text(nexus: Nexus) -> None:
    """RFC 9700, 2.1 and 4.1.3: exact match, and no redirect anywhere before that is right."""
    client = await nexus.client(redirect_uris=[REDIRECT, "http://localhost:8000/cb"])
    for uri in (
        "",
        "https://evil.example/callback",
        f"{REDIRECT}/",
        f"{REDIRECT}/../callback",
        f"{REDIRECT}?x=1",
        f"{REDIRECT}#part",
        f"{REDIRECT}%2e",
        "https://app.example/Callback",
        "https://APP.example/callback",
        "https://app.example:443/callback",
        "https://app.example.evil.example/callback",
        "https://app.example@evil.example/callback",
        "https://evil.example\\@app.example/callback",
        "https://app.example\t/callback",
        "http://app.example/callback",
        "//app.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://localhost:8001/cb",
        f"{ISSUER}/v2/web/auth-code",
    ):
        async with nexus.browser() as browser:
            page = await browser.get(
                "/v2/oauth2/authorize", params=request(client, redirect_uri=uri)
            )
        assert page.status_code == 400, uri
        assert "location" not in page.headers
        assert not uri or uri not in page.text, "nor a link to it"


async def test_the_loopback_rule_is_for_programs_and_their_paths(nexus: Nexus) -> None:
    """RFC 8252, 7.3 (any port) and RFC 9700, 2.1: nothing but the port may differ."""
    program = await nexus.client(
        client_type="public_installed_client", redirect_uris=["http://127.0.0.1/cb"]
    )
    for uri, status in (
        ("http://127.0.0.1:50123/cb", 303),
        ("http://127.0.0.1/cb", 303),
        ("http://127.0.0.1:50123/", 400),
        ("http://127.0.0.1:50123/cb?next=https://evil.example", 400),
        ("http://localhost:50123/cb", 400),
        ("http://127.0.0.1.evil.example:50123/cb", 400),
        ("http://user@127.0.0.1:50123/cb", 400),
        ("http://127.0.0.1:50123@evil.example/cb", 400),
        ("http://127.1:50123/cb", 400),
        ("http://127.0.0.1:+1/cb", 400),
        ("https://127.0.0.1:50123/cb", 400),
    ):
        async with nexus.browser() as browser:
            asked = request(program, redirect_uri=uri, **pkce())
            page = await browser.get("/v2/oauth2/authorize", params=asked)
        assert page.status_code == status, uri


async def test_the_redirect_uri_of_the_code_is_the_one_it_went_to(nexus: Nexus) -> None:
    """RFC 6749, 4.1.3 and RFC 9700, 4.1: one registered place's code is not changed at another."""
    second = "https://app.example/second"
    client = await nexus.client(redirect_uris=[REDIRECT, second])
    code = (await nexus.answer(await a_cookie(nexus), client))["code"]
    for uri in (second, "", f"{REDIRECT}/"):
        assert is_invalid_grant(await exchange(nexus, client, code, redirect_uri=uri))


async def test_state_and_nonce_come_back_as_they_were(nexus: Nexus) -> None:
    """RFC 9700, 4.7 (CSRF) and 4.5.3.2: what binds the answer to the application's own session is
    neither lost nor changed, also where it looks like something else.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    cookie = await a_cookie(nexus)
    state = "a&code=stolen&b=%0d%0aSet-Cookie: x=1#?é"
    answer = await nexus.answer(cookie, client, state=state)
    assert answer["state"] == state
    assert answer["code"] != "stolen"
    denied = await nexus.answer(cookie, client, state=state, prompt="none", scope="email")
    assert (denied["state"], denied["error"]) == (state, "consent_required")
    for name in ("state", "nonce"):
        async with nexus.browser(cookie) as browser:
            page = await browser.get(
                "/v2/oauth2/authorize", params=[*request(client).items(), (name, "1"), (name, "2")]
            )
        assert answered(page)["error"] == "invalid_request", "two of them"


async def test_an_answer_says_whose_it_is(nexus: Nexus) -> None:
    """RFC 9700, 4.4 (mix-up) and RFC 9207: ``iss`` in every answer, also in errors, the same as in
    the metadata.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    metadata = (await nexus.http.get("/.well-known/openid-configuration")).json()
    assert metadata["authorization_response_iss_parameter_supported"] is True
    cookie = await a_cookie(nexus)
    for asked in ({}, {"scope": "no:such"}, {"prompt": "none", "scope": "email"}):
        assert (await nexus.answer(cookie, client, **asked))["iss"] == metadata["issuer"] == ISSUER
    async with nexus.browser(cookie) as browser:
        asked = request(client) | {"iss": "https://evil.example"}
        page = await browser.get("/v2/oauth2/authorize", params=asked)
        assert answered(page)["iss"] == ISSUER


async def test_a_refresh_token_that_comes_again(nexus: Nexus) -> None:
    """RFC 9700, 2.2.2 and 4.14.2: for a client without a secret it is replaced at each use, and an
    old one ends the grant, whoever has it.
    """
    client = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    before = await acts(nexus, "token.reused")
    document = await nexus.log_in_at(client, access_type="offline", **pkce())
    named = {"grant_type": "refresh_token", "client_id": str(client.client_id)}
    first = document["refresh_token"]
    second = (await nexus.post("token", None, refresh_token=first, **named)).json()
    assert second["refresh_token"] != first
    third = (await nexus.post("token", None, refresh_token=second["refresh_token"], **named)).json()
    assert is_invalid_grant(await nexus.post("token", None, refresh_token=first, **named))
    newest = await nexus.post("token", None, refresh_token=third["refresh_token"], **named)
    assert is_invalid_grant(newest), "the thief's, or the owner's: both are out"
    bearer = {"Authorization": f"Bearer {third['access_token']}"}
    assert (await nexus.http.get("/v2/oauth2/userinfo", headers=bearer)).status_code == 401
    assert await acts(nexus, "token.reused") == before + 1


async def test_of_two_who_refresh_at_once_one_is_a_thief(nexus: Nexus) -> None:
    """RFC 9700, 4.14.2: a race is reuse, too."""
    client = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, access_type="offline", **pkce())
    form = {
        "grant_type": "refresh_token",
        "client_id": str(client.client_id),
        "refresh_token": document["refresh_token"],
    }
    answers = await asyncio.gather(*(nexus.post("token", None, **form) for _ in range(3)))
    (good,) = [one for one in answers if one.status_code == 200]
    again = form | {"refresh_token": good.json()["refresh_token"]}
    assert is_invalid_grant(await nexus.post("token", None, **again))


async def test_a_program_that_refreshes_in_a_loop_fills_no_table(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9700, 4.14.2: the latest ones are remembered; ASVS 15.1.3: and no more."""
    monkeypatch.setattr(tokens, "REPLACED_KEPT", 2)
    client = await nexus.client(client_type="public_installed_client", redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, access_type="offline", **pkce())
    named = {"grant_type": "refresh_token", "client_id": str(client.client_id)}
    had = [document["refresh_token"]]
    for _ in range(5):
        answer = await nexus.post("token", None, refresh_token=had[-1], **named)
        had.append(answer.json()["refresh_token"])
    async with nexus.database.connection() as connection:
        kept = [await tokens.find_any(connection, one) is not None for one in had]
    assert kept == [False] * 3 + [True] * 3
    assert is_invalid_grant(await nexus.post("token", None, refresh_token=had[-2], **named))
    newest = await nexus.post("token", None, refresh_token=had[-1], **named)
    assert is_invalid_grant(newest), "it came again: the login is over"


async def test_another_clients_refresh_token(nexus: Nexus) -> None:
    """RFC 9700, 4.14.2: bound to its client; a stranger's attempt does not end it."""
    client, other = await nexus.client(redirect_uris=[REDIRECT]), await nexus.client()
    token = (await nexus.log_in_at(client, access_type="offline"))["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": token}
    assert is_invalid_grant(await nexus.post("token", other, **form))
    public = await nexus.client(client_type="public_installed_client")
    named = {"client_id": str(public.client_id)}
    assert is_invalid_grant(await nexus.post("token", None, **form, **named))
    own = {"client_id": str(client.client_id)}
    assert (await nexus.post("token", None, **form, **own)).status_code == 401, "without its secret"
    assert (await nexus.post("token", client, **form)).json()["refresh_token"] == token


async def test_scopes_do_not_grow(nexus: Nexus) -> None:
    """RFC 9700, 2.3 and RFC 6749, 6: neither by refreshing, nor by asking the token endpoint, nor
    because something else was allowed before.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    person = await nexus.person()
    _, cookie = await nexus.log_in(person)
    wide = f"openid email {TRANSFER_ALL}"
    await nexus.log_in_at(client, cookie=cookie, scope=wide, access_type="offline")
    document = await nexus.log_in_at(client, cookie=cookie, access_type="offline")
    assert (document["scope"], document["other_tokens"]) == ("openid", [])
    form = {"grant_type": "refresh_token", "refresh_token": document["refresh_token"]}
    for scope in ("email", f"openid {TRANSFER_ALL}", MANAGE_PROJECTS):
        answer = await nexus.post("token", client, scope=scope, **form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    assert (await nexus.post("token", client, **form)).json()["scope"] == "openid"
    code = (await nexus.answer(cookie, client))["code"]
    assert (await exchange(nexus, client, code, scope=wide)).json()["scope"] == "openid"


async def test_a_token_for_another_service(nexus: Nexus) -> None:
    """RFC 9700, 2.3 and 4.9: a service that got a token can use it nowhere else, nor ask about
    tokens that are not for it, nor get dependent ones for them.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope=f"openid {TRANSFER_ALL}")
    (transfer,) = document["other_tokens"]
    bearer = {"Authorization": f"Bearer {transfer['access_token']}"}
    for path in ("/v2/oauth2/userinfo", "/v2/api/projects", "/v2/api/identities?ids="):
        assert (await nexus.http.get(path, headers=bearer)).status_code == 401
    seen = await nexus.post("token/introspect", nexus.transfer, token=document["access_token"])
    assert seen.json() == {"active": False}
    stranger = await nexus.client(client_type="resource_server")
    seen = await nexus.post("token/introspect", stranger, token=transfer["access_token"])
    assert seen.json() == {"active": False}
    form = {
        "grant_type": "urn:globus:auth:grant_type:dependent_token",
        "token": transfer["access_token"],
    }
    assert is_invalid_grant(await nexus.post("token", stranger, **form))


async def test_an_application_learns_no_more_by_introspection(nexus: Nexus) -> None:
    """RFC 9700, 2.3 and RFC 7662, 4: about its own token it is told what the scopes let it see."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    person = await nexus.person()
    include = "identity_set,identity_set_detail,groups"
    document = await nexus.log_in_at(client, person)
    seen = await nexus.post(
        "token/introspect", client, token=document["access_token"], include=include
    )
    told = seen.json()
    assert told["active"]
    assert (told["name"], told["email"]) == (None, None)
    assert not {"identity_set", "identities_set", "identity_set_detail", "groups"} & set(told)


async def test_a_service_gets_no_more_than_was_allowed(nexus: Nexus) -> None:
    """RFC 9700, 2.3: what its scope needs is what the person has seen. Nothing is allowed by the
    service alone, nor taken from what other clients were allowed.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope=f"{TRANSFER_ALL} {GROUPS_ALL}")
    tokens = {one["resource_server"]: one for one in (document, *document["other_tokens"])}
    form = {
        "grant_type": "urn:globus:auth:grant_type:dependent_token",
        "token": tokens["transfer.api.globus.org"]["access_token"],
    }
    answer = await nexus.post("token", nexus.transfer, **form)
    assert answer.json() == [], "it needs nothing"
    answer = await nexus.post("token", nexus.transfer, scope=GROUPS_ALL, **form)
    assert (answer.status_code, answer.json()["error"]) == (403, "dependent_consent_required")
    assert answer.json()["errors"][0]["unapproved_scopes"] == [GROUPS_ALL]


async def test_a_refresh_token_is_no_access_token(nexus: Nexus) -> None:
    """RFC 9700, 4.9 and RFC 6749, 1.5: a service that is shown one does not take it."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope=f"openid {TRANSFER_ALL}", access_type="offline")
    bearer = {"Authorization": f"Bearer {document['refresh_token']}"}
    assert (await nexus.http.get("/v2/oauth2/userinfo", headers=bearer)).status_code == 401
    (transfer,) = document["other_tokens"]
    seen = await nexus.post("token/introspect", nexus.transfer, token=transfer["refresh_token"])
    assert seen.json() == {"active": False}


async def test_a_request_belongs_to_its_browser(nexus: Nexus) -> None:
    """RFC 9700, 4.7 and 4.16: an address with somebody else's request in it does nothing in
    another browser, however the person there is logged in.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    victim = await a_cookie(nexus)
    async with nexus.browser() as attacker, nexus.browser(victim) as browser:
        page = await attacker.get("/v2/oauth2/authorize", params=request(client))
        place = page.headers["location"]
        assert place.startswith("/v2/web/login?request=")
        for path in ("resume", "cancel"):
            stolen = place.replace("/v2/web/login", f"/v2/oauth2/authorize/{path}")
            assert (await browser.get(stolen)).status_code == 410


async def test_nobody_allows_anything_by_a_strangers_form(nexus: Nexus) -> None:
    """RFC 9700, 4.16 and OWASP ASVS 5.0, 3.5.1: the consent needs the page's own token and origin,
    and is not shown in a frame.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    async with nexus.browser(await a_cookie(nexus)) as browser:
        page = await browser.get("/v2/oauth2/authorize", params=request(client))
        assert page.headers["x-frame-options"] == "DENY"
        assert (await consent(browser, page, csrf="0" * 64)).status_code == 403
        browser.headers["Origin"] = "https://evil.example"
        assert (await consent(browser, page)).status_code == 403
        browser.headers["Origin"] = ISSUER
        assert "code" in answered(await consent(browser, page))
        assert (await consent(browser, page)).status_code == 410, "and only once"


@pytest.mark.parametrize("how", ["login", "logout", "code page"])
async def test_nothing_from_outside_becomes_a_place_to_go(nexus: Nexus, how: str) -> None:
    """RFC 9700, 4.11: our pages are no open redirectors, with whatever parameter."""
    evil = "https://evil.example/"
    names = ("to", "request", "redirect_uri", "redirect", "next", "return_to", "url", "continue")
    path = {
        "login": "/v2/web/login",
        "logout": "/v2/web/logout",
        "code page": "/v2/web/auth-code",
    }[how]
    for name in names:
        answer = await nexus.http.get(path, params={name: evil})
        assert "evil.example" not in answer.headers.get("location", "")
        assert "evil.example" not in answer.text


async def test_an_error_goes_nowhere_but_to_the_registered_place(nexus: Nexus) -> None:
    """RFC 9700, 4.11.2: an unknown client, or a wrong place, is told to the person."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    for asked in (
        request(client, client_id=str(uuid4())),
        request(client, client_id="x"),
        request(client, client_id=""),
        request(client, redirect_uri="https://evil.example", scope="no:such"),
    ):
        answer = await nexus.http.get("/v2/oauth2/authorize", params=asked)
        assert answer.status_code == 400
        assert "location" not in answer.headers
    twice: list[Any] = [*request(client).items(), ("redirect_uri", "https://evil.example")]
    answer = await nexus.http.get("/v2/oauth2/authorize", params=twice)
    assert answer.status_code == 400


async def test_a_client_is_not_another_one(nexus: Nexus) -> None:
    """RFC 9700, 2.5 and RFC 6749, 2.3: a client with a secret must show it, once, and its own."""
    client, other = await nexus.client(), await nexus.client()
    before = await acts(nexus, "client.refused")
    form = {"grant_type": "client_credentials", "scope": "openid"}
    for login, more, status in (
        (None, {"client_id": str(client.client_id)}, 401),
        (None, {"client_id": str(client.client_id), "client_secret": ""}, 401),
        (None, {"client_id": str(client.client_id), "client_secret": other.client_secret}, 401),
        (None, {"client_id": "\0", "client_secret": "x"}, 401),
        (client, {"client_id": str(other.client_id)}, 400),
        (client, {"client_secret": client.client_secret}, 400),
        (client, {}, 200),
        (None, {"client_id": str(client.client_id), "client_secret": client.client_secret}, 200),
    ):
        answer = await nexus.post("token", login, **form, **more)
        assert answer.status_code == status, more
    assert await acts(nexus, "client.refused") == before + 2, "told, of clients that exist"
    public = await nexus.client(client_type="public_installed_client")
    answer = await nexus.post("token", None, client_id=str(public.client_id), **form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


async def test_a_person_who_is_gone_has_no_tokens(nexus: Nexus) -> None:
    """RFC 9700, 4.14.2 and 2.2: ending a login, a session's logins or a client's ends all tokens at
    once, those that services hold, too.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, access_type="offline")
    form = {"grant_type": "refresh_token", "refresh_token": document["refresh_token"]}
    renewed = (await nexus.post("token", client, **form)).json()
    answer = await nexus.post("token/revoke", None, token=document["refresh_token"], client_id=CLI)
    assert (answer.status_code, answer.json()) == (200, {"active": False})
    for token in (document["access_token"], renewed["access_token"], document["refresh_token"]):
        assert not await active(nexus, client, token)
    assert is_invalid_grant(await nexus.post("token", client, **form))


async def test_a_program_that_registered_itself_is_no_place_for_codes(nexus: Nexus) -> None:
    """RFC 9700, 4.1 and RFC 7591, 5: anybody can register one, so it can send people nowhere but to
    their own computer, and its pages do not carry the name that it gave itself.
    """
    body = {"client": {"template_id": CLI, "name": "Your bank"}}
    made = (await nexus.http.post("/v2/api/clients", json=body)).json()
    program = ClientSecret(made["client"]["id"], made["included"]["client_credential"]["secret"])
    auth = httpx.BasicAuth(str(program.client_id), program.client_secret)
    place = f"/v2/api/clients/{program.client_id}"
    evil = {"redirect_uris": ["https://evil.example/cb"]}
    for method, path, body in (
        ("PUT", place, {"client": evil}),
        ("PUT", place, {"client": {"name": "Your bank"}}),
        ("POST", "/v2/api/clients", {"client": {"name": "x", "public_client": True} | evil}),
        (
            "POST",
            f"{place}/scopes",
            {"scope": {"name": "n", "description": "d", "scope_suffix": "s"}},
        ),
    ):
        answer = await nexus.http.request(method, path, json=body, auth=auth)
        assert answer.status_code in (400, 403), path
    async with nexus.browser(await a_cookie(nexus)) as browser:
        asked = request(program, redirect_uri="http://localhost:50123")
        page = await browser.get("/v2/oauth2/authorize", params=asked)
        assert page.status_code == 200
        assert "Your bank" not in page.text
        page = await browser.get(
            "/v2/oauth2/authorize", params=asked | {"redirect_uri": "https://evil.example/cb"}
        )
        assert page.status_code == 400
