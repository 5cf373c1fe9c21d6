"""Routes of the caller's credentials for endpoints: keep, get from a MyProxy server, show, forget.

Credentials come in and never go out: what is shown is whose they are, and until when.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from math import ceil
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.security.credentials import Credential
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer import times
from towpath.transfer.api.answers import credentials as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.credential_bodies import CredentialDocument, LogonDocument
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.browse.errors import Operation, TooBusy, api_error
from towpath.transfer.browse.logon import TooManyGuesses
from towpath.transfer.expiry import expires_soon
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store import credentials, endpoints, rights, tasks
from towpath.transfer.store.credentials import Kept
from towpath.transfer.store.endpoints import Endpoint

router = new_router(PREFIX)


class State(StrEnum):
    """Of a credential."""

    NONE = "none"
    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    MOVED = "moved"  # the endpoint was given another server since
    MANAGED = "managed"  # the service makes it, whenever one is needed


@router.get("/endpoint/{endpoint_id}/credential", response_model=answers.Credential)
async def show_credential(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """What is known of the caller's credential for an endpoint."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        endpoint = await _seen(conn, service, wanted, caller)
        kept = await credentials.kept(conn, wanted, caller.sub)
    return JSONResponse(_document(service, wanted, kept, managed=needs_none(endpoint)))


@router.get("/credential_list", response_model=answers.CredentialList)
async def list_credentials(caller: Caller, service: Service) -> JSONResponse:
    """The caller's credentials, and the endpoints for which the service makes one."""
    async with service.database.connection() as conn:
        found = await credentials.kept_by(conn, caller.sub)
        known = {one.endpoint_id for one in found}
        managed = [
            endpoint
            for endpoint_id in service.authorities
            if endpoint_id not in known
            and (endpoint := await endpoints.get(conn, endpoint_id)) is not None
            and endpoint.deleted_at is None
            and (await rights.standing(conn, endpoint, who(caller), service.now())).visible
        ]
    documents = [
        {
            **_document(service, one.endpoint_id, one),
            "endpoint_display_name": one.endpoint_display_name,
        }
        for one in found
    ] + [
        {
            **_document(service, endpoint.id, None),
            "endpoint_display_name": endpoint.display_name,
        }
        for endpoint in managed
    ]
    return JSONResponse({"DATA_TYPE": "credential_list", "DATA": documents})


def _document(
    service: TransferService, endpoint_id: UUID, kept: Kept | None, *, managed: bool = False
) -> JsonObject:
    managed = managed or endpoint_id in service.authorities
    return {
        "DATA_TYPE": "credential",
        "endpoint_id": str(endpoint_id),
        "state": State.MANAGED if managed else _state(kept, service.now()),
        "subject": None if kept is None else kept.subject,
        "expiration_time": None if kept is None else times.show(kept.not_after),
        "stored_time": None if kept is None else times.show(kept.updated_at),
    }


def _state(kept: Kept | None, now: datetime) -> State:
    if kept is None:
        return State.NONE
    if kept.not_after <= now:
        return State.EXPIRED
    if kept.moved:
        return State.MOVED
    soon = expires_soon(kept.updated_at, kept.not_after, now)
    return State.EXPIRING if soon else State.VALID


