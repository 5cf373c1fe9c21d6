"""The Auth API as the Globus clients use it, on a real database."""

import asyncio
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from plugins.nexus import ISSUER, Nexus
from towpath.nexus.bootstrap import OPERATOR, ClientSecret, bootstrap
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.platform.errors import ApiError
from towpath.platform.guard import FRESH_S, Guard


async def test_token_document(nexus: Nexus) -> None:
    answer = await nexus.post(
        "token",
        nexus.operator,
        grant_type="client_credentials",
        scope=TRANSFER_ALL,
    )
    document = answer.json()
    assert len(document.pop("access_token")) >= 43
    assert document == {
        "scope": TRANSFER_ALL,
        "expires_in": 172800,
        "token_type": "Bearer",
        "resource_server": "transfer.api.globus.org",
        "other_tokens": [],
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_one_token_for_each_resource_server(nexus: Nexus) -> None:
    answer = await nexus.post(
        "token",
        nexus.operator,
        grant_type="client_credentials",
        scope=f"{TRANSFER_ALL} openid email",
    )
    document = answer.json()
    assert (document["resource_server"], document["scope"]) == ("auth.globus.org", "openid email")
    assert [t["resource_server"] for t in document["other_tokens"]] == ["transfer.api.globus.org"]


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, 400, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "no:such"}, 400, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "openid]["}, 400, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "email[openid]"}, 400, "invalid_scope"),
    ],
)
async def test_refused_grants(nexus: Nexus, form: dict[str, str], status: int, error: str) -> None:
    answer = await nexus.post("token", nexus.operator, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_wrong_secret_is_unauthorized_everywhere(nexus: Nexus) -> None:
    wrong = [
        ClientSecret(nexus.operator.client_id, nexus.transfer.client_secret),
        ClientSecret(uuid4(), nexus.operator.client_secret),
        None,
    ]
    for client in wrong:
        for path in ("token", "token/introspect", "token/validate"):
            answer = await nexus.post(path, client, grant_type="client_credentials", token="x")
            assert answer.status_code == 401
            assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


async def test_only_the_tokens_own_service_and_client_see_it(nexus: Nexus) -> None:
    transfer, auth = await nexus.token(), await nexus.token("openid")
    for client, token, active in (
        (nexus.transfer, transfer, True),
        (nexus.operator, transfer, True),
        (nexus.transfer, auth, False),
        (nexus.transfer, "nonsense\0", False),
    ):
        answer = await nexus.post("token/introspect", client, token=token)
        assert answer.json()["active"] is active
        assert active or answer.json() == {"active": False}


async def test_introspection_document(nexus: Nexus) -> None:
    token = await nexus.token()
    include = "identity_set,identity_set_detail,session_info"
    document = (
        await nexus.post("token/introspect", nexus.transfer, token=token, include=include)
    ).json()
    sub = str(nexus.operator.client_id)
    assert document["sub"] == document["client_id"] == sub
    assert document["username"] == f"{sub}@clients.auth.globus.org"
    assert document["exp"] - document["iat"] == 172800
    assert document["identity_set"] == [sub]
    assert document["identity_set_detail"][0]["sub"] == sub
    assert document["iss"] == ISSUER
    assert "transfer.api.globus.org" in document["aud"]


async def test_revoked_and_expired_tokens_are_dead(nexus: Nexus) -> None:
    token, other = await nexus.token(), await nexus.token()
    assert (await nexus.post("token/validate", nexus.operator, token=token)).json()["active"]
    for form in ({"client_id": "x"}, {"token": token, "client_id": str(uuid4())}):
        answer = await nexus.post("token/revoke", None, **form)
        assert (answer.status_code, answer.json()) == (200, {"active": False})
    answer = await nexus.post("token/validate", nexus.operator, token=token)
    assert answer.json() == {"active": False}
    async with nexus.database.connection() as connection:
        await connection.execute("UPDATE token SET expires_at = now() - interval '1 second'")
    answer = await nexus.post("token/validate", nexus.operator, token=other)
    assert answer.json() == {"active": False}
    await nexus.token()
    async with nexus.database.connection() as connection:
        cursor = await connection.execute("SELECT count(*) AS n FROM token")
        assert await cursor.fetchone() == {"n": 1}, "expired ones are swept"


async def test_userinfo(nexus: Nexus) -> None:
    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    url = "/v2/oauth2/userinfo"
    answer = await nexus.http.get(url, headers=bearer(await nexus.token("openid profile")))
    assert answer.json()["preferred_username"].startswith(str(nexus.operator.client_id))
    posted = await nexus.http.post(url, headers=bearer(await nexus.token("openid profile")))
    assert posted.json() == answer.json()  # OpenID Connect Core 1.0, 5.3.1
    answer = await nexus.http.get(url, headers=bearer(await nexus.token("email")))
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "FORBIDDEN")
    for token in (await nexus.token(), "x"):
        assert (await nexus.http.get(url, headers=bearer(token))).status_code == 401


