"""Transfer learns who somebody is besides, and in which groups; nobody else does."""

from typing import Any
from uuid import UUID, uuid4

import httpx

from plugins.nexus import Nexus, Person
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.groups.rules import Membership, Policies, Role, Status
from towpath.nexus.people import accounts as people
from towpath.nexus.store import accounts, groups, identities
from towpath.nexus.store.groups import Group


async def ask(nexus: Nexus, *ids: object, client: ClientSecret | None = None) -> httpx.Response:
    caller = client or nexus.transfer
    return await nexus.http.post(
        "/v2/api/principals",
        json={"identity_ids": [str(one) for one in ids]},
        auth=(str(caller.client_id), caller.client_secret),
    )


async def told(nexus: Nexus, *people: Person) -> list[dict[str, Any]]:
    answer = await ask(nexus, *(one.identity_id for one in people))
    assert answer.status_code == 200, answer.text
    by_id = {one["id"]: one for one in answer.json()["principals"]}
    return [by_id[str(one.identity_id)] for one in people]


async def join(nexus: Nexus, group_id: UUID, person: Person, status: Status) -> None:
    member = Membership(person.identity_id, Role.MEMBER, status)
    async with nexus.database.transaction() as connection:
        await groups.set_membership(connection, group_id, member)


async def make_group(nexus: Nexus, *above: UUID) -> UUID:
    group_id = uuid4()
    parent = above[-1] if above else None
    made = Group(group_id, "lake", None, None, parent, above, Policies())
    async with nexus.database.transaction() as connection:
        await groups.add(connection, made)
    return group_id


async def test_identities_and_groups_are_those_of_now(nexus: Nexus) -> None:
    ada, bob = await nexus.person("ada"), await nexus.person("bob")
    top = await make_group(nexus)
    below = await make_group(nexus, top)
    await join(nexus, below, ada, Status.ACTIVE)
    await join(nexus, top, bob, Status.INVITED)
    second = uuid4()
    async with nexus.database.transaction() as connection:
        provider = await identities.local_provider(connection)
        assert provider is not None
        await identities.add_identity(
            connection, identity_id=second, username="ada2@people.example", provider=provider.id
        )
        await accounts.link(connection, account_id=ada.account_id, identity_id=second)
    first, other = await told(nexus, ada, bob)
    assert first == {
        "id": str(ada.identity_id),
        "username": ada.username,
        "email": ada.username,
        "identity_set": [str(ada.identity_id), str(second)],
        "groups": first["groups"],
    }
    assert set(first["groups"]) == {str(top), str(below)}
    assert (other["identity_set"], other["groups"]) == ([str(bob.identity_id)], [])

    # a group of the linked identity is the person's, and is not any more when the link is gone
    await join(nexus, below, ada, Status.REMOVED)
    linked = Person(second, ada.account_id, "")
    await join(nexus, top, linked, Status.ACTIVE)
    [first] = await told(nexus, ada)
    assert first["groups"] == [str(top)]
    async with nexus.database.transaction() as connection:
        assert await accounts.unlink(connection, account_id=ada.account_id, identity_id=second)
    [first] = await told(nexus, ada)
    assert (first["identity_set"], first["groups"]) == ([str(ada.identity_id)], [])


async def test_unknown_and_deleted_people_are_left_out(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    assert (await ask(nexus)).json() == {"principals": []}
    async with nexus.database.transaction() as connection:
        await people.delete(connection, ada.account_id)
    assert (await ask(nexus, ada.identity_id, uuid4())).json() == {"principals": []}


async def test_it_is_for_transfer_alone(nexus: Nexus) -> None:
    ada = await nexus.person("ada")
    assert (await ask(nexus, ada.identity_id, client=nexus.operator)).status_code == 403
    wrong = ClientSecret(nexus.transfer.client_id, "x" * 40)
    assert (await ask(nexus, ada.identity_id, client=wrong)).status_code == 401
    bearer = {"Authorization": f"Bearer {await nexus.token()}"}
    body = {"identity_ids": [str(ada.identity_id)]}
    answer = await nexus.http.post("/v2/api/principals", json=body, headers=bearer)
    assert answer.status_code == 401
    assert (await ask(nexus, *(uuid4() for _ in range(101)))).status_code in (400, 422)
    assert (await ask(nexus, "nonsense")).status_code in (400, 422)
