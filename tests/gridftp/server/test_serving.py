"""A server in one process, as its account runs it."""

import getpass
from pathlib import Path

import pytest

from plugins.front import Client, EchoHost
from towpath.demo.authority import Domain
from towpath.gridftp.server.acceptor import listen
from towpath.gridftp.server.control import LoginReport
from towpath.gridftp.server.serving import Security, serving_here


def security(domain: Domain) -> Security:
    return Security(
        host_certificate=domain.host.certificate_file,
        host_key=domain.host.key_file,
        trust_dir=domain.trust_dir,
        gridmap=domain.gridmap_file,
    )


async def test_certificates_and_anonymous(domain_a: Domain) -> None:
    sockets = listen(0, ["127.0.0.1"])
    port = sockets[0].getsockname()[1]
    reports: list[LoginReport] = []
    failures: list[BaseException] = []
    host = EchoHost()
    async with serving_here(
        sockets,
        security(domain_a),
        host,
        anonymous=True,
        report=reports.append,
        failed=failures.append,
    ) as server:
        async with await Client.connect(port) as client:
            assert [reply.code for reply in await client.log_in(domain_a)] == [331, 230]
            assert (await client.ask_wrapped(b"PWD")).code == 200
            assert server.sessions == 1
        async with await Client.connect(port) as client:
            client.send(b"USER anonymous", b"PASS x", b"PWD")
            assert await client.codes(4) == [220, 331, 230, 200]
    me = getpass.getuser()
    assert [(report.subject, report.account) for report in reports] == [
        ("/O=DomA/CN=Alice", me),
        ("", me),
    ]
    assert failures == []
    assert host.ended == 2


async def test_what_is_missing_is_said_before_anything_is_served(
    domain_a: Domain, tmp_path: Path
) -> None:
    sockets = listen(0, ["127.0.0.1"])
    missing = Security(
        host_certificate=domain_a.host.certificate_file,
        host_key=tmp_path / "none",
        trust_dir=domain_a.trust_dir,
        gridmap=domain_a.gridmap_file,
    )
    with sockets[0], pytest.raises(FileNotFoundError):
        async with serving_here(sockets, missing, EchoHost()):
            pass
