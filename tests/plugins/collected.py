"""Which tests there are, for pages that name tests."""

import subprocess
import sys
from collections.abc import Callable, Collection

import pytest

from plugins.pages import TESTS

_NAMES = pytest.StashKey[set[str]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    item.config.stash.setdefault(_NAMES, set()).add(item.nodeid)


@pytest.fixture
def existing_tests(pytestconfig: pytest.Config) -> Callable[[Collection[str]], set[str]]:
    """All tests of the files that named tests are in, with and without their cases.

    A run of all tests has collected them already; what a smaller one has not is looked for.
    """

    def exist(named: Collection[str]) -> set[str]:
        files = {name.partition("::")[0] for name in named}
        names = pytestconfig.stash[_NAMES]
        missing = files - {name.partition("::")[0] for name in names}
        if missing:
            names = names | _listed(missing)
        return names | {name.partition("[")[0] for name in names}

    return exist


def _listed(files: Collection[str]) -> set[str]:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", *sorted(files)],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stdout[-2000:] + listed.stderr[-2000:]
    return {line for line in listed.stdout.splitlines() if "::" in line}
