"""Guessing names and passwords. References: OWASP ASVS 5.0 (V6), NIST SP 800-63B-4.

The work for a password is counted in calls of the hasher, not in seconds.
"""

import asyncio
import re

import httpx

from plugins.nexus_people import PASSWORD, Town, said
from towpath.nexus.people.throttle import ACCOUNT_SIZE, ADDRESS_SIZE, BROWSER_SIZE, MAIL_SIZE

WRONG = "not the password"


def without_names(page: httpx.Response) -> tuple[int, str]:
    """What a stranger could compare: all but what they typed, and tokens of their own."""
    text = re.sub(r'value="[^"]*"', "", page.text)
    return page.status_code, text


async def test_a_name_that_nobody_has_looks_like_any_other(town: Town) -> None:
    """ASVS 6.3.8: the same text, the same status, the same headers, the same work."""
    await town.settle("ada")
    await town.settle("noaddress")
    await town.browser("203.0.113.99").log_in("first", WRONG)  # see the next test
    await town.run(
        "UPDATE identity SET email = NULL WHERE username ILIKE 'noaddress@towpath.example'"
    )
    for path, fields in (
        ("/v2/web/login", {"password": WRONG}),
        ("/v2/web/login", {"password": "x" * 5000}),
        ("/v2/web/login", {"password": ""}),
        ("/v2/web/forgot", {}),
    ):
        seen, work, headers = set(), [], []
        for number, name in enumerate(("ada", "nobody", "noaddress", "ada@elsewhere.example")):
            browser = town.browser(f"203.0.113.{number}")
            await browser.get(path)
            town.hasher.calls.clear()
            answer = await browser.send(path, username=name, **fields)
            work.append(list(town.hasher.calls))
            seen.add(without_names(answer))
            headers.append(sorted(answer.headers.keys()))
        assert len(seen) == 1, seen
        assert all(one == work[0] for one in work), work
        assert all(one == headers[0] for one in headers)


async def test_the_very_first_login_says_nothing_either(town: Town) -> None:
    """What is made at the first use is made for whoever comes first."""
    link = await town.invite(username="ada@towpath.example")
    await town.browser().send(
        link, "/v2/web/welcome", name="Ada", email="a@mail.example", password=PASSWORD
    )
    town.hasher.calls.clear()
    await town.browser().log_in("ada", WRONG)
    first = list(town.hasher.calls)
    town.hasher.calls.clear()
    await town.browser().log_in("nobody", WRONG)
    assert (first, town.hasher.calls) == (["hash", "verify"], ["verify"])


async def attempts(town: Town, count: int, name: str, address: str = "203.0.113.7") -> int:
    """How many of ``count`` guesses at once were looked at."""
    browsers = [town.browser(address) for _ in range(count)]
    await asyncio.gather(*(one.get("/v2/web/login") for one in browsers))
    town.hasher.calls.clear()
    answers = await asyncio.gather(*(one.log_in(name, WRONG) for one in browsers))
    looked_at = town.hasher.calls.count("verify")
    assert sorted({one.status_code for one in answers} - {403, 429}) == []
    assert [one.status_code for one in answers].count(403) == looked_at
    for one in answers:
        if one.status_code == 429:
            assert int(one.headers["retry-after"]) > 0
            assert "Too many attempts" in said(one)
    return looked_at


async def test_guesses_at_an_account_are_few(town: Town) -> None:
    """ASVS 6.3.1, NIST 3.2.2: ten, though they come at once, with new browsers and addresses."""
    owner = await town.settle("ada")
    assert await attempts(town, ACCOUNT_SIZE + 10, "ada") == ACCOUNT_SIZE
    assert await attempts(town, 2, "ADA@towpath.example", "198.51.100.1") == 0
    assert await attempts(town, 2, "ada@mail.example", "198.51.100.2") == 0
    right = await town.browser("198.51.100.3").log_in("ada", PASSWORD)
    assert right.status_code == 429, "not even the right one, from a browser that is not known"
    await owner.send("/v2/web/logout")
    assert (await owner.log_in("ada")).status_code == 303, "her own browser is not locked out"
    await town.run("UPDATE throttle SET at = at - interval '15 minutes'")
    assert await attempts(town, 5, "ada", "198.51.100.4") == 1
    assert await attempts(town, 20, "nobody", "198.51.100.5") == ACCOUNT_SIZE, "like any other"


async def test_who_hammers_on_fills_no_log(town: Town) -> None:
    """ASVS 16.4: refusals are recorded once a minute for an address."""
    await attempts(town, ACCOUNT_SIZE + 20, "nobody")
    records = "SELECT count(*) AS n FROM audit_pending"
    [before] = await town.rows(records)
    await attempts(town, 20, "nobody")
    assert await town.rows(records) == [before]


