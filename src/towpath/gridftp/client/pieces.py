"""What a lane moves, and what becomes of it."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Literal, NamedTuple

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.features import Features
from towpath.gridftp.wire.ranges import ByteRange

SideName = Literal["source", "destination"]


class Piece(NamedTuple):
    """One file, or one range of a file, to move."""

    source_path: str
    destination_path: str
    size: int
    """Bytes of this piece, as far as known: for progress and stall times."""
    byte_range: ByteRange | None = None
    """None: the whole file, replacing what is there; else this range, changing nothing else."""
    modified: int | None = None
    """Unix seconds to set as the file's time."""
    checksum: str | None = None
    """Algorithm by which both ends' digests are compared; None: not compared."""
    tag: Any = None
    """The caller's own mark."""
    anew: bool = False
    """Whether what is there is removed before a whole file is sent. A server writes through a link,
    also where that leads to nothing yet."""
    sized: bool = False
    """Whether a whole file fails (CHECKSUM_MISMATCH) that does not arrive with `size` bytes."""


class Outcome(NamedTuple):
    """What became of a piece."""

    piece: Piece
    status: Literal["done", "failed", "void"]
    """`void`: sent, perhaps written, perhaps with wrong bytes; its result does not count."""
    error: GridFTPError | None = None
    failed_side: SideName | None = None
    digest: str | None = None
    """Of both ends, lower-case hex, when it was asked for and is equal."""


class Stage(Enum):
    """How far a piece has come whose outcome is not known."""

    WAITS = auto()
    MOVES = auto()
    CHECKED = auto()


class Waits(Enum):
    """What a lane waits for, as far as who commands both ends can see it."""

    NOTHING = auto()
    BOTH = auto()  # both ends are at the same piece, or keep up with each other
    SOURCE = auto()  # the destination has all that the source has sent
    DESTINATION = auto()  # the source has sent what the destination has not confirmed
    SOURCE_CHECKSUM = auto()
    DESTINATION_CHECKSUM = auto()
    BOTH_CHECKSUMS = auto()


class Operation(Enum):
    """What a queued command is for."""

    TRANSFER = auto()
    SIZE = auto()
    CHECKSUM = auto()
    ATTRIBUTE = auto()
    DIRECTORY = auto()
    CONNECT = auto()
    SETTING = auto()
    REMOVAL = auto()


class Flight:
    """A piece under way."""

    __slots__ = ("digests", "errors", "number", "piece", "soft", "transferred", "waiting")

    def __init__(self, number: int, piece: Piece) -> None:
        self.number = number
        self.piece = piece
        self.waiting = 0
        """Final replies still to come."""
        self.transferred: set[SideName] = set()
        """Ends that have given the transfer's final reply."""
        self.digests: dict[SideName, str] = {}
        self.errors: dict[SideName, GridFTPError] = {}
        """Failures that break the lane."""
        self.soft: tuple[SideName, GridFTPError] | None = None
        """A failure of this piece alone."""


def destination_commands(piece: Piece, features: Features) -> list[tuple[Operation, str]]:
    """What the receiving server is told, in order."""
    path, byte_range = piece.destination_path, piece.byte_range
    found: list[tuple[Operation, str]] = []
    if piece.anew:
        found.append((Operation.REMOVAL, commands.dele(path)))
    if piece.modified is not None and features.storattr:
        found.append((Operation.ATTRIBUTE, commands.storattr_modified(piece.modified)))
    if byte_range is None:
        found.append((Operation.TRANSFER, commands.stor(path)))
        if piece.sized:
            found.append((Operation.SIZE, commands.size(path)))
    else:
        found.append((Operation.TRANSFER, commands.esto(path, byte_range.first)))
    if piece.modified is not None and not features.storattr:
        builder = commands.mfmt if features.mfmt else commands.utime
        found.append((Operation.ATTRIBUTE, builder(path, piece.modified)))
    if piece.checksum is not None:
        found.append((Operation.CHECKSUM, commands.cksm(path, piece.checksum, byte_range)))
    return found


def source_commands(piece: Piece) -> list[tuple[Operation, str]]:
    """What the sending server is told, in order."""
    path, byte_range = piece.source_path, piece.byte_range
    line = commands.retr(path) if byte_range is None else commands.eret(path, byte_range)
    found = [(Operation.TRANSFER, line)]
    if piece.checksum is not None:
        found.append((Operation.CHECKSUM, commands.cksm(path, piece.checksum, byte_range)))
    return found
