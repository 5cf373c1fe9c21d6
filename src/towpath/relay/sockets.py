"""Small things about sockets that all of the relay needs."""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Final

from towpath.relay.limits import KEEPALIVE_SOCKET

ACCEPT_PAUSE_S: Final = 0.5
"""When there are no descriptors left."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)
_IN_ORDER: Final = struct.pack("ii", 0, 0)


def keep_alive(connection: socket.socket) -> None:
    """Notice a peer that vanished."""
    idle, interval, count = KEEPALIVE_SOCKET
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def reset_at_end(connection: socket.socket, *, on: bool) -> None:
    """Whether its end, also that of this process, is a reset, however it comes."""
    value = _AT_ONCE if on else _IN_ORDER
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


def abort(connection: socket.socket) -> None:
    """Close it so that the peer is told at once that this is no orderly end (RST)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    connection.close()


def say_and_close(connection: socket.socket, line: bytes) -> None:
    """Send a last line, without waiting, and close.

    What the peer has sent and nobody will read is taken first: else the kernel answers it with a
    reset, which overtakes our line.
    """
    reset_at_end(connection, on=False)
    with contextlib.suppress(OSError):
        connection.send(line)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1 << 20)
    connection.close()


def peer_ip(connection: socket.socket) -> str:
    """The peer's IP address, an IPv4 one as such. OSError if it has gone."""
    return plain_ip(str(connection.getpeername()[0]))


def plain_ip(ip: str) -> str:
    """Without a zone; an IPv4 address that came in IPv6 as such."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def site_of(ip: str) -> str:
    """Who shares bounds: an IPv4 address, or the IPv6 network of one customer."""
    if ":" not in ip:
        return ip
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_ours(host: str) -> bool:
    """Whether it is an IP address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.bind((plain_ip(host) if family == socket.AF_INET else host, 0))
        except (OSError, ValueError):
            return False
    return True


async def readable(connection: socket.socket) -> None:
    """Until there is something to read, or the end. Cancel it to stop waiting."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def found() -> None:
        if not ready.done():
            ready.set_result(None)

    descriptor = connection.fileno()
    loop.add_reader(descriptor, found)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


class Accepting:
    """Takes the connections of a listening socket, without a task for it."""

    def __init__(self, listening: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._listening = listening
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._start()

    def stop(self) -> None:
        """Those that wait go on waiting. Call it before the socket is closed."""
        if not self._stopped:
            self._stopped = True
            self._loop.remove_reader(self._listening.fileno())

    def _start(self) -> None:
        if not self._stopped:
            self._loop.add_reader(self._listening.fileno(), self._ready)

    def _ready(self) -> None:
        while not self._stopped:
            try:
                connection, _ = self._listening.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                # no descriptors, no memory: looking again at once would only burn the processor
                self._loop.remove_reader(self._listening.fileno())
                self._loop.call_later(ACCEPT_PAUSE_S, self._start)
                return
            connection.setblocking(False)
            self._take(connection)
