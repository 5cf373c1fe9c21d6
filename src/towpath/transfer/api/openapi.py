"""The document of the API (OpenAPI 3.1): `/openapi.json`, and `docs/reference/openapi.json`.
Clients are made from it, `/docs` shows it, and tests hold answers to it.

Routes declare what they read and answer. What is the same for all is added here: the errors that a
route can answer, what parameters mean, the group that it is shown in.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from towpath.platform import openapi
from towpath.platform.errors import JSONAPI
from towpath.transfer.api.answers.base import Error
from towpath.transfer.api.openapi_words import (
    ERRORS_SCHEMA,
    EXAMPLES,
    GROUPS,
    INTRODUCTION,
    JSONAPI_FORM,
    NO_TOKEN,
    OWN_ERRORS,
    PARAMETERS,
    STATUSES,
)
from towpath.transfer.api.service import SCOPE

_REFERENCE = "#/components/schemas/"
_RESPONSE = "#/components/responses/"
_V2_FORM = (JSONAPI_FORM, JSONAPI, "ErrorList")
_CHANGES = frozenset({"post", "put", "patch", "delete"})


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of the Transfer API's `app`."""
    document = openapi.openapi_document(
        app,
        title="Towpath Transfer API",
        version="0.10",
        page="docs/reference/api.md",
        scope=SCOPE,
        error=Error,
    )
    document["info"]["description"] = INTRODUCTION
    openapi.tell(document, app, groups=GROUPS, parameters=PARAMETERS, no_token=NO_TOKEN)
    for path, method, operation in openapi.operations(document):
        _tell_errors(path, method, operation)
        name = operation["operationId"]
        if name in EXAMPLES:
            body = operation["requestBody"]["content"]["application/json"]
            body["examples"] = EXAMPLES[name]
    document["components"]["responses"] = {
        name + form: {
            "description": told,
            "content": {media_type: {"schema": {"$ref": f"{_REFERENCE}{schema}"}}},
        }
        for form, media_type, schema in (("", "application/json", "Error"), _V2_FORM)
        for name, told in STATUSES.values()
    }
    document["components"]["schemas"]["ErrorList"] = ERRORS_SCHEMA
    return document


def errors_of(path: str, method: str, operation: Mapping[str, Any]) -> list[int]:
    """The statuses above 400 that a route can answer; `method` in small letters."""
    found = {503}
    if operation["operationId"] not in NO_TOKEN:
        found |= {401, 403, 429}
    if operation.get("parameters") or operation.get("requestBody"):
        found |= {400, 404}
    if operation.get("requestBody"):
        found.add(413)
    if method in _CHANGES:
        found |= {404, 409}
    for ending, more in OWN_ERRORS:
        if ending in path:
            found |= more
    return sorted(found)


def _tell_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    del answers["default"]
    form = JSONAPI_FORM if path.startswith("/v2/") else ""
    for status in errors_of(path, method, operation):
        answers[str(status)] = {"$ref": _RESPONSE + STATUSES[status][0] + form}
