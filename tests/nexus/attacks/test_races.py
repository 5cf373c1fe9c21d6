"""What an account, a consent or a login ends must end what was given for it, whatever the moment.

Each names the section of RFC 9700 (Best Current Practice for OAuth 2.0 Security), or what else
describes it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plugins.nexus import REDIRECT, Nexus, Person
from towpath.nexus.federation import logins
from towpath.nexus.people import accounts
from towpath.nexus.store import sessions, tokens
from towpath.platform.database import Connection


@pytest.mark.parametrize("end", [accounts.suspend, accounts.delete])
async def test_a_code_made_while_the_account_ends(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch, end: Callable[..., Awaitable[object]]
) -> None:
    """NIST SP 800-63B-4, 4.5: who is suspended keeps nothing, not even what is given to them just
    then.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    ada = await nexus.person()
    _, cookie = await nexus.log_in(ada)

    async def ended() -> None:
        async with nexus.database.transaction() as connection:
            await end(connection, ada.account_id)

    under_way: list[asyncio.Task[None]] = []
    add_grant = tokens.add_grant

    async def meanwhile(connection: Connection, **fields: Any) -> Any:
        under_way.append(asyncio.create_task(ended()))
        # it comes to its end, or waits for us
        await asyncio.wait(under_way, timeout=0.2)
        return await add_grant(connection, **fields)

    monkeypatch.setattr(tokens, "add_grant", meanwhile)
    code = (await nexus.answer(cookie, client))["code"]
    await under_way[0]
    answer = await nexus.post(
        "token", client, grant_type="authorization_code", code=code, redirect_uri=REDIRECT
    )
    assert answer.status_code == 401, answer.text


async def test_an_unlinked_identity_leaves_no_login_behind(nexus: Nexus) -> None:
    """OWASP ASVS 5.0, 7.4.2: what it alone was the proof for ends, also if it has logged out since;
    what another identity of the account was the proof for goes on.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    ada, other = await nexus.person("ada"), await nexus.person("other")
    async with nexus.database.transaction() as connection:
        await connection.execute(
            "UPDATE identity SET account_id = %s WHERE id = %s", (ada.account_id, other.identity_id)
        )
        await connection.execute("DELETE FROM account WHERE id = %s", (other.account_id,))
    given = {}
    for name, who in (("ada", ada), ("other", other)):
        person = Person(who.identity_id, ada.account_id, who.username)
        session, cookie = await nexus.log_in(person)
        document = await nexus.log_in_at(client, cookie=cookie, access_type="offline")
        given[name] = document["refresh_token"]
        async with nexus.database.transaction() as connection:
            await sessions.end(connection, session)
    async with nexus.database.transaction() as connection:
        assert await logins.unlink(connection, ada.account_id, other.identity_id)
    active = {
        name: (await nexus.post("token/validate", client, token=token)).json()["active"]
        for name, token in given.items()
    }
    assert active == {"ada": True, "other": False}
