"""Out of a network through its HTTP proxy: setup, tunnel and data."""

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connect.test_agent import there_and_back
from plugins.connect import RELAY, World
from towpath.connect import proxy
from towpath.connect.errors import ConnectError

CREDENTIAL = b64encode(b"ana:s3cret").decode()


class SmallProxy:
    """CONNECT, with a password."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["SmallProxy"]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            async with closed(writer):
                await self._serve(reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        self.asked.append(target)
        if f"Proxy-Authorization: Basic {CREDENTIAL}" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        other_reader, other_writer = await asyncio.open_connection(host, int(port))
        async with closed(other_writer):
            writer.write(b"HTTP/1.1 200 Connection established\r\nVia: small\r\n\r\n")
            await asyncio.gather(pumped(reader, other_writer), pumped(other_reader, writer))


@contextlib.asynccontextmanager
async def closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def test_all_goes_through_the_proxy(world: World, tmp_path: Path) -> None:
    async with SmallProxy().serving() as small:
        way = f"http://ana:s3cret@127.0.0.1:{small.port}"
        directory = await world.directory(proxy=way, relay_only=True)
        async with world.running(directory) as agent:
            session = await world.open(agent.identity.node_id)
            await there_and_back(session, world.home(), tmp_path)
            await session.close()
        relay = f"{RELAY}:{world.relays[0].relay.port}"
        assert set(small.asked) == {f"localhost:{world.port}", relay}
        assert small.asked.count(relay) == 3, "the tunnel, and two data connections"


async def test_a_proxy_that_does_not_let_us_out(world: World) -> None:
    async with SmallProxy().serving() as small:
        with pytest.raises(ConnectError, match="407"):
            await world.directory(proxy=f"http://127.0.0.1:{small.port}")
        with pytest.raises(proxy.ProxyError, match=r"does not connect: HTTP/1.1 407"):
            await proxy.connect("localhost", 1, proxy.Proxy("127.0.0.1", small.port))


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy.from_environment("move.example.org") is None
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    assert proxy.from_environment("move.example.org") == "http://proxy.example.org:3128"
    monkeypatch.setenv("no_proxy", "localhost,.example.org")
    assert proxy.from_environment("move.example.org") is None
    found = proxy.Proxy.parse("http://ana:p%40ss@proxy.example.org")
    assert (found.host, found.port) == ("proxy.example.org", 8080)
    assert found.authorization == "Basic " + b64encode(b"ana:p@ss").decode()
    assert "Basic" not in repr(found)
    assert found.request("2001:db8::1", 443).startswith(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n")
    for wrong in ("https://proxy.example.org", "socks5://a:1", "http://", "http://a/b"):
        with pytest.raises(ValueError, match="http://HOST:PORT"):
            proxy.Proxy.parse(wrong)
