"""Doubles of servers, for what no real server can be made to do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

ANSWERS = {
    "USER": "331 Password required.",
    "PASS": "230 User logged in.",
    "TYPE": "200 Type set to I.",
    "MODE": "200 Mode set to E.",
    "FEAT": "211-Extensions supported\r\n MLSC\r\n STORATTR\r\n211 End.",
    "PWD": '257 "/" is current directory.',
    "DCAU": "200 DCAU N.",
    "TREV": "200 Command Successful.",
    "OPTS": "200 OPTS Command Successful.",
    "PASV": "227 Entering Passive Mode (127,0,0,1,10,10)",
    "PORT": "200 PORT Command successful.",
    "NOOP": "200 OK.",
}


@dataclass
class ScriptedServer:
    """A clear-text server that answers each verb with a fixed text (None: not at all)."""

    port: int = 0
    answers: dict[str, str | None] = field(default_factory=lambda: dict(ANSWERS))
    banner: bytes | None = b"220 double ready.\r\n"
    received: list[str] = field(default_factory=list)
    open_connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            if self.banner is not None:
                writer.write(self.banner)
            while line := await reader.readline():
                text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
                self.received.append(text)
                answer = self.answers.get(text.split(" ")[0], "500 Invalid command.")
                if answer is not None:
                    writer.write(answer.encode() + b"\r\n")
        except ConnectionError:
            pass
        finally:
            self.open_connections -= 1
            writer.close()


@asynccontextmanager
async def scripted(**options: object) -> AsyncIterator[ScriptedServer]:
    """Runs a `ScriptedServer`."""
    server = ScriptedServer(**options)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


@asynccontextmanager
async def counting_listener(host: str) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """A port, and how many connections it has got."""
    count = 0

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.close()

    listener = await asyncio.start_server(accept, host, 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1], lambda: count
