"""Routes under /operation/endpoint/<id>: ls, stat, mkdir, rename."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire.listings import Entry
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.platform.openapi import takes
from towpath.transfer import names
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.answers.base import DirectoryCreated, Result, reads
from towpath.transfer.api.bodies import ApiPath, Document, read_document
from towpath.transfer.api.consent import require_data_access
from towpath.transfer.api.documents import JsonObject, file_document, result
from towpath.transfer.api.pause_rules import refuse_paused
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    check_shared,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.browse.browser import MAX_LIMIT, MAX_REACH, Page
from towpath.transfer.browse.errors import Operation, TooBusy, api_error
from towpath.transfer.browse.filters import parse_filters, parse_order
from towpath.transfer.connect.permits import Refused, permit_for
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store.endpoints import Endpoint, EntityType

router = new_router(f"{PREFIX}/operation/endpoint/{{endpoint_id}}")

ENTRIES_AT_ONCE = 1000
"""Documents of a listing that are made together: some 10 ms of work, and a megabyte."""

_FAILURES = (GridFTPError, SessionUnavailable, TooBusy)


class MkdirDocument(Document):
    """Body of mkdir."""

    path: ApiPath
    local_user: str | None = None


class RenameDocument(Document):
    """Body of rename."""

    old_path: ApiPath
    new_path: ApiPath
    local_user: str | None = None


async def _endpoint(
    service: TransferService,
    endpoint_id: str,
    caller: Principal,
    operation: str,
    *,
    writes: bool = False,
) -> Endpoint:
    """The endpoint, unless a pause rule stops `operation` there."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        check_shared(seen, writes=writes)
        await refuse_paused(conn, seen.endpoint, caller, operation)
    await require_data_access(service, caller, seen.endpoint)
    return seen.endpoint


async def _check_local_user(
    service: TransferService, endpoint: Endpoint, caller: Principal, local_user: str | None
) -> None:
    """A choice among accounts, of which everybody has one at most. Raises ApiError for another, and
    where accounts are not ours to know."""
    if not local_user:
        return
    if endpoint.entity_type is not EntityType.COLLECTION:
        raise ApiError.bad_request(
            f"local_user: which account you have at “{endpoint.display_name}” is not for you to"
            " choose: leave it out",
            reason="NotSupported",
        )
    async with service.database.connection() as conn:
        permit = await permit_for(conn, endpoint, who(caller), writes=False)
    if isinstance(permit, Refused):
        raise ApiError.forbidden(f"{permit.message}: {permit.advice}")
    if permit.account != local_user:
        raise ApiError.forbidden(
            f"local_user: your name is mapped to one account at “{endpoint.display_name}”, and it"
            " is another one"
        )


