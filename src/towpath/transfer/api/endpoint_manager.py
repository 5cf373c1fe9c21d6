"""Routes of /endpoint_manager: others' tasks at endpoints that the caller looks after.

Who monitors one end of a task sees its counters, its owner's name, and the paths of that end; who
manages it may pause and cancel the task in the endpoint's name.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer import times
from towpath.transfer.api.access import access_list
from towpath.transfer.api.answers import activity as answers
from towpath.transfer.api.answers import endpoints as endpoint_answers
from towpath.transfer.api.answers import rights as rights_answers
from towpath.transfer.api.answers import tasks as task_answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import Document, read_document
from towpath.transfer.api.documents import (
    JsonObject,
    event_list,
    only,
    result,
    task_document,
)
from towpath.transfer.api.endpoints import endpoint_documents
from towpath.transfer.api.pause_rules import (
    Message,
    monitored_endpoint,
    nothing_monitored,
)
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Seen,
    Service,
    TransferService,
    parse_id,
    who,
)
from towpath.transfer.api.tasks import (
    DEFAULT_PAGE,
    MAX_OFFSET,
    MAX_PAGE,
    history_page,
    pause_document,
    skipped_documents,
    successful_documents,
)
from towpath.transfer.rights import Who
from towpath.transfer.sides import Sides, details_for
from towpath.transfer.store import (
    activity,
    endpoints,
    held,
    pause_rules,
    rights,
    segments,
    tasks,
)
from towpath.transfer.store.activity import Key, Side, Wanted
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.tasks import Status, Task

router = new_router(f"{PREFIX}/endpoint_manager")

MAX_ENDPOINTS = 1000
"""In one answer, as of a search."""
TASKS_ON_A_PAGE = 100
MAX_TASK_IDS = 50
"""In `filter_task_id` (Transfer API)."""
MAX_TASKS_AT_ONCE = 1000
"""Cancelled or paused by one request, which has them all in one transaction."""

_RUNNING = frozenset({Status.ACTIVE, Status.INACTIVE})


class AdminPauseDocument(Document):
    """Body of admin_pause and admin_cancel."""

    message: Message
    task_id_list: Annotated[list[UUID], Field(min_length=1, max_length=MAX_TASKS_AT_ONCE)]


class AdminResumeDocument(Document):
    """Body of admin_resume."""

    task_id_list: Annotated[list[UUID], Field(min_length=1, max_length=MAX_TASKS_AT_ONCE)]


@router.get("/monitored_endpoints", response_model=answers.MonitoredEndpoints)
async def monitored_endpoints(
    caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """Endpoints whose tasks the caller may see."""
    async with service.database.connection() as conn:
        found = await activity.monitored_endpoints(conn, who(caller), limit=MAX_ENDPOINTS)
        if not found:
            raise nothing_monitored()
        documents = await _endpoint_documents(conn, service, caller, found)
    return JSONResponse(_endpoint_list(documents, fields))


@router.get("/endpoint/{endpoint_id}", response_model=endpoint_answers.Endpoint)
async def managed_endpoint(
    endpoint_id: str, caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """One of them."""
    async with service.database.connection() as conn:
        seen = await monitored_endpoint(conn, service, caller, endpoint_id)
        [document] = await endpoint_documents(conn, [seen], service.origin)
    return JSONResponse(only(document, fields))


@router.get(
    "/endpoint/{endpoint_id}/hosted_endpoint_list", response_model=answers.MonitoredEndpoints
)
async def hosted_endpoints(
    endpoint_id: str, caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """What belongs to one of them, as far as the caller looks after that as well."""
    async with service.database.connection() as conn:
        at = (await monitored_endpoint(conn, service, caller, endpoint_id)).endpoint
        theirs = await activity.monitored(conn, who(caller))
        hosted = [one for one in await endpoints.belonging(conn, at.id) if one.id in theirs]
        documents = await _endpoint_documents(conn, service, caller, hosted[:MAX_ENDPOINTS])
    return JSONResponse(_endpoint_list(documents, fields))


@router.get("/endpoint/{endpoint_id}/access_list", response_model=rights_answers.AccessList)
async def monitored_access_list(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Who may read and write what of a guest collection; to look at."""
    async with service.database.connection() as conn:
        at = (await monitored_endpoint(conn, service, caller, endpoint_id)).endpoint
        if not at.is_guest:
            raise ApiError.bad_request("Only guest collections have access rules")
        document = await access_list(conn, at.id)
    return JSONResponse(document)


