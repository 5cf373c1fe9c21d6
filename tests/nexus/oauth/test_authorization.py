"""From an application's request to its tokens, over the pages."""

from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import KeySet

from plugins.nexus import ISSUER, REDIRECT, Nexus, answered, consent, pkce, request
from towpath.nexus.oauth.id_tokens import at_hash
from towpath.nexus.scopes import GROUPS_ALL, TRANSFER_ALL, VIEW_IDENTITY_SET

TIMER = "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"
ALL = (
    f"openid profile email {VIEW_IDENTITY_SET} {TRANSFER_ALL} {GROUPS_ALL} {TIMER}[{TRANSFER_ALL}]"
)


async def test_a_login_from_request_to_userinfo(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, person, scope=ALL, access_type="offline", nonce="n1")
    tokens = [document, *document["other_tokens"]]
    assert document["resource_server"] == "auth.globus.org"
    assert len({one["resource_server"] for one in tokens}) == 4
    assert all(one["refresh_token"] and one["state"] == "a state" for one in tokens)
    assert "id_token" not in document["other_tokens"][0]
    by_server = {one["resource_server"]: one["scope"] for one in tokens}
    assert by_server["524230d7-ea86-4a52-8312-86065a9e0417"] == TIMER, "without brackets"

    keys = KeySet.import_key_set((await nexus.http.get("/jwk.json")).json())
    token = jwt.decode(document["id_token"], keys, algorithms=["RS512"])
    claims = token.claims
    assert claims["iss"] == ISSUER
    assert claims["aud"] == str(client.client_id)
    assert claims["sub"] == str(person.identity_id)
    assert claims["nonce"] == "n1"
    assert claims["at_hash"] == at_hash(document["access_token"])
    assert claims["preferred_username"] == claims["email"] == person.username
    assert claims["amr"] == ["pwd"]
    assert claims["exp"] - claims["iat"] == 3600

    bearer = {"Authorization": f"Bearer {document['access_token']}"}
    answer = (await nexus.http.get("/v2/oauth2/userinfo", headers=bearer)).json()
    assert answer["identity_set"][0]["sub"] == claims["sub"]


async def test_claims_are_what_the_scopes_let_see(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client)
    bearer = {"Authorization": f"Bearer {document['access_token']}"}
    answer = await nexus.http.get("/v2/oauth2/userinfo", headers=bearer)
    assert set(answer.json()) == {"sub"}
    assert "refresh_token" not in document, "access_type was online"
    assert document["other_tokens"] == []


async def test_the_consent_page_says_who_asks_for_what(nexus: Nexus) -> None:
    person = await nexus.person("grace")
    client = await nexus.client(redirect_uris=[REDIRECT], name="Tide <tables>")
    _, cookie = await nexus.log_in(person)
    async with nexus.browser(cookie) as browser:
        asked = request(client, scope=f"openid {TIMER}", access_type="offline")
        page = await browser.get("/v2/oauth2/authorize", params=asked)
        assert page.status_code == 200
        for words in (
            "Tide &lt;tables&gt;",
            "grace@people.example",
            "app.example",
            "Manage your timers",
            "Timers may for this: Manage your data",
            "Also while you are not there",
        ):
            assert words in page.text
        policy = page.headers["content-security-policy"]
        assert "form-action 'self' https://app.example;" in policy
        assert "frame-ancestors 'none'" in policy
        done = await consent(browser, page)
        assert done.status_code == 303
        assert done.headers["referrer-policy"] == "no-referrer"
        answer = answered(done)
        assert answer["iss"] == ISSUER
        assert answer["state"] == "a state"
        # now it is known, and nobody is asked again; for more, they are
        again = await browser.get("/v2/oauth2/authorize", params=asked)
        assert answered(again)["code"] != answer["code"]
        for more in ({"scope": f"openid email {TIMER}"}, {"prompt": "consent"}):
            page = await browser.get("/v2/oauth2/authorize", params=asked | more)
            assert page.status_code == 200


async def test_a_person_says_no(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    answer = await nexus.answer(cookie, client, decision="deny")
    assert answer["error"] == "access_denied"
    assert (answer["state"], answer["iss"]) == ("a state", ISSUER)
    assert "code" not in answer
    async with nexus.database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) AS n FROM consent")
        assert await cursor.fetchone() == {"n": 0}


