"""Routes of pause rules: what an endpoint's activity managers stop there, for all or for one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, Field

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer import times
from towpath.transfer.api.answers import pause_rules as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import Document, Text, read_document, refuse
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Seen,
    Service,
    TransferService,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.rights import Standing
from towpath.transfer.store import activity, endpoints, pause_rules, rights
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.pause_rules import OPERATIONS, PauseRule

router = new_router(PREFIX)

MAX_RULES = 100
"""Of one endpoint: each is looked at for each of its tasks, and its users read them."""
MAX_LISTED = 1000
MAX_MESSAGE = 2048
"""Characters; it is in the documents of all tasks that the rule holds."""


def _time(text: str) -> str:
    try:
        times.parse(text)
    except ValueError as error:
        raise refuse("invalid_time", str(error)) from None
    return text


Message = Annotated[Text, Field(min_length=1, max_length=MAX_MESSAGE)]
Time = Annotated[Text, AfterValidator(_time)]


class _Stops(Document):
    pause_ls: bool = True
    pause_mkdir: bool = True
    pause_rename: bool = True
    pause_task_delete: bool = True
    pause_task_transfer_read: bool = True
    pause_task_transfer_write: bool = True

    def stops(self) -> dict[str, bool]:
        """What is stopped, of all of these."""
        return {name: getattr(self, name) for name in OPERATIONS}


class PauseRuleDocument(_Stops):
    """Body of POST pause_rule."""

    endpoint_id: UUID
    identity_id: UUID | None = None
    message: Message
    start_time: Time | None = None


class PauseRuleChanges(_Stops):
    """Body of PUT pause_rule/<id>: what is left out stays."""

    message: Message | None = None
    start_time: Time | None = None


@router.get("/endpoint_manager/pause_rule_list", response_model=answers.PauseRuleList)
async def list_pause_rules(
    caller: Caller,
    service: Service,
    filter_endpoint: str | None = None,
    filter_host_endpoint: str | None = None,
) -> JSONResponse:
    """Pause rules of endpoints whose tasks the caller may see."""
    async with service.database.connection() as conn:
        monitored = await activity.monitored(conn, who(caller))
        if not monitored:
            raise nothing_monitored()
        managed = await activity.managed(conn, who(caller))
        wanted: frozenset[UUID] = monitored
        for text, below in ((filter_endpoint, False), (filter_host_endpoint, True)):
            if text:
                at = (await monitored_endpoint(conn, service, caller, text)).endpoint
                hosted = await endpoints.belonging(conn, at.id) if below else []
                wanted &= {at.id} | {one.id for one in hosted}
        found = await pause_rules.at(conn, wanted, limit=MAX_LISTED)
    return JSONResponse(
        {
            "DATA_TYPE": "pause_rule_list",
            "length": len(found),
            "DATA": [_document(rule, editable=rule.endpoint_id in managed) for rule in found],
        }
    )


@router.post(
    "/endpoint_manager/pause_rule",
    status_code=201,
    response_model=answers.PauseRule,
    openapi_extra=reads(PauseRuleDocument),
)
async def create_pause_rule(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Stop something at an endpoint, for everybody or for one person."""
    document = await read_document(request, PauseRuleDocument)
    async with service.database.transaction() as conn:
        seen = await visible_endpoint(
            conn, document.endpoint_id, who(caller), service.now(), lock=True
        )
        endpoint = seen.endpoint
        _require_manager(seen.standing, endpoint)
        rule = PauseRule(
            id=uuid4(),
            endpoint_id=endpoint.id,
            endpoint_display_name=endpoint.display_name,
            identity_id=document.identity_id,
            message=document.message,
            start_time=_parsed(document.start_time),
            created_by=caller.username,
            modified_by=caller.username,
            modified_by_id=caller.sub,
            modified_at=service.now(),
            by_host_manager=await manages_host(conn, service, endpoint, caller),
            **document.stops(),
        )
        if not await pause_rules.insert(conn, rule, most=MAX_RULES):
            raise ApiError(
                409,
                "ClientError.Conflict.TooManyPauseRules",
                f"“{endpoint.display_name}” has {MAX_RULES} pause rules, which is the most:"
                " delete one",
            )
        kept = await pause_rules.get(conn, rule.id)
    assert kept is not None, "it was just made"
    await service.pauses.fit()
    return JSONResponse(_document(kept, editable=True), status_code=201)


@router.get("/endpoint_manager/pause_rule/{rule_id}", response_model=answers.PauseRule)
async def show_pause_rule(rule_id: str, caller: Caller, service: Service) -> JSONResponse:
    """One pause rule."""
    async with service.database.connection() as conn:
        rule, standing = await _rule(conn, service, rule_id, caller)
    return JSONResponse(_document(rule, editable=standing.manages_activity))


