"""The consent without which nobody's files in a collection are touched."""

from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal, nexus_unavailable
from towpath.transfer.api.service import TransferService
from towpath.transfer.consents import DataAccess, NexusAway, required_scope
from towpath.transfer.store.endpoints import Endpoint, EntityType

MESSAGE = "Missing required data_access consent"
"""The CLI knows this sentence, and says which command helps."""


async def require_data_access(
    service: TransferService, caller: Principal, collection: Endpoint
) -> None:
    """403 ConsentRequired unless the caller lets its application use its data in a mapped
    collection. Of anything else nothing is asked: what is shared, its owner has opened himself.
    """
    if collection.entity_type is not EntityType.COLLECTION:
        return
    access = DataAccess(caller.client_id, caller.sub, collection.id)
    try:
        allowed = await service.data_consents.allowed(access)
    except NexusAway as error:
        raise nexus_unavailable(error) from error
    if not allowed:
        raise ApiError(
            403,
            "ConsentRequired",
            MESSAGE,
            extras={"required_scopes": [required_scope(collection.id)]},
        )