async def test_nobody_fills_somebody_elses_mailbox(town: Town) -> None:
    """ASVS 2.4.1: not with addresses that are to be confirmed either."""
    ada = await town.settle("ada")
    fields = {"name": "A", "organization": "", "email": "victim@mail.example"}
    codes = [
        (await ada.send("/account/profile", **fields, current=PASSWORD)).status_code
        for _ in range(MAIL_SIZE + 2)
    ]
    assert codes == [200] * MAIL_SIZE + [429] * 2
    await town.post.delivered()
    assert len(town.mailbox.messages) == MAIL_SIZE


async def test_a_stolen_session_does_not_get_the_address(town: Town) -> None:
    """ASVS 7.5.1: a new address could set a new password."""
    thief = await town.settle("ada")
    fields = {"name": "A", "organization": "", "email": "thief@mail.example"}
    assert (await thief.send("/account/profile", **fields, current="")).status_code == 422
    await town.post.delivered()
    assert town.mailbox.messages == []


async def test_a_known_browser_is_counted_by_itself(town: Town) -> None:
    """Who sits before it has no free hand either; others of the household are not hindered."""
    ada = await town.settle("ada")
    await ada.send("/v2/web/logout")
    codes = [(await ada.log_in("ada", WRONG)).status_code for _ in range(BROWSER_SIZE + 1)]
    assert codes == [403] * BROWSER_SIZE + [429]
    assert (await town.browser().log_in("ada")).status_code == 303


async def test_one_password_on_many_names(town: Town) -> None:
    """ASVS 6.3.1 (password spraying): an address is counted, an IPv6 network as one."""
    addresses = [f"2001:db8:7:7::{n:x}" for n in range(ADDRESS_SIZE + 5)]
    codes = []
    for number, address in enumerate(addresses):
        browser = town.browser(address)
        codes.append((await browser.log_in(f"name{number}", WRONG)).status_code)
    assert codes.count(403) == ADDRESS_SIZE
    assert (await town.browser("2001:db8:7:8::1").log_in("name", WRONG)).status_code == 403


async def test_who_knows_the_password_is_not_counted(town: Town) -> None:
    await town.settle("ada")
    for _ in range(ACCOUNT_SIZE + 5):
        assert (await town.browser().log_in("ada")).status_code == 303


async def test_nobody_fills_a_mailbox(town: Town) -> None:
    """ASVS 2.4.1."""
    await town.settle("ada")
    codes = [
        (await town.browser(f"203.0.113.{n}").send("/v2/web/forgot", username="ada")).status_code
        for n in range(MAIL_SIZE + 3)
    ]
    assert codes == [200] * MAIL_SIZE + [429] * 3
    await town.post.delivered()
    assert len(town.mailbox.messages) == MAIL_SIZE


async def test_a_stolen_session_does_not_get_the_password(town: Town) -> None:
    """ASVS 6.2.3, 7.5.1: changing it needs the old one, and guesses are counted."""
    thief = await town.settle("ada")
    town.hasher.calls.clear()
    for number in range(BROWSER_SIZE + 3):
        answer = await thief.send(
            "/account/security",
            "/account/security/password",
            current=f"guess {number}",
            password="nine quiet herons",
        )
        assert answer.status_code == 422
    assert town.hasher.calls.count("verify") == BROWSER_SIZE
    assert (await town.browser().log_in("ada")).status_code == 303


async def test_a_reset_link_sets_one_password(town: Town) -> None:
    """ASVS 6.4.3: two who have the link at the same time."""
    await town.settle("ada")
    await town.browser().send("/v2/web/forgot", username="ada")
    await town.post.delivered()
    browsers = [town.browser() for _ in range(4)]
    for one in browsers:
        await one.get(town.mailbox.link())
    answers = await asyncio.gather(
        *(
            one.send("/v2/web/reset", password=f"nine quiet herons {number}")
            for number, one in enumerate(browsers)
        )
    )
    assert sorted(one.status_code for one in answers) == [200, 410, 410, 410]


async def test_nothing_that_people_type_is_kept(town: Town) -> None:
    """ASVS 11.4.2, 14.2.1: no password, link or cookie in any table."""
    browser = await town.settle("ada")
    await town.browser().send("/v2/web/forgot", username="ada")
    await town.browser().log_in("swordfish", "typed in the wrong field")
    await town.post.delivered()
    link = town.mailbox.link().rpartition("=")[2]
    secrets = [*browser.cookies.values(), link, "swordfish", "typed in the wrong field"]
    tables = await town.rows(
        "SELECT table_name AS name FROM information_schema.tables"
        " WHERE table_schema = 'nexus' AND table_type = 'BASE TABLE'"
    )
    for table in tables:
        for row in await town.rows(f"SELECT t::text AS row FROM {table['name']} t"):
            assert not any(
                secret in row["row"] or secret.encode().hex() in row["row"] for secret in secrets
            ), table