def _endpoint_list(documents: Sequence[JsonObject], fields: str | None) -> JsonObject:
    return {
        "DATA_TYPE": "endpoint_list",
        "length": len(documents),
        "DATA": [only(document, fields) for document in documents],
    }


async def _endpoint_documents(
    conn: Connection, service: TransferService, caller: Principal, found: Sequence[Endpoint]
) -> list[JsonObject]:
    standings = await rights.standings(conn, found, who(caller), service.now())
    seen = [Seen(one, standings[one.id]) for one in found]
    return await endpoint_documents(conn, seen, service.origin)


@router.get("/task_list", response_model=answers.MonitoredTasks)
async def monitored_tasks(
    caller: Caller,
    service: Service,
    filter_status: str | None = None,
    filter_task_id: str | None = None,
    filter_owner_id: str | None = None,
    filter_endpoint: str | None = None,
    filter_endpoint_use: Literal["source", "destination"] | None = None,
    filter_is_paused: bool | None = None,  # noqa: FBT001 - of the query
    filter_completion_time: str | None = None,
    filter_min_faults: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    filter_local_user: str | None = None,
    last_key: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = TASKS_ON_A_PAGE,
    fields: str | None = None,
) -> JSONResponse:
    """Tasks at endpoints that the caller looks after: unfinished ones, then the last that ended."""
    filters = _Filters(
        filter_status,
        filter_task_id,
        filter_owner_id,
        filter_endpoint,
        filter_endpoint_use,
        filter_is_paused,
        filter_completion_time,
        filter_min_faults,
        filter_local_user,
    )
    after = None if last_key is None else _parse_key(last_key)
    async with service.database.connection() as conn:
        theirs = await activity.monitored(conn, who(caller))
        if not theirs:
            raise nothing_monitored()
        wanted = await _wanted(conn, service, caller, filters, theirs)
        if wanted.ids is not None:
            await _require_all(conn, wanted.ids, theirs)
        page = await activity.list_tasks(conn, wanted, after=after, limit=limit + 1)
        more, page = len(page) > limit, page[:limit]
        documents = await _task_documents(conn, service, who(caller), page, theirs)
    return JSONResponse(
        {
            "DATA_TYPE": "task_list",
            "length": len(page),
            "has_next_page": more,
            "last_key": _show_key(activity.key_of(page[-1])) if page else None,
            "DATA": [only(document, fields) for document in documents],
        }
    )


