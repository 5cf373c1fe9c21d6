"""The pages for logging in and out, and for a forgotten password."""

import math
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from towpath.nexus.pages import frame, handover, passkeys, signing_in
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.handover import Handover, next_path, place_of, request_id_of
from towpath.nexus.pages.one_time import forget_link, keep_link, kept_link
from towpath.nexus.people import accounts, throttle
from towpath.nexus.people.service import NotLoggedIn, People
from towpath.nexus.store import federation, identities, links
from towpath.nexus.store.federation import UpstreamRow
from towpath.platform.database import Connection


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v2/web", include_in_schema=False)

    def login_page(
        request: Request,
        *,
        request_id: str,
        place: str,
        found: Handover | None,
        others: Sequence[UpstreamRow],
        username: str = "",
        told: str = "",
        status: int = 200,
    ) -> Response:
        return frame.render(
            request,
            "login.html",
            status=status,
            form_targets=found.form_targets if found else (),
            handover=found,
            upstreams=others,
            passkeys=passkeys.relying_party(people) is not None,
            request_id=request_id,
            to=place,
            username=username,
            told=told,
            sign_up=people.settings.sign_up == "open",
        )

    async def handover_of(
        request: Request, connection: Connection, request_id: str
    ) -> Handover | None:
        if not request_id:
            return None
        return await handover.find(connection, request_id, frame.browser_value(request))

    @router.get("/login")
    async def show_login(request: Request) -> Response:
        request_id = request_id_of(request.query_params.get("request"))
        place = place_of(request.query_params.get("to"))
        async with people.database.connection() as connection:
            found = await handover_of(request, connection, request_id)
            if not request_id and await frame.current_session(request, connection):
                return frame.redirect(request, next_path("", place))
            others = await federation.upstreams(connection)
        username = found.login_hint if found else ""
        return login_page(
            request,
            request_id=request_id,
            place=place,
            found=found,
            others=others,
            username=username,
        )

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        form = await frame.checked_form(request)
        request_id, place = request_id_of(form.get("request")), place_of(form.get("to"))
        typed = form.get("username", "")
        done = await people.log_in(
            typed,
            form.get("password", ""),
            address=frame.address_of(request),
            browser=frame.browser_value(request),
        )
        if isinstance(done, NotLoggedIn):
            async with people.database.connection() as connection:
                found = await handover_of(request, connection, request_id)
                others = await federation.upstreams(connection)
            page = login_page(
                request,
                request_id=request_id,
                place=place,
                found=found,
                others=others,
                username=typed[: accounts.NAME_LIMIT],
                told=done.told,
                status=429 if done.wait_s else 403,
            )
            if done.wait_s:
                page.headers["Retry-After"] = str(math.ceil(done.wait_s))
            return page
        async with people.database.connection() as connection:
            found = await handover_of(request, connection, request_id)
        second = await passkeys.ask_second(
            people,
            request,
            done.identity,
            request_id=request_id,
            place=place,
            form_targets=found.form_targets if found else (),
        )
        if second is not None:
            return second
        async with people.database.transaction() as connection:
            await signing_in.sign_in(
                request,
                connection,
                identity_id=done.identity.id,
                provider_id=done.identity.identity_provider,
                amr=["pwd"],
            )
        return frame.redirect(request, next_path(request_id, place))

    @router.get("/forgot")
    async def show_forgot(request: Request) -> Response:
        return frame.render(request, "forgot.html", told="")

    @router.post("/forgot")
    async def forgot(request: Request) -> Response:
        form = await frame.checked_form(request)
        wait_s = await people.ask_for_reset(
            form.get("username", ""), address=frame.address_of(request)
        )
        if wait_s:
            return frame.render(request, "forgot.html", status=429, told=throttle.told(wait_s))
        return _message(
            request,
            "Look into your mail",
            "If that is an account with an address that was confirmed, a link is on its way there."
            " It works once, for half an hour.",
            ("/v2/web/login", "Back to the login"),
        )

    @router.get("/reset")
    async def show_reset(request: Request) -> Response:
        if "link" in request.query_params:
            return keep_link(request, "reset")
        async with people.database.connection() as connection:
            identity = await _identity_of_link(request, connection)
        return _reset_page(request, identity.username)

    def _reset_page(request: Request, username: str, wrong: str | None = None) -> Response:
        return frame.render(
            request,
            "reset.html",
            status=422 if wrong else 200,
            username=username,
            wrong=wrong,
            shortest=people.settings.password_length,
        )

    async def _identity_of_link(request: Request, connection: Connection) -> identities.Identity:
        link = await links.find(connection, kept_link(request, "reset"), "reset")
        found = (
            await identities.identities_by_id(connection, [link.identity_id])
            if link and link.identity_id
            else []
        )
        if not found:
            raise PageError(
                410,
                "This link is of no use any more",
                "It was used already, or is older than half an hour. Ask for a new one.",
            )
        return found[0]

    @router.post("/reset")
    async def reset(request: Request) -> Response:
        form = await frame.checked_form(request)
        password = form.get("password", "")
        async with people.database.connection() as connection:
            identity = await _identity_of_link(request, connection)
        wrong = people.problem(password, identity.username, identity.email, identity.name)
        if wrong:
            return _reset_page(request, identity.username, wrong)
        stored = await people.passwords.hash(password)
        async with people.database.transaction() as connection:
            # again, now that it is used: two at once must not both set a password
            used = await links.use(connection, kept_link(request, "reset"), "reset")
            if used is None or used.identity_id != identity.id:
                raise PageError(410, "This link is of no use any more", "It was used already.")
            await people.set_password(connection, identity, stored, keep=None)
        forget_link(request, "reset")
        frame.forget_session(request)
        return _message(
            request,
            "Your new password is set",
            "All browsers were logged out, this one, too.",
            ("/v2/web/login", "Log in"),
        )

    return router


def _message(
    request: Request, title: str, message: str, link: tuple[str, str] | None = None
) -> Response:
    return frame.render(request, "message.html", title=title, message=message, link=link)
