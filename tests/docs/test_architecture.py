"""The pictures of client and server in the architecture: all modules are there, in their order."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GRIDFTP = ROOT / "src/towpath/gridftp"
PAGE = ROOT / "docs/explanation/architecture.md"
HEADINGS = {
    "data": "Data connections",
    "client": "The GridFTP client",
    "server": "The GridFTP server",
}

_LINE = re.compile(r"^( *)(\w+)(/|\.py) +\S", re.MULTILINE)


def pictured(room: str) -> list[str]:
    """The modules as the page lists them, with their folders: `copy.plan`."""
    _before, _heading, section = PAGE.read_text().partition(f"### {HEADINGS[room]}\n")
    found = re.search(r"^```\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    modules, folder = [], ""
    for indent, name, kind in _LINE.findall(found[1]):
        if kind == "/":
            folder = f"{name}."
        else:
            modules.append(f"{folder if indent else ''}{name}")
    return modules


def modules_of(room: str) -> set[str]:
    """Those that there are."""
    top = GRIDFTP / room
    files = [path.relative_to(top) for path in top.rglob("*.py") if path.stem != "__init__"]
    return {".".join(file.with_suffix("").parts) for file in files}


def imported(room: str, module: str) -> set[str]:
    """What a module imports of its room when it runs."""
    tree = ast.parse((GRIDFTP / room / f"{module.replace('.', '/')}.py").read_text())
    for_types = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    package = f"towpath.gridftp.{room}."
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            name = node.module or ""
            found |= {name, *(f"{name}.{alias.name}" for alias in node.names)}
    return {name.removeprefix(package) for name in found} & modules_of(room)


@pytest.mark.parametrize("room", HEADINGS)
def test_all_modules_are_in_the_picture(room: str) -> None:
    assert sorted(pictured(room)) == sorted(modules_of(room))


@pytest.mark.parametrize("room", HEADINGS)
def test_each_stands_on_those_above(room: str) -> None:
    above: set[str] = set()
    for module in pictured(room):
        assert imported(room, module) <= above, module
        above.add(module)


def test_what_is_imported_is_found() -> None:
    session = {"channel", "dial", "listing", "login", "operations", "reach"}
    assert imported("client", "session") == session
    assert "account_process" in imported("server", "launcher")
