"""Scopes of endpoints and collections: there for any id, and what Transfer finds out by them."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from globus_sdk.scopes.consents import ConsentForest

from plugins.nexus import REDIRECT, Nexus, answered, request
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.well_known import WEB_CLIENT, data_access_scope

SOME = UUID("5b8c7a1e-02c4-4c51-9d0a-6f4f6c1de0ab")
TIMERS = UUID("524230d7-ea86-4a52-8312-86065a9e0417")
TIMER = f"https://auth.globus.org/scopes/{TIMERS}/timer"


def manage(endpoint_id: object) -> str:
    return f"urn:globus:auth:scope:{endpoint_id}:manage_collections"


async def allowed(nexus: Nexus, *asked: tuple[UUID, ...]) -> list[bool]:
    names = ("client_id", "identity_id", "collection_id", "endpoint_id")
    document = {"asked": [dict(zip(names, map(str, one), strict=False)) for one in asked]}
    answer = await nexus.http.post(
        "/v2/api/data_access", json=document, auth=_basic(nexus.transfer)
    )
    assert answer.status_code == 200, answer.text
    found: list[bool] = answer.json()["allowed"]
    return found


def _basic(client: ClientSecret) -> httpx.BasicAuth:
    return httpx.BasicAuth(str(client.client_id), client.client_secret)


async def count(nexus: Nexus, table: str) -> int:
    async with nexus.database.connection() as connection:
        cursor = await connection.execute(f"SELECT count(*) AS n FROM {table}")  # type: ignore[arg-type]
        row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def test_a_login_for_an_endpoint_and_a_collection(nexus: Nexus) -> None:
    """As `globus login --gcs ENDPOINT:COLLECTION`, and as an application of a collection does."""
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    endpoint, collection = uuid4(), uuid4()
    asked = f"{manage(endpoint)}[{data_access_scope(collection)}]"
    https = f"https://auth.globus.org/scopes/{collection}/https"
    document = await nexus.log_in_at(
        client, person, scope=f"openid {asked} {https}", access_type="offline"
    )
    tokens = {one["resource_server"]: one for one in document["other_tokens"]}
    assert tokens[str(endpoint)]["scope"] == manage(endpoint)
    assert tokens[str(collection)]["scope"] == https
    assert all("refresh_token" in one for one in tokens.values())
    refreshed = await nexus.post(
        "token",
        client,
        grant_type="refresh_token",
        refresh_token=tokens[str(endpoint)]["refresh_token"],
    )
    assert refreshed.json()["resource_server"] == str(endpoint)

    consents = await nexus.http.get(
        f"/v2/api/identities/{person.identity_id}/consents",
        headers={"Authorization": f"Bearer {document['access_token']}"},
    )
    forest = ConsentForest(consents.json()["consents"])
    assert forest.meets_scope_requirements([asked])
    assert not forest.meets_scope_requirements([manage(uuid4())])


async def test_only_transfer_and_the_client_itself_learn_of_such_a_token(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    other = await nexus.client(client_type="resource_server")
    endpoint = uuid4()
    document = await nexus.log_in_at(client, person, scope=manage(endpoint))
    token = document["access_token"]

    async def seen(by: ClientSecret) -> dict[str, Any]:
        answer = await nexus.post("token/introspect", by, token=token, include="identity_set")
        found: dict[str, Any] = answer.json()
        return found

    known = await seen(nexus.transfer)
    assert (known["active"], known["scope"]) == (True, manage(endpoint))
    assert str(endpoint) in known["aud"]
    assert known["identity_set"] == [str(person.identity_id)]
    assert (await seen(client))["active"] is True
    assert await seen(other) == {"active": False}
    # of tokens for others' services Transfer learns nothing
    document = await nexus.log_in_at(client, person, scope="openid")
    token = document["access_token"]
    assert await seen(nexus.transfer) == {"active": False}


async def test_asking_leaves_nothing_until_somebody_allows_it(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    before = await count(nexus, "scope"), await count(nexus, "client")
    async with nexus.browser() as browser:
        page = await browser.get(
            "/v2/oauth2/authorize", params=request(client, scope=manage(uuid4()))
        )
        assert page.headers["location"].startswith("/v2/web/login?request=")
    assert (await count(nexus, "scope"), await count(nexus, "client")) == before
    scope = manage(uuid4())
    for _ in range(2):
        await nexus.token(scope)
    assert (await count(nexus, "scope"), await count(nexus, "client")) == (
        before[0] + 1,
        before[1] + 1,
    )


@pytest.mark.parametrize(
    "scope",
    [
        manage("nonsense"),
        manage(str(SOME).upper()),
        manage(TIMERS),
        f"{manage(SOME)}x",
        f"https://auth.globus.org/scopes/{SOME}/other",
        f"{TRANSFER_ALL}[https://auth.globus.org/scopes/{SOME}/https]",
        f"{data_access_scope(SOME)}[{data_access_scope(SOME)}]",
    ],
)
async def test_what_is_no_such_scope(nexus: Nexus, scope: str) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    async with nexus.browser() as browser:
        page = await browser.get("/v2/oauth2/authorize", params=request(client, scope=scope))
    assert answered(page)["error"] == "invalid_scope"
    done = await nexus.post("token", nexus.operator, grant_type="client_credentials", scope=scope)
    assert done.json()["error"] == "invalid_scope"


async def test_data_access_is_found_by_application_person_and_collection(nexus: Nexus) -> None:
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    other = await nexus.client(redirect_uris=[REDIRECT])
    collection, another = uuid4(), uuid4()
    _, cookie = await nexus.log_in(person)
    asked = (client.client_id, person.identity_id, collection)
    await nexus.log_in_at(client, cookie=cookie, scope=TRANSFER_ALL)
    # a token of the collection's own is another thing
    await nexus.log_in_at(client, cookie=cookie, scope=data_access_scope(collection))
    assert await allowed(nexus, asked) == [False]
    await nexus.log_in_at(
        client, cookie=cookie, scope=f"{TRANSFER_ALL}[*{data_access_scope(collection)}]"
    )
    assert await allowed(
        nexus,
        asked,
        (other.client_id, person.identity_id, collection),
        (client.client_id, uuid4(), collection),
        (client.client_id, person.identity_id, another),
        (WEB_CLIENT, person.identity_id, another),
    ) == [True, False, False, False, True]
    async with nexus.database.connection() as connection:
        await connection.execute("DELETE FROM consent")
    assert await allowed(nexus, asked) == [False]
    # and for who shares it, at the Manager of its endpoint
    endpoint = uuid4()
    below = f"{manage(endpoint)}[{data_access_scope(collection)}]"
    await nexus.log_in_at(client, cookie=cookie, scope=below)
    assert await allowed(nexus, asked, (*asked, endpoint), (*asked, uuid4())) == [
        False,
        True,
        False,
    ]


async def test_a_service_that_acts_for_a_person_needs_its_own(nexus: Nexus) -> None:
    """Timers' tokens for Transfer are Timers', and so is the consent below them."""
    person, client = await nexus.person(), await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(person)
    collection = uuid4()
    below = f"{TRANSFER_ALL}[*{data_access_scope(collection)}]"
    await nexus.log_in_at(client, cookie=cookie, scope=f"{TIMER} {below}")
    by_timers = (TIMERS, person.identity_id, collection)
    assert await allowed(nexus, by_timers) == [False]
    await nexus.log_in_at(client, cookie=cookie, scope=f"{TIMER}[{below}]")
    assert await allowed(nexus, by_timers) == [True]


async def test_a_client_allows_itself_with_the_token_that_it_has(nexus: Nexus) -> None:
    collection = uuid4()
    await nexus.token()
    own = nexus.operator.client_id
    assert await allowed(nexus, (own, own, collection)) == [False]
    await nexus.token(f"{TRANSFER_ALL}[*{data_access_scope(collection)}]")
    assert await allowed(nexus, (own, own, collection)) == [True]


async def test_only_services_may_ask(nexus: Nexus) -> None:
    one = dict.fromkeys(("client_id", "identity_id", "collection_id"), str(uuid4()))
    for client in (nexus.operator, await nexus.client()):
        answer = await nexus.http.post(
            "/v2/api/data_access", json={"asked": [one]}, auth=_basic(client)
        )
        assert answer.status_code == 403
    many = {"asked": [one] * 101}
    answer = await nexus.http.post("/v2/api/data_access", json=many, auth=_basic(nexus.transfer))
    assert answer.status_code == 400
