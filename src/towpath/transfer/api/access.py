"""Routes of access rules of guest collections (Transfer API, "access control list")."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer import names, times
from towpath.transfer.api.answers import rights as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.rights_bodies import AccessChanges, AccessDocument
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
from towpath.transfer.rights import PrincipalType, Rule
from towpath.transfer.store import access, endpoints, outbox
from towpath.transfer.store.access import Implicit
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.roles import AlreadyThereError

router = new_router(f"{PREFIX}/endpoint/{{endpoint_id}}")


async def _managed(
    conn: Connection,
    service: TransferService,
    endpoint_id: UUID,
    caller: Principal,
    *,
    lock: bool = False,
) -> Seen:
    """A guest collection whose rules the caller may see and change."""
    seen = await visible_endpoint(conn, endpoint_id, who(caller), service.now(), lock=lock)
    if not seen.standing.manages_access:
        raise ApiError.forbidden(
            "Only the owner, administrators and access managers may see and change who has access"
        )
    if not seen.endpoint.is_guest:
        raise ApiError.bad_request(
            "Only guest collections have access rules: share a directory of this one, and give"
            " access to that"
        )
    return seen


@router.get("/access_list", response_model=answers.AccessList)
async def list_access(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Who may read and write what of a guest collection."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        await _managed(conn, service, wanted, caller)
        document = await access_list(conn, wanted)
    return JSONResponse(document)


async def access_list(conn: Connection, endpoint_id: UUID) -> JsonObject:
    """All rules of a guest collection, for those who may see them."""
    implicit = await access.implicit(conn, endpoint_id)
    rules = await access.list_all(conn, endpoint_id)
    documents = [_implicit_document(one) for one in implicit] + [_document(one) for one in rules]
    return {
        "DATA_TYPE": "access_list",
        "endpoint": str(endpoint_id),
        "length": len(documents),
        "DATA": documents,
    }


@router.post(
    "/access",
    status_code=201,
    response_model=answers.AccessCreated,
    openapi_extra=reads(AccessDocument),
)
async def create_access(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Let somebody in."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, AccessDocument)
    now = service.now()
    rule = Rule(
        id=uuid4(),
        principal_type=document.principal_type,
        principal=document.whom(),
        path=document.directory(),
        writes=document.permissions == "rw",
        created_at=now,
        expires_at=document.expires_at(),
    )
    async with service.database.transaction() as conn:
        seen = await _managed(conn, service, wanted, caller, lock=True)
        await _check(conn, service, seen, rule, now)
        await access.forget_expired(conn, wanted, now)
        most = service.sharing.rules_per_collection
        if await access.count(conn, wanted) >= most:
            raise ApiError(
                409,
                "LimitExceeded",
                f"This collection has {most} rules: remove some, or make one for a group",
            )
        try:
            await access.add(conn, wanted, rule, caller.sub)
        except AlreadyThereError:
            raise ApiError(
                409,
                "Exists",
                f"There is a rule for this principal and '{names.to_text(rule.path)}': change that",
            ) from None
        await _tell(conn, seen, rule, caller, document)
    return JSONResponse(
        result(
            "access_create_result",
            "Created",
            "Access rule created successfully.",
            request.url.path,
            access_id=str(rule.id),
        ),
        status_code=201,
    )


async def _tell(
    conn: Connection, seen: Seen, rule: Rule, caller: Principal, document: AccessDocument
) -> None:
    """Tell a person who is let in. By mail only if that is asked for, and to the address that he
    has himself: nobody sends mail to strangers through us."""
    if rule.principal is None or rule.principal_type is not PrincipalType.IDENTITY:
        return
    if rule.principal in caller.identity_set:
        return
    await outbox.tell(
        conn,
        Topic.ACCESS_GRANTED,
        rule.principal,
        {
            "endpoint_id": str(seen.endpoint.id),
            "endpoint_display_name": seen.endpoint.display_name,
            "path": names.to_text(rule.path),
            "permissions": document.permissions,
            "granted_by": caller.username,
            "message": document.notify_message,
        },
        mail=document.notify_email is not None,
    )


@router.get("/access/{rule_id}", response_model=answers.Access)
async def show_access(
    endpoint_id: str, rule_id: str, caller: Caller, service: Service
) -> JSONResponse:
    """One rule."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        await _managed(conn, service, wanted, caller)
        found = await _rule(conn, wanted, rule_id)
    return JSONResponse(_document(found))


@router.put("/access/{rule_id}", response_model=Result, openapi_extra=reads(AccessChanges))
async def update_access(
    endpoint_id: str, rule_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change what a rule allows, and until when. For whom it is, and where, stays."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    document = await read_document(request, AccessChanges)
    async with service.database.transaction() as conn:
        seen = await _managed(conn, service, wanted, caller, lock=True)
        before = await _rule(conn, wanted, rule_id)
        after = replace(
            before,
            writes=before.writes if document.permissions is None else document.permissions == "rw",
            expires_at=document.expires_at(before.expires_at),
        )
        await _check(conn, service, seen, after, service.now())
        await access.update(conn, wanted, after)
    return JSONResponse(
        result("result", "Updated", "Access rule updated successfully", request.url.path)
    )


@router.delete("/access/{rule_id}", response_model=Result)
async def delete_access(
    endpoint_id: str, rule_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Let somebody in no longer; his tasks are stopped."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        await _managed(conn, service, wanted, caller, lock=True)
        rule = await _rule(conn, wanted, rule_id)
        await access.delete(conn, wanted, rule.id)
    return JSONResponse(
        result("result", "Deleted", "Access rule deleted successfully", request.url.path)
    )


async def _rule(conn: Connection, endpoint_id: UUID, rule_id: str) -> Rule:
    wanted = parse_id(rule_id, "access rule", "AccessRuleNotFound")
    found = await access.get(conn, endpoint_id, wanted)
    if found is None:
        raise ApiError.not_found(f"No such access rule '{wanted}' here", code="AccessRuleNotFound")
    return found


async def _check(
    conn: Connection, service: TransferService, seen: Seen, rule: Rule, now: datetime
) -> None:
    if rule.expires_at is not None and rule.expires_at <= now:
        raise ApiError.bad_request("expiration_date: this time has passed")
    if rule.principal_type is not PrincipalType.ANONYMOUS or not rule.writes:
        return
    assert seen.endpoint.host_endpoint_id is not None, "it is shared of something"
    host = await endpoints.get(conn, seen.endpoint.host_endpoint_id)
    assert host is not None, "endpoints are never removed from the table"
    if not service.sharing.anonymous_writes or host.managed.get("disable_anonymous_writes"):
        raise ApiError.forbidden(
            "Who is not logged in may only read here: give permissions 'r', or let"
            " all_authenticated_users write"
        )


def _document(rule: Rule) -> JsonObject:
    return {
        "DATA_TYPE": "access",
        "id": str(rule.id),
        "principal_type": rule.principal_type,
        "principal": "" if rule.principal is None else str(rule.principal),
        "path": names.to_text(rule.path),
        "permissions": "rw" if rule.writes else "r",
        "create_time": times.show(rule.created_at),
        "expiration_date": times.show(rule.expires_at),
        "role_id": None,
        "role_type": None,
    }


def _implicit_document(one: Implicit) -> JsonObject:
    return {
        "DATA_TYPE": "access",
        "id": None,
        "principal_type": one.principal_type,
        "principal": str(one.principal),
        "path": "/",
        "permissions": "rw",
        "create_time": None,
        "expiration_date": None,
        "role_id": None if one.role_id is None else str(one.role_id),
        "role_type": one.role,
    }
