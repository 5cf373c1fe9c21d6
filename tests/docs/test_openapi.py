"""`docs/reference/openapi.json` is the document of the API as it is; run this file as a program to
write it anew (`make openapi`).
"""

import json
from pathlib import Path
from typing import cast

from towpath.transfer.api import TransferService, create_app
from towpath.transfer.api.openapi import openapi_document

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def render() -> str:
    """The document; no service is needed to describe its routes."""
    document = openapi_document(create_app(cast("TransferService", None)))
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def test_the_document_is_current() -> None:
    assert PAGE.read_text() == render(), "write it anew: make openapi"


def test_every_route_says_what_it_answers_and_reads() -> None:
    document = json.loads(PAGE.read_text())
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids) > 20
    for name, operation in operations:
        answers = operation["responses"]
        assert answers.keys() - {"default"}, name
        for answer in answers.values():
            json_answer = answer["content"].get("application/json", {"schema": {"$ref": ""}})
            assert json_answer["schema"].keys() == {"$ref"}, name
        if name.startswith("PUT "):
            assert operation["requestBody"]["required"], name


if __name__ == "__main__":
    PAGE.write_text(render())
