"""Data connections for sessions, wherever those run: asked for, and handed over, as descriptors.

Sessions are in threads of this process, or in processes of their accounts. Each listener and each
dial has a Unix socket (SOCK_SEQPACKET) to the process that holds the tunnel; what belongs to whom
is then told by the kernel, and ends when either side closes it. What comes over it:

    S: {"do": "listen", "host": "10.0.0.5"}          B: {"host": "192.0.2.1", "port": 40001}
                                                     B: {"from": "198.51.100.7"} + descriptor, ...
    S: {"do": "dial", "host": ..., "port": ..., "timeout_s": 60}      B: {} + descriptor
                                                     B: {"error": "why not"}   instead of either
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from towpath.connect.accepting import accept
from towpath.connect.ways import Ways

_log: Final = logging.getLogger(__name__)

MESSAGE_BYTES: Final = 8 * 1024
"""An address, or a sentence."""
ASK_S: Final = 10.0
"""Within which a session says what it wants; it is the first thing it does."""
LONGEST_DIAL_S: Final = 120.0
"""Whatever a session asks for."""
MOST: Final = 20_000
"""Sockets of sessions at one time: 2,000 sessions with a listener, or dialling some connections."""

_CREDENTIALS: Final = struct.Struct("3i")


class Broker:
    """Serves sessions. On the loop."""

    def __init__(self, ways: Ways, may_ask: Callable[[int], bool]) -> None:
        """`may_ask`: whether a user id has sessions here; for who comes from another process."""
        self._ways = ways
        self._may_ask = may_ask
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def connect(self) -> socket.socket:
        """For a session in this process. From any thread; the loop must run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._loop.call_soon_threadsafe(self._take, ours)
        return theirs

    def start(self, listening: socket.socket | None = None) -> None:
        """Begin. `listening`: where sessions of other processes come."""
        self._loop = asyncio.get_running_loop()
        if listening is not None:
            listening.setblocking(False)
            self._accepting = self._loop.create_task(self._accept(listening))

    async def close(self) -> None:
        """End all that is under way."""
        tasks = [*self._tasks]
        if self._accepting is not None:
            tasks.append(self._accepting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            connection, _address = await accept(listening)
            if self._may_ask(user_of(connection)):
                self._take(connection)
            else:
                connection.close()

    def _take(self, connection: socket.socket) -> None:
        if len(self._tasks) >= MOST:
            connection.close()
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                async with asyncio.timeout(ASK_S):
                    asked = json.loads(await self._loop.sock_recv(connection, MESSAGE_BYTES))
                if asked["do"] == "listen":
                    await self._listen(connection, str(asked["host"]))
                elif asked["do"] == "dial":
                    await self._dial(connection, asked)
            except (TimeoutError, ValueError, KeyError, TypeError) as error:
                _log.warning("a session asked for a data connection and made no sense: %r", error)
            except OSError as error:
                with suppress(OSError):
                    _send(connection, {"error": str(error)[:1000]})

    async def _listen(self, connection: socket.socket, host: str) -> None:
        def deliver(data: socket.socket, peer: str) -> None:
            with data, suppress(OSError):  # the session is gone, or has enough of them
                _send(connection, {"from": peer}, data)

        async with self._ways.listening(host, deliver) as listener:
            _send(connection, {"host": listener.host, "port": listener.port})
            while await self._loop.sock_recv(connection, MESSAGE_BYTES):
                pass  # nothing more is asked

    async def _dial(self, connection: socket.socket, asked: dict[str, Any]) -> None:
        timeout_s = min(LONGEST_DIAL_S, float(asked["timeout_s"]))
        dialling = self._loop.create_task(
            self._ways.dial(str(asked["host"]), int(asked["port"]), timeout_s)
        )
        given_up = self._loop.create_task(self._loop.sock_recv(connection, 1))
        try:
            await asyncio.wait((dialling, given_up), return_when=asyncio.FIRST_COMPLETED)
            if dialling.done():
                with dialling.result() as data:
                    _send(connection, {}, data)
        finally:
            for task in (dialling, given_up):
                task.cancel()
            for result in await asyncio.gather(dialling, given_up, return_exceptions=True):
                if isinstance(result, socket.socket):
                    result.close()


def _send(
    connection: socket.socket, message: dict[str, Any], data: socket.socket | None = None
) -> None:
    """Raises `OSError` also when the session does not take it: nobody waits for it."""
    descriptors = [] if data is None else [data.fileno()]
    socket.send_fds(connection, [json.dumps(message).encode()], descriptors, socket.MSG_DONTWAIT)


def user_of(connection: socket.socket) -> int:
    """Who is at the other end of a Unix socket, by the kernel's word."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, user, _group = _CREDENTIALS.unpack(found)
    return int(user)


def own_user_only(user: int) -> bool:
    """For an agent that serves the account it runs as."""
    return user in (0, os.geteuid())
