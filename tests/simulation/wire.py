"""A simulated connection as the client sees it: a socket to dial, and then a transport."""

import asyncio
import errno
import struct
from typing import TYPE_CHECKING, Any

from simulation.loop import OUTSIDE, PROCESS, Process

if TYPE_CHECKING:
    from simulation.endpoints import ServerSession
    from simulation.world import World

ORDER_S = 1e-6
"""What is sent later arrives later."""


class Wire(asyncio.Transport):
    """One end of a connection; the other is a `ServerSession`."""

    def __init__(self, world: "World", rtt_s: float) -> None:
        super().__init__()
        self._world = world
        self._loop = world.loop
        self.rtt_s = rtt_s
        self.session: ServerSession
        self.process: Process | None = PROCESS.get()
        self._context = OUTSIDE if self.process is None else self.process.context
        self._protocol: Any = None
        self._closing = False
        self._eof_sent = False
        self._paused = False
        self._waiting: list[bytes] = []
        self._arrives = 0.0
        self._leaves = 0.0

    # -- as a socket

    def setsockopt(self, *_: object) -> None:
        """Of no use here."""

    def getsockopt(self, *_: object) -> bytes:
        """Linux' tcp_info with a round trip time."""
        return struct.pack("=68xI", int(self.rtt_s * 1e6))

    def connected(self, protocol: Any) -> "Wire":
        """The protocol has it from now on."""
        self._protocol = protocol
        if self.process is not None:
            self.process.on_kill.append(self._killed)
        self._world.wires.add(self)
        protocol.connection_made(self)
        self.session.begin()
        return self

    def close(self) -> None:
        """See `asyncio.Transport`."""
        self.abort()

    # -- as a transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The peer's address."""
        return (self.session.endpoint.ip, 2811) if name == "peername" else default

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._closing

    def write(self, data: Any) -> None:
        """To the server."""
        if self._closing or self._eof_sent or self._dead:
            return
        self._world.checks.sends(self.session, data)
        self._leave(self.session.received, bytes(data))

    def write_eof(self) -> None:
        """Nothing more will come."""
        if not self._closing and not self._eof_sent and not self._dead:
            self._eof_sent = True
            self._leave(self.session.client_ends)

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self._paused = True

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._read, context=self._context)

    def abort(self) -> None:
        """The server hears of it."""
        if not self._closing:
            self._leave(self.session.client_gone)
            self._over(None)

    def _over(self, error: Exception | None) -> None:
        self._closing = True
        self._world.wires.discard(self)
        if self.process is not None:
            self.process.on_kill.remove(self._killed)
        self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)

    @property
    def _dead(self) -> bool:
        return self.process is not None and self.process.dead

    def _killed(self) -> None:
        """The kernel closes what a process had open."""
        self._leave(self.session.client_gone)
        self._loop.call_soon(self._over_if_open, context=self._context)

    def _over_if_open(self) -> None:
        if not self._closing:
            self._over(None)

    def _leave(self, what: Any, *arguments: Any) -> None:
        self._leaves = max(self._leaves + ORDER_S, self._loop.time() + self.rtt_s / 2)
        self._loop.call_at(self._leaves, what, *arguments, context=OUTSIDE)

    # -- from the server

    def arrive(self, data: bytes) -> None:
        """Bytes come."""
        self._come(self._deliver, data)

    def finish(self) -> None:
        """The server has closed its end."""
        self._come(self._end)

    def reset(self) -> None:
        """The server is gone, and its system says so."""
        self._come(self._break, ConnectionResetError(errno.ECONNRESET, "simulated reset"))

    def vanish(self) -> None:
        """The connection broke, and nobody knows what the server does."""
        self._come(self._break, OSError(errno.ETIMEDOUT, "simulated silence"))

    def _come(self, what: Any, *arguments: Any) -> None:
        self._arrives = max(self._arrives + ORDER_S, self._loop.time() + self.rtt_s / 2)
        self._loop.call_at(self._arrives, what, *arguments, context=self._context)

    def _deliver(self, data: bytes) -> None:
        if self._closing:
            return
        if self._paused:
            self._waiting.append(data)
        else:
            self._protocol.data_received(data)

    def _read(self) -> None:
        while self._waiting and not self._paused and not self._closing:
            self._protocol.data_received(self._waiting.pop(0))

    def _end(self) -> None:
        if self._paused and not self._closing:  # behind what is not read yet
            self._loop.call_later(0.01, self._end, context=self._context)
        elif not self._closing:
            self._protocol.eof_received()
            if not self._closing:
                self._over(None)

    def _break(self, error: OSError) -> None:
        if not self._closing:
            self._over(error)
