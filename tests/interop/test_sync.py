"""`sync_level` between two real servers."""

import os
from pathlib import Path

import pytest

from plugins.outcomes import transferred
from plugins.rig import Rig
from plugins.site import SITE_GROUP, Site
from plugins.watching import Watch
from towpath.demo.deployment import Deployment
from towpath.demo.trees import digests, make_tree, uniform

OLD, NEW = 1_600_000_000, 1_700_000_000
ONLY_HERE = "only here/"
PLACES = ("", "sub/", ONLY_HERE)

FILES = [
    ("0 missing", ("here", OLD), None),
    ("1 size", ("here", OLD), ("elsewhere", NEW)),
    ("2 newer", ("here", NEW), ("then", OLD)),
    ("2 touched", ("here", NEW), ("here", OLD)),
    ("3 content", ("here", OLD), ("then", OLD)),
    ("3 older", ("here", OLD), ("then", NEW)),
    ("4 equal", ("here", OLD), ("here", OLD)),
    ("4 equal ü", ("here", OLD), ("here", NEW)),
]
"""Files that differ in each way: name, here, and there. A name says from which level on it is
copied."""


def write(path: Path, text: str, modified: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (modified, modified))


def make_pair(source: Path, destination: Path) -> None:
    """Trees with all of them in each place."""
    for place in PLACES:
        for name, here, there in FILES:
            write(source / place / name, *here)
            if there is not None and place != ONLY_HERE:
                write(destination / place / name, *there)
    write(destination / "sub" / "extra", "extra", OLD)


def expected_copies(level: int) -> set[str]:
    return {
        place + name
        for place in PLACES
        for name, _, _ in FILES
        if place == ONLY_HERE or int(name[0]) <= level
    }


def check(deployment: Deployment, task_id: str, source: Path, level: int) -> None:
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    arrived = transferred(deployment, task_id)
    copied = {str(Path(one["source_path"]).relative_to(source)) for one in arrived}
    assert copied == expected_copies(level)
    total = len(PLACES) * len(FILES)
    assert task["sync_level"] == level
    assert (task["files"], task["files_transferred"]) == (total, len(copied))
    assert task["files_skipped"] == total - len(copied)
    assert task["subtasks_succeeded"] == task["subtasks_total"]
    assert task["faults"] == 0
    state = Watch.last(deployment.client, task_id)
    assert state["bytes_total"] == state["bytes_transferred"] == task["bytes_transferred"]
    assert state["walked"]


@SITE_GROUP
@pytest.mark.parametrize("level", range(4))
def test_each_level(site: Site, tmp_path: Path, level: int) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_pair(source, destination)
    task_id = site.copy(source, destination, sync_level=level, preserve_timestamp=True)
    check(site.deployment, task_id, source, level)
    assert (destination / "sub" / "extra").exists()
    if level == 3:
        (destination / "sub" / "extra").unlink()
        assert digests(destination) == digests(source)
    # What was copied has its time now, and what was not differs in no way that the level sees.
    again = site.copy(source, destination, sync_level=level)
    task = site.deployment.wait(again, 60)
    assert (task["files_transferred"], task["bytes_transferred"]) == (0, 0)
    site.assert_well()


@SITE_GROUP
@pytest.mark.parametrize("level", range(4))
def test_single_files(site: Site, tmp_path: Path, level: int) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_pair(source, destination)
    items = [(str(source / name), str(destination / name), False) for name, _, _ in FILES]
    task_id = site.deployment.transfer(*site.endpoints, items, sync_level=level)
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    copied = [name for name, _, _ in FILES if int(name[0]) <= level]
    assert task["files_transferred"] == len(copied)
    assert task["files_skipped"] == len(FILES) - len(copied)


def test_a_large_directory_and_a_half_changed_tree(rig: Rig) -> None:
    """Directories with more entries than are kept."""
    source, destination = rig.root / "src", rig.root / "dst"
    make_tree(source, uniform(3, 400, 2048), seed=1)
    make_tree(destination, uniform(3, 400, 2048), seed=1)
    changed = sorted(path for path in destination.rglob("*") if path.is_file())[::2]
    for path in changed:
        path.write_bytes(path.read_bytes()[::-1])
    deployment = rig.up({"TOWPATH_ENGINE__SYNC_DIRECTORY": "300", "TOWPATH_ENGINE__WORKERS": "1"})
    task_id = rig.copy_tree(deployment, sync_level=3)
    task = deployment.wait(task_id, 90)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert digests(destination) == digests(source)
    assert task["files_transferred"] == len(changed)
    assert task["files_skipped"] == 1200 - len(changed)
