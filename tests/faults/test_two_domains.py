"""Two authorities without common trust: bytes go from server to server, never through us."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from plugins.site import SITE_GROUP, Site
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


def connections(pids: list[int]) -> Iterator[tuple[int, int]]:
    """(own port, peer's port) of the established IPv4 connections of these processes."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(descriptor.readlink()))
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "01" and f"socket:[{fields[9]}]" in inodes:
            own, peer = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
            yield own, peer


class Watch:
    """Looks, for as long as it is entered, at which connections the service has."""

    def __init__(self, pids: list[int]) -> None:
        self.seen: set[tuple[int, int]] = set()
        self._pids = pids
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.seen.update(connections(self._pids))

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
    servers = (site.rig.source.port, site.rig.destination.port)
    api = int(site.deployment.url.rpartition(":")[2])
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
