"""The pages of groups, as a browser without scripts shows and sends them."""

import re

import httpx
import pytest

from plugins.cast import Cast
from plugins.nexus_people import ORIGIN, PASSWORD, Browser, Town, forms, said
from towpath.nexus.groups import invitations
from towpath.nexus.groups.app import create_app


def id_of(page: httpx.Response) -> str:
    """The group's, from a page or from where it leads."""
    found = re.search(r"/groups/([0-9a-f-]{36})", page.headers.get("location", page.text))
    assert found is not None
    return found[1]


async def press(browser: Browser, group: str, **wanted: str) -> httpx.Response:
    """The button of the group's page whose form has these hidden fields; the rest is filled in."""
    path = f"/groups/{group}"
    page = await browser.get(path)
    hidden = {name: wanted[name] for name in ("action", "identity", "role") if name in wanted}
    for form in forms(page.text):
        if form["action"] == path and hidden.items() <= form["hidden"].items():
            filled = form["hidden"] | wanted
            answer = await browser.http.post(path, data=filled, headers={"Origin": ORIGIN})
            assert answer.status_code == 303, answer.text
            return await browser.get(answer.headers["location"])
    raise AssertionError(f"no such button: {wanted} in {said(page)}")


async def bring_in(browser: Browser, group: str, action: str, **fields: str) -> httpx.Response:
    """The form that invites or adds by name."""
    path = f"/groups/{group}"
    page = await browser.get(path)
    form = next(
        one for one in forms(page.text) if one["action"] == path and "action" not in one["hidden"]
    )
    filled = form["hidden"] | fields | {"action": action}
    answer = await browser.http.post(path, data=filled, headers={"Origin": ORIGIN})
    return await browser.get(answer.headers["location"])


async def make(browser: Browser, name: str = "Lake") -> str:
    done = await browser.send("/groups/new", name=name, description="Water")
    assert done.status_code == 303, said(done)
    return id_of(done)


async def test_a_group_and_an_invitation(town: Town) -> None:
    ada, bob = await town.settle("ada"), await town.settle("bob")
    assert "You are in no group" in said(await ada.get("/groups"))
    lake = await make(ada)
    assert (await bob.get(f"/groups/{lake}")).status_code == 404
    await town.post.delivered()
    town.mailbox.messages.clear()

    told = await bring_in(ada, lake, "invite", username="bob", role="manager")
    assert "Invited." in said(told)
    assert "bob@towpath.example manager" in said(told)
    await town.post.delivered()
    [mail] = town.mailbox.messages
    assert mail["To"] == "bob@mail.example"
    assert "Ada (ada@towpath.example) invites you" in mail.get_content()
    assert f"{ORIGIN}/groups/{lake}" in mail.get_content()
    await bring_in(ada, lake, "invite", username="bob")
    await town.post.delivered()
    assert len(town.mailbox.messages) == 1, "no second mail on the same day"

    assert "Answer" in said(await bob.get("/groups"))
    assert "You are in the group now" in said(await press(bob, lake, action="accept"))
    assert "bob@towpath.example member" in said(await ada.get(f"/groups/{lake}"))
    assert "there is no such identity" in said(await bring_in(ada, lake, "add", username="eve"))


async def test_an_invitation_is_declined(town: Town) -> None:
    ada, bob = await town.settle("ada"), await town.settle("bob")
    lake = await make(ada)
    await bring_in(ada, lake, "invite", username="bob@towpath.example")
    assert "You declined" in said(await press(bob, lake, action="decline"))
    assert "Lake" not in said(await bob.get("/groups"))
    assert "left the group or declined" in said(await bring_in(ada, lake, "add", username="bob"))


