"""MODE E (extended blocks) with ourselves at one end: the receiver and the sender.

The sender connects, the receiver listens. Connections stay open and carry transfer after transfer.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from towpath.gridftp.data.buffers import buffer
from towpath.gridftp.data.link import Link, Listener, Source, accepted
from towpath.gridftp.data.pace import Pace
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, HEADER_BYTES, Accounting, BlockHeader
from towpath.gridftp.wire.numbers import LARGEST
from towpath.gridftp.wire.ranges import ByteRange

SEND_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""One block of a sent file: the share a stream claims at a time."""

INLINE_BYTES: Final = 64 * 1024
"""A file up to this size goes out with header and end block in one write, and is taken by the
thread that waits for it: to start another would cost more than the file."""

INLINE_S: Final = 0.02
"""How long the thread that waits for all connections may wait for one; then another thread does."""

MAX_LINKS: Final = 128
"""Connections one channel accepts; people ask for 4 to 16 streams."""

EMPTY_BLOCKS: Final = 1000
"""Blocks without data that may follow each other on a connection; nobody has reason to send one."""


class Sink(Protocol):
    """Where one transfer's bytes go; called from several threads.

    May raise `GridFTPError` or OSError.
    """

    def write(self, data: memoryview, offset: int) -> None:
        """Take a part; the view is reused afterwards."""


Tick = Callable[[], float | None]
"""Called when a transfer begins and while it runs; gives the seconds until it wants to be called
again, None: never."""


def never() -> None:
    """No tick is wanted."""


