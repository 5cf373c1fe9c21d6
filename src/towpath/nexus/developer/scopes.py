"""``/v2/api/scopes``: what a client's service lets others do."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from towpath.nexus import audit, scopes
from towpath.nexus.developer.bodies import ScopeBody, ScopeFields
from towpath.nexus.developer.documents import scope_document
from towpath.nexus.developer.managers import Manager, manager, own_client, own_projects
from towpath.nexus.oauth.callers import listed, uuids
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import invalid, not_found
from towpath.nexus.store import clients
from towpath.nexus.store import scopes as store
from towpath.nexus.store.scopes import Dependency, Scope
from towpath.nexus.well_known import SCOPE_BASE
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError

SCOPES_LIMIT = 100
"""Of a client."""
_LOOKING = (scopes.VIEW_CLIENTS_AND_SCOPES,)


def add_scope_routes(app: FastAPI, core: Core) -> None:
    """The routes."""

    @app.post("/v2/api/clients/{client_id}/scopes", status_code=201)
    async def create(request: Request, client_id: UUID, body: ScopeBody) -> JSONResponse:
        fields = body.scope
        if fields.name is None or fields.description is None or fields.scope_suffix is None:
            raise invalid("name, description and scope_suffix must be there")
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            client = await own_client(connection, who, client_id)
            if not client.is_service:
                raise invalid("only a client of a service's type can have scopes")
            if len(await store.of_clients(connection, [client_id])) >= SCOPES_LIMIT:
                raise ApiError(409, "CONFLICT", f"it has {SCOPES_LIMIT} already")
            made = await _saved(connection, None, client_id, fields)
            await _note(connection, "scope.added", who, made)
            document = await _document(connection, made)
        return JSONResponse({"scope": document}, status_code=201)

    @app.get("/v2/api/scopes")
    async def show_all(request: Request) -> dict[str, Any]:
        ids, strings = (request.query_params.get(name) for name in ("ids", "scope_strings"))
        if ids is not None and strings is not None:
            raise invalid("give either ids or scope_strings")
        async with core.database.connection() as connection:
            who = await manager(request, connection, *_LOOKING)
            own = await _own_clients(connection, who)
            if ids is not None:
                found = await store.by_id(connection, uuids(ids))
            elif strings is not None:
                found = await store.by_string(connection, listed(strings))
            else:
                found = await store.of_clients(connection, own)
            # others' scopes are told to who knows them, if they are advertised
            seen = [one for one in found if one.advertised or one.client_id in own]
            documents = await _documents(connection, seen)
        return {"scopes": documents}

    @app.get("/v2/api/scopes/{scope_id}")
    async def show(request: Request, scope_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await manager(request, connection, *_LOOKING)
            found = await store.by_id(connection, [scope_id])
            own = await _own_clients(connection, who)
            if not found or not (found[0].advertised or found[0].client_id in own):
                raise not_found(f"there is no scope {scope_id} that you may see")
            documents = await _documents(connection, found)
        return {"scope": documents[0]}

    @app.put("/v2/api/scopes/{scope_id}")
    async def update(request: Request, scope_id: UUID, body: ScopeBody) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            scope = await _own_scope(connection, who, scope_id)
            await _saved(connection, scope_id, scope.client_id, body.scope)
            await _note(connection, "scope.changed", who, scope_id)
            return {"scope": await _document(connection, scope_id)}

    @app.delete("/v2/api/scopes/{scope_id}")
    async def delete(request: Request, scope_id: UUID) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            await _own_scope(connection, who, scope_id)
            document = await _document(connection, scope_id)
            await store.delete(connection, scope_id)
            await _note(connection, "scope.removed", who, scope_id)
        return {"scope": document}


async def _own_clients(connection: Connection, who: Manager) -> list[UUID]:
    if who.client is not None:
        children = await clients.of_parent(connection, who.client.id)
        return [who.client.id, *(one.id for one in children)]
    own = await own_projects(connection, who)
    return [one.id for one in await clients.of_projects(connection, [one.id for one in own])]


async def _own_scope(connection: Connection, who: Manager, scope_id: UUID) -> Scope:
    found = await store.by_id(connection, [scope_id])
    if not found or found[0].client_id not in await _own_clients(connection, who):
        raise not_found(f"there is no scope {scope_id} that you look after")
    return found[0]


async def _saved(
    connection: Connection, scope_id: UUID | None, client_id: UUID, fields: ScopeFields
) -> UUID:
    """Make or change a scope; its id."""
    given = fields.given()
    columns = {name: value for name, value in given.items() if name in store.SETTABLE}
    if None in columns.values():
        raise invalid("name and description must not be null")
    string = f"{SCOPE_BASE}/{client_id}/{fields.scope_suffix}"
    try:
        if scope_id is None:
            scope_id = await store.add(
                connection, client_id=client_id, scope_string=string, fields=columns
            )
        else:
            if fields.scope_suffix is not None:
                columns["scope_string"] = string
            await store.update(connection, scope_id, columns)
    except psycopg.errors.UniqueViolation as error:
        raise ApiError(409, "CONFLICT", "it has a scope of that suffix already") from error
    if "dependent_scopes" in given:
        needs = [
            Dependency(
                scope_id,
                one.scope,
                optional=one.optional,
                requires_refresh_token=one.requires_refresh_token,
            )
            for one in {one.scope: one for one in fields.dependent_scopes}.values()
        ]
        if scope_id in {one.depends_on for one in needs}:
            raise invalid("a scope cannot depend on itself")
        try:
            await store.set_dependencies(connection, scope_id, needs)
        except psycopg.errors.ForeignKeyViolation as error:
            raise invalid("a dependent scope does not exist") from error
    return scope_id


async def _document(connection: Connection, scope_id: UUID) -> dict[str, Any]:
    return (await _documents(connection, await store.by_id(connection, [scope_id])))[0]


async def _documents(connection: Connection, found: Sequence[Scope]) -> list[dict[str, Any]]:
    needs: dict[UUID, list[Dependency]] = {one.id: [] for one in found}
    for one in await store.dependencies(connection, list(needs)):
        needs[one.scope_id].append(one)
    return [scope_document(one, needs[one.id]) for one in found]


async def _note(connection: Connection, kind: audit.Kind, who: Manager, scope_id: UUID) -> None:
    act = audit.Act(kind, actor=who.identity_id, subject=scope_id, client=who.token_client)
    await audit.append(connection, act)
