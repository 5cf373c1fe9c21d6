"""What can happen to a scientist's copy, from its beginning to its end.

Each story asserts where it ends, and that `globus task event-list` explains it: what failed, where,
whether it is tried again, what can be done.
"""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.globus import Globus
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A line of the client's event list."""

    code: str
    is_error: bool
    details: str

    @property
    def fields(self) -> dict[str, Any]:
        """Of details that are an object."""
        found: dict[str, Any] = json.loads(self.details)
        return found


@dataclass(frozen=True)
class Teller:
    """Asks the unmodified client."""

    globus: Globus

    def lines(self, task_id: str) -> list[Line]:
        """The event list as the client prints it, oldest first."""
        text = self.globus.text("task", "event-list", task_id, "--limit", "1000")
        _, rule, *rows = text.splitlines()
        assert set(rule) <= set("-+")
        found = []
        for row in rows[::-1]:
            _, code, is_error, details = (cell.strip() for cell in row.split("|", 3))
            found.append(Line(code, is_error == "True", details))
        return found

    def story(self, task_id: str) -> list[str]:
        """The codes in order, a repetition told once. Every fault among them is explained."""
        told: list[str] = []
        for line in self.lines(task_id):
            if line.is_error:
                assert_explains(line)
            if told[-1:] != [line.code]:
                told.append(line.code)
        return told


def faults(site: Site, task_id: str, code: str) -> list[dict[str, Any]]:
    """The details of all faults with this code so far."""
    events = site.deployment.events(task_id)
    return [json.loads(e["details"]) for e in events if e["is_error"] and e["code"] == code]


def assert_explains(line: Line) -> None:
    """What failed, where, what follows, what to do."""
    said = line.fields
    assert said["error"].strip(), line
    assert said["endpoint"].startswith("localhost:"), line
    assert said["role"] in ("source", "destination"), line
    assert said["next"].endswith("."), line
    assert said["advice"].endswith("."), line


@pytest.fixture
def teller(site: Site, tmp_path: Path) -> Teller:
    return Teller(Globus.of(site.deployment, tmp_path / "home"))


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Somebody goes on writing to the file."""
    over = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not over.wait(0.001):
                file.write(b"one more line\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_a_file_grows_while_it_is_copied(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(1, 20, 1000), seed=1)
    log = source / "growing.log"
    log.write_bytes(b"x" * 32 * MEBIBYTE)
    with growing(log):
        task_id = site.copy(source, destination)
        [told, *_] = until(lambda: faults(site, task_id, "FILE_SIZE_CHANGED"), 20, "it is noticed")
        assert site.deployment.task(task_id)["status"] == "ACTIVE"
    assert told["path"] == str(log)
    assert told["size_now"] > told["listed_size"] >= 32 * MEBIBYTE
    assert "snapshot" in told["advice"]
    assert "tried again" in told["next"]
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    assert digests(destination) == digests(source)
    assert teller.story(task_id) == ["STARTED", "FILE_SIZE_CHANGED", "SUCCEEDED"]


@pytest.fixture
def small_storage(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for four mebibytes."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_destination_that_is_freed(
    site: Site, teller: Teller, tmp_path: Path, small_storage: Path
) -> None:
    source = tmp_path / "src"
    make_tree(source, uniform(1, 12, 250_000), seed=2)
    in_the_way = small_storage / "old"
    in_the_way.write_bytes(b"x" * 2 * MEBIBYTE)
    task_id = site.copy(source, small_storage / "dst")
    [told, *_] = until(lambda: faults(site, task_id, "NO_SPACE_LEFT"), 20, "it is told")
    assert told["role"] == "destination"
    assert told["path"].startswith(str(small_storage))
    assert "Free space" in told["advice"]
    assert "tried again" in told["next"]
    in_the_way.unlink()
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    assert digests(small_storage / "dst") == digests(source)
    assert teller.story(task_id) == ["STARTED", "NO_SPACE_LEFT", "SUCCEEDED"]
