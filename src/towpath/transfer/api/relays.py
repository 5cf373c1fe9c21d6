"""Routes of relays, for their own clients only."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer.api.answers import connect as answers
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import read_document
from towpath.transfer.api.connect_bodies import (
    DialDocument,
    PresenceDocument,
    RelayAgentDocument,
    RelayDocument,
)
from towpath.transfer.api.service import PREFIX, Caller, Service
from towpath.transfer.connect.carrying import HEARTBEAT_S, take_presence
from towpath.transfer.store import connect, relays
from towpath.transfer.store.connect import Node
from towpath.transfer.store.relays import Connected, Lost

router = new_router(PREFIX)

CONTROL_CHANNELS = 64
"""Of an agent: eight tasks with four sessions each, twice."""
DATA_CONNECTIONS = 256
"""Of an agent: each of these sessions with a few streams."""
LISTENERS = 64
"""Of an agent: one for each session."""


async def _relay(caller: Caller, service: Service) -> Principal:
    async with service.database.connection() as conn:
        own = caller.sub == caller.client_id  # not somebody who has logged in with its client
        if not own or not await relays.is_relay(conn, caller.client_id):
            raise ApiError.forbidden(
                "Only a registered relay may do this: towpath admin relay add NAME"
            )
    return caller


RelayCaller = Annotated[Principal, Depends(_relay)]
"""Which relay asks; its client's id is the relay's. 403 for all others."""


@router.put("/relay", response_model=answers.Relay, openapi_extra=reads(RelayDocument))
async def relay_heartbeat(request: Request, relay: RelayCaller, service: Service) -> JSONResponse:
    """A relay is there, and where: registration, and a heartbeat every few seconds."""
    document = await read_document(request, RelayDocument)
    keys = await service.connect_keys.keys()
    async with service.database.connection() as conn:
        await relays.heartbeat(
            conn,
            relay.client_id,
            host=document.host,
            port=document.port,
            host_key=document.host_key,
            data_addresses=document.data_addresses,
            version=document.version,
            agents=document.agents,
            draining=document.draining,
        )
        cut = await relays.to_cut(conn, relay.client_id)
    return JSONResponse(
        {
            "DATA_TYPE": "relay",
            "relay_id": str(relay.client_id),
            "issuer": service.connect_keys.issuer,
            "keys": keys.published.to_jwks(),
            "interval_s": HEARTBEAT_S,
            "cut": [str(one) for one in cut],
        }
    )


@router.post(
    "/relay/agent", response_model=answers.RelayAgent, openapi_extra=reads(RelayAgentDocument)
)
async def relay_agent(request: Request, _relay: RelayCaller, service: Service) -> JSONResponse:
    """Whether an agent that shows a key to a relay is the one that it says. 404: it is not."""
    document = await read_document(request, RelayAgentDocument)
    async with service.database.connection() as conn:
        node = await connect.node(conn, document.node_id)
    if node is None or node.removed_at is not None or node.tunnel_key != document.tunnel_key:
        raise ApiError.not_found("No such agent, or not with this key", code="AgentNotFound")
    return JSONResponse(
        {
            "DATA_TYPE": "relay_agent",
            "endpoint_id": str(node.endpoint_id),
            "kind": node.kind,
            "limits": {
                "control_channels": CONTROL_CHANNELS,
                "data_connections": DATA_CONNECTIONS,
                "listeners": LISTENERS,
            },
        }
    )


@router.post(
    "/relay/presence", response_model=answers.Presence, openapi_extra=reads(PresenceDocument)
)
async def relay_presence(request: Request, relay: RelayCaller, service: Service) -> JSONResponse:
    """Which agents came to a relay, and which went."""
    document = await read_document(request, PresenceDocument)
    connected = [
        Connected(one.node_id, one.address, one.direct_address, one.version, one.since)
        for one in document.connected
    ]
    lost = [Lost(one.node_id, one.heard_at) for one in document.lost]
    async with service.database.transaction() as conn:
        await take_presence(
            conn, relay.client_id, connected=connected, lost=lost, all_named=document.all
        )
        cut = await relays.to_cut(conn, relay.client_id)
    return JSONResponse({"DATA_TYPE": "relay_presence", "cut": [str(one) for one in cut]})


@router.post("/relay/dial", response_model=answers.RelayDial, openapi_extra=reads(DialDocument))
async def relay_dial(request: Request, _relay: RelayCaller, service: Service) -> JSONResponse:
    """Whether a relay may dial an address for an agent."""
    document = await read_document(request, DialDocument)
    async with service.database.connection() as conn:
        node: Node | None = await connect.node(conn, document.node_id)
    if node is None or node.removed_at is not None:
        raise ApiError.not_found("No such agent", code="AgentNotFound")
    why_not = await service.dials.refusal(node.endpoint_id, document.host, document.port)
    return JSONResponse(
        {
            "DATA_TYPE": "relay_dial",
            "allowed": why_not is None,
            "message": why_not or "It is the other side of an active task of this endpoint",
        }
    )
