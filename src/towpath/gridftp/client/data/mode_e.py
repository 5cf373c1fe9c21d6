"""MODE E with ourselves at one end: the receiver and the sender of files."""

import contextlib
import errno
import os
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from towpath.gridftp.client.data.link import BUFFER_BYTES, DataSecurity, Link
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, HEADER_BYTES, Accounting, BlockHeader

SEND_BLOCK_BYTES = 4 * 1024 * 1024
"""One block of a sent file: the share a stream claims at a time."""

INLINE_BYTES = 64 * 1024
"""A file up to this size goes out with header and end block in one write."""

MAX_LINKS = 128
"""Connections one channel accepts; people ask for 4 to 16 streams."""


class Sink(Protocol):
    """Where one transfer's bytes go; called from several threads. May raise `GridFTPError`."""

    def write(self, data: memoryview, offset: int) -> None:
        """Take a part; the view is reused afterwards."""


class FileSink:
    """An open file of which at most `size` bytes are expected."""

    def __init__(self, descriptor: int, size: int, path: str) -> None:
        self.descriptor = descriptor
        self.received = 0
        self._size = size
        self._path = path
        self._lock = threading.Lock()

    def write(self, data: memoryview, offset: int) -> None:
        """At its place. Raises CHECKSUM_MISMATCH beyond the expected size.

        So no server can fill our disk.
        """
        with self._lock:
            self.received += len(data)
        if offset + len(data) > self._size:
            raise GridFTPError(
                Kind.CHECKSUM_MISMATCH,
                f"more than the expected {self._size} bytes came: the file changed meanwhile",
                "",
                self._path,
            )
        try:
            while data:
                count = os.pwrite(self.descriptor, data, offset)
                data, offset = data[count:], offset + count
        except OSError as error:
            raise local_error(error, self._path) from error


