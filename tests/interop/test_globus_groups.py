"""The unmodified `globus group` commands and the SDK's Groups classes against a whole deployment.

Each person is a client with an identity of its own, logged in by its secret.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import globus_sdk
import pytest
from globus_sdk import BatchMembershipActions, GroupPolicies, GroupsManager
from globus_sdk.scopes import GroupsScopes

from plugins.globus import Globus
from towpath.demo.deployment import Deployment
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.settings import DataDirectory

pytestmark = pytest.mark.xdist_group("globus_groups")


@dataclass
class Person:
    """Somebody with the `globus` command and an SDK client."""

    id: str
    globus: Globus
    groups: globus_sdk.GroupsClient

    @property
    def username(self) -> str:
        return f"{self.id}@clients.auth.globus.org"

    def group(self, *words: str) -> Any:
        """`globus group ... -F json`."""
        return self.globus.json("group", *words)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Person]]:
    root = tmp_path_factory.mktemp("groups")
    with pytest.MonkeyPatch.context() as patched, Deployment.start(root / "data") as deployment:
        environment = deployment.environment()
        patched.delenv("GLOBUS_SDK_ENVIRONMENT", raising=False)
        for name, value in environment.items():
            patched.setenv(name, value)
        patched.setenv("NO_PROXY", "127.0.0.1,localhost")
        secrets = {str(uuid4()): str(uuid4()) * 2 for _ in range(3)}
        url = DataDirectory(root / "data").read_state()["database_url"]
        asyncio.run(_make_clients(url, secrets))
        yield [
            _person(one, secret, Globus.of(deployment, root / one))
            for one, secret in secrets.items()
        ]
        assert deployment.stop() == 0


async def _make_clients(url: str, secrets: dict[str, str]) -> None:
    async with Database(url, schema="nexus", max_size=1) as pool, pool.transaction() as connection:
        for client_id, secret in secrets.items():
            await clients.add_client(
                connection,
                client_id=UUID(client_id),
                name="Somebody",
                secret=secret,
                administrator=False,
            )


def _person(client_id: str, secret: str, globus: Globus) -> Person:
    globus.environment |= {"GLOBUS_CLI_CLIENT_ID": client_id, "GLOBUS_CLI_CLIENT_SECRET": secret}
    authorizer = globus_sdk.ClientCredentialsAuthorizer(
        globus_sdk.ConfidentialAppAuthClient(client_id, secret), [GroupsScopes.all]
    )
    return Person(client_id, globus, globus_sdk.GroupsClient(authorizer=authorizer))


def test_every_group_command(people: list[Person]) -> None:
    ann, bob, eve = people
    group = ann.group("create", "Lake", "--description", "Water")["id"]
    assert group in ann.globus.text("group", "list")
    ann.globus.run("group", "update", group, "--name", "Sea", "--terms-and-conditions", "No salt")
    shown = ann.globus.text("group", "show", group)
    assert "Sea" in shown
    assert "No salt" in shown
    assert "there is no such group" in bob.globus.fails("group", "show", group)

    added = ann.group("member", "add", group, bob.username, "--role", "manager")
    assert added["add"][0]["role"] == "manager"
    assert "active member already" in ann.globus.fails("group", "member", "add", group, bob.id)

    bob.globus.run("group", "member", "invite", group, eve.username)
    assert eve.group("invite", "decline", group)["decline"][0]["status"] == "declined"
    bob.globus.run("group", "member", "invite", group, eve.id)
    assert eve.group("invite", "accept", group)["accept"][0]["status"] == "active"
    listed = bob.globus.text("group", "member", "list", group)
    assert {ann.username, bob.username, eve.username} <= set(listed.split())
    assert "does not let you" in eve.globus.fails("group", "member", "list", group)
    assert "Left group" in eve.globus.text("group", "leave", group)

    ann.globus.run(
        *("group", "set-policies", group, "--visibility", "authenticated", "--join-requests"),
        *("--signup-fields", "institution", "--members-visibility", "members"),
    )
    assert "signup fields" in eve.globus.fails("group", "join", group, "--request")
    eve.groups.set_membership_fields(group, {eve.id: {"institution": "Lake School"}})  # type: ignore[dict-item]
    assert eve.group("join", group, "--request")["request_join"][0]["status"] == "pending"
    bob.globus.run("group", "member", "approve", group, eve.id)
    told = bob.globus.text("group", "member", "list", group, "--fields", "institution")
    assert "Lake School" in told
    ann.globus.run("group", "member", "remove", group, eve.id)
    eve.globus.run("group", "join", group, "--request")
    assert bob.group("member", "reject", group, eve.id)["reject"][0]["status"] == "rejected"
    assert "do not allow" in eve.globus.fails("group", "join", group)

    assert "no subscriptions" in ann.globus.fails("group", "get-by-subscription", str(uuid4()))
    assert "no admin left" in ann.globus.fails("group", "leave", group)
    below = ann.group("create", "Bay", "--parent-id", group)["id"]
    ann.globus.run("group", "delete", below)
    ann.globus.run("group", "delete", group)
    assert group not in ann.globus.text("group", "list")


def test_the_sdk(people: list[Person]) -> None:
    ann, bob, eve = people
    manager = GroupsManager(ann.groups)
    lake = manager.create_group("Lake", "Water")["id"]
    bay = manager.create_group("Bay", "Less water", parent_id=lake)["id"]
    manager.set_group_policies(
        bay,
        is_high_assurance=False,
        group_visibility=globus_sdk.GroupVisibility.authenticated,
        group_members_visibility=globus_sdk.GroupMemberVisibility.members,
        join_requests=True,
        signup_fields=[globus_sdk.GroupRequiredSignupFields.phone],
    )
    manager.add_member(bay, bob.id)
    assert [one["id"] for one in bob.groups.get_my_groups()] == [bay, lake]
    eves = GroupsManager(eve.groups)
    answer = eves.request_join(bay, eve.id)
    assert answer["errors"]["request_join"][0]["code"] == "MISSING_SIGNUP_FIELDS"
    eve.groups.set_membership_fields(bay, {"phone": "555"})
    assert eve.groups.get_membership_fields(bay)[eve.id] == {"phone": "555"}
    eves.request_join(bay, eve.id)
    batch = BatchMembershipActions()
    batch.approve_pending([eve.id])
    batch.change_roles("admin", [bob.id])
    done = ann.groups.batch_membership_action(bay, batch)
    assert done["approve"][0]["status"] == "active"
    assert done["change_role"][0]["role"] == "admin"
    parts = ["memberships", "my_memberships", "policies", "allowed_actions", "child_ids"]
    shown = ann.groups.get_group(lake, include=parts)
    assert {one["identity_id"] for one in shown["memberships"]} == {ann.id, bob.id, eve.id}
    assert shown["child_ids"] == [bay]
    assert eve.groups.set_identity_preferences({"allow_add": False})[eve.id] == {"allow_add": False}
    assert not eve.groups.get_identity_preferences()[eve.id]["allow_add"]
    policies = GroupPolicies(
        is_high_assurance=True,
        group_visibility="private",
        group_members_visibility="managers",
        join_requests=False,
        signup_fields=[],
        authentication_assurance_timeout=600,
    )
    assert ann.groups.set_group_policies(lake, policies)["is_high_assurance"]
    assert ann.groups.get_group(lake)["enforce_session"]
    unset = ann.groups.set_subscription_admin_verified(lake, None)
    assert unset["subscription_admin_verified_id"] is None
    with pytest.raises(globus_sdk.GroupsAPIError) as caught:
        bob.groups.delete_group(lake)
    assert (caught.value.http_status, caught.value.code) == (403, "FORBIDDEN")
    assert "your role" in str(caught.value.message)
    for group in (bay, lake):
        ann.groups.delete_group(group)
    with pytest.raises(globus_sdk.GroupsAPIError, match="404"):
        ann.groups.get_group(lake)
