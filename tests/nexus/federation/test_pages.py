"""Logins at an upstream, and linking, through the pages, on a real database."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from plugins.federated import LAB, UNI, Federated, form_token
from towpath.nexus.federation.logins import settle_login
from towpath.nexus.federation.relying_party import proof_of
from towpath.nexus.store import accounts, identities, sessions


async def test_first_login_makes_identity_and_account(federated: Federated) -> None:
    browser = federated.browser()
    federated.uni.claims = {"auth_time": 1_700_000_000, "amr": ["pwd", "otp"], "acr": "loa2"}
    answer = await federated.log_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    ada = await federated.identity("ada@uni.example")
    assert (ada.name, ada.email, ada.status) == ("Ada", "ada@mail.example", "used")
    assert ada.email_verified
    page = await browser.get("/account/identities")
    assert "ada@uni.example" in page.text
    async with federated.database.connection() as connection:
        session = await sessions.find(
            connection, browser.http.cookies["__Host-towpath-session"], idle_s=60
        )
    assert session is not None
    (how,) = session.authentications.values()
    assert (how.amr, how.acr, how.at.timestamp()) == (["pwd", "otp"], "loa2", 1_700_000_000)


async def test_second_login_opens_the_same_account(federated: Federated) -> None:
    await federated.log_in(federated.browser())
    first = await federated.identity("ada@uni.example")
    federated.uni.claims = {"preferred_username": "ada.lovelace@uni.example", "name": "Ada L."}
    await federated.log_in(federated.browser())
    second = await federated.identity("ada.lovelace@uni.example")
    assert (second.id, second.account_id) == (first.id, first.account_id)
    assert second.name == "Ada L."


async def test_back_to_the_application_that_waits(federated: Federated) -> None:
    answer = await federated.log_in(federated.browser(), request="abc-123_x")
    assert answer.headers["location"] == "/v2/oauth2/authorize/resume?request=abc-123_x"


async def test_reserved_name_is_taken_over(federated: Federated) -> None:
    reserved = uuid4()
    async with federated.database.transaction() as connection:
        await identities.provision(
            connection, identity_id=reserved, username="ada@uni.example", provider=UNI
        )
    await federated.log_in(federated.browser())
    ada = await federated.identity("ada@uni.example")
    assert (ada.id, ada.status) == (reserved, "used")
    assert ada.account_id is not None


async def test_link_primary_unlink(federated: Federated) -> None:
    browser = federated.browser()
    await federated.log_in(browser)
    answer = await federated.link(browser)
    assert answer.headers["location"] == "/account/identities?told=linked"
    uni, lab = (
        await federated.identity("ada@uni.example"),
        await federated.identity("ada@lab.example"),
    )
    assert uni.account_id == lab.account_id
    # either opens the account now
    other = federated.browser()
    await federated.log_in(other, LAB)
    page = await other.get("/account/identities")
    assert "ada@uni.example" in page.text
    answer = await other.send(f"/account/identities/{lab.id}/primary")
    assert answer.status_code == 303
    await other.get("/account/identities")
    answer = await other.send(f"/account/identities/{uni.id}/unlink")
    assert answer.status_code == 303
    uni = await federated.identity("ada@uni.example")
    assert uni.account_id not in (None, lab.account_id)
    async with federated.database.connection() as connection:
        account = await accounts.account(connection, lab.account_id)  # type: ignore[arg-type]
    assert account is not None
    assert account.primary_identity == lab.id
    # the browser that had logged in as both is in the account still, by the other one
    page = await browser.get("/account/identities")
    assert "ada@uni.example" not in page.text
    assert "ada@lab.example" in page.text


async def test_identity_of_an_account_of_its_own_moves(federated: Federated) -> None:
    lab = federated.browser()
    await federated.log_in(lab, LAB)
    emptied = (await federated.identity("ada@lab.example")).account_id
    browser = federated.browser()
    await federated.log_in(browser)
    await federated.link(browser)
    moved = await federated.identity("ada@lab.example")
    assert moved.account_id == (await federated.identity("ada@uni.example")).account_id
    async with federated.database.connection() as connection:
        assert await accounts.account(connection, emptied) is None  # type: ignore[arg-type]
    assert (await lab.get("/account/identities")).status_code == 303


async def test_upstream_is_down(federated: Federated) -> None:
    browser = federated.browser()
    federated.uni.down = True
    await browser.get("/v2/web/login")
    answer = await browser.post(f"/v2/web/upstream/{UNI}", csrf=form_token(browser))
    assert answer.status_code == 502
    assert "does not answer at the moment" in answer.text
    federated.uni.down = False
    state = await federated.begin(browser, UNI)
    federated.uni.down = True
    answer = await federated.back(browser, UNI, state)
    assert answer.status_code == 502


async def test_wishes_are_handed_on(federated: Federated) -> None:
    browser = federated.browser()
    await federated.begin(browser, UNI, fresh="1", mfa="1")
    asked = parse_qs(urlsplit(browser.onward()).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    assert asked["acr_values"] == ["https://refeds.org/profile/mfa"]
    assert asked["code_challenge_method"] == ["S256"]
    await federated.begin(browser, UNI)
    asked = parse_qs(urlsplit(browser.onward()).query)
    assert "prompt" not in asked


async def test_two_first_logins_at_once(federated: Federated) -> None:
    """One identity and one account come of it."""
    claims = federated.uni.honest_claims()
    proof = proof_of(federated.uni.registered(), claims)
    assert proof.authenticated_at < datetime.now(UTC)

    async def once() -> UUID:
        async with federated.database.transaction() as connection:
            return await settle_login(connection, proof)

    assert len(set(await asyncio.gather(*(once() for _ in range(5))))) == 1
    async with federated.database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) AS n FROM account")
        assert await cursor.fetchone() == {"n": 1}
