"""The reference pages say what the program does.

Parts between ``<!-- generated: NAME -->`` and ``<!-- end -->`` are rendered from the program; run
this file as a program to write them anew.
"""

import ast
import inspect
import itertools
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from plugins.fault_table import render_faults
from plugins.group_tables import render_outcomes, render_refusals, render_rights
from towpath.cli import main
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.nexus.app import create_app as create_nexus
from towpath.nexus.audit import KINDS
from towpath.nexus.groups.app import create_app as create_groups
from towpath.platform.errors import ApiError
from towpath.platform.settings import Settings
from towpath.timers.api.app import create_app as create_timers
from towpath.transfer.api.app import create_app as create_transfer
from towpath.transfer.api.bodies import Document, parse_document
from towpath.transfer.api.submission_bodies import (
    DeleteDocument,
    DeleteItem,
    TransferDocument,
    TransferItem,
)
from towpath.transfer.browse.errors import Operation, api_error

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
HELP_COLUMNS = "80"
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
_GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def render_answers() -> str:
    """What a file operation answers for each kind of error."""
    lines = ["| kind | status | code |", "| --- | --- | --- |"]
    for kind in Kind:
        answer = api_error(GridFTPError(kind, "", ""), Operation.LIST)
        lines.append(f"| `{kind}` | {answer.status} | `{answer.code}` |")
    return "\n".join(lines) + "\n"


def walk_commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that call the command, and each one below it."""
    yield words
    if isinstance(command, click.Group):
        context = command.make_context("towpath", [], resilient_parsing=True)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None, name
            yield from walk_commands(below, (*words, name))


def render_commands() -> str:
    """Every command's help."""
    parts = []
    runner = CliRunner(env={"COLUMNS": HELP_COLUMNS})
    for words in walk_commands(main):
        done = runner.invoke(main, [*words, "--help"], prog_name="towpath")
        assert done.exit_code == 0, done.output
        parts.append(f"## {' '.join(('towpath', *words))}\n\n```text\n{done.output}```\n")
    return "\n" + "\n".join(parts) + "\n"


def reasons(section: type[BaseModel]) -> dict[str, str]:
    """The words under each setting of a section, in one line."""
    [body] = ast.parse(inspect.getsource(section)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for setting, words in itertools.pairwise(body.body):
        match setting, words:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                found[name] = re.sub(r"(?<!\.)\.$", "", " ".join(text.split()))
    return found


def shown(default: object) -> str:
    """A default as the page writes it: TOML in backquotes."""
    if default is None:
        return "none"
    if isinstance(default, str):
        return f'`"{default}"`'
    if default == ():
        return "`[]`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def render_settings(section: str) -> str:
    """Every setting of a section."""
    model = Settings.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    why = reasons(model)
    assert why.keys() == model.model_fields.keys(), "a reason is missing"
    lines = ["| setting | default | why, and when to change it |", "| --- | --- | --- |"]
    for name, field in model.model_fields.items():
        lines.append(f"| `{section}.{name}` | {shown(field.default)} | {why[name]} |")
    return "\n".join(lines) + "\n"


def render_kinds() -> str:
    """Every kind of act in the audit log."""
    lines = ["| kind | meaning |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{kind}` | {what} |" for kind, what in KINDS.items())]) + "\n"


RENDER: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {
        section: partial(render_settings, section) for section in Settings.model_fields
    },
    "faults.md": {"faults": render_faults, "answers": render_answers},
    "commands.md": {"commands": render_commands},
    "audit.md": {"kinds": render_kinds},
    "groups.md": {
        "rights": render_rights,
        "outcomes": render_outcomes,
        "refusals": render_refusals,
    },
}


def rendered(page: str, text: str) -> str:
    """The page's text with its generated parts as they should be."""
    return _GENERATED.sub(lambda m: m[1] + RENDER[page][m[2]]() + m[4], text)


def test_the_faults_are_those_of_the_program() -> None:
    text = (REFERENCE / "faults.md").read_text()
    assert text == rendered("faults.md", text)


def test_the_kinds_of_acts_are_those_of_the_program() -> None:
    text = (REFERENCE / "audit.md").read_text()
    assert text == rendered("audit.md", text)


def test_the_commands_are_those_of_the_program() -> None:
    text = (REFERENCE / "commands.md").read_text()
    assert text == rendered("commands.md", text)


def test_the_rules_of_groups_are_those_of_the_program() -> None:
    text = (REFERENCE / "groups.md").read_text()
    assert text == rendered("groups.md", text)


def test_the_backoff_is_as_told() -> None:
    text = (REFERENCE / "faults.md").read_text()
    assert "two seconds at first and five minutes at most" in text.replace("\n", " ")
    engine = Settings().engine
    assert (engine.retry_first_s, engine.retry_max_s) == (2, 300)


def rows(text: str) -> list[list[str]]:
    """The cells of all tables."""
    cells = [[cell.strip() for cell in line.split("|")] for line in _ROW.findall(text)]
    return [row for row in cells if not set(row[0]) <= {"-", " "}]


def test_the_settings_are_those_of_the_program() -> None:
    text = (REFERENCE / "configuration.md").read_text()
    assert text == rendered("configuration.md", text)
    assert {match[2] for match in _GENERATED.finditer(text)} == Settings.model_fields.keys()


