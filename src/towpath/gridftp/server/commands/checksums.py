"""CKSM, and checksums that the next transfer must have (SCKS, SITE STORATTR)."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from towpath.dsi import digests
from towpath.gridftp.server.commands.base import AbortedError, Handlers, Session
from towpath.gridftp.wire import answers, requests

handlers: Final = Handlers()
on = handlers.on


def unknown_algorithm() -> requests.RequestError:
    """The refusal of an algorithm that nobody here knows."""
    return requests.RequestError(500, "Unknown checksum algorithm requested.")


@on(requests.Cksm, doing="open")
def _cksm(session: Session, request: requests.Cksm) -> None:
    if request.algorithm not in digests.ALGORITHMS:
        raise unknown_algorithm()
    with closing(session.storage.open_reader(session.path(request.path))) as reader:
        length = -1 if request.length is None else request.length
        try:
            digest = digests.digest_of(
                reader, request.algorithm, request.offset, length, aborted=session.aborted
            )
        except digests.AbortedError:
            raise AbortedError from None
    session.send(answers.reply(213, digest))


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
    if algorithm not in digests.ALGORITHMS:
        raise unknown_algorithm()
    session.next.checksums[algorithm] = digest
