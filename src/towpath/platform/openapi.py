"""The document of an API (OpenAPI 3.1), from which clients can make their types."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

_REFERENCE = "#/components/schemas/"


def openapi_document(
    app: FastAPI,
    *,
    title: str,
    version: str,
    page: str,
    scope: str,
    error: type[BaseModel],
    invalid: type[BaseModel] | None = None,
) -> dict[str, Any]:
    """Of all routes of `app`. `page`: where it says what they mean; `scope`: of the tokens;
    `error`: what they answer when something is wrong, and `invalid` to a document that cannot be
    used, if that is something else.
    """
    document = get_openapi(
        title=title,
        version=version,
        description=f"What the routes mean is in {page}.",
        routes=app.routes,
    )
    schemas = document["components"]["schemas"]
    # FastAPI's own answers to a bad request, which ours replace.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _add(schemas, error.__name__, error)
    if invalid is not None:
        _add(schemas, "Invalid", invalid)
    _drop_titles(schemas)
    for operation in _operations(document):
        answers = operation["responses"]
        if answers.pop("422", None) is not None and invalid is not None:
            answers["422"] = _answer("What cannot be used of the document", "Invalid")
        answers["default"] = _answer("What went wrong", error.__name__)
        for content in _contents(operation):
            content["schema"] = _lifted(content["schema"], schemas)
    described = f"A token with the scope `{scope}`"
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": described}
    }
    document["security"] = [{"bearer": []}]
    _drop_titles(document["paths"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _add(schemas: dict[str, Any], name: str, model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=_REFERENCE + "{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[name] = schema


def _answer(description: str, name: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE + name}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


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
