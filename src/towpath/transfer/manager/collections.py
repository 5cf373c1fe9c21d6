"""Routes of collections."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.guest_collections import NewGuest, new_guest_collection
from towpath.transfer.connect.managed import TEXTS, Root, agents_name, changed, root_of
from towpath.transfer.manager import answers
from towpath.transfer.manager.asking import PREFIX_OF_EACH, Asked, Asking, forbidden, read
from towpath.transfer.manager.collection_bodies import CollectionDocument
from towpath.transfer.manager.documents import (
    collection_document,
    credential_id,
    gateway_id,
    shown_path,
)
from towpath.transfer.manager.envelope import (
    PAGE_MOST,
    PAGE_USUAL,
    JsonObject,
    not_found,
    parsed_id,
    success,
    unprocessable,
    words,
)
from towpath.transfer.rights import Standing
from towpath.transfer.store import connect, endpoints, rights
from towpath.transfer.store.endpoints import Endpoint, EntityType

router = new_router(PREFIX_OF_EACH)

INCLUDE = frozenset({"private_policies"})
FILTERS = frozenset({"mapped_collections", "guest_collections", "managed_by_me", "created_by_me"})
LOOKED_AT_ONCE = 500
"""Of all that an endpoint has, to find the page that the caller may see."""
MAX_COLLECTIONS = 1000
"""Mapped ones of an endpoint: agents are told of all of them at once."""

OF_MAPPED = (
    "access",
    "allow_guest_collections",
    "disable_anonymous_writes",
    "sharing_restrict_paths",
    "sharing_users_allow",
    "sharing_users_deny",
)
"""Settings that guest collections have from the one that they are of."""

PageSize = Annotated[int, Query(ge=1, le=PAGE_MOST)]


def private_policies(asked: Asking, include: str | None) -> bool:
    """Whether they are asked for. 403 for who does not administer the endpoint."""
    if "private_policies" not in words(include, INCLUDE, "include"):
        return False
    asked.require_administrator("see private policies")
    return True


@router.get("/collections", response_model=answers.Collections)
async def list_collections(
    asked: Asked,
    mapped_collection_id: str | None = None,
    filter: str | None = None,  # noqa: A002 - the parameter's name
    include: str | None = None,
    page_size: PageSize = PAGE_USUAL,
    marker: str | None = None,
) -> JSONResponse:
    """Those of the endpoint that the caller may see."""
    private = private_policies(asked, include)
    filters = words(filter, FILTERS, "filter")
    of = parsed_id(mapped_collection_id, "mapped_collection_id") if mapped_collection_id else None
    after = parsed_id(marker, "marker") if marker else None
    found: list[tuple[Endpoint, Standing]] = []
    async with asked.service.database.connection() as conn:
        if of is not None:
            # else it would tell of which private collection something is shared
            await visible_collection(conn, asked, str(of))
        while len(found) <= page_size:
            some = await endpoints.of_host(
                conn, asked.endpoint.host, after=after, limit=LOOKED_AT_ONCE
            )
            standings = await _standings(conn, asked, some)
            for one in some:
                standing = standings[one.id]
                if standing.visible and _passes(one, standing, asked, filters, of):
                    found.append((one, standing))
            if len(some) < LOOKED_AT_ONCE:
                break
            after = some[-1].id
    told = found[:page_size]
    return success(
        [_document(asked, one, standing, private=private) for one, standing in told],
        marker=str(told[-1][0].id) if len(found) > page_size else "",
    )


async def _standings(
    conn: Connection, asked: Asking, some: Sequence[Endpoint]
) -> Mapping[UUID, Standing]:
    """What the caller is at collections. An endpoint's administrator is that in all of it."""
    if not asked.standing.administers:
        return await rights.standings(conn, some, asked.who, asked.service.now())
    return {
        one.id: replace(
            asked.standing,
            owner=one.owner_id in asked.who.identities or asked.standing.owner,
            public=one.public,
            guest=one.is_guest,
        )
        for one in some
    }


def _passes(
    one: Endpoint, standing: Standing, asked: Asking, filters: frozenset[str], of: UUID | None
) -> bool:
    mine = one.owner_id in asked.who.identities
    return (
        ("mapped_collections" not in filters or not one.is_guest)
        and ("guest_collections" not in filters or one.is_guest)
        and ("managed_by_me" not in filters or mine or bool(standing.effective_roles))
        and ("created_by_me" not in filters or mine)
        and (of is None or one.host_endpoint_id == of)
    )


