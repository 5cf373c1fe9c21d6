"""The pages between an application's request and its answer: consent, and the code to be copied."""

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from fastapi import APIRouter, Request, Response

from towpath.nexus.oauth import authorization, redirects
from towpath.nexus.oauth.authorization import Pending, Person
from towpath.nexus.oauth.authorize import Consent, Login, Refuse
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.requests import RequestError, read
from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.handover import RESUME, form_targets, request_id_of
from towpath.nexus.store import clients, projects
from towpath.nexus.store.clients import Client
from towpath.nexus.well_known import CLI_TEMPLATES, shown_name
from towpath.platform.database import Connection

PARAMETERS_LIMIT = 50
_CODE = re.compile(r"[A-Za-z0-9_-]{20,128}")


def routes(core: Core) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/v2/oauth2/authorize")
    async def authorize(request: Request) -> Response:
        try:
            pairs = parse_qsl(
                request.url.query, keep_blank_values=True, max_num_fields=PARAMETERS_LIMIT
            )
        except ValueError as error:
            raise _not_understood("it has too many parameters") from error
        async with core.database.transaction() as connection:
            client, redirect_uri = await _whence(connection, pairs, core.issuer)
            state = next((value for name, value in pairs if name == "state"), None)
            try:
                wanted = read(client, redirect_uri, pairs)
                pending = await authorization.begin(
                    connection, client, wanted, frame.browser_value(request)
                )
            except RequestError as error:
                return frame.leave(
                    request,
                    authorization.error_uri(
                        redirect_uri, core.issuer, state, error.error, error.description
                    ),
                )
            return await _next(core, request, connection, pending)

    @router.get(RESUME, include_in_schema=False)
    async def resume(request: Request) -> Response:
        async with core.database.transaction() as connection:
            pending = await _pending(request, connection, request.query_params.get("request"))
            return await _next(core, request, connection, pending)

    @router.get("/v2/oauth2/authorize/cancel", include_in_schema=False)
    async def cancel(request: Request) -> Response:
        async with core.database.transaction() as connection:
            pending = await _pending(request, connection, request.query_params.get("request"))
            person = await _person(request, connection)
            uri = await authorization.refuse(
                connection, pending, person, core.issuer, "access_denied", "the person said no"
            )
        return frame.leave(request, uri)

    @router.post("/v2/oauth2/authorize/consent", include_in_schema=False)
    async def consent(request: Request) -> Response:
        form = await frame.checked_form(request)
        async with core.database.transaction() as connection:
            pending = await _pending(request, connection, form.get("request"))
            person = await _person(request, connection)
            if form.get("decision") != "allow":
                uri = await authorization.refuse(
                    connection, pending, person, core.issuer, "access_denied", "the person said no"
                )
                return frame.leave(request, uri)
            asked = form.get("shown") == authorization.shown(pending)
            return await _next(core, request, connection, pending, asked=asked)

    @router.get(redirects.AUTH_CODE_PAGE, include_in_schema=False)
    async def auth_code(request: Request) -> Response:
        # anybody can make an address with any code in it: the page shows what looks like one
        code = request.query_params.get("code", "")
        return frame.render(request, "auth_code.html", code=code if _CODE.fullmatch(code) else None)

    return router


async def _whence(
    connection: Connection, pairs: Sequence[tuple[str, str]], issuer: str
) -> tuple[Client, str]:
    """The client, and where it may have its answer. Until both are known to be right nobody is
    redirected (RFC 6749, 4.1.2.1).
    """
    named = [value for name, value in pairs if name == "client_id"]
    try:
        (text,) = named
        client = await clients.find(connection, UUID(text))
    except ValueError:
        client = None
    if client is None:
        raise _not_understood("it comes from an application that is not registered here")
    uris = [value for name, value in pairs if name == "redirect_uri"]
    if len(uris) != 1 or not redirects.allowed(client, uris[0], issuer):
        raise _not_understood(
            "it asks for an answer at a place that is not registered for the application"
        )
    return client, uris[0]


def _not_understood(why: str) -> PageError:
    return PageError(
        400,
        "This application's request cannot be answered",
        f"The request is not right: {why}. Tell the people who make the application.",
    )


async def _pending(request: Request, connection: Connection, text: str | None) -> Pending:
    """The request, held until the transaction ends: it is answered once."""
    found = await authorization.find(
        connection, request_id_of(text), frame.browser_value(request), lock=True
    )
    if found is None:
        raise PageError(
            410,
            "This login is over",
            "It was finished already, took longer than ten minutes, or began in another browser."
            " Go back to the application and begin again.",
        )
    return found


async def _person(request: Request, connection: Connection) -> Person | None:
    session = await frame.current_session(request, connection)
    return await authorization.person_of(connection, session)


async def _next(
    core: Core,
    request: Request,
    connection: Connection,
    pending: Pending,
    *,
    asked: bool = False,
) -> Response:
    person = await _person(request, connection)
    step = await authorization.decide(connection, pending, person, core.issuer, asked=asked)
    if isinstance(step, Login):
        return frame.redirect(request, f"/v2/web/login?request={pending.id}")
    if isinstance(step, Refuse):
        uri = await authorization.refuse(
            connection, pending, person, core.issuer, step.error, step.description
        )
        return frame.leave(request, uri)
    assert person is not None
    if isinstance(step, Consent):
        return await _consent_page(core, request, connection, pending, person)
    return frame.leave(request, await authorization.issue(connection, pending, person, core.issuer))


async def _consent_page(
    core: Core, request: Request, connection: Connection, pending: Pending, person: Person
) -> Response:
    client, uri = pending.client, pending.request.redirect_uri
    parent = await clients.find(connection, client.parent_id) if client.parent_id else None
    project_id = (parent or client).project_id
    project = await projects.find(connection, project_id) if project_id else None
    is_shown = redirects.is_shown(uri, core.issuer)
    frame.show_person(request, person.identity.username)
    return frame.render(
        request,
        "consent.html",
        form_targets=form_targets(uri),
        client=client,
        name=shown_name(client),
        project=project,
        program=CLI_TEMPLATES.get(client.template_id) if client.template_id else None,
        me=person.identity,
        wanted=pending.wanted,
        offline=pending.request.offline,
        grant_name=pending.request.grant_name,
        destination=None if is_shown else _place(uri),
        request_id=pending.id,
        shown=authorization.shown(pending),
    )


def _place(uri: str) -> str:
    """Where somebody is sent, in words."""
    parts = urlsplit(uri)
    if parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return "a program on this computer"
    return parts.netloc if parts.scheme == "https" else f"the program for {parts.scheme}:"
