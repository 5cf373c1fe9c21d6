"""The page on interoperability names tests that exist, and all of the tests that it is about."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "gridftp-interop.md"
SHORT = ("control", "data", "files", "errors")
_ID = re.compile(r"`([\w/.]+::[^`]+)`")


def told() -> set[str]:
    """The tests that the page names, as pytest does."""
    found = set()
    for name in _ID.findall(PAGE.read_text()):
        file, _, test = name.partition("::")
        if file in SHORT:
            file = f"interop/test_gridftp_{file}.py"
        found.add(f"tests/{file}::{test}")
    return found


@cache
def existing() -> frozenset[str]:
    """All tests in the files that the page names, with and without their cases."""
    files = sorted({name.partition("::")[0] for name in told()})
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", *files],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout[-2000:]
    names = {line for line in listed.stdout.splitlines() if "::" in line}
    return frozenset(names | {name.partition("[")[0] for name in names})


def test_every_test_that_is_named_exists() -> None:
    assert len(told()) > 80
    assert told() - existing() == set()


def test_every_interoperability_test_is_named() -> None:
    files = {f"tests/interop/test_gridftp_{short}.py" for short in SHORT}
    there = {name.partition("[")[0] for name in existing() if name.partition("::")[0] in files}
    assert there - {name.partition("[")[0] for name in told()} == set()
