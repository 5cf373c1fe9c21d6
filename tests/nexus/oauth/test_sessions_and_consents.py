"""Session requirements and consents over the routes, and what services see of both."""

from typing import Any
from uuid import UUID, uuid4

import httpx

from plugins.nexus import PROVIDER, REDIRECT, Nexus, answered, consent, request
from towpath.nexus.scopes import TRANSFER_ALL, VIEW_CONSENTS
from towpath.nexus.store import accounts, identities, policies, projects, sessions
from towpath.nexus.well_known import TRANSFER_ACTION, may_depend

TIMERS = "524230d7-ea86-4a52-8312-86065a9e0417"
TIMER = f"https://auth.globus.org/scopes/{TIMERS}/timer"


async def a_policy(nexus: Nexus, **fields: Any) -> str:
    async with nexus.database.transaction() as connection:
        project = await projects.add(
            connection,
            {"display_name": "p", "contact_email": "p@x", "admin_ids": [], "admin_group_ids": []},
        )
        usual = {"project_id": project, "display_name": "Crew", "description": "The crew"}
        return str(await policies.add(connection, usual | fields))


async def a_second_identity(nexus: Nexus, account_id: UUID) -> UUID:
    made = uuid4()
    async with nexus.database.transaction() as connection:
        await identities.add_identity(
            connection, identity_id=made, username="ada@uni.example", provider=PROVIDER
        )
        await accounts.link(connection, account_id=account_id, identity_id=made)
    return made


