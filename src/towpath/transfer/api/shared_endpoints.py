"""Routes of guest collections: share a directory, and see what is shared of a host."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError
from towpath.platform.http import new_router
from towpath.transfer.api.answers import rights as answers
from towpath.transfer.api.answers.base import EndpointCreated, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.documents import result
from towpath.transfer.api.endpoints import endpoint_documents
from towpath.transfer.api.guest_collections import MAX_SHARED, NewGuest, new_guest_collection
from towpath.transfer.api.rights_bodies import SharedEndpointDocument
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Seen,
    Service,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.store import endpoints, rights

router = new_router(PREFIX)

PAGE = 1000
"""Guest collections on a page at most."""


@router.post(
    "/shared_endpoint",
    status_code=201,
    response_model=EndpointCreated,
    openapi_extra=reads(SharedEndpointDocument),
)
async def create_shared_endpoint(
    request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Make a guest collection of a directory that the caller may use. Nobody is let in as yet."""
    document = await read_document(request, SharedEndpointDocument)
    if document.display_name is None:
        raise ApiError.bad_request("display_name: a collection has a name")
    wanted = NewGuest(
        host_id=document.host_endpoint,
        path=document.host_path,
        display_name=document.display_name,
        public=document.public is True,
        details=document.details({}),
    )
    made = await new_guest_collection(service, caller, wanted)
    return JSONResponse(
        result(
            "endpoint_create_result",
            "Created",
            "Shared endpoint created successfully",
            request.url.path,
            id=str(made.id),
            globus_connect_setup_key=None,
        ),
        status_code=201,
    )


@router.get(
    "/endpoint/{endpoint_id}/my_shared_endpoint_list", response_model=answers.SharedEndpoints
)
async def my_shared_endpoints(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """The guest collections of a host whose access rules the caller may change; of more than
    1,000, the first."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    viewer, now = who(caller), service.now()
    async with service.database.connection() as conn:
        await visible_endpoint(conn, wanted, viewer, now)
        found = await endpoints.search(
            conn,
            viewer,
            now,
            scope=endpoints.Scope.MANAGED,
            host_endpoint_id=wanted,
            kinds=endpoints.GUESTS,
            limit=MAX_SHARED,
            offset=0,
        )
        standings = await rights.standings(conn, found, viewer, now)
        seen = [Seen(one, standings[one.id]) for one in found]
        documents = await endpoint_documents(conn, seen, service.origin)
    return JSONResponse({"DATA_TYPE": "endpoint_list", "DATA": documents})


@router.get(
    "/endpoint/{endpoint_id}/shared_endpoint_list", response_model=answers.SharedEndpointPage
)
async def shared_endpoints(
    endpoint_id: str,
    caller: Caller,
    service: Service,
    max_results: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
    next_token: str | None = None,
) -> JSONResponse:
    """The guest collections of a host that the caller may see, whoever shares them."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    viewer, now = who(caller), service.now()
    after = _after(next_token)
    async with service.database.connection() as conn:
        await visible_endpoint(conn, wanted, viewer, now)
        found = await endpoints.shared_of(
            conn, viewer, now, wanted, after=after, limit=max_results + 1
        )
    page = found[:max_results]
    return JSONResponse(
        {
            "DATA_TYPE": "shared_endpoint_list",
            "shared_endpoints": [{"id": str(one)} for one in page],
            "next_token": str(page[-1]) if len(found) > max_results else None,
        }
    )


def _after(token: str | None) -> UUID | None:
    if not token:
        return None
    try:
        return UUID(token)
    except ValueError:
        raise ApiError.bad_request("next_token: not one of ours") from None
