"""Names of people who have not come yet, identity providers, and what became of accounts."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx

from plugins.nexus import DOMAIN, PROVIDER, Nexus
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.people import accounts as people
from towpath.nexus.store import accounts, identities, sessions, tokens
from towpath.platform.database import Connection


async def get(
    nexus: Nexus, path: str, client: ClientSecret | None = None, **query: Any
) -> httpx.Response:
    caller = client or nexus.operator
    auth = httpx.BasicAuth(str(caller.client_id), caller.client_secret)
    return await nexus.http.get(f"/v2/api/{path}", params=query, auth=auth)


async def test_provision_names_whom_a_provider_could_vouch_for(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    nobodies = ("eve@nowhere.example", "x@clients.auth.globus.org", f"a b@{DOMAIN}", f"@{DOMAIN}")
    wanted = ",".join((f"Eve@{DOMAIN}", ada.username, *nobodies))
    before = (await get(nexus, "identities", usernames=wanted)).json()["identities"]
    assert [one["username"] for one in before] == [ada.username]
    first, again = [
        (await get(nexus, "identities", usernames=wanted, provision="true")).json()["identities"]
        for _ in range(2)
    ]
    assert {one["username"]: one["status"] for one in first} == {
        ada.username: "used",
        f"eve@{DOMAIN}": "unused",
    }
    assert sorted(one["id"] for one in first) == sorted(one["id"] for one in again)
    answer = await get(
        nexus, "identities", usernames=",".join(f"n{n}@x" for n in range(101)), provision="true"
    )
    assert answer.status_code == 400


async def test_a_caller_cannot_fill_the_database_with_names(nexus: Nexus) -> None:
    await nexus.person("ada")
    statuses = [
        (await get(nexus, "identities", usernames=f"n{n}@{DOMAIN}", provision="true")).status_code
        for n in range(101)
    ]
    assert statuses == [200] * 100 + [429]
    assert (
        await get(nexus, "identities", usernames=f"n1@{DOMAIN}", provision="true")
    ).status_code == 200


async def test_identity_providers(nexus: Nexus) -> None:
    await nexus.person("ada")
    everyone = (await get(nexus, "identity_providers")).json()["identity_providers"]
    assert {one["short_name"] for one in everyone} == {"clients", "People"}
    for query in ({"ids": str(PROVIDER)}, {"domains": f"x.example,{DOMAIN.upper()}"}):
        [one] = (await get(nexus, "identity_providers", **query)).json()["identity_providers"]
        assert one == {
            "id": str(PROVIDER),
            "name": "People",
            "short_name": "People",
            "domains": [DOMAIN],
            "alternative_names": [],
        }
    assert (await get(nexus, "identity_providers", ids="x")).status_code == 400
    assert (await nexus.http.get("/v2/api/identity_providers")).status_code == 401


async def test_services_learn_what_becomes_of_accounts(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    await nexus.person("bob")
    acts: list[Callable[[Connection, UUID], Awaitable[object]]] = [
        people.suspend,
        people.suspend,
        people.restore,
        people.delete,
    ]
    for act in acts:
        async with nexus.database.transaction() as connection:
            await act(connection, ada.account_id)
    changes = (await get(nexus, "account_changes", nexus.transfer)).json()["account_changes"]
    assert [one["what"] for one in changes] == ["suspended", "restored", "deleted"]
    assert all(one["identity_ids"] == [str(ada.identity_id)] for one in changes)
    last = changes[1]["n"]
    newer = (await get(nexus, "account_changes", nexus.transfer, after=last)).json()
    assert newer == {"account_changes": changes[2:]}
    assert (await get(nexus, "account_changes", nexus.operator)).status_code == 403
    for after in ("-1", "x", str(1 << 70)):
        assert (await get(nexus, "account_changes", nexus.transfer, after=after)).status_code == 400


async def test_a_suspension_ends_sessions_and_tokens_at_once(nexus: Nexus) -> None:
    ada, bob = await nexus.person("ada"), await nexus.person("bob")
    cookies = {}
    for one in (ada, bob):
        _, cookies[one.username] = await nexus.log_in(one)
        async with nexus.database.transaction() as connection:
            await tokens.add_grant(
                connection, client_id=nexus.operator.client_id, identity_id=one.identity_id
            )
    async with nexus.database.transaction() as connection:
        assert await people.suspend(connection, ada.account_id)
    async with nexus.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT identity_id FROM oauth_grant WHERE session_id IS NULL"
        )
        left = {row["identity_id"] for row in await cursor.fetchall()}
        assert ada.identity_id not in left
        assert bob.identity_id in left
        assert await sessions.find(connection, cookies[ada.username], idle_s=60) is None
        assert await sessions.find(connection, cookies[bob.username], idle_s=60) is not None


async def test_of_a_deleted_person_nothing_is_left_but_the_id(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    await nexus.log_in(ada)
    async with nexus.database.transaction() as connection:
        await people.delete(connection, ada.account_id)
    async with nexus.database.connection() as connection:
        assert await accounts.account(connection, ada.account_id) is None
        [tombstone] = await identities.identities_by_id(connection, [ada.identity_id])
        cursor = await connection.execute(
            "SELECT table_name AS name FROM information_schema.tables"
            " WHERE table_schema = 'nexus' AND table_type = 'BASE TABLE'"
        )
        tables = [row["name"] for row in await cursor.fetchall()]
        for table in tables:
            cursor = await connection.execute(
                f"SELECT count(*) AS n FROM {table} t WHERE t::text ILIKE '%%ada%%people.example%%'"  # type: ignore[arg-type]
            )
            assert await cursor.fetchone() == {"n": 0}, table
    assert (tombstone.status, tombstone.name, tombstone.email) == ("closed", None, None)
    document = (await get(nexus, "identities", ids=str(ada.identity_id))).json()
    assert document["identities"][0]["username"] == f"{ada.identity_id}@deleted.invalid"
