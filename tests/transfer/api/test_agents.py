"""Routes of agents and relays: who may do what, and what becomes of setup keys."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate

from plugins.connect_api import asked, relay_document, request_for, set_up
from plugins.transfer_api import Api, assert_error
from towpath import __version__
from towpath.grants import KeySet
from towpath.platform.database import Database
from towpath.transfer.api import TransferService
from towpath.transfer.store import relays
from towpath.transfer.store.rows import fetch_one

MAPPED = {"is_globus_connect": True, "display_name": "laptop", "public": True}


async def make(api: Api, document: dict[str, object] = MAPPED) -> tuple[str, str]:
    """Id and setup key of a new endpoint."""
    created = await api.post("endpoint", document)
    assert created.status_code == 201, created.text
    return created.json()["id"], created.json()["globus_connect_setup_key"]


@pytest.fixture
async def relay(login: Callable[[], Awaitable[Api]], database: Database) -> Api:
    """A registered relay, that has not been heard of yet."""
    api = await login()
    async with database.connection() as conn:
        await relays.add(conn, api.sub, "relay")
    return api


async def test_a_computer_becomes_an_agent(
    alice: Api, relay: Api, service: TransferService
) -> None:
    endpoint_id, key = await make(alice)
    assert key.startswith("localhost:8443/public/")
    shown = (await alice.get(f"endpoint/{endpoint_id}")).json()
    assert shown["entity_type"] == "GCP_mapped_collection"
    assert shown["is_globus_connect"] is True
    assert (shown["gcp_connected"], shown["gcp_paused"]) == (False, False)
    assert shown["globus_connect_setup_key"] is None, "told once"

    await relay.put("relay", relay_document())
    made, agent = await set_up(alice, key)
    assert made["endpoint_id"] == endpoint_id
    assert made["owner"]["id"] == str(alice.sub)
    configuration = made["configuration"]
    assert configuration["audience"] == endpoint_id
    assert configuration["issuer"] == service.origin
    assert len(KeySet.from_jwks(configuration["keys"]).keys) == 1
    assert configuration["relays"] == [
        {"host": "relay.example.org", "port": 443, "host_key": relay_document()["host_key"]}
    ]
    assert configuration["versions"]["warning"] is None
    authority = load_pem_x509_certificate(configuration["authority"].encode())
    host = load_pem_x509_certificate(configuration["host_certificate"].encode())
    host.verify_directly_issued_by(authority)
    assert f"CN={endpoint_id}.connect.invalid" in host.subject.rfc4514_string()

    assert (await agent.get("connect/configuration")).json() == configuration
    renewed = await agent.post("connect/certificate", {"certificate_request": request_for()})
    other = load_pem_x509_certificate(renewed.json()["host_certificate"].encode())
    assert other.fingerprint(SHA256()) != host.fingerprint(SHA256())

    node = {"node_id": made["node_id"], "address": "192.0.2.7", "version": __version__}
    assert (await relay.post("relay/presence", {"connected": [node]})).json()["cut"] == []
    await agent.put("connect/report", {"version": __version__, "node_name": "l", "paused": True})
    shown = (await alice.get(f"endpoint/{endpoint_id}")).json()
    assert (shown["gcp_connected"], shown["gcp_paused"]) == (True, True)
    lost = {"node_id": made["node_id"], "heard_at": "2026-01-01T10:00:00Z"}
    await relay.post("relay/presence", {"lost": [lost]})
    shown = (await alice.get(f"endpoint/{endpoint_id}")).json()
    assert shown["gcp_connected"] is False

    # an offset that the database does not know, and one that leads out of the calendar
    lost["heard_at"] = "2026-01-01T10:00:00+19:31"
    assert (await relay.post("relay/presence", {"lost": [lost]})).status_code == 200
    lost["heard_at"] = "0001-01-01T00:00:00+10:00"
    refused = await relay.post("relay/presence", {"lost": [lost]})
    assert "calendar" in assert_error(refused, 400, "ClientError.BadRequest")


async def test_a_setup_key_is_good_once_and_until_it_ends(alice: Api, database: Database) -> None:
    endpoint_id, key = await make(alice)
    bad = await alice.http.post(
        "/v0.10/connect/setup", json=asked(key) | {"certificate_request": "nonsense"}
    )
    assert_error(bad, 400, "ClientError.BadRequest")  # which does not spend it
    _, first = await set_up(alice, key)
    spent = await alice.http.post("/v0.10/connect/setup", json=asked(key))
    assert_error(spent, 403, "SetupKeyInvalid")

    again = await alice.post(f"endpoint/{endpoint_id}/setup_key")
    _, second = await set_up(alice, again.json()["globus_connect_setup_key"])
    assert_error(await first.get("connect/configuration"), 410, "ConnectEndpointGone")
    assert (await second.get("connect/configuration")).status_code == 200

    late = (await alice.post(f"endpoint/{endpoint_id}/setup_key")).json()
    async with database.connection() as conn:
        await conn.execute("UPDATE setup_key SET not_after = now()")
    expired = asked(late["globus_connect_setup_key"])
    assert_error(
        await alice.http.post("/v0.10/connect/setup", json=expired), 403, "SetupKeyInvalid"
    )
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT string_agg(k::text, ' ') FROM setup_key k")
    assert row is not None
    assert late["globus_connect_setup_key"].rsplit("/", 1)[1] not in row[0]


async def test_deleting_an_endpoint_ends_its_agents(alice: Api, relay: Api) -> None:
    endpoint_id, key = await make(alice)
    await relay.put("relay", relay_document())
    made, agent = await set_up(alice, key)
    node_id = made["node_id"]
    await relay.post("relay/presence", {"connected": [{"node_id": node_id}]})
    shown = {"node_id": node_id, "tunnel_key": asked(key)["tunnel_key"], "address": "192.0.2.7"}
    assert (await relay.post("relay/agent", shown)).json()["endpoint_id"] == endpoint_id
    assert (await alice.delete(f"endpoint/{endpoint_id}")).status_code == 200
    assert_error(await agent.get("connect/configuration"), 410, "ConnectEndpointGone")
    assert_error(await relay.post("relay/agent", shown), 404, "AgentNotFound")
    assert (await relay.put("relay", relay_document())).json()["cut"] == [node_id]
    await relay.post("relay/presence", {"lost": [{"node_id": node_id}]})
    assert (await relay.put("relay", relay_document())).json()["cut"] == []


async def test_who_may_do_what(alice: Api, bob: Api, relay: Api) -> None:
    endpoint_id, key = await make(alice)
    made, agent = await set_up(alice, key)
    assert_error(await bob.post(f"endpoint/{endpoint_id}/setup_key"), 403, "PermissionDenied")
    assert_error(await alice.get("connect/configuration"), 401, "ClientError.AuthenticationFailed")
    assert_error(await agent.get("task_list"), 401, "ClientError.AuthenticationFailed")
    shown = {"node_id": made["node_id"], "tunnel_key": asked(key)["tunnel_key"]}
    for method, route, document in (
        ("PUT", "relay", relay_document()),
        ("POST", "relay/agent", shown),
        ("POST", "relay/presence", {"connected": []}),
        ("POST", "relay/dial", {"node_id": made["node_id"], "host": "192.0.2.1", "port": 1}),
    ):
        refused = await bob.http.request(method, f"/v0.10/{route}", json=document)
        assert_error(refused, 403, "PermissionDenied")
    wrong = shown | {"tunnel_key": "ssh-ed25519 " + "B" * 68}
    assert_error(await relay.post("relay/agent", wrong), 404, "AgentNotFound")
    unknown = shown | {"node_id": str(uuid4())}
    assert_error(await relay.post("relay/agent", unknown), 404, "AgentNotFound")
    lake = await alice.post("endpoint", {"display_name": "x", "connect": "server", "DATA": []})
    assert_error(lake, 400, "ClientError.BadRequest")


async def test_old_agents_are_not_served(alice: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = await make(alice)
    monkeypatch.setattr("towpath.transfer.connect.nodes.__version__", "1.7.0")
    old = asked(key) | {"version": "1.5.9"}
    refused = await alice.http.post("/v0.10/connect/setup", json=old)
    assert "1.6" in assert_error(refused, 400, "AgentTooOld")
    last = asked(key) | {"version": "1.6.0"}
    answer = await alice.http.post("/v0.10/connect/setup", json=last)
    versions = answer.json()["configuration"]["versions"]
    assert versions["oldest_served"] == "1.6"
    assert "1.7.0" in versions["warning"]


async def test_a_server_reports_its_collections(alice: Api, bob: Api) -> None:
    endpoint_id, key = await make(alice, {"connect": "server", "display_name": "site"})
    _, one = await set_up(alice, key)
    _, two = await set_up(alice, key)
    data = {"name": "data", "base_path": "/srv/data/", "access": "rw", "policies": {"public": True}}
    archive = {"name": "archive", "base_path": "/srv/archive", "access": "r"}
    rule = {"source": "{username}", "match": r"(.+)@example\.org", "output": "{0}"}
    mappings = [{"DATA_TYPE": "expression_identity_mapping#1.0.0", "mappings": [rule]}]
    report = {"version": __version__, "node_name": "dtn1", "mappings": mappings}
    first = (await one.put("connect/report", report | {"collections": [data, archive]})).json()
    ids = {part["name"]: part["id"] for part in first["collections"]}
    assert set(ids) == {"data", "archive"}
    second = (await two.put("connect/report", report | {"collections": [data]})).json()
    assert second["collections"] == [
        {"id": ids["data"], "name": "data", "base_path": "/srv/data", "access": "rw"}
    ]
    found = (await bob.get("endpoint_search", filter_fulltext="data")).json()["DATA"]
    assert [part["id"] for part in found] == [ids["data"]]
    assert found[0]["entity_type"] == "GCSv5_mapped_collection"
    assert found[0]["owner_id"] == found[0]["non_functional_endpoint_id"] == endpoint_id
    assert found[0]["non_functional_endpoint_display_name"] == "site"
    mine = await alice.get(
        "endpoint_search", filter_scope="my-endpoints", filter_non_functional="1"
    )
    assert [part["id"] for part in mine.json()["DATA"]] == [endpoint_id]
    moved = await two.put(
        "connect/report",
        report | {"collections": [data, archive | {"base_path": "/other", "access": "rw"}]},
    )
    parts = {part["name"]: part for part in moved.json()["collections"]}
    assert parts["data"]["id"] == ids["data"]
    assert parts["archive"]["id"] != ids["archive"], "what has moved is another one"
    assert_error(await alice.get(f"endpoint/{ids['archive']}"), 404, "EndpointDeleted")
    refused = await alice.delete(f"endpoint/{ids['data']}")
    assert "agents" in assert_error(refused, 400, "ClientError.BadRequest")
    assert (await alice.delete(f"endpoint/{endpoint_id}")).status_code == 200
    assert_error(await bob.get(f"endpoint/{ids['data']}"), 404, "EndpointDeleted")


async def test_a_relay_that_tells_all_it_knows_takes_no_agent_from_another(
    alice: Api, relay: Api, login: Callable[[], Awaitable[Api]], database: Database
) -> None:
    endpoint_id, key = await make(alice)
    made, _ = await set_up(alice, key)
    other = await login()
    async with database.connection() as conn:
        await relays.add(conn, other.sub, "other")
    for one in (relay, other):
        await one.put("relay", relay_document())

    def node(at: str) -> dict[str, object]:
        return {"node_id": made["node_id"], "since": f"2026-01-01T{at}Z"}

    async def at_relay() -> object:
        async with database.connection() as conn:
            (found,) = await relays.presence(conn, UUID(endpoint_id))
        return found.relay_id

    await relay.post("relay/presence", {"connected": [node("10:00:00")]})
    await other.post("relay/presence", {"connected": [node("10:00:05")]})
    # that relay has not noticed yet that it went, and soon will
    await relay.post("relay/presence", {"all": True, "connected": [node("10:00:00")]})
    assert await at_relay() == other.sub
    await relay.post("relay/presence", {"lost": [{"node_id": made["node_id"]}]})
    assert await at_relay() == other.sub
    # and the other way: it came back there while that relay could not tell
    await relay.post("relay/presence", {"all": True, "connected": [node("10:01:00")]})
    assert await at_relay() == relay.sub


async def test_too_many_tries_are_refused(alice: Api) -> None:
    _, key = await make(alice)
    wrong = asked(key) | {"setup_key": "x" * 43}
    for _ in range(30):
        answer = await alice.http.post("/v0.10/connect/setup", json=wrong)
        assert answer.status_code == 403
    answer = await alice.http.post("/v0.10/connect/setup", json=asked(key))
    assert_error(answer, 429, "ClientError.TooManyRequests")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
