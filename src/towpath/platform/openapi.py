"""The document of an API (OpenAPI 3.1), from which clients can make their types."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

_REFERENCE = "#/components/schemas/"
OTHER_GROUP: Final = "Other"
"""Of routes in modules that have no group."""
_ANSWERED = {"200": "Done", "201": "Made", "202": "Accepted; it is done soon", "204": "Done"}


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
    for *_, operation in operations(document):
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


def takes(name: str, description: str, *, required: bool = False) -> dict[str, Any]:
    """For a route that reads a parameter of the query itself (`openapi_extra`)."""
    parameter = {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
    }
    return {"parameters": [parameter]}


def _add(schemas: dict[str, Any], name: str, model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=_REFERENCE + "{model}")
    schemas.update(schema.pop("$defs", {}))
    schemas[name] = schema


def _answer(description: str, name: str) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE + name}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def tell(
    document: dict[str, Any],
    app: FastAPI,
    *,
    groups: Mapping[str, tuple[str, str]],
    parameters: Mapping[str, str],
    no_token: Collection[str] = (),
) -> None:
    """Say in the document of `app` what people want to know of its routes.

    `groups`: by the module of routes, the name of their group and what it is about; `parameters`:
    by name, what they mean, where the route does not say so; `no_token`: names of routes that
    need none.
    """
    group_of = _groups(app, groups)
    for *_, operation in operations(document):
        name = operation["operationId"]
        operation["summary"], operation["description"] = _told(operation)
        operation["tags"] = [group_of.get(name, OTHER_GROUP)]
        if name in no_token:
            operation["security"] = []
        for parameter in operation.get("parameters", ()):
            _tell_parameter(parameter, parameters)
        for status, answer in operation["responses"].items():
            if answer["description"] == "Successful Response":
                answer["description"] = _ANSWERED.get(status, "Done")
    used = {tag for *_, operation in operations(document) for tag in operation["tags"]}
    tags = dict.fromkeys((*groups.values(), (OTHER_GROUP, "")))
    document["tags"] = [{"name": name, "description": told} for name, told in tags if name in used]


def _groups(app: FastAPI, groups: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """The group of each route, by its name: that of the module which it is in."""
    found = {}
    for route in iter_route_contexts(app.routes):
        if route.endpoint is not None and route.name is not None:
            module = route.endpoint.__module__.rpartition(".")[2]
            found[route.name] = groups[module][0] if module in groups else OTHER_GROUP
    return found


def _told(operation: Mapping[str, Any]) -> tuple[str, str]:
    """A route's docstring: its first sentence, and all of it on lines of its own."""
    text = " ".join(str(operation.get("description", operation["summary"])).split())
    first = text.split(". ")[0].rstrip(".")
    return first, text


def _tell_parameter(parameter: dict[str, Any], words: Mapping[str, str]) -> None:
    schema = parameter["schema"]
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:  # whoever leaves it out, leaves it out
        del schema["anyOf"]
        schema.update(kinds[0])
    name = parameter["name"]
    if parameter["in"] == "path" and name.endswith("_id"):
        schema["format"] = "uuid"
    if name in words:
        parameter.setdefault("description", words[name])


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Of a document, each with its path and method (in small letters)."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


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
