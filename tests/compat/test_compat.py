"""Every command and every method of the SDK against a whole deployment, as `make compat` does."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat.methods import METHODS, methods, try_method
from compat.page import PAGE, counts, written
from compat.stage import Stage, staged
from compat.table import ROWS, try_out
from compat.tree import commands

pytestmark = pytest.mark.xdist_group("compat")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    before = dict(os.environ)
    root = Path(tempfile.mkdtemp(prefix="towpath-compat-", dir="/tmp"))
    root.chmod(0o755)
    try:
        with staged(root) as made:
            yield made
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(root, ignore_errors=True)


def test_every_command_has_a_row_and_the_page_is_current() -> None:
    assert set(commands()) == set(ROWS)
    assert counts({})["not_offered"] <= 45
    text = PAGE.read_text()
    assert text == written(text), "`make compat` writes it anew"


def test_every_method_has_a_row() -> None:
    assert set(methods()) == set(METHODS)


@pytest.mark.long
@pytest.mark.parametrize("command", sorted(ROWS))
def test_commands(stage: Stage, command: str) -> None:
    assert try_out(stage, command) is None


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods(stage: Stage, name: str) -> None:
    assert try_method(stage, name) is None
