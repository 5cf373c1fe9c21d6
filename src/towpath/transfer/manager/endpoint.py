"""Routes of the endpoint itself: what it is, and its own settings."""

from dataclasses import replace
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import Field

from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import Document, Text
from towpath.transfer.api.documents import NETWORK_NUMBERS
from towpath.transfer.api.service import Service
from towpath.transfer.manager import answers, documents
from towpath.transfer.manager.asking import PREFIX_OF_EACH, Asked, read
from towpath.transfer.manager.bodies import Contact, Flag, Name, keyword_text, typed
from towpath.transfer.manager.envelope import not_found, success, unprocessable, words
from towpath.transfer.store import endpoints

router = new_router(PREFIX_OF_EACH)

_INCLUDE = frozenset({"endpoint"})
SUBSCRIPTION_MOST = 64
Count = Annotated[int, Field(ge=1, le=100)]


class EndpointDocument(Contact):
    """What an administrator may set. Absent fields keep their value."""

    DATA_TYPE: Annotated[str, typed("endpoint")]
    display_name: Name | None = None
    public: Flag | None = None
    network_use: Literal["normal", "minimal", "aggressive", "custom"] | None = None
    max_concurrency: Count | None = None
    max_parallelism: Count | None = None
    preferred_concurrency: Count | None = None
    preferred_parallelism: Count | None = None
    allow_udt: Flag | None = None
    gridftp_control_channel_port: int | None = None
    subscription_id: Text | None = None


class SubscriptionDocument(Document):
    """Body of the subscription's route."""

    DATA_TYPE: Annotated[str, typed("endpoint_subscription")]
    subscription_id: Annotated[Text, Field(max_length=SUBSCRIPTION_MOST)] | None


@router.get("/info", response_model=answers.Infos)
async def show_info(endpoint_id: str, service: Service) -> JSONResponse:
    """How this Manager is talked to. Without a token."""
    try:
        wanted = UUID(endpoint_id)
    except ValueError:
        raise not_found("endpoint", endpoint_id) from None
    return success(documents.info(wanted, urlsplit(service.origin).hostname or ""))


@router.get("/endpoint", response_model=answers.Endpoints)
async def show_endpoint(asked: Asked) -> JSONResponse:
    """The endpoint's document."""
    asked.require_visible()
    return success([documents.endpoint_document(asked.endpoint, asked.service.origin)])


@router.patch("/endpoint", response_model=answers.Endpoints, openapi_extra=reads(EndpointDocument))
async def update_endpoint(
    asked: Asked, request: Request, include: str | None = None
) -> JSONResponse:
    """Change some of it."""
    asked.require_administrator("change it")
    wanted = words(include, _INCLUDE, "include")
    document = await read(request, EndpointDocument)
    _refuse(document)
    async with asked.service.database.transaction() as conn:
        before = await endpoints.get(conn, asked.endpoint_id, lock=True)
        assert before is not None, "endpoints are never removed from the table"
        details = dict(before.details)
        for name in ("network_use", *documents.CONTACT):
            if name in document.model_fields_set:
                details[name] = getattr(document, name)
        if "keywords" in document.model_fields_set:
            details["keywords"] = keyword_text(document.keywords)
        numbers = {
            name: getattr(document, name)
            for name in NETWORK_NUMBERS
            if name in document.model_fields_set
        }
        after = replace(
            before,
            display_name=document.display_name or before.display_name,
            public=before.public if document.public is None else document.public,
            details={name: value for name, value in details.items() if value is not None},
            managed={**before.managed, **numbers},
        )
        await endpoints.update(conn, after, None)
    data = [documents.endpoint_document(after, asked.service.origin)] if wanted else []
    return success(data, message=f"Updated endpoint {asked.endpoint_id}")


def _refuse(document: EndpointDocument) -> None:
    """What is settled otherwise here is not stored as if it were so. Raises ApiError 422."""
    if document.allow_udt:
        raise unprocessable("allow_udt: data goes by TCP here; leave it false")
    if document.gridftp_control_channel_port not in (None, documents.CONTROL_PORT):
        raise unprocessable(
            "gridftp_control_channel_port: nodes are reached through a relay and have no such port;"
            f" leave it {documents.CONTROL_PORT}"
        )
    if document.network_use == "custom" and any(
        getattr(document, name) is None for name in NETWORK_NUMBERS
    ):
        raise unprocessable(f"network_use custom needs {', '.join(NETWORK_NUMBERS)} as well")
    _refuse_subscription(document.subscription_id)


def _refuse_subscription(subscription_id: str | None) -> None:
    if subscription_id is not None:
        raise unprocessable(
            "This deployment has no subscriptions: every endpoint has all that it offers."
            " Leave subscription_id null"
        )


@router.put(
    "/endpoint/subscription_id",
    response_model=answers.Done,
    openapi_extra=reads(SubscriptionDocument),
)
async def set_subscription(asked: Asked, request: Request) -> JSONResponse:
    """There are none here: null is what every endpoint has."""
    asked.require_administrator("change its subscription")
    document = await read(request, SubscriptionDocument)
    _refuse_subscription(document.subscription_id)
    return success(message=f"Endpoint {asked.endpoint_id} has no subscription, and needs none")
