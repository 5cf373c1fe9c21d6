"""Agents of a whole deployment: set up with its key, reached through its relay."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugins.globus import Globus
from plugins.rig import QUICK
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer

READY_S = 30.0


@dataclass
class Computer:
    """A person's computer with an agent."""

    root: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Path:
        """What it shares."""
        return self.root / "files"

    @property
    def state(self) -> Path:
        """The agent's directory."""
        return self.root / "agent"

    def towpath(self, *words: str) -> str:
        """One of the agent's commands."""
        done = subprocess.run(
            [sys.executable, "-m", "towpath.cli", "connect", *words, "--dir", str(self.state)],
            capture_output=True,
            text=True,
            timeout=60,
            env=self._environment(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """`towpath connect start`, in the foreground."""
        words = [sys.executable, "-m", "towpath.cli", "connect", "start", "--dir", str(self.state)]
        with (self.root / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
            )

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.root)}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment.start(tmp_path / "deployment", QUICK) as started:
        yield started


@pytest.fixture
def laptop(deployment: Deployment, tmp_path: Path) -> Iterator[Computer]:
    """Set up with the key that the `globus` command has shown, and connected."""
    made = Computer(tmp_path / "laptop")
    made.files.mkdir(parents=True)
    try:
        yield made
    finally:
        made.stop()


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
    deployment: Deployment, laptop: Computer, domain_a: Domain, tmp_path: Path
) -> None:
    globus = Globus.of(deployment, tmp_path / "home")
    told = globus.json("gcp", "create", "mapped", "Alice's laptop")
    endpoint_id, key = told["id"], told["globus_connect_setup_key"]
    laptop.towpath("setup", key)
    laptop.towpath("share", "--read-write", str(laptop.files))
    laptop.start()
    wait_for(deployment, endpoint_id, gcp_connected=True)
    found = globus.json("endpoint", "search", "--filter-scope", "my-gcp-endpoints")
    assert [one["id"] for one in found["DATA"]] == [endpoint_id]
    globus.run("gcp", "update", "mapped", endpoint_id, "--description", "at home")
    assert globus.json("endpoint", "show", endpoint_id)["description"] == "at home"
    tested = deployment.post(f"endpoint/{endpoint_id}/test", {})
    assert tested["ok"], tested

    there = f"{endpoint_id}:{laptop.files}"
    (laptop.files / "notes.txt").write_text("from home")
    globus.run("mkdir", f"{there}/new")
    globus.run("rename", endpoint_id, f"{laptop.files}/new", f"{laptop.files}/in")
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
        items = [(str(tmp_path / "src"), str(laptop.files / "in"), True)]
        done = deployment.wait(deployment.transfer(site, endpoint_id, items), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        for file in (tmp_path / "src").iterdir():
            assert (laptop.files / "in" / file.name).read_bytes() == file.read_bytes()
        up = [(str(laptop.files / "notes.txt"), str(tmp_path / "arrived.txt"), False)]
        done = deployment.wait(deployment.transfer(endpoint_id, site, up), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        assert (tmp_path / "arrived.txt").read_text() == "from home"

        laptop.stop()
        wait_for(deployment, endpoint_id, gcp_connected=False)
        missed = globus.run("ls", there, expect=1)
        assert "GCDisconnected" in missed.stderr + missed.stdout
        up = [(str(laptop.files / "notes.txt"), str(tmp_path / "later.txt"), False)]
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
    assert laptop.process is not None
    assert laptop.process.wait(30) is not None