@router.put(
    "/endpoint_manager/pause_rule/{rule_id}",
    response_model=answers.PauseRule,
    openapi_extra=reads(PauseRuleChanges),
)
async def update_pause_rule(
    rule_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change a pause rule. For whom and where it is stays; make another one for that."""
    document = await read_document(request, PauseRuleChanges)
    given = document.model_fields_set
    async with service.database.transaction() as conn:
        before, standing = await _rule(conn, service, rule_id, caller, lock=True)
        _require_manager(standing, None)
        stops: dict[str, Any] = {
            name: stop for name, stop in document.stops().items() if name in given
        }
        after = replace(
            before,
            message=document.message or before.message,
            start_time=_parsed(document.start_time) if "start_time" in given else before.start_time,
            modified_by=caller.username,
            modified_by_id=caller.sub,
            **stops,
        )
        await pause_rules.update(conn, after)
        kept = await pause_rules.get(conn, before.id)
    assert kept is not None, "its row was held"
    await service.pauses.fit()
    return JSONResponse(_document(kept, editable=True))


@router.delete("/endpoint_manager/pause_rule/{rule_id}", response_model=Result)
async def delete_pause_rule(
    rule_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Let what a pause rule has stopped go on."""
    async with service.database.transaction() as conn:
        rule, standing = await _rule(conn, service, rule_id, caller, lock=True)
        _require_manager(standing, None)
        await pause_rules.delete(conn, rule.id)
    await service.pauses.fit()
    return JSONResponse(
        result("result", "Deleted", "Pause rule deleted successfully", request.url.path)
    )


@router.get(
    "/endpoint/{endpoint_id}/my_effective_pause_rule_list",
    response_model=answers.EffectivePauseRules,
)
async def list_effective_pause_rules(
    endpoint_id: str, caller: Caller, service: Service
) -> JSONResponse:
    """The pause rules that are in force at an endpoint for the caller."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        await visible_endpoint(conn, wanted, who(caller), service.now())
        found = await pause_rules.for_person(conn, wanted, caller.identity_set)
    return JSONResponse(
        {"DATA_TYPE": "pause_rule_list", "length": len(found), "DATA": limited(found)}
    )


def limited(rules: Sequence[PauseRule]) -> list[JsonObject]:
    """Rules as those see them whom they concern: without the names of who made them."""
    return [{"DATA_TYPE": "pause_rule_limited", **_rule_document(rule)} for rule in rules]


async def refuse_paused(
    conn: Connection, endpoint: Endpoint, caller: Principal, operation: str
) -> None:
    """Raise ApiError 409 if a rule stops `operation` (of OPERATIONS) there for the caller."""
    for rule in await pause_rules.for_person(conn, endpoint.id, caller.identity_set):
        if getattr(rule, operation):
            raise ApiError(
                409,
                "ClientError.Conflict.Paused",
                f"Who manages “{rule.endpoint_display_name}” has paused this there: {rule.message}",
            )


def nothing_monitored() -> ApiError:
    """For who has no role at any endpoint."""
    return ApiError.forbidden(
        "You are not an activity monitor of any endpoint: ask an administrator of yours for the"
        " role"
    )


async def monitored_endpoint(
    conn: Connection, service: TransferService, caller: Principal, text: str
) -> Seen:
    """An endpoint whose tasks the caller may see. 403 if he sees only the endpoint."""
    wanted = parse_id(text, "endpoint", "EndpointNotFound")
    seen = await visible_endpoint(conn, wanted, who(caller), service.now())
    if not seen.standing.monitors_activity:
        raise ApiError.forbidden(
            f"You are not an activity monitor of “{seen.endpoint.display_name}”: ask its"
            " administrator for the role"
        )
    return seen


async def manages_host(
    conn: Connection, service: TransferService, endpoint: Endpoint, caller: Principal
) -> bool:
    """Of a guest collection: whether the caller manages what it shares."""
    if not endpoint.is_guest or endpoint.host_endpoint_id is None:
        return False
    host = await endpoints.get(conn, endpoint.host_endpoint_id)
    if host is None:
        return False
    return (await rights.standing(conn, host, who(caller), service.now())).manages_activity


async def _rule(
    conn: Connection,
    service: TransferService,
    rule_id: str,
    caller: Principal,
    *,
    lock: bool = False,
) -> tuple[PauseRule, Standing]:
    """A rule that the caller may see. 403 for others who see its endpoint."""
    wanted = parse_id(rule_id, "pause rule", "PauseRuleNotFound")
    rule = await pause_rules.get(conn, wanted, lock=lock)
    missing = ApiError.not_found(f"No such pause rule '{wanted}'", code="PauseRuleNotFound")
    if rule is None:
        raise missing
    endpoint = await endpoints.get(conn, rule.endpoint_id)
    assert endpoint is not None, "endpoints are never removed from the table"
    standing = await rights.standing(conn, endpoint, who(caller), service.now())
    if not standing.visible:
        raise missing
    if not standing.monitors_activity:
        raise ApiError.forbidden(
            f"You are not an activity monitor of “{endpoint.display_name}”, whose rule this is"
        )
    return rule, standing


def _require_manager(standing: Standing, endpoint: Endpoint | None) -> None:
    if not standing.manages_activity:
        name = "the rule's endpoint" if endpoint is None else f"“{endpoint.display_name}”"
        raise ApiError.forbidden(
            f"You are not an activity manager of {name}: ask its administrator for the role"
        )


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else times.parse(text)


def _rule_document(rule: PauseRule) -> JsonObject:
    return {
        "id": str(rule.id),
        "endpoint_id": str(rule.endpoint_id),
        "endpoint_display_name": rule.endpoint_display_name,
        "identity_id": None if rule.identity_id is None else str(rule.identity_id),
        "message": rule.message,
        "start_time": times.show(rule.start_time),
        "modified_time": times.show(rule.modified_at),
        **{name: getattr(rule, name) for name in OPERATIONS},
    }


def _document(rule: PauseRule, *, editable: bool) -> JsonObject:
    return {
        "DATA_TYPE": "pause_rule",
        **_rule_document(rule),
        "created_by": rule.created_by,
        "created_by_host_manager": rule.by_host_manager,
        "modified_by": rule.modified_by,
        "modified_by_id": str(rule.modified_by_id),
        "editable": editable,
    }
