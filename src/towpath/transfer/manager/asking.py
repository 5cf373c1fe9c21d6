"""Who asks about which endpoint: a token for that endpoint, and what its person is there."""

from dataclasses import dataclass
from typing import Annotated, TypeVar
from uuid import UUID

import structlog
from fastapi import Depends, Request

from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal, bearer_of
from towpath.transfer.api.bodies import Document, parse_document
from towpath.transfer.api.service import Service, TransferService, counted, who
from towpath.transfer.manager.envelope import not_found
from towpath.transfer.rights import Standing, Who
from towpath.transfer.store import endpoints, rights
from towpath.transfer.store.endpoints import Endpoint, EntityType

PREFIX = "/gcs"
PREFIX_OF_EACH = f"{PREFIX}/{{endpoint_id}}/api"
"""Of each endpoint."""

_D = TypeVar("_D", bound=Document)


@dataclass(frozen=True, slots=True)
class Asking:
    """A caller at an endpoint of which he may see something: all, or only some of its collections,
    if it is private and he has no role there."""

    service: TransferService
    caller: Principal
    who: Who
    endpoint: Endpoint
    standing: Standing

    @property
    def endpoint_id(self) -> UUID:
        """Which endpoint is asked about."""
        return self.endpoint.id

    def require_visible(self) -> None:
        """404 unless the caller may see the endpoint itself, not only a collection of it (I7)."""
        if not self.standing.visible:
            raise not_found("endpoint", self.endpoint_id)

    def require_administrator(self, what: str) -> None:
        """403 unless the caller administers the endpoint; 404 if he may not see it."""
        self.require_visible()
        if not self.standing.administers:
            raise forbidden(f"Only an administrator of the endpoint may {what}")

    async def standing_at(self, conn: Connection, one: Endpoint) -> Standing:
        """What the caller is at a collection of the endpoint."""
        return await rights.standing(conn, one, self.who, self.service.now())


def manage_scope(endpoint_id: UUID) -> str:
    """A fixed literal inside the clients, but for the id."""
    return f"urn:globus:auth:scope:{endpoint_id}:manage_collections"


def forbidden(message: str) -> ApiError:
    """403."""
    return ApiError(403, "permission_denied", message)


async def _asking(endpoint_id: str, request: Request, service: Service) -> Asking:
    try:
        wanted = UUID(endpoint_id)
    except ValueError:
        raise not_found("endpoint", endpoint_id) from None
    scope = manage_scope(wanted)

    async def asks(request: Request) -> Principal:
        found = await service.guard.principal(bearer_of(request))
        if scope not in found.scopes:
            raise forbidden(
                f"This needs a token with the scope {scope}: globus login --gcs {wanted}"
            )
        return found

    caller = await counted(request, service, asks)
    structlog.contextvars.bind_contextvars(principal=str(caller.sub))
    asker = who(caller)
    async with service.database.connection() as conn:
        endpoint = await endpoints.get(conn, wanted)
        if (
            endpoint is None
            or endpoint.deleted_at is not None
            or endpoint.entity_type is not EntityType.CONNECT
        ):
            raise not_found("endpoint", wanted)
        now = service.now()
        standing = await rights.standing(conn, endpoint, asker, now)
        if not standing.visible and not await endpoints.shows_part(conn, asker, now, endpoint.host):
            raise not_found("endpoint", wanted)
    return Asking(service, caller, asker, endpoint, standing)


Asked = Annotated[Asking, Depends(_asking)]
"""401 or 403 before anything else is looked at; 404 for who may see nothing of it. Routes of the
endpoint itself, and not of its collections or of the caller's credentials, begin with
`Asking.require_visible`, or `require_administrator`."""


async def read(request: Request, model: type[_D]) -> _D:
    """The request's body. 400 if it is no JSON, 422 if it is not what it should be."""
    raw = await request.body()
    try:
        return parse_document(raw, model)
    except ApiError as error:
        if error.code.endswith("InvalidJSON"):
            raise ApiError(400, "bad_request", error.message) from None
        raise ApiError(422, "unprocessable_entity", error.message) from None
