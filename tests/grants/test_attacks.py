"""Attacks on an endpoint that takes grants: our real server refuses them by itself.

Each test says what the attacker has. The service's authority may be stolen up to that point.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins.granting import QUICK, READ, WRITE, Granting, granting, hash_of
from towpath.demo.authority import Domain
from towpath.grants import KeySet, SigningKey, mint
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.proxies import make_proxy
from towpath.gridftp.server.commands.base import Refused
from towpath.gridftp.wire.replies import Reply


@pytest.fixture(scope="module")
def endpoint(domain_a: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Granting]:
    """An endpoint whose clock is right."""
    root = tmp_path_factory.mktemp("collection")
    (root / "file").write_bytes(b"content")
    with granting(domain_a, root) as one:
        yield one


@pytest.fixture(scope="module")
def thief(domain_a: Domain) -> Credential:
    """Who has the authority's key has made himself a certificate with the service's very name."""
    return domain_a.issue("thief", "Alice").credential()


def seen_of(endpoint: Granting) -> str:
    """All that the endpoint's logs were told."""
    return repr(endpoint.server.events) + repr(endpoint.server.logins)


async def refusal(
    endpoint: Granting, token: str, credential: Credential | None = None
) -> GridFTPError:
    """How a login fails. Nobody repeats the token, in an error or a log."""
    with pytest.raises(GridFTPError) as refused:
        await endpoint.open(token, credential)
    error = refused.value
    told = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}" + seen_of(endpoint)
    assert not [part for part in token.split(".") if len(part) > 20 and part in told]
    return error


async def expect(
    endpoint: Granting, token: str, reason: str, kind: Kind, credential: Credential | None = None
) -> None:
    error = await refusal(endpoint, token, credential)
    assert error.reply is not None
    assert error.reply.startswith(f"530 GRANT {reason}: ")
    assert error.kind is kind
    assert endpoint.server.logins[-1].outcome == reason


