"""The pages of federation: to an upstream, back from it, and the identities of an account."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.federation.errors import FederationError, NotOursError
from towpath.nexus.federation.logins import Logins, settle_link, settle_login, unlink
from towpath.nexus.federation.relying_party import Proof, Wish
from towpath.nexus.pages import frame, handover, signing_in
from towpath.nexus.pages.frame import PageError
from towpath.nexus.pages.metered import counted, is_recorded, not_too_many
from towpath.nexus.pages.recency import recent
from towpath.nexus.pages.visitor import visitor
from towpath.nexus.people import throttle
from towpath.nexus.store import accounts, federation
from towpath.nexus.store.federation import AttemptRow
from towpath.nexus.store.sessions import Session
from towpath.platform.database import Connection, Database

IDENTITIES = "/account/identities"
HINT_LIMIT = 255
"""Characters of a hint who will log in."""
ANSWER_LIMIT = 8192
"""Characters of an upstream's answer; codes have some hundreds."""
_TOLD = {
    "linked": "The identity was linked.",
    "unlinked": "The identity was unlinked. It has an account of its own now.",
    "primary": "The primary identity was changed. Applications see it from their next login on.",
}

_log = structlog.stdlib.get_logger("towpath.federation")


def routes(database: Database, logins: Logins) -> APIRouter:
    """The routes."""
    router = APIRouter(include_in_schema=False)

    async def leave(
        request: Request,
        provider_id: UUID,
        purpose: Literal["login", "link"],
        form: Mapping[str, str],
        session: Session | None,
    ) -> Response:
        waiting = handover.request_id_of(form.get("request")) or None
        attempt = AttemptRow(
            provider_id=provider_id,
            purpose=purpose,
            request=waiting,
            place=handover.place_of(form.get("to")) or None,
            account_id=session.account_id if session and purpose == "link" else None,
            session_id=session.id if session and purpose == "link" else None,
            fresh="fresh" in form,
            begun_at=datetime.now(UTC),
        )
        # who is logged in here already, and for a link in any case, is asked there: what is wanted
        # may be another identity than the one that is logged in there
        wish = Wish(
            fresh=attempt.fresh or session is not None,
            mfa="mfa" in form,
            login_hint=form.get("hint", "")[:HINT_LIMIT] or None,
        )
        try:
            url = await logins.begin(frame.browser_value(request), attempt, wish)
        except FederationError as error:
            raise _page_error(error, provider_id) from error
        async with database.connection() as connection:
            row = await federation.upstream(connection, provider_id)
        name = row.name if row else "your institution"
        return frame.render(request, "leaving.html", url=url, host=urlsplit(url).netloc, name=name)

    @router.post("/v2/web/upstream/{provider_id}")
    async def log_in(request: Request, provider_id: UUID) -> Response:
        form = await frame.checked_form(request)
        async with database.transaction() as connection:
            await not_too_many(request, connection)
            session = await frame.current_session(request, connection)
        return await leave(request, provider_id, "login", form, session)

    @router.get("/v2/web/upstream/{provider_id}/callback")
    async def back(request: Request, provider_id: UUID) -> Response:
        try:
            answer = _answer(request)
            attempt, proof = await logins.finish(frame.browser_value(request), provider_id, answer)
            if attempt.purpose == "link":
                return await linked(request, attempt, proof)
            async with database.transaction() as connection:
                identity_id = await settle_login(connection, proof)
                await throttle.give_back(connection, counted(request))
                await _enter(request, connection, attempt, proof, identity_id)
        except FederationError as error:
            async with database.transaction() as connection:
                # how many logins are begun is counted; what belongs to none of them is not
                if not isinstance(error, NotOursError) or await is_recorded(request, connection):
                    await audit.append(
                        connection,
                        Act(
                            "login.failed",
                            details={"provider": str(provider_id), "why": type(error).__name__},
                        ),
                    )
            raise _page_error(error, provider_id) from error
        return frame.redirect(
            request, handover.next_path(attempt.request or "", attempt.place or "")
        )

    async def linked(request: Request, attempt: AttemptRow, proof: Proof) -> Response:
        async with database.transaction() as connection:
            session = await frame.current_session(request, connection)
            # the login that asked must be the one that is here: or whoever begins a login at an
            # upstream and lets somebody else's browser end it has his identity in their account
            if session is None or (session.id, session.account_id) != (
                attempt.session_id,
                attempt.account_id,
            ):
                raise NotOursError("the session that asked for the link is not this one")
            identity_id = await settle_link(connection, proof, session.account_id)
            await _enter(request, connection, attempt, proof, identity_id)
        return frame.redirect(request, f"{IDENTITIES}?told=linked")

    @router.get(IDENTITIES)
    async def show(request: Request) -> Response:
        async with database.connection() as connection:
            me = await visitor(request, connection)
            upstreams = await federation.upstreams(connection)
        return frame.render(
            request,
            "identities.html",
            me=me,
            upstreams=upstreams,
            told=_TOLD.get(request.query_params.get("told", "")),
        )

    @router.post(IDENTITIES + "/link/{provider_id}")
    async def link(request: Request, provider_id: UUID) -> Response:
        await frame.checked_form(request)
        async with database.connection() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
        return await leave(request, provider_id, "link", {}, me.session)

    @router.post(IDENTITIES + "/{identity_id}/primary")
    async def make_primary(request: Request, identity_id: UUID) -> Response:
        await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            if not await accounts.set_primary(
                connection, account_id=me.account.id, identity_id=identity_id
            ):
                raise _no_identity()
            await audit.append(
                connection,
                Act(
                    "account.changed",
                    actor=me.primary.id,
                    subject=me.primary.id,
                    details={"primary_identity": str(identity_id)},
                ),
            )
        return frame.redirect(request, f"{IDENTITIES}?told=primary")

    @router.post(IDENTITIES + "/{identity_id}/unlink")
    async def take_out(request: Request, identity_id: UUID) -> Response:
        await frame.checked_form(request)
        async with database.transaction() as connection:
            me = await visitor(request, connection)
            await recent(connection, me.session)
            if not await unlink(connection, me.account.id, identity_id):
                raise _no_identity()
        return frame.redirect(request, f"{IDENTITIES}?told=unlinked")

    return router


async def _enter(
    request: Request,
    connection: Connection,
    attempt: AttemptRow,
    proof: Proof,
    identity_id: UUID,
) -> None:
    await signing_in.sign_in(
        request,
        connection,
        identity_id=identity_id,
        provider_id=proof.upstream_id,
        amr=proof.amr,
        acr=proof.acr,
        # that it was fresh has been checked; the database's clock says when, as it says since when
        # a login must be
        at=None if attempt.fresh else proof.authenticated_at,
    )


def _no_identity() -> PageError:
    return PageError(
        404,
        "This cannot be done with that identity",
        "It is not one of your account's, or it is the primary one.",
    )


def _answer(request: Request) -> dict[str, str]:
    """The query, each name once (RFC 6749, 3.1)."""
    query = request.url.query
    if len(query) > ANSWER_LIMIT:
        raise NotOursError("the answer is too long")
    pairs = parse_qsl(query, keep_blank_values=True)
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise NotOursError("the answer says something twice")
    return answer


def _page_error(error: FederationError, provider_id: UUID) -> PageError:
    _log.warning(
        "federation.failed", upstream=str(provider_id), kind=type(error).__name__, error=str(error)
    )
    return PageError(error.status, "You are not logged in", error.told)