def test_the_example_of_settings_is_accepted(tmp_path: Path) -> None:
    blocks = re.findall(
        r"```toml\n(.*?)```", (REFERENCE / "configuration.md").read_text(), re.DOTALL
    )
    for number, block in enumerate(blocks):
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "towpath.toml").write_text(block)
        Settings.load(directory)
    assert blocks


# the apps are only looked at, so they need no parts
_NOTHING = cast("Any", None)
APPS: dict[str, Callable[[], list[FastAPI]]] = {
    "api.md": lambda: [
        create_transfer(_NOTHING),
        create_groups(_NOTHING),
        create_nexus(_NOTHING, issuer="https://localhost", keys=_NOTHING),
    ],
    "timers.md": lambda: [create_timers(_NOTHING)],
}


def routes(apps: list[FastAPI]) -> set[str]:
    """Every route that is there."""
    return {
        f"{method.upper()} {path}"
        for app in apps
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }


def told_routes(page: str) -> dict[str, str]:
    """Route -> status, as a page has it."""
    table = rows((REFERENCE / page).read_text())
    return {row[0].strip("`"): row[1] for row in table if re.match(r"`[A-Z]+ /", row[0])}


@pytest.mark.parametrize("page", APPS)
def test_every_route_is_told(page: str) -> None:
    told = told_routes(page)
    there = {route for route, status in told.items() if status in ("supported", "partial")}
    assert there == routes(APPS[page]())
    assert {told[route] for route in told.keys() - there} <= {"absent"}


def options(heading: str) -> dict[str, str]:
    """Field -> status under a heading of the page."""
    text = (REFERENCE / "api.md").read_text().partition(heading)[2].partition("\n#")[0]
    return {
        field: row[1]
        for row in rows(text)
        if row[0].startswith("`")
        for field in re.findall(r"`(\w+)`", row[0])
    }


_ID = "6e2f1e1a-9a9b-4f0c-8c62-0a1a8c1b7b11"
_ITEM = {"source_path": "/a", "destination_path": "/b"}
_TRANSFER: dict[str, Any] = {
    "DATA_TYPE": "transfer",
    "submission_id": _ID,
    "source_endpoint": _ID,
    "destination_endpoint": _ID,
    "DATA": [_ITEM],
}
_DELETE: dict[str, Any] = {
    "DATA_TYPE": "delete",
    "submission_id": _ID,
    "endpoint": _ID,
    "DATA": [{"path": "/a"}],
}


def submit(model: type[Document], document: dict[str, Any]) -> Document:
    """Parse a document as the API does."""
    return parse_document(json.dumps(document).encode(), model)


def fields(*models: type[BaseModel]) -> set[str]:
    """What a document may hold, the type aside."""
    return {name for model in models for name in model.model_fields} - {"DATA_TYPE"}


def test_every_option_is_told() -> None:
    in_items = {"source_path", "destination_path", "path"}
    transfer = fields(TransferDocument, TransferItem) - in_items
    assert set(options("### Options of a transfer")) == transfer
    assert set(options("### Options of a delete")) == fields(DeleteDocument, DeleteItem) - in_items


_REFUSED: dict[str, object] = {
    "source_local_user": "alice",
    "destination_local_user": "alice",
    "local_user": "alice",
}


def test_what_is_told_as_refused_is_refused() -> None:
    told = {
        field
        for heading in ("### Options of a transfer", "### Options of a delete")
        for field, status in options(heading).items()
        if status == "refused"
    }
    assert told == _REFUSED.keys()


@pytest.mark.parametrize("field", _REFUSED)
def test_a_refusal_names_the_option(field: str) -> None:
    value = {field: _REFUSED[field]}
    model: type[Document]
    if field in TransferItem.model_fields:
        model, document = TransferDocument, {**_TRANSFER, "DATA": [_ITEM | value]}
    elif field in TransferDocument.model_fields:
        model, document = TransferDocument, _TRANSFER | value
    else:
        model, document = DeleteDocument, _DELETE | value
    with pytest.raises(ApiError) as caught:
        submit(model, document)
    assert caught.value.status == 400
    assert caught.value.code == "ClientError.BadRequest.NotSupported"
    assert field in caught.value.message


def _some_value(annotation: object, default: object) -> object:
    """A value of the type that is not the default, for options that are accepted."""
    if isinstance(default, bool):
        return not default
    kinds = (
        typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    )
    if bool in kinds:
        return True
    return 4


def test_what_is_told_as_accepted_is_accepted() -> None:
    models: tuple[tuple[str, type[Document], dict[str, Any]], ...] = (
        ("### Options of a transfer", TransferDocument, _TRANSFER),
        ("### Options of a delete", DeleteDocument, _DELETE),
    )
    for heading, model, document in models:
        for field, status in options(heading).items():
            if status == "accepted":
                info = model.model_fields[field]
                assert info.default is not PydanticUndefined
                submit(model, document | {field: _some_value(info.annotation, info.default)})


if __name__ == "__main__":
    for name in RENDER:
        page = REFERENCE / name
        page.write_text(rendered(name, page.read_text()))
        sys.stdout.write(f"{page}\n")
