"""Files between here and a server, over one control session.

Files go pipelined over one kept data channel, under the order rule: they complete in order at both
ends, and at the first failure everything after it is void, because a server whose transfer failed
may have put later files' bytes under wrong names.
"""

import asyncio
import errno
import hashlib
import os
import secrets
import stat
import threading
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from towpath.gridftp.client.data.files import FileSink, FileSource, local_error
from towpath.gridftp.client.data.setup import (
    DataOptions,
    Watch,
    connect,
    ended,
    in_thread,
    listen,
    result_of,
    security_of_links,
)
from towpath.gridftp.client.lane import DRAIN_S
from towpath.gridftp.client.session import Session
from towpath.gridftp.data.buffers import BUFFER_BYTES
from towpath.gridftp.data.mode_e import Sender
from towpath.gridftp.errors import GridFTPError, Kind, cause_of, printable
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.ranges import ByteRange
from towpath.gridftp.wire.replies import Reply

MAX_FILES = 100
"""Files of one call: up to three commands each, and all are open at once."""

CHECKSUM_BYTES_PER_S = 20e6
"""A server that computes a digest slower than this counts as stalled; GCT gives no sign of life
meanwhile. A loaded server does 300 MB/s, a slow disk 50."""

PART_SUFFIX = ".towpath-part"
"""End of the hidden name under which a downloaded file lies until it is whole."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One file to copy between here and a server."""

    local: Path
    remote: str
    size: int
    """Bytes expected of a download; an upload sends what the file has when it starts."""
    modified: int | None = None
    """Unix seconds to give the copy."""


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """What became of one. `void`: it was commanded, but does not count; do it again."""

    copy: Copy
    status: Literal["done", "failed", "void"]
    error: GridFTPError | None = None
    digest: str | None = None
    """Of the bytes as they lie here, when a checksum was asked for."""


@dataclass(slots=True)
class _Open:
    """A copy whose local file is open."""

    copy: Copy
    descriptor: int
    size: int
    part: Path | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class _Commanded:
    """The replies that decide about one file."""

    data: "asyncio.Future[Reply]"
    checksum: "asyncio.Future[Reply] | None"


async def upload(
    session: Session, copies: Sequence[Copy], options: DataOptions
) -> list[CopyOutcome]:
    """Send local files, whose directories must exist there. Outcomes in the order of `copies`.

    A file that cannot be opened here fails without touching the others. When an outcome is void,
    a transfer failed, or it was cancelled under way, the session has been closed. Raises
    `GridFTPError` when the data channel cannot be set up.
    """
    _check(copies, options)
    opened, outcomes = await _open_all(copies, _open_source)
    try:
        if opened:
            outcomes += await _send(session, opened, options)
    finally:
        _discard(opened)
    return _in_order(copies, outcomes)


async def download(
    session: Session, copies: Sequence[Copy], options: DataOptions
) -> list[CopyOutcome]:
    """Fetch files to local paths, whose directories must exist. Otherwise like `upload`.

    A file appears under its name, replacing what was there, when it is whole and verified.
    """
    _check(copies, options)
    opened, outcomes = await _open_all(copies, _open_target)
    try:
        if opened:
            outcomes += await _receive(session, opened, options)
    finally:
        await ended(in_thread(lambda: _discard(opened)))
    return _in_order(copies, outcomes)


async def _send(session: Session, opened: list[_Open], options: DataOptions) -> list[CopyOutcome]:
    watch = Watch(options.stall_s, str(session.server))
    links = await connect(session, options)
    sender = Sender(links, watch.progress(options.on_progress))
    failed_at: list[int] = []
    given_up = threading.Event()

    def send() -> None:
        sent = 0
        try:
            secure = security_of_links(options.security, server_side=False)
            if secure is not None:
                for link in links:
                    secure(link)
            for item in opened:
                _send_one(sender, item)
                sent += 1
        except GridFTPError:
            failed_at.append(sent)
            sender.abort()  # the server must not wait for the rest
            raise

    async def finish(index: int) -> CopyOutcome:
        item = opened[index]
        answer = await watch.reply(commanded[index].data)
        if not answer.ok:
            refused = classify(answer, where=str(session.server), path=item.copy.remote)
            ours = await _failure(sending) if failed_at and failed_at[0] <= index else None
            raise cause_of(ours, refused) or refused
        await result_of(hashing)
        return await _compared(session, item, commanded[index], watch)

    try:
        commanded = _command(session, opened, options, watch, _stor)
    except BaseException:
        sender.close()
        raise
    sending = in_thread(send)
    hashing = in_thread(lambda: _digest_each(opened, options.checksum, given_up))
    whole = False
    try:
        outcomes, whole = await _each_in_order(opened, finish)
        return outcomes
    finally:
        given_up.set()
        sender.abort()
        try:
            await ended(sending, hashing)
        finally:
            sender.close()
            if not whole:
                await _end(session)