async def test_a_link_lets_others_ask(town: Town) -> None:
    ada, bob = await town.settle("ada"), await town.settle("bob")
    lake = await make(ada)
    policies = {
        "visibility": "authenticated",
        "members": "members",
        "join_requests": "yes",
        "ask-phone": "yes",
        "timeout_min": "480",
    }
    done = await ada.send(f"/groups/{lake}/settings", f"/groups/{lake}/policies", **policies)
    assert done.headers["location"].endswith("?done=saved")
    page = await bob.get(f"/groups/{lake}")
    assert "Ask to join" in said(page)
    assert "Members" not in said(page)
    blank = await press(bob, lake, action="request_join")
    assert "asks for signup fields" in said(blank)
    asked = await press(bob, lake, action="request_join", **{"field-phone": "555 <b>"})
    assert "A manager decides" in said(asked)
    page = await ada.get(f"/groups/{lake}")
    assert "phone: 555 <b>" in said(page)
    assert "555 &lt;b&gt;" in page.text
    assert "Approved." in said(await press(ada, lake, action="approve"))
    assert "ada@towpath.example admin" in said(await bob.get(f"/groups/{lake}"))


async def test_roles_and_leaving(town: Town) -> None:
    ada, bob = await town.settle("ada"), await town.settle("bob")
    lake = await make(ada)
    await bring_in(ada, lake, "add", username="bob")
    assert "Leave" not in said(await ada.get(f"/groups/{lake}")), "the last admin"
    [row] = await town.rows("SELECT id FROM identity WHERE username = 'bob@towpath.example'")
    told = await press(ada, lake, action="change_role", identity=str(row["id"]), role="admin")
    assert "The role is changed" in said(told)
    assert "You left the group" in said(await press(ada, lake, action="leave"))
    assert (await ada.get(f"/groups/{lake}")).status_code == 404
    assert "bob@towpath.example admin you" in said(await bob.get(f"/groups/{lake}"))


async def test_settings_are_for_admins(town: Town) -> None:
    ada, bob = await town.settle("ada"), await town.settle("bob")
    lake = await make(ada)
    await bring_in(ada, lake, "add", username="bob", role="manager")
    assert (await bob.get(f"/groups/{lake}/settings")).status_code == 403
    csrf = forms((await bob.get(f"/groups/{lake}")).text)[0]["hidden"]["csrf"]
    for path, fields in (
        ("settings", {"name": "x"}),
        ("policies", {"visibility": "authenticated", "members": "members", "timeout_min": "1"}),
        ("delete", {"name": "Lake"}),
    ):
        answer = await bob.http.post(
            f"/groups/{lake}/{path}", data={"csrf": csrf} | fields, headers={"Origin": ORIGIN}
        )
        assert answer.status_code == 403
    bad = await ada.send(f"/groups/{lake}/settings", f"/groups/{lake}/settings", name=" ")
    assert "Give a name" in said(bad)
    bad = await ada.send(f"/groups/{lake}/settings", f"/groups/{lake}/policies", timeout_min="x")
    assert "whole minutes" in said(bad)
    bad = await ada.send(f"/groups/{lake}/settings", f"/groups/{lake}/delete", name="Sea")
    assert "type its name" in said(bad)
    done = await ada.send(f"/groups/{lake}/settings", name="Sea", description="", terms="Be kind")
    assert done.status_code == 303
    assert "Be kind" in said(await bob.get(f"/groups/{lake}"))
    done = await ada.send(f"/groups/{lake}/settings", f"/groups/{lake}/delete", name="Sea")
    assert done.headers["location"] == "/groups?done=saved"
    assert (await bob.get(f"/groups/{lake}")).status_code == 404


async def test_a_subgroup(town: Town) -> None:
    ada = await town.settle("ada")
    lake = await make(ada)
    done = await ada.send(f"/groups/new?in={lake}", "/groups/new", name="Bay")
    bay = id_of(done)
    assert "Bay" in said(await ada.get(f"/groups/{lake}"))
    assert bay != lake


