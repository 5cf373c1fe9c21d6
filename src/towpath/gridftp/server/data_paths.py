"""How data connections come about, where it is not by listening and connecting right here.

A server behind a router can have others listen and dial in its place. Whoever runs sessions gives
each of them its `DataPaths`; without one a session does what it always did, at no cost.
"""

from __future__ import annotations

import errno
import random
import socket
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from towpath.gridftp.data.link import Listener
from towpath.gridftp.wire.addresses import HostPort

ATTEMPTS_ON_PORTS: Final = 50
"""Ports of the operator's range that are tried for one that is free."""


class PortRange(NamedTuple):
    """Ports a firewall lets through, both included."""

    first: int
    last: int


class Listening(Listener, Protocol):
    """Where data connections come in.

    `fileno` can be polled, and is readable as long as `accept` has something to give. `accept`
    gives a connected socket and the host it is from (in numbers), and may take some round trips;
    OSError: that connection went away. `close` is called once, by whoever has it last.
    """

    @property
    def address(self) -> HostPort:
        """What is told to who is to connect (PASV): IPv4, in numbers."""


class DataPaths(Protocol):
    """The ways of one session. Its calls block; they are made in the session's threads."""

    def listen(self, local_host: str) -> Listening:
        """A new place for connections. `local_host`: as in the session's `Opening`. OSError: there
        is none."""

    def dial(self, address: HostPort, timeout_s: float) -> socket.socket:
        """A blocking socket that is connected with it. Called in a thread for each connection.

        OSError: why not, in its `strerror`; TimeoutError. Nobody waits for it any more when the
        transfer is given up meanwhile: what it returns then is closed.
        """


class Direct:
    """Listening sockets of this machine (what there is without `DataPaths`)."""

    def __init__(self, ports: PortRange | None = None, *, backlog: int = 128) -> None:
        """`ports`: where listeners may be; None: anywhere."""
        self._ports = ports
        self._backlog = backlog

    def listen(self, local_host: str) -> Listening:
        """See `DataPaths`."""
        return ListeningSocket(self._bound(local_host))

    def dial(self, address: HostPort, timeout_s: float) -> socket.socket:
        """See `DataPaths`."""
        connection = socket.create_connection(address, timeout_s)
        connection.settimeout(None)
        return connection

    def _bound(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if self._ports is None:
            return socket.create_server((host, 0), family=family, backlog=self._backlog)
        for _ in range(ATTEMPTS_ON_PORTS):
            port = random.randint(*self._ports)  # noqa: S311 - to spread, not to hide
            with suppress(OSError):
                return socket.create_server((host, port), family=family, backlog=self._backlog)
        raise OSError(errno.EADDRINUSE, "no port is free for data connections")


class ListeningSocket:
    """A listening socket. See `Listening`."""

    def __init__(self, listener: socket.socket) -> None:
        """Own a socket that listens."""
        listener.setblocking(False)
        self._listener = listener
        host, port = listener.getsockname()[:2]
        self.address = HostPort(host, port)

    def fileno(self) -> int:
        """See `Listening`."""
        return self._listener.fileno()

    def accept(self) -> tuple[socket.socket, str]:
        """See `Listening`."""
        connection, address = self._listener.accept()
        return connection, str(address[0])

    def close(self) -> None:
        """See `Listening`."""
        self._listener.close()
