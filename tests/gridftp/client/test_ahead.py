"""Connections that are begun before there is an event loop."""

import socket
from collections.abc import Iterator

import pytest

from towpath.gridftp.client.ahead import DialledAhead
from towpath.gridftp.client.dial import Server
from towpath.gridftp.errors import GridFTPError, Kind


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        yield listener


def server(listener: socket.socket) -> Server:
    return Server("localhost", listener.getsockname()[1])


async def test_each_connection_is_given_once(listener: socket.socket) -> None:
    there = server(listener)
    dial = DialledAhead([there, there])
    ahead = [listener.accept(), listener.accept()]  # nobody has asked for them yet
    given = [await dial(there.host, there.port) for _ in range(2)]
    addresses = {address for _, address in ahead}
    assert {connection.getsockname() for connection in given} == addresses
    with await dial(there.host, there.port) as third:
        with listener.accept()[0]:
            assert third.getsockname() not in addresses
        assert not third.getblocking()
    for connection in (*given, *(connection for connection, _ in ahead)):
        connection.close()


async def test_other_servers_are_dialled_as_ever(listener: socket.socket) -> None:
    there = server(listener)
    with await DialledAhead([])(there.host, there.port) as connection:
        assert connection.getpeername() == listener.getsockname()


async def test_a_connection_still_under_way(listener: socket.socket) -> None:
    there = server(listener)
    crowd = [socket.create_connection(listener.getsockname()) for _ in range(2)]
    dial = DialledAhead([there])  # the kernel takes no third one, and has to be asked again
    for _ in crowd:
        listener.accept()[0].close()
    with await dial(there.host, there.port) as connection, listener.accept()[0] as other:
        assert other.getpeername() == connection.getsockname()
    for connection in crowd:
        connection.close()


@pytest.mark.parametrize("host", ["localhost", "nowhere.invalid", "bad..name", "bäd..name"])
async def test_failure_is_told_when_it_matters(host: str, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    dial = DialledAhead([Server(host, port)])
    with pytest.raises(GridFTPError) as caught:
        await dial(host, port)
    assert caught.value.kind is Kind.CONNECT
    assert caught.value.where == f"{host}:{port}"
