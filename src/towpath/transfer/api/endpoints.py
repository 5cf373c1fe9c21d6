"""Routes of endpoints: create, show, change, delete, search."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.answers.base import EndpointCreated, Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.credentials import activation_state, needs_none
from towpath.transfer.api.documents import JsonObject, endpoint_document, result
from towpath.transfer.api.endpoint_bodies import EndpointDocument, is_revocations
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Seen,
    Service,
    TransferService,
    administered_endpoint,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.store import connect, credentials, endpoints, relays, rights
from towpath.transfer.store.connect import Kind
from towpath.transfer.store.endpoints import Endpoint, EntityType, Scope

router = new_router(PREFIX)

MAX_SEARCH_RESULTS = 1000
"""In all pages (Transfer API, endpoint_search)."""
MAX_SEARCH_WORDS = 20


@router.post(
    "/endpoint",
    status_code=201,
    response_model=EndpointCreated,
    openapi_extra=reads(EndpointDocument),
)
async def create_endpoint(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Register a GridFTP server, or make an endpoint for agents that are to be set up."""
    document = await read_document(request, EndpointDocument)
    if document.display_name is None:
        raise ApiError.bad_request("display_name: an endpoint has a name")
    if (kind := document.connect_kind) is not None:
        return await _create_connect(request, caller, service, document, kind)
    if not document.DATA:
        raise ApiError.bad_request(
            'DATA: name the server: [{"DATA_TYPE": "server", "uri": "gsiftp://host:2811"}]'
        )
    host, port = document.DATA[0].address()
    endpoint = Endpoint(
        id=uuid4(),
        owner_id=caller.sub,
        owner_string=caller.username,
        display_name=document.display_name,
        host=host,
        port=port,
        subject=document.DATA[0].subject,
        data_hosts=tuple(document.data_hosts or ()),
        public=document.public is not False,
        details=document.details({}),
    )
    async with service.database.transaction() as conn:
        await endpoints.insert(conn, endpoint, document.trust_files() or {})
    return JSONResponse(
        result(
            "endpoint_create_result",
            "Created",
            "Endpoint created successfully",
            request.url.path,
            id=str(endpoint.id),
            globus_connect_setup_key=None,
        ),
        status_code=201,
    )


async def _create_connect(
    request: Request,
    caller: Principal,
    service: TransferService,
    document: EndpointDocument,
    kind: Kind,
) -> JSONResponse:
    assert document.display_name is not None, "the caller has looked"
    endpoint = new_endpoint(
        kind=kind,
        endpoint_id=uuid4(),
        owner_id=caller.sub,
        owner_string=caller.username,
        display_name=document.display_name,
        public=document.public is not False,
        details=document.details({}),
    )
    async with service.database.transaction() as conn:
        await endpoints.insert(conn, endpoint, {})
        await connect.make(conn, endpoint.id, kind)
        secret = await service.nodes.new_setup_key(conn, endpoint.id)
    service.connect_begins()
    return JSONResponse(
        result(
            "endpoint_create_result",
            "Created",
            "Endpoint created successfully",
            request.url.path,
            id=str(endpoint.id),
            globus_connect_setup_key=await service.setup_key(secret),
        ),
        status_code=201,
    )


