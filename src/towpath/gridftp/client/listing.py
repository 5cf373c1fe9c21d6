"""A directory listing on the control channel, handed out in batches, with back-pressure."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable

from towpath.gridftp.client.channel import ControlChannel, Receiver
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire.listings import Entry, parse_fact_lines
from towpath.gridftp.wire.replies import Reply

BATCH_ENTRIES = 1000
"""What GCT sends as one part of a listing; parsing it takes about 5 ms."""

BATCH_BYTES = 1 << 20
"""A batch ends here too; 1000 entries with all facts are 200 KiB."""

MAX_LINE_BYTES = 64 * 1024
"""Facts and a path of 4095 bytes fit many times; more is no listing."""

WAITING_BATCHES = 4
"""Batches held for a slow consumer before nothing more is read from the server."""


_COUNT = re.compile(rb" ?type=cdir;[^\r\n ]*\bx\.count=([0-9]{1,9});", re.IGNORECASE)
"""In the facts of the directory itself: its names, with `.` and `..`."""


class Listing(Receiver):
    """Receives the replies of one MLSC."""

    takes_lines = True

    def __init__(
        self,
        channel: ControlChannel,
        where: str,
        path: str,
        on_count: Callable[[int], None] | None = None,
    ) -> None:
        self._on_count = on_count
        self._channel = channel
        self._where = where
        self._path = path
        self._lines: list[bytes] = []
        self._bytes = 0
        self._batches: deque[list[bytes]] = deque()
        self._ended = False
        self._error: GridFTPError | None = None
        self._arrived = asyncio.Event()

    async def next_batch(self, timeout_s: float) -> list[Entry] | None:
        """The next entries, perhaps none; None after the last. Raises GridFTPError.

        A server that lists slowly is fine as long as it names one entry in `timeout_s`; replies
        that name none are no sign of life. A listing asked for behind others waits for its turn,
        and while we read nothing, because the one before it is not taken.
        """
        while not self._batches and not self._ended:
            its_turn = self._channel.serves(self) and not self._channel.paused
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wait()
            except TimeoutError:
                if self._lines:
                    self._flush()
                elif its_turn and not self._channel.paused:
                    self._channel.fail(
                        GridFTPError(
                            Kind.TIMEOUT,
                            f"no listing within {timeout_s:g} s",
                            self._where,
                            self._path,
                        )
                    )
        if not self._batches:
            if self._error is not None:
                raise self._error
            return None
        lines = self._batches.popleft()
        if not self._batches:
            self._channel.resume()
        try:
            # with CR, so that a name that ends in one is seen
            return parse_fact_lines(b"\r\n".join(lines) + b"\r\n", where=self._where)
        except GridFTPError as error:
            error.path = self._path
            self._channel.fail(error)
            raise

    async def _wait(self) -> None:
        while not self._batches and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()

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
        if len(line) > MAX_LINE_BYTES:
            raise GridFTPError(
                Kind.PROTOCOL, "the listing has an endless line", self._where, self._path
            )
        if self._on_count is not None and (counted := _COUNT.match(line)):
            self._on_count(max(int(counted[1]) - 2, 0))
            self._on_count = None
        self._lines.append(line)
        self._bytes += len(line)
        if len(self._lines) >= BATCH_ENTRIES or self._bytes >= BATCH_BYTES:
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
            self._bytes = 0
            if len(self._batches) >= WAITING_BATCHES:
                self._channel.pause()
        self._arrived.set()