async def test_identities(nexus: Nexus) -> None:
    sub = str(nexus.operator.client_id)
    auth = httpx.BasicAuth(sub, nexus.operator.client_secret)
    for query in (
        {"ids": f"{sub},{uuid4()}"},
        {"usernames": f"{sub.upper()}@CLIENTS.auth.globus.org", "provision": "false"},
    ):
        answer = await nexus.http.get("/v2/api/identities", params=query, auth=auth)
        assert [one["id"] for one in answer.json()["identities"]] == [sub]
    answer = await nexus.http.get(f"/v2/api/identities/{sub}", auth=auth)
    assert answer.json()["identity"]["status"] == "used"
    for query in ({}, {"ids": "x"}, {"ids": sub, "usernames": "x"}, {"usernames": "a\0b"}):
        answer = await nexus.http.get("/v2/api/identities", params=query, auth=auth)
        assert answer.status_code == 400
    assert (await nexus.http.get("/v2/api/identities", params={"ids": sub})).status_code == 401


async def test_discovery(nexus: Nexus) -> None:
    document = (await nexus.http.get("/.well-known/openid-configuration")).json()
    same = await nexus.http.get("/.well-known/oauth-authorization-server")  # RFC 8414
    assert same.json() == document
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert TRANSFER_ALL in document["scopes_supported"]
    keys = (await nexus.http.get(document["jwks_uri"].removeprefix(ISSUER))).json()["keys"]
    assert keys[0]["kty"] == "RSA"
    assert keys[0]["alg"] in document["id_token_signing_alg_values_supported"]


async def test_no_secret_in_the_database(nexus: Nexus) -> None:
    token = await nexus.token()
    secrets = (token, nexus.operator.client_secret, nexus.transfer.client_secret)
    async with nexus.database.connection() as connection:
        for table in ("client", "token", "identity", "service_client"):
            cursor = await connection.execute(f"SELECT t::text AS row FROM {table} t")  # type: ignore[arg-type]
            rows = await cursor.fetchall()
            assert rows
            for row in rows:
                assert not any(s in row["row"] or s.encode().hex() in row["row"] for s in secrets)


async def test_bootstrap_repairs_what_was_lost(nexus: Nexus, tmp_path: Path) -> None:
    again = await bootstrap(nexus.database, tmp_path)
    assert again[OPERATOR] == nexus.operator
    (tmp_path / "operator.json").unlink()
    renewed = (await bootstrap(nexus.database, tmp_path))[OPERATOR]
    assert renewed.client_id == nexus.operator.client_id
    assert renewed.client_secret != nexus.operator.client_secret
    nexus.operator = renewed
    await nexus.token()
    async with nexus.database.transaction() as connection:
        await connection.execute("TRUNCATE client, identity CASCADE")
    assert (await bootstrap(nexus.database, tmp_path))[OPERATOR] == renewed
    await nexus.token()
    assert (tmp_path / "operator.json").stat().st_mode & 0o077 == 0
    assert renewed.client_secret not in repr(renewed)


async def test_guard_and_nexus_agree(nexus: Nexus) -> None:
    guard = Guard(nexus.http, nexus.transfer.client_id, nexus.transfer.client_secret)
    found = await guard.principal(await nexus.token())
    assert found.sub == nexus.operator.client_id
    assert TRANSFER_ALL in found.scopes
    assert found.identity_set == {found.sub}


@pytest.mark.long
async def test_a_revoked_token_is_refused_everywhere_within_five_seconds(
    nexus: Nexus,
) -> None:
    """By the real clock; `tests/platform/test_guard.py` has it with one that is set."""
    guards = [
        Guard(nexus.http, nexus.transfer.client_id, nexus.transfer.client_secret) for _ in range(3)
    ]
    token = await nexus.token()
    await asyncio.gather(*(guard.principal(token) for guard in guards))
    await nexus.post("token/revoke", nexus.operator, token=token)
    revoked_at = time.monotonic()

    async def refused(guard: Guard) -> float:
        while True:
            try:
                await guard.principal(token)
            except ApiError as error:
                if error.status == 401:
                    return time.monotonic() - revoked_at
                raise
            await asyncio.sleep(0.01)

    took = await asyncio.gather(*map(refused, guards))
    assert FRESH_S - 1 < max(took) < FRESH_S + 0.5  # and not sooner: they do keep the answer
