"""The page of the applications that somebody allowed to act for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request, Response

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame
from towpath.nexus.pages.visitor import Visitor, visitor
from towpath.nexus.people.service import People
from towpath.nexus.store import clients, consents, scopes, tokens
from towpath.nexus.well_known import WEB_CLIENT, shown_name
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Application:
    """A client, and what it may do."""

    id: UUID
    name: str
    may: Sequence[str]
    """In the words of the scopes."""
    for_long: bool
    """It may while nobody is there, too."""
    since: datetime
    used: datetime


def routes(people: People) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/account/applications", include_in_schema=False)

    @router.get("")
    async def show(request: Request) -> Response:
        async with people.database.connection() as connection:
            me = await visitor(request, connection)
            found = await _applications(connection, me)
        return frame.render(request, "applications.html", applications=found)

    @router.post("/revoke")
    async def revoke(request: Request) -> Response:
        form = await frame.checked_form(request)
        client_id = frame.id_of(form.get("client", ""))
        async with people.database.transaction() as connection:
            me = await visitor(request, connection)
            for one in me.identities:
                await tokens.revoke_of_client_for_identity(connection, client_id, one.id)
                await consents.withdraw_client(connection, one.id, client_id)
            await audit.append(
                connection,
                Act("consent.withdrawn", actor=me.primary.id, subject=client_id, client=client_id),
            )
        return frame.redirect(request, "/account/applications")

    return router


async def _applications(connection: Connection, me: Visitor) -> list[Application]:
    given = [
        consent
        for one in me.identities
        for consent in await consents.of_identity(connection, one.id)
        # nobody was asked for the deployment's own, nor would be again
        if consent.root_client_id != WEB_CLIENT
    ]
    by_client: dict[UUID, list[consents.Consent]] = {}
    for consent in given:
        by_client.setdefault(consent.root_client_id, []).append(consent)
    names = {one.id: shown_name(one) for one in await clients.find_all(connection, list(by_client))}
    words = {
        one.id: one.name
        for one in await scopes.by_id(connection, list({consent.scope_id for consent in given}))
    }
    found = [
        Application(
            id=client_id,
            name=names.get(client_id, "An application"),
            may=list(dict.fromkeys(words.get(one.scope_id, one.scope_string) for one in own)),
            for_long=any(one.allows_refresh for one in own),
            since=min(one.created_at for one in own),
            used=max(one.last_used_at for one in own),
        )
        for client_id, own in by_client.items()
    ]
    return sorted(found, key=lambda one: one.used, reverse=True)
