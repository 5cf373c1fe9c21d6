"""Routes of bookmarks (Transfer API, "collection bookmarks")."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.http import new_router
from towpath.transfer.api.answers import bookmarks as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import ApiPath, Document, Text, read_document, refuse
from towpath.transfer.api.documents import JsonObject, only, result
from towpath.transfer.api.service import PREFIX, Caller, Service, parse_id, visible_endpoint, who
from towpath.transfer.store import bookmarks
from towpath.transfer.store.bookmarks import Bookmark, NameTaken

router = new_router(PREFIX)

MAX_BOOKMARKS = 100
"""Of one user (Transfer API): all are listed at once."""
MAX_NAME_CHARACTERS = 128
"""As the clients say."""


def _name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME_CHARACTERS or text != text.strip() or not text.isprintable():
        raise refuse(
            "invalid_name",
            f"a name is 1 to {MAX_NAME_CHARACTERS} printable characters on one line, without"
            " blanks around it",
        )
    return text


def _directory(path: str) -> str:
    if not path.endswith("/"):
        raise refuse("invalid_path", "a bookmark is of a directory: its path ends with '/'")
    return path


Name = Annotated[Text, AfterValidator(_name)]
Directory = Annotated[ApiPath, AfterValidator(_directory)]


class BookmarkDocument(Document):
    """Body of POST /bookmark."""

    name: Name
    endpoint_id: UUID
    path: Directory
    pinned: bool = False


class BookmarkChanges(Document):
    """Body of PUT /bookmark/<id>: what is left out stays."""

    name: Name | None = None
    endpoint_id: UUID | None = None
    path: Directory | None = None
    pinned: bool | None = None


@router.get("/bookmark_list", response_model=answers.BookmarkList)
async def list_bookmarks(
    caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """The caller's bookmarks, by name."""
    async with service.database.connection() as conn:
        found = await bookmarks.list_all(conn, caller.sub)
    return JSONResponse(
        {"DATA_TYPE": "bookmark_list", "DATA": [only(_document(one), fields) for one in found]}
    )


@router.post(
    "/bookmark",
    status_code=201,
    response_model=answers.Bookmark,
    openapi_extra=reads(BookmarkDocument),
)
async def create_bookmark(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Give a place a name."""
    document = await read_document(request, BookmarkDocument)
    made = Bookmark(id=uuid4(), owner_id=caller.sub, **document.model_dump())
    async with service.database.transaction() as conn:
        await visible_endpoint(conn, made.endpoint_id, who(caller), service.now())
        try:
            kept = await bookmarks.insert(conn, made, most=MAX_BOOKMARKS)
        except NameTaken:
            raise name_taken(made.name) from None
    if not kept:
        raise too_many()
    return JSONResponse(_document(made), status_code=201)


@router.get("/bookmark/{bookmark_id}", response_model=answers.Bookmark)
async def show_bookmark(
    bookmark_id: str, caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """One bookmark."""
    async with service.database.connection() as conn:
        found = await own_bookmark(conn, bookmark_id, caller.sub)
    return JSONResponse(only(_document(found), fields))


@router.put(
    "/bookmark/{bookmark_id}",
    response_model=answers.Bookmark,
    openapi_extra=reads(BookmarkChanges),
)
async def update_bookmark(
    bookmark_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some fields."""
    document = await read_document(request, BookmarkChanges)
    async with service.database.transaction() as conn:
        before = await own_bookmark(conn, bookmark_id, caller.sub, lock=True)
        after = replace(before, **document.model_dump(exclude_none=True))
        if after.endpoint_id != before.endpoint_id:
            await visible_endpoint(conn, after.endpoint_id, who(caller), service.now())
        try:
            await bookmarks.update(conn, after)
        except NameTaken:
            raise name_taken(after.name) from None
    return JSONResponse(_document(after))


@router.delete("/bookmark/{bookmark_id}", response_model=Result)
async def delete_bookmark(
    bookmark_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Forget a bookmark."""
    wanted = parse_id(bookmark_id, "bookmark", "BookmarkNotFound")
    async with service.database.connection() as conn:
        deleted = await bookmarks.delete(conn, caller.sub, wanted)
    if not deleted:
        raise _not_found(wanted)
    return JSONResponse(
        result("result", "Deleted", "Bookmark deleted successfully", request.url.path)
    )


async def own_bookmark(
    conn: Connection, bookmark_id: str, caller: UUID, *, lock: bool = False
) -> Bookmark:
    """A bookmark of the caller's. 404 for others."""
    wanted = parse_id(bookmark_id, "bookmark", "BookmarkNotFound")
    found = await bookmarks.get(conn, caller, wanted, lock=lock)
    if found is None:
        raise _not_found(wanted)
    return found


def _not_found(bookmark_id: UUID) -> ApiError:
    return ApiError.not_found(f"No such bookmark '{bookmark_id}'", code="BookmarkNotFound")


def too_many() -> ApiError:
    """For who has as many as he may."""
    return ApiError(
        409,
        "ClientError.Conflict.TooManyBookmarks",
        f"You have {MAX_BOOKMARKS} bookmarks, which is the most: delete one",
    )


def name_taken(name: str) -> ApiError:
    """For who has another bookmark of this name."""
    return ApiError(
        409,
        "ClientError.Conflict.BookmarkExists",
        f"You have a bookmark '{name}' already: choose another name",
    )


def _document(bookmark: Bookmark) -> JsonObject:
    return {
        "DATA_TYPE": "bookmark",
        "id": str(bookmark.id),
        "name": bookmark.name,
        "endpoint_id": str(bookmark.endpoint_id),
        "path": bookmark.path,
        "pinned": bookmark.pinned,
    }
