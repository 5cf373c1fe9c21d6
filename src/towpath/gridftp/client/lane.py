"""A lane: one pair of control sessions that moves files from one server to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire.ranges import ByteRange

if TYPE_CHECKING:
    from towpath.gridftp.security.dcsc import DataCredential


class Protection(StrEnum):
    """PROT: what the data channel does to the bytes once its ends know each other."""

    CLEAR = "C"
    PRIVATE = "P"


@dataclass(frozen=True, slots=True)
class Piece:
    """One file, or one range of a file, to move."""

    source_path: str
    destination_path: str
    size: int
    """Bytes of this piece, as far as known."""
    byte_range: ByteRange | None = None
    """None: the whole file, replacing what is there; else only this range, changing nothing else."""
    modified: int | None = None
    """Unix seconds to set as the file's time."""
    checksum: str | None = None
    """Algorithm by which both ends' digests are compared; None: not compared."""
    tag: Any = None
    """The caller's own mark."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a piece."""

    piece: Piece
    status: Literal["done", "failed", "void"]
    error: GridFTPError | None = None
    failed_side: Literal["source", "destination"] | None = None
    digest: str | None = None


class Lane:
    """One pair of sessions with its data channels."""

    @classmethod
    async def open(
        cls,
        source: Session,
        destination: Session,
        *,
        data_credential: DataCredential | None,
        protection: Protection = Protection.CLEAR,
        streams: int = 1,
        markers: bool = False,
        data_hosts: frozenset[str] = frozenset(),
        on_progress: Callable[[int], None] | None = None,
    ) -> Lane:
        """Set up the data channel."""
        raise NotImplementedError

    in_flight: int
    broken: bool
    settled: bool | None

    def send(self, pieces: Sequence[Piece], directories: Sequence[str] = ()) -> None:
        """Send directories, then pieces, at once."""

    async def outcomes(self) -> list[Outcome]:
        """Wait for at least one outcome."""
        raise NotImplementedError

    async def close(self) -> bool:
        """Close both sessions."""
        raise NotImplementedError
