"""The consent without which nobody's files in a collection are touched."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal, nexus_unavailable
from towpath.transfer.api.service import TransferService
from towpath.transfer.consents import DataAccess, NexusAway
from towpath.transfer.store.endpoints import Endpoint, EntityType

MESSAGE = "Missing required data_access consent"
"""The CLI knows this sentence, and says which command helps."""

Consents = frozenset[UUID]
"""Collections whose data the caller lets his application use, as nexus said just now."""

T = TypeVar("T")


class AskFirst(Exception):  # noqa: N818 - a request, named as one
    """Whether the application may use a collection's data is to be asked, and not from here: nexus
    may take its time, and a connection to the database is held."""

    def __init__(self, collection: Endpoint) -> None:
        super().__init__(collection.id)
        self.collection = collection


def look_for_consent(consents: Consents, endpoint: Endpoint) -> None:
    """Where a connection is held: whether nexus has been asked about it. Raises AskFirst."""
    if endpoint.entity_type is EntityType.COLLECTION and endpoint.id not in consents:
        raise AskFirst(endpoint)


async def with_consents(
    service: TransferService, caller: Principal, work: Callable[[Consents], Awaitable[T]]
) -> T:
    """Do `work`, and what it raises AskFirst for: ask, and do it once more. Raises ApiError."""
    consents: Consents = frozenset()
    while True:
        try:
            return await work(consents)
        except AskFirst as first:
            await require_data_access(service, caller, first.collection)
            consents |= {first.collection.id}


async def require_data_access(
    service: TransferService, caller: Principal, collection: Endpoint
) -> None:
    """403 ConsentRequired unless the caller lets its application use its data in a mapped
    collection. Of anything else nothing is asked: what is shared, its owner has opened himself.
    """
    if collection.entity_type is EntityType.COLLECTION:
        access = DataAccess(
            caller.client_id, caller.sub, collection.id, root_client_id=caller.root_client_id
        )
        await _require(service, access)


async def require_data_access_to_share(
    service: TransferService, caller: Principal, collection: Endpoint
) -> None:
    """The same for who shares what is in it, as a manager of its endpoint: else an application
    could make a guest collection, for which it needs no consent.
    """
    access = DataAccess(
        caller.client_id, caller.sub, collection.id, collection.connect_id, caller.root_client_id
    )
    await _require(service, access)


async def _require(service: TransferService, access: DataAccess) -> None:
    try:
        allowed = await service.data_consents.allowed(access)
    except NexusAway as error:
        raise nexus_unavailable(error) from error
    if not allowed:
        raise ApiError(
            403,
            "ConsentRequired",
            MESSAGE,
            extras={"required_scopes": [access.required_scope]},
        )
