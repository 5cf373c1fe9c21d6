"""Two authorities without common trust: bytes go from server to server, never through us."""

import threading
from pathlib import Path
from typing import Self

import pytest

from plugins.site import SITE_GROUP, Site, connections
from towpath.demo.trees import TreeFile, digests, make_tree, uniform

pytestmark = SITE_GROUP
MEBIBYTE = 1024 * 1024
LARGE_BYTES = 256 * MEBIBYTE
TREE = [*uniform(5, 20, 20_000), TreeFile("large/file", LARGE_BYTES), TreeFile("empty", 0)]
CONTROL_BYTES_LIMIT = 5 * MEBIBYTE
"""Commands, replies, listings, and what the service tells its database."""


def counted(pids: list[int]) -> int:
    """Bytes that these processes have read and written so far, files and pipes included."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith(("rchar:", "wchar:")):
                total += int(line.split()[1])
    return total


class Watch:
    """Looks, for as long as it is entered, at which connections the service has."""

    def __init__(self, pids: list[int]) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for pid in self._pids:
                self.seen.update(connections(pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize("encrypt", [False, True])
def test_no_data_on_the_services_host(site: Site, tmp_path: Path, encrypt: bool) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, TREE, seed=3)
    pids = site.service_pids()
    assert len(pids) == 2, "the API and one worker"
    servers, api = site.server_ports, site.api_port
    before = counted(pids)
    with Watch(pids) as watch:
        task_id = site.copy(source, destination, encrypt_data=encrypt)
        task = site.deployment.wait(task_id, 90)
    moved = counted(pids) - before
    print(f"encrypt={encrypt}: {moved} bytes in the service for {task['bytes_transferred']}")
    assert task["status"] == "SUCCEEDED"
    assert task["bytes_transferred"] == sum(file.size for file in TREE)
    assert digests(destination) == digests(source)
    assert moved < CONTROL_BYTES_LIMIT
    # `recv` and `send` are not in /proc/PID/io: so, no connection that data could have taken
    assert {peer for _, peer in watch.seen} >= set(servers), "the watch sees control channels"
    assert [pair for pair in watch.seen if api not in pair and pair[1] not in servers] == []
    site.assert_well()
