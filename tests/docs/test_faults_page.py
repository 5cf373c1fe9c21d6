"""The table of faults has a row for each that there is, with tests that exist and are about it."""

import re
from collections.abc import Callable, Collection

import pytest

from plugins.fault_table import COLUMNS
from plugins.pages import REFERENCE, named_tests, rows, source_of
from towpath.gridftp.errors import FaultClass, Fixer, Kind, Phase, Scope
from towpath.transfer.store.events import EventCode

PAGE = (REFERENCE / "faults.md").read_text()
TABLE = [row for row in rows(PAGE) if len(row) == len(COLUMNS) and row[-1] != COLUMNS[-1]]


def codes(row: list[str]) -> list[str]:
    return re.findall(r"`([A-Z_]+)`", row[1])


def test_every_kind_and_every_code_of_a_fault() -> None:
    assert {row[0].strip("`") for row in TABLE if row[0].startswith("`")} == set(Kind)
    told = {code for row in TABLE for code in codes(row)}
    tasks = (REFERENCE / "tasks.md").read_text()
    life = rows(tasks.partition("### The life of a task")[2].partition("\n#")[0])
    others = {code for row in life for code in re.findall(r"`([A-Z_]+)`", row[0])}
    assert told | others == set(EventCode)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("scope", [*Scope, "task", "all tasks"]),
        ("phase", [*Phase, "any"]),
        ("class", [*FaultClass]),
    ],
)
def test_every_row_says_what_is_there_to_say(column: str, words: list[str]) -> None:
    for row in TABLE:
        assert row[COLUMNS.index(column)] in words, row[0]
        assert any(who in row[COLUMNS.index("who can fix it")] for who in Fixer), row[0]
        assert all(row), row[0]


def test_every_row_has_tests_that_exist(
    existing_tests: Callable[[Collection[str]], set[str]],
) -> None:
    for row in TABLE:
        assert named_tests(row[-1]), row[0]
    named = named_tests(PAGE)
    assert len(named) > 50
    assert named - existing_tests(named) == set()


def test_a_rows_tests_look_at_what_it_is_about() -> None:
    for row in TABLE:
        tests = "".join(source_of(test.partition("[")[0]) for test in named_tests(row[-1]))
        kind = f"Kind.{row[0].strip('`').upper()}"
        sought = [kind, *codes(row)] if row[0].startswith("`") else codes(row)
        assert not sought or any(word in tests for word in sought), row[0]
