"""Routes of plans: what a transfer or a delete would do, looked at first, and then done, or not."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

from fastapi import Query, Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer import names, times
from towpath.transfer.api.answers.base import AGAIN, Result, Submitted, reads
from towpath.transfer.api.answers.plans import Plan as PlanAnswer
from towpath.transfer.api.answers.plans import PlanAccepted, PlanEntries, PlanStatus
from towpath.transfer.api.bodies import Document, read_document
from towpath.transfer.api.consent import Consents, with_consents
from towpath.transfer.api.documents import below, result
from towpath.transfer.api.service import PREFIX, Caller, Service, TransferService, parse_id, who
from towpath.transfer.api.submission_bodies import (
    Deadline,
    DeleteDocument,
    Label,
    TransferDocument,
)
from towpath.transfer.api.submissions import (
    Check,
    accepted,
    checked,
    new_delete,
    new_task,
    new_transfer,
)
from towpath.transfer.claims import storage_of
from towpath.transfer.planned import MEANING, Action, Facts, Planned, Reason
from towpath.transfer.store import items, plans, principals, submissions, throughput
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plans import Count, Plan
from towpath.transfer.store.tasks import Created, NewItem, NewTask, Status

router = new_router(PREFIX)

PAGE: Final = 1_000

_IS_PLAN: Final = UUID("8f1ed0b2-6f8c-4a4e-9d55-0d3f0f2f5a6b")
"""A plan has the submission id of its document, in a room of its own: the same document may be
submitted, too."""

_SILENT: Final = dict.fromkeys(
    ("notify_on_succeeded", "notify_on_failed", "notify_on_inactive"), False
)

_DUPLICATE: dict[int | str, dict[str, Any]] = {
    200: {"model": PlanAccepted, "description": "It was accepted before"}
}


class ApplyDocument(Document):
    """Body of POST /plan/<id>/apply. What is left out is as in the plan."""

    submission_id: UUID
    label: Label | None = None
    deadline: Deadline | None = None


@router.post(
    "/transfer/plan",
    status_code=202,
    response_model=PlanAccepted,
    responses=_DUPLICATE,
    openapi_extra=reads(TransferDocument),
)
async def plan_transfer(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Find out what a transfer would do. Nothing is written anywhere."""
    document = await read_document(request, TransferDocument)
    transfer, check = await new_transfer(service, caller, document)
    return await _plan(request, service, caller, transfer, check, document.parsed_deadline())


@router.post(
    "/delete/plan",
    status_code=202,
    response_model=PlanAccepted,
    responses=_DUPLICATE,
    openapi_extra=reads(DeleteDocument),
)
async def plan_delete(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Find out what a delete would remove. Nothing is removed anywhere."""
    document = await read_document(request, DeleteDocument)
    delete = await new_delete(service, caller, document)
    return await _plan(request, service, caller, delete, None, document.parsed_deadline())


async def _plan(
    request: Request,
    service: TransferService,
    caller: Principal,
    task: NewTask,
    check: Check | None,
    asked: datetime | None,
) -> JSONResponse:
    """Accept the walk for a plan of a task; `asked`: the deadline that its document has."""
    submission_id = uuid5(_IS_PLAN, str(task.submission_id))
    more: dict[str, Any] = {}
    if asked is not None:
        more["planned_deadline"] = asked.isoformat()

    async def check_and_note(ends: Sequence[Endpoint]) -> None:
        if check is not None:
            await check(ends)
        more["planned_at"] = _where(ends)

    async def begin(consents: Consents) -> Created:
        async with service.database.transaction() as conn:
            earlier = await _submitted(conn, caller.sub, submission_id)
            if earlier is not None:
                return Created(earlier, duplicate=True)
            wanted = await checked(
                conn, service, caller, task, check_and_note, consents, counts=False
            )
            await _check_plans(conn, service, caller.sub)
            await principals.put(conn, who(caller))
            walk = _walk_of(wanted, submission_id, service, more)
            [created] = await submissions.create(conn, [walk])
            if not created.duplicate:
                await plans.begin(conn, created.id, lifetime_h=service.limits.plan_lifetime_h)
            return created

    created = await with_consents(service, caller, begin)
    message = "The plan is being made; ask for it until it is ready."
    return JSONResponse(
        result(
            "plan_result",
            "Duplicate" if created.duplicate else "Accepted",
            message,
            request.url.path,
            plan_id=str(created.id),
        ),
        status_code=200 if created.duplicate else 202,
    )


async def _submitted(conn: Connection, owner_id: UUID, submission_id: UUID) -> UUID | None:
    """The task that an earlier submission made."""
    key = (owner_id, submission_id)
    return (await submissions.find(conn, [key])).get(key)


def _walk_of(
    task: NewTask,
    submission_id: UUID,
    service: TransferService,
    more: dict[str, Any],
) -> NewTask:
    """The task that walks for a plan of this one; `more` is kept for who applies that."""
    return replace(
        task,
        submission_id=submission_id,
        type=plans.TYPE,
        options={
            **task.options,
            **_SILENT,
            "deadline_given": True,
            "planned": task.options,
            **more,
        },
        deadline=service.now() + timedelta(hours=service.limits.plan_time_h),
    )


def _where(ends: Sequence[Endpoint]) -> list[str]:
    """Where endpoints have their files."""
    return [f"{storage_of(end.host, end.port)}{end.base}" for end in ends]


async def _check_plans(conn: Connection, service: TransferService, owner_id: UUID) -> None:
    limit = service.limits.plans_per_owner
    if await plans.count_kept(conn, owner_id) >= limit:
        raise ApiError(
            409,
            "ClientError.Conflict.TooManyPlans",
            f"You have {limit} plans; delete one, or wait until one expires",
        )


async def _own_plan(conn: Connection, plan_id: str, owner_id: UUID) -> Plan:
    wanted = parse_id(plan_id, "plan", "PlanNotFound")
    plan = await plans.show(conn, owner_id, wanted)
    if plan is None:
        raise ApiError.not_found(f"No such plan '{wanted}'", code="PlanNotFound")
    return plan


@router.get("/plan/{plan_id}", response_model=PlanAnswer)
async def show_plan(plan_id: str, caller: Caller, service: Service) -> JSONResponse:
    """A plan, and how many entries of what kind it has."""
    async with service.database.connection() as conn:
        plan = await _own_plan(conn, plan_id, caller.sub)
        counts = await plans.counts(conn, plan.task_no)
        rate = None
        if plan.status == Status.SUCCEEDED and plan.destination_endpoint_id is not None:
            rate = await throughput.measured(
                conn, caller.sub, plan.source_endpoint_id, plan.destination_endpoint_id
            )
    return JSONResponse(_document(plan, counts, rate, service.now()))


def _status(plan: Plan) -> PlanStatus:
    if plan.task_id is not None:
        return "applied"
    if plan.status == Status.SUCCEEDED:
        return "ready"
    if plan.status == Status.FAILED:
        return "failed"
    return "waiting" if plan.status == Status.INACTIVE else "walking"


def _type(plan: Plan) -> Literal["TRANSFER", "DELETE"]:
    """Of the task that would do what it says."""
    return "DELETE" if plan.destination_endpoint_id is None else "TRANSFER"


def _deadline(plan: Plan) -> datetime | None:
    """That its document gives the task."""
    given = plan.options.get("planned_deadline")
    return None if given is None else datetime.fromisoformat(given)


def _document(
    plan: Plan, counts: Sequence[Count], rate: float | None, now: datetime
) -> dict[str, Any]:
    completed, deadline = plan.completion_time, _deadline(plan)
    destination_id = plan.destination_endpoint_id
    return {
        "DATA_TYPE": "plan",
        "plan_id": str(plan.id),
        "type": _type(plan),
        "status": _status(plan),
        "label": plan.label,
        "source_endpoint_id": str(plan.source_endpoint_id),
        "destination_endpoint_id": None if destination_id is None else str(destination_id),
        "request_time": times.show(plan.request_time),
        "completion_time": None if completed is None else times.show(completed),
        "expires": times.show(plan.expires_at),
        "deadline": None if deadline is None else times.show(deadline),
        "bytes_per_second": None if rate is None else int(rate),
        "fatal_error": plan.fatal_error,
        "nice_status": plan.nice_status,
        "nice_status_details": plan.nice_status_details,
        "task_id": None if plan.task_id is None else str(plan.task_id),
        "DATA": [
            {
                "DATA_TYPE": "plan_count",
                "action": one.action,
                "reason": one.reason,
                "meaning": _meaning(one.reason),
                "entries": one.entries,
                "bytes": one.bytes,
            }
            for one in counts
        ],
        "expected_faults": list(_expected(counts, rate, deadline, now)),
    }


def _expected(
    counts: Sequence[Count], rate: float | None, deadline: datetime | None, now: datetime
) -> Iterator[dict[str, Any]]:
    """What would go wrong, as far as it can be known: the code of the event, and of how much."""
    for one in counts:
        if one.action == Action.FAULT:
            yield _fault(one.reason, one.entries, "The entries have the details.")
    doubted = sum(one.doubted for one in counts)
    if doubted:
        why = "A server says that they may not be read, or written; the entries have the details."
        yield _fault(EventCode.PERMISSION_DENIED, doubted, why)
    moved = sum(one.bytes for one in counts if one.action in (Action.COPY, Action.OVERWRITE))
    if rate is None or deadline is None:
        return
    if moved / rate > (deadline - now).total_seconds():
        why = (
            f"To copy {moved} bytes takes {moved / rate:.0f} s at {rate:.0f} bytes/s, the highest"
            " rate of your last transfers between these two. The deadline is too early for that."
        )
        yield _fault(EventCode.EXPIRED, None, why)


def _fault(code: str, entries: int | None, details: str) -> dict[str, Any]:
    return {"DATA_TYPE": "plan_fault", "code": code, "entries": entries, "details": details}


def _meaning(reason: str) -> str:
    if reason in set(Reason):
        return MEANING[Reason(reason)]
    return f"The task would tell of {reason}."


@router.get("/plan/{plan_id}/entries", response_model=PlanEntries)
async def plan_entries(
    plan_id: str,
    caller: Caller,
    service: Service,
    marker: Annotated[int, Query(ge=0, le=2**62)] = 0,
    action: Action | None = None,
) -> JSONResponse:
    """What would be done, path by path; with `action` only that."""
    async with service.database.connection() as conn:
        plan = await _own_plan(conn, plan_id, caller.sub)
        page = await plans.page(
            conn,
            plan.task_no,
            after=marker,
            limit=PAGE,
            actions=tuple(Action) if action is None else (action,),
        )
        numbers, globs = {one.item_no for _, one in page}, plan.options.get("interpret_globs")
        roots = await items.roots(conn, plan.task_no, numbers, globs=bool(globs))
    data = await asyncio.to_thread(lambda: [_entry(one, roots[one.item_no]) for _, one in page])
    return JSONResponse(
        {
            "DATA_TYPE": "plan_entries",
            "marker": marker,
            "next_marker": page[-1][0] if len(page) == PAGE else None,
            "DATA": data,
        }
    )


def _entry(one: Planned, item: NewItem) -> dict[str, Any]:
    here: str | None = below(item.source_path, one.path)
    there: str | None = None
    at_source, at_destination = one.here, one.there
    if item.destination_path is None:  # of a delete, whose only end is the source
        at_source, at_destination = one.there, None
    else:
        there = below(item.destination_path, one.path)
        for _ in range(one.above):
            there = there.rstrip("/").rpartition("/")[0] or "/"
        if one.above > 0 or (one.action is Action.DELETE and one.here is None):
            here = None
    return {
        "DATA_TYPE": "plan_entry",
        "action": one.action,
        "reason": one.reason,
        "source_path": here,
        "destination_path": there,
        "source": _facts(at_source),
        "destination": _facts(at_destination),
        "details": one.details,
    }


def _facts(facts: Facts | None) -> dict[str, Any] | None:
    if facts is None:
        return None
    modified = facts.modified
    return {
        "type": facts.type,
        "size": facts.size,
        "modified": None if modified is None else times.show(datetime.fromtimestamp(modified, UTC)),
        "target": None if facts.target is None else names.to_text(facts.target),
    }


@router.post(
    "/plan/{plan_id}/apply",
    status_code=202,
    response_model=Submitted,
    responses=AGAIN,
    openapi_extra=reads(ApplyDocument),
)
async def apply_plan(
    plan_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Accept the task that does what the plan says, and nothing else. Once."""
    document = await read_document(request, ApplyDocument)

    async def apply(consents: Consents) -> tuple[NewTask, Created]:
        async with service.database.transaction() as conn:
            return await _apply(conn, service, caller, plan_id, document, consents)

    return accepted(request, *await with_consents(service, caller, apply))


async def _apply(
    conn: Connection,
    service: TransferService,
    caller: Principal,
    plan_id: str,
    document: ApplyDocument,
    consents: Consents,
) -> tuple[NewTask, Created]:
    await plans.lock(conn, (await _own_plan(conn, plan_id, caller.sub)).task_no)
    plan = await _own_plan(conn, plan_id, caller.sub)
    asked = _deadline(plan) if document.deadline is None else times.parse(document.deadline)
    wanted, _ = await items.page(conn, plan.task_no, limit=None, offset=0)
    options = {k: v for k, v in plan.options["planned"].items() if k != "deadline_given"}
    task = new_task(
        *(service, caller, document.submission_id),
        type=_type(plan),
        label=document.label if "label" in document.model_fields_set else plan.label,
        options=options | ({} if asked is None else {"deadline_given": True}),
        ends=(plan.source_endpoint_id, plan.destination_endpoint_id),
        deadline=asked,
        items=wanted,
    )
    earlier = await _submitted(conn, caller.sub, task.submission_id)
    if earlier is not None:
        if earlier != plan.task_id:
            raise ApiError(
                409,
                "ClientError.Conflict.SubmissionUsed",
                "There is another task with this submission_id",
            )
        return task, Created(earlier, duplicate=True)
    if plan.task_id is not None:
        raise ApiError(
            409,
            "ClientError.Conflict.PlanApplied",
            f"The plan has been applied: see task {plan.task_id}. Make another one",
        )
    if plan.status != Status.SUCCEEDED:
        raise ApiError(
            409, "ClientError.Conflict.PlanNotReady", "The plan is not ready: look at it first"
        )
    task = await checked(conn, service, caller, task, partial(_check_unmoved, plan), consents)
    await principals.put(conn, who(caller))
    [created] = await submissions.create(conn, [task])
    await service.pauses.fit_new(conn, [created.id])
    if not await plans.apply(conn, plan.task_no, created.id):
        raise ApiError(
            409, "ClientError.Conflict.PlanApplied", "The plan has just been applied or removed"
        )
    return task, created


async def _check_unmoved(plan: Plan, ends: Sequence[Endpoint]) -> None:
    now = _where(ends)
    if plan.options.get("planned_at", now) != now:
        raise ApiError(
            409,
            "ClientError.Conflict.PlanOutdated",
            "An endpoint has been given another server, or another base path, since the plan was"
            " made. Make another one",
        )


@router.delete("/plan/{plan_id}", response_model=Result)
async def delete_plan(
    plan_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Forget a plan; its walk ends. Not while a task follows it."""
    async with service.database.transaction() as conn:
        plan = await _own_plan(conn, plan_id, caller.sub)
        dropped = await plans.drop(conn, plan.task_no)
    if not dropped:
        raise ApiError(
            409,
            "ClientError.Conflict.PlanInUse",
            f"Task {plan.task_id} follows the plan: cancel it first, or wait for its end",
        )
    return JSONResponse(
        result("result", "Deleted", "The plan has been deleted successfully.", request.url.path)
    )
