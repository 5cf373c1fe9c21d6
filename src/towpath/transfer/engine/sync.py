"""Sync levels: which files are at the destination already (Transfer API, "sync_level").

Each level looks at more than the one below: 0 whether there is a file, 1 its size, 2 whether the
source is newer, 3 the digests of both.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum, auto

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.context import at_destination, join
from towpath.transfer.places import LOOKED_AT_ONCE


class Decision(Enum):
    """What is done about a file."""

    COPY = auto()
    SKIP = auto()
    COMPARE = auto()  # by digests, and then one of the others


def decide(level: int, source: Entry, destination: Entry | None) -> Decision:
    """What is done about a file that has these facts; `destination` None: there is nothing.

    Times are compared as the two ends tell them, in whole seconds; an unknown one counts as newer.
    What is no file at the destination is copied to, which tells what is in the way.
    """
    if destination is None or destination.type is not EntryType.FILE:
        return Decision.COPY
    if level >= 1 and source.size != destination.size:
        return Decision.COPY
    if level >= 2 and _newer(source.modified, destination.modified):
        return Decision.COPY
    return Decision.COMPARE if level >= 3 else Decision.SKIP


def _newer(source: int | None, destination: int | None) -> bool:
    return source is None or destination is None or source > destination


class EntryRoom:
    """How many entries of directories are kept, in all that are being compared."""

    def __init__(self, entries: int) -> None:
        self._free = entries

    def take(self, entries: int) -> bool:
        """Whether there was room for so many more."""
        if entries > self._free:
            return False
        self._free -= entries
        return True

    def give_back(self, entries: int) -> None:
        """So many are not kept any more."""
        self._free += entries


class DestinationDirectory:
    """What is in a directory at the destination; it need not be there."""

    def __init__(
        self, session: Session, path: str, *, room: EntryRoom, listing: Session | None = None
    ) -> None:
        """Where there is no room for all entries, they are asked for one by one: memory is bounded.

        `listing` lists, if that is not `session`. Release it.
        """
        self._session = session
        self._listing = listing or session
        self._path = path
        self._room = room
        self._taken = 0
        self._entries: dict[str, Entry] | None = {}

    def release(self) -> None:
        """It has been compared."""
        self._room.give_back(self._taken)
        self._taken = 0

    async def load(self) -> None:
        """List it. Raises SidedError."""
        with at_destination():
            try:
                async for batch in self._listing.list(self._path):
                    self._keep(batch)
            except GridFTPError as error:
                if error.kind is not Kind.NOT_FOUND:
                    raise

    def _keep(self, batch: Sequence[Entry]) -> None:
        if self._entries is None:
            return
        if self._room.take(len(batch)):
            self._taken += len(batch)
            self._entries |= {entry.name: entry for entry in batch}
        else:
            self._entries = None
            self.release()

    @property
    def entries(self) -> dict[str, Entry] | None:
        """All that is in it, by name; None if that is too much."""
        return self._entries

    def forget(self, names: Sequence[str]) -> None:
        """These have been removed."""
        for name in names:
            if self._entries is not None:
                self._entries.pop(name, None)

    async def look(self, names: Sequence[str]) -> list[Entry | None]:
        """The entries of these names. Raises SidedError."""
        if self._entries is not None:
            return [self._entries.get(name) for name in names]
        found: list[Entry | None] = []
        for first in range(0, len(names), LOOKED_AT_ONCE):
            some = [
                status(self._session, join(self._path, name))
                for name in names[first : first + LOOKED_AT_ONCE]
            ]
            found += await asyncio.gather(*some)
        return found


async def status(destination: Session, path: str) -> Entry | None:
    """What is at a path of the destination, if anything. Raises SidedError."""
    with at_destination():
        try:
            return await destination.stat(path)
        except GridFTPError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            return None
