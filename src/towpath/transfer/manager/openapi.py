"""The document of the API (OpenAPI 3.1): `/openapi-manager.json`."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from towpath.platform import openapi
from towpath.transfer.manager.answers import Error
from towpath.transfer.manager.documents import API_VERSION

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "endpoint": ("Endpoint", "What it is, and its own settings."),
    "collections": ("Collections", "Directories that are shown, and what people share of them."),
    "gateways": ("Storage gateways", "There is one: the files of the endpoint's nodes."),
    "roles": ("Roles", "Who may look after the endpoint and its collections."),
    "credentials": ("User credentials", "Which account a person has."),
}
PARAMETERS: Final[Mapping[str, str]] = {
    "endpoint_id": "Of the endpoint",
    "collection_id": "Of the collection",
    "mapped_collection_id": "A collection: what is shared of it",
    "role_id": "Of the role",
    "storage_gateway_id": "Of the storage gateway",
    "storage_gateway": "Of the storage gateway",
    "user_credential_id": "Of the user credential",
    "filter": "Words, with commas: `mapped_collections`, `guest_collections`, `managed_by_me`,"
    " `created_by_me`; all of them must hold",
    "include": "What else to tell: `private_policies`, `all_roles`, `endpoint`, where there is it",
    "page_size": "How many at most",
    "marker": "`marker` of the page before",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of the Manager's `app`."""
    document = openapi.openapi_document(
        app,
        title="Towpath Manager API",
        version=API_VERSION,
        page="docs/reference/manager.md",
        scope="urn:globus:auth:scope:ENDPOINT_ID:manage_collections",
        error=Error,
    )
    openapi.tell(
        document, app, groups=GROUPS, parameters=PARAMETERS, no_token=frozenset({"show_info"})
    )
    return document
