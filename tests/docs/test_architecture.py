"""The picture of the client in the architecture: all modules are in it, in their order."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "src/towpath/gridftp/client"
PACKAGE = "towpath.gridftp.client."
PAGE = ROOT / "docs/explanation/architecture.md"

_PICTURE = re.compile(r"^### The GridFTP client\n.*?^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"^( *)(\w+)(/|\.py) +\S", re.MULTILINE)


def pictured() -> list[str]:
    """The modules as the page lists them, with their folders: `copy.plan`."""
    found = _PICTURE.search(PAGE.read_text())
    assert found is not None
    modules, folder = [], ""
    for indent, name, kind in _LINE.findall(found[1]):
        if kind == "/":
            folder = f"{name}."
        else:
            modules.append(f"{folder if indent else ''}{name}")
    return modules


def imported(module: str) -> set[str]:
    """What a module imports of the client when it runs."""
    tree = ast.parse((CLIENT / f"{module.replace('.', '/')}.py").read_text())
    for_types = [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    ]
    return {
        node.module.removeprefix(PACKAGE)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node not in for_types
        if (node.module or "").startswith(PACKAGE)
    }


def test_all_modules_are_in_the_picture() -> None:
    files = [path.relative_to(CLIENT) for path in CLIENT.rglob("*.py") if path.stem != "__init__"]
    assert sorted(pictured()) == sorted(".".join(file.with_suffix("").parts) for file in files)


def test_each_stands_on_those_above() -> None:
    above: set[str] = set()
    for module in pictured():
        assert imported(module) <= above, module
        above.add(module)
    assert imported("session") == {"channel", "dial", "listing", "login", "operations", "reach"}
