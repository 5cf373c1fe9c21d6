"""Agents of a whole deployment: set up with its key, reached through its relay."""

import getpass
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plugins.globus import Globus
from plugins.rig import QUICK
from towpath.demo.agents import Agent
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, make_tree

pytestmark = pytest.mark.xdist_group("connect")  # they share a deployment

READY_S = 30.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment.start(tmp_path_factory.mktemp("service") / "deployment", QUICK) as started:
        yield started


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def wait_for(deployment: Deployment, endpoint_id: str, **wanted: object) -> None:
    """Until its document says so."""
    deadline = time.monotonic() + READY_S
    while True:
        shown = deployment.get(f"endpoint/{endpoint_id}")
        if {name: shown[name] for name in wanted} == wanted:
            return
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def test_files_go_both_ways_and_wait_for_who_sleeps(
    deployment: Deployment, domain_a: Domain, stack: ExitStack, tmp_path: Path
) -> None:
    globus = Globus.of(deployment, tmp_path / "home")
    told = globus.json("gcp", "create", "mapped", "Alice's laptop")
    endpoint_id, key = told["id"], told["globus_connect_setup_key"]
    files = tmp_path / "laptop" / "files"
    files.mkdir(parents=True)
    laptop = stack.enter_context(Agent.set_up(key, tmp_path / "laptop", shares=[files]))
    laptop.start()
    wait_for(deployment, endpoint_id, gcp_connected=True)
    found = globus.json("endpoint", "search", "--filter-scope", "my-gcp-endpoints")
    assert [one["id"] for one in found["DATA"]] == [endpoint_id]
    globus.run("gcp", "update", "mapped", endpoint_id, "--description", "at home")
    assert globus.json("endpoint", "show", endpoint_id)["description"] == "at home"
    tested = deployment.post(f"endpoint/{endpoint_id}/test", {})
    assert tested["ok"], tested

    there = f"{endpoint_id}:{files}"
    (files / "notes.txt").write_text("from home")
    globus.run("mkdir", f"{there}/new")
    globus.run("rename", endpoint_id, f"{files}/new", f"{files}/in")
    names = globus.json("ls", there)["DATA"]
    assert [one["name"] for one in names] == ["in", "notes.txt"]
    refused = globus.run("ls", f"{endpoint_id}:/etc", expect=1)
    assert re.search("not allow|permission|denied", refused.stderr + refused.stdout, re.IGNORECASE)

    with GctServer.start(domain_a, tmp_path / "server") as server:
        site = deployment.add_endpoint(
            "site", server.url(""), domain_a.trust_dir, domain_a.proxy_file
        )
        (tmp_path / "src").mkdir()
        for number in range(20):
            (tmp_path / "src" / f"f{number}").write_bytes(os.urandom(10_000))
        items = [(str(tmp_path / "src"), str(files / "in"), True)]
        done = deployment.wait(deployment.transfer(site, endpoint_id, items), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        for file in (tmp_path / "src").iterdir():
            assert (files / "in" / file.name).read_bytes() == file.read_bytes()
        up = [(str(files / "notes.txt"), str(tmp_path / "arrived.txt"), False)]
        done = deployment.wait(deployment.transfer(endpoint_id, site, up), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        assert (tmp_path / "arrived.txt").read_text() == "from home"

        laptop.stop()
        wait_for(deployment, endpoint_id, gcp_connected=False)
        missed = globus.run("ls", there, expect=1)
        assert "GCDisconnected" in missed.stderr + missed.stdout
        up = [(str(files / "notes.txt"), str(tmp_path / "later.txt"), False)]
        waiting = deployment.transfer(endpoint_id, site, up)
        deadline = time.monotonic() + 20
        while (task := deployment.task(waiting))["nice_status"] != "GC_NOT_CONNECTED":
            assert time.monotonic() < deadline, task
            time.sleep(0.1)
        details = json.loads(task["nice_status_details"])
        assert "“Alice's laptop” has not been connected since" in details["error"]
        laptop.start()
        wait_for(deployment, endpoint_id, gcp_connected=True)
        back = time.monotonic()
        deployment.wait(waiting, 30)
        assert time.monotonic() - back < 5
        assert (tmp_path / "later.txt").read_text() == "from home"

    globus.run("endpoint", "delete", endpoint_id)
    laptop.wait(30)


ACCOUNT = "daemon" if os.geteuid() == 0 else getpass.getuser()
"""Of all users here: a node that root runs becomes it, any other is it already."""


def test_nodes_of_a_server_share_the_work_and_stand_in_for_each_other(
    deployment: Deployment, domain_a: Domain, stack: ExitStack, open_tmp_path: Path, tmp_path: Path
) -> None:
    told = deployment.towpath("endpoint", "add", "Lab", "--connect-server", "--format", "json")
    added = json.loads(told)
    base = open_tmp_path / "lab"
    base.mkdir()
    shutil.chown(base, ACCOUNT)
    nodes = []
    for name in ("one", "two"):
        node = stack.enter_context(Agent.set_up(added["setup_key"], open_tmp_path / name))
        node.towpath("map", "add", ".*", ACCOUNT)
        node.towpath("limit", "30M")
        node.towpath(
            *("collection", "add", "Lab data", "--base-path", str(base), "--allow", ACCOUNT)
        )
        node.start()
        nodes.append(node)
    found = deployment.get("endpoint_search", filter_scope="my-endpoints")["DATA"]
    (collection,) = [one for one in found if one["entity_type"] == "GCSv5_mapped_collection"]
    assert collection["display_name"] == "Lab data"

    server = stack.enter_context(GctServer.start(domain_a, tmp_path / "server"))
    site = deployment.add_endpoint("site", server.url(""), domain_a.trust_dir, domain_a.proxy_file)
    tree = tmp_path / "src"
    make_tree(tree, [TreeFile(f"f{number}", 400_000) for number in range(250)], 1)
    items = [(str(tree), "/in", True)]
    task = deployment.transfer(site, collection["id"], items)
    deadline = time.monotonic() + READY_S
    while not all("STOR" in node.logged() for node in nodes):
        assert time.monotonic() < deadline, deployment.events(task)
        time.sleep(0.02)
    nodes[0].stop()
    done = deployment.wait(task, 90)
    assert done["status"] == "SUCCEEDED", deployment.events(task)
    for file in tree.iterdir():
        arrived = base / "in" / file.name
        assert arrived.read_bytes() == file.read_bytes()
        assert arrived.owner() == ACCOUNT
