"""The document of the API (OpenAPI 3.1): `docs/reference/openapi.json`. Nothing of it is served."""

from typing import Any

from fastapi import FastAPI

from towpath.platform import openapi
from towpath.transfer.api.answers.base import Error
from towpath.transfer.api.service import SCOPE


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of the Transfer API's `app`."""
    return openapi.openapi_document(
        app,
        title="Towpath Transfer API",
        version="0.10",
        page="docs/reference/api.md",
        scope=SCOPE,
        error=Error,
    )
