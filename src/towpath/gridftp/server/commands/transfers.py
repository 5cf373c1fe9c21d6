"""Files over data connections: RETR, STOR, APPE, ERET, ESTO (RFC 959, GFD.20).

A transfer that fails, for whatever reason and at whatever moment, takes the data channel with it.
With GCT the channel stays, and on a channel that is used for several files the next file then gets
the bytes of the failed one, and both ends call it a success.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from functools import partial
from typing import Final

from towpath.dsi import digests
from towpath.dsi.storage import Reader, Writer
from towpath.gridftp.server.commands.base import (
    AbortedError,
    Handlers,
    NextTransfer,
    Session,
    SessionEndedError,
    Transferred,
    WrongChecksumError,
    failure_reply,
    first_line,
)
from towpath.gridftp.server.recent_digests import sending
from towpath.gridftp.wire import answers, requests
from towpath.gridftp.wire.numbers import LARGEST
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

handlers: Final = Handlers()
on = handlers.on

BEGINNING: Final = answers.reply(150, "Beginning transfer.")
REUSING: Final = answers.reply(125, "Beginning transfer; reusing existing data connection.")
COMPLETE: Final = answers.reply(226, "Transfer Complete.")


class Transfer:
    """A data command that is under way."""

    __slots__ = ("_session", "begun", "first")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.first = 0
        """Where in the file it begins."""
        self.begun = False
        """Whether it has been announced to the client."""

    def demand(self, *, receive: bool) -> None:
        """Raise what there is to say when no data connection can be made.

        Before a file is opened: what was sent ahead of a failure must not empty files.
        """
        if not self._session.passive_delayed:
            self._session.channel.demand(receive=receive)

    def begin(self) -> None:
        """Announce it: from here on data connections are made and used."""
        session = self._session
        session.check_aborted()
        if session.passive_delayed:
            session.passive_delayed = False
            (address,) = session.channel.passive()
            session.send(answers.passive(address, delayed=True))
        self.begun = True
        session.send(REUSING if session.channel.is_kept else BEGINNING)


@contextmanager
def transfer(
    session: Session, verb: str, path: bytes, *, listing: bool = False
) -> Iterator[Transfer]:
    """Around a data command: its last reply, its line in the access log, the end of its channel.

    `listing`: one that fails before it is announced leaves the channel as it is.
    """
    under_way = Transfer(session)
    channel = session.channel
    began = time.monotonic()
    reply = COMPLETE
    try:
        yield under_way
    except SessionEndedError:
        channel.drop()
        reply = b"the session ended"
        raise
    except Exception as error:  # noqa: BLE001 - all of them are answered
        if under_way.begun or not listing:
            channel.drop()
        reply = failure_reply(error, session, "stat" if listing else "open")
    finally:
        moved = channel.moved_bytes if under_way.begun else 0
        session.report(
            Transferred(
                session.opening,
                verb,
                path,
                moved,
                time.monotonic() - began,
                "ok" if reply is COMPLETE else first_line(reply),
                channel.parallelism,
                session.protection if session.authenticated else "N",
                under_way.first,
            )
        )
    session.send(reply)


# -- to the client


@on(requests.Retr)
def _retr(session: Session, request: requests.Retr) -> None:
    _send(session, "RETR", session.path(request.path), 0, None)


@on(requests.Eret)
def _eret(session: Session, request: requests.Eret) -> None:
    _send(session, "ERET", session.path(request.path), request.offset, request.length)


def _send(session: Session, verb: str, path: bytes, offset: int, length: int | None) -> None:
    """Send a file from `offset` on, without what the client has already."""
    present = session.take_next().present or RangeSet()
    with transfer(session, verb, path) as under_way:
        under_way.demand(receive=False)
        with closing(session.storage.open_reader(path)) as reader:
            left = max(reader.size - offset, 0)
            size = left if length is None else min(left, length)
            missing = _missing(session, present, size)
            under_way.begin()
            # On the wire offsets count from where the command begins, not from the file's start.
            at = missing[0].first
            ranges = [ByteRange(first + offset, after + offset) for first, after in missing]
            under_way.first = ranges[0].first
            with _digested(session, reader, ranges):
                session.channel.send(reader, ranges, at=at)


def _digested(
    session: Session, reader: Reader, ranges: Sequence[ByteRange]
) -> AbstractContextManager[None]:
    if not session.digest_sent or len(ranges) > 1:
        return nullcontext()
    now_ns = time.time_ns()
    return sending(session.recent, reader, session.digest_sent, ranges[0], now_ns)


def _missing(session: Session, present: RangeSet, size: int) -> Sequence[ByteRange]:
    """What is to be sent of `size` bytes; at least one range, if an empty one."""
    missing = present.complement(size)
    if not session.extended:  # one stream has one beginning
        missing = missing[-1:]
    return missing or [ByteRange(size, size)]


# -- from the client


@on(requests.Stor)
def _stor(session: Session, request: requests.Stor) -> None:
    said = session.take_next()
    resumed = bool(said.present)
    at = 0 if session.extended or not said.present else max(said.present).after
    _receive(session, "STOR", session.path(request.path), said, at=at, truncate=not resumed)


@on(requests.Esto)
def _esto(session: Session, request: requests.Esto) -> None:
    said = session.take_next()
    at = request.offset
    if said.present and not session.extended:
        at += max(said.present).after
    _receive(session, "ESTO", session.path(request.path), said, at=at, truncate=False)


@on(requests.Appe)
def _appe(session: Session, request: requests.Appe) -> None:
    said = session.take_next()
    path = session.path(request.path)
    try:
        at = session.storage.status(path).size
    except FileNotFoundError:
        at = 0
    _receive(session, "APPE", path, said, at=at, truncate=False)


def _receive(
    session: Session, verb: str, path: bytes, said: NextTransfer, *, at: int, truncate: bool
) -> None:
    with transfer(session, verb, path) as under_way:
        under_way.first = at
        under_way.demand(receive=True)
        opening = partial(_open_writer, session, path, said, truncate=truncate)
        with session.recent.receiving(opening) as reception:
            writer = opened = reception.writer
            if session.digest_received:
                writer = reception.digesting(session.digest_received, at)
            running: dict[str, digests.RunningDigest] = {}
            for algorithm in said.checksums:
                writer = digesting = digests.DigestingWriter(writer, algorithm)
                running[algorithm] = digesting.digest
            under_way.begin()
            session.channel.receive(writer, at=at, tell=session.send_marker)
            for algorithm, expected in said.checksums.items():
                _compare(session, running[algorithm], expected)
            opened.finish(modified=said.modified, durable=session.durable)
            reception.finished(modified=said.modified)


def _open_writer(session: Session, path: bytes, said: NextTransfer, *, truncate: bool) -> Writer:
    storage, readable = session.storage, bool(said.checksums)
    if session.digest_received and not readable:
        with suppress(PermissionError):  # then what comes too early cannot be read back
            return storage.open_writer(path, truncate=truncate, readable=True)
    return storage.open_writer(path, truncate=truncate, readable=readable)


def _compare(session: Session, digest: digests.RunningDigest, expected: str) -> None:
    """Of the whole file: what was there before and after what was received, too."""
    try:
        computed = digest.result(LARGEST, aborted=session.aborted)
    except digests.AbortedError:
        raise AbortedError from None
    if computed != expected:
        raise WrongChecksumError(computed, expected)