async def _receive(
    session: Session, opened: list[_Open], options: DataOptions
) -> list[CopyOutcome]:
    watch = Watch(options.stall_s, str(session.server))
    progress = watch.progress(options.on_progress)
    receiver = await listen(session, options)
    sinks = [FileSink(item.descriptor, item.size, os.fspath(item.copy.local)) for item in opened]
    loop = asyncio.get_running_loop()
    arrived: list[asyncio.Future[None]] = [loop.create_future() for _ in opened]
    given_up = threading.Event()

    def complete(index: int) -> None:
        loop.call_soon_threadsafe(arrived[index].set_result, None)

    def receive() -> None:
        try:
            for index, sink in enumerate(sinks):
                receiver.receive(sink, progress)
                complete(index)
        finally:
            receiver.close()

    async def finish(index: int) -> CopyOutcome:
        item = opened[index]
        answer = await watch.reply(commanded[index].data)
        refused = None
        if not answer.ok:
            refused = classify(answer, where=str(session.server), path=item.copy.remote)
            receiver.abort()  # else it would wait for what does not come
            raise cause_of(refused, await _failure(received)) or refused
        await asyncio.wait([arrived[index], received], return_when=asyncio.FIRST_COMPLETED)
        if not arrived[index].done():
            await result_of(received)  # raises
        if sinks[index].received != item.size:
            return CopyOutcome(item.copy, "failed", _changed(item, sinks[index].received))
        await aside(lambda: _digest_each([item], options.checksum, given_up))
        outcome = await _compared(session, item, commanded[index], watch)
        if outcome.status == "done":
            try:
                await aside(lambda: _publish(item))
            except OSError as error:
                failure = local_error(error, os.fspath(item.copy.local))
                return CopyOutcome(item.copy, "failed", failure)
        return outcome

    async def aside(function: Callable[[], None]) -> None:
        running[:] = [in_thread(function)]
        await result_of(running[0])

    running: list[asyncio.Future[None]] = []
    received = in_thread(receive)
    whole = False
    try:
        commanded = _command(session, opened, options, watch, _retr)
        outcomes, whole = await _each_in_order(opened, finish)
        return outcomes
    finally:
        given_up.set()
        receiver.abort()
        try:
            await ended(received, *running)
        finally:
            if not whole:
                await _end(session)


def _send_one(sender: Sender, item: _Open) -> None:
    try:
        sender.send(FileSource(item.descriptor), [ByteRange(0, item.size)])
    except OSError as error:
        raise local_error(error, os.fspath(item.copy.local)) from error


async def _end(session: Session) -> None:
    """End a session among its commands, when the data channel is closed.

    Then a server fails what it has queued; GCT may hang for good when it is cut off before that
    (see `Lane`). Goes on when who waits for it is cancelled.
    """

    async def end() -> None:
        await session.channel.drain(DRAIN_S)
        await session.close()

    await asyncio.shield(asyncio.ensure_future(end()))


async def _each_in_order(
    opened: list[_Open], finish: Callable[[int], Awaitable[CopyOutcome]]
) -> tuple[list[CopyOutcome], bool]:
    """The order rule: a failed transfer makes void what comes after it, and is the session's end.

    Also whether there was none.
    """
    outcomes: list[CopyOutcome] = []
    for index, item in enumerate(opened):
        try:
            outcomes.append(await finish(index))
        except GridFTPError as error:
            outcomes.append(CopyOutcome(item.copy, "failed", error))
            outcomes += [CopyOutcome(other.copy, "void") for other in opened[index + 1 :]]
            return outcomes, False
    return outcomes, True


def _command(
    session: Session,
    opened: list[_Open],
    options: DataOptions,
    watch: Watch,
    lines_of: Callable[[Session, Copy], tuple[list[str], int]],
) -> list[_Commanded]:
    """Send all commands in one write."""
    lines: list[str] = []
    places: list[tuple[int, int | None]] = []
    for item in opened:
        own, data_place = lines_of(session, item.copy)
        data_place += len(lines)
        lines += own
        places.append((data_place, len(lines) if options.checksum else None))
        if options.checksum:
            lines.append(commands.cksm(item.copy.remote, options.checksum))
    replies = session.submit(lines, watch.heard)
    return [
        _Commanded(replies[data], None if checksum is None else replies[checksum])
        for data, checksum in places
    ]


def _stor(session: Session, copy: Copy) -> tuple[list[str], int]:
    """The commands for one upload, and which of them moves the data."""
    store = commands.stor(copy.remote)
    if copy.modified is None:
        return [store], 0
    if session.features.storattr:
        return [commands.storattr_modified(copy.modified), store], 1
    return [store, commands.mfmt(copy.remote, copy.modified)], 0


def _retr(_session: Session, copy: Copy) -> tuple[list[str], int]:
    return [commands.retr(copy.remote)], 0


