"""Ways round a group's policy, each with what it is known as.

API1:2023 to API5:2023 are OWASP's API Security Top 10 of 2023; RFC 9700 is OAuth's Best Current
Practice.
"""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from plugins.cast import Cast, Person
from towpath.nexus import hashing, scopes
from towpath.nexus.store import tokens

ACTIONS = [
    "accept",
    "add",
    "approve",
    "change_role",
    "decline",
    "invite",
    "join",
    "leave",
    "reject",
    "remove",
    "request_join",
]


async def roles(admin: Person, group: str) -> dict[str, tuple[str, str]]:
    """What an admin sees of everybody."""
    found = (await admin.sees(group, "memberships"))["memberships"]
    return {one["identity_id"]: (one["role"], one["status"]) for one in found}


async def test_own_role_cannot_be_raised(people: list[Person], lake: str) -> None:
    """API5:2023, function level authorization: a manager or member makes himself admin."""
    admin, manager, member, _ = people
    before = await roles(admin, lake)
    for person in (manager, member):
        await person.does("change_role", lake, person, role="admin", status=403)
        # nor by what he may do: by adding or inviting himself with a role
        for action in ("add", "invite"):
            status = 200 if person is manager else 403
            answer = await person.does(action, lake, person, role="admin", status=status)
            assert answer.get(action, []) == []
    assert await roles(admin, lake) == before


async def test_a_manager_makes_no_admin_of_an_accomplice(people: list[Person], lake: str) -> None:
    """API5:2023: the role is given on the way in, by add, by invite, or by inviting again."""
    admin, manager, _, stranger = people
    for role in ("manager", "admin"):
        assert await manager.refused("add", lake, stranger, role=role) == "FORBIDDEN"
        assert await manager.refused("invite", lake, stranger, role=role) == "FORBIDDEN"
    assert stranger.key not in await roles(admin, lake)
    await admin.does("invite", lake, stranger, role="admin")
    # an admin's invitation is not the manager's to lessen, take back or turn into a membership
    assert await manager.refused("invite", lake, stranger) == "FORBIDDEN"
    assert await manager.refused("add", lake, stranger) == "FORBIDDEN"
    assert await manager.refused("remove", lake, stranger) == "FORBIDDEN"


async def test_a_manager_does_not_touch_an_admin(people: list[Person], lake: str) -> None:
    """API5:2023: change_role of an owner, or his removal, by somebody below him."""
    admin, manager, _, _ = people
    await manager.does("change_role", lake, admin, role="member", status=403)
    assert await manager.refused("remove", lake, admin) == "FORBIDDEN"
    assert (await roles(admin, lake))[admin.key] == ("admin", "active")


async def test_one_allowed_action_does_not_carry_another(people: list[Person], lake: str) -> None:
    """API5:2023: in one batch, what is allowed beside what is not. Nothing is done."""
    admin, manager, member, stranger = people
    body = {
        "add": [{"identity_id": stranger.key}],
        "change_role": [{"identity_id": member.key, "role": "manager"}],
    }
    await manager.ask("POST", f"groups/{lake}", body, status=403)
    assert stranger.key not in await roles(admin, lake)


async def test_a_view_token_changes_nothing_and_sees_nobody_else(
    people: list[Person], lake: str
) -> None:
    """API5:2023; RFC 9700, 2.3: a token is worth what its scope says, whoever it is for."""
    admin, _, member, stranger = people
    writes: list[tuple[str, str, Any]] = [
        ("POST", "groups", {"name": "x"}),
        ("PUT", f"groups/{lake}", {"name": "x"}),
        ("DELETE", f"groups/{lake}", None),
        ("PUT", f"groups/{lake}/policies", {"group_visibility": "authenticated"}),
        ("PUT", f"groups/{lake}/membership_fields", {"phone": "1"}),
        ("PUT", f"groups/{lake}/subscription_admin_verified", {}),
        ("PUT", "preferences", {"allow_add": False}),
        *(
            ("POST", f"groups/{lake}", {action: [{"identity_id": stranger.key}]})
            for action in ACTIONS
        ),
    ]
    before = await roles(admin, lake)
    for method, path, body in writes:
        told = await admin.ask(method, path, body, view=True, status=403)
        assert told["provided_scopes"] == [scopes.GROUPS_VIEW]
    await admin.sees(lake, "memberships", view=True, status=403)
    shown = await admin.sees(lake, "my_memberships", "allowed_actions", view=True)
    assert "allowed_actions" not in shown
    assert member.key not in str(shown)
    assert await roles(admin, lake) == before


