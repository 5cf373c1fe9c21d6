"""Routes of agents: the authority they pin, their setup, and what a node asks and tells."""

import asyncio
from math import ceil
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from towpath.platform.errors import ApiError, current_address
from towpath.platform.guard import bearer_of
from towpath.platform.http import new_router
from towpath.platform.rates import TooOften
from towpath.transfer import times
from towpath.transfer.api.answers import connect as answers
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.connect_bodies import (
    CertificateDocument,
    ReportDocument,
    SetupDocument,
)
from towpath.transfer.api.documents import result
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    administered_endpoint,
    parse_id,
    who,
)
from towpath.transfer.connect.collections import Reported
from towpath.transfer.connect.managed import Root
from towpath.transfer.connect.nodes import (
    Asked,
    BadSetup,
    Report,
    SetupKeyInvalid,
    key_ends,
)
from towpath.transfer.connect.setup_keys import digest
from towpath.transfer.connect.versions import TooOld
from towpath.transfer.store import connect
from towpath.transfer.store.connect import Node

router = new_router(PREFIX)


async def _node(request: Request, service: Service) -> Node:
    token_hash = digest(bearer_of(request))
    async with service.database.connection() as conn:
        node = await connect.node_by_token(conn, token_hash)
    if node is None:
        raise ApiError.not_authenticated("This is not the token of an agent")
    if node.removed_at is not None:
        raise ApiError(
            410,
            "ConnectEndpointGone",
            "The endpoint was deleted, or another computer has been set up in this one's place."
            " Set this one up again with a new setup key",
        )
    structlog.contextvars.bind_contextvars(node=str(node.id))
    return node


Agent = Annotated[Node, Depends(_node)]
"""Which agent asks; 401, or 410 if it is none any more."""


def _too_old(error: TooOld) -> ApiError:
    return ApiError(400, "AgentTooOld", str(error))


class _PemResponse(PlainTextResponse):
    media_type = "application/x-pem-file"


@router.get("/connect/authority", response_class=_PemResponse)
async def connect_authority(service: Service) -> PlainTextResponse:
    """The authority (PEM) that this API's certificate is from, if it is the deployment's own."""
    pem = await asyncio.to_thread(service.api_authority)
    if pem is None:
        raise ApiError.not_found("The certificate of this service is from another authority")
    return _PemResponse(pem)


@router.post("/connect/setup", response_model=answers.Setup, openapi_extra=reads(SetupDocument))
async def set_up_node(request: Request, service: Service) -> JSONResponse:
    """A computer becomes a node of the endpoint that its setup key is for."""
    try:
        service.setup_tries.take(current_address.get())
    except TooOften as error:
        raise ApiError(
            429,
            "ClientError.TooManyRequests",
            f"Too many computers were set up from this address: {error}. Try again in a minute",
            headers={"Retry-After": str(ceil(error.retry_after_s))},
        ) from None
    document = await read_document(request, SetupDocument)
    asked = Asked(
        setup_key=document.setup_key,
        tunnel_key=document.tunnel_key,
        certificate_request=document.certificate_request,
        version=document.version,
        node_name=document.node_name,
    )
    try:
        made = await service.nodes.set_up(asked)
    except SetupKeyInvalid as error:
        raise ApiError(403, "SetupKeyInvalid", str(error)) from None
    except BadSetup as error:
        raise ApiError.bad_request(str(error)) from None
    except TooOld as error:
        raise _too_old(error) from None
    endpoint = made.endpoint
    return JSONResponse(
        {
            "DATA_TYPE": "connect_setup",
            "endpoint_id": str(endpoint.id),
            "node_id": str(made.node.id),
            "kind": made.node.kind,
            "display_name": endpoint.display_name,
            "owner": {"id": str(endpoint.owner_id), "username": endpoint.owner_string},
            "agent_token": made.token,
            "configuration": await service.nodes.configuration(made.node.id),
        }
    )


@router.get("/connect/configuration", response_model=answers.Configuration)
async def connect_configuration(agent: Agent, service: Service) -> JSONResponse:
    """What an agent needs to know of the service."""
    return JSONResponse(await service.nodes.configuration(agent.id))


@router.post(
    "/connect/certificate",
    response_model=answers.Configuration,
    openapi_extra=reads(CertificateDocument),
)
async def renew_certificate(request: Request, agent: Agent, service: Service) -> JSONResponse:
    """Another host certificate; answers with the configuration that has it."""
    document = await read_document(request, CertificateDocument)
    try:
        await service.nodes.renew_certificate(agent, document.certificate_request)
    except BadSetup as error:
        raise ApiError.bad_request(str(error)) from None
    return JSONResponse(await service.nodes.configuration(agent.id))


@router.put(
    "/connect/report", response_model=answers.Configuration, openapi_extra=reads(ReportDocument)
)
async def report(request: Request, agent: Agent, service: Service) -> JSONResponse:
    """What an agent tells of itself; answers with its configuration."""
    document = await read_document(request, ReportDocument)
    told = Report(
        version=document.version,
        node_name=document.node_name,
        paused=document.paused,
        draining=document.draining,
        folders=[folder.model_dump() for folder in document.folders],
        collections=None
        if document.collections is None
        else [
            Reported(one.name, one.base_path, one.access, one.policies)
            for one in document.collections
        ],
        mappings=document.mappings,
        roots=None
        if document.roots is None
        else [Root(one.path, one.access) for one in document.roots],
    )
    try:
        await service.nodes.report(agent, told)
    except TooOld as error:
        raise _too_old(error) from None
    return JSONResponse(await service.nodes.configuration(agent.id))


@router.post("/endpoint/{endpoint_id}/setup_key", response_model=answers.SetupKey)
async def new_setup_key(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """A new setup key for a Connect endpoint; the one before is not good any more. Owner only."""
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    async with service.database.transaction() as conn:
        await administered_endpoint(conn, wanted, who(caller), service.now())
        if await connect.kind_of(conn, wanted) is None:
            raise ApiError.bad_request("This endpoint has no agents: there is nothing to set up")
        secret = await service.nodes.new_setup_key(conn, wanted)
    return JSONResponse(
        result(
            "setup_key_result",
            "Created",
            "A new setup key; the one before is not good any more",
            request.url.path,
            globus_connect_setup_key=await service.setup_key(secret),
            expiration_time=times.show(key_ends(service.now())),
        )
    )