async def _compared(
    session: Session, item: _Open, commanded: _Commanded, watch: Watch
) -> CopyOutcome:
    """The outcome of a file that has arrived: its digests must agree if any were asked for."""
    if commanded.checksum is None:
        return CopyOutcome(item.copy, "done")
    where = str(session.server)
    reply = await watch.reply(commanded.checksum, extra_s=item.size / CHECKSUM_BYTES_PER_S)
    if not reply.ok:
        error = classify(reply, where=where, path=item.copy.remote)
    elif item.digest is not None and _same_digest(reply.text, item.digest):
        return CopyOutcome(item.copy, "done", digest=item.digest)
    else:
        error = GridFTPError(
            Kind.CHECKSUM_MISMATCH,
            f"the checksum there is {printable(reply.text, 200)}, here {item.digest}",
            where,
            item.copy.remote,
        )
    return CopyOutcome(item.copy, "failed", error, item.digest)


async def _failure(running: "asyncio.Future[None]") -> GridFTPError | None:
    """How a data thread that is about to end has failed, if it has."""
    await asyncio.wait([running])
    error = running.exception()
    if error is not None and not isinstance(error, GridFTPError):
        raise error
    return error


def _check(copies: Sequence[Copy], options: DataOptions) -> None:
    if len(copies) > MAX_FILES:
        raise ValueError(f"more than {MAX_FILES} files in one call")
    if options.streams > 1 and len(copies) > 1:
        raise ValueError("several streams carry one file at a time")


def _in_order(copies: Sequence[Copy], outcomes: list[CopyOutcome]) -> list[CopyOutcome]:
    by_copy = {id(outcome.copy): outcome for outcome in outcomes}
    return [by_copy[id(copy)] for copy in copies]


async def _open_all(
    copies: Sequence[Copy], opener: Callable[[Copy], _Open]
) -> tuple[list[_Open], list[CopyOutcome]]:
    """What the thread opens is given back, too, when nobody waits for it any more."""
    opening = asyncio.ensure_future(asyncio.to_thread(_open_each, copies, opener))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: _discard(done.result()[0]))
        raise


def _open_each(
    copies: Sequence[Copy], opener: Callable[[Copy], _Open]
) -> tuple[list[_Open], list[CopyOutcome]]:
    opened: list[_Open] = []
    failed: list[CopyOutcome] = []
    for copy in copies:
        try:
            opened.append(opener(copy))
        except OSError as error:
            failure = local_error(error, os.fspath(copy.local))
            failed.append(CopyOutcome(copy, "failed", failure))
    return opened, failed


def _open_source(copy: Copy) -> _Open:
    # Without O_NONBLOCK the open of a pipe would wait for a writer.
    descriptor = os.open(copy.local, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _not_regular(status.st_mode)
    return _Open(copy, descriptor, status.st_size)


def _open_target(copy: Copy) -> _Open:
    try:
        mode = copy.local.lstat().st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise _not_regular(mode)  # renaming over a device would replace it
    part = copy.local.with_name(f".{secrets.token_hex(8)}{PART_SUFFIX}")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    return _Open(copy, descriptor, copy.size, part)


def _not_regular(mode: int) -> OSError:
    if stat.S_ISDIR(mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return OSError(errno.EINVAL, "Not a regular file")


def _publish(item: _Open) -> None:
    """Give a whole file its time and name."""
    assert item.part is not None
    if item.copy.modified is not None:
        os.utime(item.descriptor, (item.copy.modified, item.copy.modified))
    item.part.replace(item.copy.local)
    item.part = None


def _discard(opened: list[_Open]) -> None:
    for item in opened:
        os.close(item.descriptor)
        if item.part is not None:
            item.part.unlink(missing_ok=True)


def _changed(item: _Open, received: int) -> GridFTPError:
    return GridFTPError(
        Kind.CHECKSUM_MISMATCH,
        f"{received} bytes came, {item.size} were expected: the file changed meanwhile",
        "",
        item.copy.remote,
    )


def _digest_each(opened: list[_Open], algorithm: str | None, given_up: threading.Event) -> None:
    """Compute the digests of the files as they lie here, unless they are of no use any more."""
    if algorithm is None:
        return
    for item in opened:
        item.digest = digest_of(item.descriptor, algorithm, given_up)


def digest_of(
    descriptor: int, algorithm: str, given_up: threading.Event | None = None
) -> str | None:
    """Hexadecimal digest of an open file; None when it was given up meanwhile.

    Raises `ValueError` for an unknown algorithm.
    """
    buffer = memoryview(bytearray(BUFFER_BYTES))
    offset = 0
    name = algorithm.lower().replace("-", "")
    digest = None if name == "adler32" else _new_digest(name)
    checksum = 1
    while count := os.preadv(descriptor, [buffer], offset):
        if given_up is not None and given_up.is_set():
            return None
        if digest is None:
            checksum = zlib.adler32(buffer[:count], checksum)
        else:
            digest.update(buffer[:count])
        offset += count
    return f"{checksum:08x}" if digest is None else digest.hexdigest()


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def _new_digest(name: str) -> _Digest:
    if name == "blake3":
        from blake3 import blake3  # noqa: PLC0415 - few servers have it

        return blake3()
    return hashlib.new(name, usedforsecurity=False)


def _same_digest(one: str, other: str) -> bool:
    """Servers differ in case and in the leading zeros of an ADLER32."""
    try:
        return int(one.strip(), 16) == int(other, 16)
    except ValueError:
        return False