async def test_each_requirement_holds_until_it_is_met(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    second = await a_second_identity(nexus, person.account_id)
    session, cookie = await nexus.log_in(person)
    await nexus.answer(cookie, client)

    async def second_logs_in() -> None:
        async with nexus.database.connection() as connection:
            await sessions.authenticated(
                connection, session, second, provider_id=PROVIDER, amr=["pwd"]
            )

    async def passkey() -> None:
        await nexus.log_in(person, session=session, amr=("hwk", "user", "mfa"))

    strict = await a_policy(nexus, required_mfa=True)
    theirs = await a_policy(nexus, domain_constraints_include=["uni.example"])
    for asked, words, remedy in (
        ({"session_required_identities": str(second)}, "ada@uni.example", second_logs_in),
        ({"session_required_single_domain": "uni.example"}, "uni.example", second_logs_in),
        ({"session_required_policies": theirs}, "uni.example", second_logs_in),
        ({"session_required_mfa": "True"}, "second factor", passkey),
        ({"session_required_policies": strict}, "second factor", passkey),
    ):
        async with nexus.database.connection() as connection:
            await connection.execute("DELETE FROM session_authentication")
        await nexus.log_in(person, session=session)
        async with nexus.browser(cookie) as browser:
            page = await browser.get("/v2/oauth2/authorize", params=request(client, **asked))
            place = page.headers["location"]
            assert place.startswith("/v2/web/login?request="), asked
            assert words in (await browser.get(place)).text
            resume = place.replace("/v2/web/login", "/v2/oauth2/authorize/resume")
            assert (await browser.get(resume)).headers["location"] == place, "not met by asking"
            await remedy()
            assert "code" in answered(await browser.get(resume)), asked


async def test_a_policy_that_is_changed_meanwhile_holds(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(person)
    policy = await a_policy(nexus)
    async with nexus.browser(cookie) as browser:
        asked = request(client, session_required_policies=policy)
        page = await browser.get("/v2/oauth2/authorize", params=asked)
        async with nexus.database.connection() as connection:
            await policies.update(connection, UUID(policy), {"required_mfa": True})
        done = await consent(browser, page)
        assert done.headers["location"].startswith("/v2/web/login")


async def test_introspection_tells_session_and_person(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    second = await a_second_identity(nexus, person.account_id)
    session, cookie = await nexus.log_in(person, amr=("pwd", "mfa"))
    document = await nexus.log_in_at(client, cookie=cookie, scope=f"openid {TRANSFER_ALL}")
    (transfer,) = document["other_tokens"]
    include = "session_info,identity_set,identity_set_detail,groups"

    async def seen() -> dict[str, Any]:
        answer = await nexus.post(
            "token/introspect", nexus.transfer, token=transfer["access_token"], include=include
        )
        found: dict[str, Any] = answer.json()
        return found

    found = await seen()
    assert found["sub"] == str(person.identity_id)
    assert found["identity_set"] == [str(person.identity_id), str(second)]
    assert [one["username"] for one in found["identity_set_detail"]] == [
        "ada@people.example",
        "ada@uni.example",
    ]
    assert found["groups"] == []
    assert found["session_info"]["session_id"] == str(session)
    login = found["session_info"]["authentications"][str(person.identity_id)]
    assert (login["idp"], login["amr"]) == (str(PROVIDER), ["pwd", "mfa"])
    async with nexus.database.connection() as connection:
        await sessions.end(connection, session)
    assert (await seen())["session_info"] == found["session_info"], "it was so when they logged in"


async def test_consents_add_up_and_are_told_to_their_owner(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(person)
    document = await nexus.log_in_at(client, cookie=cookie, scope=f"openid {VIEW_CONSENTS} {TIMER}")
    other = await nexus.client(redirect_uris=[REDIRECT])
    await nexus.log_in_at(other, cookie=cookie, scope="email")

    async def consents(token: str, identity: object, **query: str) -> httpx.Response:
        bearer = {"Authorization": f"Bearer {token}"}
        path = f"/v2/api/identities/{identity}/consents"
        return await nexus.http.get(path, headers=bearer, params=query)

    token = document["access_token"]
    found = (await consents(token, person.identity_id, all="False")).json()["consents"]
    by_name = {one["scope_name"]: one for one in found}
    assert set(by_name) == {"openid", VIEW_CONSENTS, TIMER, TRANSFER_ALL}
    root, below = by_name[TIMER], by_name[TRANSFER_ALL]
    assert below["dependency_path"] == [root["id"], below["id"]]
    assert (root["client"], below["client"]) == (str(client.client_id), TIMERS)
    assert (root["allows_refresh"], below["allows_refresh"]) == (False, True), "timers work alone"
    assert root["effective_identity"] == str(person.identity_id)
    every = (await consents(token, person.identity_id, all="True")).json()["consents"]
    assert {one["scope_name"] for one in every} == {*by_name, "email"}

    weak = (await nexus.log_in_at(client, cookie=cookie))["access_token"]
    assert (await consents(weak, person.identity_id, all="False")).status_code == 200
    assert (await consents(weak, person.identity_id, all="True")).status_code == 403
    eve = await nexus.person("eve")
    assert (await consents(token, eve.identity_id)).status_code == 403
    again = (await consents(token, person.identity_id)).json()["consents"]
    assert {one["id"] for one in again} == {one["id"] for one in found}, "nothing twice"


async def test_a_client_allows_itself(nexus: Nexus) -> None:
    """In client mode the CLI asks with what is missing, and goes on with its old token."""
    await nexus.token(f"{TIMER}[{TRANSFER_ALL}]")
    async with nexus.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS n FROM consent WHERE identity_id = %s AND auto_approved",
            (nexus.operator.client_id,),
        )
        assert await cursor.fetchone() == {"n": 2}


async def test_what_is_taken_back_is_gone_at_the_next_refresh(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, person, scope="openid email", access_type="offline")
    form = {"grant_type": "refresh_token", "refresh_token": document["refresh_token"]}
    async with nexus.database.connection() as connection:
        await connection.execute(
            "DELETE FROM consent USING scope s WHERE s.id = scope_id AND s.scope_string = 'email'"
        )
    assert (await nexus.post("token", client, **form)).json()["scope"] == "openid"
    async with nexus.database.connection() as connection:
        await connection.execute("DELETE FROM consent")
    assert (await nexus.post("token", client, **form)).status_code == 401


async def test_a_scope_without_refresh_tokens(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    async with nexus.database.connection() as connection:
        await connection.execute(
            "UPDATE scope SET allows_refresh_token = false WHERE scope_string = 'email'"
        )
    document = await nexus.log_in_at(client, person, scope="openid email", access_type="offline")
    assert document["scope"] == "openid email"
    form = {"grant_type": "refresh_token", "refresh_token": document["refresh_token"]}
    assert (await nexus.post("token", client, **form)).json()["scope"] == "openid"


async def test_what_is_over_does_not_stay(nexus: Nexus) -> None:
    """Grants whose tokens have expired or were revoked, codes that nobody fetched, old requests."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())

    async def rows() -> dict[str, int]:
        tables = ("oauth_grant", "token", "authorization_code", "authorization_request")
        found = {}
        async with nexus.database.connection() as connection:
            for table in tables:
                cursor = await connection.execute(f"SELECT count(*) AS n FROM {table}")  # type: ignore[arg-type]
                row = await cursor.fetchone()
                assert row is not None
                found[table] = int(row["n"])
        return found

    async with nexus.database.connection() as connection:
        await nexus.log_in_at(client, cookie=cookie)
        await nexus.answer(cookie, client)
        await nexus.answer(None, client, prompt="none")
        async with nexus.browser() as browser:
            await browser.get("/v2/oauth2/authorize", params=request(client))
        for table in ("token", "authorization_code", "authorization_request"):
            await connection.execute(f"UPDATE {table} SET expires_at = now() - interval '1 s'")  # type: ignore[arg-type]
        document = await nexus.log_in_at(client, cookie=cookie)
        assert await rows() == {
            "oauth_grant": 1,
            "token": 1,
            "authorization_code": 1,
            "authorization_request": 0,
        }
        await nexus.post("token/revoke", client, token=document["access_token"])
        assert set((await rows()).values()) == {0}


async def test_older_commands_name_an_action_below_timers(nexus: Nexus) -> None:
    """So `globus` 3.28 logs in; Timers has what it needs without it."""
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(person)
    scope = f"{VIEW_CONSENTS} {TIMER}[{TRANSFER_ACTION}[{TRANSFER_ALL}]]"
    document = await nexus.log_in_at(client, cookie=cookie, scope=scope)
    answer = await nexus.http.get(
        f"/v2/api/identities/{person.identity_id}/consents",
        headers={"Authorization": f"Bearer {document['access_token']}"},
        params={"all": "False"},
    )
    found = answer.json()["consents"]
    names = {one["id"]: one["scope_name"] for one in found}
    paths = {tuple(names[step] for step in one["dependency_path"]) for one in found}
    assert paths == {
        (VIEW_CONSENTS,),
        (TIMER,),
        (TIMER, TRANSFER_ALL),
        (TIMER, TRANSFER_ACTION),
        (TIMER, TRANSFER_ACTION, TRANSFER_ALL),
    }
    assert not may_depend(TRANSFER_ALL, TRANSFER_ACTION), "below nothing else"
