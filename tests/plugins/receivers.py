"""Who is told, for real: a mail server, and an https server that takes webhooks."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from towpath.platform.certificates import server_certificate


@dataclass
class MailHost:
    """A real SMTP server (aiosmtpd) on loopback, which can be told to behave badly."""

    directory: Path
    starttls: bool = False
    refuses: str | None = None
    """The reply to every recipient."""
    refuses_text: str | None = None
    """The reply to every mail's text."""
    waits: asyncio.Event | None = None
    """It takes a mail and says nothing until this is set."""
    taken: list[EmailMessage] = field(default_factory=list)
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if self.refuses is not None:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.refuses_text is not None:
            return self.refuses_text
        if self.waits is not None:
            await self.waits.wait()
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 taken"

    @property
    def authority(self) -> Path:
        """The CA of its certificate."""
        return self.directory / "ca.pem"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """At the same port each time."""
        context: ssl.SSLContext | None = None
        if self.starttls:
            files = server_certificate(self.directory, ["127.0.0.1"])
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.cert, files.key)
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(
                self,
                hostname="mail.example",
                tls_context=context,
                require_starttls=self.starttls,
                loop=asyncio.get_running_loop(),
            ),
            "127.0.0.1",
            self.port,
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()


@dataclass(frozen=True)
class Posted:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


Answering = Callable[[Posted], Awaitable[bytes]]
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


async def always_ok(_posted: Posted) -> bytes:
    return OK


@dataclass
class HookHost:
    """An https server for ``localhost`` that remembers what was posted."""

    directory: Path
    answer: Answering = always_ok
    posted: list[Posted] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Of a hook there."""
        return f"https://localhost:{self.port}/hook"

    @property
    def authority(self) -> str:
        """The CA of its certificate."""
        return (self.directory / "ca.pem").read_text()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        files = server_certificate(self.directory, ["localhost"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        server = await asyncio.start_server(self._serve, "localhost", self.port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in lines[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            one = Posted(lines[0].split(" ")[1], headers, body)
            self.posted.append(one)
            writer.write(await self.answer(one))
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # a client that went away
        finally:
            writer.close()
