"""Routes of tasks: show, list, change, cancel, events, and what was transferred."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import DocumentResponse, new_router
from towpath.transfer import times
from towpath.transfer.api.answers import tasks as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import Document, read_document
from towpath.transfer.api.documents import (
    below,
    event_list,
    item_document,
    only,
    result,
    task_document,
)
from towpath.transfer.api.fidelity import fidelity_document
from towpath.transfer.api.pause_rules import limited
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    own_task,
    own_task_shown,
)
from towpath.transfer.api.submission_bodies import Deadline, Label
from towpath.transfer.api.task_filters import parse_event_filter, parse_filter, parse_order
from towpath.transfer.store import fidelity, items, pause_rules, segments, tasks
from towpath.transfer.store.pause_rules import PauseRule
from towpath.transfer.store.tasks import Change, NewItem, Task

router = new_router(PREFIX)

MAX_PAGE = 1000
DEFAULT_PAGE = 10
"""As the Transfer API."""

MAX_OFFSET = 1_000_000_000

CANCEL_WAIT_S = 5.0
"""How long the answer to a cancel waits for the engine; then it is `CancelAccepted`."""

CANCEL_POLL_S = 0.25

PAUSED_BY_OWNER = "Paused by its owner; resume or cancel it."

DEFAULT_ITEMS = 100
"""On a page of them: most tasks have fewer."""

Roots = dict[int, NewItem]
"""Source and destination path of items, by number."""


class TaskDocument(Document):
    """Body of PUT /task/<id>."""

    label: Label | None = None
    deadline: Deadline | None = None


@router.get("/task_list", response_model=answers.TaskList)
async def list_tasks(
    caller: Caller,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    filter: str = "",  # noqa: A002 - the parameter's name
    orderby: str | None = None,
    fields: str | None = None,
) -> JSONResponse:
    """The caller's tasks."""
    try:
        clauses, order = parse_filter(filter), parse_order(orderby)
    except ValueError as error:
        raise ApiError.bad_request(str(error)) from None
    async with service.database.connection() as conn:
        page, total = await tasks.list_page(
            conn, caller.sub, clauses=clauses, order=order, limit=limit, offset=offset
        )
    now = service.now()
    return JSONResponse(
        {
            "DATA_TYPE": "task_list",
            "length": len(page),
            "limit": limit,
            "offset": offset,
            "total": total,
            "DATA": [only(task_document(task, now), fields) for task in page],
        }
    )


