"""Routes that make tasks: submission_id, transfer, delete."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

import psycopg
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection, is_away
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.transfer import names
from towpath.transfer.api.answers.base import AGAIN, SubmissionId, Submitted, reads
from towpath.transfer.api.bodies import parse_document, read_document
from towpath.transfer.api.consent import AskFirst, Consents, look_for_consent, with_consents
from towpath.transfer.api.documents import item_document, result
from towpath.transfer.api.service import (
    Caller,
    Service,
    TransferService,
    check_shared,
    look_at,
    no_endpoint,
    own_task,
    who,
)
from towpath.transfer.api.submission_bodies import (
    AgainDocument,
    DeleteDocument,
    TransferDocument,
)
from towpath.transfer.browse.errors import Operation, api_error
from towpath.transfer.claims import storage_of
from towpath.transfer.connect.permits import Refused, permit_for
from towpath.transfer.guests import guest_of
from towpath.transfer.rights import Standing, Who
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store import endpoints, items, principals, rights, tasks
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.tasks import Created, NewItem, NewTask, Task, TaskKey
from towpath.transfer.unavailable import giving_a_credential

router = APIRouter()

T = TypeVar("T")

_ACCEPTED = {
    "TRANSFER": (
        "transfer_result",
        "The transfer has been accepted and a task has been created and queued for execution",
    ),
    "DELETE": (
        "delete_result",
        "The delete has been accepted and a task has been created and queued for execution",
    ),
}


SMALL_ITEMS = 100
"""Items of a submission that is stored together with others."""

ACCEPTED_AT_ONCE = 64
"""Submissions in one transaction: some 20 ms, in which none of them can be cancelled."""


@router.get("/submission_id", response_model=SubmissionId)
async def submission_id(_caller: Caller) -> JSONResponse:
    """A fresh id. Nothing is kept: any UUID is accepted later."""
    return JSONResponse({"DATA_TYPE": "submission_id", "value": str(uuid4())})


@router.post(
    "/transfer",
    status_code=202,
    response_model=Submitted,
    responses=AGAIN,
    openapi_extra=reads(TransferDocument),
)
async def submit_transfer(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Accept a transfer."""
    return await _transfer(request, service, caller, await read_document(request, TransferDocument))


