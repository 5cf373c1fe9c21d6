"""``/v2/api/data_access``: asked by Transfer before it touches a person's files in a collection."""

from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from towpath.nexus.oauth.callers import client_by_secret
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import forbidden
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.store import clients, consents
from towpath.nexus.well_known import WEB_CLIENT, data_access_scope, manage_scope

ASKED_LIMIT = 100


class _Asked(BaseModel):
    client_id: UUID
    """Whose token it was: the application that a person uses, or a service that acts for one."""
    identity_id: UUID
    collection_id: UUID
    endpoint_id: UUID | None = None
    """Whether it may share what is in the collection, as a manager of that endpoint; without it,
    whether Transfer may use that."""
    root_client_id: UUID | None = None
    """The application on whose behalf a service acts: what was allowed to it for another one is
    not meant."""


class _Body(BaseModel):
    asked: list[_Asked] = Field(min_length=1, max_length=ASKED_LIMIT)


def add_data_access_route(app: FastAPI, core: Core) -> None:
    """The route."""

    @app.post("/v2/api/data_access")
    async def data_access(request: Request, body: _Body) -> dict[str, Any]:
        async with core.database.connection() as connection:
            client = await client_by_secret(request, connection)
            if not await clients.is_service(connection, client.id):
                raise forbidden("this is for the deployment's services")
            allowed = await consents.allowed_below(
                connection,
                [
                    (
                        one.client_id,
                        one.identity_id,
                        TRANSFER_ALL if one.endpoint_id is None else manage_scope(one.endpoint_id),
                        data_access_scope(one.collection_id),
                        one.root_client_id,
                    )
                    for one in body.asked
                ],
            )
        # the deployment's own pages are no other party: whoever logs in has come for this
        return {
            "allowed": [
                found or one.client_id == WEB_CLIENT
                for one, found in zip(body.asked, allowed, strict=True)
            ]
        }
