"""Tests of endpoints against real servers, and against peers that are wrong in one way each."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from plugins import peers
from plugins.transfer_api import Api, assert_error, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client import listing
from towpath.transfer.api import TransferService
from towpath.transfer.browse import endpoint_test

STEPS = list(endpoint_test.Step)
LISTING = "250-Listing\r\n Type=file;Size=1;Modify=20260101000000; a\r\n250 End."


def at(port: int, domain: Domain, host: str = "localhost", **more: Any) -> dict[str, Any]:
    server = {"hostname": host, "port": port, **more.pop("server", {})}
    return {"DATA": [server], "trust_roots": dict(domain.trust.files), **more}


async def tried(who: Api, document: dict[str, Any]) -> dict[str, Any]:
    answer = await who.post("endpoint_test", document)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def step_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in report["DATA"] if step["step"] == name)


def failed(report: dict[str, Any], name: str, *words: str) -> dict[str, Any]:
    """The step failed with these words, those before did not, and those behind were not tried."""
    step = step_of(report, name)
    states = [one["state"] for one in report["DATA"]]
    number = STEPS.index(endpoint_test.Step(name))
    behind = len(STEPS) - number - 1
    assert states == ["ok"] * number + ["failed"] + ["skipped"] * behind, report
    assert report["ok"] is False
    assert step["advice"].endswith(".")
    told = f"{step['message']} {step['advice']} {step['details']}"
    assert all(word in told for word in words), told
    return step


@pytest.fixture
def proxy(domain_a: Domain) -> str:
    return domain_a.proxy_file.read_text()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_test, "TEST_S", 1.0)
    monkeypatch.setattr(endpoint_test, "CONNECT_S", 0.4)


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose connections are answered by nothing, as behind a firewall."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]
        for one in waiting:
            one.close()


async def test_a_registered_endpoint_in_order(
    alice: Api, bob: Api, lake: str, domain_a: Domain
) -> None:
    report = (await alice.post(f"endpoint/{lake}/test")).json()
    assert [(one["step"], one["state"]) for one in report["DATA"]] == [(s, "ok") for s in STEPS]
    assert report["ok"] is True
    assert report["host_subject"] == "/O=DomA/CN=localhost"
    assert {"DCSC", "MLSC"} <= set(report["features"])
    assert domain_a.credential.subject in step_of(report, "login")["message"]
    assert str(Path.home()) in step_of(report, "mapping")["message"]
    others = (await bob.post(f"endpoint/{lake}/test")).json()
    assert others["ok"] is True
    assert step_of(others, "certificate")["state"] == "ok"
    assert step_of(others, "login")["state"] == "skipped"
    assert "credential" in step_of(others, "login")["message"]
    await alice.put(f"endpoint/{lake}", {"public": False})
    assert_error(await bob.post(f"endpoint/{lake}/test"), 404, "EndpointNotFound")
    assert_error(await bob.post(f"endpoint/{uuid4()}/test"), 404, "EndpointNotFound")


async def test_a_large_home_directory_is_not_read_to_its_end(
    alice: Api, lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        (tmp_path / str(number)).touch()
    monkeypatch.setattr(endpoint_test, "MAX_ENTRIES", 10)
    monkeypatch.setattr(listing, "BATCH_ENTRIES", 10)
    monkeypatch.setattr(endpoint_test, "home_directory", lambda _session: str(tmp_path))
    report = (await alice.post(f"endpoint/{lake}/test")).json()
    assert report["ok"] is True, report
    assert "more than 1" in step_of(report, "listing")["message"]


async def test_before_it_is_registered(
    alice: Api, server_a: GctServer, domain_a: Domain, proxy: str
) -> None:
    document = server_document(server_a, domain_a, proxy=proxy)
    assert (await tried(alice, document))["ok"] is True
    authority = domain_a.authority.certificate_file.read_text()
    by_certificate = {**document, "trust_roots": None, "ca_certificates": [authority]}
    assert (await tried(alice, by_certificate))["ok"] is True
    assert (await alice.get("endpoint_search", filter_scope="my-endpoints")).json()["DATA"] == []
    assert (await alice.get("credential_list")).json()["DATA"] == []
    for change, word in (
        ({"proxy": "no proxy"}, "proxy"),
        ({"DATA": None}, "DATA"),
        ({"DATA": [{"uri": "http://a"}]}, "gsiftp"),
    ):
        answer = await alice.post("endpoint_test", {**document, **change})
        assert answer.status_code == 400
        assert word in answer.json()["message"]


@pytest.mark.usefixtures("quick")
async def test_servers_that_are_not_reached(alice: Api, domain_a: Domain, full: int) -> None:
    failed(
        await tried(alice, at(2811, domain_a, "none.invalid")), "name", "none.invalid", "spelled"
    )
    inside = await tried(alice, at(2811, domain_a, "192.168.7.7"))
    failed(inside, "address", "192.168.7.7 is a private address", "operator")
    assert "no name to resolve" in step_of(inside, "name")["message"]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    failed(await tried(alice, at(port, domain_a)), "port", "refused", "Nothing listens there")
    failed(await tried(alice, at(full, domain_a)), "port", "no answer", "firewall")
    for behave, words in (
        (peers.ssh_server, ("another kind of server",)),
        (peers.silent, ("in time", "wait there for us to begin")),
        (peers.hangs_up, ("refuse connections from this service",)),
    ):
        with peers.serving(behave) as peer:
            failed(await tried(alice, at(peer.port, domain_a)), "greeting", *words)


async def test_certificates_that_are_not_trusted(
    alice: Api, server_a: GctServer, domain_a: Domain, domain_b: Domain, proxy: str
) -> None:
    for credential in (None, proxy):
        report = await tried(alice, at(server_a.port, domain_b, proxy=credential))
        failed(report, "certificate", "do not vouch", "from /O=DomA/CN=", "trust this authority")
        assert report["host_subject"] == "/O=DomA/CN=localhost"
        assert report["host_proven"] is False
    report = await tried(alice, at(server_a.port, domain_a, trust_roots=None))
    failed(report, "certificate", "no trust roots", "of /O=DomA/CN=localhost from /O=DomA/CN=")
    past = datetime.now(UTC) - timedelta(days=40)
    made = domain_a._authority.issue("localhost", past, timedelta(days=10), hosts=("localhost",))
    old = domain_a._write("expired-host", made)
    with peers.serving(peers.gsi_server(domain_a, {}, host=old)) as peer:
        report = await tried(alice, at(peer.port, domain_a))
    failed(report, "certificate", "certificate expired at", "renew")


async def test_a_certificate_of_another_name_can_be_accepted(
    alice: Api, server_a: GctServer, domain_a: Domain, proxy: str
) -> None:
    document = at(server_a.port, domain_a, proxy=proxy, server={"subject": "/O=DomA/CN=lake"})
    report = await tried(alice, document)
    failed(report, "certificate", "/O=DomA/CN=lake was expected", "accept it")
    assert report["host_proven"] is True
    document["DATA"][0]["subject"] = report["host_subject"]
    assert (await tried(alice, document))["ok"] is True


async def test_credentials_that_are_not_accepted(
    alice: Api, server_a: GctServer, domain_a: Domain, domain_b: Domain
) -> None:
    stranger = domain_b.proxy_file.read_text()
    report = await tried(alice, at(server_a.port, domain_a, proxy=stranger))
    failed(report, "login", domain_b.credential.subject, "does not trust the authority")
    past = datetime.now(UTC) - timedelta(hours=2)
    expired = domain_a.make_proxy(timedelta(hours=1), now=past).to_pem().decode()
    report = await tried(alice, at(server_a.port, domain_a, proxy=expired))
    failed(report, "login", "expired at", "Renew")
    assert report["host_subject"] == "/O=DomA/CN=localhost"
    nobody = domain_a.issue("nobody", "Nobody").credential().to_pem().decode()
    report = await tried(alice, at(server_a.port, domain_a, proxy=nobody))
    failed(report, "mapping", "no account for /O=DomA/CN=Nobody", "grid-mapfile")


async def test_listing_and_data_channel_that_fail(alice: Api, domain_a: Domain, proxy: str) -> None:
    features = "211-Extensions\r\n MLSC\r\n211 End."
    with socket.create_server(("127.0.0.1", 0)) as closed:
        high, low = divmod(closed.getsockname()[1], 256)
    for answers, step, words in (
        ({"MLSC": "550 : System error: Permission denied"}, "listing", ("Permission denied",)),
        ({"MLSC": LISTING, "FEAT": features}, "data", ("DCSC", "administrator")),
        (
            {"MLSC": LISTING, "PASV": f"227 Passive (127,0,0,1,{high},{low})"},
            "data",
            ("cannot be reached", "range of data ports"),
        ),
    ):
        with peers.serving(peers.gsi_server(domain_a, answers)) as peer:
            failed(await tried(alice, at(peer.port, domain_a, proxy=proxy)), step, *words)


async def test_a_data_address_that_nobody_has_declared(
    alice: Api, domain_a: Domain, proxy: str, tmp_path: Path
) -> None:
    elsewhere = ("-data-interface", "127.0.0.2")
    with GctServer.start(domain_a, tmp_path / "server", args=elsewhere) as server:
        document = server_document(server, domain_a, proxy=proxy)
        failed(await tried(alice, document), "data", "127.0.0.2", "data hosts", "data_interface")
        report = await tried(alice, {**document, "data_hosts": ["127.0.0.2"]})
        assert report["ok"] is True
        assert "127.0.0.2" in step_of(report, "data")["message"]


@pytest.mark.usefixtures("quick")
async def test_a_few_at_once(
    alice: Api, bob: Api, domain_a: Domain, service: TransferService, monkeypatch: Any
) -> None:
    monkeypatch.setattr(service.tests._gates, "_wait_s", 0.2)
    with peers.serving(peers.silent) as peer:
        document = at(peer.port, domain_a)
        users: Sequence[Api] = (alice, alice, alice, bob)
        answers = await asyncio.gather(*(who.post("endpoint_test", document) for who in users))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200, 200, 200, 502]
    busy = next(answer for answer in answers if answer.status_code == 502)
    assert_error(busy, 502, "ExternalError.EndpointTestFailed.TooBusy")
    assert len(service.tests._gates) == 0
