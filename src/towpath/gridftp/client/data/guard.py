"""The listening end of a data connection's authentication, for the loop: bytes in, bytes out."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential

_RECORD_HEADER_BYTES: Final = 5
_MAX_RECORD_BYTES: Final = 16384 + 2048  # RFC 5246 6.2.3, the larger of the two versions


class Guard:
    """Authenticates the peer that connected, and takes its data out of TLS if they are in it."""

    def __init__(
        self, credential: DataCredential, *, private: bool, send: Callable[[bytes], None]
    ) -> None:
        self._credential = credential
        self._private = private
        self._send = send
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = credential.server_context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self._shaken = False
        self._buffer = bytearray()
        self.done = False
        """Whether the peer is known, and what follows is data."""

    def feed(self, data: bytes) -> bytes:
        """The data in what has come. Raises GridFTPError(DATA_AUTH)."""
        try:
            if self._private:
                return self._feed_tls(data)
            return data if self.done else self._feed_records(data)
        except ssl.SSLError as error:
            with suppress(OSError):
                self._send(self._outgoing.read())  # why, in TLS's own words
            reason = error.reason or str(error)
            raise _unknown_peer(f"data channel authentication: {reason}") from None

    def _feed_tls(self, data: bytes) -> bytes:
        self._incoming.write(data)
        if not self._shake():
            return b""
        self.done = True
        parts: list[bytes] = []
        with suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self._tls.read(65536):
                parts.append(part)
        self._flush()
        return b"".join(parts)

    def _feed_records(self, data: bytes) -> bytes:
        """PROT C: a handshake, a flag byte from the peer, then clear bytes on the same socket.

        Record by record, so that no clear byte is swallowed by the engine.
        """
        self._buffer += data
        while not self.done and (record := self._next_record()):
            self._incoming.write(record)
            if self._shaken:
                with suppress(ssl.SSLWantReadError):
                    if self._tls.read(1) != b"0":
                        raise _unknown_peer("the peer wants to delegate a credential")
                    self.done = True
            elif self._shake():
                if not self._outgoing.pending:
                    self._tls.write(b"\0")  # an acceptor that has nothing to say says so
                self._flush()
        if not self.done:
            return b""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _next_record(self) -> bytes:
        if len(self._buffer) < _RECORD_HEADER_BYTES:
            return b""
        length = int.from_bytes(self._buffer[3:_RECORD_HEADER_BYTES], "big")
        if length > _MAX_RECORD_BYTES:
            raise _unknown_peer("the peer does not speak TLS on the data channel")
        end = _RECORD_HEADER_BYTES + length
        if len(self._buffer) < end:
            return b""
        record = bytes(self._buffer[:end])
        del self._buffer[:end]
        return record

    def _shake(self) -> bool:
        """Whether the handshake is complete."""
        if self._shaken:
            return True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        if not self._credential.is_peer(self._tls.getpeercert(binary_form=True)):
            raise _unknown_peer("a stranger connected to the data channel")
        self._shaken = True
        if self._private:
            self._flush()
        return True

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())


def _unknown_peer(message: str) -> GridFTPError:
    return GridFTPError(Kind.DATA_AUTH, message, "")
