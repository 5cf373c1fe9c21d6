"""What is shown of credentials; and logons at real MyProxy servers."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.myproxy import PASSWORDS, MyProxyServer
from plugins.transfer_api import Api, assert_error, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.security.authority import Authority
from towpath.platform.database import Database
from towpath.transfer import times
from towpath.transfer.api import TransferService
from towpath.transfer.api.endpoint_bodies import is_revocations
from towpath.transfer.browse import logon
from towpath.transfer.store import credentials

FAILED = "ExternalError.MyProxyLogonFailed"
NOTHING = {"subject": None, "expiration_time": None, "stored_time": None}


async def shown(who: Api, endpoint: str) -> dict[str, Any]:
    document: dict[str, Any] = (await who.get(f"endpoint/{endpoint}/credential")).json()
    return document


def wanted(at: MyProxyServer | str, **changes: Any) -> dict[str, Any]:
    return {
        "server": at if isinstance(at, str) else at.address,
        "username": "alice",
        "passphrase": PASSWORDS["alice"],
        **changes,
    }


async def test_state_and_end_of_a_credential(
    alice: Api, bob: Api, lake: str, domain_a: Domain, database: Database
) -> None:
    document = await shown(alice, lake)
    assert (document["state"], document["subject"]) == ("valid", domain_a.credential.subject)
    stored = times.parse(document["stored_time"])
    assert abs(datetime.now(UTC) - stored) < timedelta(minutes=1)
    (listed,) = (await alice.get("credential_list")).json()["DATA"]
    assert listed == {**document, "endpoint_display_name": "lake"}
    assert await shown(bob, lake) == {
        "DATA_TYPE": "credential",
        "endpoint_id": lake,
        "state": "none",
        **NOTHING,
    }
    assert (await bob.get("credential_list")).json()["DATA"] == []
    async with database.connection() as conn:
        for left, state in (("59 minutes", "expiring"), ("-1 second", "expired")):
            await conn.execute("UPDATE credential SET not_after = now() + %s::interval", (left,))
            assert (await shown(alice, lake))["state"] == state


async def test_a_credential_is_not_shown_to_another_server(
    alice: Api, bob: Api, lake: str, domain_a: Domain, server_a: GctServer
) -> None:
    came: list[object] = []
    listener = await asyncio.start_server(lambda _, writer: came.append(writer), "localhost", 0)
    there = listener.sockets[0].getsockname()[1]
    proxy = {"proxy": domain_a.proxy_file.read_text()}
    route = f"endpoint/{lake}/credential"
    for who in (alice, bob):
        assert (await who.put(route, proxy)).status_code == 200

    async def points_to(port: int) -> None:
        document = {"DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://localhost:{port}"}]}
        assert (await alice.put(f"endpoint/{lake}", document)).status_code == 200

    for port in (there, server_a.port):
        await points_to(port)
        for what in ("ls", "stat"):
            refused = await bob.get(f"operation/endpoint/{lake}/{what}", path="/")
            told = assert_error(refused, 400, "ClientError.ActivationRequired")
            assert f"towpath credential add {lake}" in told
            assert "another server" in told
    listener.close()
    assert came == [], "nobody went there with it"
    assert (await shown(bob, lake))["state"] == "moved"
    assert (await bob.get(f"endpoint/{lake}")).json()["activated"] is False
    assert (await shown(alice, lake))["state"] == "valid", "who gives it another knows"
    assert (await bob.put(route, proxy)).status_code == 200
    assert (await shown(bob, lake))["state"] == "valid"
    assert (await bob.get(f"operation/endpoint/{lake}/ls")).status_code == 200


async def test_what_makes_another_server_of_it(
    alice: Api, bob: Api, lake: str, domain_a: Domain, domain_b: Domain, service: TransferService
) -> None:
    proxy = {"proxy": domain_a.proxy_file.read_text()}
    trusted = dict(domain_a.trust.files)
    crl = next(iter(trusted)).partition(".")[0] + ".r0"
    changes: tuple[tuple[dict[str, Any], bool], ...] = (
        ({"display_name": "sea", "data_hosts": ["192.0.2.1"]}, False),
        ({"trust_roots": trusted}, False),
        ({"trust_roots": trusted | dict(domain_b.trust.files)}, True),
        ({"trust_roots": trusted}, False),
        ({"DATA": [{"DATA_TYPE": "server", "uri": "gsiftp://localhost:1"}]}, True),
        (
            {
                "DATA": [
                    {"DATA_TYPE": "server", "uri": "gsiftp://localhost:1", "subject": "/CN=other"}
                ]
            },
            True,
        ),
    )
    for change, moves in changes:
        assert (await bob.put(f"endpoint/{lake}/credential", proxy)).status_code == 200
        answer = await alice.put(f"endpoint/{lake}", change)
        assert answer.status_code == 200, answer.text
        state = (await shown(bob, lake))["state"]
        assert state == ("moved" if moves else "valid"), change
    assert is_revocations(crl)
    assert not any(map(is_revocations, trusted))
    # where the service makes credentials, its operator says where that is
    assert (await bob.put(f"endpoint/{lake}/credential", proxy)).status_code == 200
    authority = Authority.create("Towpath", datetime.now(UTC), timedelta(days=1))
    object.__setattr__(service, "authorities", {UUID(lake): authority})
    assert (await alice.put(f"endpoint/{lake}", changes[4][0])).status_code == 200
    object.__setattr__(service, "authorities", {})
    assert (await shown(bob, lake))["state"] == "valid"


async def test_forgetting_a_credential(alice: Api, bob: Api, lake: str, domain_a: Domain) -> None:
    route = f"endpoint/{lake}/credential"
    assert_error(await bob.delete(route), 404, "CredentialNotFound")
    assert (await alice.delete(route)).json()["code"] == "Deleted"
    assert (await shown(alice, lake))["state"] == "none"
    listing = await alice.get(f"operation/endpoint/{lake}/ls")
    assert_error(listing, 400, "ClientError.ActivationRequired")
    assert_error(await alice.delete(route), 404, "CredentialNotFound")
    await bob.put(route, {"proxy": domain_a.proxy_file.read_text()})
    await alice.put(f"endpoint/{lake}", {"public": False})
    assert (await bob.delete(route)).json()["code"] == "Deleted"  # his own, though it is hidden
    for answer in (
        await bob.get(route),
        await bob.delete(route),
        await bob.post(f"{route}/myproxy", {}),
        await alice.get(f"endpoint/{uuid4()}/credential"),
    ):
        assert_error(answer, 404, "EndpointNotFound")


async def test_credentials_that_the_service_makes(
    alice: Api, bob: Api, lake: str, service: TransferService
) -> None:
    authority = Authority.create("Towpath", datetime.now(UTC), timedelta(days=1))
    object.__setattr__(service, "authorities", {UUID(lake): authority})
    assert (await shown(bob, lake))["state"] == "managed"
    for who in (alice, bob):
        (listed,) = (await who.get("credential_list")).json()["DATA"]
        assert (listed["state"], listed["endpoint_display_name"]) == ("managed", "lake")
    refused = await alice.delete(f"endpoint/{lake}/credential")
    assert_error(refused, 400, "ClientError.BadRequest.CredentialManaged")


async def test_logon_at_an_authority(
    alice: Api, lake: str, myproxy_authority: MyProxyServer, service: TransferService
) -> None:
    await alice.delete(f"endpoint/{lake}/credential")
    route = f"endpoint/{lake}/credential/myproxy"
    answer = await alice.post(route, wanted(myproxy_authority, lifetime_h=3))
    assert answer.status_code == 200, answer.text
    assert answer.json()["code"] == "Stored"
    document = await shown(alice, lake)
    assert document["subject"].endswith("/CN=Alice")
    left = times.parse(document["expiration_time"]) - datetime.now(UTC)
    assert timedelta(hours=2, minutes=50) < left < timedelta(hours=3, minutes=10)
    async with service.database.connection() as conn:
        stored = await credentials.get(conn, UUID(lake), alice.sub)
    assert stored is not None
    pem = service.sealer.unseal(stored.sealed, credentials.seal_context(UUID(lake), alice.sub))
    assert PASSWORDS["alice"].encode() not in pem
    wrong = await alice.post(route, wanted(myproxy_authority, passphrase="correct house"))
    message = assert_error(wrong, 502, f"{FAILED}.LoginFailed")
    assert "correct house" not in wrong.text
    assert "pass phrase" in message
    assert (await shown(alice, lake)) == document


async def test_logon_at_a_store_and_a_listing_with_what_it_gave(
    alice: Api, lake: str, domain_a: Domain, myproxy_store: MyProxyServer
) -> None:
    at = Server("localhost", myproxy_store.port)
    await MyProxy(at, domain_a.trust).store(
        "alice", "a long phrase", credential=domain_a.credential, name="grid"
    )
    await alice.delete(f"endpoint/{lake}/credential")
    body = wanted(myproxy_store, passphrase="a long phrase", credential_name="grid")
    answer = await alice.post(f"endpoint/{lake}/credential/myproxy", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["subject"] == domain_a.credential.subject
    assert (await alice.get(f"operation/endpoint/{lake}/ls")).status_code == 200


BAD: list[tuple[dict[str, Any], str]] = [
    ({"server": "a b"}, "server"),
    ({"server": "a:99999"}, "server"),
    ({"server": "a:"}, "server"),
    ({"username": ""}, "username"),
    ({"passphrase": ""}, "passphrase"),
    ({"passphrase": 7}, "passphrase"),
    ({"passphrase": "x" * 1025}, "passphrase"),
    ({"lifetime_h": 0}, "lifetime_h"),
]


async def test_logons_that_cannot_be(
    alice: Api,
    lake: str,
    server_b: GctServer,
    domain_b: Domain,
    myproxy_authority: MyProxyServer,
) -> None:
    route = f"endpoint/{lake}/credential/myproxy"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    message = assert_error(
        await alice.post(route, wanted(f"localhost:{port}")), 502, f"{FAILED}.ConnectFailed"
    )
    assert f"localhost:{port}" in message
    assert_error(await alice.post(route, wanted("192.168.0.1")), 502, f"{FAILED}.AddressRefused")
    no_name = await alice.post(route, wanted("a" * 64 + ".example"))
    assert "host name" in assert_error(no_name, 502, f"{FAILED}.ConnectFailed")
    other = (await alice.post("endpoint", server_document(server_b, domain_b))).json()["id"]
    untrusted = await alice.post(f"endpoint/{other}/credential/myproxy", wanted(myproxy_authority))
    assert "not trusted" in assert_error(untrusted, 502, f"{FAILED}.UntrustedHost")
    bare = await alice.post("endpoint", server_document(server_b, domain_b, trust_roots=None))
    no_roots = await alice.post(
        f"endpoint/{bare.json()['id']}/credential/myproxy", wanted(myproxy_authority)
    )
    assert "trust roots" in assert_error(no_roots, 400, "ClientError.ActivationRequired")
    for change, word in BAD:
        answer = await alice.post(route, wanted("localhost:1", **change))
        assert word in assert_error(answer, 400, "ClientError.BadRequest"), change
    odd = await alice.post(route, wanted("localhost:1", username="a\nPASSPHRASE=b"))
    assert_error(odd, 502, f"{FAILED}.LoginFailed")


async def test_pass_phrases_are_not_searched_for_by_way_of_us(
    alice: Api,
    bob: Api,
    lake: str,
    monkeypatch: pytest.MonkeyPatch,
    service: TransferService,
) -> None:
    """A refusal here is one as at a server; no server is needed."""
    monkeypatch.setattr(logon, "WRONG_MOST", 2)
    clock = [1000.0]
    monkeypatch.setattr(service.logons, "_clock", lambda: clock[0])
    route = f"endpoint/{lake}/credential/myproxy"
    body = wanted("localhost:1", username="a\nb")
    for _ in range(2):
        assert_error(await alice.post(route, body), 502, f"{FAILED}.LoginFailed")
    answer = await alice.post(route, body)
    assert "15 minutes" in assert_error(answer, 429, "ClientError.TooManyGuesses")
    assert answer.headers["Retry-After"] == "900"
    assert_error(await bob.post(route, body), 502, f"{FAILED}.LoginFailed")
    clock[0] += logon.WRONG_WITHIN_S
    assert_error(await alice.post(route, body), 502, f"{FAILED}.LoginFailed")
