"""One data connection with ourselves at one end, and how it is protected.

Bulk bytes never pass through asyncio: blocking sockets in threads, which release the GIL in every
call that takes time (sendfile, recv_into, pwrite, TLS).
"""

import contextlib
import errno
import math
import os
import socket
import ssl
import struct
import time
from typing import Any, Final, Protocol

from towpath.gridftp.data.buffers import buffer
from towpath.gridftp.data.pace import Pace
from towpath.gridftp.data.protection import Identity, Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.errors import SecurityError

AHEAD_BYTES: Final = 64 * 1024 + 64
"""Read at one go when a transfer may be small: a file of 64 KiB with its headers."""

_RECORD_HEADER = struct.Struct(">BHH")
_MAX_RECORD_BYTES = 16384 + 2048  # RFC 5246 6.2.3, the larger of the two versions


_SHORTEST_WAIT_S: Final = 0.01
"""A hundred times a second is enough for everybody."""

_LOW_WATER_BYTES: Final = 64 * 1024
"""A receiver that waits for much is woken when this much has come, not for every packet: that
saves a third of its processor time. GCT's blocks have 256 KiB: most of one is more than this."""

_SLACK_BYTES: Final = 32 * 1024
"""What TLS may have taken from the socket already: one record, and to spare."""

_OF_THE_SOURCE: Final = (errno.EIO, errno.EISDIR, errno.ESTALE, errno.EOVERFLOW, errno.EACCES)
"""What sendfile says of the file, not of the connection."""

_IN_VAIN = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""Nothing came, or nothing went, in the time that was given."""


_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener(Protocol):
    """Where connections come in: a listening socket that does not block, or what acts as one."""

    def fileno(self) -> int:
        """Readable when `accept` has something to give."""

    def accept(self) -> tuple[socket.socket, Any]:
        """A connection, and the host it is from, or its address. OSError: it went away."""

    def close(self) -> None:
        """Let go of it."""


def accepted(listener: Listener) -> tuple[socket.socket, str] | None:
    """The next connection, and its host; None: it went away again.

    Raises OSError when there is no room for one: it would be there the next time, too, and who
    asked again and again would keep a core busy.
    """
    try:
        connection, address = listener.accept()
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return None
    return connection, address if isinstance(address, str) else str(address[0])


class Source(Protocol):
    """Where the bytes of a transfer come from; used by several threads. May raise OSError."""

    def fileno(self) -> int | None:
        """A regular file that the kernel can send from; None: use `read_into`."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read at `offset` into `view`, and return how many bytes; 0 only at the end."""


