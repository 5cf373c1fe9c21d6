"""What an application's login takes: the authorization of one who has agreed, and the code's
exchange for tokens."""

import re
from functools import partial
from html import unescape
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx

from bench.measure import BenchError
from bench.nexus_setting import ISSUER, Service, Setting, rate_of, spread, timed
from towpath.nexus import hashing
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.pages.frame import SESSION_COOKIE
from towpath.nexus.people import accounts
from towpath.nexus.people.accounts import NewPerson
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.store import clients, sessions
from towpath.nexus.store.accounts import account_of_identity
from towpath.platform.settings import PeopleSettings

CODES = 1_000
REDIRECT = "https://app.example/callback"
SCOPE = f"openid profile email {TRANSFER_ALL}"
_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


def measure(setting: Setting) -> dict[str, float]:
    """Each by itself, and exchanges with several under way."""
    return setting.run(partial(_measure, setting.count(CODES)))


async def _measure(count: int, service: Service) -> dict[str, float]:
    client = await _application(service)
    service.http.cookies.set(SESSION_COOKIE, await _session(service))
    asked = {
        "client_id": str(client.client_id),
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": SCOPE,
        "state": "a state",
        "access_type": "offline",
    }
    await _agree(service.http, asked)
    codes: list[str] = []

    async def authorize() -> None:
        answer = await service.http.get("/v2/oauth2/authorize", params=asked)
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise BenchError(f"an authorization was answered {answer.status_code}")
        codes.extend(parse_qs(urlsplit(answer.headers["Location"]).query)["code"])

    async def exchange() -> None:
        answer = await service.http.post(
            "/v2/oauth2/token",
            data={
                "grant_type": "authorization_code",
                "code": codes.pop(),
                "redirect_uri": REDIRECT,
            },
            auth=(str(client.client_id), client.client_secret),
        )
        if len(answer.raise_for_status().json()["other_tokens"]) != 1:
            raise BenchError("tokens are missing")

    authorizations = await timed(authorize, 2 * count)
    exchanges = await timed(exchange, count)
    rate, cpu_s = await rate_of(exchange, count)
    return {
        **spread("authorization", authorizations),
        **spread("code_exchange", exchanges),
        "code_exchanges_per_s": round(rate, 1),
        "code_exchange_cpu_ms": round(cpu_s * 1000, 2),
    }


async def _application(service: Service) -> ClientSecret:
    made = ClientSecret(uuid4(), hashing.new_secret())
    async with service.database.transaction() as connection:
        await clients.add_client(
            connection,
            client_id=made.client_id,
            name="Bench",
            secret=made.client_secret,
            client_type="confidential_client",
        )
        await clients.update(connection, made.client_id, {"redirect_uris": [REDIRECT]})
    return made


async def _session(service: Service) -> str:
    """Of somebody who has logged in: the cookie's value."""
    value, session_id = hashing.new_token(), uuid4()
    async with service.database.transaction() as connection:
        provider = await accounts.local_provider(connection, PeopleSettings(), ISSUER)
        person = NewPerson(f"somebody@{provider.domains[0]}", "Some Body", None, False)
        identity_id = await accounts.register(connection, provider, person, None)
        account = await account_of_identity(connection, identity_id)
        assert account is not None, "just made"
        await sessions.create(
            connection,
            session_id=session_id,
            value=value,
            account_id=account.id,
            address="127.0.0.1",
            user_agent="bench",
            lifetime_s=3600,
        )
        await sessions.authenticated(
            connection,
            session_id,
            identity_id,
            provider_id=provider.id,
            amr=["pwd"],
        )
    return value


async def _agree(http: httpx.AsyncClient, asked: dict[str, str]) -> None:
    page = await http.get("/v2/oauth2/authorize", params=asked)
    form = {name: unescape(value) for name, value in _FIELD.findall(page.text)}
    answer = await http.post(
        "/v2/oauth2/authorize/consent",
        data=form | {"decision": "allow"},
        headers={"Origin": ISSUER},
    )
    if answer.status_code != httpx.codes.SEE_OTHER:
        raise BenchError(f"the consent was answered {answer.status_code}")
