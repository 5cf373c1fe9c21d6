"""`docs/reference/openapi*.json` are the documents of the APIs as they are; run this file as a
program to write them anew (`make openapi`).
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema_rs
import pytest
import schemathesis

from towpath.cli.up_reference import described
from towpath.nexus.groups.app import create_app as create_groups
from towpath.platform.openapi import OTHER_GROUP
from towpath.platform.reference import DescribedApi, create_reference, paths
from towpath.timers.api.app import create_app as create_timers
from towpath.transfer.api import create_app
from towpath.transfer.api.openapi_words import EXAMPLES
from towpath.transfer.manager.app import create_app as create_manager

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
# no service is needed to describe its routes
_NOTHING = cast("Any", None)
APIS = described(
    transfer=create_app(_NOTHING),
    timers=create_timers(_NOTHING),
    manager=create_manager(_NOTHING),
    groups=create_groups(_NOTHING),
)
RENDER = {api.document_path[1:]: api.document for api in APIS}
ROUTES = {
    "openapi.json": 20,
    "openapi-timers.json": 8,
    "openapi-manager.json": 23,
    "openapi-groups.json": 16,
}


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
        transfer = name == "openapi.json"
        assert not transfer or "default" not in answers, route
        assert not transfer or {"401", "503"} <= answers.keys() or not operation["security"], route
        assert operation["summary"], route
        assert operation["description"].endswith("."), f"{route}: a docstring"
        assert operation["tags"] != [OTHER_GROUP], f"{route}: a group for its module"
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{route}: {parameter['name']}"
        for status, answer in answers.items():
            if "$ref" in answer:
                known = document["components"]["responses"]
                assert status >= "400", route
                assert answer["$ref"].rpartition("/")[2] in known, route
                continue
            json_answer = answer["content"].get("application/json", {"schema": {"$ref": ""}})
            assert json_answer["schema"].keys() == {"$ref"}, route
        if route.startswith(("PUT ", "PATCH ")):
            assert operation["requestBody"]["required"], route


@pytest.mark.parametrize("name", RENDER)
def test_no_document_is_called_as_a_field_of_its_own(name: str) -> None:
    """Clients made for Python keep a document in a variable of its name, beside its fields."""
    schemas = json.loads((REFERENCE / name).read_text())["components"]["schemas"]
    for schema, told in schemas.items():
        variable = re.sub(r"(?<!^)(?=[A-Z])", "_", schema).lower()
        assert variable not in told.get("properties", {}), schema


@pytest.mark.parametrize("name", RENDER)
def test_it_is_valid(name: str) -> None:
    document = json.loads((REFERENCE / name).read_text())
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    for component in document["components"].values():
        assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", each) for each in component)
    for reference in references(document):
        part = document
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": document["components"]})


def references(part: Any) -> Iterator[str]:
    """All that lead to another part."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


def test_examples_are_what_the_routes_take() -> None:
    document = json.loads((REFERENCE / "openapi.json").read_text())
    tried = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for example in body.get("examples", {}).values():
                schema = {**body["schema"], "components": document["components"]}
                jsonschema_rs.validate(schema, example["value"])
                tried += 1
    assert tried >= sum(map(len, EXAMPLES.values()))


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_the_page_and_the_document(api: DescribedApi) -> None:
    transport = httpx.ASGITransport(app=create_reference(APIS))
    async with httpx.AsyncClient(transport=transport, base_url="https://towpath.test") as http:
        document = json.loads((REFERENCE / api.document_path[1:]).read_text())
        assert (await http.get(api.document_path)).json() == document
        page = await http.get(api.page_path)
    assert page.text.count(' aria-current="page"') == 1
    for other in APIS:
        assert f'href="{other.page_path}"' in page.text
    assert f'href="{api.document_path}"' in page.text
    assert {api.document_path, api.page_path} < set(paths(APIS))
    policy = page.headers["content-security-policy"]
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "<script" not in page.text
    for methods in document["paths"].values():
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page.text
    named = set(re.findall(r'href="#([^"]+)"', page.text))
    assert named <= set(re.findall(r'id="([^"]+)"', page.text))
    assert ">None<" not in page.text


if __name__ == "__main__":
    for page in RENDER:
        (REFERENCE / page).write_text(render(page))