async def test_high_assurance_wants_a_new_login(town: Town) -> None:
    ada = await town.settle("ada")
    lake = await make(ada)
    policies = {"visibility": "private", "members": "managers", "timeout_min": "1"}
    await ada.send(
        *(f"/groups/{lake}/settings", f"/groups/{lake}/policies"), high_assurance="yes", **policies
    )
    assert "Members" in said(await ada.get(f"/groups/{lake}"))
    await town.run("UPDATE session_authentication SET at = now() - interval '2 minutes'")
    page = await ada.get(f"/groups/{lake}")
    assert "not older than 1 min" in said(page)
    assert "Members" not in said(page)
    assert "log in again" in said(await ada.get(f"/groups/{lake}/settings"))


@pytest.mark.parametrize("fields", [{}, {"action": "promote"}, {"action": "add", "identity": "x"}])
async def test_a_bent_form_is_refused(town: Town, fields: dict[str, str]) -> None:
    ada = await town.settle("ada")
    lake = await make(ada)
    csrf = forms((await ada.get(f"/groups/{lake}")).text)[0]["hidden"]["csrf"]
    path = f"/groups/{lake}"
    sent = {"csrf": csrf} | fields
    answer = await ada.http.post(path, data=sent, headers={"Origin": ORIGIN})
    assert answer.status_code == 400
    # without the page's token, or from elsewhere (RFC 9700, 4.7; OWASP ASVS 5.0, 3.5.1)
    good = {"action": "leave"}
    for data, origin in ((good, ORIGIN), (good | {"csrf": csrf}, "https://evil.example")):
        answer = await ada.http.post(path, data=data, headers={"Origin": origin})
        assert answer.status_code == 403
    made = {"csrf": csrf, "name": "x"}
    answer = await ada.http.post("/groups/new", data=made, headers={"Origin": "null"})
    assert answer.status_code == 403


async def test_what_is_told_comes_from_us(town: Town) -> None:
    ada = await town.settle("ada")
    for query in ("done=<b>", "refused=You+won", "done=You+won"):
        page = await ada.get(f"/groups?{query}")
        assert "You won" not in page.text
        assert 'class="notice' not in page.text


async def test_a_link_leads_through_the_login(town: Town) -> None:
    ada = await town.settle("ada")
    lake = await make(ada)
    stranger = town.browser()
    answer = await stranger.http.get(f"/groups/{lake}")
    assert answer.headers["location"] == f"/v2/web/login?to=/groups/{lake}"
    done = await stranger.send(answer.headers["location"], username="ada", password=PASSWORD)
    assert done.headers["location"] == f"/groups/{lake}"


@pytest.mark.parametrize("verified", [True, False])
async def test_an_invitation_over_the_api_is_mailed(town: Town, verified: bool) -> None:
    await town.settle("ada")
    await town.run("UPDATE identity SET email_verified = %s WHERE email IS NOT NULL", verified)
    [ada] = await town.rows("SELECT id FROM identity WHERE username = 'ada@towpath.example'")
    await town.post.delivered()
    town.mailbox.messages.clear()
    app = create_app(town.database, origin=ORIGIN, post=town.post)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN) as http:
        robot = await Cast(town.database, http).person("Robot")
        lake = await robot.creates()
        item = {"invite": [{"identity_id": str(ada["id"])}]}
        assert (await robot.ask("POST", f"groups/{lake}", item))["invite"]
    await town.post.delivered()
    assert [one["To"] for one in town.mailbox.messages] == ["ada@mail.example"] * verified


async def test_nobody_is_flooded_with_invitations(town: Town) -> None:
    """OWASP API4:2023: many groups, one victim."""
    ada = await town.settle("ada")
    await town.settle("bob")
    await town.post.delivered()
    town.mailbox.messages.clear()
    for number in range(invitations.RECEIVER_SIZE + 2):
        lake = await make(ada, f"Lake {number}")
        for _ in range(2):
            told = await bring_in(ada, lake, "invite", username="bob")
            assert "Invited." in said(told)
    await town.post.delivered()
    assert len(town.mailbox.messages) == invitations.RECEIVER_SIZE
