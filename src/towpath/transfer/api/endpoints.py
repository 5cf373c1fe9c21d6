"""Routes of endpoints: create, show, change, delete, search."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.answers.base import EndpointCreated, Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.documents import JsonObject, endpoint_document, result
from towpath.transfer.api.endpoint_bodies import EndpointDocument
from towpath.transfer.api.service import (
    Caller,
    Service,
    owned_endpoint,
    parse_id,
    visible_endpoint,
)
from towpath.transfer.store import credentials, endpoints
from towpath.transfer.store.endpoints import Endpoint, Scope

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
    """Register a GridFTP server."""
    document = await read_document(request, EndpointDocument)
    if document.display_name is None:
        raise ApiError.bad_request("display_name: an endpoint has a name")
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


@router.get("/endpoint/{endpoint_id}", response_model=answers.Endpoint)
async def show_endpoint(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """The endpoint document."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        endpoint = await visible_endpoint(conn, wanted, caller.sub)
    return JSONResponse(endpoint_document(endpoint, caller.sub))


@router.put("/endpoint/{endpoint_id}", response_model=Result, openapi_extra=reads(EndpointDocument))
async def update_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some fields; owner only."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, EndpointDocument)
    async with service.database.transaction() as conn:
        before = await owned_endpoint(conn, wanted, caller.sub)
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
        )
        await endpoints.update(conn, after, document.trust_files())
    return JSONResponse(
        result("result", "Updated", "Endpoint updated successfully", request.url.path)
    )


@router.delete("/endpoint/{endpoint_id}", response_model=Result)
async def delete_endpoint(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Delete an endpoint, and everybody's credentials for it; owner only."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        await owned_endpoint(conn, wanted, caller.sub)
        await endpoints.mark_deleted(conn, wanted)
        await credentials.delete_all(conn, wanted)
    return JSONResponse(
        result("result", "Deleted", "Endpoint deleted successfully", request.url.path)
    )


# What there can be none of yet: shares and Globus Connect Personal.
_EMPTY_SCOPES = frozenset({"my-gcp-endpoints", "shared-by-me", "shared-with-me"})
_SCOPES = {
    "all": Scope.ALL,
    "my-endpoints": Scope.MINE,
    "administered-by-me": Scope.MINE,
    "recently-used": Scope.RECENTLY_USED,
    "in-use": Scope.IN_USE,
}


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
    owner = _owner_filter(filter_owner_id)
    if filter_scope == "all" and not words and owner is None:
        raise ApiError(
            400,
            "BadRequest",
            "filter_scope 'all' needs filter_fulltext or filter_owner_id: say what to look for",
        )
    kinds = filter_entity_type.split(",") if filter_entity_type else ["GCSv4_host"]
    limit = min(limit, MAX_SEARCH_RESULTS - offset)
    found: list[Endpoint] = []
    if (
        filter_scope in _SCOPES
        and "GCSv4_host" in kinds
        and not filter_host_endpoint
        and filter_non_functional != "1"
        and limit > 0
    ):
        async with service.database.connection() as conn:
            found = await endpoints.search(
                conn,
                caller.sub,
                scope=_SCOPES[filter_scope],
                words=words,
                owner_id=owner,
                limit=limit + 1,
                offset=offset,
            )
    document: JsonObject = {
        "DATA_TYPE": "endpoint_list",
        "DATA": [endpoint_document(endpoint, caller.sub) for endpoint in found[:limit]],
        "limit": limit,
        "offset": offset,
        "has_next_page": len(found) > limit and offset + limit < MAX_SEARCH_RESULTS,
    }
    return JSONResponse(document)


def _owner_filter(text: str | None) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise ApiError.bad_request("filter_owner_id: not an id") from None
