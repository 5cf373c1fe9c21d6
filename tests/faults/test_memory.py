"""A worker's memory does not follow the number of files (I5)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plugins.rig import Rig
from towpath.demo.deployment import Deployment
from towpath.demo.trees import TreeFile, digests, make_tree

MEBIBYTE = 1024 * 1024
GROWTH_LIMIT_BYTES = 20 * MEBIBYTE
SMALL_FILES, LARGE_FILES = 1_000, 100_000
FILES_PER_DIRECTORY = 100


def tree(files: int) -> Iterator[TreeFile]:
    """Files of 0 to 1 KiB, a hundred in each directory."""
    for number in range(files):
        directory, file = divmod(number, FILES_PER_DIRECTORY)
        yield TreeFile(f"d{directory:04}/f{file:04}", number * 37 % 1025)


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is the process's own (proc(5), RssAnon)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Peak:
    """The most that was seen."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    """Sample a process's memory for as long as this is entered."""
    peak = Peak()
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            peak.bytes = max(peak.bytes, anonymous_bytes(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def run(rig: Rig, deployment: Deployment, worker: int, files: int, timeout_s: float) -> int:
    """One task of so many files; the worker's peak in bytes."""
    source, destination = rig.root / f"src-{files}", rig.root / f"dst-{files}"
    make_tree(source, tree(files), seed=files)
    began = time.monotonic()
    with peak_of(worker) as peak:
        task_id = deployment.transfer(
            *rig.endpoints, [(str(source), str(destination), True)], verify_checksum=True
        )
        task = deployment.wait(task_id, timeout_s, every_s=0.5)
    took = time.monotonic() - began
    print(
        f"{files} files: peak {peak.bytes / MEBIBYTE:.1f} MiB, {took:.1f} s,"
        f" {files / took:.0f} files/s, faults {task['faults']}"
    )
    assert (task["status"], task["files_transferred"]) == ("SUCCEEDED", files)
    assert digests(destination) == digests(source)
    assert deployment.worker_pids() == [worker]
    return peak.bytes


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_growth_between_a_thousand_and_a_hundred_thousand_files(rig: Rig) -> None:
    deployment = rig.up()
    (worker,) = deployment.worker_pids()
    small = run(rig, deployment, worker, SMALL_FILES, 120)
    large = run(rig, deployment, worker, LARGE_FILES, 1500)
    print(f"growth {(large - small) / MEBIBYTE:.1f} MiB")
    assert large - small <= GROWTH_LIMIT_BYTES
