"""What a session can be asked about itself and the server, and what narrows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from towpath import __version__
from towpath.dsi.digests import ALGORITHMS
from towpath.dsi.rules import Rules
from towpath.gridftp.errors import printable
from towpath.gridftp.server.commands.base import Handlers, Session
from towpath.gridftp.wire import answers, request_lines, requests

handlers: Final = Handlers()
on = handlers.on

CHECKSUMS: Final = (
    *(name for name in answers.PREFERRED_CHECKSUMS if name in ALGORITHMS),
    *(name for name in ALGORITHMS if name not in answers.PREFERRED_CHECKSUMS),
)
"""As FEAT tells them: in the order of our own client, the cheapest strong one in front, and then
those that it does not choose by itself."""

VERSION: Final = f"Towpath GridFTP {__version__}"


@on(requests.Noop)
def _noop(session: Session, _request: requests.Noop) -> None:
    session.send(answers.reply(200, "NOOP command successful."))


@on(requests.Quit)
def _quit(session: Session, _request: requests.Quit) -> None:
    session.quit = True
    session.send(answers.reply(221, "Goodbye."))


@on(requests.Abor)
def _abor(session: Session, _request: requests.Abor) -> None:
    # What it stops has been answered by now, with 426.
    session.send(answers.reply(226, "Abort successful"))


@on(requests.Syst)
def _syst(session: Session, _request: requests.Syst) -> None:
    session.send(answers.reply(215, "UNIX Type: L8"))


@on(requests.Feat)
def _feat(session: Session, _request: requests.Feat) -> None:
    session.send(answers.features(CHECKSUMS, session.facts))


@on(requests.Lang)
def _lang(session: Session, request: requests.Lang) -> None:
    session.send(answers.reply(200, f"lang set to {request.tag}."))


@on(requests.Login)
def _login(_session: Session, _request: requests.Login) -> None:
    raise requests.RequestError(503, "You are already logged in.")


@on(requests.SiteWhoami)
def _whoami(session: Session, _request: requests.SiteWhoami) -> None:
    session.send(answers.reply(200, session.opening.account))


@on(requests.SiteVersion)
def _version(session: Session, _request: requests.SiteVersion) -> None:
    session.send(answers.reply(200, VERSION))


@on(requests.SiteNoted)
def _noted(session: Session, _request: requests.SiteNoted) -> None:
    session.send(answers.reply(250, "OK."))


@on(requests.SiteDsi)
def _dsi(_session: Session, _request: requests.SiteDsi) -> None:
    # There is one storage; which one is the administrator's choice.
    raise requests.RequestError(500, "no such DSI")


@on(requests.SiteRestrict)
def _restrict(session: Session, request: requests.SiteRestrict) -> None:
    try:
        session.restrict(Rules.parse(request.rules))
    except ValueError as error:
        said = "Path restriction entries must be full paths, prefixed only with R, W, or N."
        raise requests.RequestError(500, f"{said} : {printable(str(error), 200)}") from None
    session.send(answers.reply(250, "OK."))


@on(requests.SiteGrant)
def _grant(session: Session, _request: requests.SiteGrant) -> None:
    if not session.notices:
        raise requests.RequestError(503, "This session was not opened with a grant.")
    notice = session.notices.popleft()
    if notice.code >= 400:
        raise requests.RequestError(notice.code, notice.text)
    session.send(answers.reply(notice.code, notice.text))


@on(requests.Help)
def _help(session: Session, request: requests.Help) -> None:
    if request.verb == "SITE":
        lines = [f"   SITE {verb}" for verb in request_lines.SITE_VERBS]
    elif not request.verb:
        lines = list(_in_columns(request_lines.VERBS))
    elif request.verb.removeprefix("SITE ") in (*request_lines.VERBS, *request_lines.SITE_VERBS):
        session.send(answers.listing(214, f"Help for {request.verb}:", [request.verb.encode()]))
        return
    else:
        raise requests.RequestError(502, f"Unknown command '{printable(request.verb, 40)}'.")
    head = "The following commands are recognized:"
    session.send(answers.listing(214, head, [line.encode() for line in lines], last="End"))


def _in_columns(verbs: Iterable[str]) -> Iterator[str]:
    row = ""
    for number, verb in enumerate(verbs, 1):
        row += f"   {verb:<5}"
        if number % 8 == 0:
            yield row.rstrip()
            row = ""
    if row:
        yield row.rstrip()
