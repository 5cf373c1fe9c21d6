"""A service in the internet, and computers that nobody can dial: agents behind routers."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from plugins.globus import Globus
from plugins.rig import QUICK
from towpath.demo.agents import Agent
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment, DeploymentError
from towpath.demo.gct import GctServer
from towpath.demo.internet import Internet
from towpath.demo.processes import descendants
from towpath.demo.relays import Relay
from towpath.demo.servers import Host
from towpath.demo.trees import TreeFile, digests, expected_digests, make_tree

SEED = 9
FILES = (
    TreeFile("empty", 0),
    TreeFile("one", 1),
    TreeFile("few/some", 70_000),
    TreeFile("few/more", 3 * 1024 * 1024 + 17),
    TreeFile("large", 24 * 1024 * 1024 + 3),
)
RELAY_PORT = 443
"""On a host of its own, as a firewall would have it."""

PROXY_PORT = 8888

CONTROL_BYTES = 1024 * 1024
"""More than all control channels of such a transfer have to say."""

FINISH_S = 120.0
"""For a transfer; those that are disturbed have more."""

REACHED_S = 30.0
"""From the start of an agent until the service has seen something of it."""


@dataclass
class Nat:
    """The service, a GridFTP server beside it, and as many homes as a test wants."""

    root: Path
    internet: Internet
    service: Host
    """Where `towpath up` runs, with its relay."""
    deployment: Deployment
    laboratory: GctServer
    endpoints: dict[str, str] = field(default_factory=dict)
    """By name; `laboratory` is the GridFTP server's."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _tasks: int = 0

    @classmethod
    @contextmanager
    def open(cls, root: Path) -> Iterator["Nat"]:
        """Nobody is at home yet."""
        with ExitStack() as stack:
            internet = stack.enter_context(Internet.open())
            service, site = internet.site(), internet.site()
            domain = Domain.create(root / "domain", "Laboratory")
            domain.issue("host", "localhost", hosts=("localhost", site.address))
            laboratory = stack.enter_context(
                GctServer.start(domain, root / "laboratory", host=site, args=("-d", "ALL"))
            )
            settings = QUICK | {
                "TOWPATH_DIAL__ALLOW_NETWORKS": json.dumps([str(internet.network)]),
                "TOWPATH_RELAY__PORT": str(RELAY_PORT),
            }
            deployment = stack.enter_context(
                Deployment.start(root / "deployment", settings, host=service)
            )
            made = cls(root, internet, service, deployment, laboratory, _stack=stack)
            made.endpoints["laboratory"] = deployment.add_endpoint(
                "laboratory", laboratory.url(""), domain.trust_dir, domain.proxy_file
            )
            yield made

    def key(self, name: str) -> str:
        """Of a new endpoint, which gets this name."""
        document = {"DATA_TYPE": "endpoint", "display_name": name, "is_globus_connect": True}
        made = self.deployment.post("endpoint", document)
        self.endpoints[name] = made["id"]
        return str(made["globus_connect_setup_key"])

    def agent(self, name: str, host: Host, words: Sequence[str] = ()) -> Agent:
        """One that is set up and started on a computer, and shares a directory of its own."""
        home = self.root / name
        home.mkdir()
        shares = home / "data"
        shares.mkdir()
        agent = self._stack.enter_context(
            Agent.set_up(self.key(name), home, host=host, shares=[shares], words=words)
        )
        agent.start()
        self.until_seen(name, shares)
        return agent

    def until_seen(self, name: str, path: Path) -> float:
        """Wait until a listing succeeds; the seconds."""
        began = time.monotonic()
        while True:
            try:
                self.deployment.get(f"operation/endpoint/{self.endpoints[name]}/ls", path=str(path))
            except DeploymentError:
                if time.monotonic() - began > REACHED_S:
                    raise
                time.sleep(0.1)
            else:
                return time.monotonic() - began

    @property
    def api_port(self) -> int:
        """Of the service."""
        return int(self.deployment.url.rpartition(":")[2])

    def relay_pid(self) -> int:
        """Of the relay that `up` has started."""
        for pid in descendants(self.deployment.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"towpath.cli" in words and b"relay" in words:
                return pid
        raise AssertionError("no relay runs")

    def proxy(self) -> str:
        """A real HTTP proxy on a site of its own; its URL."""
        site = self.internet.site()
        configuration = self.root / "tinyproxy.conf"
        configuration.write_text(
            f"Port {PROXY_PORT}\nListen {site.address}\nTimeout 600\nLogLevel Warning\n"
            f'LogFile "{self.root}/tinyproxy.log"\nMaxClients 100\n'
        )
        process = subprocess.Popen(
            [*site.enter, "setpriv", "--pdeathsig", "KILL", "tinyproxy", "-d", "-c", configuration],
            stdin=subprocess.DEVNULL,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return f"http://{site.address}:{PROXY_PORT}"

    def another_relay(self) -> Relay:
        """On a site of its own."""
        relay = Relay.start(
            self.deployment,
            "another",
            self.root / "another-relay",
            network=str(self.internet.network),
            host=self.internet.site(),
        )
        return self._stack.enter_context(relay)

    def folder(self, name: str) -> Path:
        """A new directory that is shared at an endpoint."""
        self._tasks += 1
        place = self.root / name / "data" if name != "laboratory" else self.root
        made = place / f"place-{self._tasks}"
        made.mkdir()
        return made

    def carry(
        self, source: str, destination: str, files: Sequence[TreeFile] = FILES, **options: object
    ) -> "Carried":
        """A verified transfer of a tree, with everything compared when it is over."""
        under_way = self.begin(source, destination, files, **options)
        return under_way.finish()

    def begin(
        self, source: str, destination: str, files: Sequence[TreeFile] = FILES, **options: object
    ) -> "UnderWay":
        """The same, not waited for."""
        here, there = self.folder(source), self.folder(destination) / "to"
        make_tree(here, files, SEED)
        before = self.internet.passed_bytes(self.service)
        task_id = self.deployment.transfer(
            self.endpoints[source],
            self.endpoints[destination],
            [(str(here), str(there), True)],
            **options,
        )
        return UnderWay(self, task_id, files, here, there, before)

    def globus(self) -> Globus:
        """The command, logged in."""
        return Globus.of(self.deployment, self.root / "globus")


@dataclass
class Carried:
    """What came of a transfer, all of which has arrived as it was."""

    task: dict[str, Any]
    size_bytes: int
    service_bytes: int
    """What the service's host has sent and received meanwhile; its relay is there."""

    @property
    def by_relay(self) -> bool:
        """Whether the data went through it: in, and out again."""
        return self.service_bytes > 1.5 * self.size_bytes

    @property
    def directly(self) -> bool:
        """Whether none of it did. Control channels do, and what the service says to others."""
        return self.service_bytes < max(0.1 * self.size_bytes, CONTROL_BYTES)


@dataclass
class UnderWay:
    """A transfer that may have begun."""

    nat: Nat
    task_id: str
    files: Sequence[TreeFile]
    source: Path
    destination: Path
    service_bytes_before: int

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)

    def until_moved(self, part: float) -> None:
        """Wait until so much of the size has arrived at the destination's disk."""
        wanted = part * self.size_bytes
        give_up_at = time.monotonic() + FINISH_S
        while self.arrived_bytes() < wanted:
            assert time.monotonic() < give_up_at, self.nat.deployment.task(self.task_id)
            time.sleep(0.01)

    def arrived_bytes(self) -> int:
        """Written at the destination, by what its file system says."""
        found = 0
        for path in self.destination.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                found += path.stat().st_blocks * 512
        return found

    def finish(self, within_s: float = FINISH_S) -> Carried:
        """Wait for the end, and compare."""
        task = self.nat.deployment.wait(self.task_id, within_s)
        events = self.nat.deployment.events(self.task_id)
        assert task["status"] == "SUCCEEDED", (task, events)
        assert digests(self.destination) == expected_digests(self.files, SEED)
        assert task["bytes_checksummed"] >= self.size_bytes, events
        passed = self.nat.internet.passed_bytes(self.nat.service) - self.service_bytes_before
        return Carried(task, self.size_bytes, passed)


@pytest.fixture
def nat(tmp_path: Path) -> Iterator[Nat]:
    """A rig of its own for each test."""
    with Nat.open(tmp_path) as made:
        yield made
