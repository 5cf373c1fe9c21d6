"""The document of the API (OpenAPI 3.1): `/openapi.json`, and `docs/reference/openapi.json`.
Clients are made from it, `/docs` shows it, and tests hold answers to it.

Routes declare what they read and answer. What is the same for all is added here: the errors that a
route can answer, what parameters mean, the group that it is shown in.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

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
    OTHER_GROUP,
    OWN_ERRORS,
    PARAMETERS,
    STATUSES,
)
from towpath.transfer.api.service import SCOPE

_REFERENCE = "#/components/schemas/"
_RESPONSE = "#/components/responses/"
_V2_FORM = (JSONAPI_FORM, JSONAPI, "ErrorList")
_CHANGES = frozenset({"post", "put", "patch", "delete"})
_ANSWERED = {"200": "Done", "201": "Made", "202": "Accepted; it is done soon", "204": "Done"}


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
    groups = _groups(app)
    for path, method, operation in _operations(document):
        name = operation["operationId"]
        operation["summary"], operation["description"] = _told(operation)
        operation["tags"] = [groups.get(name, OTHER_GROUP)]
        if name in NO_TOKEN:
            operation["security"] = []
        for parameter in operation.get("parameters", ()):
            _tell_parameter(parameter)
        _tell_errors(path, method, operation)
        if name in EXAMPLES:
            body = operation["requestBody"]["content"]["application/json"]
            body["examples"] = EXAMPLES[name]
    used = {tag for *_, operation in _operations(document) for tag in operation["tags"]}
    tags = dict.fromkeys((*GROUPS.values(), (OTHER_GROUP, "")))
    document["tags"] = [{"name": name, "description": told} for name, told in tags if name in used]
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
    for status, answer in answers.items():
        if answer["description"] == "Successful Response":
            answer["description"] = _ANSWERED.get(status, "Done")
    form = JSONAPI_FORM if path.startswith("/v2/") else ""
    for status in errors_of(path, method, operation):
        answers[str(status)] = {"$ref": _RESPONSE + STATUSES[status][0] + form}


def _groups(app: FastAPI) -> dict[str, str]:
    """The group of each route, by its name: that of the module which it is in."""
    found = {}
    for route in iter_route_contexts(app.routes):
        if route.endpoint is not None and route.name is not None:
            module = route.endpoint.__module__.rpartition(".")[2]
            found[route.name] = GROUPS[module][0] if module in GROUPS else OTHER_GROUP
    return found


def _told(operation: Mapping[str, Any]) -> tuple[str, str]:
    """A route's docstring: its first sentence, and all of it on lines of its own."""
    text = " ".join(str(operation.get("description", operation["summary"])).split())
    first = text.split(". ")[0].rstrip(".")
    return first, text


def _tell_parameter(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:  # whoever leaves it out, leaves it out
        del schema["anyOf"]
        schema.update(kinds[0])
    name = parameter["name"]
    if parameter["in"] == "path" and name.endswith("_id"):
        schema["format"] = "uuid"
    if name in PARAMETERS:
        parameter.setdefault("description", PARAMETERS[name])


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation
