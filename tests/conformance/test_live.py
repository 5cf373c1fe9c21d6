"""The same of a whole deployment: Transfer, Timers, and the manager of endpoints."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from compat.stage import staged
from conformance.examples import examples
from conformance.known import KNOWN_LIVE, explained
from conformance.live import CALLS, SERVICES, compare_all
from conformance.page import PAGE, table, written

pytestmark = pytest.mark.xdist_group("compat")


def test_every_method_can_be_called() -> None:
    assert {f"{one.service}.{one.method}" for one in examples(SERVICES)} == set(CALLS)


@pytest.mark.long
def test_every_example_and_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    root = Path(tempfile.mkdtemp(prefix="towpath-compat-", dir="/tmp"))
    root.chmod(0o755)
    try:
        with staged(root) as stage:
            found = compare_all(stage)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    assert len(found) == 74
    unknown = {one.example.name: told for one in found if (told := explained(one, KNOWN_LIVE)[1])}
    assert unknown == {}
    used = {known for one in found for known in explained(one, KNOWN_LIVE)[0]}
    assert used == set(KNOWN_LIVE), "a difference that is there no more"
    text = PAGE.read_text()
    assert text == written(text, table(found, KNOWN_LIVE), "shapes-live")