def raw(header: dict[str, Any], claims: dict[str, Any], sign: Any) -> str:
    """A statement with any header, signed by a function of bytes."""

    def packed(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = packed(json.dumps(header).encode()) + b"." + packed(json.dumps(claims).encode())
    return (signed + b"." + packed(sign(signed))).decode()


# What is shown at the login


async def test_a_good_grant_is_taken_and_its_id_is_logged(endpoint: Granting) -> None:
    grant = endpoint.grant()
    session = await endpoint.open(mint(grant, endpoint.key))
    assert (await session.size("/file")) == 7
    assert await session.close()
    assert endpoint.server.logins[-1].grant == grant.grant_id
    assert endpoint.server.logins[-1].outcome == "ok"


@pytest.mark.parametrize(
    ("changes", "reason", "kind"),
    [
        ({"audience": "another endpoint"}, "audience", Kind.GRANT_REFUSED),
        ({"issuer": "https://evil.example.org"}, "issuer", Kind.GRANT_REFUSED),
        ({"account": "another"}, "account", Kind.MAPPING),
        ({"account": "no-such-account"}, "account", Kind.MAPPING),
        ({"account": None}, "account", Kind.MAPPING),
        ({"certificate_sha256": "ab" * 32}, "certificate", Kind.GRANT_REFUSED),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
async def test_a_valid_grant_for_somewhere_else(
    endpoint: Granting, changes: dict[str, Any], reason: str, kind: Kind
) -> None:
    await expect(endpoint, endpoint.token(**changes), reason, kind)


async def test_an_expired_grant(endpoint: Granting) -> None:
    now = int(time.time())
    token = endpoint.token(issued=now - 660, expires=now - 62)
    await expect(endpoint, token, "expired", Kind.GRANT_EXPIRED)


async def test_a_grant_issued_in_the_future(endpoint: Granting) -> None:
    now = int(time.time())
    token = endpoint.token(issued=now + 90, expires=now + 600)
    await expect(endpoint, token, "clock", Kind.GRANT_EXPIRED)


async def test_a_grant_that_lives_too_long(endpoint: Granting) -> None:
    claims = endpoint.grant().to_claims()
    claims["exp"] = claims["iat"] + 601
    header = {"alg": "EdDSA", "kid": endpoint.key.key_id, "typ": "towpath-grant+jwt"}
    token = raw(header, claims, endpoint.key.sign)
    await expect(endpoint, token, "altered", Kind.GRANT_REFUSED)


async def test_an_altered_grant(endpoint: Granting) -> None:
    """The claims are others than those that were signed: read has become read and write."""
    head, _, mark = endpoint.token(READ).split(".")
    other = json.dumps(endpoint.grant(WRITE).to_claims()).encode()
    body = base64.urlsafe_b64encode(other).rstrip(b"=").decode()
    await expect(endpoint, f"{head}.{body}.{mark}", "altered", Kind.GRANT_REFUSED)


async def test_a_grant_signed_with_a_key_of_the_attackers(endpoint: Granting) -> None:
    token = mint(endpoint.grant(), SigningKey.new())
    await expect(endpoint, token, "key", Kind.GRANT_EXPIRED)


async def test_a_grant_without_a_signature(endpoint: Granting) -> None:
    header = {"alg": "none", "kid": endpoint.key.key_id, "typ": "towpath-grant+jwt"}
    token = raw(header, endpoint.grant().to_claims(), lambda _data: b"")
    await expect(endpoint, token, "altered", Kind.GRANT_REFUSED)


async def test_a_grant_signed_with_the_public_key_as_a_shared_secret(endpoint: Granting) -> None:
    """The confusion of algorithms: HS256 with what everybody may know."""
    (published,) = KeySet.of([endpoint.key]).to_jwks()["keys"]
    secret = base64.urlsafe_b64decode(published["x"] + "=")
    header = {"alg": "HS256", "kid": endpoint.key.key_id, "typ": "towpath-grant+jwt"}
    token = raw(
        header,
        endpoint.grant().to_claims(),
        lambda data: hmac.new(secret, data, hashlib.sha256).digest(),
    )
    await expect(endpoint, token, "altered", Kind.GRANT_REFUSED)


async def test_a_grant_that_was_used_is_replayed(endpoint: Granting) -> None:
    token = endpoint.token()
    session = await endpoint.open(token)
    await expect(endpoint, token, "replayed", Kind.GRANT_EXPIRED)  # while it is open
    assert await session.close()
    await expect(endpoint, token, "replayed", Kind.GRANT_EXPIRED)


async def test_three_grants_that_are_none_end_the_connection(endpoint: Granting) -> None:
    session = await Session.start(
        Server("localhost", endpoint.server.port),
        credential=endpoint.credential,
        trust=endpoint.domain.trust,
        token=lambda: "first",
        timeouts=QUICK,
    )
    futures = session.submit(["USER :grant:", "PASS second", "USER :grant:", "PASS third"])
    with pytest.raises(GridFTPError):
        await session.accepted()
    await asyncio.wait(futures)
    assert session.closed
    await session.give_up()


async def test_a_server_that_repeats_the_token_does_not_get_it_into_an_error(
    endpoint: Granting,
) -> None:
    session = await endpoint.open(endpoint.token())
    token = endpoint.token()
    error = session._about_token(Reply(530, (f"GRANT altered: {token}".encode(),)))
    assert str(error).endswith("530 GRANT altered: ...")
    assert await session.close()


# Who has stolen what


async def test_the_authoritys_key_and_a_stolen_grant(endpoint: Granting, thief: Credential) -> None:
    """A certificate in the service's name is no certificate of the grant's."""
    await expect(endpoint, endpoint.token(), "certificate", Kind.GRANT_REFUSED, thief)


async def test_the_authoritys_key_without_a_grant(endpoint: Granting, thief: Credential) -> None:
    with pytest.raises(GridFTPError) as refused:
        await Session.open(
            Server("localhost", endpoint.server.port),
            credential=thief,
            trust=endpoint.domain.trust,
            timeouts=QUICK,
        )
    assert refused.value.kind is Kind.LOGIN
    assert refused.value.reply is not None
    assert "logins are by grant here" in refused.value.reply


async def test_the_authoritys_key_and_a_grant_made_for_the_thief_by_nobody(
    endpoint: Granting, thief: Credential
) -> None:
    token = mint(endpoint.grant(certificate_sha256=hash_of(thief)), SigningKey.new())
    await expect(endpoint, token, "key", Kind.GRANT_EXPIRED, thief)


async def test_a_stolen_proxy_of_the_service_and_a_stolen_grant(endpoint: Granting) -> None:
    proxy = make_proxy(endpoint.credential, timedelta(hours=1), datetime.now(UTC))
    await expect(endpoint, endpoint.token(), "certificate", Kind.GRANT_REFUSED, proxy)


async def test_a_stolen_grant_without_a_certificate(endpoint: Granting) -> None:
    """In clear text, as whoever sees the network would try it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port)
    await reader.readline()
    token = endpoint.token()
    writer.write(f"USER :grant:\r\nPASS {token}\r\n".encode())
    assert (await reader.readline()).startswith(b"530 ")
    assert (await reader.readline()).startswith(b"530 ")
    writer.close()
    session = await endpoint.open(token)  # it was not even used up by that
    assert await session.close()


async def test_a_certificate_of_an_authority_that_the_endpoint_does_not_know(
    endpoint: Granting, domain_b: Domain
) -> None:
    other = domain_b.user.credential()
    error = await refusal(endpoint, endpoint.token(certificate_sha256=hash_of(other)), other)
    assert error.kind is Kind.AUTHENTICATION


# SITE GRANT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": "another"}, "session"),
        ({"collection": "another"}, "session"),
        ({"account": "another"}, "session"),
        ({"account": None}, "session"),
        ({"audience": "another"}, "audience"),
        ({"issuer": "https://evil.example.org"}, "issuer"),
        ({"certificate_sha256": "ab" * 32}, "certificate"),
        ({"issued": 1000, "expires": 1600}, "expired"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
async def test_a_renewal_that_is_for_something_else(
    endpoint: Granting, changes: dict[str, Any], reason: str
) -> None:
    session = await endpoint.open(endpoint.token(READ))
    token = endpoint.token(WRITE, **changes)
    with pytest.raises(GridFTPError) as refused:
        await session.renew(token)
    assert refused.value.reply is not None
    assert refused.value.reply.startswith(f"530 GRANT {reason}: ")
    assert token.split(".")[1] not in f"{refused.value!r}{seen_of(endpoint)}"
    # what it was opened with still holds, and no more than that
    assert await session.size("/file") == 7
    with pytest.raises(GridFTPError) as refused:
        await session.mkdir("/made")
    assert refused.value.kind is Kind.PERMISSION_DENIED
    assert await session.close()


async def test_a_renewal_is_replayed_across_sessions(endpoint: Granting) -> None:
    first_token, renewal = endpoint.token(), endpoint.token()
    first = await endpoint.open(first_token)
    second = await endpoint.open(endpoint.token())
    await first.renew(renewal)
    for session, token in ((first, renewal), (second, renewal), (first, first_token)):
        with pytest.raises(GridFTPError) as refused:
            await session.renew(token)
        assert refused.value.kind is Kind.GRANT_EXPIRED
        assert "530 GRANT replayed: " in str(refused.value)
    await expect(endpoint, renewal, "replayed", Kind.GRANT_EXPIRED)
    assert await first.close()
    assert await second.close()


async def test_a_renewal_is_logged_by_its_id(endpoint: Granting) -> None:
    session = await endpoint.open(endpoint.token())
    grant = endpoint.grant()
    await session.renew(mint(grant, endpoint.key))
    assert endpoint.server.logins[-1].grant == grant.grant_id
    assert endpoint.server.logins[-1].renewal
    with pytest.raises(GridFTPError):
        await session.size("/nothing")
    event = endpoint.server.events[-1]
    assert isinstance(event, Refused)
    assert event.opening.permission is not None
    assert await session.close()


@pytest.mark.parametrize("line", ["SITE GRANT", "site grant  ", "SITE GRANT x y", "SITE GRANT .."])
async def test_a_renewal_that_is_none(endpoint: Granting, line: str) -> None:
    session = await endpoint.open(endpoint.token())
    session.channel.by_grant = False  # raw words, for which our client would end it
    first, second = await session.answers(session.submit([line, "SITE WHOAMI"]))
    assert (first.code, second.code) == (530, 200)
    assert first.text.startswith("GRANT altered: ")
    assert await session.close()


# Users beside grants


async def test_users_of_a_gridmap_are_let_in_only_if_that_is_wished(
    domain_a: Domain, tmp_path: Path
) -> None:
    with granting(domain_a, tmp_path, gridmap=True) as both:
        by_grant = await both.open(both.token(READ))
        user = await Session.open(
            Server("localhost", both.server.port),
            credential=domain_a.credential,
            trust=domain_a.trust,
            timeouts=QUICK,
        )
        await user.mkdir("/made")
        # a user's session is no session of a grant, and becomes none
        token = both.token()
        with pytest.raises(GridFTPError) as refused:
            await user.renew(token)
        assert "503" in str(refused.value)
        assert token.split(".")[1] not in repr(both.server.events)
        await user.delete_directory("/made")
        assert await by_grant.close()
        assert await user.close()
        (reply,) = [event.command for event in both.server.events if isinstance(event, Refused)]
        assert reply == "SITE GRANT"