async def visible_collection(
    conn: Connection, asked: Asking, collection_id: str, *, lock: bool = False
) -> tuple[Endpoint, Standing]:
    """A collection of the endpoint, and what the caller is there. 404 for others (I7)."""
    try:
        wanted = UUID(collection_id)
    except ValueError:
        raise not_found("collection", collection_id) from None
    found = await endpoints.get(conn, wanted, lock=lock)
    if (
        found is None
        or found.deleted_at is not None
        or found.host_endpoint_id is None
        or found.connect_id != asked.endpoint_id
    ):
        raise not_found("collection", wanted)
    standing = await asked.standing_at(conn, found)
    if not standing.visible:
        raise not_found("collection", wanted)
    return found, standing


@router.get("/collections/{collection_id}", response_model=answers.Collections)
async def show_collection(
    collection_id: str, asked: Asked, include: str | None = None
) -> JSONResponse:
    """One of them."""
    private = private_policies(asked, include)
    async with asked.service.database.connection() as conn:
        found, standing = await visible_collection(conn, asked, collection_id)
    return success([_document(asked, found, standing, private=private)])


def _document(
    asked: Asking, one: Endpoint, standing: Standing, *, private: bool = False
) -> JsonObject:
    return collection_document(one, asked.service.origin, standing, private=private)


@router.post(
    "/collections",
    status_code=201,
    response_model=answers.Collections,
    openapi_extra=reads(CollectionDocument),
)
async def create_collection(asked: Asked, request: Request) -> JSONResponse:
    """Make one, of the endpoint's storage (mapped), or of a collection (guest)."""
    document = await read(request, CollectionDocument)
    document.check()
    if document.display_name is None:
        raise unprocessable("display_name: a collection has a name")
    if document.collection_type == "guest":
        made = await _create_guest(asked, document)
    else:
        made = await _create_mapped(asked, document, document.display_name)
    async with asked.service.database.connection() as conn:
        standing = await asked.standing_at(conn, made)
    return success(
        [_document(asked, made, standing)],
        status=201,
        message=f"Created collection {made.id}",
    )


async def _create_mapped(asked: Asking, document: CollectionDocument, name: str) -> Endpoint:
    asked.require_administrator("make mapped collections")
    _check_gateway(asked, document)
    if document.identity_id is not None and document.identity_id not in asked.who.identities:
        raise unprocessable("identity_id: the owner of a new collection is who makes it")
    path = document.collection_base_path or "/"
    async with asked.service.database.transaction() as conn:
        await connect.lock_endpoint(conn, asked.endpoint_id)
        roots = [
            Root.from_document(one) for one in await connect.get_roots(conn, asked.endpoint_id)
        ]
        root = root_of(roots, path)
        if root is None:
            raise unprocessable(_not_opened(path, roots))
        if len(await endpoints.collections(conn, asked.endpoint_id)) >= MAX_COLLECTIONS:
            raise unprocessable(f"The endpoint has {MAX_COLLECTIONS} collections already")
        host = asked.endpoint
        made = changed(
            Endpoint(
                id=uuid4(),
                owner_id=asked.who.id,
                owner_string=asked.caller.username,
                display_name=name,
                host=host.host,
                port=host.port,
                subject=None,
                data_hosts=(),
                public=host.public,
                details={},
                entity_type=EntityType.COLLECTION,
                host_endpoint_id=host.id,
                base_path=path,
                access=root.access,
                made_by_manager=True,
            ),
            document.changes(),
        )
        await endpoints.insert(conn, made, {})
    return made


def _check_gateway(asked: Asking, document: CollectionDocument) -> None:
    if document.storage_gateway_id not in (None, gateway_id(asked.endpoint_id)):
        raise unprocessable(
            "storage_gateway_id: the endpoint has one storage gateway,"
            f" {gateway_id(asked.endpoint_id)}"
        )


def _not_opened(path: str, roots: list[Root]) -> str:
    """What to do about a directory that the site has not opened for managers."""
    if roots:
        opened = ", ".join(root.path for root in roots)
        return (
            f"collection_base_path: the site lets managers make collections below {opened}, and"
            f" {path} is not there. Whoever runs the endpoint's servers opens it there:"
            f" towpath connect managers allow {path}"
        )
    return (
        "collection_base_path: the site lets managers make no collections of its files. Whoever"
        " runs the endpoint's servers opens a directory there (towpath connect managers allow"
        f" {path}), or makes the collection there (towpath connect collection add NAME --base-path"
        f" {path})"
    )


