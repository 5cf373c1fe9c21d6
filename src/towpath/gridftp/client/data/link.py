"""One data connection with ourselves at one end, and how it is protected.

Bulk bytes never pass through asyncio: blocking sockets in threads, which release the GIL in every
call that takes time (sendfile, recv_into, pwrite, TLS).
"""

import contextlib
import os
import socket
import ssl
import struct
from dataclasses import dataclass

from towpath.gridftp.client.lane import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire.blocks import BlockHeader

BUFFER_BYTES = 1024 * 1024
"""One receive; 256 KiB costs 15 to 30 % throughput, more gains nothing."""

_RECORD_HEADER = struct.Struct(">BHH")
_MAX_RECORD_BYTES = 16384 + 2048  # RFC 5246 6.2.3, the larger of the two versions


@dataclass(frozen=True)
class DataSecurity:
    """How data channels are protected. Without a credential: not at all (DCAU N)."""

    credential: DataCredential | None = None
    protection: Protection = Protection.CLEAR

    def commands(self) -> list[str]:
        """What the server must be told before PASV or PORT. Contains the key: never log it."""
        if self.credential is None:
            return ["DCAU N"]
        return [
            f"DCSC P {self.credential.blob}",
            "DCAU A",
            "PBSZ 1048576",
            f"PROT {self.protection.value}",
        ]


class Link:
    """One data connection, blocking, in the hands of one thread.

    Any call may raise `GridFTPError`: DATA_BROKEN (reset, early end), STALLED (`stall_s` without a
    byte), DATA_AUTH. `abort` may be called from any thread and makes a waiting call return.
    """

    def __init__(self, connection: socket.socket, where: str, stall_s: float) -> None:
        self._socket = connection
        self._tls: ssl.SSLSocket | None = None
        self._where = where
        self._stall_s = stall_s
        connection.setblocking(True)
        # Timeouts of the kernel, not of Python: those would make the socket non-blocking, and
        # every MSG_WAITALL a loop.
        interval = struct.pack("ll", int(stall_s), int(stall_s % 1 * 1_000_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, security: DataSecurity, *, server_side: bool) -> None:
        """TLS, by whoever connected as client; both ends must show the same credential."""
        credential = security.credential
        if credential is None:
            return
        context = credential.server_context if server_side else credential.client_context
        try:
            if security.protection is Protection.PRIVATE:
                self._socket.settimeout(self._stall_s)
                self._tls = context.wrap_socket(
                    self._socket, server_side=server_side, suppress_ragged_eofs=False
                )
                self._socket = self._tls
                certificate = self._tls.getpeercert(binary_form=True)
            else:
                certificate = self._authenticate(context, server_side=server_side)
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                reason = error.reason or str(error)
                raise self._error(
                    Kind.DATA_AUTH, f"data channel authentication: {reason}"
                ) from None
            raise self._broken(error) from error
        if not credential.is_peer(certificate):
            raise self._error(Kind.DATA_AUTH, "a stranger connected to the data channel")

    def _authenticate(self, context: ssl.SSLContext, *, server_side: bool) -> bytes | None:
        """PROT C: a handshake, a flag byte from the connecting side, then clear bytes.

        TLS records are read one by one, so that no clear byte is swallowed by the engine.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=server_side)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send(outgoing.read())
                incoming.write(self._read_record())
                continue
            break
        if server_side:
            if not outgoing.pending:
                tls.write(b"\0")  # an acceptor that has nothing to say says so
            self.send(outgoing.read())
            incoming.write(self._read_record())
            if tls.read(1) != b"0":
                raise self._error(Kind.DATA_AUTH, "the peer wants to delegate a credential")
        else:
            if outgoing.pending:  # our Finished of TLS 1.3, which the acceptor answers
                self.send(outgoing.read())
                incoming.write(self._read_record())
                with contextlib.suppress(ssl.SSLWantReadError):  # it was a session ticket
                    tls.read(1)
            tls.write(b"0")
            self.send(outgoing.read())
        return tls.getpeercert(binary_form=True)

    def _read_record(self) -> bytes:
        header = bytearray(_RECORD_HEADER.size)
        self.receive(memoryview(header))
        length = _RECORD_HEADER.unpack(header)[2]
        if length > _MAX_RECORD_BYTES:
            raise self._error(Kind.DATA_AUTH, "the peer does not speak TLS on the data channel")
        body = bytearray(length)
        self.receive(memoryview(body))
        return bytes(header + body)

    def receive(self, view: memoryview) -> None:
        """Fill the whole view."""
        if not self.receive_or_end(view):
            raise self._error(Kind.DATA_BROKEN, "the data connection ended early")

    def receive_or_end(self, view: memoryview) -> bool:
        """Fill the whole view; False when the connection ended before its first byte."""
        flags = 0 if self._tls else socket.MSG_WAITALL
        at = 0
        try:
            while at < len(view):
                count = self._socket.recv_into(view[at:], len(view) - at, flags)
                if count == 0:
                    if at:
                        raise self._error(Kind.DATA_BROKEN, "the data connection ended early")
                    return False
                at += count
        except OSError as error:
            raise self._broken(error) from error
        return True

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._socket.send(view) :]
        except OSError as error:
            raise self._broken(error) from error

    def send_block(self, file: int, offset: int, count: int) -> None:
        """Send `count` bytes of an open file as one block.

        Raises also DATA_BROKEN when the file has become shorter: the block's length was promised.
        """
        header = BlockHeader(0, count, offset).encode()
        end = offset + count
        try:
            if self._tls is not None:
                self._tls.sendall(header)
                while offset < end:
                    data = os.pread(file, min(BUFFER_BYTES, end - offset), offset)
                    if not data:
                        break
                    self._tls.sendall(data)
                    offset += len(data)
            else:
                self._socket.sendall(header, socket.MSG_MORE)
                while offset < end:
                    sent = os.sendfile(self._socket.fileno(), file, offset, end - offset)
                    if sent == 0:
                        break
                    offset += sent
        except OSError as error:
            raise self._broken(error) from error
        if offset < end:
            raise self._error(Kind.DATA_BROKEN, "the file became shorter while it was sent")

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
        if isinstance(error, TimeoutError | BlockingIOError | ssl.SSLWantReadError):
            return self._error(Kind.STALLED, f"no byte moved for {self._stall_s:g} s")
        reason = error.strerror or str(error)
        return self._error(Kind.DATA_BROKEN, f"the data connection broke: {reason}")

    def _error(self, kind: Kind, message: str) -> GridFTPError:
        return GridFTPError(kind, message, self._where)
