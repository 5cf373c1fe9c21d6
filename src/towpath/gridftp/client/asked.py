"""One directory whose listing was asked for, from its first line to its last."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from towpath.gridftp.client.channel import Receiver
from towpath.gridftp.client.data.listing import Arriving
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, parse_fact_lines
from towpath.gridftp.wire.replies import Reply

HELD_ENTRIES: Final = 4000
"""Of one directory, until its listing is known to be whole; a larger one is told as it comes."""

MAX_LINE_BYTES: Final = 64 * 1024
"""Facts and a path of 4096 bytes fit many times; more is no listing."""

MAX_WASTED_LINES: Final = 200_000
"""Of a listing that is of no use any more, before its session is given up with it."""

LINE_COST_BYTES: Final = 64
"""What a waiting line costs in memory besides its bytes: there are servers that send empty ones."""

_LINES_AT_ONCE: Final = 1000


class Way(Enum):
    """How a directory can be listed."""

    EITHER = "either"
    CONTROL = "control"
    """Over a data channel it did not go."""
    DATA = "data"
    """It is too large to be worth anything else."""


@dataclass(slots=True, eq=False)
class Place:
    """A directory that is to be listed."""

    path: str
    """Relative to the root; empty for the root itself."""
    way: Way = Way.EITHER
    losses: int = 0
    """Sessions that were lost while they listed it."""
    told: int = 0
    """Entries of it that the consumer has, from a listing that broke off."""
    names: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    """Over their names, in order."""


class Waiting(Protocol):
    """Who has asked."""

    def wake(self) -> None:
        """Something has come."""

    def hold(self, count: int) -> bool:
        """Bytes have come by MLSC; whether they are wanted."""


class Asked(Receiver):
    """A directory that was asked for by MLSC, or `by_data`, by MLSD.

    What comes is kept as it is until it is asked for (`next_lines`) and given back (`read`): so a
    directory is parsed when it is its turn, and a listing for which nobody has time costs little.
    """

    def __init__(
        self, waiting: Waiting, place: Place, where: str, path: str, *, by_data: bool
    ) -> None:
        """`where` is the server, and `path` its path of the directory."""
        self.place = place
        self.path = path
        self.by_data = by_data
        self.takes_lines = not by_data
        self.lines: list[bytes] = []
        self.begun = False
        """By data: whether the server has said that it sends something."""
        self.answer: Reply | None = None
        self.lost_by: GridFTPError | None = None
        self.rest = b""
        """Of the last line that has come, the beginning."""
        self.seen = 0
        """Entries that have come, in this attempt."""
        self.bad: GridFTPError | None = None
        """What is wrong with it; the rest is only waited for."""
        self._waiting = waiting
        self._where = where
        self._held: list[Entry] = []
        self._repeated = hashlib.blake2b(digest_size=16)
        """Over the names of those that the consumer has from an earlier attempt."""
        self._wasted = 0

    # -- called by the channel

    def inner_line(self, code: int, line: bytes) -> bool:
        """An entry, by MLSC."""
        if code >= 300:
            return False
        if len(line) > MAX_LINE_BYTES:
            raise self._nonsense("the listing has an endless line")
        if self._waiting.hold(len(line) + LINE_COST_BYTES):
            self.lines.append(line)
        return True

    def intermediate(self, reply: Reply) -> None:
        """One part has come, or data will."""
        begins = not self.begun and reply.code in (125, 150)
        self.begun = self.begun or begins
        if begins or self.lines:  # others could be sent for ever
            self._waiting.wake()

    def reply(self, reply: Reply) -> None:
        """The end."""
        self.answer = reply
        self._waiting.wake()

    def lost(self, error: GridFTPError) -> None:
        """The session ended first."""
        self.lost_by = error
        self._waiting.wake()

    # -- reading

    def next_lines(self) -> list[bytes]:
        """By MLSC: the next lines that have come, without their ends."""
        lines = self.lines[:_LINES_AT_ONCE]
        del self.lines[:_LINES_AT_ONCE]
        return lines

    def next_block(self, arriving: Arriving) -> bytes:
        """By data: the next whole lines that have come. Raises GridFTPError(PROTOCOL)."""
        while part := arriving.take():
            whole, newline, rest = part.rpartition(b"\n")
            if newline:
                block, self.rest = self.rest + whole + newline, rest
                return block
            self.rest += part
            if len(self.rest) > MAX_LINE_BYTES:
                raise self._nonsense("the listing has an endless line")
        return b""

    def read(self, block: bytes) -> None:
        """Take in whole lines. What is wrong with them is kept in `bad`, and raised only when there
        is no end of them."""
        if self.bad is not None:
            self._wasted += block.count(b"\n")
            if self._wasted > MAX_WASTED_LINES:
                raise self.bad
            return
        place = self.place
        prefix = f"{place.path}/" if place.path else ""
        try:
            entries = parse_fact_lines(block, where=self._where, prefix=prefix)
        except GridFTPError as error:
            error.path = self.path
            self.bad = error
            return
        before, self.seen = self.seen, self.seen + len(entries)
        if before < place.told:
            entries = self._without_told(entries, place.told - before)
        self._held += entries

    def _without_told(self, entries: list[Entry], count: int) -> list[Entry]:
        """Without the first, which the consumer has already, if they are still the same."""
        self._repeated.update(_names(entries[:count]))
        if len(entries) >= count and self._repeated.digest() != self.place.names.digest():
            self.bad = self._changed_meanwhile()
            return []
        return entries[count:]

    def overflow(self) -> list[Entry]:
        """What is too much to be held until the end."""
        if len(self._held) <= HELD_ENTRIES:
            return []
        entries = self.release()
        self.place.told += len(entries)
        self.place.names.update(_names(entries))
        return entries

    def release(self) -> list[Entry]:
        """What is held; the listing is whole."""
        entries, self._held = self._held, []
        return entries

    def missing(self) -> GridFTPError | None:
        """At the end of it: whether something is missing that was there before."""
        return self._changed_meanwhile() if self.seen < self.place.told else None

    def _changed_meanwhile(self) -> GridFTPError:
        return GridFTPError(
            Kind.DATA_BROKEN,
            "the listing broke off, and the directory changed before it was listed again",
            self._where,
            self.path,
        )

    def _nonsense(self, message: str) -> GridFTPError:
        return GridFTPError(Kind.PROTOCOL, message, self._where, self.path)


def _names(entries: Sequence[Entry]) -> bytes:
    return "".join([f"{entry.name}\0" for entry in entries]).encode("utf-8", "surrogateescape")
