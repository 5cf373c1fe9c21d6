"""Where transfer keeps sealed values."""

from typing import Final

from towpath.platform.resealing import SealedColumn
from towpath.transfer.store import connect_keys, credentials, delegations, webhooks

SEALED: Final = (
    SealedColumn("credential", "sealed", ("endpoint_id", "owner_id"), credentials.seal_context),
    SealedColumn("connect_key", "sealed", ("purpose", "id"), connect_keys.seal_context),
    SealedColumn("delegation", "sealed", ("endpoint_id", "owner_id"), delegations.seal_context),
    SealedColumn("webhook", "sealed_secret", ("id",), webhooks.seal_context),
    SealedColumn("webhook", "sealed_earlier", ("id",), webhooks.seal_context),
)
