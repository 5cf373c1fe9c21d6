"""Who calls the Groups API: the token's identity set, session and scopes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from fastapi import Request

from towpath.nexus import scopes
from towpath.nexus.groups.service import Caller
from towpath.nexus.oauth.callers import bearer_value, token_for
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
    if bearer_value(request) is None:
        raise _unauthorized("AUTHENTICATION_ERROR", "a bearer token is needed")
    found = await token_for(scopes.GROUPS, request, connection)
    if found is None:
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
        await _authenticated(connection, found),
        at,
        client_id=found.client_id,
        may_manage=may_manage,
    )


async def _authenticated(connection: Connection, token: tokens.Token) -> Mapping[UUID, datetime]:
    """When each identity was authenticated in the login that the token comes from."""
    grant = await tokens.grant(connection, token.grant_id)
    if grant is None:
        return {}
    if grant.session_id is None and not grant.authentications:
        # a client for itself, which proves itself when it asks for a token
        return {token.identity_id: token.issued_at} if grant.client_id == grant.identity_id else {}
    return {
        UUID(identity_id): datetime.fromtimestamp(login["auth_time"], UTC)
        for identity_id, login in grant.authentications.items()
    }


def _unauthorized(code: str, message: str) -> ApiError:
    return ApiError(401, code, message, headers={"WWW-Authenticate": 'Bearer realm="towpath"'})
