"""Ways of data connections, with a tunnel that says what the test wants."""

import asyncio
import socket
import time
from typing import Any

import pytest

from plugins.connect import until
from towpath.connect import ways as module
from towpath.connect.configuration import Relay
from towpath.connect.tunnel import TunnelFailed
from towpath.connect.ways import Means, NoWay, Ways
from towpath.tunnel import messages as words
from towpath.tunnel.prologue import OK, PrologueReader, TicketSaid

TICKET = "t" * 43


class ScriptedTunnel:
    """See `ways.Relayed`."""

    def __init__(self, port: int = 1) -> None:
        self.relay = Relay("127.0.0.1", port, "")
        self.theirs = ("127.0.0.9", port)
        self.ours = "127.0.0.1"
        self.dialled: list[tuple[str, int]] = []
        self.refuses = False
        self.probed = "127.0.0.1"
        self.listens_at = "127.0.0.1"
        self.candidates: tuple[str, ...] = ()
        self.unlistened: list[str] = []

    async def dial(self, host: str, port: int) -> words.Ticket:
        self.dialled.append((host, port))
        if self.refuses:
            raise TunnelFailed("no active task needs it")
        return words.Ticket(1, TICKET, self.candidates)

    async def listen(self, _candidates: tuple[str, ...]) -> words.Listening:
        return words.Listening(1, "L", self.listens_at, 40001)

    def unlisten(self, listener: str) -> None:
        self.unlistened.append(listener)

    async def probe(self, _port: int, _nonce: str) -> words.Probed:
        return words.Probed(1, True, self.probed)


async def serve_ticket(said: list[Any]) -> asyncio.Server:
    """A relay's one port, or another agent's: takes any ticket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(PrologueReader().feed(await reader.readline()))
        writer.write(OK + b"first bytes")
        await reader.read()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_who_is_reached_by_the_relay_only_is_not_waited_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DIRECT_S", 0.3)
    tried: list[str] = []

    async def nobody(host: str, _port: int) -> socket.socket:
        tried.append(host)
        await asyncio.sleep(60)
        raise AssertionError

    monkeypatch.setattr(module, "dial", nobody)
    said: list[Any] = []
    server = await serve_ticket(said)
    tunnel = ScriptedTunnel(port_of(server))
    ways = Ways(Means(), lambda: tunnel)
    for _ in range(3):
        began = time.monotonic()
        with await ways.dial("192.0.2.1", 50000, 10) as connection:
            # What comes behind the answer belongs to whoever gets the connection.
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(connection, 100) == b"first bytes"
    assert time.monotonic() - began < 0.25
    assert tried == ["192.0.2.1"]
    assert said == [TicketSaid(TICKET)] * 3
    assert (ways.moved_directly, ways.moved_by_relay) == (0, 3)
    ways.forget()
    (await ways.dial("192.0.2.1", 50000, 10)).close()
    assert tried == ["192.0.2.1"] * 2, "elsewhere it is tried anew"
    server.close()


async def test_no_way_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = ScriptedTunnel()
    tunnel.refuses = True
    ways = Ways(Means(), lambda: tunnel)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NoWay, match=r"directly: Connection refused.*no active task needs it"):
        await ways.dial("127.0.0.1", port, 5)
    with pytest.raises(NoWay, match="no relay is connected"):
        await Ways(Means(), lambda: None).dial("127.0.0.1", port, 5)
    with pytest.raises(NoWay, match="no relay is connected"):
        async with Ways(Means(), lambda: None).listening("127.0.0.1", lambda *_: None):
            pass


async def test_a_candidate_that_is_not_there_costs_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[Any] = []
    server = await serve_ticket(said)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(module, "CANDIDATE_S", 0.2)
        tunnel = ScriptedTunnel(port_of(server))
        tunnel.candidates = (f"127.0.0.1:{silent.getsockname()[1]}",)
        ways = Ways(Means(), lambda: tunnel)
        (await ways.dial("127.0.0.9", 40001, 10)).close()
    assert (ways.moved_directly, ways.moved_by_relay) == (0, 1)
    assert tunnel.dialled == [("127.0.0.9", 40001)], "the relay's own address is not dialled first"
    server.close()


@pytest.mark.parametrize(
    ("seen", "relays", "told"),
    [
        ("198.51.100.7", "203.0.113.1", True),
        ("10.1.2.3", "10.0.0.1", True),
        ("10.1.2.3", "203.0.113.1", False),
        ("127.0.0.1", "10.0.0.1", False),
        ("2001:db8::7", "203.0.113.1", False),
    ],
)
async def test_an_address_is_told_to_whom_it_means_something(
    seen: str, relays: str, told: bool
) -> None:
    tunnel = ScriptedTunnel()
    tunnel.probed, tunnel.listens_at = seen, relays
    ways = Ways(Means(), lambda: tunnel)
    await ways.look_outside(tunnel)
    assert ways.open_at == (seen if told else None)


async def test_ports_of_the_range_only(unused_range: tuple[int, int]) -> None:
    tunnel = ScriptedTunnel()
    ways = Ways(Means(ports=unused_range), lambda: tunnel)
    await ways.look_outside(tunnel)
    taken: list[tuple[socket.socket, str]] = []
    async with ways.listening("", lambda *what: taken.append(what)) as listener:
        assert listener.host == "127.0.0.1"
        assert unused_range[0] <= listener.port <= unused_range[1]
        reader, writer = await asyncio.open_connection(listener.host, listener.port)
        await until(lambda: taken)
        taken[0][0].close()
        writer.close()
        del reader
    await until(lambda: tunnel.unlistened)


@pytest.fixture
def unused_range() -> tuple[int, int]:
    """Some ports, one of which is free."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = int(one.getsockname()[1])
    return port, port
