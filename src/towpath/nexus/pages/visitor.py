"""Who looks at a page that is somebody's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response

from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.handover import login_path
from towpath.nexus.store import accounts, identities
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.sessions import Session
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Visitor:
    """Somebody who is logged in."""

    session: Session
    account: Account
    identities: Sequence[Identity]
    """The identity set, the oldest first."""

    @property
    def primary(self) -> Identity:
        """Whom applications see."""
        return next(one for one in self.identities if one.id == self.account.primary_identity)


class LoginNeededError(Exception):
    """Nobody is logged in: the answer leads to the login page, and from there back here."""


async def visitor(request: Request, connection: Connection) -> Visitor:
    """Who is logged in; named in the head of the page. Raises :class:`LoginNeededError`."""
    session = await frame.current_session(request, connection)
    if session is None:
        raise LoginNeededError
    account = await accounts.account(connection, session.account_id)
    if account is None:
        raise LoginNeededError
    own = await identities.identities_of_account(connection, account.id)
    found = Visitor(session, account, own)
    name = found.primary.name or found.primary.username
    frame.show_person(request, name, administrator=account.administrator)
    return found


async def administrator(request: Request, connection: Connection) -> Visitor:
    """Who is logged in, if they are an administrator. Raises :class:`LoginNeededError`;
    :class:`PageError`, the same as for a page that is not there.
    """
    found = await visitor(request, connection)
    if not found.account.administrator:
        raise PageError(404, "There is no such page", "The address may be mistyped.")
    return found


def install(app: FastAPI) -> None:
    """Lead who is not logged in to the login page."""

    async def on_login_needed(request: Request, _: Exception) -> Response:
        place = request.url.path if request.method == "GET" else "/account"
        return frame.redirect(request, login_path(place))

    app.add_exception_handler(LoginNeededError, on_login_needed)
