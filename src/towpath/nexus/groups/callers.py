"""Who calls the Groups API: the token's identity set, session and scopes."""

from datetime import datetime

from fastapi import Request

from towpath.nexus import scopes
from towpath.nexus.groups.service import Caller
from towpath.nexus.store import identities, tokens
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError


async def caller_of(
    request: Request, connection: Connection, at: datetime, *, manage: bool = False
) -> Caller:
    """Whom the request's bearer token stands for.

    `manage`: only with a token that may do more than see its owner's memberships. Raises 401, and
    403 for a scope that is missing.
    """
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not value.strip():
        raise _unauthorized("AUTHENTICATION_ERROR", "a bearer token is needed")
    found = await tokens.find(connection, value.strip())
    # a token for another service is not one for us
    if found is None or found.resource_server != scopes.GROUPS:
        raise _unauthorized("INVALID_TOKEN", "the token is not active, or not for Groups")
    granted = frozenset(found.scopes)
    may_manage = scopes.GROUPS_ALL in granted
    if manage and not may_manage:
        raise ApiError(
            403,
            "FORBIDDEN",
            f"this needs a token with the scope {scopes.GROUPS_ALL}",
            extras={"provided_scopes": sorted(granted)},
        )
    return Caller(
        found.identity_id,
        frozenset(await identities.identity_set(connection, found.identity_id)),
        # a client proves itself when it asks for a token
        {found.identity_id: found.issued_at},
        at,
        client_id=found.client_id,
        may_manage=may_manage,
    )


def _unauthorized(code: str, message: str) -> ApiError:
    return ApiError(401, code, message, headers={"WWW-Authenticate": 'Bearer realm="towpath"'})
