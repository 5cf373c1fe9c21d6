"""CKSM, and checksums that the next transfer must have (SCKS, SITE STORATTR)."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from towpath.dsi import digests
from towpath.dsi.storage import Reader
from towpath.gridftp.server.commands.base import AbortedError, Handlers, Session
from towpath.gridftp.wire import answers, requests

handlers: Final = Handlers()
on = handlers.on


def demand_known(algorithm: str) -> None:
    """Refuse an algorithm that nobody here knows; the empty one is known."""
    if algorithm and algorithm not in digests.ALGORITHMS:
        raise requests.RequestError(500, "Unknown checksum algorithm requested.")


@on(requests.Cksm, doing="open")
def _cksm(session: Session, request: requests.Cksm) -> None:
    demand_known(request.algorithm)
    with closing(session.storage.open_reader(session.path(request.path))) as reader:
        digest = _digest(session, reader, request)
    session.send(answers.reply(213, digest))


def _digest(session: Session, reader: Reader, request: requests.Cksm) -> str:
    algorithm, offset, length = request.algorithm, request.offset, request.length
    descriptor = reader.fileno()
    if descriptor is not None:
        known = session.recent.find(descriptor, algorithm, offset, length)
        if known is not None:
            return known
    try:
        return digests.digest_of(
            reader, algorithm, offset, -1 if length is None else length, aborted=session.aborted
        )
    except digests.AbortedError:
        raise AbortedError from None


@on(requests.OptsStor)
def _opts_stor(session: Session, request: requests.OptsStor) -> None:
    demand_known(request.digest)
    session.digest_received = request.digest
    session.send(answers.reply(200, "OPTS Command Successful."))


@on(requests.Scks)
def _scks(session: Session, request: requests.Scks) -> None:
    _expect(session, request.algorithm, request.digest)
    session.send(answers.reply(200, "OK."))


@on(requests.SiteStorattr)
def _storattr(session: Session, request: requests.SiteStorattr) -> None:
    for algorithm, digest in request.checksums:
        _expect(session, algorithm, digest)
    if request.modified is not None:
        session.next.modified = request.modified
    session.send(answers.reply(250, "OK."))


def _expect(session: Session, algorithm: str, digest: str) -> None:
    demand_known(algorithm)
    session.next.checksums[algorithm] = digest
