"""Data paths of sessions: through the broker, from the sessions' threads."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable
from typing import Any, Final

from towpath.connect.broker import MESSAGE_BYTES
from towpath.gridftp.server.data_paths import Listening
from towpath.gridftp.wire.addresses import HostPort

LISTEN_S: Final = 20.0
"""For an answer: the broker asks a relay."""
MARGIN_S: Final = 5.0
"""How much longer than asked for we wait for a dial: the broker ends it, and says why."""

Connect = Callable[[], socket.socket]


def to_socket(descriptor: int) -> Connect:
    """How a session in another process reaches the broker: by a descriptor (O_PATH) of its socket,
    which that process has inherited. Nobody else finds the socket: its directory is closed."""

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}")
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


class BrokeredPaths:
    """See `DataPaths`."""

    def __init__(self, connect: Connect) -> None:
        """`connect` gives a new socket to the broker."""
        self._connect = connect

    def listen(self, local_host: str) -> Listening:
        """See `DataPaths`."""
        connection = self._connect()
        try:
            connection.settimeout(LISTEN_S)
            answer, _none = _asked(connection, {"do": "listen", "host": local_host})
            connection.setblocking(False)
            return _Listening(connection, HostPort(str(answer["host"]), int(answer["port"])))
        except BaseException:
            connection.close()
            raise

    def dial(self, address: HostPort, timeout_s: float) -> socket.socket:
        """See `DataPaths`."""
        with self._connect() as connection:
            connection.settimeout(timeout_s + MARGIN_S)
            asked = {
                "do": "dial",
                "host": address.host,
                "port": address.port,
                "timeout_s": timeout_s,
            }
            _answer, data = _asked(connection, asked)
        if data is None:
            raise OSError(errno.EPROTO, "the agent gave no connection")
        data.settimeout(None)
        return data


class _Listening:
    """See `Listening`."""

    def __init__(self, connection: socket.socket, address: HostPort) -> None:
        self._connection = connection
        self.address = address

    def fileno(self) -> int:
        return self._connection.fileno()

    def accept(self) -> tuple[socket.socket, str]:
        message, data = _received(self._connection)
        if data is None:
            raise OSError(errno.ECONNABORTED, "the agent gave no connection")
        return data, str(message["from"])

    def close(self) -> None:
        self._connection.close()


def _asked(
    connection: socket.socket, question: dict[str, Any]
) -> tuple[dict[str, Any], socket.socket | None]:
    connection.send(json.dumps(question).encode())
    return _received(connection)


def _received(connection: socket.socket) -> tuple[dict[str, Any], socket.socket | None]:
    """A message with its descriptor. Raises `OSError`: also what the broker says went wrong."""
    text, descriptors, _flags, _address = socket.recv_fds(
        connection, MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
    )
    data = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for surplus in data[1:]:
        surplus.close()
    if not text:
        # As if there were no room: who polls must not ask for ever.
        raise OSError(errno.ENOBUFS, "the agent has ended this listener")
    message: dict[str, Any] = json.loads(text)
    if "error" in message:
        raise OSError(errno.EHOSTUNREACH, str(message["error"]))
    return message, data[0] if data else None
