"""The process of one account: it runs the sessions of that account, and cannot be anyone else.

It gets each session's socket from the launcher (SCM_RIGHTS). When it has had none for a while it
says so, and ends when the launcher has closed its end: so none is lost in between.

Without root there are no such processes: then `Sessions` runs in the process of the acceptor.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from towpath.gridftp.server.frames import FrameError, Opening, read_opening

OPENING_S = 30.0
"""The acceptor has written the opening before it hands the socket on; this is for a busy
machine."""

IDLE = b"idle"
"""Said to the launcher: there are no sessions here."""

_NAME_BYTES = 256


class Host(Protocol):
    """Runs sessions: `session.SessionHost`."""

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        """One session, until it is over. The socket is non-blocking."""


class Sessions:
    """The sessions of one process, each a task of its own."""

    def __init__(
        self,
        host: Host,
        *,
        account: str | None = None,
        failed: Callable[[BaseException], None] = lambda _error: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`account`: the only one whose sessions are taken. `failed`: told what ended a session
        that should not have. `changed`: called when a session has begun or ended."""
        self._host = host
        self._account = account
        self._failed = failed
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Those that run now."""
        return len(self._tasks)

    def open(self, _opening: Opening, connection: socket.socket) -> None:
        """As `control.OpenSession`: run a session of this process."""
        self.take(connection)

    def take(self, connection: socket.socket) -> None:
        """Run the session whose opening comes out of this socket; it is ours from now on."""
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._run(connection))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._changed()

    async def close(self) -> None:
        """Cut all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, connection: socket.socket) -> None:
        with connection:
            async with asyncio.timeout(OPENING_S):
                opening = await read_opening(connection)
            if self._account is not None and opening.account != self._account:
                raise FrameError(f"a session of {opening.account!r} came to {self._account!r}")
            await self._host.run(connection, opening)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
        self._changed()


async def serve(
    link: socket.socket,
    host: Host,
    account: str,
    *,
    idle_s: float,
    failed: Callable[[BaseException], None],
) -> None:
    """Run what comes through `link` (SOCK_SEQPACKET) until the launcher has closed it and the last
    session is over."""
    await _AccountProcess(link, host, account, idle_s, failed).run()


class _AccountProcess:
    def __init__(
        self,
        link: socket.socket,
        host: Host,
        account: str,
        idle_s: float,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._link = link
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._sessions = Sessions(host, account=account, failed=failed, changed=self._look)
        self._closed = False
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        self._link.setblocking(False)
        self._loop.add_reader(self._link, self._take)
        self._look()
        await self._over.wait()

    def _take(self) -> None:
        try:
            received = receive_socket(self._link)
        except BlockingIOError:
            return
        if received is not None:
            _name, connection = received
            if connection is not None:
                self._sessions.take(connection)
            return
        self._loop.remove_reader(self._link)
        self._closed = True
        self._look()

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sessions:
            return
        if self._closed:
            self._over.set()
        else:
            self._timer = self._loop.call_later(self._idle_s, self._say_idle)

    def _say_idle(self) -> None:
        with suppress(OSError):  # the launcher is gone; the link says so next
            self._link.send(IDLE)


def send_socket(link: socket.socket, name: str, connection: socket.socket) -> None:
    """Give away a session's socket; ours is closed, also when it cannot be sent.

    Raises `OSError`, `BlockingIOError` when the other end does not take them: it never waits.
    """
    with connection:
        socket.send_fds(link, [name.encode()], [connection.fileno()], socket.MSG_DONTWAIT)


def receive_socket(link: socket.socket) -> tuple[str, socket.socket | None] | None:
    """The next message with its socket, if it has one; None at the end. Raises `BlockingIOError`.

    Descriptors beyond the first are closed by the kernel or here.
    """
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    try:
        text, descriptors, _flags, _address = socket.recv_fds(link, _NAME_BYTES, 1, flags)
    except ConnectionError:
        return None
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for surplus in sockets[1:]:
        surplus.close()
    if not text and not sockets:
        return None
    return text.decode("utf-8", "replace"), sockets[0] if sockets else None
