"""Servers that lie, stall or are not who they should be, met through the whole service.

Each must give `ls` a clear answer within seconds and a task a fault with advice, without a storm
of retries, and leave the service as well as before.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path

import httpx
import pytest

from plugins import peers
from plugins.outcomes import cancel, first_fault
from plugins.peers import Behaviour, gsi_server, serving
from plugins.site import LOGIN_S, SITE_GROUP, Site, until
from towpath.demo.authority import Domain, Issued
from towpath.demo.deployment import DeploymentError
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
ANSWER_S = LOGIN_S + 4.0
RETRIES_SEEN_S = 3.0
TREE = list(uniform(1, 3, 100))


@pytest.fixture(autouse=True)
def _the_service_stays_well(site: Site) -> Iterator[None]:
    yield
    site.assert_well()


def ls(site: Site, endpoint_id: str) -> httpx.Response:
    """`ls /` there, which must be answered soon."""
    began = time.monotonic()
    answer = site.deployment.client.get(
        f"/v0.10/operation/endpoint/{endpoint_id}/ls", params={"path": "/"}
    )
    assert time.monotonic() - began < ANSWER_S
    return answer


def assert_explained(answer: httpx.Response, code: str, url: str, *words: str) -> None:
    """An error in the API's own shape that says what, where, and what to do."""
    document = answer.json()
    assert (answer.status_code, document["code"]) == (
        502,
        f"ExternalError.DirListingFailed.{code}",
    ), document
    assert answer.headers["X-Transfer-API-Error"] == document["code"]
    message = document["message"]
    assert url.removeprefix("gsiftp://") in message
    for word in words:
        assert word in message
    print(message)


# What speaks at the port is no GridFTP server.


STRANGERS: dict[str, tuple[Behaviour, str, str]] = {
    "web server": (peers.web_server, "ProtocolError", "ENDPOINT_ERROR"),
    "ssh server": (peers.ssh_server, "ProtocolError", "ENDPOINT_ERROR"),
    "noise": (peers.noise, "ProtocolError", "ENDPOINT_ERROR"),
    "silent": (peers.silent, "Timeout", "TIMEOUT"),
    "mute after its greeting": (peers.mute_after_greeting, "Timeout", "TIMEOUT"),
    "hangs up": (peers.hangs_up, "ConnectionLost", "CONNECTION_RESET"),
}


def test_no_gridftp_server(site: Site, tmp_path: Path) -> None:
    """All at once: each costs the service its own time only."""
    make_tree(tmp_path / "src", TREE, seed=5)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(serving(row[0])) for name, row in STRANGERS.items()}
        endpoints = {
            name: site.register(peer.url, site.rig.domains[0]) for name, peer in servers.items()
        }
        tasks = {
            name: site.deployment.transfer(
                site.endpoints[0], there, [(str(tmp_path / "src"), str(tmp_path / "dst"), True)]
            )
            for name, there in endpoints.items()
        }
        with ThreadPoolExecutor(len(servers)) as pool:
            answers = dict(
                zip(endpoints, pool.map(partial(ls, site), endpoints.values()), strict=True)
            )
        for name, (_, code, event) in STRANGERS.items():
            assert_explained(answers[name], code, servers[name].url)
            fault = first_fault(site.deployment, tasks[name])
            assert (fault["code"], fault["details"]["role"]) == (event, "destination"), (
                name,
                fault,
            )
        began, before = time.monotonic(), {name: peer.connections for name, peer in servers.items()}
        time.sleep(RETRIES_SEEN_S)
        for name, peer in servers.items():
            more, seconds = peer.connections - before[name], time.monotonic() - began
            assert more <= seconds / 0.75 + 2, name  # a probe a second, and a login
            now = site.deployment.task(tasks[name])["nice_status"]
            # who only listens for a greeting sees less of some of them
            assert now in (STRANGERS[name][2], "TIMEOUT"), name
            cancel(site.deployment, tasks[name])


def test_nobody_listens(site: Site) -> None:
    with serving(peers.hangs_up) as peer:
        url = peer.url
    there = site.register(url, site.rig.domains[0])
    assert_explained(ls(site, there), "ConnectFailed", url, "refused")


# Nonsense after a good login.


@pytest.mark.parametrize(
    ("listing", "code", "words"),
    [
        (
            "250-Contents\r\n Type=file;Size=1; ../../etc/passwd\r\n250 End.",
            "ProtocolError",
            "name",
        ),
        ("250-Contents\r\n Type=file;Size=x; a\r\n250 End.", "ProtocolError", "facts"),
        ("\0\0\0", "Timeout", "answer in time"),
    ],
    ids=["traversal", "facts", "zeros"],
)
def test_nonsense_after_the_login(
    site: Site, tmp_path: Path, listing: str, code: str, words: str
) -> None:
    domain = site.rig.domains[0]
    with serving(gsi_server(domain, {"MLSC": listing})) as peer:
        there = site.register(peer.url, domain)
        item = ("/src", str(tmp_path / "in" / "dst"), True)
        task_id = site.deployment.transfer(there, site.endpoints[1], [item])
        assert_explained(ls(site, there), code, peer.url, words)
        fault = first_fault(site.deployment, task_id)
        assert fault["code"] == ("TIMEOUT" if code == "Timeout" else "ENDPOINT_ERROR")
        assert fault["details"]["role"] == "source"
        cancel(site.deployment, task_id)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


# Who the server is.


class OtherHost(Domain):
    """A domain whose server shows the certificate of another host."""

    @cached_property
    def host(self) -> Issued:
        """Of a host that is not here."""
        return self.issue("other-host", "other.example", hosts=("other.example",))