async def _create_guest(asked: Asking, document: CollectionDocument) -> Endpoint:
    if document.mapped_collection_id is None or document.collection_base_path is None:
        raise unprocessable(
            "mapped_collection_id and collection_base_path: say which directory of which collection"
        )
    _check_gateway(asked, document)
    if document.identity_id not in (None, asked.who.id):
        raise unprocessable("identity_id: who shares something shares it himself")
    own = credential_id(asked.endpoint_id, asked.who.id)
    if document.user_credential_id not in (None, own):
        raise unprocessable(
            f"user_credential_id: yours at this endpoint is {own}; its account is what others use"
        )
    for name in OF_MAPPED:
        if getattr(document, name):
            raise unprocessable(f"{name}: this is set at the mapped collection")
    async with asked.service.database.connection() as conn:
        mapped, _ = await visible_collection(conn, asked, str(document.mapped_collection_id))
    changes = document.changes()
    wanted = NewGuest(
        host_id=mapped.id,
        path=document.collection_base_path,
        display_name=changes.pop("display_name"),
        public=changes.pop("public", False),
        details={name: changes.pop(name) for name in TEXTS if changes.get(name)},
    )
    made = await new_guest_collection(asked.service, asked.caller, wanted, as_manager=True)
    kept = {name: value for name, value in changes.items() if value and name not in TEXTS}
    async with asked.service.database.connection() as conn:
        await endpoints.set_managed(conn, made.id, kept)
    return replace(made, managed=kept)


@router.patch(
    "/collections/{collection_id}",
    response_model=answers.Collections,
    openapi_extra=reads(CollectionDocument),
)
async def update_collection(collection_id: str, asked: Asked, request: Request) -> JSONResponse:
    """Change what its managers may."""
    document = await read(request, CollectionDocument)
    document.check()
    async with asked.service.database.transaction() as conn:
        # before the collection, as agents' reports do: neither overwrites what the other has set
        await connect.lock_endpoint(conn, asked.endpoint_id)
        before, standing = await visible_collection(conn, asked, collection_id, lock=True)
        if not standing.administers:
            raise forbidden("Only an administrator of the collection may change it")
        _check_settled(before, document)
        after = _changed_guest(before, document) if before.is_guest else _changed(before, document)
        await endpoints.update(conn, after, None)
    return success([_document(asked, after, standing)], message=f"Updated collection {after.id}")


def _check_settled(before: Endpoint, document: CollectionDocument) -> None:
    """What cannot be changed may be told again as it is. Raises ApiError 422."""
    kind = "guest" if before.is_guest else "mapped"
    for name, value, now in (
        ("collection_type", document.collection_type, kind),
        ("identity_id", document.identity_id, before.owner_id),
        ("storage_gateway_id", document.storage_gateway_id, gateway_id(before.connect_id)),
        ("collection_base_path", document.collection_base_path, shown_path(before)),
    ):
        if value not in (None, now):
            raise unprocessable(f"{name}: it cannot be changed; make another collection instead")


def _changed(before: Endpoint, document: CollectionDocument) -> Endpoint:
    after = changed(before, document.changes())
    if document.access == "rw" and after.access == "r":
        raise unprocessable(
            "access: the site lets this collection be read only; its servers' configuration says so"
        )
    if after.managed.get("force_verify") and after.managed.get("disable_verify"):
        raise unprocessable("force_verify and disable_verify: only one of them can be true")
    return after


def _changed_guest(before: Endpoint, document: CollectionDocument) -> Endpoint:
    changes = document.changes()
    for name in OF_MAPPED:
        if changes.get(name):
            raise unprocessable(f"{name}: this is set at the mapped collection")
    details = dict(before.details)
    for name in TEXTS:
        if name in changes:
            details[name] = changes.pop(name)
    return replace(
        before,
        display_name=changes.pop("display_name", before.display_name),
        public=changes.pop("public", before.public),
        details={name: value for name, value in details.items() if value is not None},
        managed={**before.managed, **changes},
    )


@router.delete("/collections/{collection_id}", response_model=answers.Done)
async def delete_collection(collection_id: str, asked: Asked) -> JSONResponse:
    """Delete it, with all that is shared of it. Files stay."""
    async with asked.service.database.transaction() as conn:
        found, standing = await visible_collection(conn, asked, collection_id, lock=True)
        if not standing.administers:
            raise forbidden("Only an administrator of the collection may delete it")
        if found.managed.get("delete_protected"):
            raise ApiError(
                409, "conflict", "The collection is protected: set delete_protected to false first"
            )
        if not found.is_guest and not found.made_by_manager:
            raise unprocessable(
                "The endpoint's servers say that there is this collection. Whoever runs them takes"
                f" it away there: towpath connect collection remove '{agents_name(found)}'"
            )
        await endpoints.mark_deleted(conn, found.id)
    return success(message=f"Deleted collection {found.id}")
