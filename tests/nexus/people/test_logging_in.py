"""Invitations, logging in and out, forgotten passwords: over HTTP, as a browser without scripts."""

import pytest

from plugins.nexus_people import ORIGIN, PASSWORD, Browser, Town, said
from towpath.platform.settings import PeopleSettings


async def test_the_first_link_makes_an_administrator_once(town: Town) -> None:
    first = await town.first_link()
    assert first is not None
    second = await town.first_link()
    assert second is not None
    browser = town.browser()
    assert (await browser.get(first.removeprefix(ORIGIN))).status_code == 410, "replaced"
    page = await browser.get(second.removeprefix(ORIGIN))
    assert "link=" not in str(page.url)
    assert "administrator's account" in said(page)
    done = await browser.send(
        "/v2/web/welcome",
        username="Ada",
        name="Ada L",
        email="ada@mail.example",
        password=PASSWORD,
    )
    assert done.headers["location"] == "/"
    account = await browser.get("/account")
    assert "ada@towpath.example" in said(account)
    assert "administrator" in said(account)
    assert await town.first_link() is None
    assert (await browser.get(second.removeprefix(ORIGIN))).status_code == 410, "used"
    await town.post.delivered()
    done = await browser.send(town.mailbox.link(), "/v2/web/verify")
    assert "confirmed" in said(done)
    assert "confirmed" in said(await browser.get("/account"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"username": "9x"}, "A name has 2 to 64"),
        ({"username": "ada@elsewhere.example"}, "A name has"),
        ({"name": " "}, "Give a name"),
        ({"email": "a b@c"}, "no address"),
        ({"password": "short"}, "at least 15"),
        ({"password": "passwordpassword"}, "tried first"),
        ({"password": "cecily.turing99"}, "too close to your name"),
    ],
)
async def test_what_is_wrong_is_told_and_the_link_stays_good(
    town: Town, fields: dict[str, str], told: str
) -> None:
    browser = town.browser()
    link = await town.invite()
    good = {
        "username": "cecily.turing",
        "name": "Cecily",
        "email": "c@mail.example",
        "password": PASSWORD,
    }
    page = await browser.send(link, "/v2/web/welcome", **(good | fields))
    assert page.status_code == 422
    assert told in said(page)
    assert PASSWORD not in page.text
    done = await browser.send("/v2/web/welcome", **good)
    assert done.status_code == 303


async def test_log_in_and_out(town: Town) -> None:
    await town.settle("ada")
    browser = town.browser()
    assert (await browser.http.get("/account/sessions")).headers["location"] == (
        "/v2/web/login?to=/account/sessions"
    )
    for name in ("ada", " ADA@towpath.example ", "ada@mail.example"):
        other = town.browser()
        done = await other.send(
            "/v2/web/login?to=/account/sessions", username=name, password=PASSWORD
        )
        assert done.headers["location"] == "/account/sessions", said(done)
    assert (await browser.log_in("ada")).status_code == 303
    assert (await browser.http.get("/v2/web/login")).headers["location"] == "/"
    assert "You are logged out" in said(await browser.send("/v2/web/logout"))
    assert (await browser.http.get("/account")).status_code == 303


async def test_a_forgotten_password(town: Town) -> None:
    at_home = await town.settle("ada")
    thief = town.browser()
    await thief.log_in("ada")
    browser = town.browser()
    answer = await browser.send("/v2/web/forgot", username="ada")
    assert "Look into your mail" in said(answer)
    await town.post.delivered()
    link = town.mailbox.link()
    for _ in range(2):  # a mail scanner looks first
        page = await town.browser().get(link)
        assert "ada@towpath.example" in said(page)
    weak = await browser.send(link, "/v2/web/reset", password="ada@towpath.example")
    assert weak.status_code == 422
    done = await browser.send("/v2/web/reset", password="nine quiet herons")
    assert "Your new password is set" in said(done)
    for ended in (at_home, thief):
        assert (await ended.http.get("/account")).status_code == 303
    assert (await browser.get(link)).status_code == 410
    assert (await browser.log_in("ada")).status_code == 403
    assert (await browser.log_in("ada", "nine quiet herons")).status_code == 303
    await town.post.delivered()
    assert "was changed" in town.mailbox.messages[-1]["Subject"]