@dataclass(frozen=True, slots=True)
class _Filters:
    """As they came."""

    status: str | None
    task_id: str | None
    owner_id: str | None
    endpoint: str | None
    endpoint_use: str | None
    is_paused: bool | None
    completion_time: str | None
    min_faults: int | None
    local_user: str | None

    def statuses(self) -> list[Status] | None:
        """Raises ApiError."""
        if not self.status:
            return None
        try:
            return [Status(one.strip()) for one in self.status.split(",")]
        except ValueError:
            known = ", ".join(Status)
            raise ApiError.bad_request(f"filter_status takes {known}") from None

    def ids(self) -> list[UUID] | None:
        """Raises ApiError."""
        if not self.task_id:
            return None
        others = (self.status, self.owner_id, self.endpoint, self.completion_time, self.local_user)
        if any(others) or self.is_paused is not None or self.min_faults is not None:
            raise ApiError.bad_request("filter_task_id cannot be combined with other filters")
        texts = self.task_id.split(",")
        if len(texts) > MAX_TASK_IDS:
            raise ApiError.bad_request(f"filter_task_id takes at most {MAX_TASK_IDS} ids")
        return [_id("filter_task_id", text) for text in texts]

    def check(self, statuses: Collection[Status] | None) -> None:
        """What goes with what (Transfer API, get_tasks). Raises ApiError."""
        running = statuses is not None and _RUNNING.issuperset(statuses)
        if not running and not self.task_id and not self.endpoint:
            raise ApiError.bad_request(
                "Of tasks that may have ended there are many: give filter_endpoint, filter_task_id,"
                " or a filter_status of ACTIVE, INACTIVE or both"
            )
        if self.endpoint_use and not self.endpoint:
            raise ApiError.bad_request("filter_endpoint_use goes with filter_endpoint")
        if self.is_paused is not None and not running:
            raise ApiError.bad_request(
                "filter_is_paused goes with a filter_status of ACTIVE, INACTIVE or both"
            )
        if self.local_user is not None and not self.endpoint:
            raise ApiError.bad_request("filter_local_user goes with filter_endpoint")
        if self.local_user is not None and "\0" in self.local_user:
            raise ApiError.bad_request("filter_local_user: an account's name has no NUL")

    def completed(self) -> tuple[datetime | None, datetime | None]:
        """Raises ApiError."""
        if not self.completion_time:
            return None, None
        first, comma, last = self.completion_time.partition(",")
        if not comma or not (first.strip() or last.strip()):
            raise ApiError.bad_request("filter_completion_time takes FROM,TO; one may be empty")
        try:
            return (
                times.parse(first) if first.strip() else None,
                times.parse(last) if last.strip() else None,
            )
        except ValueError as error:
            raise ApiError.bad_request(f"filter_completion_time: {error}") from None


async def _wanted(
    conn: Connection,
    service: TransferService,
    caller: Principal,
    filters: _Filters,
    theirs: frozenset[UUID],
) -> Wanted:
    statuses = filters.statuses()
    filters.check(statuses)
    first, last = filters.completed()
    at_source = at_destination = theirs
    if filters.endpoint:
        at = (await monitored_endpoint(conn, service, caller, filters.endpoint)).endpoint
        if filters.local_user is not None and at.is_guest:
            raise ApiError.bad_request(
                "filter_local_user: the accounts behind a guest collection are for those to know"
                " who look after the endpoint that it is on; give that one as filter_endpoint"
            )
        hosted = {one.id for one in await endpoints.belonging(conn, at.id)} & theirs
        at_source = at_destination = frozenset({at.id}) | hosted
        if filters.endpoint_use == "source":
            at_destination = frozenset()
        elif filters.endpoint_use == "destination":
            at_source = frozenset()
    return Wanted(
        ids=filters.ids(),
        statuses=statuses,
        owners=[_id("filter_owner_id", filters.owner_id)] if filters.owner_id else None,
        at_source=at_source,
        at_destination=at_destination,
        paused=filters.is_paused,
        completed_from=first,
        completed_until=last,
        least_faults=filters.min_faults,
        local_user=filters.local_user,
    )


def _id(name: str, text: str) -> UUID:
    try:
        return UUID(text.strip())
    except ValueError:
        raise ApiError.bad_request(f"{name}: {text[:40]!r} is not an id") from None


async def _require_all(
    conn: Connection, ids: Collection[UUID], theirs: Collection[UUID]
) -> list[Task]:
    """These tasks; 403 if any is not one of theirs, whether there is such a one or not."""
    found = [one for one in await activity.find(conn, ids) if _sides(one, theirs).any]
    if len(found) < len(set(ids)):
        raise ApiError.forbidden(
            "There is a task among these that is at no endpoint that you look after"
        )
    return found


