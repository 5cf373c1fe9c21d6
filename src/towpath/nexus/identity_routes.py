"""Looking identities up."""

from typing import Any

from fastapi import FastAPI, Request

from towpath.nexus import documents
from towpath.nexus.oauth.callers import client_or_bearer, listed, uuids
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import invalid, not_found
from towpath.nexus.store import identities as store


def add_identity_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/identities``."""

    @app.get("/v2/api/identities")
    async def identities(request: Request) -> dict[str, Any]:
        ids, usernames = (request.query_params.get(key) for key in ("ids", "usernames"))
        if (ids is None) == (usernames is None):
            raise invalid("give either ids or usernames")
        async with core.database.connection() as connection:
            await client_or_bearer(request, connection)
            if ids is not None:
                found = await store.identities_by_id(connection, uuids(ids))
            else:
                found = await store.identities_by_username(connection, listed(usernames or ""))
        return {"identities": [documents.identity_document(one) for one in found]}

    @app.get("/v2/api/identities/{identity_id}")
    async def identity(request: Request, identity_id: str) -> dict[str, Any]:
        async with core.database.connection() as connection:
            await client_or_bearer(request, connection)
            found = await store.identities_by_id(connection, uuids(identity_id))
        if not found:
            raise not_found(f"there is no identity {identity_id[:100]}")
        return {"identity": documents.identity_document(found[0])}