@router.post(
    "/delete",
    status_code=202,
    response_model=Submitted,
    responses=AGAIN,
    openapi_extra=reads(DeleteDocument),
)
async def submit_delete(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Accept a delete."""
    return await _delete(request, service, caller, await read_document(request, DeleteDocument))


@router.post(
    "/task/{task_id}/run_again",
    status_code=202,
    response_model=Submitted,
    responses=AGAIN,
    openapi_extra=reads(AgainDocument),
)
async def run_again(
    task_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Accept a task like an earlier one: as if its document had been submitted once more, with a
    deadline of its own."""
    document = await read_document(request, AgainDocument)
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        asked, _ = await items.page(conn, task.task_no, limit=None, offset=0)
    label = document.label if "label" in document.model_fields_set else task.label
    raw = await asyncio.to_thread(_as_submitted, task, asked, document.submission_id, label)
    if task.type == "TRANSFER":
        transfer = await asyncio.to_thread(parse_document, raw, TransferDocument)
        return await _transfer(request, service, caller, transfer)
    delete = await asyncio.to_thread(parse_document, raw, DeleteDocument)
    return await _delete(request, service, caller, delete)


def _as_submitted(
    task: Task, asked: Sequence[NewItem], submission_id: UUID, label: str | None
) -> bytes:
    """The document that makes another task like this one. Seconds for a large batch."""
    document = {**task.options, "submission_id": str(submission_id), "label": label}
    if task.type == "TRANSFER":
        document |= {
            "source_endpoint": str(task.source_endpoint_id),
            "destination_endpoint": str(task.destination_endpoint_id),
            "DATA": [item_document(item) for item in asked],
        }
    else:
        document |= {
            "endpoint": str(task.source_endpoint_id),
            "DATA": [{"path": item.source_path} for item in asked],
        }
    return json.dumps(document).encode()


async def _aside(work: Callable[[], T], items: int) -> T:
    """In a thread, if there is much to do: for little that would be most of the work."""
    return work() if items <= SMALL_ITEMS else await asyncio.to_thread(work)


Check = Callable[[Endpoint, Endpoint], Awaitable[None]]
"""Of both ends of a transfer; raises ApiError."""


async def _transfer(
    request: Request, service: TransferService, caller: Principal, document: TransferDocument
) -> JSONResponse:
    task, check = await new_transfer(service, caller, document)
    return await _submit(request, service, caller, task, check)


async def new_transfer(
    service: TransferService, caller: Principal, document: TransferDocument
) -> tuple[NewTask, Check]:
    """The task that a document asks for, and what is to be seen to where it is to run."""
    _check_number_of_items(len(document.DATA), service)

    async def check(source: Endpoint, destination: Endpoint) -> None:
        try:
            await _aside(document.check_destinations, len(document.DATA))
        except ValueError as error:
            raise ApiError.bad_request(str(error), reason="DuplicateDestination") from None
        here, there = (storage_of(end.host, end.port) for end in (source, destination))
        if here == there:
            try:
                apart = partial(document.check_apart, source.base, destination.base)
                await _aside(apart, len(document.DATA))
            except ValueError as error:
                raise ApiError.bad_request(str(error), reason="InvalidPath") from None

    task = NewTask(
        id=uuid4(),
        owner_id=caller.sub,
        username=caller.username,
        client_id=caller.client_id,
        root_client_id=caller.root_client_id,
        submission_id=document.submission_id,
        type="TRANSFER",
        label=document.label,
        options=document.options(),
        source_endpoint_id=document.source_endpoint,
        destination_endpoint_id=document.destination_endpoint,
        deadline=deadline_of(document.parsed_deadline(), service),
        items=await _aside(document.items, len(document.DATA)),
    )
    return task, check


async def _delete(
    request: Request, service: TransferService, caller: Principal, document: DeleteDocument
) -> JSONResponse:
    _check_number_of_items(len(document.DATA), service)
    task = NewTask(
        id=uuid4(),
        owner_id=caller.sub,
        username=caller.username,
        client_id=caller.client_id,
        root_client_id=caller.root_client_id,
        submission_id=document.submission_id,
        type="DELETE",
        label=document.label,
        options=document.options(),
        source_endpoint_id=document.endpoint,
        destination_endpoint_id=None,
        deadline=deadline_of(document.parsed_deadline(), service),
        items=await _aside(document.items, len(document.DATA)),
    )
    return await _submit(request, service, caller, task, None)


def _check_number_of_items(items: int, service: TransferService) -> None:
    if items > service.limits.items_per_task:
        raise ApiError.bad_request(
            f"DATA: {items} items are more than the {service.limits.items_per_task} that a task"
            " may have: name directories instead of files, or submit several tasks",
            reason="TooManyItems",
        )


def deadline_of(asked: datetime | None, service: TransferService) -> datetime:
    """If none is given, one that the engine moves on while a transfer makes progress."""
    return service.now() + timedelta(hours=service.limits.deadline_h) if asked is None else asked


@dataclass(frozen=True, slots=True)
class _Submission:
    """A task that somebody wants, and what is to be seen to where it is to run."""

    task: NewTask
    caller: Principal
    check: Check | None
    consents: Consents


async def _submit(
    request: Request,
    service: TransferService,
    caller: Principal,
    task: NewTask,
    check: Check | None,
) -> JSONResponse:
    async def accept(consents: Consents) -> Created:
        submission = _Submission(task, caller, check, consents)
        if len(task.items) > SMALL_ITEMS:  # others need not wait for it
            return await _accept_alone(service, submission)
        try:
            return await service.together(_accept, most=ACCEPTED_AT_ONCE)(submission)
        except _AloneError:
            return await _accept_alone(service, submission)

    return accepted(request, task, await with_consents(service, caller, accept))


def accepted(request: Request, task: NewTask, created: Created) -> JSONResponse:
    """The answer to a submission."""
    data_type, message = _ACCEPTED[task.type]
    if created.duplicate:
        message = "The task with this submission_id exists already; nothing new was started"
    return JSONResponse(
        result(
            data_type,
            "Duplicate" if created.duplicate else "Accepted",
            message,
            request.url.path,
            submission_id=str(task.submission_id),
            task_id=str(created.id),
            task_link={
                "DATA_TYPE": "link",
                "href": f"task/{created.id}?format=json",
                "rel": "related",
                "resource": "task",
                "title": "related task",
            },
        ),
        status_code=200 if created.duplicate else 202,
    )


async def _as_managers_say(conn: Connection, task: NewTask, ends: Sequence[Endpoint]) -> NewTask:
    """A transfer with what the managers of its collections demand. Of what is shared, the settings
    of the collection below hold as well."""
    settings = [end.managed for end in ends]
    for end in ends:
        if end.is_guest and end.host_endpoint_id is not None:
            host = await endpoints.get(conn, end.host_endpoint_id)
            settings += [] if host is None else [host.managed]
    demanded = {name for one in settings for name, value in one.items() if value is True}
    options = dict(task.options)
    if "force_encryption" in demanded:
        options["encrypt_data"] = True
    if "disable_verify" in demanded:
        if "force_verify" in demanded:
            raise ApiError.bad_request(
                "One of the collections demands that checksums are compared, and the other lets"
                " nobody compute them: ask their managers"
            )
        options["verify_checksum"] = False
    if "force_verify" in demanded:
        options["verify_checksum"] = True
    return replace(task, options=options)


async def checked(
    conn: Connection,
    service: TransferService,
    caller: Principal,
    task: NewTask,
    check: Check | None,
    consents: Consents,
) -> NewTask:
    """A task that may run where it is to, as it may: for who stores it himself. Raises ApiError,
    and AskFirst."""
    one = _Submission(task, caller, check, consents)
    return await _checked(conn, service, one, await _places(conn, service, [one]))


async def check_room(conn: Connection, service: TransferService, owner_id: UUID) -> None:
    """Whether an owner may have one more task. Raises ApiError: 409."""
    active = await tasks.count_active(conn, {owner_id})
    _check_room(service, active.get(owner_id, 0))


class _AloneError(Exception):
    """A submission that others should not wait for: it must be tried by itself."""


async def _accept_alone(service: TransferService, submission: _Submission) -> Created:
    (created,) = await _accept(service, [submission])
    if isinstance(created, Exception):
        raise created
    return created


async def _accept(
    service: TransferService, asked: Sequence[_Submission]
) -> Sequence[Created | Exception]:
    """Store the tasks of submissions that came together, in one transaction, or say what is wrong
    with them. What one does to the database is no other's loss.
    """
    try:
        async with service.database.transaction() as conn:
            done, heard = await _accept_on(conn, service, asked)
        for person in heard:
            service.heard.told(person)
        return done
    except psycopg.Error as error:
        if len(asked) == 1 or is_away(error):
            raise
    found: list[Created | Exception] = []
    for one in asked:
        try:
            found += await _accept(service, [one])
        except psycopg.Error as error:
            found.append(error)
    return found


async def _accept_on(
    conn: Connection, service: TransferService, asked: Sequence[_Submission]
) -> tuple[Sequence[Created | Exception], Sequence[Who]]:
    """The answers, and whom the database has been told of. A repetition tells it of nobody."""
    # First of all: a repetition gets its task, also if what it names is gone meanwhile.
    repeated = await tasks.find_submissions(conn, [one.task.key for one in asked])
    places = await _places(conn, service, asked)
    room = await tasks.count_active(conn, {one.task.owner_id for one in asked})
    found: dict[TaskKey, Created | Exception] = {}
    new: list[_Submission] = []
    for one in asked:
        key, owner = one.task.key, one.task.owner_id
        if key in found:  # it came twice
            continue
        if key in repeated:
            found[key] = Created(repeated[key], duplicate=True)
            continue
        if len(asked) > 1 and places.ask_others(one):
            found[key] = _AloneError()
            continue
        try:
            task = await _checked(conn, service, one, places)
            _check_room(service, room.get(owner, 0))
        except (ApiError, AskFirst) as error:
            found[key] = error
            continue
        room[owner] = room.get(owner, 0) + 1
        found[key] = Created(one.task.id, duplicate=False)
        new.append(replace(one, task=task))
    people = {one.caller.sub: who(one.caller) for one in new}
    heard = [one for _, one in sorted(people.items()) if service.heard.is_news(one)]
    for person in heard:  # in one order with all who write several (`transfer.watches`)
        await principals.put(conn, person)
    if new:
        made = await tasks.create(conn, [one.task for one in new])
        await service.pauses.fit_new(conn, [one.id for one in made if not one.duplicate])
        found |= {one.task.key: created for one, created in zip(new, made, strict=True)}
    return [_answered(one.task, found[one.task.key]) for one in asked], heard


def _answered(task: NewTask, told: Created | Exception) -> Created | Exception:
    """One that came twice has made a task once."""
    if isinstance(told, Created) and told.id != task.id:
        return Created(told.id, duplicate=True)
    return told


@dataclass(frozen=True, slots=True)
class _Places:
    """What is known of endpoints where tasks are to run; read once for all of them."""

    seen: Mapping[tuple[UUID, UUID], tuple[Endpoint, Standing]]
    """By endpoint and caller: the endpoint, and what the caller is there."""
    credentials: Collection[tuple[UUID, UUID]]
    """Endpoint and owner of each that there is."""

    def ask_others(self, one: _Submission) -> bool:
        """Whether it may be necessary to ask much before a task may run there."""
        ends = (one.task.source_endpoint_id, one.task.destination_endpoint_id)
        known = [self.seen.get((end, one.caller.sub)) for end in ends if end is not None]
        return any(found is not None and found[0].is_connect for found in known) or any(
            found is not None and found[0].is_guest for found in known
        )


async def _places(
    conn: Connection, service: TransferService, asked: Sequence[_Submission]
) -> _Places:
    callers = {one.caller.sub: one.caller for one in asked}
    ends = {
        (end, one.caller.sub)
        for one in asked
        for end in (one.task.source_endpoint_id, one.task.destination_endpoint_id)
        if end is not None
    }
    found = await endpoints.get_many(conn, {end for end, _ in ends})
    seen: dict[tuple[UUID, UUID], tuple[Endpoint, Standing]] = {}
    for sub, caller in callers.items():
        theirs = [found[end] for end, whose in ends if whose == sub and end in found]
        standings = await rights.standings(conn, theirs, who(caller), service.now())
        seen |= {(one.id, sub): (one, standings[one.id]) for one in theirs}
    return _Places(seen, await service.issuing.held(conn, ends))


async def _checked(
    conn: Connection, service: TransferService, one: _Submission, places: _Places
) -> NewTask:
    """A task that may run where it is to, as it may. Raises ApiError, and AskFirst."""
    task = one.task
    if task.deadline <= service.now():
        raise ApiError.bad_request("deadline: this time has passed")
    is_delete = task.destination_endpoint_id is None
    source = await _usable(conn, service, one, task.source_endpoint_id, places, writes=is_delete)
    if task.destination_endpoint_id is not None:
        destination = await _usable(
            conn, service, one, task.destination_endpoint_id, places, writes=True
        )
        if one.check is not None:
            await one.check(source, destination)
        task = await _as_managers_say(conn, task, (source, destination))
    return task


async def _usable(
    conn: Connection,
    service: TransferService,
    one: _Submission,
    endpoint_id: UUID,
    places: _Places,
    *,
    writes: bool,
) -> Endpoint:
    """An endpoint that the caller sees and has a credential for, whose agents let him in, or that
    is shared with him. An expired credential will do: the task then waits until it is renewed.
    """
    task, caller = one.task, one.caller
    known = places.seen.get((endpoint_id, caller.sub))
    if known is None:
        raise no_endpoint(endpoint_id)
    seen = look_at(*known)
    endpoint = seen.endpoint
    look_for_consent(one.consents, endpoint)
    if endpoint.is_guest:
        check_shared(seen, writes=writes)
        await _check_shared(conn, service, endpoint, caller, task, writes=writes)
    elif endpoint.is_connect:
        await _check_permitted(conn, endpoint, caller, writes=writes)
    elif (endpoint_id, caller.sub) not in places.credentials:
        raise ApiError(
            400,
            "ClientError.ActivationRequired",
            f"You have given no credential for endpoint '{endpoint.display_name}'."
            f" Add one {giving_a_credential(endpoint_id)}",
        )
    return endpoint


async def _check_shared(
    conn: Connection,
    service: TransferService,
    endpoint: Endpoint,
    caller: Principal,
    task: NewTask,
    *,
    writes: bool,
) -> None:
    """Whether access rules let the caller do all that the task is to do there. A credential of the
    sharer's that is missing is no matter of the caller's: the task waits for it."""
    try:
        guest = await guest_of(conn, endpoint, who(caller), service.now())
        allowed = guest.prefixes(writes=writes)
        if endpoint.is_connect:
            permit = await permit_for(conn, endpoint, who(caller), guest, writes=writes)
            if isinstance(permit, Refused):
                raise ApiError.forbidden(f"{permit.message}: {permit.advice}")
            allowed = permit.prefixes
        if writes and not any(prefix.write for prefix in allowed):
            raise ApiError.forbidden(f"“{endpoint.display_name}” may only be read by you")
        paths = await asyncio.to_thread(_paths_at, task, writes=writes)
        if task.type == "DELETE" and any(
            names.absolute(one.source_path, "/") == "/" for one in task.items
        ):
            raise ApiError.bad_request(
                "DATA: what is shared cannot be deleted itself", reason="InvalidPath"
            )
        await asyncio.to_thread(guest.demand, paths, writes=writes)
    except SessionUnavailable as error:
        raise api_error(error, Operation.SUBMIT) from error


def _paths_at(task: NewTask, *, writes: bool) -> list[str]:
    """The wire paths that a task names at an endpoint: those that it reads, or those that it writes
    or deletes."""
    if task.type == "DELETE":
        globs = bool(task.options.get("interpret_globs"))
        texts = [
            item.source_path.rpartition("/")[0] + "/"
            if globs and names.is_pattern(item.source_path)
            else item.source_path
            for item in task.items
        ]
    elif writes:
        texts = [item.destination_path or "" for item in task.items]
    else:
        texts = [item.source_path for item in task.items]
    return list(map(names.to_wire, texts))


async def _check_permitted(
    conn: Connection, endpoint: Endpoint, caller: Principal, *, writes: bool
) -> None:
    if not endpoint.functional:
        raise ApiError.bad_request(
            f"“{endpoint.display_name}” has no files of its own: use one of its collections"
        )
    permit = await permit_for(conn, endpoint, who(caller), writes=writes)
    if isinstance(permit, Refused):
        raise ApiError.forbidden(f"{permit.message}: {permit.advice}")
    if writes and not permit.writes:
        raise ApiError.forbidden(f"“{endpoint.display_name}” may only be read")


def _check_room(service: TransferService, active: int) -> None:
    limit = service.limits.active_tasks_per_owner
    if active >= limit:
        # 409: the official clients repeat a 429 for a minute, and that would not help
        raise ApiError(
            409,
            "ClientError.Conflict.TooManyTasks",
            f"You have {limit} tasks that are not finished; wait for one or cancel one",
        )
