"""Routes of roles at endpoints (Transfer API, "roles"). Administrators give and take them."""

from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.http import new_router
from towpath.transfer.api.answers import rights as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.rights_bodies import RoleDocument
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Seen,
    Service,
    administered_endpoint,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.rights import Who
from towpath.transfer.store import principals, roles
from towpath.transfer.store.roles import AlreadyThereError, Held

router = new_router(f"{PREFIX}/endpoint/{{endpoint_id}}")

MAX_ROLES = 1000
"""Given at one endpoint: all are listed at once. Whom more are for, they are for a group."""


@router.get("/role_list", response_model=answers.RoleList)
async def list_roles(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """The roles given at an endpoint; its owner needs none, and those inherited are shown where
    they were given."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        _check_administers(seen)
        found = await roles.list_all(conn, wanted)
    return JSONResponse({"DATA_TYPE": "role_list", "DATA": [_document(one) for one in found]})


@router.post(
    "/role",
    status_code=201,
    response_model=answers.GivenRole,
    openapi_extra=reads(RoleDocument),
)
async def create_role(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Give a role to an identity or a group."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, RoleDocument)
    held = Held(
        id=uuid4(),
        endpoint_id=wanted,
        principal_type=document.principal_type,
        principal=document.principal,
        role=document.role,
    )
    async with service.database.transaction() as conn:
        await administered_endpoint(conn, wanted, who(caller), service.now())
        await give_role(conn, held, who(caller))
    return JSONResponse(_document(held), status_code=201)


async def give_role(conn: Connection, held: Held, giver: Who) -> None:
    """Keep a role, the endpoint's row being held. Raises ApiError: it is there, or too many are."""
    if len(await roles.list_all(conn, held.endpoint_id)) >= MAX_ROLES:
        raise ApiError(
            409,
            "LimitExceeded",
            f"{MAX_ROLES} roles were given here: take some back, or give one to a group",
        )
    try:
        await roles.add(conn, held, giver.id)
    except AlreadyThereError:
        raise ApiError(
            409, "Exists", f"This {held.principal_type} has the role {held.role} here already"
        ) from None
    await principals.put(conn, giver)


@router.get("/role/{role_id}", response_model=answers.GivenRole)
async def show_role(
    endpoint_id: str, role_id: str, caller: Caller, service: Service
) -> JSONResponse:
    """One role."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        _check_administers(seen)
        id_ = parse_id(role_id, "role", "RoleNotFound")
        found = await roles.get(conn, wanted, id_)
    if found is None:
        raise _not_found(id_)
    return JSONResponse(_document(found))


@router.delete("/role/{role_id}", response_model=Result)
async def delete_role(
    endpoint_id: str, role_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Take a role back."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        await administered_endpoint(conn, wanted, who(caller), service.now())
        id_ = parse_id(role_id, "role", "RoleNotFound")
        if not await roles.delete(conn, wanted, id_):
            raise _not_found(id_)
    return JSONResponse(result("result", "Deleted", "Role deleted successfully", request.url.path))


def _check_administers(seen: Seen) -> None:
    if not seen.standing.administers:
        raise ApiError.forbidden("Only the owner and administrators may see who has which role")


def _not_found(role_id: UUID) -> ApiError:
    return ApiError.not_found(f"No such role '{role_id}' here", code="RoleNotFound")


def _document(held: Held) -> JsonObject:
    return {
        "DATA_TYPE": "role",
        "id": str(held.id),
        "principal_type": held.principal_type,
        "principal": str(held.principal),
        "role": held.role,
    }
