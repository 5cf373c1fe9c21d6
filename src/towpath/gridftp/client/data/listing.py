"""A data channel over which a server sends listing after listing.

On the loop and without threads: what arrives must be parsed in Python anyway, so a thread that
receives it would only wait for the loop's.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from towpath.gridftp.client.data.guard import Guard
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, HEADER_BYTES, Accounting, BlockHeader

MAX_WAITING_BYTES: Final = 1024 * 1024
"""Received and not yet taken, before nothing more is read: some 15,000 entries."""

WINDOW_BYTES: Final = 2 * 1024 * 1024
"""What a server lists in 150 ms."""

TAKEN_BYTES: Final = 64 * 1024
"""Enough at a time to be parsed at full speed, and for 2 ms."""

MAX_WAITING_LISTINGS: Final = 1000
"""Listings that began and were not taken; no session has as many commands under way."""

MAX_CONNECTIONS: Final = 8
"""At a time, while the server's own is still to come: anyone may connect."""


class Arriving:
    """What has come of one listing."""

    __slots__ = ("_channel", "_parts", "ended")

    def __init__(self, channel: ListingChannel) -> None:
        self._channel = channel
        self._parts: deque[bytes] = deque()
        self.ended = False
        """Whether all of it has come."""

    @property
    def complete(self) -> bool:
        """Whether all of it has been taken."""
        return self.ended and not self._parts

    def add(self, part: bytes) -> None:
        """Called by the connection."""
        self._parts.append(part)

    def take(self) -> bytes:
        """The next of what has come; empty when that is all so far."""
        taken: list[bytes] = []
        size = 0
        while self._parts and size < TAKEN_BYTES:
            part = self._parts.popleft()
            taken.append(part)
            size += len(part)
        if size:
            self._channel.taken(size)
        return taken[0] if len(taken) == 1 else b"".join(taken)


class ListingChannel:
    """The listening end of one data channel: MODE E, one stream, kept from listing to listing.

    The server connects when the first listing begins. `on_change` is called when something has
    arrived, or `error` is set; then the channel is of no use any more.
    """

    def __init__(
        self,
        security: DataSecurity,
        allowed_hosts: frozenset[str],
        *,
        where: str,
        on_change: Callable[[], None],
    ) -> None:
        """`allowed_hosts` are the addresses that may connect when nothing authenticates them."""
        self.security = security
        self.where = where
        self.listings: deque[Arriving] = deque()
        """Those that have begun, in the order of their commands; whoever has all of one takes it
        off."""
        self.error: GridFTPError | None = None
        self.reached = False
        """Whether a connection from an allowed address has come."""
        self._allowed = allowed_hosts
        self._on_change = on_change
        self._listener: socket.socket | None = None
        self._taking_in: set[asyncio.Task[None]] = set()
        self._connections: set[_Connection] = set()
        self._chosen: _Connection | None = None
        self._waiting_bytes = 0

    @property
    def connected(self) -> bool:
        """Whether the server's connection is there, and known to be the server's."""
        return self._chosen is not None

    def listen(self, address: str) -> list[str]:
        """Begin to listen; the commands that tell the server where. Contains a key: never log it.

        Their replies must all be good before anything that comes counts.
        """
        listener = socket.create_server((address, 0), backlog=MAX_CONNECTIONS)
        listener.setblocking(False)
        host, port = listener.getsockname()[:2]
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept)
        return [
            *self.security.commands(),
            commands.parallelism(1),
            commands.port(HostPort(host, port)),
        ]

    def taken(self, count: int) -> None:
        """So many bytes do not wait any more."""
        self._waiting_bytes -= count
        if self._chosen is not None and self._waiting_bytes < MAX_WAITING_BYTES // 2:
            self._chosen.resume()

    def close(self) -> None:
        """Give everything up."""
        self._stop_listening()
        for connection in tuple(self._connections):
            connection.abort()

    def _accept(self) -> None:
        """Take one connection. Not by `create_server` or `sock_accept`: what they have accepted
        when they are stopped is left open."""
        assert self._listener is not None
        try:
            connection, (host, *_) = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # it is gone again
        except OSError as error:
            self._fail(f"no data connection can be taken ({error.strerror})")
            return
        known = host in self._allowed
        if (known or self.security.credential is not None) and (
            len(self._connections) < MAX_CONNECTIONS
        ):
            connection.setblocking(False)
            _widen(connection)
            self._take_in(connection, _Connection(self, host))
        else:
            connection.close()
        if known and not self.reached:
            self.reached = True
            self._on_change()

    def _take_in(self, connection: socket.socket, protocol: _Connection) -> None:
        self._connections.add(protocol)

        async def begin() -> None:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: protocol, connection)
            if self.security.credential is None and not protocol.over:
                self.trust(protocol)

        def begun(task: asyncio.Task[None]) -> None:
            self._taking_in.discard(task)
            if task.cancelled() or task.exception() is not None:
                connection.close()
                self._connections.discard(protocol)

        task = asyncio.get_running_loop().create_task(begin())
        self._taking_in.add(task)
        task.add_done_callback(begun)

    def _fail(self, message: str) -> None:
        self.error = self.error or GridFTPError(Kind.DATA_REFUSED, message, self.where)
        self._stop_listening()
        self._on_change()

    # -- called by the connections

    def trust(self, connection: _Connection) -> None:
        """It is the server's; no other is needed."""
        if self._chosen is not None:
            connection.abort()
            return
        self._chosen = connection
        self._stop_listening()
        for other in tuple(self._connections - {connection}):
            other.abort()
        self._on_change()

    def arrived(self, count: int) -> None:
        """Bytes were added to the listings, or one has ended."""
        self._waiting_bytes += count
        if self._waiting_bytes > MAX_WAITING_BYTES and self._chosen is not None:
            self._chosen.pause()
        self._on_change()

    def ended(self, connection: _Connection, host: str, error: GridFTPError) -> None:
        """A connection is over. That of a stranger is nobody's loss."""
        self._connections.discard(connection)
        if connection is self._chosen or (self._chosen is None and host in self._allowed):
            self.error = self.error or error
            self._stop_listening()
            self._on_change()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None


