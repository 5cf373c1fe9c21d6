"""`docs/reference/openapi*.json` are the documents of the APIs as they are; run this file as a
program to write them anew (`make openapi`).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from towpath.timers.api.app import create_app as create_timers
from towpath.timers.api.openapi import openapi_document as timers_document
from towpath.transfer.api import create_app
from towpath.transfer.api.openapi import openapi_document

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
# no service is needed to describe its routes
_NOTHING = cast("Any", None)
RENDER: dict[str, Callable[[], dict[str, Any]]] = {
    "openapi.json": lambda: openapi_document(create_app(_NOTHING)),
    "openapi-timers.json": lambda: timers_document(create_timers(_NOTHING)),
}
ROUTES = {"openapi.json": 20, "openapi-timers.json": 8}


def render(name: str) -> str:
    """A document."""
    return json.dumps(RENDER[name](), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", RENDER)
def test_the_document_is_current(name: str) -> None:
    assert (REFERENCE / name).read_text() == render(name), "write it anew: make openapi"


@pytest.mark.parametrize("name", RENDER)
def test_every_route_says_what_it_answers_and_reads(name: str) -> None:
    document = json.loads((REFERENCE / name).read_text())
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids) >= ROUTES[name]
    for route, operation in operations:
        answers = operation["responses"]
        assert answers.keys() - {"default"}, route
        for answer in answers.values():
            json_answer = answer["content"].get("application/json", {"schema": {"$ref": ""}})
            assert json_answer["schema"].keys() == {"$ref"}, route
        if route.startswith("PUT "):
            assert operation["requestBody"]["required"], route


if __name__ == "__main__":
    for page in RENDER:
        (REFERENCE / page).write_text(render(page))