async def test_nobody_is_logged_in(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT], name="Tide tables")
    async with nexus.browser() as browser:
        page = await browser.get(
            "/v2/oauth2/authorize", params=request(client, session_message="Because.")
        )
        place = page.headers["location"]
        assert place.startswith("/v2/web/login?request=")
        login = await browser.get(place)
        assert "Tide tables" in login.text
        assert "Because." in login.text
        cancelled = await browser.get(place.replace("/v2/web/login", "/v2/oauth2/authorize/cancel"))
        assert answered(cancelled)["error"] == "access_denied"
        again = await browser.get(place.replace("/v2/web/login", "/v2/oauth2/authorize/resume"))
        assert again.status_code == 410, "a request is answered once"
    for silent in ({"prompt": "none"},):
        assert (await nexus.answer(None, client, **silent))["error"] == "login_required"


async def test_prompt_none_does_not_ask(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    assert (await nexus.answer(cookie, client, prompt="none"))["error"] == "consent_required"
    await nexus.answer(cookie, client)
    assert "code" in await nexus.answer(cookie, client, prompt="none")


async def test_a_fresh_login_is_one_after_the_request_began(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    session, cookie = await nexus.log_in(person)
    await nexus.answer(cookie, client)
    async with nexus.browser(cookie) as browser:
        page = await browser.get("/v2/oauth2/authorize", params=request(client, prompt="login"))
        place = page.headers["location"]
        assert place.startswith("/v2/web/login?request=")
        resume = place.replace("/v2/web/login", "/v2/oauth2/authorize/resume")
        assert (await browser.get(resume)).headers["location"] == place
        await nexus.log_in(person, session=session)
        assert "code" in answered(await browser.get(resume))


WRONG = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": ""}, "unsupported_response_type"),
    ({"response_mode": "form_post"}, "invalid_request"),
    ({"scope": ""}, "invalid_scope"),
    ({"scope": "no:such"}, "invalid_scope"),
    ({"scope": "openid]"}, "invalid_scope"),
    ({"scope": f"{GROUPS_ALL}[{TRANSFER_ALL}]"}, "invalid_scope"),
    ({"prompt": "none login"}, "invalid_request"),
    ({"prompt": "maybe"}, "invalid_request"),
    ({"max_age": "-1"}, "invalid_request"),
    ({"access_type": "sometimes"}, "invalid_request"),
    ({"session_required_identities": "ada"}, "invalid_request"),
    ({"session_required_policies": str(uuid4())}, "invalid_request"),
    ({"session_required_mfa": "perhaps"}, "invalid_request"),
    ({"session_required_single_domain": "a\0b"}, "invalid_request"),
    ({"session_required_single_domain": "a," * 30}, "invalid_request"),
    ({"scope": "a\0b"}, "invalid_scope"),
    ({"request": "eyJ"}, "request_not_supported"),
    ({"request_uri": "https://x.example"}, "request_uri_not_supported"),
    ({"session_message": "x" * 3000}, "invalid_request"),
    ({"state": "a\nb"}, "invalid_request"),
]


async def test_wrong_requests_are_told_to_the_application(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    for asked, error in WRONG:
        answer = await nexus.answer(None, client, **asked)
        assert (answer["error"], answer["iss"]) == (error, ISSUER), asked


async def test_the_code_page(nexus: Nexus) -> None:
    code = "Q" * 43
    page = await nexus.http.get("/v2/web/auth-code", params={"code": code})
    assert f'<code id="code">{code}</code>' in page.text
    page = await nexus.http.get("/v2/web/auth-code", params={"code": "<b>call 555-1234</b>"})
    assert "555" not in page.text


async def test_an_installed_program_asks_each_time(nexus: Nexus) -> None:
    """Anybody can say to be one (RFC 6749, 10.2)."""
    client = await nexus.client(client_type="public_installed_client")
    _, cookie = await nexus.log_in(await nexus.person())
    asked = request(client, redirect_uri=f"{ISSUER}/v2/web/auth-code", **pkce())
    async with nexus.browser(cookie) as browser:
        for _ in range(2):
            page = await browser.get("/v2/oauth2/authorize", params=asked)
            assert page.status_code == 200
            assert "you get a code to copy" in page.text
            assert "code" in answered(await consent(browser, page))


async def test_offline_access_is_access_type_offline(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope="openid offline_access")
    assert document["refresh_token"]
    assert document["scope"] == "openid"


async def test_what_was_not_shown_is_not_allowed(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    async with nexus.browser(cookie) as browser:
        page = await browser.get("/v2/oauth2/authorize", params=request(client))
        again = await consent(browser, page, shown="0" * 64)
        assert again.status_code == 200, "it is shown once more"
        assert "code" in answered(await consent(browser, again))
