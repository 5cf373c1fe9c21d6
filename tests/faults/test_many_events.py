"""A task with more events than are kept, and a little progress in between."""

import json
from pathlib import Path

import pytest

from plugins.rig import Rig
from plugins.site import until
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

MOST, DIRECTORIES = 100, 80
SETTINGS = {
    "TOWPATH_ENGINE__EVENTS_PER_TASK": str(MOST),
    "TOWPATH_ENGINE__PROGRESS_EVERY_S": "0.5",
    "TOWPATH_ENGINE__WORKERS": "1",
}


@pytest.mark.long
def test_eighty_directories_that_fail(
    rig: Rig, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, uniform(DIRECTORIES, 1, 100), seed=1)
    make_tree(source / "open", uniform(1, 1, 100), seed=2)
    expected = digests(source)
    for number in range(DIRECTORIES):
        (source / f"d{number:04}").chmod(0)
    deployment = rig.up(SETTINGS)
    domain = rig.domains[0]
    here = deployment.add_endpoint(
        "closed", unprivileged_server.url(""), domain.trust_dir, domain.proxy_file
    )
    task_id = deployment.transfer(here, rig.endpoints[1], [(str(source), str(destination), True)])
    until(lambda: deployment.task(task_id)["faults"] >= DIRECTORIES, 20, "all have failed")
    progress = until(
        lambda: [e for e in deployment.events(task_id) if e["code"] == "PROGRESS"], 10, "progress"
    )
    assert {"bytes_transferred", "duration", "mbps"} == json.loads(progress[0]["details"]).keys()
    for number in range(DIRECTORIES):
        (source / f"d{number:04}").chmod(0o755)
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)[-5:]
    assert digests(destination) == expected
    told = deployment.events(task_id)
    assert len(told) <= MOST
    assert (told[0]["code"], told[-1]["code"]) == ("STARTED", "SUCCEEDED")
    faults = [json.loads(event["details"]) for event in told if event["is_error"]]
    assert all(details["path"] and details["advice"] for details in faults)
    assert len(faults) + faults[-1]["more_like_this"] == task["faults"]
