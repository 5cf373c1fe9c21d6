"""A relay's port that says one thing to everybody who shows a pass."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Front:
    """Where it is, and what was said to it."""

    port: int = 0
    said: list[bytes] = field(default_factory=list)

    def nodes(self) -> list[str]:
        """For which node each pass was."""
        claims = [line.split(b".")[1] for line in self.said]
        return [json.loads(base64.urlsafe_b64decode(one + b"=="))["node"] for one in claims]


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[Front]:
    """It stays connected until the other side hangs up; without an answer it hangs up itself."""
    front = Front()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        front.said.append(await reader.readline())
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            if answer:
                await reader.read()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    async with server:
        yield front
