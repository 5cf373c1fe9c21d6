"""Roles, access rules and guest collections over HTTP; and what people try who want more."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.nexus import Person
from plugins.standings import MOST_RULES, Persona, Place, Standings, endpoint, held, rule
from plugins.transfer_api import Api, assert_error
from towpath.nexus.groups.rules import Status
from towpath.nexus.store import accounts, identities
from towpath.transfer.api.rights_bodies import MAX_RULE_PATH_BYTES
from towpath.transfer.rights import PrincipalType, Role
from towpath.transfer.store import access, endpoints, roles
from towpath.transfer.store.endpoints import EntityType
from towpath.transfer.store.rows import fetch, fetch_one


@pytest.fixture
def owner(standings: Standings) -> Api:
    return standings.people[Persona.OWNER]


@pytest.fixture
def guest(standings: Standings) -> str:
    """The route of the collection that is shared."""
    return f"endpoint/{standings.places[Place.GUEST]}"


@pytest.fixture
def host(standings: Standings) -> str:
    return f"endpoint/{standings.places[Place.HOST]}"


def rule_for(person: Person, path: str = "/x/", permissions: str = "r", **more: Any) -> Any:
    return {
        "DATA_TYPE": "access",
        "principal_type": "identity",
        "principal": str(person.identity_id),
        "path": path,
        "permissions": permissions,
        **more,
    }


async def sees(api: Api, place: str) -> bool:
    answer = await api.get(place)
    if answer.status_code == 200:
        return True
    assert_error(answer, 404, "EndpointNotFound")
    return False


# rules


async def test_a_rule_lets_somebody_in_until_it_is_removed(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, api = await standings.stranger("eve")
    assert not await sees(api, guest)
    made = await owner.post(f"{guest}/access", rule_for(person, "/x//./y"))
    assert made.status_code == 201, made.text
    assert made.json()["code"] == "Created"
    one = f"{guest}/access/{made.json()['access_id']}"
    shown = (await owner.get(one)).json()
    assert shown | {"create_time": ""} == {
        "DATA_TYPE": "access",
        "id": made.json()["access_id"],
        "principal_type": "identity",
        "principal": str(person.identity_id),
        "path": "/x/y/",
        "permissions": "r",
        "create_time": "",
        "expiration_date": None,
        "role_id": None,
        "role_type": None,
    }
    assert await sees(api, guest)
    assert (await owner.put(one, {"permissions": "rw"})).json()["code"] == "Updated"
    assert (await owner.get(one)).json()["permissions"] == "rw"
    assert (await owner.delete(one)).json()["code"] == "Deleted"
    assert_error(await owner.get(one), 404, "AccessRuleNotFound")
    assert not await sees(api, guest)


async def test_the_list_has_what_roles_give_and_these_cannot_be_changed(
    standings: Standings, owner: Api, guest: str
) -> None:
    listed = (await owner.get(f"{guest}/access_list")).json()
    assert listed["length"] == len(listed["DATA"]) == 4 + 3
    implicit = listed["DATA"][:4]
    assert implicit[0]["principal"] == str(owner.sub)
    assert sorted(one["role_type"] for one in implicit[1:]) == [
        "access_manager",
        "administrator",
        "administrator",
    ]
    for one in implicit:
        assert (one["id"], one["path"], one["permissions"]) == (None, "/", "rw")
        assert (one["role_id"] is None) == (one is implicit[0])
    assert_error(
        await owner.delete(f"{guest}/access/{implicit[1]['role_id']}"), 404, "AccessRuleNotFound"
    )


async def test_a_rule_is_there_once_and_no_more_than_so_many_are(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, _ = await standings.stranger("eve")
    assert (await owner.post(f"{guest}/access", rule_for(person))).status_code == 201
    again = await owner.post(f"{guest}/access", rule_for(person, "/x", "rw"))
    assert_error(again, 409, "Exists")
    for number in range(MOST_RULES - 4):
        made = await owner.post(f"{guest}/access", rule_for(person, f"/{number}/"))
        assert made.status_code == 201
    one_more = await owner.post(f"{guest}/access", rule_for(person, "/more/"))
    assert_error(one_more, 409, "LimitExceeded")


async def test_an_expired_rule_lets_nobody_in_and_is_in_nobodys_way(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, api = await standings.stranger("eve")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await owner.post(f"{guest}/access", rule_for(person, expiration_date=soon))
    one = f"{guest}/access/{made.json()['access_id']}"
    assert await sees(api, guest)
    past = await owner.put(one, {"expiration_date": "2020-01-01"})
    assert_error(past, 400, "ClientError.BadRequest")
    async with standings.database.connection() as conn:
        await conn.execute(
            "UPDATE access_rule SET expires_at = now() WHERE id = %s",
            (UUID(made.json()["access_id"]),),
        )
    assert not await sees(api, guest)
    found = await api.get("endpoint_search", filter_scope="shared-with-me")
    assert found.json()["DATA"] == []
    again = await owner.post(f"{guest}/access", rule_for(person))
    assert again.status_code == 201, again.text
    assert await sees(api, guest)
    assert_error(await owner.get(one), 404, "AccessRuleNotFound")


async def test_everybody_and_who_is_not_even_logged_in(
    standings: Standings, owner: Api, guest: str
) -> None:
    other = standings.people[Persona.OTHER]
    everybody = {"principal": "", "path": "/", "permissions": "r"}
    writes = await owner.post(
        f"{guest}/access", everybody | {"principal_type": "anonymous", "permissions": "rw"}
    )
    assert "not logged in" in assert_error(writes, 403, "PermissionDenied")
    made = await owner.post(f"{guest}/access", everybody | {"principal_type": "anonymous"})
    one = f"{guest}/access/{made.json()['access_id']}"
    assert_error(await owner.put(one, {"permissions": "rw"}), 403, "PermissionDenied")
    assert await sees(other, guest)
    await owner.delete(one)
    assert not await sees(other, guest)
    made = await owner.post(
        f"{guest}/access",
        everybody | {"principal_type": "all_authenticated_users", "permissions": "rw"},
    )
    assert made.status_code == 201, made.text
    assert await sees(other, guest)
    # but what is shared with all has not been shared with him
    found = await other.get("endpoint_search", filter_scope="shared-with-me")
    assert found.json()["DATA"] == []


BAD_RULES: list[tuple[dict[str, Any], str]] = [
    ({"path": "/a/../../b/"}, "InvalidPath"),
    ({"path": ".."}, "InvalidPath"),
    ({"path": "/a\0/"}, "InvalidPath"),
    ({"path": ""}, "InvalidPath"),
    ({"path": "/" + "/".join(str(uuid4()) for _ in range(100))}, "InvalidPath"),
    ({"permissions": "w"}, "permissions"),
    ({"principal": "nobody"}, "principal"),
    ({"principal": ""}, "principal"),
    ({"principal_type": "anonymous"}, "principal"),
    ({"principal_type": "everybody"}, "principal_type"),
    ({"expiration_date": "soon"}, "expiration_date"),
    ({"expiration_date": "2020-01-01"}, "passed"),
    ({"notify_email": "a@b.example, c@d.example"}, "notify_email"),
    ({"notify_email": "a@b.example\r\nBcc: x@y.example"}, "notify_email"),
    ({"notify_message": "x" * 3000}, "notify_message"),
]


async def test_bad_rules_are_refused(standings: Standings, owner: Api, guest: str) -> None:
    for change, word in BAD_RULES:
        answer = await owner.post(
            f"{guest}/access", rule_for(standings.persons[Persona.OTHER]) | change
        )
        document = answer.json()
        assert answer.status_code == 400, (change, document)
        assert word in document["code"] + document["message"], (change, document)
    longest = "/" + "/".join(str(uuid4()) for _ in range(100))[: MAX_RULE_PATH_BYTES - 1]
    made = await owner.post(
        f"{guest}/access", rule_for(standings.persons[Persona.OTHER]) | {"path": longest}
    )
    assert made.status_code == 201, made.text
    await owner.delete(f"{guest}/access/{made.json()['access_id']}")


async def test_rules_are_for_what_is_shared_only(owner: Api, host: str) -> None:
    for answer in (
        await owner.get(f"{host}/access_list"),
        await owner.get(f"{host}/access/{uuid4()}"),
    ):
        assert_error(answer, 400, "ClientError.BadRequest")


async def test_a_person_is_told_at_an_address_of_their_own(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, _ = await standings.stranger("eve")

    async def told() -> list[tuple[Any, ...]]:
        async with standings.database.connection() as conn:
            return await fetch(conn, "SELECT recipient_id, document FROM outbox ORDER BY id")

    await owner.post(f"{guest}/access", rule_for(person, "/1/"))
    await owner.post(f"{guest}/access", rule_for(standings.persons[Persona.OWNER], "/1/"))
    assert await told() == [], "not asked for, and nobody tells himself"
    asked = {"notify_email": "spam@elsewhere.example", "notify_message": "Here it is"}
    twice = [await owner.post(f"{guest}/access", rule_for(person, "/2/", **asked)) for _ in "12"]
    assert [one.status_code for one in twice] == [201, 409]
    [(recipient, document)] = await told()
    assert recipient == person.identity_id
    assert document == {
        "endpoint_id": guest.removeprefix("endpoint/"),
        "endpoint_display_name": "lake",
        "path": "/2/",
        "permissions": "r",
        "granted_by": standings.persons[Persona.OWNER].username,
        "message": "Here it is",
    }


# who wants more


async def test_an_access_manager_makes_himself_nothing_more(
    standings: Standings, guest: str
) -> None:
    api, person = (
        standings.people[Persona.ACCESS_MANAGER],
        standings.persons[Persona.ACCESS_MANAGER],
    )
    for kind, principal in (("identity", person.identity_id), ("group", standings.group)):
        asked = {"principal_type": kind, "principal": str(principal), "role": "administrator"}
        assert_error(await api.post(f"{guest}/role", asked), 403, "PermissionDenied")
    assert_error(await api.get(f"{guest}/role_list"), 403, "PermissionDenied")
    assert_error(await api.put(guest, {"public": True}), 403, "PermissionDenied")
    assert_error(await api.delete(guest), 403, "PermissionDenied")
    assert (await api.post(f"{guest}/access", rule_for(person))).status_code == 201


async def test_ids_of_other_places_are_of_no_use(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, api = await standings.stranger("eve")
    theirs = f"endpoint/{await standings.guest_of(standings.places[Place.HOST], api.sub)}"
    made = await owner.post(f"{guest}/access", rule_for(standings.persons[Persona.OTHER]))
    role = (await owner.get(f"{guest}/role_list")).json()["DATA"][0]["id"]
    rule_id = made.json()["access_id"]
    for answer in (
        await api.get(f"{theirs}/access/{rule_id}"),
        await api.put(f"{theirs}/access/{rule_id}", {"permissions": "rw"}),
        await api.delete(f"{theirs}/access/{rule_id}"),
        await api.delete(f"{theirs}/access/nonsense"),
    ):
        assert_error(answer, 404, "AccessRuleNotFound")
    for answer in (
        await api.get(f"{theirs}/role/{role}"),
        await api.delete(f"{theirs}/role/{role}"),
        await api.get(f"{theirs}/role/nonsense"),
    ):
        assert_error(answer, 404, "RoleNotFound")
    assert (await owner.get(f"{guest}/access/{rule_id}")).json()["permissions"] == "r"
    assert (await owner.get(f"{guest}/role/{role}")).status_code == 200
    del person


async def test_who_has_registered_a_server_has_no_say_in_what_others_share_of_it(
    standings: Standings, owner: Api, host: str
) -> None:
    """They share with credentials of their own. But what is deleted is gone for all."""
    person, api = await standings.stranger("eve")
    shared = f"endpoint/{await standings.guest_of(standings.places[Place.HOST], api.sub)}"
    administrator = standings.people[Persona.ADMINISTRATOR]
    for other in (owner, administrator):
        assert not await sees(other, shared)
        listed = (await other.get(f"{host}/shared_endpoint_list")).json()["shared_endpoints"]
        assert [one["id"] for one in listed] == [str(standings.places[Place.GUEST])]
    assert await sees(api, shared)
    assert (await owner.delete(host)).status_code == 200
    assert_error(await api.get(shared), 404, "EndpointDeleted")
    assert_error(
        await standings.people[Persona.READER].get(f"endpoint/{standings.places[Place.GUEST]}"),
        404,
        "EndpointDeleted",
    )
    del person


async def test_who_leaves_the_group_is_out(standings: Standings, guest: str) -> None:
    member, api = standings.persons[Persona.MEMBER], standings.people[Persona.MEMBER]
    assert await sees(api, guest)
    await standings.join(standings.group, member, Status.REMOVED)
    standings.later()
    assert not await sees(api, guest)
    await standings.join(standings.group, member)
    standings.later()
    assert await sees(api, guest)
    async with standings.nexus.database.transaction() as connection:
        await connection.execute("DELETE FROM user_group WHERE id = %s", (standings.group,))
    standings.later()
    assert not await sees(api, guest)


async def test_a_linked_identity_counts_as_long_as_it_is_linked(
    standings: Standings, owner: Api, guest: str
) -> None:
    person, api = await standings.stranger("eve")
    second = uuid4()
    async with standings.nexus.database.transaction() as connection:
        provider = await identities.local_provider(connection)
        assert provider is not None
        await identities.add_identity(
            connection, identity_id=second, username="e@people.example", provider=provider.id
        )
        await accounts.link(connection, account_id=person.account_id, identity_id=second)
    linked = Person(second, person.account_id, "")
    await owner.post(f"{guest}/access", rule_for(linked))
    asked = {"principal_type": "identity", "principal": str(second), "role": "administrator"}
    await owner.post(f"{guest}/role", asked)
    standings.later()
    assert (await api.get(guest)).json()["my_effective_roles"] == ["administrator"]
    async with standings.nexus.database.transaction() as connection:
        await accounts.unlink(connection, account_id=person.account_id, identity_id=second)
    standings.later()
    assert not await sees(api, guest)


async def test_what_a_suspended_person_shares_is_closed(
    standings: Standings, owner: Api, guest: str
) -> None:
    """It would be used with his credential."""
    reader = standings.people[Persona.READER]
    async with standings.database.connection() as conn:
        await conn.execute(
            "INSERT INTO owner_state (owner_id, what) VALUES (%s, 'suspended')", (owner.sub,)
        )
    assert await sees(reader, guest)
    place = guest.removeprefix("endpoint/")
    listed = await reader.get(f"operation/endpoint/{place}/ls", path="/data/")
    assert "closed to all" in assert_error(listed, 403, "PermissionDenied")


async def test_a_host_that_is_not_shareable(standings: Standings, owner: Api, host: str) -> None:
    reader = standings.people[Persona.READER]
    assert (await owner.get(host)).json()["shareable"] is True
    assert (await owner.put(host, {"shareable": False})).status_code == 200
    assert (await owner.get(host)).json()["shareable"] is False
    wanted = {"display_name": "x", "host_endpoint": host.removeprefix("endpoint/")}
    answer = await owner.post("shared_endpoint", wanted | {"host_path": "/"})
    assert_error(answer, 403, "PermissionDenied")
    place = standings.places[Place.GUEST]
    listed = await reader.get(f"operation/endpoint/{place}/ls", path="/data/")
    assert "closed to all" in assert_error(listed, 403, "PermissionDenied")


# roles


async def test_a_role_comes_and_goes(standings: Standings, owner: Api, host: str) -> None:
    person, api = await standings.stranger("eve")
    asked = {"principal_type": "identity", "principal": str(person.identity_id)}
    made = await owner.post(f"{host}/role", asked | {"role": "activity_monitor"})
    assert made.status_code == 201, made.text
    role = made.json()
    assert role == {"DATA_TYPE": "role", "id": role["id"], **asked, "role": "activity_monitor"}
    assert (await owner.get(f"{host}/role/{role['id']}")).json() == role
    assert role in (await owner.get(f"{host}/role_list")).json()["DATA"]
    twice = await owner.post(f"{host}/role", asked | {"role": "activity_monitor"})
    assert_error(twice, 409, "Exists")
    assert (await api.get(host)).json()["my_effective_roles"] == ["activity_monitor"]
    assert_error(await api.put(host, {"description": "mine"}), 403, "PermissionDenied")
    await owner.post(f"{host}/role", asked | {"role": "administrator"})
    assert (await api.put(host, {"description": "mine"})).status_code == 200
    assert (await owner.delete(f"{host}/role/{role['id']}")).json()["code"] == "Deleted"
    assert (await api.get(host)).json()["my_effective_roles"] == ["administrator"]
    for bad in (
        asked | {"role": "owner"},
        asked | {"role": "administrator", "principal_type": "anonymous"},
        asked | {"role": "administrator", "principal": "x"},
    ):
        assert (await owner.post(f"{host}/role", bad)).status_code == 400


async def test_roles_and_ownership_are_inherited_from_site_to_collection_to_guest(
    standings: Standings,
) -> None:
    """And not the other way round."""
    sharer, sharer_api = await standings.stranger("sue")
    keeper, keeper_api = await standings.stranger("kim")
    monitor, monitor_api = await standings.stranger("mo")
    guest_only, guest_only_api = await standings.stranger("gus")
    site_owner, site_owner_api = await standings.stranger("sid")
    site = endpoint(site_owner.identity_id, entity_type=EntityType.CONNECT)
    mapped = endpoint(site_owner.identity_id, host=site)
    guest = endpoint(sharer.identity_id, host=mapped, share_path="/lake")
    async with standings.database.transaction() as conn:
        for one in (site, mapped, guest):
            await endpoints.insert(conn, one, {})
        owner_id = site_owner.identity_id
        await roles.add(conn, held(site.id, keeper, Role.ACCESS_MANAGER), owner_id)
        await roles.add(conn, held(mapped.id, monitor, Role.ACTIVITY_MONITOR), owner_id)
        await roles.add(conn, held(guest.id, guest_only, Role.ADMINISTRATOR), owner_id)
        await access.add(
            conn, guest.id, rule(PrincipalType.GROUP, standings.group, "/"), sharer.identity_id
        )

    async def told(api: Api) -> list[list[str] | None]:
        found: list[list[str] | None] = []
        for one in (site, mapped, guest):
            answer = await api.get(f"endpoint/{one.id}")
            gone = answer.status_code == 404
            found.append(None if gone else answer.json()["my_effective_roles"])
        return found

    assert await told(site_owner_api) == [["administrator"]] * 3
    assert await told(keeper_api) == [["access_manager"]] * 3
    assert await told(monitor_api) == [None, ["activity_monitor"], ["activity_monitor"]]
    assert await told(guest_only_api) == [None, None, ["administrator"]]
    assert await told(sharer_api) == [None, None, ["administrator"]]
    member = standings.people[Persona.MEMBER]
    assert await told(member) == [None, None, []]

    route = f"endpoint/{guest.id}"
    hidden = (await member.get(route)).json()
    for key in ("host_endpoint", "host_endpoint_id", "host_path", "mapped_collection_id"):
        assert hidden[key] is None, "who is let in need not know to what"
    assert (hidden["acl_available"], hidden["acl_editable"]) == (True, False)
    assert (hidden["DATA"], hidden["data_hosts"]) == ([], [])
    shown = (await keeper_api.get(route)).json()
    assert shown["host_endpoint_id"] == shown["mapped_collection_id"] == str(mapped.id)
    assert shown["host_path"] == "/lake/"
    assert shown["acl_editable"] is True
    assert (await monitor_api.get(route)).json()["host_path"] is None
    listed = (await keeper_api.get(f"{route}/access_list")).json()["DATA"]
    assert [one["role_type"] for one in listed[:2]] == ["administrator"] * 2, "the owners"
    assert {one["role_type"] for one in listed[2:-1]} == {"administrator", "access_manager"}
    assert [one["role_type"] for one in listed[-1:]] == [None]


# search, and lists of what is shared


async def test_what_is_shared_is_found(
    standings: Standings, owner: Api, host: str, guest: str
) -> None:
    host_id, guest_id = (one.removeprefix("endpoint/") for one in (host, guest))

    async def found(api: Api, **params: Any) -> set[str]:
        answer = await api.get("endpoint_search", **params)
        assert answer.status_code == 200, answer.text
        return {one["id"] for one in answer.json()["DATA"]}

    people = standings.people
    both = {host_id, guest_id}
    assert await found(owner, filter_scope="shared-by-me") == {guest_id}
    assert await found(owner, filter_scope="shared-with-me") == set()
    assert await found(owner, filter_scope="administered-by-me") == both
    for persona in (Persona.READER, Persona.WRITER, Persona.MEMBER):
        assert await found(people[persona], filter_scope="shared-with-me") == {guest_id}
        assert await found(people[persona], filter_scope="shared-by-me") == set()
        assert await found(people[persona], filter_host_endpoint=host_id) == set(), "of what"
        assert await found(people[persona], filter_fulltext="localhost") == {
            str(standings.places[Place.PUBLIC])
        }, "where it is shared from is not searched"
    assert await found(people[Persona.ADMINISTRATOR], filter_scope="administered-by-me") == both
    assert await found(people[Persona.ACCESS_MANAGER], filter_scope="administered-by-me") == set()
    for persona in (Persona.OWNER, Persona.ACTIVITY_MONITOR):
        assert await found(people[persona], filter_host_endpoint=host_id) == {guest_id}
    await owner.put(host, {"public": True})
    assert await found(people[Persona.READER], filter_host_endpoint=host_id) == {guest_id}
    assert await found(people[Persona.OTHER], filter_host_endpoint=host_id) == set()
    await owner.put(host, {"public": False})
    for persona, some in (
        (Persona.OWNER, [guest_id]),
        (Persona.ACCESS_MANAGER, [guest_id]),
        (Persona.ACTIVITY_MANAGER, []),
    ):
        listed = (await people[persona].get(f"{host}/my_shared_endpoint_list")).json()["DATA"]
        assert [one["id"] for one in listed] == some


async def test_shared_endpoints_come_in_pages(standings: Standings, owner: Api, host: str) -> None:
    place = standings.places[Place.HOST]
    made = {str(await standings.guest_of(place, owner.sub, f"/{n}")) for n in range(5)}
    made.add(str(standings.places[Place.GUEST]))
    for _ in range(5):  # of which he learns nothing, not even by a token
        await standings.guest_of(place, uuid4())
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        params = {"max_results": 2} | ({"next_token": token} if token else {})
        page = (await owner.get(f"{host}/shared_endpoint_list", **params)).json()
        assert page["next_token"] in {None, *made}
        assert len(page["shared_endpoints"]) <= 2
        seen += [one["id"] for one in page["shared_endpoints"]]
        token = page["next_token"]
    assert sorted(seen) == sorted(made)
    bad = await owner.get(f"{host}/shared_endpoint_list", next_token="x")
    assert_error(bad, 400, "ClientError.BadRequest")


async def test_what_is_shared_follows_its_server(
    standings: Standings, owner: Api, host: str
) -> None:
    moved = {"DATA": [{"uri": "gsiftp://moved.example.org:2812"}]}
    assert (await owner.put(host, moved)).status_code == 200
    async with standings.database.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT host, port FROM endpoint WHERE id = %s",
            (standings.places[Place.GUEST],),
        )
    assert row == ("moved.example.org", 2812)


async def test_a_guest_collection_is_changed_and_deleted_like_others(
    standings: Standings, owner: Api, guest: str
) -> None:
    server = {"DATA": [{"uri": "gsiftp://example.org"}]}
    assert_error(await owner.put(guest, server), 400, "ClientError.BadRequest")
    assert (await owner.put(guest, {"display_name": "new", "public": True})).status_code == 200
    shown = (await standings.people[Persona.OTHER].get(guest)).json()
    assert (shown["display_name"], shown["entity_type"]) == ("new", "GCSv4_share")
    assert (await owner.delete(guest)).json()["code"] == "Deleted"
    reader = standings.people[Persona.READER]
    assert_error(await reader.get(guest), 404, "EndpointDeleted")
    again = {"display_name": "x", "host_endpoint": guest.removeprefix("endpoint/")}
    answer = await owner.post("shared_endpoint", again | {"host_path": "/"})
    assert_error(answer, 404, "EndpointDeleted")


async def test_what_is_shared_is_not_shared_again(standings: Standings, guest: str) -> None:
    wanted = {"display_name": "x", "host_endpoint": guest.removeprefix("endpoint/")}
    for persona in (Persona.WRITER, Persona.ADMINISTRATOR):
        answer = await standings.people[persona].post(
            "shared_endpoint", wanted | {"host_path": "/data"}
        )
        assert_error(answer, 400, "ClientError.BadRequest")


async def test_who_shares_must_be_able_to_use_the_directory(
    alice: Api, bob: Api, lake: str, tmp_path: Path
) -> None:
    """A real server: the directory is looked at with the sharer's own credential."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "file").write_text("x")

    def wanted(path: str) -> dict[str, Any]:
        return {"display_name": "ours", "host_endpoint": lake, "host_path": path}

    missing = await alice.post("shared_endpoint", wanted(f"{tmp_path}/none"))
    assert_error(missing, 404, "ClientError.NotFound")
    for path in (f"{tmp_path}/file", f"{tmp_path}/../x"):
        answer = await alice.post("shared_endpoint", wanted(path))
        assert_error(answer, 400, "ClientError.BadRequest.InvalidPath")
    answer = await bob.post("shared_endpoint", wanted(f"{tmp_path}/shared"))
    assert_error(answer, 400, "ClientError.ActivationRequired")
    made = await alice.post("shared_endpoint", wanted(f"{tmp_path}//./shared/"))
    assert made.status_code == 201, made.text
    route = f"endpoint/{made.json()['id']}"
    shown = (await alice.get(route)).json()
    assert shown["host_path"] == f"{tmp_path}/shared/"
    assert (shown["host_endpoint_id"], shown["host_endpoint_display_name"]) == (lake, "lake")
    assert (shown["entity_type"], shown["public"]) == ("GCSv4_share", False)
    # one whose name is no UTF-8 is the same directory for guests
    (tmp_path / os.fsdecode(b"d\xff") / "in").mkdir(parents=True)
    foreign = await alice.post("shared_endpoint", wanted(f"{tmp_path}/\ufffdd\xff"))
    assert foreign.status_code == 201, foreign.text
    listed = await alice.get(f"operation/endpoint/{foreign.json()['id']}/ls", path="/")
    assert listed.status_code == 200, listed.text
    assert [one["name"] for one in listed.json()["DATA"]] == ["in"]
    assert_error(await bob.get(route), 404, "EndpointNotFound")
    assert_error(
        await alice.put(f"{route}/credential", {"proxy": ""}),
        400,
        "ClientError.BadRequest.CredentialManaged",
    )
