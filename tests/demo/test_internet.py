"""Homes behind routers, as a program in them sees the internet."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from towpath.demo.internet import Internet
from towpath.demo.servers import Host

PORT = 5000

ANSWERS = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as listener:
    print(flush=True)
    while True:
        connection, (address, _) = listener.accept()
        with connection:
            connection.sendall(address.encode())
"""

ASKS = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5) as connection:
        print(connection.recv(100).decode(), end="")
except TimeoutError:
    print("nobody", end="")
"""


@contextmanager
def answering(host: Host, port: int = PORT) -> Iterator[None]:
    words = [*host.enter, sys.executable, "-c", ANSWERS, host.address, str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline()
            yield
        finally:
            server.kill()


CALLS = 10


def called(host: Host, address: str, port: int = PORT) -> str:
    """Who the one that is called sees, or `nobody`."""
    words = [*host.enter, sys.executable, "-c", ASKS, address, str(port)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    with Internet.open() as made:
        yield made


def test_home_calls_out_by_its_routers_address_and_is_not_called(internet: Internet) -> None:
    site, home, other = internet.site(), internet.home(), internet.home()
    mine, beside, theirs = home.host(), home.host(), other.host()
    assert mine.address == theirs.address
    with answering(internet.here), answering(site), answering(mine), answering(beside):
        assert called(mine, site.address) == home.address
        assert called(theirs, internet.here.address) == other.address
        assert called(mine, beside.address) == mine.address
        for caller in (site, theirs, internet.here):
            assert called(caller, home.address) == "nobody"
        assert called(theirs, beside.address) == "nobody"


def test_addresses_change(internet: Internet) -> None:
    site, home = internet.site(), internet.home()
    mine = home.host()
    with answering(site):
        before = called(mine, site.address)
        moved = home.renumber(mine)
        assert called(moved, site.address) == before
        home.move()
        assert called(moved, site.address) == home.address != before


def test_office_lets_out_what_it_lets_out(internet: Internet) -> None:
    site, office = internet.site(), internet.home("tcp dport 5001")
    mine = office.host()
    with answering(site), answering(site, 5001):
        assert called(mine, site.address, 5001) == office.address
        assert called(mine, site.address) == "nobody"


def test_what_passes_at_a_site_is_counted(internet: Internet) -> None:
    site, other = internet.site(), internet.site()
    with answering(internet.here), answering(site):
        before = internet.passed_bytes(site)
        for _ in range(CALLS):
            called(other, internet.here.address)
        # who has which address, and the greetings of new interfaces
        assert internet.passed_bytes(site) - before < 100 * CALLS
        before = internet.passed_bytes(site)
        for _ in range(CALLS):
            called(other, site.address)
        assert internet.passed_bytes(site) - before > 300 * CALLS
