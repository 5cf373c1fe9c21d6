"""Routes under /v2, in the shape of JSON:API: bookmarks.

They are those of /v0.10 (`api.bookmarks`), under the same rules.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError, current_request_id
from towpath.platform.http import new_router
from towpath.transfer.api.answers import bookmarks_v2 as answers
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import ApiPath, Document, read_document
from towpath.transfer.api.bookmarks import (
    MAX_BOOKMARKS,
    Name,
    name_taken,
    own_bookmark,
    too_many,
)
from towpath.transfer.api.documents import JsonObject
from towpath.transfer.api.service import Caller, Service, visible_endpoint, who
from towpath.transfer.store import bookmarks, endpoints, rights
from towpath.transfer.store.bookmarks import Bookmark, NameTaken

router = new_router()


def _completed(path: str) -> str:
    """Programs of this version name a directory without the '/' at its end, too."""
    return path if path.endswith("/") else f"{path}/"


Place = Annotated[ApiPath, AfterValidator(_completed)]


class CollectionId(Document):
    """Which collection."""

    type: Literal["Collection"]
    id: UUID


class CollectionReference(Document):
    """A relationship to it."""

    data: CollectionId


class NewBookmarkRelationships(Document):
    """Where a new bookmark leads to."""

    collection: CollectionReference


class NewBookmarkAttributes(Document):
    """Of a new bookmark."""

    name: Name
    path: Place
    pinned: bool = False


class BookmarkAttributeChanges(Document):
    """What is to be another."""

    name: Name | None = None
    path: Place | None = None
    pinned: bool | None = None


class NewBookmarkResource(Document):
    """A new bookmark."""

    type: Literal["Bookmark"]
    attributes: NewBookmarkAttributes
    relationships: NewBookmarkRelationships


class ChangedBookmarkResource(Document):
    """A bookmark with what is to be another."""

    type: Literal["Bookmark"]
    id: str | None = None
    attributes: BookmarkAttributeChanges


class NewBookmarkDocument(Document):
    """Body of POST /v2/bookmarks."""

    data: NewBookmarkResource


class ChangedBookmarkDocument(Document):
    """Body of PATCH /v2/bookmarks/<id>: what is left out stays."""

    data: ChangedBookmarkResource


@router.get("/v2/bookmarks", response_model=answers.BookmarksV2)
async def list_bookmarks_v2(caller: Caller, service: Service) -> JSONResponse:
    """The caller's bookmarks, by name."""
    async with service.database.connection() as conn:
        found = await bookmarks.list_all(conn, caller.sub)
        included = await _included(conn, service, caller, found)
    return _answer([_resource(one) for one in found], included=included, links=None)


@router.post(
    "/v2/bookmarks",
    status_code=201,
    response_model=answers.BookmarkV2,
    openapi_extra=reads(NewBookmarkDocument),
)
async def create_bookmark_v2(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Give a place a name."""
    document = (await read_document(request, NewBookmarkDocument)).data
    made = Bookmark(
        id=uuid4(),
        owner_id=caller.sub,
        endpoint_id=document.relationships.collection.data.id,
        **document.attributes.model_dump(),
    )
    async with service.database.transaction() as conn:
        await visible_endpoint(conn, made.endpoint_id, who(caller), service.now())
        try:
            kept = await bookmarks.insert(conn, made, most=MAX_BOOKMARKS)
        except NameTaken:
            raise name_taken(made.name) from None
        included = await _included(conn, service, caller, [made]) if kept else []
    if not kept:
        raise too_many()
    return _answer(_resource(made), included=included, status=201)


@router.get("/v2/bookmarks/{bookmark_id}", response_model=answers.BookmarkV2)
async def show_bookmark_v2(bookmark_id: str, caller: Caller, service: Service) -> JSONResponse:
    """One bookmark."""
    async with service.database.connection() as conn:
        found = await own_bookmark(conn, bookmark_id, caller.sub)
        included = await _included(conn, service, caller, [found])
    return _answer(_resource(found), included=included)


@router.patch(
    "/v2/bookmarks/{bookmark_id}",
    response_model=answers.BookmarkV2,
    openapi_extra=reads(ChangedBookmarkDocument),
)
async def update_bookmark_v2(
    bookmark_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some attributes."""
    document = (await read_document(request, ChangedBookmarkDocument)).data
    if document.id not in (None, bookmark_id):
        raise ApiError(409, "ClientError.Conflict", "data.id is another one than in the path")
    async with service.database.transaction() as conn:
        before = await own_bookmark(conn, bookmark_id, caller.sub, lock=True)
        after = replace(before, **document.attributes.model_dump(exclude_none=True))
        try:
            await bookmarks.update(conn, after)
        except NameTaken:
            raise name_taken(after.name) from None
        included = await _included(conn, service, caller, [after])
    return _answer(_resource(after), included=included)


@router.delete("/v2/bookmarks/{bookmark_id}", response_model=answers.Done)
async def delete_bookmark_v2(bookmark_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Forget a bookmark."""
    async with service.database.transaction() as conn:
        found = await own_bookmark(conn, bookmark_id, caller.sub, lock=True)
        await bookmarks.delete(conn, caller.sub, found.id)
    return JSONResponse({"meta": _meta()})


async def _included(
    conn: Connection, service: Service, caller: Caller, found: Sequence[Bookmark]
) -> list[JsonObject]:
    """The collections of bookmarks, without those that the caller does not see (any more)."""
    ids = {one.endpoint_id for one in found}
    there = await endpoints.get_some(conn, ids, limit=MAX_BOOKMARKS)
    standings = await rights.standings(conn, there, who(caller), service.now())
    return [
        {
            "type": "Collection",
            "id": str(one.id),
            "attributes": {"display_name": one.display_name, "high_assurance": False},
        }
        for one in there
        if standings[one.id].visible
    ]


def _resource(bookmark: Bookmark) -> JsonObject:
    collection = {"type": "Collection", "id": str(bookmark.endpoint_id)}
    return {
        "type": "Bookmark",
        "id": str(bookmark.id),
        "attributes": {
            "name": bookmark.name,
            "path": bookmark.path,
            "pinned": bookmark.pinned,
        },
        "relationships": {"collection": {"data": collection}},
    }


def _meta() -> JsonObject:
    return {"request_id": current_request_id.get()}


def _answer(data: Any, *, status: int = 200, **more: Any) -> JSONResponse:
    return JSONResponse({"data": data, **more, "meta": _meta()}, status_code=status)