class Receiver:
    """Takes transfers from one data channel of which the other side is the sender.

    With `streams` = 1 the connection is kept and carries transfer after transfer, as the server
    was commanded; with more streams it takes one transfer. A failure ends the channel.
    """

    def __init__(
        self,
        listener: socket.socket,
        security: DataSecurity,
        allowed_hosts: frozenset[str],
        *,
        where: str,
        streams: int,
        stall_s: float,
        on_progress: Callable[[int], None],
    ) -> None:
        """`allowed_hosts` are the addresses that may connect when nothing authenticates them."""
        self._listener = listener
        self._security = security
        self._allowed = allowed_hosts
        self._where = where
        self._streams = streams
        self._stall_s = stall_s
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._links: list[Link] = []
        self._active = 0
        self._error: GridFTPError | None = None

    def run(self, sinks: Sequence[Sink], on_complete: Callable[[int], None]) -> None:
        """Receive into the sinks, in order; call `on_complete(index)` when one has everything.

        Blocks: for a thread of its own, once. Raises `GridFTPError`.
        """
        if self._streams > 1 and len(sinks) != 1:
            raise ValueError("a channel of several streams takes one transfer")
        accounts = [Accounting() for _ in sinks]
        threads: list[threading.Thread] = []
        try:
            with selectors.DefaultSelector() as selector:
                self._listener.setblocking(False)
                selector.register(self._listener, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while self._unfinished(accounts[-1]):
                    link = self._next_link(selector)
                    if link is not None:
                        thread = threading.Thread(
                            target=self._serve,
                            args=(link, sinks, accounts, on_complete),
                            daemon=True,
                        )
                        thread.start()
                        threads.append(thread)
        finally:
            for thread in threads:
                thread.join()
            for link in self._links:
                link.close()
            for part in (self._listener, self._wake, self._woken):
                part.close()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Make `run` end soon, from any thread."""
        self._fail(self._problem(Kind.DATA_BROKEN, "the transfer was given up"))

    def _unfinished(self, last: Accounting) -> bool:
        with self._lock:
            return not last.complete and self._error is None

    def _next_link(self, selector: selectors.BaseSelector) -> Link | None:
        """The next connection; None when something else happened. A stranger's is dropped."""
        with self._lock:
            active = self._active
        # While connections are served they watch for stalls themselves.
        events = selector.select(None if active else self._stall_s)
        if not events:
            self._fail(self._problem(Kind.STALLED, "a data connection did not come"))
            return None
        if any(key.fileobj is self._woken for key, _ in events):
            self._woken.recv(4096)
            return None
        try:
            connection, address = self._listener.accept()
        except OSError:
            return None  # it went away again
        if self._security.credential is None and address[0] not in self._allowed:
            connection.close()
            return None
        link = Link(connection, self._where, self._stall_s)
        with self._lock:
            self._links.append(link)
            self._active += 1
            too_many = len(self._links) > (1 if self._streams == 1 else MAX_LINKS)
            failed = self._error is not None
        if failed:
            link.abort()
        if too_many:
            self._fail(self._problem(Kind.PROTOCOL, "the server used more streams than asked"))
        return link

    def _serve(
        self,
        link: Link,
        sinks: Sequence[Sink],
        accounts: list[Accounting],
        on_complete: Callable[[int], None],
    ) -> None:
        buffer = memoryview(bytearray(BUFFER_BYTES))
        try:
            link.secure(self._security, server_side=True)
            for index, sink in enumerate(sinks):
                if self._receive_one(link, buffer, sink, accounts[index]):
                    on_complete(index)
                elif self._streams == 1:
                    raise self._problem(Kind.PROTOCOL, "the server used more streams than asked")
        except GridFTPError as error:
            self._fail(error)
        finally:
            with self._lock:
                self._active -= 1
            self._wake.send(b".")

    def _receive_one(self, link: Link, buffer: memoryview, sink: Sink, account: Accounting) -> bool:
        """One connection's share of one transfer; whether it was the last share."""
        while True:
            link.receive(buffer[:HEADER_BYTES])
            header = BlockHeader.decode(buffer[:HEADER_BYTES])
            descriptor, left, offset = header
            if descriptor & EOF:
                left = 0
            while left:
                part = buffer[: min(left, len(buffer))]
                link.receive(part)
                sink.write(part, offset)
                self._on_progress(len(part))
                left -= len(part)
                offset += len(part)
            with self._lock:  # after the bytes are written: complete means written
                account.take(header)
                complete = account.complete
            if descriptor & EOD:
                return complete
            if descriptor & CLOSE:
                raise self._problem(Kind.DATA_BROKEN, "the data connection ended early")

    def _fail(self, error: GridFTPError) -> None:
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            links = list(self._links)
        for link in links:
            link.abort()
        with contextlib.suppress(OSError):  # `run` has ended already
            self._wake.send(b".")

    def _problem(self, kind: Kind, message: str) -> GridFTPError:
        return GridFTPError(kind, message, self._where)


class Sender:
    """Sends files over connections that are made already; they stay open for the next file."""

    def __init__(self, links: list[Link], on_progress: Callable[[int], None]) -> None:
        self._links = links
        self._on_progress = on_progress

    def send_file(self, file: int, size: int) -> None:
        """Send an open file of `size` bytes. Blocks: for a thread. Raises `GridFTPError`."""
        last = BlockHeader(EOD | EOF, 0, len(self._links)).encode()
        if len(self._links) == 1 and size <= INLINE_BYTES:
            data = os.pread(file, size, 0)
            if len(data) < size:
                raise GridFTPError(
                    Kind.DATA_BROKEN, "the file became shorter while it was sent", ""
                )
            block = BlockHeader(0, size, 0).encode() + data if size else b""
            self._links[0].send(block + last)
            self._on_progress(size)
            return
        claims = _Claims(size)
        errors: list[GridFTPError] = []

        def stream(link: Link, end: bytes) -> None:
            try:
                while (claim := claims.next()) is not None and not errors:
                    link.send_block(file, *claim)
                    self._on_progress(claim[1])
                if not errors:
                    link.send(end)
            except GridFTPError as error:
                errors.append(error)
                self.abort()

        others = [
            threading.Thread(
                target=stream, args=(link, BlockHeader(EOD, 0, 0).encode()), daemon=True
            )
            for link in self._links[1:]
        ]
        for thread in others:
            thread.start()
        stream(self._links[0], last)
        for thread in others:
            thread.join()
        if errors:
            raise errors[0]

    def abort(self) -> None:
        """End all connections at once, from any thread."""
        for link in self._links:
            link.abort()

    def close(self) -> None:
        """Give the descriptors back."""
        for link in self._links:
            link.close()


class _Claims:
    """Hands out a file's blocks, each once."""

    def __init__(self, size: int) -> None:
        self._at = 0
        self._size = size
        self._lock = threading.Lock()

    def next(self) -> tuple[int, int] | None:
        with self._lock:
            offset = self._at
            count = min(SEND_BLOCK_BYTES, self._size - offset)
            self._at += count
        return (offset, count) if count else None


_KIND_BY_ERROR: dict[type[OSError], Kind] = {
    FileNotFoundError: Kind.NOT_FOUND,
    PermissionError: Kind.PERMISSION_DENIED,
    IsADirectoryError: Kind.IS_A_DIRECTORY,
    NotADirectoryError: Kind.NOT_A_DIRECTORY,
    FileExistsError: Kind.EXISTS,
}


def local_error(error: OSError, path: str) -> GridFTPError:
    """A failure of our own file system in the client's terms."""
    kind = _KIND_BY_ERROR.get(type(error), Kind.UNKNOWN)
    if error.errno == errno.ENOSPC:
        kind = Kind.NO_SPACE
    elif error.errno == errno.EDQUOT:
        kind = Kind.QUOTA
    return GridFTPError(kind, (error.strerror or str(error)).lower(), "local", path)
