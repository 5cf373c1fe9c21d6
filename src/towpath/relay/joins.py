"""Two sockets that were joined: bytes go from one to the other inside the kernel.

`splice(2)` moves a socket's bytes into a pipe and on into the other socket; they never come into
this process, which could not read them anyway. A few threads with an epoll each do that for all
joins: the calls run without Python's lock, so threads use several cores.

A direction has a pipe only while bytes are in it, so that joins that say nothing cost two
descriptors. It takes no more from its source while the pipe has not been emptied: who reads slowly
makes the other end write slowly. An end of one direction is handed on as such; an error, or a
reset, of either end resets the other one at once. So does the end of this process: in stream mode
an end of file is the end of a file, and must come from who sends it.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from towpath.relay.limits import PIPE_BYTES, PIPES_KEPT, ROUNDS, SILENT_S, SWEEP_S
from towpath.relay.sockets import abort, keep_alive, reset_at_end

_FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP
_WRITABLE: Final = select.EPOLLOUT | select.EPOLLHUP
_EVENTS_AT_ONCE: Final = 256
_SMALLER_PIPES: Final = (PIPE_BYTES, PIPE_BYTES // 4)
"""Who is not root may have 64 MiB of pipes at their largest (`fs.pipe-user-pages-soft`)."""
_TCP_INFO: Final = struct.Struct("8x4x4x4x4xI4x4x4x4x4x4x4xI")
"""tcp_info of linux/tcp.h: tcpi_unacked, tcpi_last_ack_recv (ms)."""

_log = structlog.stdlib.get_logger("towpath.relay.joins")


@dataclass(frozen=True)
class Ended:
    """How a join ended."""

    sent: int
    """Bytes from the first socket to the second."""
    received: int
    failure: str | None
    """None: both directions ended in order."""


class JoinsFullError(Exception):
    """The threads are stopped, or there are no descriptors."""


class Joiner:
    """Threads that move bytes between joined sockets."""

    def __init__(self, threads: int | None = None) -> None:
        """One for each core that we may use, unless told otherwise."""
        count = threads or max(1, len(os.sched_getaffinity(0)))
        self._movers = [_Mover(number) for number in range(count)]
        for mover in self._movers:
            mover.start()

    def join(
        self, one: socket.socket, other: socket.socket, ended: Callable[[Ended], None]
    ) -> None:
        """Own both sockets from now on. ``ended`` is called in a thread, once.

        Raises :class:`JoinsFullError`, and has then closed both.
        """
        try:
            if not self._movers:
                raise OSError("the relay ends")
            for each in (one, other):
                each.setblocking(False)
                keep_alive(each)
                reset_at_end(each, on=True)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            min(self._movers, key=lambda mover: mover.load).add(_Join(one, other, ended))
        except OSError as error:
            abort(one)
            abort(other)
            raise JoinsFullError(str(error)) from error

    @property
    def count(self) -> int:
        """Joins that have not ended."""
        return sum(mover.load for mover in self._movers)

    @property
    def moved_bytes(self) -> int:
        """In all, both directions."""
        return sum(mover.moved for mover in self._movers)

    def close(self) -> None:
        """Reset all joins and end the threads; once is enough."""
        movers, self._movers = self._movers, []
        for mover in movers:
            mover.stop()
        for mover in movers:
            mover.join()


@dataclass(eq=False)
class _End:
    """One socket, and what epoll has said of it that was not used up."""

    socket: socket.socket
    readable: bool = False
    writable: bool = False


@dataclass(eq=False)
class _Direction:
    source: _End
    target: _End
    pipe: tuple[int, int] | None = None
    in_pipe: int = 0
    moved: int = 0
    done: bool = False


@dataclass(eq=False)
class _Join:
    one: socket.socket
    other: socket.socket
    ended: Callable[[Ended], None]
    ends: tuple[_End, _End] = field(init=False)
    directions: tuple[_Direction, _Direction] = field(init=False)
    over: bool = False

    def __post_init__(self) -> None:
        first, second = _End(self.one), _End(self.other)
        self.ends = first, second
        self.directions = _Direction(first, second), _Direction(second, first)


class _Mover(threading.Thread):
    def __init__(self, number: int) -> None:
        super().__init__(name=f"joins-{number}", daemon=True)
        self.load = 0
        self.moved = 0
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._new: deque[_Join] = deque()
        self._lock = threading.Lock()
        self._by_descriptor: dict[int, tuple[_Join, _End]] = {}
        self._pipes: list[tuple[int, int]] = []
        self._stopping = False

    def add(self, join: _Join) -> None:
        """For other threads. Raises OSError when stopped."""
        with self._lock:
            if self._stopping:
                raise OSError("the relay ends")
            self._new.append(join)
            self.load += 1
            os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        """For other threads."""
        with self._lock:
            self._stopping = True
            os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """The thread."""
        ready: dict[_Join, None] = {}
        swept = time.monotonic()
        while not self._stopping:
            for descriptor, events in self._epoll.poll(0 if ready else SWEEP_S, _EVENTS_AT_ONCE):
                if descriptor == self._wake:
                    os.eventfd_read(self._wake)
                    self._take_new()
                    continue
                found = self._by_descriptor.get(descriptor)
                if found is not None and self._note(*found, events):
                    ready[found[0]] = None
            # each in turn, and all of them before the next look at epoll
            for join in list(ready):
                if join.over or not self._move(join):
                    del ready[join]
            if time.monotonic() - swept > SWEEP_S:
                swept = time.monotonic()
                self._sweep()
        self._end_all()

    def _take_new(self) -> None:
        while self._new:
            join = self._new.popleft()
            try:
                for end in join.ends:
                    self._by_descriptor[end.socket.fileno()] = join, end
                    self._epoll.register(end.socket.fileno(), _EVENTS)
            except OSError as error:
                self._end(join, f"it cannot be watched: {error}")

    def _note(self, join: _Join, end: _End, events: int) -> bool:
        """What epoll says. Whether there may be something to move."""
        if events & select.EPOLLERR:
            code = end.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(join, os.strerror(code))
                return False
        end.readable |= bool(events & _READABLE)
        end.writable |= bool(events & _WRITABLE)
        return True

    def _move(self, join: _Join) -> bool:
        """Move what can be moved. Whether there may be more at once."""
        more = False
        try:
            for direction in join.directions:
                if not direction.done:
                    more |= self._move_one_way(direction)
        except OSError as error:
            self._end(join, error.strerror or str(error))
            return False
        if all(direction.done for direction in join.directions):
            self._end(join, None)
            return False
        return more

    def _move_one_way(self, way: _Direction) -> bool:
        source, target = way.source, way.target
        for _ in range(ROUNDS):
            if not way.in_pipe and not self._fill(way):
                return False
            if not target.writable:
                return False
            assert way.pipe is not None
            try:
                moved = os.splice(way.pipe[0], target.socket.fileno(), way.in_pipe, flags=_FLAGS)
            except BlockingIOError:
                target.writable = False
                return False
            way.in_pipe -= moved
            way.moved += moved
            self.moved += moved
        return source.readable or bool(way.in_pipe)

    def _fill(self, way: _Direction) -> bool:
        """Whether there are bytes in the pipe now."""
        if not way.source.readable:
            self._give_back(way)
            return False
        if way.pipe is None:
            way.pipe = self._pipes.pop() if self._pipes else _new_pipe()
        try:
            taken = os.splice(way.source.socket.fileno(), way.pipe[1], PIPE_BYTES, flags=_FLAGS)
        except BlockingIOError:
            way.source.readable = False
            self._give_back(way)
            return False
        if taken == 0:
            self._give_back(way)
            way.done = True
            way.target.socket.shutdown(socket.SHUT_WR)
            return False
        way.in_pipe = taken
        return True

    def _give_back(self, way: _Direction) -> None:
        if way.pipe is None:
            return
        if way.in_pipe or len(self._pipes) >= PIPES_KEPT:
            os.close(way.pipe[0])
            os.close(way.pipe[1])
        else:
            self._pipes.append(way.pipe)
        way.pipe = None

    def _end(self, join: _Join, failure: str | None) -> None:
        if join.over:
            return
        join.over = True
        for end in join.ends:
            self._by_descriptor.pop(end.socket.fileno(), None)
            with contextlib.suppress(OSError):
                self._epoll.unregister(end.socket.fileno())
            if failure is None:
                reset_at_end(end.socket, on=False)
                end.socket.close()
            else:
                abort(end.socket)
        for way in join.directions:
            self._give_back(way)
        with self._lock:
            self.load -= 1
        there, back = (way.moved for way in join.directions)
        try:
            join.ended(Ended(there, back, failure))
        except Exception:  # noqa: BLE001 - the other joins go on
            _log.exception("relay.join_end_failed")

    def _sweep(self) -> None:
        """Cut joins whose bytes nobody acknowledges: keepalive does not look at these."""
        for join in {join: None for join, _ in self._by_descriptor.values()}:
            for end in join.ends:
                info = end.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
                unacknowledged, last_ack_ms = _TCP_INFO.unpack(info)
                if unacknowledged and last_ack_ms > SILENT_S * 1000:
                    self._end(join, f"a peer has acknowledged nothing for {SILENT_S:g} s")
                    break

    def _end_all(self) -> None:
        self._take_new()
        for join in {join: None for join, _ in self._by_descriptor.values()}:
            self._end(join, "the relay ends")
        for pipe in self._pipes:
            os.close(pipe[0])
            os.close(pipe[1])
        self._epoll.close()
        with self._lock:  # whoever stops us may still be about to wake us
            os.close(self._wake)


def _new_pipe() -> tuple[int, int]:
    """As large as we may make it. Raises OSError (no descriptors)."""
    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for size in _SMALLER_PIPES:
        try:
            fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, size)
        except PermissionError:
            continue
        break
    return pipe
