"""Profiles: what people tell of themselves, and who sees it; over HTTP."""

from typing import Any
from uuid import UUID

import pytest

from plugins.nexus_people import ORIGIN, Browser, Town, forms, said
from towpath.nexus import hashing, scopes
from towpath.nexus.groups.rules import Membership, MembersVisibility, Policies, Role, Status
from towpath.nexus.people import profile
from towpath.nexus.people.profile import Audience, Field, Profile, ProfileError
from towpath.nexus.store import groups, tokens
from towpath.nexus.store.groups import Group

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIGfbuoGsDwjEzJHR9wYCmtWHVqGbpZYXFWpdKcbXCJ7 ada@laptop"
LAKE = UUID(int=7)


class Api:
    """Somebody's token of the Auth API."""

    def __init__(self, browser: Browser, id_: UUID, token: str) -> None:
        self.browser = browser
        self.id = id_
        self._token = token

    async def ask(
        self, method: str, path: str = "", body: Any = None, status: int = 200
    ) -> dict[str, Any]:
        answer = await self.browser.http.request(
            method,
            f"/v2/api/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self._token}"},
        )
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    async def seen_of(self, other: "Api") -> dict[str, Any]:
        return dict((await self.ask("GET", f"profile/{other.id}"))["profile"])

    async def tells(self, **fields: Any) -> dict[str, Any]:
        return dict((await self.ask("PUT", "profile", {"profile": fields}))["profile"])


async def person(town: Town, name: str, scope: str = scopes.MANAGE_PROFILE) -> Api:
    browser = await town.settle(name)
    [row] = await town.rows(
        "SELECT id FROM identity WHERE username = %s", f"{name}@towpath.example"
    )
    return Api(browser, row["id"], await token_of(town, row["id"], scope))


async def token_of(town: Town, identity_id: UUID, scope: str) -> str:
    token = hashing.new_token()
    async with town.database.transaction() as connection:
        cursor = await connection.execute(
            "INSERT INTO client (id, name) VALUES (gen_random_uuid(), 'App') RETURNING id"
        )
        row = await cursor.fetchone()
        assert row is not None
        grant_id = await tokens.add_grant(connection, client_id=row["id"], identity_id=identity_id)
        await tokens.add(
            connection,
            token,
            kind="access",
            grant_id=grant_id,
            client_id=row["id"],
            identity_id=identity_id,
            resource_server=scopes.AUTH,
            scopes=[scope],
        )
    return token


async def meet(town: Town, policies: Policies, **roles: tuple[UUID, Role]) -> None:
    """A group with these people."""
    async with town.database.transaction() as connection:
        await groups.add(connection, Group(LAKE, "Lake", None, None, None, (), policies))
        for id_, role in roles.values():
            await groups.set_membership(connection, LAKE, Membership(id_, role, Status.ACTIVE))


async def test_a_profile_is_told_and_changed(town: Town) -> None:
    ada = await person(town, "ada")
    fresh = (await ada.ask("GET", "profile"))["profile"]
    assert fresh == {
        "identity_id": str(ada.id),
        "username": "ada@towpath.example",
        "name": "Ada",
        "organization": None,
        "email": "ada@mail.example",
        "phone": None,
        "address": None,
        "web_page": None,
        "ssh_keys": [],
        "visible": {
            "name": "everybody",
            "organization": "everybody",
            "email": "everybody",
            "phone": "me",
            "address": "me",
            "web_page": "me",
            "ssh_keys": "me",
        },
        "preferences": {"mail_invitations": True},
    }
    await ada.tells(phone="+49 30 1", web_page="https://ada.example/", visible={"phone": "groups"})
    told = await ada.tells(web_page=None, preferences={"mail_invitations": False})
    assert (told["phone"], told["web_page"]) == ("+49 30 1", None)
    assert told["visible"]["phone"] == "groups"
    assert told["preferences"] == {"mail_invitations": False}


async def test_each_field_is_seen_by_whom_its_owner_says(town: Town) -> None:
    ada, bob, eve = [await person(town, name) for name in ("ada", "bob", "eve")]
    await meet(
        town,
        Policies(members_visibility=MembersVisibility.MEMBERS),
        ada=(ada.id, Role.ADMIN),
        bob=(bob.id, Role.MEMBER),
    )
    visible = {"name": "everybody", "email": "groups", "organization": "me", "phone": "groups"}
    await ada.tells(phone="1234", address="Lake 1", visible=visible)
    assert (await eve.seen_of(ada)).keys() == {"identity_id", "username", "name"}
    near = await bob.seen_of(ada)
    assert (near["email"], near["phone"]) == ("ada@mail.example", "1234")
    assert "address" not in near
    assert (await ada.seen_of(ada))["address"] == "Lake 1"
    # the Auth API's own route says no more
    for viewer, email in ((eve, None), (bob, "ada@mail.example"), (ada, "ada@mail.example")):
        for query in (f"ids={ada.id}", "usernames=ada@towpath.example"):
            [shown] = (await viewer.ask("GET", f"identities?{query}"))["identities"]
            assert (shown["name"], shown["email"]) == ("Ada", email)
        one = (await viewer.ask("GET", f"identities/{ada.id}"))["identity"]
        assert one["email"] == email


