"""Pages of the reference that name the tests which prove them."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).parents[1]
REFERENCE = TESTS.parent / "docs" / "reference"
_ID = re.compile(r"`([\w/.]+::[^`]+)`")
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


def named_tests(text: str, short: Mapping[str, str] | None = None) -> set[str]:
    """The tests that a page names, as pytest does; `short` has its own words for files."""
    found = set()
    for name in _ID.findall(text):
        file, _, test = name.partition("::")
        found.add(f"tests/{(short or {}).get(file, file)}::{test}")
    return found


def source_of(test: str) -> str:
    """A named test with its file's helpers, without the other tests; strings as `repr` has them."""
    file, _, name = test.partition("::")
    nodes = ast.parse((TESTS.parent / file).read_text()).body
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n".join(
        ast.unparse(node)
        for node in nodes
        if not (isinstance(node, functions) and node.name.startswith("test_") and node.name != name)
    )


def rows(text: str) -> list[list[str]]:
    """The cells of all tables."""
    cells = [[cell.strip() for cell in line.split("|")] for line in _ROW.findall(text)]
    return [row for row in cells if not set(row[0]) <= {"-", " "}]
