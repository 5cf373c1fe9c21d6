"""Endpoints over HTTP: who may see, change and use which; credentials come in and never out."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from plugins.transfer_api import Api, assert_error, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.platform.database import Database
from towpath.transfer.api import TransferService
from towpath.transfer.store import credentials
from towpath.tunnel.names import connect_host

AGENT = connect_host(uuid4())


async def test_show_has_every_field_the_clients_read(alice: Api, lake: str) -> None:
    document = (await alice.get(f"endpoint/{lake}")).json()
    assert document["DATA_TYPE"] == "endpoint"
    assert document["entity_type"] == "GCSv4_host"
    assert document["id"] == lake
    assert document["canonical_name"] == f"{document['owner_string']}#{lake}"
    assert document["is_globus_connect"] is False
    assert document["non_functional"] is False
    assert document["my_effective_roles"] == ["administrator"]
    assert document["DATA"][0]["uri"].startswith("gsiftp://localhost:")
    assert len(document) >= 70
    assert "trust_roots" not in document


async def test_who_sees_and_changes_an_endpoint(alice: Api, bob: Api, lake: str) -> None:
    assert (await bob.get(f"endpoint/{lake}")).json()["my_effective_roles"] == []
    assert_error(await bob.put(f"endpoint/{lake}", {"public": False}), 403, "PermissionDenied")
    assert_error(await bob.delete(f"endpoint/{lake}"), 403, "PermissionDenied")
    updated = await alice.put(f"endpoint/{lake}", {"public": False, "description": "cold"})
    assert updated.json()["code"] == "Updated"
    for answer in (
        await bob.get(f"endpoint/{lake}"),
        await bob.put(f"endpoint/{lake}", {"public": True}),
        await bob.delete(f"endpoint/{lake}"),
        await bob.get(f"operation/endpoint/{lake}/ls", path="/"),
        await bob.put(f"endpoint/{lake}/credential", {"proxy": ""}),
    ):
        assert_error(answer, 404, "EndpointNotFound")
    shown = (await alice.get(f"endpoint/{lake}")).json()
    assert (shown["public"], shown["description"]) == (False, "cold")
    cleared = await alice.put(f"endpoint/{lake}", {"description": None})
    assert cleared.status_code == 200
    assert (await alice.get(f"endpoint/{lake}")).json()["description"] is None


async def test_delete_forgets_credentials(alice: Api, lake: str, database: Database) -> None:
    assert (await alice.delete(f"endpoint/{lake}")).json()["code"] == "Deleted"
    assert_error(await alice.get(f"endpoint/{lake}"), 404, "EndpointDeleted")
    assert_error(await alice.delete(f"endpoint/{lake}"), 404, "EndpointDeleted")
    async with database.connection() as conn:
        row = await (await conn.execute("SELECT count(*) AS n FROM credential")).fetchone()
    assert row == {"n": 0}


async def test_search(alice: Api, bob: Api, lake: str) -> None:
    await alice.put(f"endpoint/{lake}", {"keywords": "cold tape"})

    async def found(who: Api, **params: Any) -> list[str]:
        document = (await who.get("endpoint_search", **params)).json()
        assert document["has_next_page"] is False
        return [one["id"] for one in document["DATA"]]

    assert await found(alice, filter_fulltext="LAKE tape") == [lake]
    assert await found(bob, filter_fulltext="lake") == [lake]
    assert await found(alice, filter_scope="my-endpoints") == [lake]
    assert await found(bob, filter_scope="my-endpoints") == []
    assert await found(bob, filter_owner_id=str(alice.sub)) == [lake]
    assert await found(alice, filter_scope="shared-with-me") == []
    assert (
        await found(alice, filter_fulltext="lake", filter_entity_type="GCP_guest_collection") == []
    )
    assert_error(await alice.get("endpoint_search"), 400, "BadRequest")
    assert_error(
        await alice.get("endpoint_search", filter_scope="x"), 400, "ClientError.BadRequest"
    )


async def test_credential_is_sealed_and_never_shown(
    alice: Api, lake: str, domain_a: Domain, database: Database, service: TransferService
) -> None:
    answer = await alice.put(
        f"endpoint/{lake}/credential", {"proxy": domain_a.proxy_file.read_text()}
    )
    assert answer.json()["subject"] == domain_a.credential.subject
    assert answer.json()["expiration_time"].endswith("+00:00")
    assert "PRIVATE" not in answer.text
    async with database.connection() as conn:
        stored = await credentials.get(conn, UUID(lake), alice.sub)
    assert stored is not None
    assert b"PRIVATE" not in stored.sealed
    context = credentials.seal_context(UUID(lake), alice.sub)
    assert b"PRIVATE" in service.sealer.unseal(stored.sealed, context)


async def test_unusable_credentials_are_refused(
    alice: Api, lake: str, domain_a: Domain, domain_b: Domain
) -> None:
    where = f"endpoint/{lake}/credential"
    past = datetime.now(UTC) - timedelta(minutes=2)
    expired = domain_a.make_proxy(timedelta(minutes=1), now=past).to_pem().decode()
    message = assert_error(
        await alice.put(where, {"proxy": expired}),
        400,
        "ClientError.BadRequest.CredentialExpired",
    )
    assert "grid-proxy-init" in message
    mixed = domain_a.credential.chain_pem + domain_b.credential.key_pem
    for pem in (mixed.decode(), "", "nonsense", domain_a.credential.chain_pem.decode()):
        message = assert_error(
            await alice.put(where, {"proxy": pem}),
            400,
            "ClientError.BadRequest.InvalidCredential",
        )
        assert "PRIVATE KEY-----" not in message


BAD_ENDPOINTS: list[tuple[dict[str, Any], str]] = [
    ({"display_name": None}, "display_name"),
    ({"display_name": "a\nb"}, "display_name"),
    ({"display_name": "\0"}, "display_name"),
    ({"display_name": 7}, "display_name"),
    ({"public": "yes"}, "public"),
    ({"DATA": []}, "server"),
    ({"DATA": [{"uri": "gsiftp://a:1"}, {"uri": "gsiftp://b:1"}]}, "server"),
    ({"DATA": [{"uri": "http://a"}]}, "gsiftp"),
    ({"DATA": [{"uri": "gsiftp://u@a"}]}, "host"),
    ({"DATA": [{"uri": f"gsiftp://{AGENT}"}]}, "agents"),
    ({"DATA": [{"hostname": f"{AGENT.upper()}.", "port": 1, "scheme": "gsiftp"}]}, "agents"),
    ({"DATA": [{"uri": "gsiftp://a/b"}]}, "host"),
    ({"DATA": [{"uri": "gsiftp://a:99999"}]}, "URI"),
    ({"DATA": [{"uri": "gsiftp://a\r\nb"}]}, "DATA"),
    ({"DATA": [{"hostname": "a b"}]}, "host name"),
    ({"DATA": [{"hostname": "a", "port": 0}]}, "port"),
    ({"DATA": [{"hostname": "a", "port": "21"}]}, "port"),
    ({"DATA": [{"hostname": "a", "subject": "no"}]}, "subject"),
    ({"trust_roots": {"../../etc/passwd": "x"}}, "trust"),
    ({"trust_roots": {"aaaaaaaa.0": "no certificate"}}, "aaaaaaaa.0"),
    ({"ca_certificates": ["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]}, "PEM"),
    ({"ca_certificates": ["/etc/grid-security"]}, "certificate 1"),
    ({"data_hosts": ["example.org"]}, "data_hosts"),
    ({"is_globus_connect": True}, "agents"),
    ({"default_directory": "/a/../b"}, "default_directory"),
    ({"description": "x" * 5000}, "description"),
]


async def test_bad_endpoints_are_refused(
    alice: Api, server_a: GctServer, domain_a: Domain, database: Database
) -> None:
    for change, word in BAD_ENDPOINTS:
        answer = await alice.post("endpoint", server_document(server_a, domain_a, **change))
        document = answer.json()
        assert answer.status_code == 400, change
        assert document["code"].startswith("ClientError.BadRequest")
        assert word in document["message"]
    async with database.connection() as conn:
        row = await (await conn.execute("SELECT count(*) AS n FROM endpoint")).fetchone()
    assert row == {"n": 0}


async def test_unknown_endpoints(alice: Api) -> None:
    for name in (str(uuid4()), "nonsense", "%00"):
        assert_error(await alice.get(f"endpoint/{name}"), 404, "EndpointNotFound")


async def test_ipv6_and_default_port(alice: Api) -> None:
    created = await alice.post(
        "endpoint", {"display_name": "six", "DATA": [{"uri": "gsiftp://[2001:db8::1]"}]}
    )
    shown = (await alice.get(f"endpoint/{created.json()['id']}")).json()
    assert shown["DATA"][0]["uri"] == "gsiftp://[2001:db8::1]:2811"
    assert shown["DATA"][0]["hostname"] == "2001:db8::1"


async def test_without_a_token_nothing_is_told(alice: Api, lake: str) -> None:
    del alice.http.headers["Authorization"]
    for path in (f"endpoint/{lake}", "task_list", f"operation/endpoint/{lake}/ls"):
        assert_error(await alice.get(path), 401, "ClientError.AuthenticationFailed")
    malformed = await alice.http.post("/v0.10/transfer", content=b"{")
    assert_error(malformed, 401, "ClientError.AuthenticationFailed")


async def test_an_authority_by_its_certificate_alone(
    alice: Api, server_a: GctServer, domain_a: Domain, domain_b: Domain
) -> None:
    """It is kept as a trusted-certificates directory has it, and the server is trusted."""
    bundle = (domain_b.directory / "ca.pem").read_text() + (
        domain_a.directory / "ca.pem"
    ).read_text()
    document = server_document(server_a, domain_a, ca_certificates=[bundle, bundle])
    del document["trust_roots"]
    made = (await alice.post("endpoint", document)).json()["id"]
    proxy = {"proxy": domain_a.proxy_file.read_text()}
    assert (await alice.put(f"endpoint/{made}/credential", proxy)).status_code == 200
    assert (await alice.get(f"operation/endpoint/{made}/ls", path="/")).status_code == 200
    # others, instead
    other = [(domain_b.directory / "ca.pem").read_text()]
    assert (await alice.put(f"endpoint/{made}", {"ca_certificates": other})).status_code == 200
    refused = await alice.get(f"operation/endpoint/{made}/ls", path="/")
    assert refused.status_code == 502, refused.text
