"""The routes: `/v2/timer`, and `/jobs/` of the older API."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.timers.api import answers
from towpath.timers.api.bodies import (
    Changes,
    NewJobRequest,
    NewTimerRequest,
    Resume,
    TransferBody,
)
from towpath.timers.api.documents import ACTION_URL, job_document, timer_document
from towpath.timers.api.service import (
    Caller,
    InvalidError,
    Service,
    TimersService,
    own_timer,
    tokens_of,
)
from towpath.timers.runner import give_up, look_when_waiting
from towpath.timers.schedule import Schedule, first, following
from towpath.timers.store import outbox, runs, timers
from towpath.timers.store.timers import ORDERS, Timer
from towpath.timers.transfer import Trouble

router = new_router()


@router.post("/v2/timer", status_code=201, response_model=answers.Created)
async def create_timer(
    document: NewTimerRequest, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Make a timer."""
    asked = document.timer
    async with service.database.connection() as conn:
        now = await service.now(conn)
    timer = await _create(
        service,
        request,
        caller,
        now,
        name=asked.name,
        schedule=asked.planned(now),
        body=asked.body,
        place=("body", "timer", "body"),
        clock=("body", "timer", "schedule"),
    )
    return JSONResponse({"timer": timer_document(timer)}, status_code=201)


@router.post("/jobs/", status_code=201, response_model=answers.Job)
async def create_job(
    document: NewJobRequest, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Make a timer, the older way."""
    async with service.database.connection() as conn:
        now = await service.now(conn)
    given = await request.json()
    timer = await _create(
        service,
        request,
        caller,
        now,
        name=document.name or "",
        schedule=document.planned(),
        body=document.callback_body.transfer(),
        place=("body", "callback_body", "body"),
        clock=("body",),
        callback_url=document.callback_url,
        callback_body=given["callback_body"],
        scope=document.scope,
    )
    return JSONResponse(job_document(timer, []), status_code=201)


async def _create(
    service: TimersService,
    request: Request,
    caller: Principal,
    now: datetime,
    *,
    name: str,
    schedule: Schedule,
    body: TransferBody,
    place: tuple[str, ...],
    clock: tuple[str, ...],
    callback_url: str = ACTION_URL,
    callback_body: Any = None,
    scope: str | None = None,
) -> Timer:
    """Everything that can be wrong is said before the timer is there."""
    limits = service.limits
    if len(body.DATA) > limits.items_per_timer:
        raise InvalidError(
            (*place, "DATA"),
            f"{len(body.DATA)} items are more than the {limits.items_per_timer} that a timer may"
            " have: name directories instead of files",
        )
    next_run = _first_run(schedule, service, clock)
    granted = await tokens_of(service, request)
    given = body.document()
    timer_id = uuid4()
    timer = Timer(
        id=timer_id,
        owner_id=caller.sub,
        name=name,
        callback_url=callback_url,
        callback_body={"body": given} if callback_body is None else callback_body,
        scope=scope,
        body=given,
        start_at=schedule.start,
        interval_s=schedule.interval_s,
        most_runs=schedule.most_runs,
        until=schedule.until,
        since=now,
        submitted_at=now,
        next_run=next_run,
        refresh_token=service.kept.seal(timer_id, granted.refresh_token),
        token_used_at=now,
        look_at=look_when_waiting(next_run, now),
    )
    kept = False
    try:
        await _check_endpoints(service, granted.access_token, body, place)
        async with service.database.transaction() as conn:
            kept = await timers.insert(conn, timer, most=limits.timers_per_owner)
    finally:
        if not kept:
            await give_up(service.nexus, service.kept, timer)
    if not kept:
        # 409: the official clients repeat a 429 for a minute, and that would not help
        raise ApiError(
            409,
            "TOO_MANY_TIMERS",
            f"You have {limits.timers_per_owner} timers that are not over: delete one first",
        )
    service.wake()
    return timer


def _first_run(schedule: Schedule, service: TimersService, clock: tuple[str, ...]) -> datetime:
    _check_interval(schedule, service, clock)
    found = first(schedule)
    if found is None:
        raise InvalidError(clock, "it would end before it begins: no run is between start and end")
    return found


def _check_interval(schedule: Schedule, service: TimersService, clock: tuple[str, ...]) -> None:
    shortest = service.limits.shortest_interval_s
    if schedule.interval_s is not None and schedule.interval_s < shortest:
        raise InvalidError(
            clock,
            f"the interval is {schedule.interval_s} s, and {shortest} s is the shortest here: a"
            " transfer that has nothing to do takes seconds, too",
        )


async def _check_endpoints(
    service: TimersService, access_token: str, body: TransferBody, place: tuple[str, ...]
) -> None:
    """Both are there for the caller. While Transfer does not answer they are taken as they are."""
    for name in ("source_endpoint", "destination_endpoint"):
        endpoint_id: UUID = getattr(body, name)
        try:
            sees = await service.transfer.sees(access_token, endpoint_id)
        except Trouble:
            continue
        if not sees:
            raise InvalidError((*place, name), f"No such endpoint '{endpoint_id}'")


@router.get("/jobs/", response_model=answers.JobList)
async def list_jobs(
    caller: Caller, service: Service, order: str = "submitted_at asc"
) -> JSONResponse:
    """All timers of the caller, with their latest runs."""
    column, _, direction = order.strip().partition(" ")
    if column not in ORDERS or direction.lower() not in ("", "asc", "desc"):
        raise InvalidError(
            ("query", "order"), f"one of {', '.join(ORDERS)}, and perhaps asc or desc"
        )
    async with service.database.connection() as conn:
        found = await timers.list_all(
            conn, caller.sub, order=column, descending=direction.lower() == "desc"
        )
        results = await runs.latest(conn, [timer.id for timer in found])
    return JSONResponse({"jobs": [job_document(timer, results[timer.id]) for timer in found]})


@router.get("/jobs/{job_id}", response_model=answers.Job)
async def get_job(job_id: str, caller: Caller, service: Service) -> JSONResponse:
    """A timer."""
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller)
        return JSONResponse(await _shown(conn, timer))


async def _shown(conn: Connection, timer: Timer, *, deleted: bool = False) -> dict[str, Any]:
    found = await runs.latest(conn, [timer.id])
    return job_document(timer, found[timer.id], deleted=deleted)


@router.patch("/jobs/{job_id}", response_model=answers.Job)
async def update_job(
    job_id: str, changes: Changes, caller: Caller, service: Service
) -> JSONResponse:
    """Rename a timer, or change when it runs."""
    given = changes.model_fields_set
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller, lock=True)
        if changes.name is not None:
            await timers.change(conn, timer.id, name=changes.name)
        if given - {"name"}:
            await _reschedule(conn, service, timer, changes.applied(timer.schedule))
        timer = await own_timer(conn, job_id, caller)
        document = await _shown(conn, timer)
    service.wake()
    return JSONResponse(document)


async def _reschedule(
    conn: Connection, service: TimersService, timer: Timer, schedule: Schedule
) -> None:
    if timer.status == "ended":
        raise _over(timer)
    _check_interval(schedule, service, ("body", "interval"))
    now = await service.now(conn)
    if timer.run_no == 0:
        next_run = first(schedule)
    else:
        next_run = following(schedule, after=now, begun=timer.run_no)
    changed: dict[str, Any] = {
        "start_at": schedule.start,
        "interval_s": schedule.interval_s,
        "most_runs": schedule.most_runs,
        "until": schedule.until,
        "next_run": next_run,
    }
    if timer.status == "active" and timer.run_began_at is None:
        changed["look_at"] = look_when_waiting(next_run, timer.token_used_at) or now
    await timers.change(conn, timer.id, **changed)


@router.delete("/jobs/{job_id}", response_model=answers.Job)
async def delete_job(job_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Delete a timer. A transfer that runs goes on."""
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller, lock=True)
        document = await _shown(conn, timer, deleted=True)
        await timers.delete(conn, timer.id)
    if timer.refresh_token is not None:
        await give_up(service.nexus, service.kept, timer)
    return JSONResponse(document)