def test_certificate_of_another_host(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[0]
    with GctServer.start(OtherHost(domain.directory, domain.organization), tmp_path) as server:
        there = site.register(server.url(""), domain)
        answer = ls(site, there)
        assert_explained(answer, "UntrustedHost", server.url(""), "other.example", "host name")
        task_id = site.deployment.transfer(there, site.endpoints[1], [("/x", "/y", None)])
        fault = first_fault(site.deployment, task_id)
        assert (fault["code"], fault["details"]["role"]) == ("GSI_DN_MISMATCH", "source")
        assert server.transfer_log.read_text() == ""
        cancel(site.deployment, task_id)


def test_certificate_of_an_authority_not_trusted(site: Site) -> None:
    here, _ = site.rig.domains
    there = site.register(site.rig.destination.url(""), here)
    answer = ls(site, there)
    assert_explained(answer, "UntrustedHost", site.rig.destination.url(""), "authorities")
    task_id = site.deployment.transfer(there, site.endpoints[1], [("/x", "/y", None)])
    assert first_fault(site.deployment, task_id)["code"] == "GSI_DN_MISMATCH"
    cancel(site.deployment, task_id)


def test_credential_of_another_authority(site: Site) -> None:
    here, there = site.rig.domains
    endpoint_id = site.register(site.rig.destination.url(""), there)
    site.give(endpoint_id, here.proxy_file.read_text()).raise_for_status()
    answer = ls(site, endpoint_id)
    assert_explained(answer, "LoginFailed", site.rig.destination.url(""), "trust")


# Where the data goes.


def test_passive_address_of_a_third_host(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[1]
    make_tree(tmp_path / "src", TREE, seed=6)
    item = (str(tmp_path / "src"), "/dst", True)
    with serving(peers.hangs_up, host="127.0.0.9") as third:
        high, low = divmod(third.port, 256)
        passive = f"227 Entering Passive Mode (127,0,0,9,{high},{low})"
        with serving(gsi_server(domain, {"PASV": passive})) as liar:
            there = site.register(liar.url, domain)
            task_id = site.deployment.transfer(
                site.endpoints[0], there, [item], verify_checksum=False
            )
            fault = first_fault(site.deployment, task_id)
            assert fault["code"] == "ENDPOINT_ERROR"
            assert "127.0.0.9" in fault["details"]["error"]
            assert "data host" in fault["details"]["advice"]
            until(lambda: liar.commands.count("PASV") > 1, 15, "it is tried again")
            assert not any(command.startswith("STOR") for command in liar.commands)
            cancel(site.deployment, task_id)
            assert third.connections == 0
            # The same address, declared by the endpoint's owner, is used: the listener counts.
            site.deployment.client.put(
                f"/v0.10/endpoint/{there}",
                json={"DATA_TYPE": "endpoint", "data_hosts": ["127.0.0.9"]},
            ).raise_for_status()
            task_id = site.deployment.transfer(
                site.endpoints[0], there, [item], verify_checksum=False
            )
            until(lambda: third.connections > 0, 20, "the source dials a declared data host")
            cancel(site.deployment, task_id)


# Credentials that end.


def short_proxy(domain: Domain, life: timedelta) -> tuple[str, datetime]:
    proxy = domain.make_proxy(life)
    return proxy.to_pem().decode(), proxy.not_after


def test_an_expired_proxy_is_not_taken(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[0]
    expired = domain.make_proxy(
        timedelta(minutes=1), now=datetime.now(UTC) - timedelta(minutes=2)
    ).to_pem()
    answer = site.give(site.endpoints[0], expired.decode())
    assert (answer.status_code, answer.json()["code"]) == (
        400,
        "ClientError.BadRequest.CredentialExpired",
    )
    file = tmp_path / "proxy"
    file.write_bytes(expired)
    with pytest.raises(DeploymentError, match=r"expired at .*grid-proxy-init"):
        site.deployment.towpath("credential", "add", site.endpoints[0], "--proxy", str(file))
    assert ls(site, site.endpoints[0]).status_code == 200  # the good one is still there


def test_a_task_waits_for_a_renewed_credential(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[0]
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, TREE, seed=7)
    here = site.register(site.rig.source.url(""), domain)
    proxy, ends = short_proxy(domain, timedelta(seconds=3))
    site.give(here, proxy).raise_for_status()
    until(lambda: datetime.now(UTC) >= ends, 10, "the proxy has expired")
    assert_explained(ls(site, here), "CredentialExpired", site.rig.source.url(""), "Renew")
    item = (str(source), str(destination), True)
    task_id = site.deployment.transfer(here, site.endpoints[1], [item])
    until(lambda: site.deployment.task(task_id)["status"] == "INACTIVE", 15, "the task waits")
    task = site.deployment.task(task_id)
    assert task["nice_status"] == "NO_CREDENTIALS"
    assert "expired" in task["nice_status_details"]
    assert task["nice_status_short_description"] == "no credentials"
    assert task["nice_status_expires_in"] == -1
    details = first_fault(site.deployment, task_id)["details"]
    assert "Renew" in details["advice"]
    assert "waits" in details["next"]
    began = time.monotonic()
    site.deployment.towpath("credential", "add", here, "--proxy", str(domain.proxy_file))
    assert site.deployment.task(task_id)["status"] in ("ACTIVE", "SUCCEEDED")
    assert site.deployment.wait(task_id, 20)["status"] == "SUCCEEDED"
    print(f"renewed and done in {time.monotonic() - began:.1f} s")
    assert digests(destination) == digests(source)