class Receiver:
    """The listening end of a data channel: takes one transfer after the other.

    The thread that wants a transfer waits for connections that have something, and gives each to a
    thread of its own; what is small it takes itself. For one thread, except `abort`. A failure ends
    the channel.
    """

    def __init__(
        self,
        listener: Listener,
        *,
        secure: Callable[[Link], None] | None,
        admits: Callable[[str], bool],
        where: str,
        max_links: int = MAX_LINKS,
        connect_s: float,
        stall_s: float,
        pace: Pace | None = None,
    ) -> None:
        """`secure` authenticates a connection (in a thread; raises `GridFTPError`).

        `admits` says whether an address may connect at all; a stranger's connection is dropped.
        `connect_s` is how long a connection that is missing may take to come.
        """
        self._listener = listener
        self._secure = secure
        self._admits = admits
        self._where = where
        self._max_links = max_links
        self._connect_s = connect_s
        self._stall_s = stall_s
        self._pace = pace
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._admitted = False
        """Whether anyone has authenticated: then whoever cannot is a stranger."""
        self._error: BaseException | None = None
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._listening = listener.fileno()
        if isinstance(listener, socket.socket):
            listener.setblocking(False)
        self._poll.register(self._listening, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    @property
    def is_connected(self) -> bool:
        """Whether there are connections, which the next transfer would use."""
        return bool(self._links)

    def receive(
        self, sink: Sink, on_progress: Callable[[int], None] | None = None, tick: Tick = never
    ) -> None:
        """Take one transfer into the sink; all of it is written when this returns.

        `on_progress` gets the bytes of each part, from several threads. Raises `GridFTPError`
        (what `Link` raises; STALLED when no connection comes; PROTOCOL) and what the sink raises.
        """
        transfer = _Transfer(sink, on_progress, self._max_links)
        try:
            self._until_complete(transfer, tick)
        except BaseException as error:  # noqa: BLE001 - raised again
            self._fail(error)
            raise self._error or error from None  # the first one: why a thread ended tells more
        finally:
            for thread in transfer.threads:
                thread.join()
            for link in self._links.values():
                self._ignore(link)
        for link in transfer.active:
            self._let_go(link)  # nobody announced it

    def abort(self) -> None:
        """Make `receive` fail soon, from any thread."""
        self._fail(self._problem(Kind.DATA_BROKEN, "the transfer was given up"))

    def close(self) -> None:
        """Close all connections and the listener; when no thread is in `receive` any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for link in self._links.values():
                link.close()
            self._links.clear()
            self._listener.close()
            os.close(self._wake)

    def _until_complete(self, transfer: _Transfer, tick: Tick) -> None:
        for link in self._links.values():
            if not link.at_hand:
                self._watch(link)
        ready = [link for link in self._links.values() if link.at_hand]
        tick_in = tick()
        if tick_in is not None:
            transfer.patience_s = tick_in
        ticked = quiet_since = time.monotonic()
        while True:
            self._take(ready, transfer)
            self._collect(transfer)
            if self._error is not None:
                raise self._error
            if transfer.complete:
                break
            now = time.monotonic()
            if tick_in is not None and now >= ticked + tick_in:
                tick_in, ticked = tick(), now
            if ready or transfer.active:
                quiet_since = now  # those who are served watch for stalls themselves
            until = quiet_since + (self._stall_s if self._links else self._connect_s)
            if now >= until:
                what = "nothing came" if self._links else "a data connection did not come"
                raise self._problem(Kind.STALLED, what)
            if tick_in is not None:
                until = min(until, ticked + tick_in)
            ready = self._wait(until - now, transfer)
        for link in transfer.unannounced():
            link.abort()

    def _wait(self, timeout_s: float, transfer: _Transfer) -> list[Link]:
        """Accept who comes; the connections that have bytes."""
        ready: list[Link] = []
        for descriptor, _event in self._poll.poll(max(0.0, timeout_s * 1000)):
            if descriptor == self._listening:
                self._accept(transfer)
            elif descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                ready.append(self._links[descriptor])
        return ready

    def _accept(self, transfer: _Transfer) -> None:
        """One connection; a stranger's is dropped."""
        found = accepted(self._listener)
        if found is None:
            return
        connection, host = found
        if not self._admits(host):
            connection.close()
            return
        if len(self._links) >= self._max_links:
            connection.close()
            raise self._problem(Kind.PROTOCOL, "the sender used more streams than it may")
        link = Link(connection, self._where, self._stall_s, self._pace)
        with self._lock:
            self._links[link.fileno()] = link
            failed = self._error is not None
        if failed:
            link.abort()
        if self._secure is None:
            self._watch(link)
        else:
            self._start(link, None, transfer)

    def _take(self, ready: list[Link], transfer: _Transfer) -> None:
        """Have the shares of these connections taken."""
        for link in ready:
            self._ignore(link)
            if transfer.all_engaged:
                continue  # these bytes are of the next transfer
            if transfer.active:
                self._start(link, transfer.engage(link), transfer)
                continue
            link.set_patience(min(INLINE_S, transfer.patience_s))
            said = link.read_ahead()
            if said is None:
                self._watch(link)
            elif said:
                self._take_at_once(link, transfer.engage(link), transfer)
            else:
                self._gone(link)

    def _take_at_once(self, link: Link, share: _Share, transfer: _Transfer) -> None:
        """What is small and there; a thread takes the rest."""
        with buffer() as view:
            done = share.run(view, INLINE_BYTES)
        if done:
            self._ended(link, share)
        else:
            self._start(link, share, transfer)

    def _gone(self, link: Link) -> None:
        """A connection that ends before it has said anything takes no part."""
        self._let_go(link)
        if not self._links:
            raise self._problem(Kind.DATA_BROKEN, "the data connection ended early")

    def _start(self, link: Link, share: _Share | None, transfer: _Transfer) -> None:
        """Have a thread authenticate a connection (without a share), or take its share."""
        transfer.active[link] = share
        if share is not None:
            link.set_patience(transfer.patience_s)
        thread = threading.Thread(target=self._serve, args=(link, share, transfer), daemon=True)
        transfer.threads.append(thread)
        thread.start()

    def _serve(self, link: Link, share: _Share | None, transfer: _Transfer) -> None:
        try:
            if share is not None:
                with buffer() as view:
                    share.run(view)
            elif self._secure is not None:
                self._secure(link)
                self._admitted = True
        except BaseException as error:  # noqa: BLE001 - `receive` raises it
            transfer.broken.add(link)
            is_stranger = share is None and self._admitted
            if not (transfer.complete or is_stranger):
                self._fail(error)
        finally:
            transfer.finished.append(link)
            os.eventfd_write(self._wake, 1)

    def _collect(self, transfer: _Transfer) -> None:
        """What threads have finished."""
        while transfer.finished:
            link = transfer.finished.popleft()
            share = transfer.active.pop(link)
            if link in transfer.broken:
                self._let_go(link)
            elif share is not None:
                self._ended(link, share)
            elif link.at_hand:
                self._take([link], transfer)
            else:
                self._watch(link)

    def _ended(self, link: Link, share: _Share) -> None:
        if share.closes:
            self._let_go(link)

    def _watch(self, link: Link) -> None:
        self._poll.register(link.fileno(), select.POLLIN)

    def _ignore(self, link: Link) -> None:
        with suppress(KeyError):
            self._poll.unregister(link.fileno())

    def _let_go(self, link: Link) -> None:
        """Close one connection."""
        self._ignore(link)
        with self._lock:
            del self._links[link.fileno()]
            link.close()

    def _fail(self, error: BaseException) -> None:
        """The first error counts; all connections end."""
        with self._lock:
            if self._error is not None or self._closed:
                return
            self._error = error
            for link in self._links.values():
                link.abort()
            os.eventfd_write(self._wake, 1)

    def _problem(self, kind: Kind, message: str) -> GridFTPError:
        return GridFTPError(kind, message, self._where)


class _Transfer:
    """One transfer that is being received."""

    def __init__(
        self, sink: Sink, on_progress: Callable[[int], None] | None, max_links: int
    ) -> None:
        self._max_links = max_links
        self.patience_s = math.inf
        """How long what has come may wait for more before it is written, and told of."""
        self.sink = sink
        self.on_progress = on_progress
        self.lock = threading.Lock()
        self._account = Accounting()
        self.threads: list[threading.Thread] = []
        self.active: dict[Link, _Share | None] = {}
        """What threads have in hand; without a share: being authenticated."""
        self.finished: deque[Link] = deque()
        self.broken: set[Link] = set()
        """Those of them that failed; when all is complete without them, they are only closed."""
        self._engaged = 0

    @property
    def complete(self) -> bool:
        """Whether everything has come, and is written."""
        with self.lock:
            return self._account.complete

    @property
    def all_engaged(self) -> bool:
        """Whether as many connections have said something as were announced."""
        with self.lock:
            expected = self._account.expected
        return expected is not None and self._engaged >= expected

    def engage(self, link: Link) -> _Share:
        """The share of a connection that has something to say."""
        self._engaged += 1
        return _Share(link, self)

    def ended(self, header: BlockHeader, share: _Share) -> None:
        """A block is written. Raises GridFTPError(PROTOCOL)."""
        with self.lock:
            self._account.take(header)
            share.ended = bool(header.descriptor & EOD)
            if (self._account.expected or 0) > self._max_links:
                raise GridFTPError(
                    Kind.PROTOCOL, "the sender announced more streams than it may", ""
                )

    def unannounced(self) -> list[Link]:
        """When all is complete: connections that are still being served, but took no part."""
        with self.lock:
            return [link for link, share in self.active.items() if share is None or not share.ended]


class _Share:
    """One connection's part of one transfer."""

    def __init__(self, link: Link, transfer: _Transfer) -> None:
        self._link = link
        self._transfer = transfer
        self._header: BlockHeader | None = None
        self._head = bytearray()
        """What has come of the next header."""
        self._offset = 0
        self._left = 0
        self._empty = 0
        self.ended = False
        self.closes = False
        """Whether the sender closes the connection afterwards."""

    def run(self, view: memoryview, limit: int | None = None) -> bool:
        """Take it, part by part, through `view`.

        With a limit not all of it: False when it has more bytes, or they do not come in time.
        """
        link, transfer = self._link, self._transfer
        taken = 0
        while True:
            while self._header is None:
                if not self._read_header(view) and limit is not None:
                    return False
            if limit is not None and taken + self._left > limit:
                return False
            taken += self._left
            while self._left:
                part = view[: min(self._left, len(view))]
                count = link.receive_some(part, follow=self._left - len(part))
                if count is None and limit is not None:
                    return False
                if count is None:
                    continue
                if count == 0:
                    raise self._link.error(Kind.DATA_BROKEN, "the data connection ended early")
                transfer.sink.write(view[:count], self._offset)
                if transfer.on_progress is not None:
                    transfer.on_progress(count)
                self._left -= count
                self._offset += count
            if self._end():
                return True

    def _read_header(self, view: memoryview) -> bool:
        """The next block's header; False: it does not come in time."""
        missing = HEADER_BYTES - len(self._head)
        count = self._link.receive_some(view[:missing])
        if count == 0:
            raise self._link.error(Kind.DATA_BROKEN, "the data connection ended early")
        self._head += view[: count or 0]
        if len(self._head) < HEADER_BYTES:
            return False
        self._begin(BlockHeader.decode(self._head))
        self._head.clear()
        return True

    def _begin(self, header: BlockHeader) -> None:
        self._header = header
        if header.descriptor & EOF:
            self._left = 0
            return
        self._left, self._offset = header.length, header.offset
        if self._offset + self._left > LARGEST:
            raise self._link.error(Kind.PROTOCOL, "a block lies beyond any file")
        self._empty = 0 if self._left or header.descriptor & EOD else self._empty + 1
        if self._empty > EMPTY_BLOCKS:
            raise self._link.error(Kind.PROTOCOL, "the sender sends blocks without data")

    def _end(self) -> bool:
        """After a block; whether it was this connection's last one."""
        assert self._header is not None
        descriptor = self._header.descriptor
        self._transfer.ended(self._header, self)  # not before: complete means written
        self._header = None
        self.closes = bool(descriptor & CLOSE)
        if self.closes and not self.ended:
            raise self._link.error(Kind.DATA_BROKEN, "the data connection ended early")
        return self.ended


class Sender:
    """Sends over connections that are made already; they stay open for the next transfer."""

    def __init__(
        self,
        links: list[Link],
        on_progress: Callable[[int], None] | None = None,
        *,
        receivers: int = 1,
    ) -> None:
        """`receivers`: how many machines share the work at the other end (SPOR).

        Each has as many of the links, in order; each may be sent any part of the file.
        """
        self.links = links
        self._on_progress = on_progress
        each = len(links) // receivers
        self._ends = [
            _header(EOD, 0, 0) if number % each else _header(EOD | EOF, 0, each)
            for number in range(len(links))
        ]
        """What ends the transfer on each link: the first one of a receiver tells how many."""

    def send(self, source: Source, ranges: Sequence[ByteRange], shift: int = 0) -> None:
        """Send these bytes; `shift` is added to each offset. Blocks.

        Raises `GridFTPError` and what the source raises.
        """
        if sum(item.length for item in ranges) <= INLINE_BYTES:
            self._send_small(source, ranges, shift)
            return
        claims = _Claims(ranges)
        errors: list[BaseException] = []

        def stream(link: Link, end: bytes) -> None:
            try:
                while (claim := claims.next()) is not None and not errors:
                    offset, count = claim
                    link.send_from(source, offset, count, _header(0, count, offset + shift))
                    self._progress(count)
                if not errors:
                    link.send(end)
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)
                self.abort()

        others = [
            threading.Thread(target=stream, args=ending, daemon=True)
            for ending in zip(self.links[1:], self._ends[1:], strict=True)
        ]
        for thread in others:
            thread.start()
        stream(self.links[0], self._ends[0])
        for thread in others:
            thread.join()
        if errors:
            raise errors[0]

    def send_chunks(self, chunks: Iterable[bytes]) -> None:
        """Send what is made while it is sent, over one connection. Raises what `chunks` raise."""
        first = self.links[0]
        self._end_others()
        offset = 0
        for chunk in chunks:
            first.send(_header(0, len(chunk), offset) + chunk)
            offset += len(chunk)
        first.send(self._ends[0])

    def _send_small(self, source: Source, ranges: Sequence[ByteRange], shift: int) -> None:
        first = self.links[0]
        parts: list[bytes | memoryview] = []
        with buffer() as view:
            at = 0
            for item in ranges:
                part = view[at : at + item.length]
                filled = 0
                while filled < len(part):
                    got = source.read_into(part[filled:], item.first + filled)
                    if not got:
                        raise first.shorter()
                    filled += got
                parts += [_header(0, item.length, item.first + shift), part]
                at += item.length
            first.send(b"".join([*parts, self._ends[0]]))
        self._end_others()
        self._progress(at)

    def _end_others(self) -> None:
        """On the connections that carry nothing of this transfer."""
        for link, end in zip(self.links[1:], self._ends[1:], strict=True):
            link.send(end)

    def _progress(self, count: int) -> None:
        if self._on_progress is not None:
            self._on_progress(count)

    def abort(self) -> None:
        """End all connections at once, from any thread."""
        for link in self.links:
            link.abort()

    def close(self) -> None:
        """Give the descriptors back."""
        for link in self.links:
            link.close()


def _header(descriptor: int, length: int, offset: int) -> bytes:
    return BlockHeader(descriptor, length, offset).encode()


class _Claims:
    """Hands out the blocks of ranges, each once."""

    def __init__(self, ranges: Sequence[ByteRange]) -> None:
        self._ranges = iter(ranges)
        self._at = self._after = 0
        self._lock = threading.Lock()

    def next(self) -> tuple[int, int] | None:
        """Offset and length of the next block."""
        with self._lock:
            while self._at == self._after:
                item = next(self._ranges, None)
                if item is None:
                    return None
                self._at, self._after = item
            offset = self._at
            count = min(SEND_BLOCK_BYTES, self._after - offset)
            self._at += count
        return offset, count
