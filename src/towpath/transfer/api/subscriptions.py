"""Routes of subscriptions, which there are none of here: clients ask for them all the same."""

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import Document, Text, read_document
from towpath.transfer.api.documents import result
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

router = new_router(f"{PREFIX}/endpoint/{{endpoint_id}}")


class SubscriptionDocument(Document):
    """Body of PUT subscription. `DEFAULT`: the only one that the caller has."""

    subscription_id: Text | None = None


class VerifiedDocument(Document):
    """Body of PUT subscription_admin_verified."""

    subscription_admin_verified: bool


@router.put("/subscription", response_model=Result, openapi_extra=reads(SubscriptionDocument))
async def set_subscription(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Take an endpoint out of its subscription. To put it into one there must be one."""
    document = await read_document(request, SubscriptionDocument)
    async with service.database.connection() as conn:
        seen = await _seen(conn, service, endpoint_id, caller)
    if document.subscription_id is not None:
        raise ApiError(
            400,
            "BadRequest",
            "This service has no subscriptions, and everything that it can do is there without:"
            " use null",
        )
    _require_administrator(seen)
    return JSONResponse(
        result("result", "Updated", "Endpoint updated successfully", request.url.path)
    )


@router.put(
    "/subscription_admin_verified",
    response_model=Result,
    openapi_extra=reads(VerifiedDocument),
)
async def set_subscription_verified(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Refused: no endpoint has a subscription."""
    await read_document(request, VerifiedDocument)
    async with service.database.connection() as conn:
        seen = await _seen(conn, service, endpoint_id, caller)
    _require_administrator(seen)
    raise ApiError(
        400,
        "BadRequest",
        "The collection must be associated with a subscription to set"
        " subscription_admin_verified, and this service has none",
    )


async def _seen(
    conn: Connection, service: TransferService, endpoint_id: str, caller: Principal
) -> Seen:
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    return await visible_endpoint(conn, wanted, who(caller), service.now())


def _require_administrator(seen: Seen) -> None:
    if not seen.standing.administers:
        raise ApiError.forbidden("Only an administrator of the endpoint may do this")