def _query_path(request: Request, default: str | None) -> str:
    """The `path` parameter as a wire path. Checked on the bytes that were sent: the framework

    replaces what is no UTF-8, and would so make it another name.
    """
    raw = request.scope["query_string"].decode("ascii", "replace")
    try:
        sent = dict(parse_qsl(raw, keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError):
        raise ApiError.bad_request(
            "The query is not UTF-8; spell other bytes as U+FFFD and their latin-1 characters",
            reason="InvalidPath",
        ) from None
    text = sent.get("path") or default
    if text is None:
        raise ApiError.bad_request("The parameter 'path' is missing")
    return _checked(text)


def _checked(text: str) -> str:
    try:
        return names.check_path(text)
    except names.InvalidPathError as error:
        raise ApiError.bad_request(f"path: {error}", reason="InvalidPath") from None


@router.get(
    "/ls",
    response_model=answers.FileList,
    openapi_extra=takes(
        "path", "If absent: where the endpoint's owner wants one to begin, or the home directory"
    ),
)
async def ls(
    endpoint_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    show_hidden: Annotated[Literal["0", "1", "true", "false"], Query()] = "1",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = MAX_LIMIT,
    offset: Annotated[int, Query(ge=0)] = 0,
    orderby: str | None = None,
    filter: Annotated[list[str] | None, Query()] = None,  # noqa: A002 - the parameter's name
    local_user: str | None = None,
) -> Response:
    """List a directory."""
    endpoint = await _endpoint(service, endpoint_id, caller, "pause_ls")
    await _check_local_user(service, endpoint, caller, local_user)
    path = _query_path(request, endpoint.details.get("default_directory") or "/~/")
    if limit + offset > MAX_REACH and offset > 0:
        raise ApiError.bad_request(f"offset and limit together reach at most {MAX_REACH} entries")
    try:
        matches, order = parse_filters(filter or ()), parse_order(orderby)
    except ValueError as error:
        raise ApiError.bad_request(str(error)) from None
    page = Page(order, matches, show_hidden in ("1", "true"), limit, offset)
    try:
        listed = await service.browser.list(endpoint.id, who(caller), path, page)
    except _FAILURES as error:
        raise api_error(error, Operation.LIST) from error
    head: JsonObject = {
        "DATA_TYPE": "file_list",
        "endpoint": str(endpoint.id),
        "path": names.to_text(listed.path),
        "absolute_path": names.to_text(listed.absolute_path),
        "rename_supported": True,
        "symlink_supported": False,
        "length": len(listed.entries),
        "total": listed.total,
        "limit": limit,
        "offset": offset,
    }
    if len(listed.entries) <= ENTRIES_AT_ONCE:
        return JSONResponse({**head, "DATA": _files(listed.entries)})
    return StreamingResponse(_file_list(head, listed.entries), media_type="application/json")


async def _file_list(head: JsonObject, entries: Sequence[Entry]) -> AsyncIterator[bytes]:
    """A long list, part by part: all documents of 100,000 entries would take 200 MB."""
    yield _json(head).removesuffix("}").encode() + b',"DATA":['
    for first in range(0, len(entries), ENTRIES_AT_ONCE):
        part = await asyncio.to_thread(_files_json, entries[first : first + ENTRIES_AT_ONCE])
        yield (b"," if first else b"") + part[1:-1]
    yield b"]}"


def _files_json(entries: Sequence[Entry]) -> bytes:
    return _json(_files(entries)).encode()


def _files(entries: Sequence[Entry]) -> list[JsonObject]:
    return [file_document(entry, entry.name) for entry in entries]


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


@router.get(
    "/stat",
    response_model=answers.File,
    openapi_extra=takes("path", "Of what to look at", required=True),
)
async def stat(
    endpoint_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    local_user: str | None = None,
) -> JSONResponse:
    """Look at one path."""
    endpoint = await _endpoint(service, endpoint_id, caller, "pause_ls")
    await _check_local_user(service, endpoint, caller, local_user)
    path = _query_path(request, None)
    try:
        target, entry = await service.browser.stat(endpoint.id, who(caller), path)
    except _FAILURES as error:
        raise api_error(error, Operation.STAT) from error
    name = target.rpartition("/")[2] or "/"
    return JSONResponse(file_document(entry, name))


@router.post(
    "/mkdir",
    status_code=202,
    response_model=DirectoryCreated,
    openapi_extra=reads(MkdirDocument),
)
async def mkdir(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Create a directory."""
    endpoint = await _endpoint(service, endpoint_id, caller, "pause_mkdir", writes=True)
    document = await read_document(request, MkdirDocument)
    await _check_local_user(service, endpoint, caller, document.local_user)
    try:
        await service.browser.mkdir(endpoint.id, who(caller), names.to_wire(document.path))
    except _FAILURES as error:
        raise api_error(error, Operation.MKDIR) from error
    return JSONResponse(
        result(
            "mkdir_result",
            "DirectoryCreated",
            "The directory was created successfully",
            request.url.path,
        ),
        status_code=202,
    )


@router.post("/rename", response_model=Result, openapi_extra=reads(RenameDocument))
async def rename(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Rename a file or directory."""
    endpoint = await _endpoint(service, endpoint_id, caller, "pause_rename", writes=True)
    document = await read_document(request, RenameDocument)
    await _check_local_user(service, endpoint, caller, document.local_user)
    old, new = names.to_wire(document.old_path), names.to_wire(document.new_path)
    try:
        await service.browser.rename(endpoint.id, who(caller), old, new)
    except _FAILURES as error:
        raise api_error(error, Operation.RENAME) from error
    return JSONResponse(
        result(
            "result",
            "FileRenamed",
            "File or directory renamed successfully",
            request.url.path,
        )
    )
