"""Routes of roles at the endpoint and its collections. They are the same as Transfer's."""

import re
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import Document, Text
from towpath.transfer.api.roles import give_role
from towpath.transfer.manager import answers
from towpath.transfer.manager.asking import PREFIX_OF_EACH, Asked, Asking, forbidden, read
from towpath.transfer.manager.bodies import typed
from towpath.transfer.manager.collections import PageSize, visible_collection
from towpath.transfer.manager.envelope import (
    PAGE_USUAL,
    JsonObject,
    not_found,
    page,
    success,
    unprocessable,
    words,
)
from towpath.transfer.rights import PrincipalType, Role, Standing
from towpath.transfer.store import endpoints, roles
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.roles import Held

router = new_router(PREFIX_OF_EACH)

_INCLUDE = frozenset({"all_roles"})
_URN = re.compile(r"urn:globus:(?:(auth:identity)|(groups:id)):([0-9a-fA-F-]{36})")
_URNS = {
    PrincipalType.IDENTITY: "urn:globus:auth:identity:",
    PrincipalType.GROUP: "urn:globus:groups:id:",
}


class RoleDocument(Document):
    """A role that is to be given; at the endpoint, unless a collection is named."""

    DATA_TYPE: Annotated[str, typed("role")]
    principal: Text
    role: Role
    collection: UUID | None = None

    def whose(self) -> tuple[PrincipalType, UUID]:
        """Whom it is for. Raises ApiError 422."""
        found = _URN.fullmatch(self.principal)
        try:
            if found is not None:
                kind = PrincipalType.IDENTITY if found[1] else PrincipalType.GROUP
                return kind, UUID(found[3])
        except ValueError:
            pass
        raise unprocessable(
            "principal: an identity (urn:globus:auth:identity:<id>) or a group"
            " (urn:globus:groups:id:<id>)"
        )


def _document(held: Held, asked: Asking) -> JsonObject:
    at_endpoint = held.endpoint_id == asked.endpoint_id
    return {
        "DATA_TYPE": "role#1.0.0",
        "id": str(held.id),
        "collection": None if at_endpoint else str(held.endpoint_id),
        "principal": f"{_URNS[held.principal_type]}{held.principal}",
        "role": held.role,
    }


async def _place(
    conn: Connection, asked: Asking, collection_id: str | None, *, lock: bool = False
) -> tuple[Endpoint, Standing]:
    """The endpoint, or the collection that is named; and what the caller is there."""
    if collection_id is not None:
        return await visible_collection(conn, asked, collection_id, lock=lock)
    asked.require_visible()
    if lock:
        await endpoints.get(conn, asked.endpoint_id, lock=True)
    return asked.endpoint, asked.standing


def _is_callers(held: Held, asked: Asking) -> bool:
    if held.principal_type is PrincipalType.GROUP:
        return held.principal in asked.who.groups
    return held.principal in asked.who.identities


@router.get("/roles", response_model=answers.Roles)
async def list_roles(
    asked: Asked,
    collection_id: str | None = None,
    include: str | None = None,
    page_size: PageSize = PAGE_USUAL,
    marker: str | None = None,
) -> JSONResponse:
    """The caller's own at the endpoint or a collection; with include=all_roles everybody's."""
    everybody = "all_roles" in words(include, _INCLUDE, "include")
    async with asked.service.database.connection() as conn:
        place, standing = await _place(conn, asked, collection_id)
        if everybody and not standing.administers:
            raise forbidden("Only an administrator may see who has which role")
        found = sorted(await roles.list_all(conn, place.id), key=lambda one: one.id)
    told = [
        (one.id, _document(one, asked)) for one in found if everybody or _is_callers(one, asked)
    ]
    data, following = page(told, marker or None, page_size)
    return success(data, marker=following)


@router.post(
    "/roles", status_code=201, response_model=answers.Roles, openapi_extra=reads(RoleDocument)
)
async def create_role(asked: Asked, request: Request) -> JSONResponse:
    """Give one."""
    document = await read(request, RoleDocument)
    principal_type, principal = document.whose()
    named = None if document.collection is None else str(document.collection)
    async with asked.service.database.transaction() as conn:
        place, standing = await _place(conn, asked, named, lock=True)
        if not standing.administers:
            raise forbidden("Only an administrator may give roles")
        held = Held(
            id=uuid4(),
            endpoint_id=place.id,
            principal_type=principal_type,
            principal=principal,
            role=document.role,
        )
        await give_role(conn, held, asked.who)
    return success([_document(held, asked)], status=201, message=f"Created role {held.id}")


async def _role(conn: Connection, asked: Asking, text: str) -> tuple[Held, Standing]:
    """A role of the endpoint or of a collection that the caller may see, and what he is there."""
    try:
        wanted = UUID(text)
    except ValueError:
        raise not_found("role", text) from None
    held = await roles.by_id(conn, wanted)
    if held is None:
        raise not_found("role", wanted)
    if held.endpoint_id == asked.endpoint_id:
        return held, asked.standing
    _, standing = await visible_collection(conn, asked, str(held.endpoint_id))
    return held, standing


@router.get("/roles/{role_id}", response_model=answers.Roles)
async def show_role(role_id: str, asked: Asked) -> JSONResponse:
    """One of them: an own one; for an administrator, anybody's."""
    async with asked.service.database.connection() as conn:
        held, standing = await _role(conn, asked, role_id)
    if not standing.administers and not _is_callers(held, asked):
        raise not_found("role", held.id)
    return success([_document(held, asked)])


@router.delete("/roles/{role_id}", response_model=answers.Done)
async def delete_role(role_id: str, asked: Asked) -> JSONResponse:
    """Take it back."""
    async with asked.service.database.transaction() as conn:
        held, standing = await _role(conn, asked, role_id)
        if not standing.administers:
            if not _is_callers(held, asked):
                raise not_found("role", held.id)
            raise forbidden("Only an administrator may take roles back")
        await roles.delete(conn, held.endpoint_id, held.id)
    return success(message=f"Deleted role {held.id}")
