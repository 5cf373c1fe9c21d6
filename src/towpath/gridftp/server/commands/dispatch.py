"""One command: read, done, answered."""

from __future__ import annotations

from typing import Final

from towpath.gridftp.errors import printable
from towpath.gridftp.server.commands import (
    about,
    checksums,
    files,
    listings,
    settings,
    transfers,
)
from towpath.gridftp.server.commands.base import (
    NotPermittedError,
    Refused,
    Session,
    SessionEndedError,
    failure_reply,
    first_line,
)
from towpath.gridftp.wire import answers, requests
from towpath.gridftp.wire.request_lines import parse_request
from towpath.gridftp.wire.requests import Request

TABLE: Final = {
    request: entry
    for theme in (settings, transfers, listings, files, checksums, about)
    for request, entry in theme.handlers.table.items()
}

STOPPABLE: Final = (
    requests.Retr,
    requests.Stor,
    requests.Appe,
    requests.Eret,
    requests.Esto,
    requests.Mlsd,
    requests.Mlsr,
    requests.Nlst,
    requests.List,
    requests.Mlsc,
    requests.Cksm,
    requests.SiteRdel,
)
"""What may take long, and so what ABOR stops."""

ALWAYS_PERMITTED: Final = (requests.SiteGrant, requests.Quit, requests.Abor)
"""What a session may still say whose permission has ended."""


def parse(session: Session, line: bytes) -> Request | None:
    """The request in a line; None when it was none, and has been answered."""
    try:
        return parse_request(line)
    except requests.RequestError as error:
        _refuse(session, line, answers.reply(error.code, error.text))
        return None


def run(session: Session, request: Request, line: bytes) -> None:
    """Do it and answer it. Raises `SessionEndedError`, and nothing else."""
    entry = TABLE[type(request)]
    try:
        if session.permission is not None and not isinstance(request, ALWAYS_PERMITTED):
            session.demand_permission()
        entry.run(session, request)
    except SessionEndedError:
        raise
    except NotPermittedError as error:
        # As after any failure: what was sent ahead for this one must not come to the next.
        session.channel.drop()
        _refuse(session, line, failure_reply(error, session, entry.doing))
    except Exception as error:  # noqa: BLE001 - all of them are answered
        _refuse(session, line, failure_reply(error, session, entry.doing))


def skip(session: Session, line: bytes) -> None:
    """Answer what an ABOR behind it has stopped before it began."""
    _refuse(session, line, answers.aborted())


def _refuse(session: Session, line: bytes, reply: bytes) -> None:
    session.report(Refused(session.opening, _loggable(line), first_line(reply)))
    session.send(reply)


def _loggable(line: bytes) -> str:
    verb = line[:4].upper()
    if verb in (b"DCSC", b"PASS", b"ADAT"):  # a private key, a password, a token
        return verb.decode()
    if b"SITE" in (words := line.upper()) and b"GRANT" in words:  # however it is written
        return "SITE GRANT"
    return printable(line.decode("utf-8", "surrogateescape"), 300)
