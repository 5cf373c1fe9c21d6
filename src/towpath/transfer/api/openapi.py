"""The document of the API (OpenAPI 3.1): `docs/reference/openapi.json`, from which clients can
make their types. Nothing of it is served.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from towpath.transfer.api.answers.base import Error

_REFERENCE = "#/components/schemas/"
_SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token with the scope `urn:globus:auth:scope:transfer.api.globus.org:all`",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Of all routes of the Transfer API's `app`."""
    document = get_openapi(
        title="Towpath Transfer API",
        version="0.10",
        description="What the routes mean is in docs/reference/api.md.",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    # FastAPI's own answers to a bad request, which ours replace.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = Error.model_json_schema()
    _drop_titles(schemas)
    for operation in _operations(document):
        answers = operation["responses"]
        answers.pop("422", None)
        answers["default"] = {
            "description": "What went wrong",
            "content": {"application/json": {"schema": {"$ref": f"{_REFERENCE}Error"}}},
        }
        for content in _contents(operation):
            content["schema"] = _lifted(content["schema"], schemas)
    document["components"]["securitySchemes"] = {"bearer": _SECURITY}
    document["security"] = [{"bearer": []}]
    _drop_titles(document["paths"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _contents(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from part.get("content", {}).values()


def _lifted(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to a schema that a route has written out, which goes to the others."""
    if "title" not in schema:
        return schema
    name = schema["title"]
    for other, one in {**schema.pop("$defs", {}), name: schema}.items():
        _drop_titles(one)
        assert schemas.setdefault(other, one) == one, f"two schemas are called {other}"
    return {"$ref": _REFERENCE + name}


def _drop_titles(part: Any) -> None:
    """Names of schemas and fields, again: generated, and of no use to readers."""
    if isinstance(part, list):
        for one in part:
            _drop_titles(one)
    elif isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for one in part.values():
            _drop_titles(one)