@router.post("/jobs/{job_id}/pause", response_model=answers.Done)
async def pause_job(job_id: str, caller: Caller, service: Service) -> JSONResponse:
    """No run begins until the timer is resumed. A transfer that runs goes on."""
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller, lock=True)
        if timer.status == "ended":
            raise _over(timer)
        if timer.status == "active":
            await timers.change(
                conn,
                timer.id,
                status="inactive",
                inactive_cause="user",
                inactive_detail=None,
                since=await service.now(conn),
                look_at=None,
            )
    return JSONResponse({"message": f"Successfully paused job {timer.id}."})


@router.post("/jobs/{job_id}/resume", response_model=answers.Done)
async def resume_job(
    job_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    document: Resume | None = None,
) -> JSONResponse:
    """Go on. What was missed is made up for by one run."""
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller)
    if timer.status == "ended":
        raise _over(timer)
    update = None if document is None else document.update_credentials
    if update is None:
        update = timer.inactive_cause == "globus_auth_requirements"
    if not service.kept.opens(timer.id, timer.refresh_token):
        update = True  # nothing could be done with the token that there is
    changed: dict[str, Any] = {}
    granted = await tokens_of(service, request) if update else None
    if granted is not None:
        changed["refresh_token"] = service.kept.seal(timer.id, granted.refresh_token)
    async with service.database.transaction() as conn:
        timer = await own_timer(conn, job_id, caller, lock=True)
        if timer.status == "ended":
            raise _over(timer)
        now = await service.now(conn)
        waits = look_when_waiting(timer.next_run, now)
        await timers.change(
            conn,
            timer.id,
            status="active",
            inactive_cause=None,
            inactive_detail=None,
            since=now,
            run_attempts=0,
            look_at=now if timer.run_began_at is not None or waits is None else waits,
            **changed,
        )
        await outbox.forget(conn, timer.id)
    if granted is not None and timer.refresh_token is not None:
        await give_up(service.nexus, service.kept, timer)
    service.wake()
    return JSONResponse({"message": f"Successfully resumed job {timer.id}."})


def _over(timer: Timer) -> ApiError:
    return ApiError(409, "TIMER_ENDED", f"Timer {timer.id} is over: make a new one")