def _widen(connection: socket.socket) -> None:
    """Let the window grow as fast as the sender does. Linux adapts it to what was read in a round
    trip, and now and then falls so far behind that a listing takes twice as long. A low-water mark
    makes room for itself, beyond what SO_RCVBUF may, and leaves the adapting on."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, WINDOW_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


class _Connection(asyncio.Protocol):
    """One connection to a channel."""

    def __init__(self, channel: ListingChannel, host: str) -> None:
        self._channel = channel
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._guard: Guard | None = None
        self._rest = b""
        self._block: BlockHeader | None = None
        self._left = 0
        """Bytes of the current block that are still to come."""
        self._arriving: Arriving | None = None
        self._at = 0
        self._account = Accounting()
        self.over = False
        """Whether nobody wants it any more."""

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone has connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        credential = self._channel.security.credential
        if credential is not None:
            private = self._channel.security.protection is Protection.PRIVATE
            self._guard = Guard(credential, private=private, send=self._transport.write)
        if self.over:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.over:
            return
        try:
            if self._guard is not None:
                known = self._guard.done
                data = self._guard.feed(data)
                if self._guard.done and not known:
                    self._channel.trust(self)
            if data and not self.over:
                self._take(data)
        except GridFTPError as error:
            error.where = error.where or self._channel.where
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, or broke."""
        reason = f"the data connection broke ({exc})" if exc else "the data connection ended early"
        self._end(GridFTPError(Kind.DATA_BROKEN, reason, self._channel.where))

    # -- called by the channel

    def abort(self) -> None:
        """End it without a word."""
        self.over = True
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more."""
        if self._transport is not None and not self.over:
            self._transport.pause_reading()

    def resume(self) -> None:
        """The opposite of `pause`; harmless when not paused."""
        if self._transport is not None and not self.over:
            self._transport.resume_reading()

    # -- blocks

    def _take(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at = 0
        added = 0
        while True:
            if self._left:
                part = data[at : at + self._left]
                self._current().add(part)
                at += len(part)
                added += len(part)
                self._at += len(part)
                self._left -= len(part)
            if self._left:
                break
            if self._block is not None:
                self._end_block(self._block)
                self._block = None
            if len(data) - at < HEADER_BYTES:
                break
            self._begin_block(BlockHeader.decode(data[at : at + HEADER_BYTES]))
            at += HEADER_BYTES
        self._rest = data[at:]
        self._channel.arrived(added)

    def _current(self) -> Arriving:
        if self._arriving is None:
            if len(self._channel.listings) >= MAX_WAITING_LISTINGS:
                raise self._nonsense("the server sent more listings than asked")
            self._arriving = Arriving(self._channel)
            self._channel.listings.append(self._arriving)
        return self._arriving

    def _begin_block(self, block: BlockHeader) -> None:
        self._block = block
        if block.descriptor & EOF:
            if block.offset != 1:
                raise self._nonsense("the server used more streams than asked")
            return
        if block.length and block.offset != self._at:
            raise self._nonsense("the listing came out of order")
        self._left = block.length

    def _end_block(self, block: BlockHeader) -> None:
        self._account.take(block)
        if block.descriptor & EOD:
            if not self._account.complete:
                raise self._nonsense("the server used more streams than asked")
            self._current().ended = True
            self._arriving = None
            self._at = 0
            self._account = Accounting()
        if block.descriptor & CLOSE:
            raise GridFTPError(
                Kind.DATA_BROKEN, "the data connection ended early", self._channel.where
            )

    def _nonsense(self, message: str) -> GridFTPError:
        return GridFTPError(Kind.PROTOCOL, message, self._channel.where)

    def _end(self, error: GridFTPError) -> None:
        if not self.over:
            self.abort()
            self._channel.ended(self, self._host, error)
