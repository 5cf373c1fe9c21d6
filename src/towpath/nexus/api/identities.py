"""Looking identities up, naming people who have not come yet, and what became of accounts."""

import re
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI, Request

from towpath.nexus import documents
from towpath.nexus.oauth.callers import client_by_secret, client_or_bearer, listed, uuids
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import forbidden, invalid, not_found
from towpath.nexus.people import profile
from towpath.nexus.store import accounts, clients, throttle
from towpath.nexus.store import identities as store
from towpath.nexus.store.clients import Client
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.throttle import Bucket
from towpath.nexus.store.tokens import Token
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError

PROVISION_LIMIT = 100
"""Names at once; the SDK asks for as many."""
PROVISION_SIZE, PROVISION_EVERY_S = 100, 10.0
"""Requests of one caller that make identities: each leaves rows that nobody removes."""
CHANGES_LIMIT = 1000
_NAME = re.compile(r"[^\s@\x00-\x1f\x7f,]{1,64}@([a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}")


def add_identity_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/identities``, ``/v2/api/identity_providers``, ``/v2/api/account_changes``."""

    @app.get("/v2/api/identities")
    async def identities(request: Request) -> dict[str, Any]:
        ids, usernames = (request.query_params.get(key) for key in ("ids", "usernames"))
        if (ids is None) == (usernames is None):
            raise invalid("give either ids or usernames")
        provision = request.query_params.get("provision", "false").lower() == "true"
        async with core.database.connection() as connection:
            caller = await _caller(request, connection)
            if ids is not None:
                found = await store.identities_by_id(connection, uuids(ids))
            else:
                names = listed(usernames or "")
                if provision:
                    who = caller.id if isinstance(caller, Client) else caller.identity_id
                    await _provision(connection, names, who)
                found = await store.identities_by_username(connection, names)
            shown = await _shown(connection, caller, found)
        return {"identities": shown}

    @app.get("/v2/api/identities/{identity_id}")
    async def identity(request: Request, identity_id: str) -> dict[str, Any]:
        async with core.database.connection() as connection:
            caller = await _caller(request, connection)
            found = await store.identities_by_id(connection, uuids(identity_id))
            shown = await _shown(connection, caller, found)
        if not shown:
            raise not_found(f"there is no identity {identity_id[:100]}")
        return {"identity": shown[0]}

    @app.get("/v2/api/identity_providers")
    async def identity_providers(request: Request) -> dict[str, Any]:
        ids, domains = (request.query_params.get(key) for key in ("ids", "domains"))
        if ids is not None and domains is not None:
            raise invalid("give ids or domains, not both")
        async with core.database.connection() as connection:
            await client_or_bearer(request, connection)
            found = await store.providers(connection)
        if ids is not None:
            wanted = set(uuids(ids))
            found = [one for one in found if one.id in wanted]
        elif domains is not None:
            names = {name.lower() for name in listed(domains)}
            found = [one for one in found if names & set(one.domains)]
        return {"identity_providers": [documents.provider_document(one) for one in found]}

    @app.get("/v2/api/account_changes")
    async def account_changes(request: Request, after: int = 0) -> dict[str, Any]:
        if not 0 <= after < 1 << 62:
            raise invalid("after is no number of a change")
        async with core.database.connection() as connection:
            client = await client_by_secret(request, connection)
            if not await clients.is_service(connection, client.id):
                raise forbidden("this is for the deployment's services")
            found = await accounts.changes_after(connection, after, CHANGES_LIMIT)
        return {
            "account_changes": [
                {
                    "n": one.n,
                    "identity_ids": [str(id_) for id_ in one.identity_ids],
                    "what": one.what,
                    "at": one.at.isoformat(),
                }
                for one in found
            ]
        }


async def _caller(request: Request, connection: Connection) -> Client | Token:
    """Who may look people up: a registered client, or who is logged in."""
    caller = await client_or_bearer(request, connection)
    if isinstance(caller, Client) and caller.template_id is not None:
        # or whoever has no account here would make himself such a client, and find everybody
        raise forbidden("a program that has registered itself looks nobody up before a login")
    return caller


async def _shown(
    connection: Connection, caller: Client | Token, found: list[Identity]
) -> list[dict[str, Any]]:
    """As far as their owners let the caller see them."""
    who = caller.id if isinstance(caller, Client) else caller.identity_id
    seen = await profile.visible(connection, await store.identity_set(connection, who), found)
    return [documents.identity_document(one, seen[one.id]) for one in found]


async def _provision(connection: Connection, names: list[str], caller: UUID) -> None:
    """Make unused identities of names that nobody has, where their domain is one of ours."""
    if len(names) > PROVISION_LIMIT:
        raise invalid(f"at most {PROVISION_LIMIT} names with provision")
    known = {one.username.lower() for one in await store.identities_by_username(connection, names)}
    new = {name.lower() for name in names} - known
    if not new:
        return
    bucket = Bucket(f"provision {caller}", PROVISION_SIZE, PROVISION_EVERY_S)
    wait_s = await throttle.take(connection, bucket)
    if wait_s:
        raise ApiError(
            429,
            "TOO_MANY_REQUESTS",
            "too many names that nobody has; try again later",
            headers={"Retry-After": str(int(wait_s) + 1)},
        )
    for name in sorted(new):
        if _NAME.fullmatch(name) is None:
            continue
        provider = await store.provider_of_domain(connection, name.rpartition("@")[2])
        if provider is not None and provider.kind != "clients":
            await store.provision(
                connection, identity_id=uuid4(), username=name, provider=provider.id
            )