@router.put(
    "/endpoint/{endpoint_id}/credential",
    response_model=answers.CredentialStored,
    openapi_extra=reads(CredentialDocument),
)
async def put_credential(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Keep the caller's credential for an endpoint, sealed; tasks that waited for it go on."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        refuse_where_none_is_needed(await _seen(conn, service, wanted, caller))
    document = await read_document(request, CredentialDocument)
    credential = await credential_in(document.proxy)
    if credential.expired(service.now()):
        raise ApiError.bad_request(
            f"proxy: the credential of {credential.subject} expired at"
            f" {times.show(credential.not_after)}. Make a new one, for example with"
            " grid-proxy-init, and give that.",
            reason="CredentialExpired",
        )
    return await keep(request, service, caller, wanted, credential)


async def _seen(
    conn: Connection, service: TransferService, endpoint_id: UUID, caller: Principal
) -> Endpoint:
    return (await visible_endpoint(conn, endpoint_id, who(caller), service.now())).endpoint


def needs_none(endpoint: Endpoint) -> bool:
    """Whether nobody needs a credential of his own there."""
    return endpoint.is_connect or endpoint.is_guest


def activation_state(kept: Kept | None, now: datetime) -> JsonObject:
    """How clients of the years before collections are told of a credential (`api.activation`)."""
    left_s = 0 if kept is None else int((kept.not_after - now).total_seconds())
    if kept is None or left_s <= 0 or kept.moved:
        return {"activated": False, "expires_in": 0, "expire_time": None}
    return {"activated": True, "expires_in": left_s, "expire_time": times.show(kept.not_after)}


def refuse_where_none_is_needed(endpoint: Endpoint) -> None:
    """Raise ApiError if nobody needs a credential of his own there."""
    if endpoint.is_guest:
        raise ApiError.bad_request(
            f"“{endpoint.display_name}” is used with the credential of who shares it: no other is"
            " needed",
            reason="CredentialManaged",
        )
    if endpoint.is_connect:
        raise ApiError.bad_request(
            f"“{endpoint.display_name}” has agents, which take this service's own word for who you"
            " are: no credential is needed",
            reason="CredentialManaged",
        )


async def credential_in(proxy: str) -> Credential:
    """What a user has given as his credential; it may have expired. Raises ApiError: it is none."""
    try:
        return await asyncio.to_thread(Credential.from_pem, proxy.encode())
    except ValueError as error:
        raise ApiError.bad_request(
            f"proxy: {error}. Give the file that grid-proxy-init or voms-proxy-init wrote:"
            " certificate, private key and chain in PEM, the key without a passphrase.",
            reason="InvalidCredential",
        ) from None


@router.post(
    "/endpoint/{endpoint_id}/credential/myproxy",
    response_model=answers.CredentialStored,
    openapi_extra=reads(LogonDocument),
)
async def myproxy_logon(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Get a credential from a MyProxy server for a pass phrase, and keep it as if it was given."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        refuse_where_none_is_needed(await _seen(conn, service, wanted, caller))
        trust_files = await endpoints.get_trust_roots(conn, wanted)
    document = await read_document(request, LogonDocument)
    credential = await log_on(service, caller, document, trust_files)
    return await keep(request, service, caller, wanted, credential)


async def log_on(
    service: TransferService,
    caller: Principal,
    document: LogonDocument,
    trust_files: Mapping[str, str],
) -> Credential:
    """What a MyProxy server gives for a pass phrase. Raises ApiError."""
    try:
        return await service.logons.logon(caller.sub, document.wanted(), trust_files)
    except (GridFTPError, SessionUnavailable, TooBusy) as error:
        raise api_error(error, Operation.LOGON) from error
    except TooManyGuesses as error:
        minutes = ceil(error.retry_after_s / 60)
        raise ApiError(
            429,
            "ClientError.TooManyGuesses",
            f"{error}: wait {minutes} minutes, and look up user name and pass phrase meanwhile",
            headers={"Retry-After": str(ceil(error.retry_after_s))},
        ) from None


async def keep(
    request: Request,
    service: TransferService,
    caller: Principal,
    endpoint_id: UUID,
    credential: Credential,
) -> JSONResponse:
    """Keep a credential of the caller's, and let tasks go on that waited for it."""
    resumed = await store(service, caller, endpoint_id, credential)
    return JSONResponse(
        result(
            "credential_result",
            "Stored",
            f"The credential is stored; {resumed} waiting tasks go on"
            if resumed
            else "The credential is stored",
            request.url.path,
            subject=credential.subject,
            expiration_time=times.show(credential.not_after),
        )
    )


async def store(
    service: TransferService, caller: Principal, endpoint_id: UUID, credential: Credential
) -> int:
    """The same, without an answer; how many tasks go on."""
    context = credentials.seal_context(endpoint_id, caller.sub)
    sealed = service.sealer.seal(credential.to_pem(), context)
    async with service.database.transaction() as conn:
        # held: for the server that it has now, or told that it has another one
        await visible_endpoint(conn, endpoint_id, who(caller), service.now(), lock=True)
        await credentials.put(
            conn,
            endpoint_id=endpoint_id,
            owner_id=caller.sub,
            sealed=sealed,
            subject=credential.subject,
            not_after=credential.not_after,
        )
        return await tasks.credential_renewed(conn, caller.sub, endpoint_id)


@router.delete("/endpoint/{endpoint_id}/credential", response_model=Result)
async def delete_credential(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Forget the caller's credential for an endpoint. Sessions that tasks have go on to their end;
    then these tasks wait for another one."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        if (known := await endpoints.get(conn, wanted)) is not None and needs_none(known):
            refuse_where_none_is_needed(await _seen(conn, service, wanted, caller))
        if wanted in service.authorities:
            await _seen(conn, service, wanted, caller)
            raise ApiError.bad_request(
                "The service makes the credentials for this endpoint itself, and would make"
                " another: there is nothing to delete",
                reason="CredentialManaged",
            )
        deleted = await credentials.delete(conn, wanted, caller.sub)
        if not deleted:  # one's own can be forgotten, also where the endpoint is hidden by now
            await _seen(conn, service, wanted, caller)
    if not deleted:
        raise ApiError.not_found(
            f"You have given no credential for endpoint '{wanted}'", code="CredentialNotFound"
        )
    return JSONResponse(
        result("result", "Deleted", "The credential is forgotten", request.url.path)
    )
