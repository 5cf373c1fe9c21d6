"""Routes of storage gateways: an endpoint has one, its nodes' files."""

from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from towpath.platform.database import Connection
from towpath.platform.http import new_router
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import Document, Text
from towpath.transfer.manager import answers
from towpath.transfer.manager.asking import PREFIX_OF_EACH, Asked, Asking, read
from towpath.transfer.manager.bodies import Name, typed
from towpath.transfer.manager.collections import PageSize, private_policies
from towpath.transfer.manager.documents import gateway_document, gateway_id
from towpath.transfer.manager.envelope import (
    PAGE_USUAL,
    JsonObject,
    not_found,
    page,
    success,
    unprocessable,
)
from towpath.transfer.store import connect, endpoints

router = new_router(PREFIX_OF_EACH)


class GatewayDocument(Document):
    """What may be said of it. Only its name is kept here."""

    DATA_TYPE: Annotated[str, typed("storage_gateway")]
    display_name: Name | None = None
    root: Text | None = None
    allowed_domains: list[Any] | None = None
    identity_mappings: list[Any] | None = None
    restrict_paths: dict[Text, Any] | None = None
    users_allow: list[Any] | None = None
    users_deny: list[Any] | None = None
    policies: dict[Text, Any] | None = None
    high_assurance: bool | None = None
    require_mfa: bool | None = None
    authentication_timeout_mins: int | None = None


_AT_THE_SITE = (
    ("identity_mappings", "towpath connect map add MATCH ACCOUNT"),
    ("restrict_paths", "towpath connect managers allow PATH"),
    ("root", "towpath connect collection add NAME --base-path PATH"),
    ("users_allow", "towpath connect collection add NAME --base-path PATH --allow ACCOUNT"),
    ("users_deny", "towpath connect collection add NAME --base-path PATH --allow ACCOUNT"),
    ("allowed_domains", "towpath connect map add MATCH ACCOUNT"),
    ("policies", "towpath connect collection add NAME --base-path PATH --allow ACCOUNT"),
)
"""Who has which account and where its files are: the site's word, and the command that says it."""
_NOT_OFFERED = ("high_assurance", "require_mfa", "authentication_timeout_mins")


async def _gateway(conn: Connection, asked: Asking, *, private: bool) -> JsonObject:
    endpoint = await endpoints.get(conn, asked.endpoint_id)
    assert endpoint is not None, "endpoints are never removed from the table"
    return gateway_document(
        endpoint,
        await connect.get_mappings(conn, endpoint.id),
        await connect.get_roots(conn, endpoint.id),
        private=private,
    )


def _check(asked: Asking, storage_gateway_id: str) -> None:
    asked.require_visible()
    if storage_gateway_id.lower() != str(gateway_id(asked.endpoint_id)):
        raise not_found("storage gateway", storage_gateway_id)


@router.get("/storage_gateways", response_model=answers.StorageGateways)
async def list_gateways(
    asked: Asked,
    include: str | None = None,
    page_size: PageSize = PAGE_USUAL,
    marker: str | None = None,
) -> JSONResponse:
    """The one that there is."""
    asked.require_visible()
    private = private_policies(asked, include)
    async with asked.service.database.connection() as conn:
        one = await _gateway(conn, asked, private=private)
    data, following = page([(gateway_id(asked.endpoint_id), one)], marker or None, page_size)
    return success(data, marker=following)


@router.get("/storage_gateways/{storage_gateway_id}", response_model=answers.StorageGateways)
async def show_gateway(
    storage_gateway_id: str, asked: Asked, include: str | None = None
) -> JSONResponse:
    """The same by its id."""
    _check(asked, storage_gateway_id)
    private = private_policies(asked, include)
    async with asked.service.database.connection() as conn:
        return success([await _gateway(conn, asked, private=private)])


@router.post(
    "/storage_gateways",
    response_model=answers.StorageGateways,
    openapi_extra=reads(GatewayDocument),
)
async def create_gateway(asked: Asked, request: Request) -> JSONResponse:
    """There is one, and no other can be made."""
    asked.require_administrator("make a storage gateway")
    await read(request, GatewayDocument)
    raise unprocessable(
        f"The endpoint has its one storage gateway already, {gateway_id(asked.endpoint_id)}: the"
        " files of its servers. What of them is shown is said there, by collections"
    )


@router.patch(
    "/storage_gateways/{storage_gateway_id}",
    response_model=answers.StorageGateways,
    openapi_extra=reads(GatewayDocument),
)
async def update_gateway(storage_gateway_id: str, asked: Asked, request: Request) -> JSONResponse:
    """Name it. All else is the site's."""
    _check(asked, storage_gateway_id)
    asked.require_administrator("change it")
    document = await read(request, GatewayDocument)
    for name, command in _AT_THE_SITE:
        if getattr(document, name):
            raise unprocessable(
                f"{name}: whoever runs the endpoint's servers says it there: {command}"
            )
    for name in _NOT_OFFERED:
        if getattr(document, name):
            raise unprocessable(f"{name}: it is not offered; leave it out")
    async with asked.service.database.transaction() as conn:
        before = await endpoints.get(conn, asked.endpoint_id, lock=True)
        assert before is not None, "endpoints are never removed from the table"
        if document.display_name is not None:
            managed = {**before.managed, "storage_gateway": document.display_name}
            await endpoints.set_managed(conn, before.id, managed)
        one = await _gateway(conn, asked, private=False)
    return success([one], message=f"Updated storage gateway {storage_gateway_id}")


@router.delete("/storage_gateways/{storage_gateway_id}", response_model=answers.Done)
async def delete_gateway(storage_gateway_id: str, asked: Asked) -> JSONResponse:
    """It goes with the endpoint."""
    _check(asked, storage_gateway_id)
    asked.require_administrator("delete it")
    raise unprocessable(
        "The storage gateway is the files of the endpoint's servers, and goes with the endpoint:"
        f" globus endpoint delete {asked.endpoint_id}"
    )