def _parse_key(text: str) -> Key:
    kind, _, rest = text.partition(",")
    at, _, number = rest.rpartition(",")
    try:
        if kind not in ("active", "complete"):
            raise ValueError(kind)
        task_no = int(number)
        if not 0 <= task_no < 1 << 63:
            raise ValueError(number)
        return Key(kind == "active", times.parse(at), task_no)
    except ValueError:
        raise ApiError.bad_request(
            "last_key: give the last_key of the page before, as it was"
        ) from None


def _show_key(key: Key) -> str:
    return f"{'active' if key.open else 'complete'},{key.at.isoformat()},{key.task_no}"


def _sides(task: Task, theirs: Collection[UUID]) -> Sides:
    return Sides.of(task.source_endpoint_id, task.destination_endpoint_id, theirs)


async def _task_documents(
    conn: Connection,
    service: TransferService,
    viewer: Who,
    found: Sequence[Task],
    theirs: Collection[UUID],
) -> list[JsonObject]:
    """Tasks as `viewer` sees them, who looks after `theirs`."""
    now = service.now()
    visible: dict[UUID, bool] = dict.fromkeys(theirs, True)
    documents = []
    for task in found:
        sides, document = _sides(task, theirs), task_document(task, now)
        if not sides.whole:
            other, name = (
                (task.destination_endpoint_id, "destination")
                if sides.source
                else (task.source_endpoint_id, "source")
            )
            assert other is not None, "a delete has one side"
            if other not in visible:
                endpoint = await endpoints.get(conn, other)
                assert endpoint is not None, "endpoints are never removed from the table"
                standing = await rights.standing(conn, endpoint, viewer, now)
                visible[other] = standing.visible and endpoint.deleted_at is None
            _hide(document, name, sides, visible=visible[other])
        documents.append(document)
    return documents


def _hide(document: JsonObject, other: str, sides: Sides, *, visible: bool) -> None:
    """Of a task's document, what is of the `other` side alone."""
    if document["first_item"] is not None:
        first = document["first_item"]
        document["first_item"] = {**first, f"{other}_path": None}
        if other == "source":
            document["first_item"]["external_checksum"] = None
    if other == "source":
        document["filter_rules"] = None
    if document["nice_status_details"] is not None:
        document["nice_status_details"] = details_for(document["nice_status_details"], sides)
    if not visible:
        hidden = ("", "_id", "_display_name")
        document.update({f"{other}_endpoint{part}": None for part in hidden})


async def _monitored_task(
    conn: Connection, caller: Principal, text: str
) -> tuple[Task, Sides, frozenset[UUID]]:
    """A task at an endpoint that the caller looks after. 403 if it is only his own, or if he looks
    after none; 404 for others: they do not exist for him (I7)."""
    theirs = await activity.monitored(conn, who(caller))
    if not theirs:
        raise nothing_monitored()
    wanted = parse_id(text, "task", "TaskNotFound")
    found = await activity.find(conn, [wanted])
    if not found or not (sides := _sides(found[0], theirs)).any:
        if found and found[0].owner_id in caller.identity_set:
            raise ApiError.forbidden(
                "The task is your own, but you are not an activity monitor of its endpoints: ask"
                " for task/<id>"
            )
        raise ApiError.not_found(f"No such task '{wanted}'", code="TaskNotFound")
    return found[0], sides, theirs


@router.get("/task/{task_id}", response_model=task_answers.MonitoredTask)
async def monitored_task(
    task_id: str, caller: Caller, service: Service, fields: str | None = None
) -> JSONResponse:
    """One of the tasks."""
    async with service.database.connection() as conn:
        task, _, theirs = await _monitored_task(conn, caller, task_id)
        [document] = await _task_documents(conn, service, who(caller), [task], theirs)
    return JSONResponse(only(document, fields))