async def test_a_token_for_another_service_is_none_for_groups(
    cast: Cast, people: list[Person]
) -> None:
    """RFC 9700, 2.3 and 4.9.1: the audience of a token is checked; so is that it is one."""
    async with cast.database.connection() as connection:
        stray = hashing.new_token()
        grant_id = await tokens.add_grant(
            connection, client_id=people[0].id, identity_id=people[0].id
        )
        await tokens.add(
            connection,
            stray,
            kind="access",
            grant_id=grant_id,
            client_id=people[0].id,
            identity_id=people[0].id,
            resource_server=scopes.TRANSFER,
            scopes=[scopes.GROUPS_ALL],
        )
    for header, code in (
        (None, "AUTHENTICATION_ERROR"),
        ("Basic eDp5", "AUTHENTICATION_ERROR"),
        ("Bearer ", "AUTHENTICATION_ERROR"),
        ("Bearer x", "INVALID_TOKEN"),
        (f"Bearer {stray}", "INVALID_TOKEN"),
    ):
        headers = {} if header is None else {"Authorization": header}
        answer = await cast.http.get("/v2/groups/my_groups", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_a_private_group_does_not_exist_for_strangers(
    people: list[Person], lake: str
) -> None:
    """API1:2023, object level authorization; CWE-204: there or not, answers are alike."""
    admin, _, _, stranger = people
    await admin.ask("PUT", f"groups/{lake}/policies", {"join_requests": True, "direct_joins": True})
    nothing = str(uuid4())

    async def answers(group: str) -> list[Any]:
        requests: list[tuple[str, str, Any]] = [
            ("GET", "", None),
            ("GET", "?include=memberships,policies,allowed_actions,child_ids", None),
            ("PUT", "", {"name": "x"}),
            ("DELETE", "", None),
            ("GET", "/policies", None),
            ("PUT", "/policies", {}),
            ("GET", "/children", None),
            ("GET", "/membership_fields", None),
            ("PUT", "/membership_fields", {"phone": "1"}),
            ("PUT", "/subscription_admin_verified", {}),
            *(("POST", "", {action: [{"identity_id": stranger.key}]}) for action in ACTIONS),
        ]
        found = []
        for method, rest, body in requests:
            told = await stranger.ask(method, f"groups/{group}{rest}", body, status=404)
            found.append({key: told[key] for key in ("code", "detail", "message")})
        return found

    assert await answers(lake) == await answers(nothing)
    below = {"name": "x", "parent_id": lake}
    told = await stranger.ask("POST", "groups", below, status=404)
    assert lake not in told["message"]
    assert await stranger.ask("GET", "groups/my_groups?statuses=active,pending,invited") == []


@pytest.mark.parametrize("how", ["decline", "leave", "remove", "reject"])
async def test_who_is_out_is_a_stranger_again(people: list[Person], lake: str, how: str) -> None:
    """API1:2023: a membership that has ended opens nothing."""
    admin, _, _, stranger = people
    if how == "reject":
        both = {"group_visibility": "authenticated", "join_requests": True}
        await admin.ask("PUT", f"groups/{lake}/policies", both)
        await stranger.does("request_join", lake)
        await admin.ask("PUT", f"groups/{lake}/policies", {"group_visibility": "private"})
        await admin.does("reject", lake, stranger)
    else:
        await admin.does("invite", lake, stranger, role="admin")
        if how != "decline":
            await stranger.does("accept", lake)
        await (
            admin.does("remove", lake, stranger) if how == "remove" else stranger.does(how, lake)
        )
    await stranger.sees(lake, status=404)
    await stranger.does("accept", lake, status=404)
    # the admin's role that he had is gone as well
    await admin.does("invite", lake, stranger)
    [back] = (await stranger.does("accept", lake))["accept"]
    assert back["role"] == "member"


async def test_members_are_not_read_where_only_managers_may(
    people: list[Person], lake: str
) -> None:
    """API3:2023, property level authorization: the list, by every way to it."""
    admin, _, member, stranger = people
    await member.sees(lake, "memberships", status=403)
    await admin.does("invite", lake, stranger)
    await stranger.sees(lake, "memberships", status=403)
    await admin.creates("Bay", parent_id=lake, group_visibility="authenticated")
    for path in (f"groups/{lake}", f"groups/{lake}/children?include=memberships"):
        told = str(await member.ask("GET", path))
        assert "'memberships'" not in told
        assert admin.key not in told
    assert await member.ask("GET", "groups/statuses") == {}
    # what an action answers says nothing of who is there
    for action in ("remove", "approve", "change_role"):
        one = await member.does(action, lake, admin, status=403)
        other = await member.does(action, lake, stranger, status=403)
        assert one["message"] == other["message"]


async def test_identities_of_others_do_not_act(people: list[Person], lake: str) -> None:
    """API1:2023: joins, accepts and leaves in the name of somebody else."""
    admin, manager, member, stranger = people
    both = {"group_visibility": "authenticated", "join_requests": True, "direct_joins": True}
    await admin.ask("PUT", f"groups/{lake}/policies", both)
    await admin.does("invite", lake, stranger)
    for action in ("accept", "decline", "join", "leave", "request_join"):
        for victim in (stranger, manager, admin):
            assert await member.refused(action, lake, victim) == "NOT_YOUR_IDENTITY"
    fields = {admin.key: {"phone": "1"}}
    await member.ask("PUT", f"groups/{lake}/membership_fields", fields, status=403)
    await member.ask("PUT", "preferences", {admin.key: {"allow_add": False}}, status=403)
    assert (await roles(admin, lake))[stranger.key] == ("member", "invited")


async def test_roles_do_not_reach_into_another_group(people: list[Person], lake: str) -> None:
    """API1:2023: the admin of a parent, of a subgroup, or of any other group acts on this one."""
    admin, _, member, stranger = people
    bay = await admin.creates("Bay", parent_id=lake)
    await admin.does("add", bay, stranger, role="admin")
    await admin.does("leave", bay)
    # downwards: the parent's admin neither sees nor changes the private subgroup
    await admin.sees(bay, status=404)
    await admin.does("add", bay, admin, status=404)
    await admin.ask("DELETE", f"groups/{bay}", status=404)
    # upwards: the subgroup's admin is a member above, no more
    assert [one["role"] for one in (await stranger.sees(lake))["my_memberships"]] == ["member"]
    for action, whom in (("remove", member), ("add", stranger), ("change_role", member)):
        await stranger.does(action, lake, whom, role="member", status=403)
    await stranger.ask("PUT", f"groups/{lake}/policies", {}, status=403)
    await stranger.sees(lake, "memberships", status=403)
    # sideways
    other = await stranger.creates("Sea")
    await stranger.does("change_role", lake, member, role="admin", status=403)
    foreign = {"id": lake, "group_id": lake, "add": [{"identity_id": member.key, "group_id": lake}]}
    told = await stranger.ask("POST", f"groups/{other}", foreign, status=400)
    assert "id" in told["message"]


async def test_a_group_is_not_hung_below_a_foreign_one(people: list[Person], lake: str) -> None:
    """API1:2023: a subgroup of somebody else's group would make its members members there."""
    admin, manager, member, stranger = people
    await admin.ask("PUT", f"groups/{lake}/policies", {"group_visibility": "authenticated"})
    for person in (manager, member, stranger):
        await person.ask("POST", "groups", {"name": "x", "parent_id": lake}, status=403)
    own = await stranger.creates("Own")
    # nor afterwards: a group's parent is what it was made with
    await stranger.ask("PUT", f"groups/{own}", {"name": "Own", "parent_id": lake})
    assert (await stranger.sees(own))["parent_id"] is None


async def test_high_assurance_is_not_got_round(cast: Cast, people: list[Person], lake: str) -> None:
    """RFC 9470: with an old login, not by any way in, and not by lowering the policy."""
    admin, _, member, stranger = people
    await admin.does("invite", lake, stranger)
    policies = {"is_high_assurance": True, "group_members_visibility": "members"}
    await admin.ask("PUT", f"groups/{lake}/policies", policies)
    cast.later = timedelta(seconds=28_801)
    await stranger.does("accept", lake, status=403)
    await member.does("leave", lake, status=403)
    await member.sees(lake, "memberships", status=403)
    for change in ({"is_high_assurance": False}, {"authentication_assurance_timeout": 999_999}):
        await admin.ask("PUT", f"groups/{lake}/policies", change, status=403)
    await admin.ask("POST", "groups", {"name": "x", "parent_id": lake}, status=403)


@pytest.mark.parametrize("path", ["my_groups/../x", "%00", "x" * 3000, "0" * 32 + "'--"])
async def test_ids_that_are_none(people: list[Person], path: str) -> None:
    """API8:2023: what is no id is refused before it is looked for, and not repeated at length."""
    answer = await people[0].http.get(
        f"/v2/groups/{path}", headers={"Authorization": f"Bearer {people[0].token}"}
    )
    assert answer.status_code in (400, 404)
    assert len(answer.content) < 4500


async def test_amounts_are_bounded(people: list[Person], lake: str) -> None:
    """API4:2023, resource consumption: large texts, many items, deep nesting."""
    admin = people[0]
    for body in (
        {"name": "x", "description": "x" * 20_001},
        {"name": "x", "terms_and_conditions": "x" * 20_001},
    ):
        await admin.ask("POST", "groups", body, status=400)
    fields = {"phone": "x" * 1025}
    await admin.ask("PUT", f"groups/{lake}/membership_fields", fields, status=400)
    await admin.ask("PUT", f"groups/{lake}", {"name": "x" * 600_000}, status=413)
