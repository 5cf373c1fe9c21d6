"""The document of the API (OpenAPI 3.1): `docs/reference/openapi-timers.json`."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from towpath.platform import openapi
from towpath.timers.api.answers import ErrorAnswer, Invalid
from towpath.timers.nexus import TIMER_SCOPE

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "routes": ("Timers", "Transfers that are made at set times."),
}
PARAMETERS: Final[Mapping[str, str]] = {
    "job_id": "Of the timer",
    "order": "A field to sort by, and perhaps `asc` or `desc`, as in `next_run desc`",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of Timers' `app`."""
    document = openapi.openapi_document(
        app,
        title="Towpath Timers API",
        version="2",
        page="docs/reference/timers.md",
        scope=TIMER_SCOPE,
        error=ErrorAnswer,
        invalid=Invalid,
    )
    openapi.tell(document, app, groups=GROUPS, parameters=PARAMETERS)
    return document