@router.get("/endpoint/{endpoint_id}", response_model=answers.Endpoint)
async def show_endpoint(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """The endpoint document."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        (document,) = await endpoint_documents(conn, [seen], service.origin)
        if not needs_none(seen.endpoint) and wanted not in service.authorities:
            kept = await credentials.kept(conn, wanted, caller.sub)
            document |= activation_state(kept, service.now())
    return JSONResponse(document)


async def endpoint_documents(
    conn: Connection, found: Sequence[Seen], origin: str
) -> list[JsonObject]:
    """Endpoints as those see them who have found them."""
    ids = [one.endpoint.id for one in found]
    with_agents = [one.endpoint.id for one in found if one.endpoint.is_connect]
    there = await relays.connections(conn, with_agents) if with_agents else {}
    parts = [one.endpoint.id for one in found if one.endpoint.host_endpoint_id is not None]
    above = await endpoints.above(conn, parts) if parts else {}
    return [
        endpoint_document(
            one.endpoint, one.standing, there.get(id_), above.get(id_, ()), origin=origin
        )
        for id_, one in zip(ids, found, strict=True)
    ]


@router.put("/endpoint/{endpoint_id}", response_model=Result, openapi_extra=reads(EndpointDocument))
async def update_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some fields; for its owner and administrators."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, EndpointDocument)
    async with service.database.transaction() as conn:
        seen = await administered_endpoint(conn, wanted, who(caller), service.now())
        before = seen.endpoint
        if before.is_guest and document.has_server:
            raise ApiError.bad_request("What is shared has no server of its own")
        if before.is_connect and document.has_server:
            raise ApiError.bad_request("An endpoint with agents has no server of its own")
        if before.entity_type is EntityType.COLLECTION:
            raise ApiError.bad_request(
                "The endpoint's agents say what its collections are: change their configuration"
            )
        host, port, subject = before.host, before.port, before.subject
        if document.DATA:
            (server,) = document.DATA
            host, port = server.address()
            subject = server.subject
        data_hosts = before.data_hosts
        if "data_hosts" in document.model_fields_set:
            data_hosts = tuple(document.data_hosts or ())
        after = replace(
            before,
            display_name=document.display_name or before.display_name,
            host=host,
            port=port,
            subject=subject,
            data_hosts=data_hosts,
            public=before.public if document.public is None else document.public,
            details=document.details(before.details),
        )
        trust_files = document.trust_files()
        moved = wanted not in service.authorities and _is_another_server(
            before, after, await endpoints.get_trust_roots(conn, wanted), trust_files
        )
        await endpoints.update(conn, after, trust_files)
        if moved:
            # they were given for the one before: whoever gave them looks first
            await credentials.mark_moved(conn, wanted, but=who(caller).identities)
    return JSONResponse(
        result("result", "Updated", "Endpoint updated successfully", request.url.path)
    )


def _is_another_server(
    before: Endpoint,
    after: Endpoint,
    trusted: Mapping[str, str],
    trust_files: Mapping[str, str] | None,
) -> bool:
    """Whether what answers under the endpoint's name may be something else than it was: another
    address, another name in its certificate, or an authority, or a word of its policy, that was not
    there. Fewer authorities, and news of what they revoked, come and go."""
    if (before.host, before.port, before.subject) != (after.host, after.port, after.subject):
        return True
    return any(
        trusted.get(name) != text
        for name, text in (trust_files or {}).items()
        if not is_revocations(name)
    )


@router.delete("/endpoint/{endpoint_id}", response_model=Result)
async def delete_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Delete an endpoint, and everybody's credentials for it; for its owner and administrators. Its
    agents are nodes of nothing then, and what belongs to it goes with it: its collections, and what
    is shared of them."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        seen = await administered_endpoint(conn, wanted, who(caller), service.now())
        endpoint = seen.endpoint
        if endpoint.entity_type is EntityType.COLLECTION:
            raise ApiError.bad_request(
                "The endpoint's agents say what its collections are: take it out there, or delete"
                f" the endpoint {endpoint.host_endpoint_id}"
            )
        if endpoint.managed.get("delete_protected"):
            raise ApiError(
                409,
                "ClientError.Conflict.DeleteProtected",
                "It is protected: set delete_protected to false first, by its Manager",
            )
        await endpoints.mark_deleted(conn, wanted)
        await credentials.delete_all(conn, wanted)
        await connect.remove_nodes(conn, wanted)
    return JSONResponse(
        result("result", "Deleted", "Endpoint deleted successfully", request.url.path)
    )


_FUNCTIONAL = {"0": True, "1": False, "false": True, "true": False}


@router.get("/endpoint_search", response_model=answers.EndpointList)
async def search_endpoints(
    caller: Caller,
    service: Service,
    filter_scope: str = "all",
    filter_fulltext: str = "",
    filter_owner_id: str | None = None,
    filter_host_endpoint: str | None = None,
    filter_entity_type: str | None = None,
    filter_non_functional: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_SEARCH_RESULTS)] = 100,
    offset: Annotated[int, Query(ge=0, le=MAX_SEARCH_RESULTS)] = 0,
) -> JSONResponse:
    """Find endpoints."""
    words = filter_fulltext.split()
    if "\0" in filter_fulltext or len(words) > MAX_SEARCH_WORDS:
        raise ApiError.bad_request(f"filter_fulltext: at most {MAX_SEARCH_WORDS} words of text")
    try:
        scope = Scope(filter_scope)
    except ValueError:
        raise ApiError.bad_request(f"filter_scope: unknown scope {filter_scope[:40]!r}") from None
    owner = _id_filter("filter_owner_id", filter_owner_id)
    host = _id_filter("filter_host_endpoint", filter_host_endpoint)
    if scope is Scope.ALL and not words and owner is None and host is None:
        raise ApiError(
            400,
            "BadRequest",
            "filter_scope 'all' needs filter_fulltext, filter_owner_id or filter_host_endpoint: say"
            " what to look for",
        )
    wanted = filter_entity_type.split(",") if filter_entity_type else list(EntityType)
    kinds = [kind for kind in EntityType if kind in wanted]
    if filter_non_functional in _FUNCTIONAL:
        functional = _FUNCTIONAL[filter_non_functional]
        kinds = [kind for kind in kinds if (kind is not EntityType.CONNECT) is functional]
    limit = min(limit, MAX_SEARCH_RESULTS - offset)
    found: list[Endpoint] = []
    documents: list[JsonObject] = []
    if kinds and limit > 0:
        viewer, now = who(caller), service.now()
        async with service.database.connection() as conn:
            found = await endpoints.search(
                conn,
                viewer,
                now,
                kinds=kinds,
                host_endpoint_id=host,
                scope=scope,
                words=words,
                owner_id=owner,
                limit=limit + 1,
                offset=offset,
            )
            standings = await rights.standings(conn, found[:limit], viewer, now)
            seen = [Seen(one, standings[one.id]) for one in found[:limit]]
            documents = await endpoint_documents(conn, seen, service.origin)
    document: JsonObject = {
        "DATA_TYPE": "endpoint_list",
        "DATA": documents,
        "limit": limit,
        "offset": offset,
        "has_next_page": len(found) > limit and offset + limit < MAX_SEARCH_RESULTS,
    }
    return JSONResponse(document)


def _id_filter(name: str, text: str | None) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise ApiError.bad_request(f"{name}: not an id") from None
