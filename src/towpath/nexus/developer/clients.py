"""``/v2/api/clients``: registering programs, and looking after them and their secrets."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from towpath.nexus import audit, hashing, scopes
from towpath.nexus.developer.bodies import ClientBody, ClientFields, CredentialBody
from towpath.nexus.developer.documents import client_document, credential_document
from towpath.nexus.developer.managers import (
    Manager,
    manager,
    may_manage,
    own_client,
    own_project,
    own_projects,
)
from towpath.nexus.oauth import redirects
from towpath.nexus.oauth.callers import has_basic
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import NO_STORE, forbidden, invalid, not_found
from towpath.nexus.people.throttle import place
from towpath.nexus.store import clients, identities, throttle
from towpath.nexus.store import scopes as scope_store
from towpath.nexus.store.clients import Client
from towpath.nexus.well_known import CLI_TEMPLATES
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError

CLIENTS_LIMIT = 1000
"""Of a project, and of a parent."""
CREDENTIALS_LIMIT = 10
"""Two while a secret is replaced; more only if somebody forgets to delete the old ones."""
REGISTRATIONS, REGISTRATION_EVERY_S = 50, 60.0
"""Programs that register themselves from one address: a class in one room, then one a minute."""
_LOOKING = (scopes.VIEW_CLIENTS, scopes.VIEW_CLIENTS_AND_SCOPES)


def add_client_routes(app: FastAPI, core: Core) -> None:
    """The routes."""

    @app.post("/v2/api/clients", status_code=201)
    async def create(request: Request, body: ClientBody) -> JSONResponse:
        fields = body.client
        async with core.database.transaction() as connection:
            if fields.template_id is not None and "authorization" not in request.headers:
                document = await _instance(request, connection, fields)
            else:
                document = await _registered(request, connection, fields)
        return JSONResponse(document, status_code=201, headers=NO_STORE)

    @app.get("/v2/api/clients")
    async def show_all(request: Request) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await manager(request, connection, *_LOOKING)
            if "fqdn" in request.query_params:
                raise not_found("no client has a domain name here")
            if who.client is not None:
                found = [who.client, *await clients.of_parent(connection, who.client.id)]
            else:
                own = await own_projects(connection, who)
                found = await clients.of_projects(connection, [one.id for one in own])
            documents = await _documents(connection, found)
        return {"clients": documents}

    @app.get("/v2/api/clients/{client_id}")
    async def show(request: Request, client_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await manager(request, connection, *_LOOKING)
            found = await clients.find(connection, client_id)
            if found is None or not (
                found.visibility == "public" or await may_manage(connection, who, found)
            ):
                raise not_found(f"there is no client {client_id} that you may see")
            return {"client": await _document(connection, found)}

    @app.put("/v2/api/clients/{client_id}")
    async def update(request: Request, client_id: UUID, body: ClientBody) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            client = await own_client(connection, who, client_id)
            changes = await _columns(connection, body.client, public=client.public)
            await clients.update(connection, client_id, changes)
            await _note(connection, "client.changed", who, client_id, sorted(changes))
            changed = await clients.find(connection, client_id)
            assert changed is not None
            return {"client": await _document(connection, changed)}

    @app.delete("/v2/api/clients/{client_id}")
    async def delete(request: Request, client_id: UUID) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            client = await own_client(connection, who, client_id)
            if client.administrator or await clients.is_service(connection, client_id):
                raise forbidden("this client is a part of the deployment")
            document = await _document(connection, client)
            await clients.delete(connection, client_id)
            await _note(connection, "client.deleted", who, client_id)
        return {"client": document}

    @app.get("/v2/api/clients/{client_id}/credentials")
    async def show_credentials(request: Request, client_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await manager(request, connection)
            await own_client(connection, who, client_id)
            found = await clients.credentials(connection, client_id)
        return {"credentials": [credential_document(one) for one in found]}

    @app.post("/v2/api/clients/{client_id}/credentials", status_code=201)
    async def add_credential(
        request: Request, client_id: UUID, body: CredentialBody
    ) -> JSONResponse:
        secret = hashing.new_secret()
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            client = await own_client(connection, who, client_id)
            if client.public:
                raise invalid("a public client has no secrets")
            if len(await clients.credentials(connection, client_id)) >= CREDENTIALS_LIMIT:
                raise ApiError(409, "CONFLICT", f"it has {CREDENTIALS_LIMIT}: delete one first")
            made = await clients.add_credential(
                connection, client_id, name=body.credential.name, secret=secret
            )
            await _note(connection, "credential.added", who, client_id, str(made.id))
        document = {"credential": credential_document(made, secret)}
        return JSONResponse(document, status_code=201, headers=NO_STORE)

    @app.delete("/v2/api/clients/{client_id}/credentials/{credential_id}")
    async def remove_credential(
        request: Request, client_id: UUID, credential_id: UUID
    ) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await manager(request, connection)
            await own_client(connection, who, client_id)
            gone = await clients.delete_credential(connection, client_id, credential_id)
            if gone is None:
                raise not_found(f"it has no credential {credential_id}")
            await _note(connection, "credential.removed", who, client_id, str(credential_id))
        return {"credential": credential_document(gone)}


async def _instance(
    request: Request, connection: Connection, fields: ClientFields
) -> dict[str, Any]:
    """A program that registers itself where it is installed. Anybody may: it can do nothing before
    somebody logs in with it, and goes away if nobody does.
    """
    assert fields.template_id is not None
    if fields.template_id not in CLI_TEMPLATES:
        raise not_found(f"there is no template {fields.template_id}")
    address = place(request.client.host) if request.client else ""
    wait = await throttle.take(
        connection,
        throttle.Bucket(f"registration {address}", REGISTRATIONS, REGISTRATION_EVERY_S),
    )
    if wait:
        raise ApiError(
            429,
            "TOO_MANY_REQUESTS",
            "too many programs have registered themselves from this address",
            headers={"Retry-After": str(int(wait) + 1)},
        )
    await clients.sweep_unused(connection)
    secret, client_id = hashing.new_secret(), uuid4()
    await clients.add_client(
        connection,
        client_id=client_id,
        name=fields.name or CLI_TEMPLATES[fields.template_id],
        secret=None,
        client_type="confidential_client",
        template_id=fields.template_id,
    )
    await clients.update(connection, client_id, {"prompt_for_named_grant": False})
    credential = await clients.add_credential(
        connection, client_id, name="Auto-created at client creation", secret=secret
    )
    act = audit.Act("client.registered", client=client_id, subject=client_id)
    await audit.append(connection, act)
    client = await clients.find(connection, client_id)
    assert client is not None
    return {
        "client": await _document(connection, client),
        "included": {"client_credential": credential_document(credential, secret)},
    }


async def _registered(
    request: Request, connection: Connection, fields: ClientFields
) -> dict[str, Any]:
    """A client of a project, or (by a client's own secret) a child client."""
    who = await manager(request, connection)
    if fields.name is None:
        raise invalid("name is missing")
    kind = _client_type(fields)
    public = kind in clients.PUBLIC_TYPES
    parent_id = project_id = None
    if has_basic(request):
        assert who.client is not None
        if who.client.parent_id is not None or who.client.template_id is not None:
            raise forbidden("this client cannot have child clients")
        parent_id = who.client.id
        siblings = len(await clients.of_parent(connection, parent_id))
    else:
        if fields.project is None:
            raise invalid("project is missing")
        project_id = (await own_project(connection, who, fields.project, lock=True)).id
        siblings = len(await clients.of_projects(connection, [project_id]))
    if siblings >= CLIENTS_LIMIT:
        raise ApiError(409, "CONFLICT", f"there are {CLIENTS_LIMIT} already")
    columns = await _columns(connection, fields, public=public)
    client_id = uuid4()
    await clients.add_client(
        connection,
        client_id=client_id,
        name=fields.name,
        secret=None,
        client_type=kind,
        parent_id=parent_id,
        project_id=project_id,
    )
    await clients.update(connection, client_id, columns)
    await _note(connection, "client.registered", who, client_id)
    client = await clients.find(connection, client_id)
    assert client is not None
    return {"client": await _document(connection, client)}


def _client_type(fields: ClientFields) -> str:
    """``client_type``, or what ``public_client`` stands for."""
    if fields.client_type is None:
        if fields.public_client is None:
            raise invalid("say client_type, or public_client")
        return (
            "public_installed_client"
            if fields.public_client
            else "hybrid_confidential_client_resource_server"
        )
    if fields.public_client not in (None, fields.client_type in clients.PUBLIC_TYPES):
        raise invalid("client_type and public_client say different things")
    return fields.client_type


async def _columns(connection: Connection, fields: ClientFields, *, public: bool) -> dict[str, Any]:
    """The columns of what the caller has named, once it is known to be right."""
    given = fields.given()
    columns = {name: value for name, value in given.items() if name in clients.SETTABLE}
    if columns.get("name", "") is None:
        raise invalid("a client has a name")
    if "links" in given:
        columns |= given["links"]
    for uri in fields.redirect_uris:
        fault = redirects.fault(uri, public=public)
        if fault is not None:
            raise invalid(f"redirect URI {uri[:200]!r} cannot be registered: {fault}")
    wanted = {fields.required_idp, fields.preselect_idp} - {None}
    if wanted and not wanted <= {one.id for one in await identities.providers(connection)}:
        raise invalid("there is no such identity provider")
    return columns


async def _document(connection: Connection, client: Client) -> dict[str, Any]:
    return (await _documents(connection, [client]))[0]


async def _documents(connection: Connection, found: list[Client]) -> list[dict[str, Any]]:
    ids: dict[UUID, list[UUID]] = {one.id: [] for one in found}
    for scope in await scope_store.of_clients(connection, list(ids)):
        ids[scope.client_id].append(scope.id)
    return [client_document(one, ids[one.id]) for one in found]


async def _note(
    connection: Connection,
    kind: audit.Kind,
    who: Manager,
    client_id: UUID,
    what: object = None,
) -> None:
    details = {} if what is None else {"what": what}
    act = audit.Act(
        kind, actor=who.identity_id, subject=client_id, client=who.token_client, details=details
    )
    await audit.append(connection, act)
