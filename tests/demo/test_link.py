"""A link that is down loses what is sent, and TCP goes on when it is up again, unless the link has
forgotten the connection."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from towpath.demo.link import Link

ECHO = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
while data := connection.recv(65536):
    connection.sendall(data)
"""


@contextmanager
def echoing(link: Link) -> Iterator[socket.socket]:
    """A connection to a program on the far host that says what it is told."""
    server = subprocess.Popen(
        [*link.far.enter, sys.executable, "-c", ECHO, link.far.address],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            with socket.create_connection((link.far.address, port), timeout=20) as connection:
                yield connection
        finally:
            server.kill()


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


def test_what_is_sent_while_the_link_is_down_arrives_later() -> None:
    with Link.open() as link, echoing(link) as connection:
        before = link.received_bytes
        connection.sendall(b"x" * 100_000)
        assert len(received(connection, 100_000)) == 100_000
        assert 100_000 <= link.received_bytes - before < 200_000
        link.down()
        connection.sendall(b"more")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(4)
        link.up()
        connection.settimeout(20)
        assert received(connection, 4) == b"more"


def test_connections_of_before_may_be_forgotten() -> None:
    with Link.open() as link, echoing(link) as old:
        link.down()
        link.up_anew()
        old.sendall(b"anybody?")
        with pytest.raises(ConnectionResetError):
            old.recv(1)
        with echoing(link) as new:
            new.sendall(b"yes")
            assert received(new, 3) == b"yes"


def test_calls_are_counted_while_nobody_answers() -> None:
    with Link.open() as link:
        link.down()
        assert link.calls == 0
        with pytest.raises(TimeoutError):
            socket.create_connection((link.far.address, 9), timeout=0.3)
        assert link.calls == 1


def test_nothing_is_left() -> None:
    with Link.open() as link:
        address = link.near.address
        assert address in addresses()
    until = time.monotonic() + 10
    while address in addresses():
        assert time.monotonic() < until
        time.sleep(0.02)


def addresses() -> str:
    return subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout
