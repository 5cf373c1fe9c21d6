"""Connections that are begun before there is an event loop to wait for them.

A GridFTP server starts a process for each connection, which takes it as long as Python takes to
import the client. So a command dials as soon as it knows whom, and imports meanwhile.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable

from towpath.gridftp.client.dial import Server, default_dial, encoded, in_order

CONNECT_S = 20.0
"""As `Timeouts.connect_s`: nobody waits longer for a connection."""


class DialledAhead:
    """A `Dial` that has begun; each connection is given once, any further ones are dialled anew."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._begun = [_Connecting(server.host, server.port) for server in servers]

    async def __call__(self, host: str, port: int) -> socket.socket:
        """The connection that was begun. What went wrong with it is found out by dialling again."""
        for connecting in self._begun:
            if (connecting.host, connecting.port) == (host, port):
                self._begun.remove(connecting)
                connection = await connecting.wait()
                if connection is not None:
                    return connection
                break
        return await default_dial(host, port)


class _Connecting:
    """One connection. Its thread cannot be broken off; it holds up nobody, not even the end."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        try:
            found = socket.getaddrinfo(encoded(self.host), self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        deadline = time.monotonic() + CONNECT_S
        for family, kind, protocol, address in in_order(found):
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection.connect(address)
            except OSError:
                connection.close()
            else:
                connection.setblocking(False)
                self._connection = connection
                return

    async def wait(self) -> socket.socket | None:
        if self._thread.is_alive():
            import asyncio  # noqa: PLC0415 - by now it is imported, but this module goes before it

            await asyncio.to_thread(self._thread.join)
        return self._connection
