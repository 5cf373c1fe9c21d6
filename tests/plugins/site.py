"""Fixture: one deployment between two servers that trust two authorities, for many tests.

Tests that use it share an xdist group, so that it is started once.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from plugins.rig import QUICK, Rig
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.processes import descendants

T = TypeVar("T")

SITE_GROUP = pytest.mark.xdist_group("site")

LOGIN_S = 3
"""Of a server that does not answer; a real one on a busy machine needs a tenth of it."""

SESSIONS_END_S = 10
"""Sessions wait 5 s for the other side's end before they are cut off."""

SETTINGS = QUICK | {
    # one pipeline of 200 files: what one failure can spoil
    "TOWPATH_ENGINE__IN_FLIGHT_FILES": "200",
    "TOWPATH_ENGINE__LANES": "1",
    "TOWPATH_GRIDFTP__CONNECT_S": "3",
    "TOWPATH_GRIDFTP__LOGIN_S": str(LOGIN_S),
    "TOWPATH_GRIDFTP__REPLY_S": "4",
    "TOWPATH_GRIDFTP__STALL_S": "10",
    "TOWPATH_GRIDFTP__ACCESS_EVERY_S": "1",
    "TOWPATH_LOG__LEVEL": "debug",
}


def until(look: Callable[[], T | None], timeout_s: float, what: str, every_s: float = 0.05) -> T:
    """The first result of `look` that is something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def connections(pid: int) -> Iterator[tuple[int, int]]:
    """(own port, peer's port) of the established connections of a process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(str(descriptor.readlink()))
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "01" and f"socket:[{fields[9]}]" in inodes:
                own, peer = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
                yield own, peer


def is_connected(pid: int) -> bool:
    """Whether a server's session still has a client. One that has none may hang all the same: a
    GCT server's now and then waits for ever when it is cut off."""
    try:
        return next(connections(pid), None) is not None
    except OSError:
        return False


@dataclass
class Site:
    """A running deployment and its two endpoints."""

    rig: Rig
    deployment: Deployment
    workers: list[int]

    @property
    def endpoints(self) -> tuple[str, str]:
        """Source and destination."""
        return self.rig.endpoints

    def copy(self, source: Path, destination: Path, **options: object) -> str:
        """Submit one tree between the two endpoints; the task id."""
        item = (str(source), str(destination), True)
        return self.deployment.transfer(*self.endpoints, [item], **options)

    def register(self, url: str, domain: Domain, **more: Any) -> str:
        """An endpoint for a server, with that domain's trust roots and proxy; its id."""
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": url,
            "DATA": [{"DATA_TYPE": "server", "uri": url}],
            "trust_roots": dict(domain.trust.files),
            **more,
        }
        endpoint_id: str = self.deployment.post("endpoint", document)["id"]
        self.give(endpoint_id, domain.proxy_file.read_text()).raise_for_status()
        return endpoint_id

    def give(self, endpoint_id: str, proxy: str) -> Any:
        """Store a credential; the HTTP answer."""
        return self.deployment.client.put(
            f"/v0.10/endpoint/{endpoint_id}/credential", json={"proxy": proxy}
        )

    def service_pids(self) -> list[int]:
        """The API's and the workers' processes, without PostgreSQL's and the sample endpoints'."""
        found = []
        for pid in [self.deployment.pid, *descendants(self.deployment.pid)]:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"towpath.cli" in words and b"samples" not in words:
                found.append(pid)
        return found

    @property
    def api_port(self) -> int:
        """Where the service listens."""
        return int(self.deployment.url.rpartition(":")[2])

    @property
    def server_ports(self) -> tuple[int, int]:
        """Where the two servers listen."""
        return self.rig.source.port, self.rig.destination.port

    def left_open(self) -> list[tuple[int, int]]:
        """Connections that the service should not have while no task runs.

        A worker should have none, the API those of its clients and parked ones to the servers.
        """
        api = [
            (own, peer)
            for own, peer in connections(self.deployment.pid)
            if self.api_port not in (own, peer) and peer not in self.server_ports
        ]
        return api + [pair for pid in self.workers for pair in connections(pid)]

    def logs(self) -> dict[Path, str]:
        """All that the service wrote: log files and standard error."""
        files = [*self.rig.data_dir.glob("log/*"), *self.rig.root.glob("*.up.log")]
        return {file: file.read_text(errors="replace") for file in files}

    def assert_well(self) -> None:
        """It answers, no worker died, no session was forgotten, and no log has a traceback.

        For when all tasks have ended.
        """
        assert self.deployment.get("task_list", limit=1)["DATA_TYPE"] == "task_list"
        assert self.deployment.worker_pids() == self.workers
        with contextlib.suppress(AssertionError):
            until(lambda: not self.left_open(), SESSIONS_END_S, "sessions are closed")
        assert self.left_open() == []
        for file, text in self.logs().items():
            assert "Traceback" not in text, (
                f"{file}: {text[text.index('Traceback') - 500 :][:3000]}"
            )


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, domain_b: Domain
) -> Iterator[Site]:
    """The deployment; the servers log nothing but errors."""
    root = tmp_path_factory.mktemp("site")
    with (
        GctServer.start(domain_a, root / "server-a") as source,
        GctServer.start(domain_b, root / "server-b") as destination,
    ):
        rig = Rig(root, source, destination, (domain_a, domain_b), SETTINGS)
        try:
            deployment = rig.up()
            workers = until(deployment.worker_pids, 10, "a worker runs")
            yield Site(rig, deployment, workers)
        finally:
            rig.close()
