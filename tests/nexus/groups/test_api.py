"""The Groups API's documents and rules, on a real database."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from plugins.cast import Cast, Person
from towpath.nexus.groups import service
from towpath.nexus.store import groups


async def test_a_new_group_is_private_and_its_creator_its_admin(cast: Cast) -> None:
    ann = await cast.person("ann")
    body = {"name": " Lake ", "description": "Water", "parent_id": None}
    made = await ann.ask("POST", "groups", body, status=201)
    assert (made["name"], made["description"], made["parent_id"]) == ("Lake", "Water", None)
    assert made["my_memberships"][0].items() >= {
        ("group_id", made["id"]),
        ("identity_id", ann.key),
        ("username", f"{ann.key}@clients.auth.globus.org"),
        ("role", "admin"),
        ("status", "active"),
    }
    assert made["policies"] == {
        "is_high_assurance": False,
        "authentication_assurance_timeout": 28800,
        "group_visibility": "private",
        "group_members_visibility": "managers",
        "join_requests": False,
        "signup_fields": [],
        "direct_joins": False,
    }


async def test_documents_have_what_the_clients_read(cast: Cast) -> None:
    ann = await cast.person("ann")
    group = await ann.creates()
    for document in (await ann.sees(group), (await ann.ask("GET", "groups/my_groups"))[0]):
        assert document.keys() >= {
            "description",
            "enforce_session",
            "group_type",
            "id",
            "my_memberships",
            "name",
            "parent_id",
            "policies",
            "session_limit",
            "session_timeouts",
            "subscription_admin_verified_id",
            "subscription_id",
            "subscription_info",
            "terms_and_conditions",
        }


async def test_my_groups_are_told_by_status(people: list[Person], lake: str) -> None:
    admin, manager, member, stranger = people
    other = await stranger.creates("Sea")
    await stranger.does("invite", other, member)
    await manager.does("leave", lake)

    async def mine(person: Person, query: str = "") -> list[str]:
        found = await person.ask("GET", f"groups/my_groups{query}", view=True)
        return [one["name"] for one in found]

    assert await mine(member) == ["Lake"]
    assert await mine(member, "?statuses=invited") == ["Sea"]
    assert await mine(member, "?statuses=active,invited") == ["Lake", "Sea"]
    assert await mine(member, "?statuses=active&statuses=invited") == ["Lake", "Sea"]
    assert await mine(manager) == []
    assert await mine(manager, "?statuses=left") == ["Lake"]
    told = await admin.ask("GET", "groups/my_groups?statuses=gone", status=400)
    assert "statuses" in told["message"]


async def test_members_are_seen_as_the_policy_says(people: list[Person], lake: str) -> None:
    admin, manager, member, stranger = people
    await manager.does("invite", lake, stranger)

    async def seen(person: Person) -> list[tuple[str, str]]:
        found = await person.sees(lake, "memberships")
        return sorted((one["role"], one["status"]) for one in found["memberships"])

    everybody = [
        ("admin", "active"),
        ("manager", "active"),
        ("member", "active"),
        ("member", "invited"),
    ]
    assert await seen(admin) == everybody
    assert await seen(manager) == everybody
    await member.sees(lake, "memberships", status=403)
    await stranger.sees(lake, "memberships", status=403)
    await admin.ask("PUT", f"groups/{lake}/policies", {"group_members_visibility": "members"})
    assert await seen(member) == everybody[:3]  # not who is invited
    await stranger.sees(lake, "memberships", status=403)


async def test_an_update_keeps_what_it_does_not_name(cast: Cast) -> None:
    ann = await cast.person("ann")
    group = await ann.creates("Lake")
    body = {"name": "Sea", "description": "Salt", "terms_and_conditions": "No salt"}
    await ann.ask("PUT", f"groups/{group}", body)
    changed = await ann.ask("PUT", f"groups/{group}", {"terms_and_conditions": None})
    assert (changed["name"], changed["description"]) == ("Sea", "Salt")
    assert changed["terms_and_conditions"] is None
    await ann.ask("PUT", f"groups/{group}/policies", {"join_requests": True})
    kept = await ann.ask("PUT", f"groups/{group}/policies", {"signup_fields": ["city"]})
    assert (kept["join_requests"], kept["signup_fields"]) == (True, ["city"])


async def test_an_invitation_is_accepted_or_declined(people: list[Person], lake: str) -> None:
    admin, manager, _, stranger = people
    await stranger.sees(lake, status=404)
    [invited] = (await manager.does("invite", lake, stranger))["invite"]
    assert (invited["role"], invited["status"]) == ("member", "invited")
    assert (await stranger.sees(lake))["my_memberships"][0]["status"] == "invited"
    await stranger.does("decline", lake)
    await stranger.sees(lake, status=404)
    assert await admin.refused("add", lake, stranger) == "HAS_LEFT"
    await admin.does("invite", lake, stranger, role="manager")
    [accepted] = (await stranger.does("accept", lake))["accept"]
    assert (accepted["role"], accepted["status"]) == ("manager", "active")


async def test_a_request_is_approved_or_rejected(people: list[Person], lake: str) -> None:
    admin, manager, _, stranger = people
    open_ = {"group_visibility": "authenticated", "join_requests": True}
    await admin.ask("PUT", f"groups/{lake}/policies", open_)
    assert await stranger.refused("join", lake) == "JOIN_NOT_ALLOWED"
    assert (await stranger.does("request_join", lake))["request_join"][0]["status"] == "pending"
    assert await stranger.refused("request_join", lake) == "ALREADY_PENDING"
    assert await manager.refused("invite", lake, stranger) == "ALREADY_PENDING"
    await manager.does("reject", lake, stranger)
    assert await stranger.refused("request_join", lake) == "WAS_REJECTED"
    await manager.does("invite", lake, stranger)
    await stranger.does("accept", lake)
    await stranger.does("leave", lake)
    await stranger.does("request_join", lake)
    assert (await manager.does("approve", lake, stranger))["approve"][0]["status"] == "active"
    assert await manager.refused("approve", lake, stranger) == "ALREADY_ACTIVE"


async def test_signup_fields_come_before_joining(people: list[Person], lake: str) -> None:
    admin, manager, member, stranger = people
    policies = {
        "group_visibility": "authenticated",
        "join_requests": True,
        "signup_fields": ["institution", "phone"],
    }
    await admin.ask("PUT", f"groups/{lake}/policies", policies)
    path = f"groups/{lake}/membership_fields"
    assert await stranger.refused("request_join", lake) == "MISSING_SIGNUP_FIELDS"
    await stranger.ask("PUT", path, {stranger.key: {"institution": "Lake School"}})
    answer = await stranger.does("request_join", lake)
    assert answer["errors"]["request_join"][0]["detail"].endswith("missing: phone")
    told = await stranger.ask("PUT", path, {"institution": "Lake School", "phone": "1"})
    assert told == {stranger.key: {"institution": "Lake School", "phone": "1"}}
    assert await stranger.ask("GET", path) == told
    await stranger.does("request_join", lake)
    await manager.does("approve", lake, stranger)
    await admin.ask("PUT", f"groups/{lake}/policies", {"group_members_visibility": "members"})

    async def phone(person: Person) -> Any:
        members = (await person.sees(lake, "memberships"))["memberships"]
        [fields] = [
            one["membership_fields"] for one in members if one["identity_id"] == stranger.key
        ]
        return fields.get("phone")

    assert await phone(manager) == "1"
    assert await phone(stranger) == "1"
    assert await phone(member) is None
    for bad in ({"shoe_size": "1"}, {stranger.key: "x"}, {stranger.key: {"shoe_size": "1"}}):
        await stranger.ask("PUT", path, bad, status=400)


async def test_direct_joins(people: list[Person], lake: str) -> None:
    admin, _, _, stranger = people
    path = f"groups/{lake}/policies"
    await admin.ask("PUT", path, {"group_visibility": "authenticated", "direct_joins": True})
    assert (await stranger.does("join", lake))["join"][0]["status"] == "active"
    await admin.does("remove", lake, stranger)
    assert await stranger.refused("join", lake) == "WAS_REMOVED"
    await admin.ask("PUT", path, {"is_high_assurance": True})
    assert await stranger.refused("join", lake) == "JOIN_NOT_ALLOWED"


async def test_who_does_not_want_to_be_added_is_invited(people: list[Person], lake: str) -> None:
    admin, _, _, stranger = people
    assert await stranger.ask("GET", "preferences") == {stranger.key: {"allow_add": True}}
    told = await stranger.ask("PUT", "preferences", {"allow_add": False})
    assert told == {stranger.key: {"allow_add": False}}
    assert await admin.refused("add", lake, stranger) == "ADD_NOT_ALLOWED"
    await admin.does("invite", lake, stranger)
    await stranger.ask("PUT", "preferences", {stranger.key: {"allow_add": None}})
    assert await stranger.ask("GET", "preferences") == {stranger.key: {"allow_add": True}}
    await stranger.ask("PUT", "preferences", {"allow_add": "maybe"}, status=400)
    await stranger.ask("PUT", "preferences", {admin.key: {"allow_add": False}}, status=403)


async def test_what_is_done_and_what_is_refused_are_told_beside_each_other(
    people: list[Person], lake: str
) -> None:
    admin, manager, member, stranger = people
    nobody = str(uuid4())
    answer = await admin.ask(
        "POST",
        f"groups/{lake}",
        {
            "add": [{"identity_id": one} for one in (stranger.key, member.key, nobody)],
            "change_role": [{"identity_id": manager.key, "role": "admin"}],
        },
    )
    assert [one["identity_id"] for one in answer["add"]] == [stranger.key]
    assert [(one["identity_id"], one["code"]) for one in answer["errors"]["add"]] == [
        (member.key, "ALREADY_ACTIVE"),
        (nobody, "IDENTITY_NOT_FOUND"),
    ]
    assert answer["change_role"][0]["role"] == "admin"


async def test_bad_batches_are_refused_whole(people: list[Person], lake: str) -> None:
    admin, _, member, stranger = people
    twice = {"add": [{"identity_id": stranger.key}], "invite": [{"identity_id": stranger.key}]}
    await admin.ask("POST", f"groups/{lake}", twice, status=400)
    await admin.ask("POST", f"groups/{lake}", {"promote": []}, status=400)
    owner = {"change_role": [{"identity_id": member.key, "role": "owner"}]}
    await admin.ask("POST", f"groups/{lake}", owner, status=400)
    many = {"add": [{"identity_id": str(uuid4())} for _ in range(service.BATCH_LIMIT + 1)]}
    await admin.ask("POST", f"groups/{lake}", many, status=400)
    assert len((await admin.sees(lake, "memberships"))["memberships"]) == 3


async def test_the_last_admin_stays(people: list[Person], lake: str) -> None:
    admin, manager, _, _ = people
    assert await admin.refused("leave", lake) == "LAST_ADMIN"
    assert await admin.refused("change_role", lake, admin, role="member") == "LAST_ADMIN"
    assert await admin.refused("remove", lake, admin) == "OWN_MEMBERSHIP"
    await admin.does("change_role", lake, manager, role="admin")
    await admin.does("leave", lake)
    assert await manager.refused("leave", lake) == "LAST_ADMIN"


async def test_of_two_admins_who_remove_each_other_one_stays(
    people: list[Person], lake: str
) -> None:
    admin, manager, _, _ = people
    for _ in range(5):
        await admin.does("change_role", lake, manager, role="admin")
        answers = await asyncio.gather(
            *(
                one.http.post(
                    f"/v2/groups/{lake}",
                    json={"remove": [{"identity_id": other.key}]},
                    headers={"Authorization": f"Bearer {one.token}"},
                )
                for one, other in ((admin, manager), (manager, admin))
            )
        )
        # who comes second is no member any more: the group is private
        assert sorted(one.status_code for one in answers) == [200, 404]
        if answers[0].status_code == 404:
            admin, manager = manager, admin
        assert [one["status"] for one in (await admin.sees(lake))["my_memberships"]] == ["active"]
        await admin.does("add", lake, manager)


async def test_members_of_a_subgroup_are_members_above_it(
    cast: Cast, people: list[Person], lake: str
) -> None:
    admin, _, member, stranger = people
    bay = await admin.creates("Bay", parent_id=lake)
    cove = await admin.creates("Cove", parent_id=bay)
    await admin.does("add", cove, stranger)
    await admin.does("add", cove, member)
    [implied] = (await stranger.sees(lake))["my_memberships"]
    assert implied.items() >= {
        ("role", "member"),
        ("status", "active"),
        ("source_group_id", cove),
    }
    assert {one["id"] for one in await stranger.ask("GET", "groups/my_groups")} == {lake, bay, cove}
    async with cast.database.connection() as connection:
        found = await groups.group_ids_of(connection, [stranger.id])
        assert sorted(map(str, found)) == sorted([lake, bay, cove])
        for group, expected in ((lake, True), (cove, True), (await stranger.creates(), True)):
            assert await groups.is_member(connection, group, [stranger.id]) is expected  # type: ignore[arg-type]
        assert not await groups.is_member(connection, cove, [people[1].id])  # type: ignore[arg-type]
    shown = await admin.sees(lake, "memberships", "child_ids")
    assert shown["child_ids"] == [bay]
    # the own membership counts where there are both
    assert [
        one.get("source_group_id")
        for one in shown["memberships"]
        if one["identity_id"] == member.key
    ] == [None]
    # what is implied is neither left nor removed where it is implied
    assert await stranger.refused("leave", lake) == "NOT_ACTIVE"
    assert await admin.refused("remove", lake, stranger) == "NOT_A_MEMBER"
    await admin.does("remove", cove, stranger)
    await stranger.sees(lake, status=404)


async def test_a_tree_has_limits(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await cast.people("ann", "bob")
    root = await ann.creates("0")
    below = root
    for depth in range(service.DEPTH_LIMIT):
        below = await ann.creates(str(depth + 1), parent_id=below)
    body = {"name": "too deep", "parent_id": below}
    assert (await ann.ask("POST", "groups", body, status=409))["code"] == "LIMIT_REACHED"
    monkeypatch.setattr(service, "TREE_LIMIT", service.DEPTH_LIMIT)
    await ann.ask("POST", "groups", {"name": "too many", "parent_id": root}, status=409)
    monkeypatch.setattr(service, "ACTIVE_LIMIT", 1)
    await ann.ask("POST", "groups", {"name": "too many"}, status=409)
    monkeypatch.setattr(service, "MEMBERSHIPS_LIMIT", 1)
    assert await ann.refused("add", root, bob) == "GROUP_FULL"
    told = await ann.ask("DELETE", f"groups/{root}", status=409)
    assert told["code"] == "HAS_SUBGROUPS"
    await ann.ask("DELETE", f"groups/{below}")
    await ann.sees(below, status=404)


async def test_children_that_are_private_are_told_to_their_members_alone(
    people: list[Person], lake: str
) -> None:
    admin, _, member, _ = people
    bay = await admin.creates("Bay", parent_id=lake)
    assert (await member.sees(lake, "child_ids"))["child_ids"] == []
    assert (await admin.ask("GET", f"groups/{lake}/children"))["children"][0]["id"] == bay
    await admin.does("invite", bay, member)
    assert (await member.sees(lake, "child_ids"))["child_ids"] == [bay]


async def test_high_assurance_asks_for_a_fresh_login(
    cast: Cast, people: list[Person], lake: str
) -> None:
    admin, manager, _, stranger = people
    policies = {"is_high_assurance": True, "authentication_assurance_timeout": 600}
    await admin.ask("PUT", f"groups/{lake}/policies", policies)
    shown = await admin.sees(lake, "memberships")
    assert shown["enforce_session"] is True
    assert shown["session_limit"] == 600
    assert 590 <= shown["session_timeouts"][admin.key]["expires_in"] <= 600
    cast.later = timedelta(seconds=700)
    assert (await admin.sees(lake))["session_timeouts"][admin.key]["expires_in"] == 0
    for method, path, body in (
        ("GET", f"groups/{lake}?include=memberships", None),
        ("POST", f"groups/{lake}", {"add": [{"identity_id": stranger.key}]}),
        ("PUT", f"groups/{lake}/policies", {"is_high_assurance": False}),
        ("PUT", f"groups/{lake}", {"name": "x"}),
        ("DELETE", f"groups/{lake}", None),
    ):
        told = await admin.ask(method, path, body, status=403)
        wanted = told["authorization_parameters"]
        assert wanted["session_required_identities"] == [admin.key]
        assert wanted["session_message"]
    cast.later = timedelta()
    await manager.does("add", lake, stranger)


async def test_what_counts_is_the_login_of_an_identity_that_is_in_the_group(
    cast: Cast, people: list[Person], lake: str
) -> None:
    admin, _, member, other = people
    await cast.link(member, other)
    path = f"groups/{lake}/policies"
    policies = {"is_high_assurance": True, "group_members_visibility": "members"}
    await admin.ask("PUT", path, policies | {"authentication_assurance_timeout": 60})
    for ages, status in (
        ({member: 10.0}, 200),
        ({member: 100.0}, 403),
        ({other: 10.0}, 403),
        ({member: 100.0, other: 10.0}, 403),
        ({member: 10.0, other: 100.0}, 200),
        ({}, 403),
    ):
        # a grant without logins is a client's own only if it is for the client itself
        now = await cast.logged_in(other if not ages else member, ages)
        told = await now.sees(lake, "memberships", status=status)
        if status == 403:
            wanted = told["authorization_parameters"]["session_required_identities"]
            assert wanted == [member.key]


async def test_all_identities_of_a_person_act_together(
    cast: Cast, people: list[Person], lake: str
) -> None:
    admin, manager, member, stranger = people
    await cast.link(stranger, manager)
    # the effective identity is a stranger, but another one manages the group
    assert (await stranger.sees(lake))["my_memberships"][0]["identity_id"] == manager.key
    assert [one["id"] for one in await stranger.ask("GET", "groups/my_groups")] == [lake]
    await stranger.does("remove", lake, member)
    await stranger.does("invite", lake, stranger)
    assert (await manager.does("accept", lake, stranger))["accept"][0][
        "identity_id"
    ] == stranger.key
    assert await stranger.refused("remove", lake, manager) == "OWN_MEMBERSHIP"
    both = sorted([manager.key, stranger.key])
    assert sorted(await stranger.ask("GET", "preferences")) == both
    told = await stranger.ask("PUT", "preferences", {"allow_add": False})
    assert told == {one: {"allow_add": False} for one in both}
    found = (await stranger.sees(lake, "allowed_actions"))["allowed_actions"]
    assert (found["invite"], sorted(found["leave"])) == ([manager.key], both)
    answer = await stranger.does("leave", lake, manager, stranger)
    assert {one["status"] for one in answer["leave"]} == {"left"}
    assert set(await roles(admin, lake)) == {"admin", "left", "removed"}


async def roles(admin: Person, group: str) -> list[str]:
    """What everybody is."""
    found = (await admin.sees(group, "memberships"))["memberships"]
    return [one["role"] if one["status"] == "active" else one["status"] for one in found]


async def test_what_each_identity_may_do_is_told(people: list[Person], lake: str) -> None:
    admin, manager, member, stranger = people
    await manager.does("invite", lake, stranger)

    async def allowed(person: Person) -> set[str]:
        found = (await person.sees(lake, "allowed_actions"))["allowed_actions"]
        return {action for action, able in found.items() if able == [person.key]}

    judging = {"add", "approve", "invite", "reject", "remove"}
    assert await allowed(admin) == judging | {"change_role"}  # the last admin cannot leave
    assert await allowed(manager) == judging | {"leave"}
    assert await allowed(member) == {"leave"}
    assert await allowed(stranger) == {"accept", "decline", "join"}


async def test_counts_of_the_groups_that_one_manages(people: list[Person], lake: str) -> None:
    admin, manager, member, stranger = people
    await manager.does("invite", lake, stranger)
    counts = (await admin.ask("GET", "groups/statuses"))[lake]
    assert (counts["active"], counts["invited"], counts["left"]) == (3, 1, 0)
    assert await member.ask("GET", "groups/statuses") == {}


async def test_there_are_no_subscriptions(people: list[Person], lake: str) -> None:
    admin, _, member, _ = people
    path = f"groups/{lake}/subscription_admin_verified"
    none = {"subscription_admin_verified_id": None}
    assert await admin.ask("PUT", path, none) == {"group_id": lake, **none}
    some = {"subscription_admin_verified_id": str(uuid4())}
    await admin.ask("PUT", path, some, status=404)
    await admin.ask("PUT", f"groups/{lake}", some, status=404)
    await member.ask("PUT", path, none, status=403)
    await admin.ask("GET", f"subscription_info/{uuid4()}", status=404)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a" * 257},
        {"name": "a", "description": "\0"},
        {"name": "a", "parent_id": "x"},
        {"name": "a", "policies": {"group_visibility": "public"}},
        {"name": "a", "policies": {"authentication_assurance_timeout": 0}},
        {"name": "a", "policies": {"signup_fields": ["shoe_size"]}},
    ],
)
async def test_bad_groups_are_refused(cast: Cast, body: dict[str, Any]) -> None:
    ann = await cast.person("ann")
    told = await ann.ask("POST", "groups", body, status=400)
    assert told["code"] == "BAD_REQUEST"
    assert told["detail"] == told["message"]
