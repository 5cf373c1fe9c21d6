"""A server that is away is not hammered by its tasks, which all go on when it is back."""

import json
import time
from pathlib import Path

import pytest

from plugins import peers
from plugins.outcomes import faults_of
from plugins.peers import serving
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
TASKS = 12
CONNECTIONS = TASKS + 8
"""Each task's first login at most, and some probes until all of them wait."""
BACK_S = 30.0


@pytest.fixture(scope="module")
def domain(site: Site) -> Domain:
    """Of the server that is stopped."""
    return site.rig.domains[1]


def test_a_dozen_tasks_outlast_their_server(site: Site, domain: Domain, tmp_path: Path) -> None:
    make_tree(tmp_path / "src", uniform(1, 5, 1000), seed=1)
    with GctServer.start(domain, tmp_path / "before") as server:
        port = server.port
        there = site.register(server.url(""), domain)
    with serving(peers.hangs_up, port=port) as stand_in:
        tasks = [
            site.deployment.transfer(
                site.endpoints[0],
                there,
                [(str(tmp_path / "src"), str(tmp_path / f"dst{number}"), True)],
            )
            for number in range(TASKS)
        ]

        def waiting() -> bool:
            documents = [site.deployment.task(task_id) for task_id in tasks]
            return all(one["nice_status"] == "CONNECTION_RESET" for one in documents)

        until(waiting, 30, "all tasks wait for the server")
        told = json.loads(site.deployment.task(tasks[-1])["nice_status_details"])
        assert (told["endpoint"], told["role"]) == (f"localhost:{port}", "destination")
        assert told["since"] <= told["tried_next"]
        before, began = stand_in.connections, time.monotonic()
        assert before <= CONNECTIONS
        until(lambda: stand_in.connections >= before + 3, 60, "it is asked thrice more")
        assert time.monotonic() - began > 2 * 0.75, "once a second, by chance a little sooner"
    faults = {task_id: faults_of(site.deployment, task_id) for task_id in tasks}
    assert sum(len(told) for told in faults.values()) <= CONNECTIONS
    with GctServer.start(domain, tmp_path / "after", port=port):
        began = time.monotonic()
        for task_id in tasks:
            assert site.deployment.wait(task_id, BACK_S)["status"] == "SUCCEEDED"
        print(f"all {TASKS} tasks done {time.monotonic() - began:.1f} s after the start")
    for number in range(TASKS):
        assert digests(tmp_path / f"dst{number}") == digests(tmp_path / "src")
    site.assert_well()
