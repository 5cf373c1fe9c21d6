"""`skip_source_errors`: what cannot be read is left out, and said; all else arrives."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from plugins.rig import Rig
from plugins.site import SITE_GROUP, Site, until
from plugins.watching import Watch
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.transfer.store.plan import LARGE_FILE_BYTES, State, decode

MEBIBYTE = 1024 * 1024
TREE = [*uniform(3, 70, 3000), TreeFile("large", LARGE_FILE_BYTES + 1)]


def left_out(deployment: Deployment, task_id: str) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    marker: int | None = 0
    while marker is not None:
        page = deployment.get(f"task/{task_id}/skipped_errors", marker=marker)
        found += page["DATA"]
        marker = page["next_marker"]
    return found


@SITE_GROUP
@pytest.mark.parametrize("verify", [True, False])
def test_what_cannot_be_read_is_left_out(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer, verify: bool
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, TREE, seed=1)
    expected = digests(source)
    files = ["d0000/f0000", "d0001/f0033", "d0001/f0069", "large"]
    for path in [*files, "d0002"]:
        (source / path).chmod(0)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    items = [
        (str(source), str(destination), True),
        (str(source / "missing"), str(destination / "m"), False),
        (str(source / "gone"), str(destination / "g"), True),
    ]
    task_id = site.deployment.transfer(
        here, site.endpoints[1], items, verify_checksum=verify, skip_source_errors=True
    )
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert Watch.last(site.deployment.client, task_id)["bytes_total"] == task["bytes_transferred"]
    closed = {*files, *(path for path in expected if path.startswith("d0002/"))}
    assert digests(destination) == {p: d for p, d in expected.items() if p not in closed}
    told = {one["source_path"]: one for one in left_out(site.deployment, task_id)}
    assert {path: one["error_code"] for path, one in told.items()} == {
        **{str(source / path): "PERMISSION_DENIED" for path in [*files, "d0002"]},
        str(source / "missing"): "FILE_NOT_FOUND",
        str(source / "gone"): "FILE_NOT_FOUND",
    }
    directories = {path for path, one in told.items() if one["is_directory"]}
    assert directories == {str(source / "d0002"), str(source / "gone")}
    assert told[str(source / "large")]["destination_path"] == str(destination / "large")
    assert all(one["error_details"] and one["error_time"] for one in told.values())
    assert task["subtasks_skipped_errors"] == len(told)
    assert task["files_transferred"] == len(expected) - len(closed)
    assert task["subtasks_succeeded"] == task["subtasks_total"] - len(told)
    assert task["faults"] == 0
    events = {event["code"]: event for event in site.deployment.events(task_id)}
    assert json.loads(events["SKIPPED_ERRORS"]["details"])["skipped"] == len(told)
    for path in [*files, "d0002"]:
        (source / path).chmod(0o755)
    site.assert_well()


@pytest.mark.long
def test_a_large_file_that_had_begun_and_is_gone_is_left_out(rig: Rig) -> None:
    source, destination = rig.root / "src", rig.root / "dst"
    make_tree(source, [TreeFile("large", 1024 * MEBIBYTE), TreeFile("small", 10)], seed=1)
    # One range at a time, so that there is time to stop in the middle on a fast machine, too.
    deployment = rig.up({"TOWPATH_ENGINE__IN_FLIGHT_BYTES": str(16 * MEBIBYTE)})
    task_id = rig.copy_tree(deployment, skip_source_errors=True)
    until(
        lambda: deployment.task(task_id)["bytes_transferred"] > MEBIBYTE,
        30,
        "it has begun",
        every_s=0.005,
    )
    assert deployment.stop() == 0
    assert (destination / "large").exists()
    (source / "large").unlink()
    deployment = rig.up()
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    [told] = left_out(deployment, task_id)
    assert told["source_path"] == str(source / "large")
    assert set(digests(destination)) == {"small"}


@pytest.mark.long
def test_what_a_lost_worker_had_under_way_and_is_gone_is_left_out(rig: Rig) -> None:
    """Nothing of it stays at the destination, whatever had come of it."""
    source, destination = rig.root / "src", rig.root / "dst"
    make_tree(source, uniform(20, 100, 4096), seed=1)
    expected = digests(source)
    deployment = rig.up({"TOWPATH_ENGINE__WORKERS": "1"})
    task_id = rig.copy_tree(deployment, skip_source_errors=True)
    url = json.loads((rig.data_dir / "run" / "state.json").read_text())["database_url"]
    with psycopg.connect(url, autocommit=True, options="-c search_path=transfer") as database:

        def flying() -> list[str]:
            rows = database.execute(
                "SELECT path FROM file WHERE state = %s", (State.IN_FLIGHT,)
            ).fetchall()
            return [decode(path) for (path,) in rows]

        until(lambda: len(flying()) >= 50 or None, 30, "files in flight", every_s=0.01)
        [worker] = deployment.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        gone = set(flying())
        for path in gone:
            (source / path).unlink()
        os.kill(worker, signal.SIGKILL)
    task = deployment.wait(task_id, 90)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    told = {one["source_path"] for one in left_out(deployment, task_id)}
    assert told == {str(source / path) for path in gone}
    assert digests(destination) == {p: d for p, d in expected.items() if p not in gone}
