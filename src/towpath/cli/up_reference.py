"""The APIs that ``towpath up`` tells of, and their documents."""

from collections.abc import Sequence

from fastapi import FastAPI

from towpath.nexus.groups.openapi import openapi_document as groups_document
from towpath.platform.reference import DescribedApi
from towpath.timers.api.openapi import openapi_document as timers_document
from towpath.transfer.api.openapi import openapi_document as transfer_document
from towpath.transfer.manager.openapi import openapi_document as manager_document


def described(
    *, transfer: FastAPI, timers: FastAPI, manager: FastAPI, groups: FastAPI
) -> Sequence[DescribedApi]:
    """All that have one, each of its app."""
    return (
        DescribedApi("Transfer", "", lambda: transfer_document(transfer)),
        DescribedApi("Timers", "timers", lambda: timers_document(timers)),
        DescribedApi("Manager", "manager", lambda: manager_document(manager)),
        DescribedApi("Groups", "groups", lambda: groups_document(groups)),
    )