class Link:
    """One data connection, blocking, in the hands of one thread.

    Any call may raise `GridFTPError`: DATA_BROKEN (reset, early end), STALLED (`stall_s` without a
    byte), DATA_AUTH. `abort` may be called from any thread and makes a waiting call return.
    """

    def __init__(
        self, connection: socket.socket, where: str, stall_s: float, pace: Pace | None = None
    ) -> None:
        self._pace = pace
        self._socket = connection
        self._descriptor = connection.fileno()
        self._tls: ssl.SSLSocket | None = None
        self._where = where
        self._stall_s = stall_s
        self._patience_s = stall_s
        self._quiet_s = 0.0
        self._low_water = 1
        self._ahead = b""
        connection.setblocking(True)
        self._limit_wait(socket.SO_RCVTIMEO, stall_s)
        self._limit_wait(socket.SO_SNDTIMEO, stall_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """To wait on, when nothing is `at_hand`. It stays the same when the link is closed."""
        return self._descriptor

    @property
    def at_hand(self) -> bool:
        """Whether bytes have been read from the socket that nobody has taken yet."""
        return bool(self._ahead) or (self._tls is not None and self._tls.pending() > 0)

    def secure(
        self,
        identity: Identity,
        protection: Protection,
        *,
        server_side: bool,
        within_s: float = math.inf,
    ) -> None:
        """TLS, by whoever connected as client; both ends show certificates.

        `within_s`: how long all of it may take, if that is less than what the peer may be silent.
        """
        stall_s, self._stall_s = self._stall_s, min(self._stall_s, within_s)
        self.set_patience(self._stall_s)
        try:
            self._secure(identity, protection, server_side=server_side)
        finally:
            self._stall_s = stall_s
        self.set_patience(stall_s)

    def _secure(self, identity: Identity, protection: Protection, *, server_side: bool) -> None:
        try:
            context = identity.server_context if server_side else identity.client_context
            if protection.encrypted:
                # GCT ends a stream without TLS's own end: it looks like any other end then.
                self._socket = self._tls = context.wrap_socket(
                    self._socket, server_side=server_side, do_handshake_on_connect=False
                )
                self._tls.settimeout(self._patience_s)
                self._tls.do_handshake()
                identity.check_peer(self._tls)
            else:
                self._authenticate(identity, context, server_side=server_side)
        except _IN_VAIN as error:
            raise self._broken(error) from None
        except SecurityError as error:
            raise self.error(Kind.DATA_AUTH, error.message) from None
        except ssl.SSLError as error:
            reason = error.reason or str(error)
            raise self.error(Kind.DATA_AUTH, f"data channel authentication: {reason}") from None
        except OSError as error:
            raise self._broken(error) from error

    def _authenticate(
        self, identity: Identity, context: ssl.SSLContext, *, server_side: bool
    ) -> None:
        """PROT C: a handshake, a flag byte from the connecting side, then clear bytes.

        TLS records are read one by one, so that no clear byte is swallowed by the engine.
        """
        until = time.monotonic() + self._stall_s
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=server_side)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send(outgoing.read())
                incoming.write(self._read_record(until))
                continue
            except ssl.SSLError:
                with contextlib.suppress(GridFTPError):
                    self.send(outgoing.read())  # why, in TLS's own words
                raise
            break
        if server_side:
            identity.check_peer(tls)
            if not outgoing.pending:
                tls.write(b"\0")  # an acceptor that has nothing to say says so
            self.send(outgoing.read())
            incoming.write(self._read_record(until))
            if tls.read(1) != b"0":
                raise self.error(Kind.DATA_AUTH, "the peer wants to delegate a credential")
        else:
            identity.check_peer(tls)
            if outgoing.pending:  # our Finished of TLS 1.3, which the acceptor answers
                self.send(outgoing.read())
                incoming.write(self._read_record(until))
                with contextlib.suppress(ssl.SSLWantReadError):  # it was a session ticket
                    tls.read(1)
            tls.write(b"0")
            self.send(outgoing.read())

    def _read_record(self, until: float) -> bytes:
        header = self._read_until(_RECORD_HEADER.size, until)
        length = _RECORD_HEADER.unpack(header)[2]
        if length > _MAX_RECORD_BYTES:
            raise self.error(Kind.DATA_AUTH, "the peer does not speak TLS on the data channel")
        return header + self._read_until(length, until)

    def _read_until(self, count: int, until: float) -> bytes:
        """So many bytes, by a time: a peer that sends one now and then must not go on for ever."""
        view = memoryview(bytearray(count))
        at = 0
        while at < count:
            left = until - time.monotonic()
            if left <= 0:
                raise self._broken(TimeoutError())
            self.set_patience(left)
            got = self.receive_some(view[at:])
            if got == 0:
                raise self.error(Kind.DATA_BROKEN, "the data connection ended early")
            at += got or 0
        return bytes(view)

    def read_ahead(self) -> bool | None:
        """Keep what has come, in one call. False: the connection has ended; None: nothing came."""
        if self._ahead:
            return True
        try:
            self._ahead = self._socket.recv(AHEAD_BYTES)
        except _IN_VAIN:
            return None
        except OSError as error:
            raise self._broken(error) from error
        return bool(self._ahead)

    def receive(self, view: memoryview) -> None:
        """Fill the whole view."""
        if self.receive_up_to(view) < len(view):
            raise self.error(Kind.DATA_BROKEN, "the data connection ended early")

    def receive_up_to(self, view: memoryview) -> int:
        """Fill the view, or what there is of it when the connection ends before; how many bytes."""
        at = 0
        while at < len(view):
            count = self.receive_some(view[at:])
            if count == 0:
                break
            at += count or 0
        return at

    def receive_some(self, view: memoryview, follow: float = 0) -> int | None:
        """As many bytes as come within `patience_s`, if the view is not full before.

        0: the connection has ended; None: nothing came in that time. `follow`: how many bytes are
        known to come behind those of the view.
        """
        pace = self._pace
        if self._ahead:
            count = min(len(self._ahead), len(view))
            view[:count] = self._ahead[:count]
            self._ahead = self._ahead[count:]
            if pace is not None:
                pace.take(count)
            return count
        if pace is None:
            return self._receive_some(view, follow)
        part = view[: pace.part_bytes]
        got = self._receive_some(part, follow + len(view) - len(part))
        if got:
            pace.take(got)
        return got

    def _receive_some(self, view: memoryview, follow: float) -> int | None:
        size = len(view)
        # So far there is always enough to come to wake us; behind it each packet has to.
        taken = _SLACK_BYTES if self._tls else 0
        at_ease = int(min(size, size + follow - _LOW_WATER_BYTES - taken))
        at = 0
        try:
            if at_ease >= _LOW_WATER_BYTES:
                self._set_low_water(_LOW_WATER_BYTES)
                at = self._receive(view[:at_ease])
                if at < at_ease or at == size:
                    self._quiet_s = 0.0
                    return at
            self._set_low_water(1)
            count = at + self._receive(view[at:])
        except OSError as error:
            if at:
                count = at
            elif isinstance(error, _IN_VAIN) and self._quiet_s + self._patience_s < self._stall_s:
                self._quiet_s += self._patience_s
                return None
            else:
                raise self._broken(error) from error
        self._quiet_s = 0.0
        return count

    def _receive(self, view: memoryview) -> int:
        """Fill the view; less when the connection ends or the time is over. 0: it has ended."""
        if self._tls is None:
            return self._socket.recv_into(view, len(view), socket.MSG_WAITALL)
        # TLS gives 16 KiB at a time. To write each of them would take as long as to decrypt it.
        at, size = 0, len(view)
        until = time.monotonic() + self._patience_s
        try:
            while at < size:
                count = self._tls.recv_into(view[at:])
                if not count:
                    break
                at += count
                if time.monotonic() > until:
                    break
        except _IN_VAIN:
            if not at:
                raise
        return at

    def _set_low_water(self, count: int) -> None:
        if count != self._low_water:
            self._low_water = count
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)

    def set_patience(self, seconds: float) -> None:
        """How long `receive_some` waits for more; never longer than it takes to stall."""
        patience_s = min(max(seconds, _SHORTEST_WAIT_S), self._stall_s)
        if patience_s != self._patience_s:
            self._patience_s = patience_s
            self._limit_wait(socket.SO_RCVTIMEO, patience_s)

    def _limit_wait(self, direction: int, seconds: float) -> None:
        """By a timeout of the kernel's, not of Python's: that would make the socket non-blocking,
        and every MSG_WAITALL a loop. Of TLS by Python's: on a blocking socket it would go on after
        the kernel's, and wait for ever."""
        if self._tls is not None:
            self._tls.settimeout(seconds)
            return
        interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, direction, interval)

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        view = memoryview(data)
        pace = self._pace
        try:
            while view:
                sent = self._socket.send(view if pace is None else view[: pace.part_bytes])
                view = view[sent:]
                if pace is not None:
                    pace.take(sent)
        except OSError as error:
            raise self._broken(error) from error

    def send_from(self, source: Source, offset: int, count: int, header: bytes = b"") -> None:
        """Send `header`, and `count` bytes of the source from `offset` on.

        Raises also DATA_BROKEN when the source has become shorter: the length was promised.
        """
        file = source.fileno()
        if file is None or self._tls is not None:
            self._copy_from(source, offset, count, header)
            return
        end = offset + count
        pace = self._pace
        try:
            if header:
                self._socket.sendall(header, socket.MSG_MORE)
            out = self._socket.fileno()
            while offset < end:
                part = end - offset if pace is None else min(end - offset, pace.part_bytes)
                sent = os.sendfile(out, file, offset, part)
                if sent == 0:
                    raise self.shorter()
                offset += sent
                if pace is not None:
                    pace.take(sent)
        except OSError as error:
            if error.errno in _OF_THE_SOURCE:
                raise
            raise self._broken(error) from error

    def _copy_from(self, source: Source, offset: int, count: int, header: bytes) -> None:
        end = offset + count
        self._cork(on=True)
        with buffer() as view:
            filled = len(header)
            view[:filled] = header
            while offset < end or filled:
                part = view[filled : filled + end - offset]
                if part:
                    got = source.read_into(part, offset)
                    if not got:
                        raise self.shorter()
                    offset += got
                    filled += got
                self.send(view[:filled])
                filled = 0
        self._cork(on=False)

    def _cork(self, *, on: bool) -> None:
        """Let full packets out only, not one for each record of TLS; off: all that there is."""
        with contextlib.suppress(OSError):  # then sending tells
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)

    def shorter(self) -> GridFTPError:
        """The source has become shorter."""
        return self.error(Kind.DATA_BROKEN, "the file became shorter while it was sent")

    def finish(self) -> None:
        """Say that there is no more to come, and let the peer have all that was sent."""
        if self._tls is not None:
            self._tls.settimeout(0)  # our close_notify, without waiting for the peer's
            with contextlib.suppress(OSError):
                self._tls.unwrap()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def abort(self) -> None:
        """End the connection at once; a thread waiting on it gets DATA_BROKEN."""
        with contextlib.suppress(OSError):  # not connected any more
            # On the descriptor itself: SSLSocket.shutdown would touch the TLS engine, which may be
            # in use by the other thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back; only when no thread uses the link any more."""
        self._socket.close()

    def _broken(self, error: OSError) -> GridFTPError:
        if isinstance(error, _IN_VAIN):
            return self.error(Kind.STALLED, f"no byte moved for {self._stall_s:g} s")
        reason = error.strerror or str(error)
        return self.error(Kind.DATA_BROKEN, f"the data connection broke: {reason}")

    def error(self, kind: Kind, message: str) -> GridFTPError:
        """Something that went wrong on this connection."""
        return GridFTPError(kind, message, self._where)
