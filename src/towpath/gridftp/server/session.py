"""Logged-in sessions: their frames, their queue, and the thread that runs what is in it.

The event loop reads the frames of all sessions into bounded queues. A session that has commands
gets a thread, which runs them one after the other, sends the replies itself, and goes when nothing
is left: hundreds of commands that were sent ahead cost one hand-over. While a command runs the
loop still sees ABOR, and that the other half has gone, and stops what is under way.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from towpath.dsi.storage import Storage
from towpath.gridftp.data.pace import Pace
from towpath.gridftp.errors import printable
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.channel import DataChannel
from towpath.gridftp.server.commands import dispatch
from towpath.gridftp.server.commands.base import (
    LoginCredential,
    Refused,
    Report,
    Session,
    SessionEndedError,
    Transferred,
)
from towpath.gridftp.server.data_paths import DataPaths, PortRange
from towpath.gridftp.server.dialling import AnyHost, DataPolicy, PeerOnly
from towpath.gridftp.server.frames import FrameError, FrameReader, Notice, Opening, frame
from towpath.gridftp.server.limits import COMMAND_BYTES, QUEUED_BYTES, QUEUED_COMMANDS, Limits
from towpath.gridftp.server.recent_digests import RecentDigests
from towpath.gridftp.wire import answers

_log: Final = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
"""Of frames at once; so many bytes a queue may be longer than its bound."""

REPLIES_BYTES: Final = 64 * 1024
"""Replies that wait to be sent together."""

REPLIES_S: Final = 0.002
"""How long replies wait for others while commands are queued: nobody who has sent commands ahead
waits for the first of their answers."""

SHORTEST_TICK_S: Final = 0.005
LONGEST_TICK_S: Final = 0.04
"""How often the loop looks for replies that wait although their session's command takes long: soon
after commands came, and then more seldom."""

SEND_S: Final = 120.0
"""How long the other half may take no replies. It cuts such clients after half of it, so this is
not seen unless it hangs."""


def data_policy(opening: Opening) -> DataPolicy:
    """Whom we know may have third-party transfers; others move data to and from their own host."""
    return AnyHost(opening.peer_host) if opening.secured else PeerOnly(opening.peer_host)


def _discard(_event: Transferred | Refused) -> None:
    """For servers without an access log."""


class SessionHost:
    """Runs the sessions of one account, or of a whole server that has no accounts."""

    def __init__(
        self,
        storage: Storage | Callable[[Opening], Storage],
        limits: Limits,
        *,
        trust: Callable[[], TrustRoots] | None = None,
        policy: Callable[[Opening], DataPolicy] = data_policy,
        ports: PortRange | None = None,
        paths: Callable[[Opening], DataPaths | None] = lambda _opening: None,
        pace: Pace | Callable[[Opening], Pace] | None = None,
        report: Report = _discard,
        durable: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Sessions on one storage, or each on the one that is chosen for it (in a thread; OSError:
        there is none, which ends the session with 421).

        `trust`: gives whom delegated credentials may meet on data connections, as it is now.
        `ports`: where data connections come in; None: anywhere. `paths`: how those of a session
        come about; None: they are made here. `pace`: the bandwidth that all sessions share, or
        what says it for each.
        `report` is called in the sessions' threads. `durable`: a file that is answered for is on
        the disk. `now`: the time of day, by which permissions end.
        """
        self._storage: Final = storage
        self._paths = paths
        self._pace = pace
        self.now: Final = now
        self._limits = limits
        self._trust = trust
        self._policy = policy
        self._ports = ports
        self.report: Final = report
        self.durable: Final = durable
        self.recent: Final = RecentDigests()
        # A thread for each session at most: one that waits for a tape must not keep others waiting.
        self._threads = ThreadPoolExecutor(limits.sessions, thread_name_prefix="session")
        self._busy: set[_Pump] = set()
        self._ticking: asyncio.TimerHandle | None = None
        self._tick_s = SHORTEST_TICK_S

    def open_channel(self, opening: Opening) -> DataChannel:
        """The data channel of a session that begins."""
        return DataChannel(
            local_host=opening.local_host,
            policy=self._policy(opening),
            limits=self._limits,
            ports=self._ports,
            paths=self._paths(opening),
            pace=self._pace(opening) if callable(self._pace) else self._pace,
        )

    def credential(self, opening: Opening) -> LoginCredential | None:
        """What a session was given at its login."""
        if opening.credential is None or self._trust is None:
            return None
        return LoginCredential(opening.credential.encode("ascii"), self._trust())

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        """One session, from its opening until either half closes the socket.

        Takes over the socket. When this returns nothing of the session runs any more.
        """
        try:
            storage = await self._storage_of(opening)
        except OSError as error:
            reason = printable(error.strerror or str(error), 200)
            with suppress(OSError):
                connection.send(frame(answers.reply(421, f"The storage is not there: {reason}.")))
            connection.close()
            return
        pump = _Pump(self, connection, opening, storage)
        try:
            await asyncio.shield(pump.ended)
        except asyncio.CancelledError:
            pump.end()
            await pump.ended
            raise

    async def _storage_of(self, opening: Opening) -> Storage:
        storage = self._storage
        return await asyncio.to_thread(storage, opening) if callable(storage) else storage

    def close(self) -> None:
        """Let go of the threads, when all sessions have ended."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._threads.shutdown(wait=True)

    # -- for pumps, in the loop's thread

    def start(self, pump: _Pump) -> None:
        """Give a session a thread."""
        self._threads.submit(pump.work)
        self._busy.add(pump)

    def stir(self) -> None:
        """Commands came: look after replies soon."""
        self._tick_s = SHORTEST_TICK_S
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def _tick(self) -> None:
        self._busy = {pump for pump in self._busy if pump.look_after()}
        self._ticking = None
        if self._busy:
            self._tick_s = min(self._tick_s * 2, LONGEST_TICK_S)
            self._ticking = asyncio.get_running_loop().call_later(self._tick_s, self._tick)


class _Pump:
    """One session's frames: the loop puts them into a queue, a thread takes them out."""

    def __init__(
        self, host: SessionHost, connection: socket.socket, opening: Opening, storage: Storage
    ) -> None:
        self._host = host
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._reader = FrameReader(COMMAND_BYTES, self._notified)

        self._lock = threading.Lock()
        """Guards what is between here and the next blank line."""
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        """Whether nothing is read until there is room again."""
        self._busy = False
        self._closed = False
        self._aborts = 0
        self._stoppable = False

        self._reply_lock = threading.Lock()
        self._replies = bytearray()
        self._replied_at = 0.0

        self._channel = host.open_channel(opening)
        self._session = Session(
            opening,
            storage,
            self._channel,
            credential=host.credential(opening),
            send=self._send,
            send_marker=self._send_marker,
            aborted=self._is_aborted,
            report=host.report,
            durable=host.durable,
            recent=host.recent,
            now=host.now,
        )
        # Whatever the loop makes of it (uvloop's readers make a blocking one non-blocking): reads
        # and writes are told not to wait, and who may wait polls.
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._readable)

    # -- in the loop's thread

    def _readable(self) -> None:
        try:
            data = self._connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        try:
            lines = self._reader.feed(data)
        except FrameError:
            data = b""
        if not data:
            self.end()
        elif lines:
            self._take(lines)

    def _notified(self, notice: Notice) -> None:
        """For the session's thread it is there from its next look on."""
        if notice.permission is not None:
            self._session.permission = notice.permission
        self._session.notices.append(notice)

    def _is_aborted(self) -> bool:
        return self._closed or self._aborts > 0 or self._session.over_time

    def _take(self, lines: list[bytes]) -> None:
        aborts = sum(_is_abort(line) for line in lines)
        with self._lock:
            if self._closed:
                return
            self._queue.extend(lines)
            self._queued_bytes += sum(map(len, lines))
            self._aborts += aborts
            if aborts and self._stoppable:
                self._channel.abort()  # under the lock: nothing that comes later is running yet
            start, self._busy = not self._busy, True
            full = len(self._queue) >= QUEUED_COMMANDS or self._queued_bytes >= QUEUED_BYTES
            self._paused = full
        if full:
            self._loop.remove_reader(self._connection.fileno())
        if start:
            self._host.start(self)
        self._host.stir()

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._connection.fileno(), self._readable)

    def look_after(self) -> bool:
        """While a command runs; returns whether one does."""
        with self._lock:
            if self._busy and self._is_aborted():
                self._channel.abort()  # again: it may not have begun when it was told first
        if self._closed:
            return self._busy
        if self._paused and self._is_left():
            self.end()
        if self._replies and self._reply_lock.acquire(blocking=False):
            try:
                sent = self._connection.send(self._replies, socket.MSG_DONTWAIT)
                del self._replies[:sent]
            except OSError:
                pass  # full: later; gone: seen elsewhere
            finally:
                self._reply_lock.release()
        return self._busy

    def _is_left(self) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    def end(self) -> None:
        """Stop what runs and forget what is queued: the other half is gone, or is to go."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.clear()
            busy = self._busy
        self._loop.remove_reader(self._connection.fileno())
        if busy:
            self._channel.abort()
        else:
            self._finish()

    def _finish(self) -> None:
        """The last thing that is done, once no thread runs."""
        if self.ended.done():
            return
        self._busy = False  # so that nobody looks after it any more
        self._loop.remove_reader(self._connection.fileno())
        self._channel.close()
        self._connection.close()
        self.ended.set_result(None)

    # -- in the session's thread

    def work(self) -> None:
        """Run what is queued until nothing is."""
        try:
            while (line := self._next()) is not None:
                self._run(line)
        except SessionEndedError:
            self._close()
        except Exception:  # noqa: BLE001 - it is logged
            self._close()
            _log.exception("a session's thread failed")
        if self._closed:
            self._call_loop(self._finish)

    def _next(self) -> bytes | None:
        """The next command; None: this thread has nothing more to do."""
        if not self._queue:
            self._flush()
        with self._lock:
            if self._closed:
                return None
            if not self._queue:
                self._busy = False
                return None
            line = self._queue.popleft()
            self._queued_bytes -= len(line)
            resume = (
                self._paused
                and len(self._queue) <= QUEUED_COMMANDS // 2
                and self._queued_bytes <= QUEUED_BYTES // 2
            )
            if resume:
                self._paused = False
        if resume:
            self._call_loop(self._resume)
        return line

    def _run(self, line: bytes) -> None:
        session = self._session
        request = dispatch.parse(session, line)
        if _is_abort(line):
            with self._lock:
                self._aborts -= 1
        if request is None:
            return
        if isinstance(request, dispatch.STOPPABLE):
            with self._lock:
                self._stoppable = not self._aborts
            if not self._stoppable:
                dispatch.skip(session, line)
                return
        dispatch.run(session, request, line)
        self._stoppable = False
        if session.quit:
            self._flush()
            raise SessionEndedError

    def _close(self) -> None:
        """The session has said its last word."""
        with self._lock:
            self._closed = True
            self._queue.clear()

    def _call_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and so is the server
            self._loop.call_soon_threadsafe(call)

    def _send(self, reply: bytes) -> None:
        with self._reply_lock:
            self._replies += frame(reply)
            waited = time.monotonic() - self._replied_at
            if self._queue and waited < REPLIES_S and len(self._replies) < REPLIES_BYTES:
                return
            self._flush_locked()

    def _send_marker(self, reply: bytes) -> None:
        # Of a small file, markers are due just before its last reply, and go out with it. If there
        # is none soon, the loop sends them.
        with self._reply_lock:
            self._replies += frame(reply)
            if time.monotonic() - self._replied_at >= REPLIES_S:
                self._flush_locked()

    def _flush(self) -> None:
        with self._reply_lock:
            self._flush_locked()

    def _flush_locked(self) -> None:
        if not self._replies:
            return
        try:
            _send_all(self._connection, self._replies)
        except OSError as error:
            raise SessionEndedError from error
        finally:
            self._replies = bytearray()
        self._replied_at = time.monotonic()


def _send_all(connection: socket.socket, replies: bytearray) -> None:
    """Raises `OSError`, also when the other half takes nothing for `SEND_S`."""
    room = select.poll()
    room.register(connection, select.POLLOUT)
    with memoryview(replies) as left:
        sent = 0
        while sent < len(left):
            try:
                sent += connection.send(left[sent:], socket.MSG_DONTWAIT)
            except BlockingIOError:
                if not room.poll(SEND_S * 1000):
                    raise TimeoutError(f"no reply was taken for {SEND_S:.0f} s") from None


def _is_abort(line: bytes) -> bool:
    return line[:4].upper() == b"ABOR" and line[4:5] in (b"", b" ")