async def test_links_end_by_time_and_when_the_password_changes(town: Town) -> None:
    browser = await town.settle("ada")
    links = []
    for _ in range(2):
        await town.browser().send("/v2/web/forgot", username="ada")
        await town.post.delivered()
        links.append(town.mailbox.link())
    await browser.send(
        "/account/security",
        "/account/security/password",
        current=PASSWORD,
        password="nine quiet herons",
    )
    for link in links:
        assert (await town.browser().get(link)).status_code == 410
    await town.browser().send("/v2/web/forgot", username="ada")
    await town.post.delivered()
    link = town.mailbox.link()
    [row] = await town.rows(
        "SELECT expires_at - created_at AS life FROM one_time_link WHERE purpose = 'reset'"
    )
    assert row["life"].total_seconds() == 1800
    await town.run("UPDATE one_time_link SET expires_at = now()")
    assert (await town.browser().get(link)).status_code == 410


class TestOpen:
    @pytest.fixture
    def people_settings(self) -> PeopleSettings:
        return PeopleSettings(sign_up="open", domain="mail.example")

    async def test_sign_up_by_mail(self, town: Town) -> None:
        browser = town.browser()
        assert "Make an account" in said(await browser.get("/v2/web/login"))
        await browser.send("/v2/web/sign-up", email="bob@mail.example")
        await town.post.delivered()
        assert "already" not in town.mailbox.messages[-1].get_content()
        page = await browser.get(town.mailbox.link())
        assert "Mail goes to bob@mail.example" in said(page)
        done = await browser.send(
            "/v2/web/welcome",
            username="robert",
            name="Bob",
            email="somebody@else.example",
            password=PASSWORD,
        )
        assert done.status_code == 303
        [row] = await town.rows("SELECT email, email_verified FROM identity WHERE name = 'Bob'")
        assert row == {"email": "bob@mail.example", "email_verified": True}
        await browser.send("/v2/web/sign-up", email="Bob@mail.example")
        await town.post.delivered()
        assert "robert@mail.example" in town.mailbox.messages[-1].get_content()

    async def test_an_expected_name_goes_to_whom_it_means(self, town: Town) -> None:
        await town.settle("ada")  # makes the provider
        await town.run(
            "INSERT INTO identity (id, username, identity_provider, status)"
            " SELECT gen_random_uuid(), 'eve@mail.example', id, 'unused'"
            " FROM identity_provider WHERE kind = 'local'"
        )
        for address, status in (("mallory@mail.example", 422), ("Eve@mail.example", 303)):
            browser = town.browser()
            await browser.send("/v2/web/sign-up", email=address)
            await town.post.delivered()
            done = await browser.send(
                town.mailbox.link(), "/v2/web/welcome", username="eve", name="E", password=PASSWORD
            )
            assert done.status_code == status, said(done)
            if status == 422:
                assert "This name is taken" in said(done)
                assert "session" not in str(done.headers.get_list("set-cookie"))
        [row] = await town.rows("SELECT status FROM identity WHERE username = 'eve@mail.example'")
        assert row["status"] == "used"


async def test_without_an_invitation_there_is_no_sign_up(town: Town) -> None:
    assert (await town.browser().get("/v2/web/sign-up")).status_code == 404


class TestClosed:
    @pytest.fixture
    def people_settings(self) -> PeopleSettings:
        return PeopleSettings(sign_up="closed")

    async def test_only_accounts_made_on_the_machine(self, town: Town) -> None:
        assert (await town.browser().get(await town.invite())).status_code == 410
        assert (await town.browser().get("/v2/web/sign-up")).status_code == 404
        await town.settle("ada")


async def test_the_pages_of_an_account(town: Town) -> None:
    browser: Browser = await town.settle("ada")
    done = await browser.send(
        "/account/profile", name="Ada King", organization="Mill", email="ada@mail.example"
    )
    assert done.status_code == 303
    assert "Ada King" in said(await browser.get("/account"))
    wrong = await browser.send("/account/profile", name="", organization="", email="x")
    assert wrong.status_code == 422
    new = {"name": "Ada", "organization": "", "email": "new@mail.example"}
    refused = await browser.send("/account/profile", **new, current="not the password")
    assert "A new address needs your password" in said(refused)
    assert 'value="new@mail.example"' in refused.text
    await browser.send("/account/profile", **new, current=PASSWORD)
    await town.post.delivered()
    assert town.mailbox.messages[-1]["To"] == "new@mail.example"
    assert "new@mail.example" not in said(await browser.get("/account"))
    await browser.send(town.mailbox.link(), "/v2/web/verify")
    assert "new@mail.example" in said(await browser.get("/account"))
    await town.post.delivered()
    assert town.mailbox.messages[-1]["To"] == "ada@mail.example", "the old address is told"


