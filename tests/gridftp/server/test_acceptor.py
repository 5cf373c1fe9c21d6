"""Many connections: those who have not logged in neither disturb nor exhaust."""

import asyncio
import contextlib
import errno
import getpass
import os
import resource
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from plugins.front import Client, client_of, front, logged_in, now, quick, until
from towpath.demo.authority import Domain
from towpath.gridftp.server import acceptor
from towpath.gridftp.server.acceptor import FreshSecurity, fit_descriptors, listen

ME = getpass.getuser()


async def test_too_many_sessions(domain_a: Domain) -> None:
    limits = quick(sessions=2)
    async with front(domain_a, limits=limits) as running, logged_in(running) as first:
        async with logged_in(running), client_of(running) as third:
            assert await third.all_codes() == [421]
            assert (await first.ask_wrapped(b"PWD")).code == 200
        await until(lambda: running.server.sessions == 1)
        async with logged_in(running):
            pass


async def test_the_last_place_is_taken_during_a_login(domain_a: Domain) -> None:
    async with front(domain_a, limits=quick(sessions=1)) as running, client_of(running) as late:
        replies = await late.authenticate(domain_a.credential, domain_a.trust)
        assert replies[-1].code == 235
        async with logged_in(running):
            late.send_wrapped(b"USER :globus-mapping:", b"PASS x")
            assert await late.codes(2) == [331, 421]
            assert running.reports[-1].outcome == "too many sessions"


async def test_too_many_of_one_peer(domain_a: Domain) -> None:
    limits = quick(sessions_per_peer=3)
    async with front(domain_a, limits=limits) as running, logged_in(running):
        clients = [await Client.connect(running.port) for _ in range(4)]
        codes = [(await client.reply()).code for client in clients]
        assert codes == [220, 220, 421, 421]
        for client in clients:
            client.writer.transport.abort()
        await until(lambda: running.server.pending == 0)
        async with logged_in(running):
            pass


async def test_the_oldest_goes_first(domain_a: Domain) -> None:
    async with front(domain_a, limits=quick(pending_logins=3)) as running:
        clients = [await Client.connect(running.port) for _ in range(5)]
        assert [(await client.reply()).code for client in clients] == [220] * 5
        assert running.server.pending == 3
        assert [await client.all_codes() for client in clients[:2]] == [[421], [421]]
        assert (await clients[2].ask(b"NOOP")).code == 530
        for client in clients:
            client.writer.transport.abort()


@pytest.mark.parametrize(
    "test", [test_too_many_sessions, test_too_many_of_one_peer, test_the_oldest_goes_first]
)
def test_under_uvloop(
    domain_a: Domain, test: Callable[[Domain], Coroutine[Any, Any, None]]
) -> None:
    """The command runs the server so."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test(domain_a))


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("", ""),
    ],
)
def test_whom_an_address_belongs_to(host: str, site: str) -> None:
    assert acceptor._site(host) == site


class Flood(threading.Thread):
    """Opens connections in a thread of its own, and leaves them."""

    def __init__(self, port: int, count: int, host: str, says: bytes) -> None:
        super().__init__()
        self.port, self.count, self.host, self.says = port, count, host, says
        self.opened = 0

    def run(self) -> None:
        kept: list[socket.socket] = []
        for number in range(self.count):
            one = socket.create_connection(
                ("127.0.0.1", self.port), timeout=20, source_address=(self.host, 0)
            )
            self.opened += 1
            with contextlib.suppress(OSError):  # dropped already
                one.sendall(self.says)
            kept.append(one)
            if len(kept) > 300 or number % 3 == 0:
                kept.pop(0).close()
        for one in kept:
            one.close()


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def flood(domain: Domain, count: int) -> None:
    """A session works, another address logs in, while these come."""
    limits = quick(pending_logins=50, sessions_per_peer=60)
    descriptors = open_descriptors()
    async with front(domain, limits=limits) as running, logged_in(running) as session:
        flooding = Flood(running.port, count, "127.0.0.9", b"AUTH GSSAPI\r\nADAT AAAA\r\n")
        flooding.start()
        answered = logins = most = 0
        while flooding.is_alive() or not logins:
            assert (await session.ask_wrapped(b"PWD")).code == 200
            answered += 1
            if answered % 20 == 1:
                async with logged_in(running):
                    logins += 1
            assert running.server.pending <= 50
            most = max(most, open_descriptors())
        await asyncio.to_thread(flooding.join)
        assert flooding.opened == count
        # Both ends of all of these are in this process: 301 of the flood, and ours.
        assert most < descriptors + 301 + 60 + 2 * acceptor.BACKLOG
        await until(lambda: running.server.pending == 0)
        await until(lambda: running.server.sessions == 1)


async def test_half_open_connections(domain_a: Domain) -> None:
    await flood(domain_a, 500)


@pytest.mark.long
async def test_ten_thousand_half_open_connections(domain_a: Domain) -> None:
    await flood(domain_a, 10_000)


def test_listening() -> None:
    both = listen(0)
    ports = {one.getsockname()[1] for one in both}
    assert len(ports) == 1
    families = [one.family for one in both]
    assert families[0] == socket.AF_INET
    for one in both:
        one.close()
    (one,) = listen(0, ["127.0.0.1"])
    with one, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        listen(one.getsockname()[1], ["127.0.0.1"])


async def test_both_families(domain_a: Domain) -> None:
    sockets = listen(0, ["127.0.0.1", "::1"])
    if len(sockets) < 2:
        pytest.skip("no IPv6 on this machine")
    async with front(domain_a) as running:
        await running.server.start(sockets)
        port = sockets[1].getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            async with Client(*await asyncio.open_connection(host, port)) as client:
                await client.log_in(domain_a)
                assert running.host.openings[-1].peer_host == host
                assert running.host.openings[-1].local_host == host


def test_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = quick(sessions=1000, pending_logins=100)
    fixed = 100 + 2 * acceptor.BACKLOG + 64
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _what, both: set_to.append(both))
    for (soft, hard), sessions, wanted in [
        ((1024, 100_000), 1000, fixed + 2000),
        ((100_000, 100_000), 1000, None),
        ((1024, fixed + 500), 250, fixed + 500),
        ((1024, resource.RLIM_INFINITY), 1000, fixed + 2000),
    ]:
        set_to.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _what, both=(soft, hard): both)
        assert fit_descriptors(limits, per_session=2).sessions == sessions
        assert set_to == ([] if wanted is None else [(wanted, hard)])
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (100, 100))
    with pytest.raises(OSError, match="are needed"):
        fit_descriptors(limits, per_session=2)


def test_trust_roots_are_read_again(tmp_path: Path, domain_b: Domain) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    security = FreshSecurity(domain.host.credential(), domain.trust_dir, now)
    first = security.current()
    security.refresh()
    assert security.current() is first
    domain.revoke(domain.user)
    security.refresh()
    assert security.current() is not first
    assert security.current().trust.revocation_lists
    for file in domain.trust_dir.iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="no trusted authority"):
        security.refresh()
    assert security.current().trust.revocation_lists  # what was read last stays