@pytest.mark.parametrize(
    ("policies", "role", "near"),
    [
        (Policies(), Role.MEMBER, False),
        (Policies(), Role.MANAGER, True),
        (Policies(members_visibility=MembersVisibility.MEMBERS), Role.MEMBER, True),
    ],
)
async def test_who_may_not_see_the_membership_is_not_near(
    town: Town, policies: Policies, role: Role, near: bool
) -> None:
    """OWASP API3:2023: else the field would tell that somebody is in the group."""
    ada, bob = await person(town, "ada"), await person(town, "bob")
    await meet(town, policies, ada=(ada.id, Role.MEMBER), bob=(bob.id, role))
    await ada.tells(phone="1234", visible={"phone": "groups"})
    assert ("phone" in await bob.seen_of(ada)) is near
    await town.run("UPDATE membership SET status = 'left' WHERE identity_id = %s", ada.id)
    assert "phone" not in await bob.seen_of(ada)


async def test_ssh_keys(town: Town) -> None:
    ada, bob = await person(town, "ada"), await person(town, "bob")
    body = {"ssh_key": {"name": "laptop", "public_key": KEY}}
    added = (await ada.ask("POST", "profile/ssh_keys", body, 201))["ssh_key"]
    assert added["name"] == "laptop"
    assert added["fingerprint"].startswith("SHA256:")
    again = (await ada.ask("POST", "profile/ssh_keys", body, 201))["ssh_key"]
    assert again["id"] == added["id"]
    assert "ssh_keys" not in await bob.seen_of(ada)
    await ada.tells(visible={"ssh_keys": "everybody"})
    assert [one["public_key"] for one in (await bob.seen_of(ada))["ssh_keys"]] == [
        KEY.rpartition(" ")[0]
    ]
    for bad in ("ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----", KEY + "\n" + KEY):
        await ada.ask("POST", "profile/ssh_keys", {"ssh_key": {"public_key": bad}}, 400)
    await bob.ask("DELETE", f"profile/ssh_keys/{added['id']}", status=404)
    await ada.ask("DELETE", f"profile/ssh_keys/{added['id']}")
    assert (await ada.ask("GET", "profile"))["profile"]["ssh_keys"] == []


async def test_a_profile_wants_its_scope(town: Town) -> None:
    """RFC 9700, 2.3: a token for less does not read what its owner keeps to himself."""
    ada = await person(town, "ada", scopes.OPENID)
    await ada.ask("GET", "profile", status=403)
    await ada.ask("PUT", "profile", {"profile": {"phone": "1"}}, status=403)
    key = {"ssh_key": {"public_key": KEY}}
    await ada.ask("POST", "profile/ssh_keys", key, status=403)
    assert (await ada.ask("GET", f"profile/{ada.id}"))["profile"]["name"] == "Ada"
    await ada.ask("GET", f"profile/{LAKE}", status=404)


@pytest.mark.parametrize(
    "told",
    [
        {"values": {"phone": "call me"}},
        {"values": {"phone": "1" * 501}},
        {"values": {"address": "a\0b"}},
        {"values": {"web_page": "javascript:alert(1)"}},
        {"values": {"web_page": "https://"}},
        {"values": {"web_page": "https://user:pass@evil.example/"}},
        {"values": {"web_page": "https://[broken"}},
        {"values": {"name": "Eve"}},
        {"values": {"ssh_keys": "x"}},
        {"audiences": {"phone": "friends"}},
        {"audiences": {"shoe_size": "me"}},
    ],
)
def test_what_cannot_be_taken(told: dict[str, Any]) -> None:
    with pytest.raises(ProfileError):
        profile.changed(Profile(), **told)


def test_what_was_stored_before_a_field_was_there_has_its_default() -> None:
    read = profile.read({"values": {"phone": "1"}, "audiences": {"phone": "groups"}})
    assert read.audiences[Field.PHONE] is Audience.GROUPS
    assert read.audiences[Field.SSH_KEYS] is Audience.ME
    assert profile.read({}) == Profile()


async def test_the_page(town: Town) -> None:
    ada = await person(town, "ada")
    path = "/account/visibility"
    seen = {f"seen-{one}": "me" for one in Field}
    bad = await ada.browser.send(path, phone="call me", **seen)
    assert bad.status_code == 422
    assert "A phone number has digits" in said(bad)
    done = await ada.browser.send(path, phone="1234", address="Lake 1\r\nTown", **seen)
    assert done.headers["location"] == f"{path}?saved"
    told = (await ada.ask("GET", "profile"))["profile"]
    assert told["address"] == "Lake 1\nTown"
    assert set(told["visible"].values()) == {"me"}
    assert told["preferences"] == {"mail_invitations": False}
    [row] = await town.rows("SELECT allow_add FROM group_preference")
    assert row["allow_add"] is False


async def test_who_wants_no_mail_gets_none(town: Town) -> None:
    ada, bob = await person(town, "ada"), await person(town, "bob")
    await bob.tells(preferences={"mail_invitations": False})
    await meet(town, Policies(), ada=(ada.id, Role.ADMIN))
    await town.post.delivered()
    town.mailbox.messages.clear()
    page = await ada.browser.get(f"/groups/{LAKE}")
    sent = {"csrf": forms(page.text)[0]["hidden"]["csrf"], "action": "invite", "username": "bob"}
    answer = await ada.browser.http.post(f"/groups/{LAKE}", data=sent, headers={"Origin": ORIGIN})
    assert answer.headers["location"].endswith("?done=invite")
    await town.post.delivered()
    assert town.mailbox.messages == []
