"""Routes that make tasks: submission_id, transfer, delete."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import psycopg
from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection, is_away
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import DocumentResponse, new_router
from towpath.transfer import names
from towpath.transfer.api.answers.base import AGAIN, SubmissionId, Submitted, reads
from towpath.transfer.api.bodies import parse_document, read_document
from towpath.transfer.api.consent import AskFirst, Consents, look_for_consent, with_consents
from towpath.transfer.api.documents import item_document, result
from towpath.transfer.api.service import (
    PREFIX,
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
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store import endpoints, items, principals, submissions
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.submissions import Asking, Known
from towpath.transfer.store.tasks import Created, NewItem, NewTask, Task, TaskKey
from towpath.transfer.unavailable import giving_a_credential

router = new_router(PREFIX)

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


Check = Callable[[Sequence[Endpoint]], Awaitable[None]]
"""Of the ends of a task: a transfer has two, a delete one. Raises ApiError."""


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

    async def check(ends: Sequence[Endpoint]) -> None:
        source, destination = ends
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

    task = new_task(
        *(service, caller, document.submission_id),
        type="TRANSFER",
        label=document.label,
        options=document.options(),
        ends=(document.source_endpoint, document.destination_endpoint),
        deadline=document.parsed_deadline(),
        items=await _aside(document.items, len(document.DATA)),
    )
    return task, check


async def _delete(
    request: Request, service: TransferService, caller: Principal, document: DeleteDocument
) -> JSONResponse:
    task = await new_delete(service, caller, document)
    return await _submit(request, service, caller, task, None)


async def new_delete(
    service: TransferService, caller: Principal, document: DeleteDocument
) -> NewTask:
    """The task that a document asks for."""
    _check_number_of_items(len(document.DATA), service)
    return new_task(
        *(service, caller, document.submission_id),
        type="DELETE",
        label=document.label,
        options=document.options(),
        ends=(document.endpoint, None),
        deadline=document.parsed_deadline(),
        items=await _aside(document.items, len(document.DATA)),
    )


def _check_number_of_items(items: int, service: TransferService) -> None:
    if items > service.limits.items_per_task:
        raise ApiError.bad_request(
            f"DATA: {items} items are more than the {service.limits.items_per_task} that a task"
            " may have: name directories instead of files, or submit several tasks",
            reason="TooManyItems",
        )


def new_task(
    service: TransferService,
    caller: Principal,
    submission_id: UUID,
    *,
    type: Literal["TRANSFER", "DELETE"],  # noqa: A002 - the task's own word
    label: str | None,
    options: dict[str, Any],
    ends: tuple[UUID, UUID | None],
    deadline: datetime | None,
    items: Sequence[NewItem],
) -> NewTask:
    """A task of the caller's. `ends`: source and destination; of a delete, where, and None.
    Without a deadline it gets one that the engine moves on while a transfer makes progress."""
    if deadline is None:
        deadline = service.now() + timedelta(hours=service.limits.deadline_h)
    return NewTask(
        id=uuid4(),
        owner_id=caller.sub,
        username=caller.username,
        client_id=caller.client_id,
        root_client_id=caller.root_client_id,
        submission_id=submission_id,
        type=type,
        label=label,
        options=options,
        source_endpoint_id=ends[0],
        destination_endpoint_id=ends[1],
        deadline=deadline,
        items=items,
    )


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
        await _stored(service, task.key)
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
    return DocumentResponse(
        result(
            data_type,
            "Duplicate" if created.duplicate else "Accepted",
            message,
            request.scope["path"],
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
    if not demanded:
        return task
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
    *,
    counts: bool = True,
) -> NewTask:
    """A task that may run where it is to, as it may: for who stores it himself. `counts`: as one
    of those that its owner may have. Raises ApiError, and AskFirst."""
    one = _Submission(task, caller, check, consents)
    known = (await _known(conn, service, [one]))[caller.sub]
    task = await _checked(conn, service, one, known)
    if counts:
        _check_room(service, known.active)
    return task


class _AloneError(Exception):
    """A submission that others should not wait for: it must be tried by itself."""


async def _accept_alone(service: TransferService, submission: _Submission) -> Created:
    key = submission.task.key
    await _stored(service, key)
    done = service.storing[key] = asyncio.Event()
    try:
        (created,) = await _accept(service, [submission])
    finally:
        del service.storing[key]
        done.set()
    if isinstance(created, Exception):
        raise created
    return created


async def _stored(service: TransferService, key: TaskKey) -> None:
    """Until this process is not storing such a submission by itself."""
    while key in service.storing:
        await service.storing[key].wait()


async def _accept(
    service: TransferService, asked: Sequence[_Submission]
) -> Sequence[Created | Exception]:
    """Store the tasks of submissions that came together, in one transaction, or say what is wrong
    with them. What one does to the database is no other's loss.
    """
    try:
        async with service.database.connection() as conn:
            return await _accept_on(conn, service, asked)
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
) -> Sequence[Created | Exception]:
    known = await _known(conn, service, asked)
    found: dict[TaskKey, Created] = {}
    refused: dict[UUID, Exception] = {}
    new: list[tuple[NewTask, Principal]] = []
    for one in asked:
        key, theirs = one.task.key, known[one.caller.sub]
        if key in found:  # it came twice
            continue
        # First of all: a repetition gets its task, also if what it names is gone meanwhile.
        earlier = theirs.earlier.get(one.task.submission_id)
        if earlier is not None:
            found[key] = Created(earlier, duplicate=True)
            continue
        if len(asked) > 1 and _asks_others(one.task, theirs):
            refused[one.task.id] = _AloneError()
            continue
        try:
            task = await _checked(conn, service, one, theirs)
            _check_room(service, theirs.active)
        except (ApiError, AskFirst) as error:
            refused[one.task.id] = error
            continue
        theirs.active += 1
        new.append((task, one.caller))
        found[key] = Created(task.id, duplicate=False)
    if new:
        pause_rules = any(one.pause_rules for one in known.values())
        made = await _store(conn, service, new, pause_rules=pause_rules)
        found |= {task.key: created for (task, _), created in zip(new, made, strict=True)}
    return [refused.get(one.task.id) or _answered(one.task, found[one.task.key]) for one in asked]


async def _store(
    conn: Connection,
    service: TransferService,
    new: Sequence[tuple[NewTask, Principal]],
    *,
    pause_rules: bool,
) -> Sequence[Created]:
    """Tasks, and who submits each if the database was not told of him lately: a repetition tells
    it of nobody. The tasks are made to fit `pause_rules`, if there are any.
    """
    wanted = [task for task, _ in new]
    callers = {caller.sub: caller for _, caller in new}
    people = [who(caller) for _, caller in sorted(callers.items())]
    news = [person for person in people if service.heard.is_news(person)]
    if not news and not pause_rules:
        return await submissions.create(conn, wanted)  # in one statement, if they are small
    async with conn.transaction():
        for person in news:  # in one order with all who write several (`transfer.watches`)
            await principals.put(conn, person)
        made = await submissions.create(conn, wanted)
        if pause_rules:
            await service.pauses.fit_new(conn, [one.id for one in made if not one.duplicate])
    for person in news:
        service.heard.told(person)
    return made


def _answered(task: NewTask, told: Created) -> Created:
    """One that came twice has made a task once."""
    return told if told.id == task.id else Created(told.id, duplicate=True)


def _asks_others(task: NewTask, known: Known) -> bool:
    """Whether it may be necessary to ask much before a task may run there."""
    places = [known.places[end] for end in _ends(task) if end in known.places]
    return any(one.endpoint.is_connect or one.endpoint.is_guest for one in places)


def _ends(task: NewTask) -> Sequence[UUID]:
    ends = (task.source_endpoint_id, task.destination_endpoint_id)
    return [end for end in ends if end is not None]


async def _known(
    conn: Connection, service: TransferService, asked: Sequence[_Submission]
) -> dict[UUID, Known]:
    """What is known of those who ask, by their ids; read once for all of them."""
    by_caller: dict[UUID, list[_Submission]] = {}
    for one in asked:
        by_caller.setdefault(one.caller.sub, []).append(one)
    asking = [
        Asking(
            who(theirs[-1].caller),
            {one.task.submission_id for one in theirs},
            {end for one in theirs for end in _ends(one.task)},
        )
        for theirs in by_caller.values()
    ]
    return await submissions.known(conn, asking, service.now())


async def _checked(
    conn: Connection, service: TransferService, one: _Submission, known: Known
) -> NewTask:
    """A task that may run where it is to, as it may. Raises ApiError, and AskFirst."""
    task = one.task
    if task.deadline <= service.now():
        raise ApiError.bad_request("deadline: this time has passed")
    is_delete = task.destination_endpoint_id is None
    ends = [await _usable(conn, service, one, task.source_endpoint_id, known, writes=is_delete)]
    if task.destination_endpoint_id is not None:
        ends.append(
            await _usable(conn, service, one, task.destination_endpoint_id, known, writes=True)
        )
    if one.check is not None:
        await one.check(ends)
    return task if is_delete else await _as_managers_say(conn, task, ends)


async def _usable(
    conn: Connection,
    service: TransferService,
    one: _Submission,
    endpoint_id: UUID,
    known: Known,
    *,
    writes: bool,
) -> Endpoint:
    """An endpoint that the caller sees and has a credential for, whose agents let him in, or that
    is shared with him. An expired credential will do: the task then waits until it is renewed.
    """
    task, caller = one.task, one.caller
    place = known.places.get(endpoint_id)
    if place is None:
        raise no_endpoint(endpoint_id)
    seen = look_at(place.endpoint, place.standing)
    endpoint = seen.endpoint
    look_for_consent(one.consents, endpoint)
    if endpoint.is_guest:
        check_shared(seen, writes=writes)
        await _check_shared(conn, service, endpoint, caller, task, writes=writes)
    elif endpoint.is_connect:
        await _check_permitted(conn, endpoint, caller, writes=writes)
    elif not place.has_credential and not service.issuing.issues(endpoint_id):
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
