"""What an account, a consent or a login ends must end what was given for it, whatever the moment.

Each names the section of RFC 9700 (Best Current Practice for OAuth 2.0 Security), or what else
describes it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plugins.nexus import REDIRECT, Nexus, Person
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.federation import logins
from towpath.nexus.people import accounts
from towpath.nexus.scopes import GROUPS_ALL, TRANSFER_ALL
from towpath.nexus.store import authorizations, consents, scopes, sessions, tokens
from towpath.nexus.store.clients import DEPENDENT_TOKEN
from towpath.nexus.store.scopes import Dependency
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


async def dependents(
    nexus: Nexus, client: ClientSecret, cookie: str
) -> tuple[ClientSecret, dict[str, Any], str]:
    """A service, the tokens of a login for it, and its own refresh token for another service."""
    service, inner = [await nexus.client(client_type="resource_server") for _ in range(2)]
    names = [f"https://auth.globus.org/scopes/{one.client_id}/do" for one in (service, inner)]
    async with nexus.database.transaction() as connection:
        outer, below = [
            await scopes.add(
                connection,
                client_id=one.client_id,
                scope_string=name,
                fields={"name": "Do", "description": "Do it"},
            )
            for one, name in zip((service, inner), names, strict=True)
        ]
        need = Dependency(outer, below, optional=False, requires_refresh_token=True)
        await scopes.set_dependencies(connection, outer, [need])
    document = await nexus.log_in_at(client, cookie=cookie, scope=names[0], access_type="offline")
    answer = await nexus.post(
        "token",
        service,
        grant_type=DEPENDENT_TOKEN,
        token=document["access_token"],
        access_type="offline",
    )
    (one,) = answer.json()
    return service, document, one["refresh_token"]


async def active(nexus: Nexus, client: ClientSecret, token: str) -> bool:
    answer = await nexus.post("token/validate", client, token=token)
    return bool(answer.json()["active"])


async def test_a_service_keeps_nothing_when_a_login_ends_after_days(nexus: Nexus) -> None:
    """RFC 7009, 2.1: what was given for a token ends with it, also if the access token that was
    between them has expired and is gone.
    """
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    service, document, refresh_token = await dependents(nexus, client, cookie)
    async with nexus.database.connection() as connection:
        await connection.execute(
            "UPDATE token SET expires_at = now() - interval '1 second' WHERE kind = 'access'"
        )
    await nexus.token()  # what makes one sweeps others away
    assert await active(nexus, service, refresh_token)
    await nexus.post("token/revoke", client, token=document["refresh_token"])
    assert not await active(nexus, service, refresh_token)


async def test_a_login_that_ends_while_a_service_is_given_more(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7009, 2.1: nothing is given for a token that is just being revoked."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    service, document, _ = await dependents(nexus, client, cookie)
    under_way: list[asyncio.Task[Any]] = []
    below = consents.below

    async def meanwhile(connection: Connection, *arguments: Any) -> Any:
        gone = nexus.post("token/revoke", client, token=document["refresh_token"])
        under_way.append(asyncio.create_task(gone))
        await asyncio.wait(under_way, timeout=0.2)
        return await below(connection, *arguments)

    monkeypatch.setattr(consents, "below", meanwhile)
    answer = await nexus.post(
        "token",
        service,
        grant_type=DEPENDENT_TOKEN,
        token=document["access_token"],
        access_type="offline",
    )
    await under_way[0]
    assert not await active(nexus, service, answer.json()[0]["refresh_token"])


async def test_a_code_is_exchanged_while_the_login_ends(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9700, 4.5: one waits for the other, and neither for ever."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    ada = await nexus.person()
    _, cookie = await nexus.log_in(ada)
    code = (await nexus.answer(cookie, client))["code"]
    under_way: list[asyncio.Task[None]] = []
    use_code = authorizations.use_code

    async def ended() -> None:
        async with nexus.database.transaction() as connection:
            await accounts.suspend(connection, ada.account_id)

    async def meanwhile(connection: Connection, one: str) -> None:
        under_way.append(asyncio.create_task(ended()))
        await asyncio.wait(under_way, timeout=0.2)
        await use_code(connection, one)

    monkeypatch.setattr(authorizations, "use_code", meanwhile)
    answer = await nexus.post(
        "token", client, grant_type="authorization_code", code=code, redirect_uri=REDIRECT
    )
    await under_way[0]
    assert answer.status_code == 200
    assert not await active(nexus, client, answer.json()["access_token"])


async def test_a_code_whose_consent_is_gone_leaves_nothing(nexus: Nexus) -> None:
    """OWASP ASVS 5.0, 2.4.1: what nobody can use is not kept for ever."""
    client = await nexus.client(redirect_uris=[REDIRECT])
    _, cookie = await nexus.log_in(await nexus.person())
    code = (await nexus.answer(cookie, client))["code"]
    async with nexus.database.connection() as connection:
        await connection.execute("DELETE FROM consent WHERE client_id = %s", (client.client_id,))
    answer = await nexus.post(
        "token", client, grant_type="authorization_code", code=code, redirect_uri=REDIRECT
    )
    assert answer.status_code == 401
    async with nexus.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT 1 FROM oauth_grant WHERE client_id = %s", (client.client_id,)
        )
        assert await cursor.fetchone() is None


async def test_the_same_scopes_in_another_order_at_once(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OWASP ASVS 5.0, 15.4.4: two requests of one client do not wait for each other's rows."""
    client = await nexus.client()
    put = consents.put

    async def slowly(connection: Connection, **fields: Any) -> int:
        made = await put(connection, **fields)
        await asyncio.sleep(0.05)
        return made

    monkeypatch.setattr(consents, "put", slowly)
    answers = await asyncio.gather(
        *(
            nexus.post("token", client, grant_type="client_credentials", scope=scope)
            for scope in (f"{TRANSFER_ALL} {GROUPS_ALL}", f"{GROUPS_ALL} {TRANSFER_ALL}")
        )
    )
    assert [answer.status_code for answer in answers] == [200, 200]
