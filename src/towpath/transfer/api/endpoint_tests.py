"""Routes that try a GridFTP server, before it is registered or afterwards."""

from functools import partial
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.gridftp.client.dial import Server
from towpath.gridftp.errors import GridFTPError
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer.api.answers import endpoints as answers
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.consent import require_data_access
from towpath.transfer.api.credentials import credential_in
from towpath.transfer.api.endpoint_bodies import EndpointTestDocument
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.browse.endpoint_test import Subject
from towpath.transfer.browse.errors import Operation, TooBusy, api_error
from towpath.transfer.sessions import SessionUnavailable
from towpath.transfer.store import endpoints

router = new_router(PREFIX)


@router.post(
    "/endpoint_test",
    response_model=answers.EndpointTest,
    openapi_extra=reads(EndpointTestDocument),
)
async def try_server(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Try a server as it would be registered. Nothing is kept."""
    document = await read_document(request, EndpointTestDocument)
    if not document.DATA:
        raise ApiError.bad_request(
            'DATA: name the server: [{"DATA_TYPE": "server", "uri": "gsiftp://host:2811"}]'
        )
    host, port = document.DATA[0].address()
    credential = None if document.proxy is None else await credential_in(document.proxy)
    subject = Subject(
        Server(host, port, document.DATA[0].subject),
        frozenset(document.data_hosts or ()),
        document.trust_files() or {},
        credential,
    )
    return await _tried(service, caller, subject)


@router.post("/endpoint/{endpoint_id}/test", response_model=answers.EndpointTest)
async def try_endpoint(endpoint_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Try a registered endpoint with the caller's credential for it."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.connection() as conn:
        seen = await visible_endpoint(conn, wanted, who(caller), service.now())
        endpoint = seen.endpoint
        if endpoint.is_guest:
            raise ApiError.bad_request(
                "This is shared from a server or computer: its owner tries that one"
            )
        trust_files = await endpoints.get_trust_roots(conn, wanted)
    await require_data_access(service, caller, endpoint)
    if endpoint.is_connect:
        return await _tried(service, caller, await _with_agents(service, caller, wanted))
    try:
        credential = (await service.sessions.login(wanted, who(caller))).credential
    except (SessionUnavailable, GridFTPError):  # no credential, or no trust roots: the test says so
        credential = None
    subject = Subject(
        Server(endpoint.host, endpoint.port, endpoint.subject),
        frozenset(endpoint.data_hosts),
        trust_files,
        credential,
    )
    return await _tried(service, caller, subject)


async def _with_agents(service: TransferService, caller: Principal, wanted: UUID) -> Subject:
    try:
        login = await service.sessions.login(wanted, who(caller), writes=False)
    except SessionUnavailable as error:
        raise api_error(error, Operation.TEST) from error
    trust = await service.connect_keys.trust()
    return Subject(
        login.server,
        login.data_hosts,
        dict(trust.files),
        login.credential,
        partial(service.sessions.token_for, login),
    )


async def _tried(service: TransferService, caller: Principal, subject: Subject) -> JSONResponse:
    try:
        report = await service.tests.test(caller.sub, subject)
    except TooBusy as error:
        raise api_error(error, Operation.TEST) from error
    return JSONResponse(
        {
            "DATA_TYPE": "endpoint_test",
            "ok": report.ok,
            "host_subject": report.host_subject,
            "host_proven": report.host_proven,
            "features": list(report.features),
            "DATA": [
                {
                    "step": outcome.step,
                    "state": outcome.state,
                    "message": outcome.message,
                    "details": outcome.details,
                    "advice": outcome.advice,
                    "ms": outcome.ms,
                }
                for outcome in report.outcomes
            ],
        }
    )
