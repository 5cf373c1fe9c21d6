"""MODE E (extended blocks, GFD.20 section 3): block headers, and when a transfer is complete."""

from __future__ import annotations

import struct
from typing import NamedTuple

from towpath.gridftp.errors import GridFTPError, Kind

HEADER = struct.Struct(">BQQ")
HEADER_BYTES = HEADER.size

EOF = 0x40
"""The offset field tells how many EODs the receiver must expect."""
EOD = 0x08
"""No more data on this connection for this transfer."""
CLOSE = 0x04
"""The sender closes this connection now."""


class BlockHeader(NamedTuple):
    """`length` payload bytes follow that belong at `offset`, unless the descriptor says EOF."""

    descriptor: int
    length: int
    offset: int

    def encode(self) -> bytes:
        """The 17 bytes on the wire."""
        return HEADER.pack(*self)

    @classmethod
    def decode(cls, data: bytes | bytearray | memoryview) -> BlockHeader:
        """From 17 bytes."""
        return cls(*HEADER.unpack(data))


class Accounting:
    """When a receiver has everything: one EOD a connection, as many as the one EOF announced."""

    __slots__ = ("_seen", "expected", "received_bytes")

    def __init__(self) -> None:
        self.expected: int | None = None
        """Connections that were announced; None before that."""
        self._seen = 0
        self.received_bytes = 0

    def take(self, header: BlockHeader) -> None:
        """Account one header. Raises GridFTPError(PROTOCOL) when it contradicts the ones before."""
        if header.descriptor & EOF:
            if self.expected is not None:
                raise GridFTPError(Kind.PROTOCOL, "the sender announced its end twice", "")
            if header.length:
                raise GridFTPError(Kind.PROTOCOL, "an end block carries data", "")
            if not header.offset:
                raise GridFTPError(Kind.PROTOCOL, "the sender announced no connections", "")
            self.expected = header.offset
        else:
            self.received_bytes += header.length
        if header.descriptor & EOD:
            self._seen += 1
        if self.expected is not None and self._seen > self.expected:
            raise GridFTPError(Kind.PROTOCOL, "more connections ended than were announced", "")

    @property
    def complete(self) -> bool:
        """Whether every announced connection has ended."""
        return self.expected is not None and self._seen == self.expected
