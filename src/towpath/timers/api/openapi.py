"""The document of the API (OpenAPI 3.1): `docs/reference/openapi-timers.json`."""

from typing import Any

from fastapi import FastAPI

from towpath.platform import openapi
from towpath.timers.api.answers import ErrorAnswer, Invalid
from towpath.timers.nexus import TIMER_SCOPE


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of Timers' `app`."""
    return openapi.openapi_document(
        app,
        title="Towpath Timers API",
        version="2",
        page="docs/reference/timers.md",
        scope=TIMER_SCOPE,
        error=ErrorAnswer,
        invalid=Invalid,
    )
