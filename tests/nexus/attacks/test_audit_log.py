"""The audit log is kept for ever: nobody fills it by what costs nothing (OWASP ASVS 5.0, 16.2)."""

from plugins.federated import UNI, Federated, form_token
from plugins.nexus import REDIRECT, Nexus, request
from towpath.platform.database import Database


async def records(database: Database) -> int:
    """How many there are, sealed or not."""
    async with database.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM audit) + (SELECT count(*) FROM audit_pending) AS n"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row["n"])


async def test_answers_to_logins_that_nobody_began(federated: Federated) -> None:
    browser = federated.browser()
    await browser.get("/v2/web/login")
    before = await records(federated.database)
    for _ in range(3):
        assert (await federated.back(browser, UNI, "made-up")).status_code == 400
        answer = await browser.post(
            "/v2/web/passkey", csrf=form_token(browser), credential="made up"
        )
        assert answer.status_code == 403
    assert await records(federated.database) <= before + 1


async def test_requests_that_are_cancelled_by_nobody(nexus: Nexus) -> None:
    client = await nexus.client(redirect_uris=[REDIRECT])
    before = await records(nexus.database)
    async with nexus.browser() as browser:
        page = await browser.get("/v2/oauth2/authorize", params=request(client))
        begun = page.headers["location"].partition("request=")[2]
        page = await browser.get(f"/v2/oauth2/authorize/cancel?request={begun}")
        assert "access_denied" in page.headers["location"]
    assert await records(nexus.database) == before
