"""Delete tasks at a real server."""

import json
import os
import signal
from pathlib import Path

import pytest

from plugins.outcomes import delete
from plugins.rig import Rig
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.gct import GctServer
from towpath.demo.trees import make_tree, uniform


@SITE_GROUP
def test_a_tree_of_5000_files_with_links_and_odd_names(site: Site, tmp_path: Path) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    make_tree(tree, uniform(10, 500, 0), seed=1)
    make_tree(elsewhere, uniform(1, 1, 0), seed=1)
    for name in (" a", "b ", "ü", "\udce9", "*", "[x]"):
        (tree / name / name).mkdir(parents=True)
        (tree / name / name / name).touch()
    (tree / "to-directory").symlink_to(elsewhere)
    (tree / "to-nothing").symlink_to("nowhere")
    tree.joinpath(*["deep"] * 200).mkdir(parents=True)
    (tmp_path / "link").symlink_to(elsewhere)
    task_id = delete(site.deployment, site.endpoints[0], tree, tmp_path / "link", recursive=True)
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert len(list(elsewhere.rglob("*"))) == 2
    assert (task["files"], task["directories"]) == (5000 + 6 + 2, 1 + 10 + 12 + 200)
    assert task["faults"] == 0
    site.assert_well()


@SITE_GROUP
def test_what_matches(site: Site, tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").touch()
    (tmp_path / "a3").touch()
    here = site.endpoints[0]
    task_id = delete(site.deployment, here, tmp_path / "a*", interpret_globs=True, recursive=True)
    assert site.deployment.wait(task_id, 30)["status"] == "SUCCEEDED"
    assert [path.name for path in tmp_path.iterdir()] == ["b1"]
    task_id = delete(site.deployment, here, tmp_path / "a*", interpret_globs=True, recursive=True)
    task = site.deployment.wait(task_id, 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "FILE_NOT_FOUND")


@SITE_GROUP
def test_an_item_that_is_wrong_fails_the_task_before_anything_is_deleted(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    here = site.endpoints[0]
    for wrong, options, code in (
        ("none", {"recursive": True}, "FILE_NOT_FOUND"),
        ("d", {"recursive": False}, "IS_A_DIRECTORY"),
    ):
        task_id = delete(site.deployment, here, tmp_path / "f", tmp_path / wrong, **options)
        task = site.deployment.wait(task_id, 30)
        assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", code)
        assert (tmp_path / "f").exists()
    task_id = delete(site.deployment, here, tmp_path / "f", tmp_path / "none", ignore_missing=True)
    assert site.deployment.wait(task_id, 30)["status"] == "SUCCEEDED"
    assert not (tmp_path / "f").exists()


@SITE_GROUP
def test_what_cannot_be_deleted_is_told_and_holds_up_nothing(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    tree = open_tmp_path / "tree"
    make_tree(tree, uniform(3, 5, 1), seed=1)
    for path in (tree, *tree.iterdir()):
        path.chmod(0o777)
    closed = tree / "d0001"
    closed.chmod(0o755 if os.getuid() == 0 else 0o555)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    task_id = delete(site.deployment, here, tree, recursive=True)
    until(lambda: site.deployment.task(task_id)["faults"], 30, "it is told")
    assert [path.name for path in tree.iterdir()] == ["d0001"]
    told = [event for event in site.deployment.events(task_id) if event["is_error"]]
    assert {event["code"] for event in told} == {"PERMISSION_DENIED"}
    paths = {json.loads(event["details"])["path"] for event in told}
    assert paths == {str(path) for path in closed.iterdir()}
    assert "tried again" in told[-1]["details"]
    closed.chmod(0o777)
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert not tree.exists()
    assert (task["files"], task["directories"]) == (15, 4)


@pytest.mark.long
def test_a_lost_worker_and_another_that_carries_on(rig: Rig) -> None:
    """What is missing then is its work, whether it was counted or not."""
    tree = rig.root / "src"
    first = rig.root / "first"
    first.touch()
    make_tree(tree, uniform(20, 250, 0), seed=1)
    deployment = rig.up({"TOWPATH_ENGINE__WORKERS": "1", "TOWPATH_ENGINE__RECORD_EVERY_S": "30"})
    task_id = delete(deployment, rig.endpoints[0], first, tree, recursive=True)
    [worker] = deployment.worker_pids()
    until(lambda: not first.exists(), 30, "it has begun", every_s=0.002)
    os.kill(worker, signal.SIGKILL)
    left = sum(len(files) for _, _, files in os.walk(tree))
    assert 0 < left <= 5_000, "killed too late: more files"
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert not tree.exists()