@router.get("/task/{task_id}", response_model=answers.Task)
async def show_task(
    task_id: str, caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """One task."""
    task = await own_task_shown(service, task_id, caller.sub)
    return DocumentResponse(only(task_document(task, service.now()), fields))


@router.put("/task/{task_id}", response_model=Result, openapi_extra=reads(TaskDocument))
async def update_task(
    task_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change label or deadline of a task that runs."""
    document = await read_document(request, TaskDocument)
    async with service.database.transaction() as conn:
        task = await own_task(conn, task_id, caller.sub)
        label = document.label if "label" in document.model_fields_set else task.label
        deadline = task.deadline
        if document.deadline is not None:
            deadline = times.parse(document.deadline)
            if deadline <= service.now():
                raise ApiError.bad_request("deadline: this time has passed; cancel instead")
        changed = await tasks.update(
            conn,
            caller.sub,
            task.id,
            label=label,
            deadline=deadline,
            deadline_given=document.deadline is not None,
        )
    if not changed:
        raise ApiError(
            409, "ClientError.Conflict.TaskComplete", "The task is complete; it cannot change"
        )
    return JSONResponse(
        result("result", "Updated", "The task has been updated successfully.", request.url.path)
    )


@router.post("/task/{task_id}/cancel", response_model=Result, responses={202: {"model": Result}})
async def cancel_task(
    task_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """End a task. Repeating it is harmless."""
    async with service.database.transaction() as conn:
        task = await own_task(conn, task_id, caller.sub)
        asked = await tasks.request_cancel(conn, caller.sub, task.id)
    if not asked:
        return _complete(request)
    if await _ends_soon(service, caller.sub, task.id):
        return JSONResponse(
            result(
                "result",
                "Canceled",
                "The task has been cancelled successfully.",
                request.url.path,
            )
        )
    return JSONResponse(
        result(
            "result",
            "CancelAccepted",
            "The task is being cancelled: it ends when what is under way is known to be still.",
            request.url.path,
        ),
        status_code=202,
    )


async def _ends_soon(service: TransferService, owner_id: UUID, task_id: UUID) -> bool:
    for _ in range(round(CANCEL_WAIT_S / CANCEL_POLL_S)):
        await asyncio.sleep(CANCEL_POLL_S)
        async with service.database.connection() as conn:
            task = await tasks.show(conn, owner_id, task_id)
        if task is not None and task.finished:
            return True
    return False


@router.post("/task/{task_id}/pause", response_model=Result)
async def pause_task(
    task_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Stop a task for a while. Repeating it is harmless."""
    async with service.database.transaction() as conn:
        task = await own_task(conn, task_id, caller.sub)
        paused = await tasks.pause(
            conn,
            caller.sub,
            task.id,
            _change(caller, service, deadline_h=service.limits.paused_deadline_h),
        )
    if not paused:
        return _complete(request)
    message = "The task is paused; it goes on when it is resumed."
    return JSONResponse(result("result", "Paused", message, request.url.path))


@router.post("/task/{task_id}/resume", response_model=Result)
async def resume_task(
    task_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Let a paused task go on. Repeating it is harmless."""
    async with service.database.transaction() as conn:
        task = await own_task(conn, task_id, caller.sub)
        resumed = await tasks.resume(
            conn,
            caller.sub,
            task.id,
            _change(caller, service, deadline_h=service.limits.deadline_h),
        )
    if not resumed:
        return _complete(request)
    message = "The task has been resumed successfully."
    if task.held_at is not None:
        message = "You have resumed the task; who manages an endpoint of it holds it still."
    return JSONResponse(result("result", "Resumed", message, request.url.path))


def _change(caller: Principal, service: TransferService, *, deadline_h: float) -> Change:
    return Change(
        by=caller.username,
        deadline=timedelta(hours=deadline_h),
        events_most=service.engine.events_per_task,
    )


def _complete(request: Request) -> JSONResponse:
    return JSONResponse(
        result("result", "TaskComplete", "The task completed already.", request.url.path)
    )


@router.get("/task/{task_id}/items", response_model=answers.TaskItems)
async def list_items(
    task_id: str,
    caller: Caller,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_ITEMS,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
) -> JSONResponse:
    """What the task was asked for."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        page, total = await items.page(conn, task.task_no, limit=limit, offset=offset)
    return JSONResponse(
        {
            "DATA_TYPE": "task_items",
            "total": total,
            "limit": limit,
            "offset": offset,
            "DATA": [item_document(item) for item in page],
        }
    )


@router.get("/task/{task_id}/event_list", response_model=answers.EventList)
async def list_events(
    task_id: str,
    caller: Caller,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    filter: str = "",  # noqa: A002 - the parameter's name
) -> JSONResponse:
    """A task's events, newest first."""
    try:
        is_error = parse_event_filter(filter)
    except ValueError as error:
        raise ApiError.bad_request(str(error)) from None
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        page, total = await tasks.list_events(
            conn, task.task_no, is_error=is_error, limit=limit, offset=offset
        )
    return JSONResponse(event_list(page, total, limit=limit, offset=offset))


@router.get("/task/{task_id}/successful_transfers", response_model=answers.SuccessfulTransfers)
async def successful_transfers(
    task_id: str,
    caller: Caller,
    service: Service,
    marker: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> JSONResponse:
    """What was copied, a history segment at a time; `marker` is the last segment's number."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        document = await history_page(
            conn, task, "successful_transfers", segments.Finished, successful_documents, marker
        )
    return JSONResponse(document)


@router.get("/task/{task_id}/skipped_errors", response_model=answers.SkippedErrors)
async def skipped_errors(
    task_id: str,
    caller: Caller,
    service: Service,
    marker: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> JSONResponse:
    """What was left out, in pages as `successful_transfers`."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        document = await history_page(
            conn, task, "skipped_errors", segments.Skipped, skipped_documents, marker
        )
    return JSONResponse(document)


async def history_page(
    conn: Connection,
    task: Task,
    data_type: str,
    record: type[segments.Record],
    documents: Callable[[list[segments.Record], Roots], list[dict[str, Any]]],
    marker: int,
) -> dict[str, Any]:
    """A history segment; `marker` is the number of the one before."""
    found = await segments.read_segment(conn, task.task_no, record, marker)
    data: list[dict[str, Any]] = []
    if found is not None:
        numbers = {one.item_no for one in found[1]}
        globs = bool(task.options.get("interpret_globs"))
        roots = await items.roots(conn, task.task_no, numbers, globs=globs)
        data = await asyncio.to_thread(documents, found[1], roots)
    return {
        "DATA_TYPE": data_type,
        "marker": marker,
        "next_marker": None if found is None else found[0],
        "DATA": data,
    }


def successful_documents(files: list[segments.Finished], roots: Roots) -> list[dict[str, Any]]:
    """What was copied."""
    return [
        {
            "DATA_TYPE": "successful_transfer",
            **_paths(file.path, roots[file.item_no]),
            "size": file.size,
            "checksum": file.digest,
            "checksum_algorithm": file.algorithm,
        }
        for file in files
    ]


def skipped_documents(skipped: list[segments.Skipped], roots: Roots) -> list[dict[str, Any]]:
    """What was left out."""
    return [
        {
            "DATA_TYPE": "skipped_error",
            **_paths(one.path, roots[one.item_no]),
            "error_code": one.code,
            "error_details": one.details,
            "error_time": times.show(datetime.fromtimestamp(one.unix_s, UTC)),
            "is_directory": one.is_directory,
            "is_symlink": False,
            "is_delete_destination_extra": False,
            "checksum_algorithm": roots[one.item_no].checksum_algorithm,
            "external_checksum": roots[one.item_no].external_checksum,
        }
        for one in skipped
    ]


def _paths(path: str, item: NewItem) -> dict[str, str | None]:
    destination = item.destination_path
    return {
        "source_path": below(item.source_path, path),
        "destination_path": None if destination is None else below(destination, path),
    }


@router.get("/task/{task_id}/fidelity", response_model=answers.FidelityReport)
async def fidelity_report(task_id: str, caller: Caller, service: Service) -> JSONResponse:
    """What a transfer could not carry over, as far as is known by now."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        if task.type != "TRANSFER":
            raise ApiError.bad_request("Only transfers have a fidelity report")
        found = await fidelity.report(conn, task.task_no)
    return JSONResponse(fidelity_document(task, found))


@router.get("/task/{task_id}/pause_info", response_model=answers.PauseInfo)
async def pause_info(task_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Who has paused a task, and what for."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        rules = [] if task.finished else await pause_rules.for_task(conn, task.id)
    return JSONResponse(pause_document(task, rules, own=True))


def pause_document(task: Task, rules: Sequence[PauseRule], *, own: bool) -> dict[str, Any]:
    """Who holds a task. `own`: for its owner, who may have paused it as well."""
    messages: dict[str, str] = {} if task.finished else task.held_by
    by_owner = PAUSED_BY_OWNER if own and task.paused_at is not None else None
    return {
        "DATA_TYPE": "pause_info_limited",
        "source_pause_message": messages.get("source", by_owner),
        "source_pause_message_share": messages.get("source_share"),
        "destination_pause_message": messages.get("destination"),
        "destination_pause_message_share": messages.get("destination_share"),
        "pause_rules": limited(rules),
    }
