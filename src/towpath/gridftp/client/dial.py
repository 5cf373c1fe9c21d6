"""Where a server is, how it is reached, and how long anything may take."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from towpath.gridftp.errors import GridFTPError, Kind

Dial = Callable[[str, int], Awaitable[socket.socket]]
"""Gives a connected, non-blocking TCP socket; raises GridFTPError(CONNECT or ADDRESS_REFUSED)."""

KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3
"""A host that vanished is noticed within a minute even while a long command runs in silence."""

_TCPI_RTT: Final = struct.Struct("=68xI")
"""Of the kernel's `struct tcp_info`: the round trip time in microseconds."""


@dataclass(frozen=True)
class Server:
    """Where a GridFTP server listens, and who it must prove to be."""

    host: str
    port: int = 2811
    subject: str | None = None
    """One-line name of the certificate to accept; None: one for `host`."""
    label: str | None = field(default=None, compare=False)
    """What it is called in errors, where host and port say nothing to anybody."""

    def __str__(self) -> str:
        return self.label or f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds."""

    connect_s: float = 20
    login_s: float = 60
    reply_s: float = 60
    """For a command that does not move or read a file's data."""
    checksum_s: float = 4 * 3600
    """A server says nothing while it reads a file; dead hosts are found by TCP keepalive."""
    stall_s: float = 60
    """Without any sign of progress on either end of a lane."""
    close_s: float = 5
    """For the peer to confirm its end."""


async def default_dial(host: str, port: int) -> socket.socket:
    """Resolve, and connect to the first address that answers, whatever it is."""
    import asyncio  # noqa: PLC0415 - a command knows its servers (`Server`) before it imports this

    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(encoded(host), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a host name"
        raise GridFTPError(
            Kind.CONNECT, f"the host name cannot be resolved ({reason})", f"{host}:{port}"
        ) from None
    last: OSError | None = None
    for family, kind, protocol, address in in_order(found):
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            last = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    reason = reason_of(last) if last is not None else "no address"
    raise GridFTPError(Kind.CONNECT, f"cannot connect ({reason})", f"{host}:{port}")


def encoded(host: str) -> str | bytes:
    """The name as getaddrinfo takes it: as text it would import all of Unicode's rules first."""
    return host.encode("ascii") if host.isascii() else host


def in_order(
    found: Iterable[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]],
) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, Any]]:
    """Family, kind, protocol and address of what getaddrinfo has found, in the order to try them.

    IPv4 first: the addresses of data channels (PASV, PORT) are IPv4.
    """
    chosen = [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
    return sorted(chosen, key=lambda item: item[0])


def reason_of(error: OSError) -> str:
    """Why a connection failed, in the system's words: asyncio's own only repeat the address."""
    if error.errno is not None and error.errno > 0:  # getaddrinfo's are negative
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def keep_alive(connection: socket.socket) -> None:
    """Notice vanished peers, and send small commands at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
        (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def round_trip_s(connection: socket.socket) -> float:
    """The way to the peer and back as the kernel has measured it while connecting, in seconds.

    Other than the time that dialling took this has no name lookup in it, and no waiting for us.
    """
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_RTT.size)
    return float(_TCPI_RTT.unpack(info)[0]) / 1e6
