"""The document of the API (OpenAPI 3.1): `/openapi-groups.json`."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from towpath.nexus.groups.answers import Error
from towpath.nexus.scopes import GROUPS_ALL
from towpath.platform import openapi

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "app": ("Groups", "Groups of people, their members, and what these may do."),
}
PARAMETERS: Final[Mapping[str, str]] = {
    "group_id": "Of the group",
    "subscription_id": "Of a subscription",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of the Groups API's `app`."""
    document = openapi.openapi_document(
        app,
        title="Towpath Groups API",
        version="2",
        page="docs/reference/groups.md",
        scope=GROUPS_ALL,
        error=Error,
    )
    openapi.tell(document, app, groups=GROUPS, parameters=PARAMETERS)
    return document
