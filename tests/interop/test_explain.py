"""Where the time of tasks between real servers went."""

from pathlib import Path
from typing import Any

from plugins.site import SITE_GROUP, Site, until
from towpath.demo.trees import make_tree, uniform


def explained(site: Site, task_id: str) -> dict[str, Any]:
    told: dict[str, Any] = site.deployment.get(f"task/{task_id}/explain")
    assert abs(sum(one["seconds"] for one in told["DATA"]) - told["wall_s"]) < 0.001
    assert told["unexplained"] < 0.05, told
    return told


def seconds(told: dict[str, Any]) -> dict[str, float]:
    return {one["category"]: one["seconds"] for one in told["DATA"]}


@SITE_GROUP
def test_a_tree_and_a_pause(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path / "src", uniform(20, 100, 1_000), seed=1)
    task_id = site.copy(tmp_path / "src", tmp_path / "dst", verify_checksum=True)
    site.deployment.post(f"task/{task_id}/pause", {})
    paused_s = until(
        lambda: (it := seconds(explained(site, task_id)).get("paused", 0)) > 1 and it, 30, "a pause"
    )
    site.deployment.post(f"task/{task_id}/resume", {})
    site.deployment.wait(task_id, 60)
    told = explained(site, task_id)
    found = seconds(told)
    assert paused_s - 0.1 < found["paused"] < paused_s + 5  # two clocks say when
    moved = {"moving", "source_read", "destination_write", "checksum", "network"}
    assert found.keys() & moved
    [paused] = [one for one in told["DATA"] if one["category"] == "paused"]
    assert paused["details"][0]["what"]
    assert " paused by " in told["sentence"]