async def test_ssh_keys(town: Town) -> None:
    browser = await town.settle("ada")
    key = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBKWG1a2oVhIeXUBCTFY3ynDxQ8zVcvBqOmGz0mYkLQU ada@mill"
    )
    path, action = "/account/profile", "/account/profile/keys"
    for _ in range(2):
        done = await browser.send(path, action, public_key=key, key_name="")
        assert done.status_code == 303, said(done)
    page = said(await browser.get(path))
    assert page.count("SHA256:") == 1
    assert "ada@mill" in page
    for text in ("x", key[:40], "-----BEGIN OPENSSH PRIVATE KEY-----", key.replace("IBKW", "IB")):
        assert (await browser.send(path, action, public_key=text)).status_code == 422
    await browser.send(path, "/account/profile/keys/remove")
    assert "SHA256:" not in said(await browser.get(path))
    async with town.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT 1 FROM audit_pending WHERE kind = 'account.changed'"
            " AND details->'what' ? 'ssh_keys'"
        )
        recorded = await cursor.fetchall()
    assert len(recorded) == 3, "that it was added, twice, and removed"


async def test_sessions_are_shown_and_ended(town: Town) -> None:
    browser = await town.settle("ada")
    others = [town.browser(f"198.51.100.{n}") for n in range(3)]
    for other in others:
        await other.log_in("ada")
    page = said(await browser.get("/account/sessions"))
    assert page.count("Firefox on Linux") == 4
    assert page.count("this browser") == 1
    assert "198.51.100.2" in page
    await browser.send("/account/sessions", "/account/sessions/end")
    gone = [(await one.http.get("/account")).status_code == 303 for one in others]
    assert sorted(gone) == [False, False, True]
    await browser.send("/account/sessions", "/account/sessions/end", session="others")
    for one in others:
        assert (await one.http.get("/account")).status_code == 303
    assert (await browser.http.get("/account")).status_code == 200
    bob = await town.settle("bob")
    [row] = await town.rows("SELECT id FROM browser_session WHERE address = '192.0.2.1' LIMIT 1")
    for session in (str(row["id"]), "x"):
        await bob.send("/account/security", "/v2/web/logout")
        await bob.log_in("bob")
        page = await bob.get("/account/sessions")
        assert str(row["id"]) not in page.text
        token = page.text.partition('name="csrf" value="')[2][:64]
        await bob.http.post(
            "/account/sessions/end",
            data={"csrf": token, "session": session},
            headers={"Origin": ORIGIN},
        )
    assert (await browser.http.get("/account")).status_code == 200, "not bob's to end"


async def test_administrators_look_after_people(town: Town) -> None:
    ada = await town.settle("ada", administrator=True)
    bob = await town.settle("bob")
    assert "People" not in said(await bob.get("/account"))
    assert (await bob.get("/account/people")).status_code == 404
    page = said(await ada.get("/account/people"))
    assert "ada@towpath.example" in page
    assert "bob@mail.example" in page
    assert "Ada" not in said(await ada.get("/account/people?search=B_b")).partition("Search")[2]
    assert "bob@" in said(await ada.get("/account/people?search=BOB@mail"))

    invite = ("/account/people", "/account/people/invite")
    shown = await ada.send(*invite, username="carol", email="")
    link = shown.text.partition(f"{ORIGIN}/v2/web/welcome?link=")[2][:43]
    assert "carol@towpath.example" in said(await town.browser().get(f"/v2/web/welcome?link={link}"))
    mailed = await ada.send(*invite, username="dora", email="dora@mail.example")
    assert "link=" not in mailed.text, "or the address would not be proven"
    await town.post.delivered()
    assert town.mailbox.messages[-1]["To"] == "dora@mail.example"
    for username, email in (("bob", ""), ("x y", ""), ("eve", "x")):
        assert (await ada.send(*invite, username=username, email=email)).status_code == 422

    assert (await ada.send("/account/people", "/account/people/suspend")).status_code == 303
    assert "suspended" in said(await ada.get("/account/people"))
    assert (await bob.http.get("/account")).status_code == 303
    await ada.send("/account/people", "/account/people/restore")
    await bob.log_in("bob")
    assert (await bob.http.get("/account")).status_code == 200
    [own] = await town.rows("SELECT id FROM account WHERE administrator")
    assert (
        await ada.send("/account/people", "/account/people/suspend", account=str(own["id"]))
    ).status_code == 409


async def test_only_administrators_do_what_administrators_do(town: Town) -> None:
    ada = await town.settle("ada", administrator=True)
    bob = await town.settle("bob")
    [row] = await town.rows("SELECT id FROM account WHERE administrator")
    token = (await bob.get("/account")).text.partition('name="csrf" value="')[2][:64]
    for act in ("invite", "suspend", "restore"):
        answer = await bob.http.post(
            f"/account/people/{act}",
            data={"csrf": token, "account": str(row["id"]), "username": "eve"},
            headers={"Origin": ORIGIN},
        )
        assert answer.status_code == 404, act
    assert (await ada.http.get("/account")).status_code == 200
