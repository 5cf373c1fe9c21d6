"""How the bytes of a data connection are protected, and who its ends are."""

from __future__ import annotations

import ssl
from enum import StrEnum
from typing import Protocol


class Protection(StrEnum):
    """PROT: what the data channel does to the bytes once its ends know each other."""

    CLEAR = "C"
    SAFE = "S"
    """Nobody may change them. The same on the wire as private (GCT)."""
    PRIVATE = "P"

    @property
    def encrypted(self) -> bool:
        """Whether the bytes go through TLS."""
        return self is not Protection.CLEAR


class Identity(Protocol):
    """Who we are on a data connection, and whom we let the other end be (DCAU)."""

    @property
    def client_context(self) -> ssl.SSLContext:
        """For the end that connects."""

    @property
    def server_context(self) -> ssl.SSLContext:
        """For the end that accepts. It gives no session tickets: a peer that goes back to clear
        text after the handshake (PROT C) would take them for file data."""

    def check_peer(self, tls: ssl.SSLObject | ssl.SSLSocket) -> None:
        """After the handshake. Raises SecurityError when the other end is somebody else."""