@router.get("/task/{task_id}/event_list", response_model=task_answers.EventList)
async def monitored_task_events(
    task_id: str,
    caller: Caller,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    filter_is_error: bool | None = None,  # noqa: FBT001 - of the query
) -> JSONResponse:
    """Its events, newest first. Their details are without what is of the other end."""
    async with service.database.connection() as conn:
        task, sides, _ = await _monitored_task(conn, caller, task_id)
        page, total = await tasks.list_events(
            conn, task.task_no, is_error=filter_is_error, limit=limit, offset=offset
        )
    shown = [replace(one, details=details_for(one.details, sides)) for one in page]
    return JSONResponse(event_list(shown, total, limit=limit, offset=offset))


@router.get("/task/{task_id}/pause_info", response_model=task_answers.PauseInfo)
async def monitored_task_pause_info(task_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Who holds it, and what for."""
    async with service.database.connection() as conn:
        task, _, _ = await _monitored_task(conn, caller, task_id)
        rules = [] if task.finished else await pause_rules.for_task(conn, task.id)
    return JSONResponse(pause_document(task, rules, own=False))


_Marker = Annotated[int, Query(ge=0, le=2**62)]


@router.get("/task/{task_id}/successful_transfers", response_model=answers.MonitoredTransfers)
async def monitored_task_transfers(
    task_id: str, caller: Caller, service: Service, marker: _Marker = 0
) -> JSONResponse:
    """What it copied."""
    async with service.database.connection() as conn:
        task, sides, _ = await _monitored_task(conn, caller, task_id)
        document = await history_page(
            conn, task, "successful_transfers", segments.Finished, successful_documents, marker
        )
    return JSONResponse(_without_other_paths(document, sides))


@router.get("/task/{task_id}/skipped_errors", response_model=answers.MonitoredSkippedErrors)
async def monitored_task_skipped_errors(
    task_id: str, caller: Caller, service: Service, marker: _Marker = 0
) -> JSONResponse:
    """What it left out."""
    async with service.database.connection() as conn:
        task, sides, _ = await _monitored_task(conn, caller, task_id)
        document = await history_page(
            conn, task, "skipped_errors", segments.Skipped, skipped_documents, marker
        )
    return JSONResponse(_without_other_paths(document, sides))


def _without_other_paths(document: JsonObject, sides: Sides) -> JsonObject:
    if sides.whole:
        return document
    hidden = ["destination_path"]
    if not sides.source:
        # what is left out is always told of by the source
        hidden = ["source_path", "error_details", "external_checksum"]
    for one in document["DATA"]:
        one.update({key: None for key in hidden if key in one})
    return document


@router.post(
    "/admin_cancel", response_model=answers.AdminCancel, openapi_extra=reads(AdminPauseDocument)
)
async def admin_cancel(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """End others' tasks. Each ends when what is under way is known to be still."""
    document = await read_document(request, AdminPauseDocument)
    cancel_id = uuid4()
    async with service.database.transaction() as conn:
        managed = await _managed(conn, caller)
        chosen = await _require_managed(conn, document.task_id_list, caller, managed)
        for task in chosen:
            side = _side(_sides(task, managed))
            await activity.request_cancel(conn, task.task_no, side, document.message)
        await activity.keep_cancel(conn, cancel_id, caller.sub, [one.task_no for one in chosen])
        done = await activity.cancel_done(conn, cancel_id, caller.sub)
    return JSONResponse({"DATA_TYPE": "admin_cancel", "id": str(cancel_id), "done": bool(done)})


@router.get("/admin_cancel/{cancel_id}", response_model=answers.AdminCancel)
async def admin_cancel_status(cancel_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Whether tasks whose end was asked for together have all ended."""
    wanted = parse_id(cancel_id, "admin cancel", "AdminCancelNotFound")
    async with service.database.connection() as conn:
        done = await activity.cancel_done(conn, wanted, caller.sub)
    if done is None:
        raise ApiError.not_found(
            f"No such admin cancel '{wanted}', or it is more than"
            f" {activity.CANCELS_KEPT_DAYS} days ago",
            code="AdminCancelNotFound",
        )
    return JSONResponse({"DATA_TYPE": "admin_cancel", "id": str(wanted), "done": done})


@router.post("/admin_pause", response_model=Result, openapi_extra=reads(AdminPauseDocument))
async def admin_pause(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Stop others' tasks until `admin_resume`. Their owners cannot resume them."""
    document = await read_document(request, AdminPauseDocument)

    async def hold(conn: Connection, task: Task, keys: list[str]) -> None:
        await held.hold(
            conn,
            task.task_no,
            keys,
            document.message,
            by=BY_MANAGER,
            terms=service.pauses.held_for,
        )

    count = await _for_each(service, caller, document.task_id_list, hold)
    message = f"{count} tasks are paused until who manages the endpoint resumes them."
    return JSONResponse(result("result", "Paused", message, request.url.path))


@router.post("/admin_resume", response_model=Result, openapi_extra=reads(AdminResumeDocument))
async def admin_resume(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Let tasks go on that `admin_pause` has stopped, as far as nothing else holds them."""
    document = await read_document(request, AdminResumeDocument)

    async def free(conn: Connection, task: Task, keys: list[str]) -> None:
        both = [*keys, *(f"{key}_share" for key in keys if not key.endswith("_share"))]
        await held.free(conn, task.task_no, both, by=BY_MANAGER, terms=service.pauses.freed)

    count = await _for_each(service, caller, document.task_id_list, free)
    message = f"{count} tasks may go on, unless a pause rule or their owners have paused them too."
    return JSONResponse(result("result", "Resumed", message, request.url.path))


BY_MANAGER = "an activity manager of an endpoint of the task"
"""Who holds a task, as its owner is told."""


async def _for_each(
    service: TransferService,
    caller: Principal,
    ids: Collection[UUID],
    change: Callable[[Connection, Task, list[str]], Awaitable[None]],
) -> int:
    """Do it to tasks that the caller manages, for his sides of them; returns how many run still."""
    count = 0
    async with service.database.transaction() as conn:
        managed = await _managed(conn, caller)
        for task in await _require_managed(conn, ids, caller, managed):
            if not task.finished:
                await change(conn, task, await _keys(conn, task, managed))
                count += 1
    return count


async def _managed(conn: Connection, caller: Principal) -> frozenset[UUID]:
    managed = await activity.managed(conn, who(caller))
    if not managed:
        raise ApiError.forbidden(
            "You are not an activity manager of any endpoint: ask an administrator of yours for"
            " the role"
        )
    return managed


async def _require_managed(
    conn: Connection, ids: Collection[UUID], caller: Principal, managed: Collection[UUID]
) -> list[Task]:
    """These tasks, all or none. 403 for one that the caller only sees; 404 for others."""
    found = {task.id: task for task in await activity.find(conn, ids)}
    theirs = await activity.monitored(conn, who(caller))
    for wanted in ids:
        task = found.get(wanted)
        if task is None or not (_sides(task, theirs).any or task.owner_id in caller.identity_set):
            raise ApiError.not_found(f"No such task '{wanted}'", code="TaskNotFound")
        if not _sides(task, managed).any:
            raise ApiError.forbidden(
                f"You are not an activity manager of an endpoint of task '{wanted}'"
            )
    return list(found.values())


def _side(sides: Sides) -> Side:
    if sides.source and sides.destination:
        return "BOTH"
    return "SOURCE" if sides.source else "DESTINATION"


async def _keys(conn: Connection, task: Task, managed: Collection[UUID]) -> list[str]:
    """In whose name the caller holds a task: that of a guest collection, if he has a say in nothing
    more than that."""
    keys = []
    for side, endpoint_id in (
        ("source", task.source_endpoint_id),
        ("destination", task.destination_endpoint_id),
    ):
        if endpoint_id is None or endpoint_id not in managed:
            continue
        endpoint = await endpoints.get(conn, endpoint_id)
        assert endpoint is not None, "endpoints are never removed from the table"
        only_share = endpoint.is_guest and endpoint.host_endpoint_id not in managed
        keys.append(f"{side}_share" if only_share else side)
    return keys
