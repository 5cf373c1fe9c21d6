"""Attempts to reach more than was allowed, or to learn more than one may.

Each names the section of RFC 9700 (Best Current Practice for OAuth 2.0 Security), or what else
describes it.
"""

from plugins.nexus import REDIRECT, Nexus, request
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.scopes import TRANSFER_ALL
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
