"""One writer for each destination (I9), and pauses, through the real service and servers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from plugins.site import SESSIONS_END_S, SITE_GROUP, Site, until
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP

TREE = list(uniform(4, 20, 1024))
BLOCKED = "d0003/f0000"


def begun_and_paused(site: Site, source: Path, destination: Path) -> str:
    """A task of which all has arrived but one file, which a directory holds up; nothing of it
    runs any more."""
    make_tree(source, TREE, seed=1)
    (destination / BLOCKED).mkdir(parents=True)
    task_id = site.copy(source, destination, label="first")
    rest = len(TREE) - 1
    until(lambda: site.deployment.task(task_id)["files_transferred"] == rest, 30, "files arrive")
    until(lambda: "IS_A_DIRECTORY" in told(site, task_id), 20, "one is held up")
    assert site.deployment.post(f"task/{task_id}/pause", {})["code"] == "Paused"
    until(lambda: not any(site.left_open()), SESSIONS_END_S, "its sessions are closed")
    return task_id


def details_of(site: Site, task_id: str) -> dict[str, Any]:
    """Why it waits."""

    def look() -> dict[str, Any] | None:
        task = site.deployment.task(task_id)
        assert not task["files_transferred"]
        if task["nice_status"] != "WAITING_FOR_TASK":
            return None
        assert (task["status"], task["is_ok"]) == ("ACTIVE", False)
        found: dict[str, Any] = json.loads(task["nice_status_details"])
        return found

    return until(look, 10, "it waits")


def told(site: Site, task_id: str) -> list[str]:
    return [event["code"] for event in site.deployment.events(task_id)]


def test_a_later_task_waits_for_a_paused_one_and_both_are_whole(site: Site, tmp_path: Path) -> None:
    first, second, destination = (tmp_path / name for name in ("first", "second", "there"))
    make_tree(second, uniform(5, 20, 1024), seed=2)
    holder = begun_and_paused(site, first, destination)
    # Another endpoint, but the same server.
    twin = site.register(site.rig.destination.url(""), site.rig.domains[1])
    item = (str(second), str(destination / "."), True)
    waiting = site.deployment.transfer(site.endpoints[0], twin, [item])
    assert details_of(site, waiting) == {
        "path": str(destination),
        "task": holder,
        "label": "first",
        "state": "paused",
        "reason": "An earlier task writes or deletes here; one at a time may.",
        "next": "It goes on by itself when that task has ended.",
        "advice": "Resume that task, or cancel it.",
    }
    beside = site.copy(second, destination.with_name("thereabouts"))
    assert site.deployment.wait(beside, 30)["status"] == "SUCCEEDED"
    paused = site.deployment.task(holder)
    assert (paused["status"], paused["is_paused"], paused["nice_status"]) == (
        *("ACTIVE", True),
        "PAUSED",
    )
    assert paused["files_transferred"] == len(TREE) - 1
    (destination / BLOCKED).rmdir()
    assert site.deployment.post(f"task/{holder}/resume", {})["code"] == "Resumed"
    ended = [site.deployment.wait(task_id, 60) for task_id in (holder, waiting)]
    assert [task["status"] for task in ended] == ["SUCCEEDED"] * 2
    codes = [code for code in told(site, holder) if code != "IS_A_DIRECTORY"]
    assert codes == ["STARTED", "PAUSED", "UNPAUSED", "SUCCEEDED"]
    assert told(site, waiting) == ["STARTED", "WAITING_FOR_TASK", "SUCCEEDED"]
    assert digests(destination) == digests(first) | digests(second)
    site.assert_well()


def test_waiting_and_paused_tasks_can_be_cancelled_and_expire(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "there"
    holder = begun_and_paused(site, source, destination)
    pattern = {"DATA_TYPE": "delete_item", "path": str(destination / "d0000" / "f*")}
    delete = site.deployment.post(
        "delete",
        {
            "DATA_TYPE": "delete",
            "submission_id": str(uuid4()),
            "endpoint": site.endpoints[1],
            "interpret_globs": True,
            "DATA": [pattern],
        },
    )["task_id"]
    assert details_of(site, delete)["task"] == holder
    assert site.deployment.post(f"task/{delete}/cancel", {})["code"] == "Canceled"
    assert told(site, delete) == ["STARTED", "WAITING_FOR_TASK", "CANCELED"]
    assert len(list((destination / "d0000").iterdir())) == 20

    expiring = site.copy(source, destination)
    assert details_of(site, expiring)["task"] == holder
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    document = {"DATA_TYPE": "task", "deadline": soon}
    site.deployment.client.put(f"/v0.10/task/{expiring}", json=document).raise_for_status()
    assert site.deployment.wait(expiring, 15)["fatal_error"]["code"] == "EXPIRED"
    last = json.loads(site.deployment.events(expiring)[-1]["details"])
    assert (last["task"], last["path"]) == (holder, str(destination))

    assert site.deployment.post(f"task/{holder}/cancel", {})["code"] == "Canceled"
    assert site.deployment.task(holder)["is_paused"] is False
    assert site.deployment.post(f"task/{holder}/pause", {})["code"] == "TaskComplete"


def test_who_cannot_log_in_claims_nothing(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "there"
    make_tree(source, uniform(1, 3, 100), seed=1)
    here, there = site.rig.domains
    stranger = site.register(site.rig.destination.url(""), there)
    site.give(stranger, here.proxy_file.read_text()).raise_for_status()
    item = (str(source), str(tmp_path), True)
    refused = site.deployment.transfer(site.endpoints[0], stranger, [item])
    until(lambda: "AUTH" in told(site, refused), 20, "it is not let in")
    assert site.deployment.wait(site.copy(source, destination), 30)["status"] == "SUCCEEDED"
    assert site.deployment.post(f"task/{refused}/cancel", {})["code"] == "Canceled"
