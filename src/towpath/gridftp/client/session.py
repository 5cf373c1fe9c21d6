"""A control session with one GridFTP server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.wire.ranges import ByteRange

if TYPE_CHECKING:
    from towpath.gridftp.security.credentials import Credential
    from towpath.gridftp.security.trust import TrustRoots
    from towpath.gridftp.wire.replies import Reply

Dial = Callable[[str, int], Awaitable[socket.socket]]


@dataclass(frozen=True)
class Server:
    """Where a GridFTP server listens, and who it must prove to be."""

    host: str
    port: int = 2811
    subject: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Timeouts:
    """Seconds."""

    connect_s: float = 20
    login_s: float = 60
    reply_s: float = 60
    stall_s: float = 60
    close_s: float = 5


async def default_dial(host: str, port: int) -> socket.socket:
    """Resolve and connect, whatever the address."""
    raise NotImplementedError


class Session:
    """A logged-in control channel."""

    server: Server
    peer_ip: str
    home: str | None
    closed: bool

    @classmethod
    async def open(
        cls,
        server: Server,
        *,
        credential: Credential | None,
        trust: TrustRoots | None,
        delegate: bool = False,
        dial: Dial = default_dial,
        timeouts: Timeouts | None = None,
    ) -> Session:
        """Connect and log in."""
        raise NotImplementedError

    async def command(
        self, line: str, *, path: str | None = None, timeout_s: float | None = None
    ) -> Reply:
        """Send one command and return its final reply."""
        raise NotImplementedError

    def submit(
        self, lines: Sequence[str], on_intermediate: Callable[[Reply], None] | None = None
    ) -> list[asyncio.Future[Reply]]:
        """Send commands in one write."""
        raise NotImplementedError

    async def stat(self, path: str) -> Entry:
        """MLST."""
        raise NotImplementedError

    def list(self, path: str) -> AsyncIterator[list[Entry]]:
        """MLSC in batches."""
        raise NotImplementedError

    async def mkdir(self, path: str) -> None:
        """MKD."""

    async def make_directories(self, path: str) -> None:
        """MKD of a path and its ancestors."""

    async def rename(self, old: str, new: str) -> None:
        """RNFR, RNTO."""

    async def delete_file(self, path: str) -> None:
        """DELE."""

    async def delete_directory(self, path: str) -> None:
        """RMD."""

    async def checksum(
        self,
        path: str,
        algorithm: str,
        byte_range: ByteRange | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """CKSM."""
        raise NotImplementedError

    async def size(self, path: str) -> int:
        """SIZE."""
        raise NotImplementedError

    async def set_modified(self, path: str, unix_s: int) -> None:
        """MFMT."""

    async def whoami(self) -> str:
        """SITE WHOAMI."""
        raise NotImplementedError

    async def close(self) -> bool:
        """Half-close and wait for the peer's end."""
        raise NotImplementedError
