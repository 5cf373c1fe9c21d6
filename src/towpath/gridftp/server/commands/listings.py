"""Listings: MLST, MLSC and STAT on the control channel, MLSD, MLSR, NLST and LIST on a data
channel (RFC 959, 3659; MLSC and MLSR are GCT's).

A name with a line break would be another line, and could be anything. In its place stands a line
without facts, which is what clients see of such names with GCT: so nobody takes the directory for
one that was listed whole. A listing that fails before its 150 keeps the data channel, as GCT does;
whoever lists many directories counts on it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from towpath.dsi.storage import EntryType, Facts, Status
from towpath.gridftp.server.commands.base import Handlers, Session
from towpath.gridftp.server.commands.transfers import transfer
from towpath.gridftp.wire import answers, listings, requests

handlers: Final = Handlers()
on = handlers.on

ENTRIES_A_REPLY: Final = 1000
"""Of MLSC, as GCT: a listing may have more replies than one."""

BYTES_A_REPLY: Final = 512 * 1024
"""Of MLSC: names and targets of links may be long. Half of what one frame takes."""

BYTES_A_CHUNK: Final = 64 * 1024
"""Of a listing on a data channel: what is sent at once."""

UNLISTABLE: Final = b"a-name-with-a-line-break"

DEEPEST: Final = 256
"""Directories below each other that MLSR enters: each is open meanwhile."""


@on(requests.Mlst)
def _mlst(session: Session, request: requests.Mlst) -> None:
    path = session.path(request.path)
    status = session.storage.status(path)
    name = answers.one_line(request.path or path)
    session.send(answers.listing(250, b"status of " + name, [session.facts.line(name, status)]))


@on(requests.Stat)
def _stat(session: Session, request: requests.Stat) -> None:
    if not request.path:
        session.send(answers.reply(212, "GridFTP server status."))
        return
    path = session.path(request.path)
    status = session.storage.status(path)
    name = answers.one_line(path[path.rfind(b"/") + 1 :] or path)
    first = b"status of " + answers.one_line(request.path)
    session.send(answers.listing(213, first, [answers.list_line(name, status)]))


@on(requests.Mlsc)
def _mlsc(session: Session, request: requests.Mlsc) -> None:
    first = b"Contents of " + answers.one_line(request.path or b".")
    lines: list[bytes] = []
    size = 0
    for line in _fact_lines(session, session.path(request.path)):
        if len(lines) >= ENTRIES_A_REPLY or size >= BYTES_A_REPLY:
            session.check_aborted()
            session.send(answers.listing(150, first, lines))
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    session.send(answers.listing(250, first, lines))


@on(requests.Mlsd)
def _mlsd(session: Session, request: requests.Mlsd) -> None:
    path = session.path(request.path)
    _send_lines(session, "MLSD", path, _fact_lines(session, path))


@on(requests.Mlsr)
def _mlsr(session: Session, request: requests.Mlsr) -> None:
    path = session.path(request.path)
    _send_lines(session, "MLSR", path, _tree_lines(session, path))


@on(requests.Nlst)
def _nlst(session: Session, request: requests.Nlst) -> None:
    path = session.path(request.path)
    _send_lines(session, "NLST", path, _lines(session, path, lambda name, _status: name))


@on(requests.List)
def _list(session: Session, request: requests.List) -> None:
    path = session.path(request.path)
    _send_lines(session, "LIST", path, _lines(session, path, answers.list_line))


def _send_lines(session: Session, verb: str, path: bytes, lines: Iterator[bytes]) -> None:
    session.take_next()  # no list of ranges, no time holds beyond one data command
    with transfer(session, verb, path, listing=True) as under_way:
        under_way.demand(receive=False)
        first = next(lines)  # raises what there is to refuse
        under_way.begin()
        session.channel.send_bytes(_chunks(session, first, lines))


def _chunks(session: Session, first: bytes, lines: Iterator[bytes]) -> Iterator[bytes]:
    chunk = bytearray(first + b"\r\n")
    for line in lines:
        chunk += line
        chunk += b"\r\n"
        if len(chunk) >= BYTES_A_CHUNK:
            session.check_aborted()
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _fact_lines(session: Session, path: bytes) -> Iterator[bytes]:
    """The lines of one directory, or of one file."""
    facts = session.facts
    status = session.storage.status(path)
    if status.type is not EntryType.DIRECTORY:
        yield facts.line(answers.one_line(path[path.rfind(b"/") + 1 :]), status)
        return
    wanted = Facts.TYPE if facts.facts <= {"type", "unix.slink"} else Facts.ALL
    entries = session.storage.entries(path, facts=wanted)
    yield facts.head(listings.EntryType.LISTED_DIRECTORY, b".", status)
    yield facts.head(listings.EntryType.PARENT_DIRECTORY, b"..", _parent(session, path, status))
    line = facts.line
    for name, entry in entries:
        yield line(name, entry) if answers.is_listable(name) else UNLISTABLE


def _parent(session: Session, path: bytes, status: Status) -> Status:
    """That of the directory above; if it cannot be looked at, that of the directory itself."""
    with suppress(OSError):
        return session.storage.status(path[: path.rfind(b"/")] or b"/")
    return status


def _lines(
    session: Session, path: bytes, line: Callable[[bytes, Status], bytes]
) -> Iterator[bytes]:
    status = session.storage.status(path)
    if status.type is not EntryType.DIRECTORY:
        yield line(answers.one_line(path[path.rfind(b"/") + 1 :]), status)
        return
    entries = session.storage.entries(path)
    yield line(b".", status)
    yield line(b"..", _parent(session, path, status))
    for name, entry in entries:
        yield line(answers.one_line(name), entry)


def _tree_lines(session: Session, root: bytes) -> Iterator[bytes]:
    """A tree, each directory's entries behind its own line; links to directories are not entered.

    A directory that may not be read is told, and what is in it is not; only the root must be
    readable. (GCT then fails as a whole, with half of the data sent.)
    """
    facts = session.facts
    status = session.storage.status(root)
    wanted = Facts.TYPE if facts.facts <= {"type", "unix.slink"} else Facts.ALL
    entered = [(b"", session.storage.entries(root, facts=wanted))]
    yield facts.head(listings.EntryType.LISTED_DIRECTORY, b".", status)
    above = root if root.endswith(b"/") else root + b"/"
    while entered:
        prefix, entries = entered[-1]
        for name, entry in entries:
            if not answers.is_listable(name):
                yield UNLISTABLE
                continue
            path = prefix + name
            yield facts.line(path, entry)
            if entry.type is EntryType.DIRECTORY and entry.link_target is None:
                if len(entered) >= DEEPEST:
                    raise OSError(errno.ELOOP, "a tree too deep")
                with suppress(PermissionError, FileNotFoundError):
                    entered.append(
                        (path + b"/", session.storage.entries(above + path, facts=wanted))
                    )
                    break
        else:
            entered.pop()
