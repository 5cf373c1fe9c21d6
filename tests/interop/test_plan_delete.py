"""Plans of deletes at a real server: nothing goes before one is applied, and then what it says."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interop.test_plan import Plans, tree, write
from plugins.outcomes import details_of
from plugins.rig import Rig
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.gct import GctServer
from towpath.demo.trees import make_tree, uniform


class Deletes(Plans):
    """Asks for plans of deletes at one endpoint, below one directory."""

    def __init__(self, site: Site, root: Path, endpoint: str = "") -> None:
        super().__init__(site.deployment)
        self.endpoint = endpoint or site.endpoints[0]
        self.root = root

    def plan(self, *paths: str, **options: Any) -> str:
        items = [{"DATA_TYPE": "delete_item", "path": f"{self.root}/{path}"} for path in paths]
        document = {"DATA_TYPE": "delete", "endpoint": self.endpoint, "DATA": items, **options}
        return self.make("delete/plan", document)

    def told(self, plan_id: str) -> list[tuple[str, str, str]]:
        """What would be done, in order, by path below the root."""
        entries = self.entries(plan_id)
        assert {one["destination_path"] for one in entries} <= {None}
        return [
            (os.path.relpath(one["source_path"], self.root), one["action"], one["reason"])
            for one in entries
        ]

    def deleted(self, plan_id: str) -> set[str]:
        told = [path for path, action, _ in self.told(plan_id) if action == "delete"]
        assert len(told) == len(set(told)), "each once"
        return set(told)

    def left_alone(self, task_id: str) -> dict[str, tuple[str, str]]:
        """What the task says it has not done, and why."""
        skipped = self.deployment.get(f"task/{task_id}/skipped_errors")["DATA"]
        told = {
            os.path.relpath(one["source_path"], self.root): (
                one["error_code"],
                one["error_details"],
            )
            for one in skipped
        }
        assert len(told) == len(skipped), "each once"
        events = details_of(self.deployment, task_id, "PLAN_CHANGED")
        assert [event["left_out"] for event in events] == [len(skipped)] * bool(skipped)
        return told


@pytest.fixture
def deletes(site: Site, tmp_path: Path) -> Iterator[Deletes]:
    deletes = Deletes(site, tmp_path)
    yield deletes
    deletes.leave()


ODD = ("d/odd/ü", "d/odd/ a", "d/odd/\udce9", "d/odd/*", "d/odd/[x]")


@SITE_GROUP
def test_what_is_planned_is_what_goes(site: Site, deletes: Deletes) -> None:
    root = deletes.root
    write(root, "f", "d/f", "d/e/f", *ODD, "elsewhere/f", "stays", text="four")
    (root / "d" / "empty").mkdir()
    (root / "link").symlink_to(root / "elsewhere")
    (root / "d" / "link").symlink_to(root / "elsewhere")
    (root / "d" / "link-to-file").symlink_to(root / "stays")
    before = tree(root, times=True)
    plan_id = deletes.plan("d", "f", "link", "none", recursive=True, ignore_missing=True)
    assert tree(root, times=True) == before
    told = deletes.told(plan_id)
    assert ("none", "skip", "missing") in told
    below = {path for path in before if path == "d" or path.startswith("d/")}
    assert deletes.deleted(plan_id) == {*below, "f", "link"}
    assert {reason for _, action, reason in told if action == "delete"} == {"asked"}
    order = [path for path, _, _ in told]
    assert all(order.index(str(Path(path).parent)) < order.index(path) for path in below - {"d"})
    shown = deletes.show(plan_id)
    assert (shown["type"], shown["source_endpoint_id"]) == ("DELETE", deletes.endpoint)
    assert shown["destination_endpoint_id"] is None
    files = [path for path in deletes.deleted(plan_id) if before[path][0] == "file"]
    [counted] = [one for one in shown["DATA"] if one["action"] == "delete"]
    assert counted["bytes"] == 4 * len(files)
    task_id = deletes.apply(plan_id)
    assert set(tree(root)) == {"elsewhere", "elsewhere/f", "stays"}
    assert deletes.left_alone(task_id) == {}
    task = site.deployment.task(task_id)
    directories = {path for path in below if before[path][0] == "directory"}
    assert (task["type"], task["directories"]) == ("DELETE", len(directories))
    assert task["files"] == len(below) + 2 - len(directories)
    site.assert_well()


@SITE_GROUP
def test_what_has_changed_or_is_new_stays_and_is_told(deletes: Deletes, tmp_path: Path) -> None:
    root, away = deletes.root / "root", tmp_path / "away"
    write(root, "same", "tree/written", "tree/d/f", "tree/new/f", "tree/gone", "tree/moved/f")
    write(root, "tree/now-a-directory", "moved/f", "moved/d/g")
    write(root, "above/d/f", "above/d/a.tmp", "link-above/d/f")
    (root / "tree" / "link").symlink_to(root)
    (root / "was-link").symlink_to(root / "link-above")
    plan_id = deletes.plan(
        *("root/same", "root/tree", "root/moved", "root/above/d/f", "root/above/d/*.tmp"),
        "root/was-link/d/f",
        recursive=True,
        interpret_globs=True,
    )
    away.mkdir()
    write(root, "tree/written", text="by now longer")
    write(root, "tree/new/just-saved")
    (root / "tree" / "gone").unlink()
    (root / "tree" / "now-a-directory").unlink()
    write(root, "tree/now-a-directory/f")
    for path in (
        "tree/moved",
        "moved",
        "above",
    ):  # what is reached through the link looks as it did
        (root / path).rename(away / path.replace("/", "-"))
        (root / path).symlink_to(away / path.replace("/", "-"))
    moved = tree(away, times=True)
    task_id = deletes.apply(plan_id)
    assert tree(away, times=True) == moved
    assert set(tree(root)) == {
        *("tree", "tree/written", "tree/new", "tree/new/just-saved", "tree/moved", "moved"),
        *("tree/now-a-directory", "tree/now-a-directory/f", "above"),
        *("was-link", "link-above", "link-above/d"),
    }
    told = deletes.left_alone(task_id)
    assert {code for code, _ in told.values()} == {"PLAN_CHANGED"}
    assert set(told) == {
        f"root/{path}"
        for path in (
            *("tree", "tree/written", "tree/new", "tree/moved", "tree/moved/f"),
            *("tree/now-a-directory", "moved", "moved/f", "moved/d", "moved/d/g"),
            *("above/d/f", "above/d/a.tmp"),
        )
    }
    assert told["root/tree/new"][1] == "delete was planned: something new is in it"
    assert told["root/tree/written"][1] == "delete was planned: it has changed"


@SITE_GROUP
def test_what_would_go_wrong_is_told_and_holds_up_nothing(site: Site, deletes: Deletes) -> None:
    write(deletes.root, "f", "d/f", "a.tmp", "b.tmp", "d.tmp/f", "d/c.tmp")
    plan_id = deletes.plan(
        "f", "none", "d", "*.tmp", "none/*", "*.none", "f/?", interpret_globs=True
    )
    assert set(deletes.told(plan_id)) == {
        ("f", "delete", "asked"),
        ("none", "fault", "FILE_NOT_FOUND"),
        ("d", "fault", "IS_A_DIRECTORY"),
        ("a.tmp", "delete", "asked"),
        ("b.tmp", "delete", "asked"),
        ("d.tmp", "fault", "IS_A_DIRECTORY"),
        ("none/*", "fault", "FILE_NOT_FOUND"),
        ("*.none", "fault", "FILE_NOT_FOUND"),
        ("f/?", "fault", "NOT_A_DIRECTORY"),
    }
    expected = deletes.show(plan_id)["expected_faults"]
    assert {one["code"]: one["entries"] for one in expected} == {
        "FILE_NOT_FOUND": 3,
        "IS_A_DIRECTORY": 2,
        "NOT_A_DIRECTORY": 1,
    }
    task_id = deletes.apply(plan_id)
    assert set(tree(deletes.root)) == {"d", "d/f", "d.tmp", "d.tmp/f", "d/c.tmp"}
    told = deletes.left_alone(task_id)
    assert {path: code for path, (code, _) in told.items()} == {
        "none": "FILE_NOT_FOUND",
        "d": "IS_A_DIRECTORY",
        "d.tmp": "IS_A_DIRECTORY",
        "none/*": "FILE_NOT_FOUND",
        "*.none": "FILE_NOT_FOUND",
        "f/?": "NOT_A_DIRECTORY",
    }
    task = site.deployment.task(task_id)
    assert (task["files"], task["subtasks_succeeded"]) == (3, 4)
    assert task["subtasks_total"] == 3 + 1 + len(told)


@SITE_GROUP
def test_what_a_pattern_matches_and_items_in_items(deletes: Deletes) -> None:
    """Each is said once, and what matches a pattern later stays."""
    write(deletes.root, "d/a", "d/x/f", "d/x/y/g", "e/a.tmp", "e/b.tmp", "e/d.tmp/f", "e/keep")
    options = {"recursive": True, "interpret_globs": True, "ignore_missing": True}
    plan_id = deletes.plan("d/x/f", "d", "d/x", "e/*.tmp", "e/a.*", "d/?", "e/*.none", **options)
    assert deletes.deleted(plan_id) == {
        *("d", "d/a", "d/x", "d/x/f", "d/x/y", "d/x/y/g"),
        *("e/a.tmp", "e/b.tmp", "e/d.tmp", "e/d.tmp/f"),
    }
    write(deletes.root, "e/later.tmp")
    assert deletes.left_alone(deletes.apply(plan_id)) == {}
    assert set(tree(deletes.root)) == {"e", "e/keep", "e/later.tmp"}


@SITE_GROUP
def test_what_cannot_be_listed_and_what_it_is_in_stays(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    root = open_tmp_path / "root"
    deletes = Deletes(site, root, here)
    write(root, "tree/d/closed/f", "tree/d/f", "tree/e/f", "tree/odd/line\nbreak", "tree/odd/f")
    for path in ("tree", "tree/d", "tree/e", "tree/odd"):
        (root / path).chmod(0o777)
    before = tree(root)
    closed = root / "tree" / "d" / "closed"
    closed.chmod(0o700 if os.getuid() == 0 else 0o000)
    plan_id = deletes.plan("tree", recursive=True)
    assert set(deletes.told(plan_id)) == {
        ("tree", "skip", "holds_more"),
        ("tree/d", "skip", "holds_more"),
        ("tree/d/closed", "fault", "PERMISSION_DENIED"),
        ("tree/d/f", "delete", "asked"),
        ("tree/e", "delete", "asked"),
        ("tree/e/f", "delete", "asked"),
        ("tree/odd", "fault", "INVALID_PATH_NAME"),
    }
    told = deletes.left_alone(deletes.apply(plan_id))
    closed.chmod(0o777)
    assert set(tree(root)) == before.keys() - {"tree/d/f", "tree/e", "tree/e/f"}
    assert {path: code for path, (code, _) in told.items()} == {
        "tree/d/closed": "PERMISSION_DENIED",
        "tree/odd": "INVALID_PATH_NAME",
    }
    deletes.leave()


@pytest.mark.long
def test_a_lost_worker_and_another_that_carries_on(rig: Rig) -> None:
    """While a plan is made, and while it is applied."""
    root = rig.root / "src"
    make_tree(root, uniform(100, 100, 0), seed=1)
    before = tree(root)
    deployment = rig.up({"TOWPATH_ENGINE__WORKERS": "1"})
    plans = Plans(deployment)
    item = {"DATA_TYPE": "delete_item", "path": str(root)}
    document = {"DATA_TYPE": "delete", "endpoint": rig.endpoints[0], "recursive": True}
    made = deployment.post(
        "delete/plan",
        document | {"DATA": [item], "submission_id": "7f6d3c1e-0f6e-4ba5-9a43-9b3b5f3ad0d1"},
    )["plan_id"]

    def known() -> int:
        return sum(one["entries"] for one in plans.show(made)["DATA"])

    until(known, 30, "it is being made", every_s=0.002)
    [worker] = deployment.worker_pids()
    os.kill(worker, signal.SIGKILL)
    assert known() < len(before), "killed too late: more directories"
    until(lambda: plans.show(made)["status"] == "ready", 60, "another has made it")
    told = [one["source_path"] for one in plans.entries(made)]
    assert sorted(told) == sorted([str(root), *(str(root / path) for path in before)])
    applied = deployment.post(
        f"plan/{made}/apply", {"submission_id": "7f6d3c1e-0f6e-4ba5-9a43-9b3b5f3ad0d2"}
    )["task_id"]
    until(lambda: len(list(root.iterdir())) < 100, 30, "it has begun", every_s=0.002)
    [worker] = deployment.worker_pids()
    os.kill(worker, signal.SIGKILL)
    assert list(root.iterdir()), "killed too late: more files"
    write(root, "d0000/new")
    task = deployment.wait(applied, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(applied)
    assert set(tree(root)) <= {"d0000", "d0000/new"}
    [event] = details_of(deployment, applied, "PLAN_CHANGED")
    assert event["left_out"] == 2
