"""The page on interoperability names tests that exist, and all of the tests that it is about."""

import re
import subprocess
import sys
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


def existing(files: set[str]) -> set[str]:
    """All tests in these files, with and without their cases."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", *sorted(files)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout[-2000:]
    names = {line for line in listed.stdout.splitlines() if "::" in line}
    return names | {name.partition("[")[0] for name in names}


def test_the_page_and_the_tests_fit() -> None:
    named = told()
    there = existing({name.partition("::")[0] for name in named})
    assert len(named) > 80
    assert named - there == set(), "named, and not there"
    files = tuple(f"tests/interop/test_gridftp_{short}.py::" for short in SHORT)
    ours = {name.partition("[")[0] for name in there if name.startswith(files)}
    assert ours - {name.partition("[")[0] for name in named} == set(), "there, and not named"
