"""Who somebody is, for the service that keeps the rights to files."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

from towpath.nexus.oauth.callers import client_by_secret
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import forbidden
from towpath.nexus.store import clients
from towpath.nexus.store import principals as store

PRINCIPALS_LIMIT = 100
"""Asked for at once, as of identities."""
ROLE = "transfer"
"""Whose rules name identities and groups. Nobody else learns from here in which groups others are.
"""


class PrincipalsBody(BaseModel):
    """Whom to look at."""

    identity_ids: Annotated[list[UUID], Field(max_length=PRINCIPALS_LIMIT)]


def add_principal_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/principals``."""

    @app.post("/v2/api/principals")
    async def principals(request: Request, body: PrincipalsBody) -> dict[str, Any]:
        async with core.database.connection() as connection:
            client = await client_by_secret(request, connection)
            if client.id != await clients.client_of_role(connection, ROLE):
                raise forbidden("this is for the deployment's Transfer service")
            found = await store.principals(connection, body.identity_ids)
        return {
            "principals": [
                {
                    "id": str(one.id),
                    "username": one.username,
                    "email": one.email,
                    "identity_set": [str(id_) for id_ in one.identity_set],
                    "groups": [str(id_) for id_ in one.groups],
                }
                for one in found
            ]
        }
