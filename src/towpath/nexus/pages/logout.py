"""Logging out: by a form of our own pages, or asked for by an application (OpenID Connect
RP-Initiated Logout 1.0).
"""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from towpath.nexus.documents import END_SESSION
from towpath.nexus.oauth.callers import form_of
from towpath.nexus.oauth.core import Core
from towpath.nexus.pages import frame, signing_in
from towpath.nexus.store import accounts
from towpath.nexus.well_known import WEB_CLIENT
from towpath.platform.database import Connection

LOGOUT = "/v2/web/logout"


def routes(core: Core) -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)

    @router.get(LOGOUT)
    async def show_logout(request: Request) -> Response:
        async with core.database.connection() as connection:
            if await frame.current_session(request, connection) is None:
                return _logged_out(request)
        return frame.render(request, "logout.html")

    @router.post(LOGOUT)
    async def log_out(request: Request) -> Response:
        await frame.checked_form(request)
        async with core.database.transaction() as connection:
            await signing_in.sign_out(request, connection)
        return _logged_out(request)

    @router.get(END_SESSION)
    async def asked_by_link(request: Request) -> Response:
        # anybody can make a link: the person is asked
        return frame.redirect(request, LOGOUT)

    @router.post(END_SESSION)
    async def asked_by_form(request: Request) -> Response:
        """Our own web interface proves by its id token that it is this person's, and is obeyed;
        whoever else asks, the person is asked (RP-Initiated Logout 1.0, 2 and 6).
        """
        form = await form_of(request)
        async with core.database.transaction() as connection:
            if request.headers.get("Origin") == core.issuer and await _is_own(
                core, request, connection, form.get("id_token_hint", "")
            ):
                await signing_in.sign_out(request, connection)
        return frame.redirect(request, LOGOUT)

    return router


async def _is_own(core: Core, request: Request, connection: Connection, hint: str) -> bool:
    """Whether the hint is an id token of the web interface for who is logged in here."""
    claims = await core.keys.verified(connection, hint)
    session = await frame.current_session(request, connection)
    if claims is None or session is None:
        return False
    if claims.get("iss") != core.issuer or claims.get("aud") != str(WEB_CLIENT):
        return False
    account = await accounts.account_of_identity(connection, UUID(claims["sub"]))
    return account is not None and account.id == session.account_id


def _logged_out(request: Request) -> Response:
    return frame.render(
        request,
        "message.html",
        title="You are logged out",
        message="Your transfers go on, and so do applications that you allowed to act for you.",
        link=("/v2/web/login", "Log in again"),
    )
