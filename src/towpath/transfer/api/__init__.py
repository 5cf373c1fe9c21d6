"""The Transfer API's routes, thin: they check, call the store or browse, and shape the answer."""

from towpath.transfer.api.app import create_app
from towpath.transfer.api.service import PREFIX, SCOPE, TransferService

__all__ = ["PREFIX", "SCOPE", "TransferService", "create_app"]
