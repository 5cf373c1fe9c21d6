"""The page on tasks has a row for everything that the engine has, with tests that exist."""

import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from pydantic import BaseModel

from plugins.pages import REFERENCE, named_tests, rows, source_of
from towpath.platform.settings import Settings
from towpath.transfer.api.documents import NiceStatus, task_document
from towpath.transfer.api.submission_bodies import (
    DeleteDocument,
    DeleteItem,
    TransferDocument,
    TransferItem,
)
from towpath.transfer.store.plan import State
from towpath.transfer.store.tasks import Status, Task

PAGE = (REFERENCE / "tasks.md").read_text()
API = (REFERENCE / "api.md").read_text()


def part(text: str, heading: str) -> str:
    """What stands under a heading, with all below it."""
    level = heading.partition(" ")[0]
    assert f"\n{heading}\n" in text, heading
    after = text.partition(f"\n{heading}\n")[2]
    return re.split(rf"(?m)^#{{1,{len(level)}}} ", after)[0]


def told(heading: str) -> set[str]:
    """The names in the first column under a heading of the page."""
    return {name for row in rows(part(PAGE, heading)) for name in re.findall(r"`(\w+)`", row[0])}


def in_force(heading: str) -> set[str]:
    """Options that do something, as the API's page says."""
    return {
        name
        for row in rows(part(API, heading))
        if row[1] in ("supported", "partial")
        for name in re.findall(r"`(\w+)`", row[0])
    }


@pytest.mark.parametrize(
    ("kind", "models"),
    [("transfer", (TransferDocument, TransferItem)), ("delete", (DeleteDocument, DeleteItem))],
)
def test_every_option_in_force(kind: str, models: tuple[type[BaseModel], ...]) -> None:
    paths = {"source_path", "destination_path", "path"}
    fields = {name for model in models for name in model.model_fields}
    options = told(f"## Options of a {kind}")
    assert options - paths == in_force(f"### Options of a {kind}")
    assert fields & paths <= options <= fields


def test_every_state() -> None:
    assert told("### `status`") == set(Status)
    assert told("### `nice_status`") == set(NiceStatus)
    assert told("### Files in the plan") == {state.name for state in State}


def document() -> dict[str, Any]:
    """Of a transfer that runs."""
    task = MagicMock(spec=Task, type="TRANSFER", status=Status.ACTIVE, options={}, finished=False)
    counters = {name for name, kind in Task.__annotations__.items() if kind is int}
    task.configure_mock(**dict.fromkeys(counters, 1), nice_status=None, fatal_error=None)
    ids = {name for name, kind in Task.__annotations__.items() if kind in (UUID, UUID | None)}
    task.configure_mock(**dict.fromkeys(ids, UUID(int=1)))
    now = datetime.now(UTC)
    task.configure_mock(paused_at=None, suspended_from=None, wait=None, outage=None)
    task.configure_mock(held_at=None, is_paused=False, canceled_by=None, canceled_message=None)
    task.configure_mock(started_at=now, request_time=now, completion_time=None, deadline=now)
    return task_document(task, now)


def test_every_counter() -> None:
    numbers = {
        name
        for name, value in document().items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
    assert "files_transferred" in numbers
    assert told("## Counters") - told("### Further fields") == numbers - {"nice_status_expires_in"}
    assert told("## Counters") <= document().keys()


def test_the_bound_is_as_told() -> None:
    assert f"{Settings().engine.events_per_task:,}" in part(PAGE, "## Events")


def test_every_row_has_a_test_and_every_test_is_there(
    existing_tests: Callable[[Collection[str]], set[str]],
) -> None:
    for row in rows(PAGE):
        assert row[-1] == "test" or named_tests(row[-1]), row[0]
    named = named_tests(PAGE)
    assert len(named) > 50
    assert named - existing_tests(named) == set()


@pytest.mark.parametrize("heading", ["### `nice_status`", "## Counters"])
def test_a_rows_tests_look_at_what_it_is_about(heading: str) -> None:
    for row in rows(part(PAGE, heading)):
        tests = "".join(source_of(test) for test in named_tests(row[-1]))
        for name in re.findall(r"`(\w+)`", row[0]):
            assert repr(name) in tests, f"no test of the row {row[0]} has {name}"
