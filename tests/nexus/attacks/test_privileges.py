"""Attempts to reach more than was allowed, or to learn more than one may.

Each names the section of RFC 9700 (Best Current Practice for OAuth 2.0 Security), or what else
describes it.
"""

from typing import Any
from uuid import UUID

import httpx

from plugins.nexus import REDIRECT, Nexus, pkce, request
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.scopes import DEPTH_LIMIT, GROUPS_ALL, MANAGE_PROJECTS, TRANSFER_ALL
from towpath.nexus.store import scopes
from towpath.nexus.store.scopes import Dependency

SCOPES = "https://auth.globus.org/scopes"


async def a_scope(
    nexus: Nexus, owner: ClientSecret, *, domains: list[str] | None = None, needs: str | None = None
) -> str:
    """Register one, as a developer would; its string."""
    string = f"{SCOPES}/{owner.client_id}/do"
    words = {"name": "Do", "description": "Do it", "required_domains": domains or []}
    async with nexus.database.transaction() as connection:
        made = await scopes.add(
            connection, client_id=owner.client_id, scope_string=string, fields=words
        )
        if needs is not None:
            (other,) = await scopes.by_string(connection, [needs])
            one = Dependency(made, other.id, optional=False, requires_refresh_token=True)
            await scopes.set_dependencies(connection, made, [one])
    return string


async def test_a_scope_for_some_domains_is_not_reached_through_another(nexus: Nexus) -> None:
    """RFC 9700, 2.3: anybody may register a scope that depends on it."""
    guarded = await a_scope(
        nexus, await nexus.client(client_type="resource_server"), domains=["lab.example"]
    )
    mine = await nexus.client(
        client_type="hybrid_confidential_client_resource_server", redirect_uris=[REDIRECT]
    )
    way_round = await a_scope(nexus, mine, needs=guarded)
    for person, missing in (
        (await nexus.person("eve", "people.example"), True),
        (await nexus.person("ada", "lab.example"), False),
    ):
        _, cookie = await nexus.log_in(person)
        for scope in (guarded, way_round):
            async with nexus.browser(cookie) as browser:
                page = await browser.get("/v2/oauth2/authorize", params=request(mine, scope=scope))
            to_login = page.headers.get("location", "").startswith("/v2/web/login")
            assert to_login is missing, (person.username, scope)
    for scope in (guarded, way_round):  # nor is a client of that domain
        answer = await nexus.post("token", mine, grant_type="client_credentials", scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


async def test_an_application_is_not_told_of_groups_for_nothing(nexus: Nexus) -> None:
    """RFC 7662, 5: somebody who allowed a login has not allowed that their private groups are
    told. The deployment's own services learn them, to check access.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope=f"openid {TRANSFER_ALL}")
    (transfer,) = document["other_tokens"]
    for who, token, told in (
        (client, document["access_token"], False),
        (client, transfer["access_token"], False),
        (nexus.transfer, transfer["access_token"], True),
    ):
        seen = await nexus.post("token/introspect", who, token=token, include="groups")
        assert seen.json()["active"]
        assert ("groups" in seen.json()) is told


async def test_a_domain_that_is_no_text(nexus: Nexus) -> None:
    """OWASP ASVS 5.0, 2.2.1: the database takes no NUL, and the answer is no failure of ours."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    answer = await nexus.answer(None, client, session_required_single_domain="a\0b")
    assert answer["error"] == "invalid_request"


async def test_a_program_that_registered_itself_is_nobody(nexus: Nexus) -> None:
    """RFC 7591, 5: registration is open, so that anybody has such a client. It acts for who logs in
    with it; by itself it gets no tokens, finds nobody, and leads nobody elsewhere under its name.
    """
    template = "95fdeba8-fac2-42bd-a357-e068d82ff78e"
    made = await nexus.http.post("/v2/api/clients", json={"client": {"template_id": template}})
    document = made.json()
    client_id = UUID(document["client"]["id"])
    program = ClientSecret(client_id, document["included"]["client_credential"]["secret"])

    async def call(method: str, path: str, body: Any = None) -> int:
        auth = httpx.BasicAuth(str(client_id), program.client_secret)
        answer = await nexus.http.request(method, f"/v2/api/{path}", json=body, auth=auth)
        return answer.status_code

    answer = await nexus.post(
        "token", program, grant_type="client_credentials", scope=f"{TRANSFER_ALL} {GROUPS_ALL}"
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    ada = await nexus.person()
    assert await call("GET", f"identities?usernames={ada.username}") == 403
    assert await call("GET", f"identities/{ada.identity_id}") == 403
    assert await call("GET", "identities?usernames=x@people.example&provision=true") == 403
    own = f"clients/{client_id}"
    elsewhere = {"client": {"name": "Bank", "redirect_uris": ["https://evil.example/"]}}
    assert await call("PUT", own, elsewhere) == 403
    words = {"name": "Do", "description": "Do it", "scope_suffix": "do"}
    assert await call("POST", f"{own}/scopes", {"scope": words}) == 403
    assert await call("POST", f"{own}/credentials", {"credential": {"name": "more"}}) == 403
    done = await nexus.log_in_at(program, ada, redirect_uri="http://localhost:1234")
    assert done["access_token"], "who logs in with it has what they allowed"
    assert await call("DELETE", own) == 200, "as `globus logout` does"


async def test_a_child_client_does_not_pass_for_the_operators(nexus: Nexus) -> None:
    """RFC 6819, 4.4.1.4: the page that asks says whose application it is, as it is known here."""
    owner = await nexus.client(redirect_uris=[REDIRECT])
    eve = await nexus.person("eve")
    _, cookie = await nexus.log_in(eve)
    token = (await nexus.log_in_at(owner, cookie=cookie, scope=MANAGE_PROJECTS))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}

    async def made(what: str, headers: dict[str, str], auth: Any = None, **fields: Any) -> Any:
        body = {what: fields}
        answer = await nexus.http.post(f"/v2/api/{what}s", json=body, headers=headers, auth=auth)
        assert answer.status_code == 201, answer.text
        return answer.json()[what]

    fields = {"display_name": "Mallory", "contact_email": "m@evil.example"}
    project = await made("project", bearer, **fields, admin_ids=[str(eve.identity_id)])
    parent = await made("client", bearer, name="Parent", project=project["id"], public_client=False)
    answer = await nexus.http.post(
        f"/v2/api/clients/{parent['id']}/credentials",
        json={"credential": {"name": "one"}},
        headers=bearer,
    )
    auth = httpx.BasicAuth(parent["id"], answer.json()["credential"]["secret"])
    fields = {"name": "Towpath", "redirect_uris": [REDIRECT]}
    child = await made("client", {}, auth, **fields, public_client=True)
    async with nexus.browser(cookie) as browser:
        asked = request(ClientSecret(UUID(child["id"]), ""), **pkce())
        page = await browser.get("/v2/oauth2/authorize", params=asked)
    assert "m@evil.example" in page.text
    assert "the people who run this service" not in page.text


async def test_a_chain_of_scopes_that_goes_deeper_than_anybody_reads(nexus: Nexus) -> None:
    """OWASP ASVS 5.0, 2.2.1: who registers scopes decides how long it is; it is cut, and no failure
    of ours.
    """
    below = None
    for _ in range(DEPTH_LIMIT + 3):
        below = await a_scope(nexus, await nexus.client(client_type="resource_server"), needs=below)
    assert below is not None
    client = await nexus.client(redirect_uris=[REDIRECT])
    document = await nexus.log_in_at(client, scope=below)
    assert document["scope"] == below
