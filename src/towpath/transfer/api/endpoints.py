"""Routes of endpoints: create, show, change, delete, search."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.answers.base import EndpointCreated, Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.documents import JsonObject, endpoint_document, result
from towpath.transfer.api.endpoint_bodies import EndpointDocument
from towpath.transfer.api.service import (
    Caller,
    Service,
    TransferService,
    owned_endpoint,
    parse_id,
    visible_endpoint,
)
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.store import connect, credentials, endpoints, relays
from towpath.transfer.store.connect import Kind
from towpath.transfer.store.endpoints import Endpoint, EntityType, Scope

router = APIRouter()

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
        endpoint = await visible_endpoint(conn, wanted, caller.sub)
        there = await relays.connections(conn, [endpoint.id] if endpoint.is_connect else [])
    return JSONResponse(endpoint_document(endpoint, caller.sub, there.get(endpoint.id)))


@router.put("/endpoint/{endpoint_id}", response_model=Result, openapi_extra=reads(EndpointDocument))
async def update_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some fields; owner only."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, EndpointDocument)
    async with service.database.transaction() as conn:
        before = await owned_endpoint(conn, wanted, caller.sub)
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
        after = Endpoint(
            id=before.id,
            owner_id=before.owner_id,
            owner_string=before.owner_string,
            display_name=document.display_name or before.display_name,
            host=host,
            port=port,
            subject=subject,
            data_hosts=data_hosts,
            public=before.public if document.public is None else document.public,
            details=document.details(before.details),
            entity_type=before.entity_type,
        )
        await endpoints.update(conn, after, document.trust_files())
    return JSONResponse(
        result("result", "Updated", "Endpoint updated successfully", request.url.path)
    )


@router.delete("/endpoint/{endpoint_id}", response_model=Result)
async def delete_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Delete an endpoint, and everybody's credentials for it; owner only. Its agents are nodes of
    nothing then, and its collections go with it."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        endpoint = await owned_endpoint(conn, wanted, caller.sub)
        if endpoint.entity_type is EntityType.COLLECTION:
            raise ApiError.bad_request(
                "The endpoint's agents say what its collections are: take it out there, or delete"
                f" the endpoint {endpoint.host_endpoint_id}"
            )
        await endpoints.mark_deleted(conn, wanted)
        await credentials.delete_all(conn, wanted)
        await connect.remove_nodes(conn, wanted)
        for part in await endpoints.collections(conn, wanted):
            await endpoints.mark_deleted(conn, part.id)
    return JSONResponse(
        result("result", "Deleted", "Endpoint deleted successfully", request.url.path)
    )


# What there can be none of yet: shares.
_EMPTY_SCOPES = frozenset({"shared-by-me", "shared-with-me"})
_SCOPES = {
    "all": Scope.ALL,
    "my-endpoints": Scope.MINE,
    "my-gcp-endpoints": Scope.MY_PERSONAL,
    "administered-by-me": Scope.MINE,
    "recently-used": Scope.RECENTLY_USED,
    "in-use": Scope.IN_USE,
}


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
    if filter_scope not in _SCOPES and filter_scope not in _EMPTY_SCOPES:
        raise ApiError.bad_request(f"filter_scope: unknown scope {filter_scope[:40]!r}")
    owner = _id_filter("filter_owner_id", filter_owner_id)
    if filter_scope == "all" and not words and owner is None:
        raise ApiError(
            400,
            "BadRequest",
            "filter_scope 'all' needs filter_fulltext or filter_owner_id: say what to look for",
        )
    wanted = filter_entity_type.split(",") if filter_entity_type else list(EntityType)
    kinds = [kind for kind in EntityType if kind in wanted]
    if filter_non_functional in _FUNCTIONAL:
        functional = _FUNCTIONAL[filter_non_functional]
        kinds = [kind for kind in kinds if (kind is not EntityType.CONNECT) is functional]
    host = _id_filter("filter_host_endpoint", filter_host_endpoint)
    limit = min(limit, MAX_SEARCH_RESULTS - offset)
    found: list[Endpoint] = []
    there: dict[UUID, relays.Connection] = {}
    if filter_scope in _SCOPES and kinds and limit > 0:
        async with service.database.connection() as conn:
            found = await endpoints.search(
                conn,
                caller.sub,
                kinds=kinds,
                host_endpoint_id=host,
                scope=_SCOPES[filter_scope],
                words=words,
                owner_id=owner,
                limit=limit + 1,
                offset=offset,
            )
            there = await relays.connections(conn, [one.id for one in found if one.is_connect])
    document: JsonObject = {
        "DATA_TYPE": "endpoint_list",
        "DATA": [
            endpoint_document(endpoint, caller.sub, there.get(endpoint.id))
            for endpoint in found[:limit]
        ],
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
