"""Listings over a data channel: several times faster than on the control channel for many files."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator

from towpath.gridftp.client.data.setup import DataOptions, Watch, in_thread, listen
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, cause_of, classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.listings import Entry, EntryType, parse_fact_line
from towpath.gridftp.wire.replies import Reply

BATCH = 1000
"""Entries handed over at a time."""

AHEAD = 8
"""Batches read ahead of whoever takes them; then the server has to wait."""

MAX_LINE_BYTES = 64 * 1024
"""Facts and a path of 4096 bytes fit many times; more is no listing."""


async def list_by_data(
    session: Session, path: str, *, recursive: bool, options: DataOptions
) -> AsyncIterator[list[Entry]]:
    """The entries of a directory (MLSD), or of a tree (MLSR, names relative), in batches.

    Without the entries for the directory itself and its parent. A server refuses a whole tree when
    one directory of it cannot be read. Raises `GridFTPError`; after an error, or when the caller
    stops early, the session is closed. Needs one stream: the order of blocks is that of lines.
    """
    where = str(session.server)
    watch = Watch(options.stall_s, where)
    line = commands.mlsr(path) if recursive else commands.mlsd(path)
    receiver = await listen(session, options, watch)
    sink = _ListingSink(where, recursive=recursive)

    def answered(future: "asyncio.Future[Reply]") -> None:
        if future.cancelled() or future.exception() is not None or not future.result().ok:
            receiver.abort()  # else it would wait for a connection that does not come

    (answer,) = session.submit([line], watch.heard)
    answer.add_done_callback(answered)
    received = in_thread(lambda: receiver.run([sink], lambda _index: sink.finish()))
    received.add_done_callback(lambda _future: sink.arrived.set())
    whole = False
    try:
        while True:
            while sink.batches:
                yield sink.batches.popleft()
                sink.taken()
            if received.done():
                break
            sink.arrived.clear()
            await sink.arrived.wait()
        reply = await watch.reply(answer)
        refused = None if reply.ok else classify(reply, where=where, path=path)
        failure = received.exception()
        if failure is not None and not isinstance(failure, GridFTPError):
            raise failure
        error = cause_of(refused, failure)
        if error is not None:
            raise error
        whole = True
    finally:
        if not whole:
            receiver.abort()
            sink.stop()
            await asyncio.wait([received])
            await session.close()


class _ListingSink:
    """Cuts the stream into lines, the lines into batches, and waits when too many lie about."""

    def __init__(self, where: str, *, recursive: bool) -> None:
        self.batches: deque[list[Entry]] = deque()
        self.arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._where = where
        self._recursive = recursive
        self._room = threading.Semaphore(AHEAD)
        self._stopped = False
        self._at = 0
        self._rest = b""
        self._batch: list[Entry] = []

    def write(self, data: memoryview, offset: int) -> None:
        """Called by the receiving thread."""
        if offset != self._at:
            raise GridFTPError(Kind.PROTOCOL, "the listing came out of order", self._where)
        self._at += len(data)
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise GridFTPError(Kind.PROTOCOL, "the listing has an endless line", self._where)
        for line in lines:
            entry = parse_fact_line(
                line.removesuffix(b"\r"), where=self._where, relative_paths=self._recursive
            )
            if entry.type in (EntryType.LISTED_DIRECTORY, EntryType.PARENT_DIRECTORY):
                continue
            self._batch.append(entry)
            if len(self._batch) >= BATCH:
                self._hand_over()

    def finish(self) -> None:
        """Everything has come. Called by the receiving thread."""
        if self._rest:
            raise GridFTPError(Kind.PROTOCOL, "the listing breaks off", self._where)
        if self._batch:
            self._hand_over()

    def taken(self) -> None:
        """Room for one more batch."""
        self._room.release()

    def stop(self) -> None:
        """Nobody takes batches any more."""
        self._stopped = True
        self._room.release()

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        self._room.acquire()
        if self._stopped:
            raise GridFTPError(Kind.DATA_BROKEN, "the listing was given up", self._where)
        self._loop.call_soon_threadsafe(self._append, batch)

    def _append(self, batch: list[Entry]) -> None:
        self.batches.append(batch)
        self.arrived.set()
