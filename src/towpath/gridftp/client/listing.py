"""A directory listing on the control channel, handed out in batches, with back-pressure."""

from __future__ import annotations

import asyncio
from collections import deque

from towpath.gridftp.client.channel import ControlChannel, Receiver
from towpath.gridftp.errors import GridFTPError, Kind, classify
from towpath.gridftp.wire.listings import Entry, EntryType, parse_fact_line
from towpath.gridftp.wire.replies import Reply

BATCH_ENTRIES = 1000
"""What GCT sends as one part of a listing; parsing it takes about 5 ms."""

WAITING_BATCHES = 4
"""Batches held for a slow consumer before nothing more is read from the server."""


class Listing(Receiver):
    """Receives the replies of one MLSC."""

    takes_lines = True

    def __init__(self, channel: ControlChannel, where: str, path: str) -> None:
        self._channel = channel
        self._where = where
        self._path = path
        self._lines: list[bytes] = []
        self._batches: deque[list[bytes]] = deque()
        self._ended = False
        self._error: GridFTPError | None = None
        self._arrived = asyncio.Event()

    async def next_batch(self, timeout_s: float) -> list[Entry] | None:
        """The next entries, perhaps none; None after the last. Raises GridFTPError."""
        while not self._batches:
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
            except TimeoutError:
                self._channel.fail(
                    GridFTPError(
                        Kind.TIMEOUT, f"no listing within {timeout_s:g} s", self._where, self._path
                    )
                )
        lines = self._batches.popleft()
        if not self._batches:
            self._channel.resume()
        try:
            return self._parse(lines)
        except GridFTPError as error:
            error.path = self._path
            self._channel.fail(error)
            raise

    def leave(self) -> None:
        """The consumer is gone. What it has not read would stand in the way of later commands."""
        if not self._ended:
            self._channel.fail(
                GridFTPError(
                    Kind.CONNECTION_LOST, "a listing was left early", self._where, self._path
                )
            )
        else:
            self._channel.resume()

    def inner_line(self, code: int, line: bytes) -> bool:
        """One entry."""
        if code >= 300:
            return False
        self._lines.append(line)
        if len(self._lines) >= BATCH_ENTRIES:
            self._flush()
        return True

    def intermediate(self, reply: Reply) -> None:
        """One part of the listing ended."""
        del reply
        self._flush()

    def reply(self, reply: Reply) -> None:
        """The listing ended."""
        self._flush()
        self._ended = True
        if not reply.ok:
            self._error = classify(reply, where=self._where, path=self._path)
        self._arrived.set()

    def lost(self, error: GridFTPError) -> None:
        """The channel ended first."""
        self._ended = True
        self._error = error
        self._arrived.set()

    def _flush(self) -> None:
        if self._lines:
            self._batches.append(self._lines)
            self._lines = []
            if len(self._batches) >= WAITING_BATCHES:
                self._channel.pause()
        self._arrived.set()

    def _parse(self, lines: list[bytes]) -> list[Entry]:
        entries: list[Entry] = []
        for line in lines:
            entry = parse_fact_line(line, where=self._where)
            if entry.type not in (EntryType.LISTED_DIRECTORY, EntryType.PARENT_DIRECTORY):
                entries.append(entry)
        return entries
