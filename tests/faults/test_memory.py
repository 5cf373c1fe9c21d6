"""A million files: memory, speed and database do not follow their number (I5), kills included."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple, Self

import psycopg
import pytest

from plugins.rig import QUICK, Rig
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, make_tree
from towpath.platform.database import EmbeddedPostgres
from towpath.platform.settings import DataDirectory

MEBIBYTE = 1024 * 1024
FILES = 1_000_000
LARGE_DIRECTORY = range(400_000, 600_000)
FILES_PER_DIRECTORY = 500
PLAN_WINDOW = 100_000
KILLS_AT = (0.3, 0.5, 0.7)
START, END = (0.05, 0.2), (0.8, 0.95)
"""Between these parts of all files the speeds are compared; no kill is in them, and nothing of the
large directory: it is found after the first kill, and what is found after the second comes later.
"""

GROWTH_LIMIT_BYTES = 20 * MEBIBYTE
"""Over what the first worker needed until the start was over."""
SLOWEST = 0.9
LIVE_FILE_BYTES, FINISHED_FILE_BYTES = 250, 60
SLACK_FILES = 10_000
"""Transferred but not yet committed, and one more directory."""


ITEMS = ("before", "large", "after")
"""Walked in this order or the other way round."""


def tree(files: int) -> Iterator[TreeFile]:
    """Files of 0 to 4 KiB; many of them in one directory. Each of `ITEMS` is an item."""
    for number in range(files):
        directory, file = divmod(number, FILES_PER_DIRECTORY)
        if number in LARGE_DIRECTORY:
            path = f"large/f{number}"
        else:
            part = "before" if number < LARGE_DIRECTORY.start else "after"
            path = f"{part}/d{directory:04}/f{file:04}"
        yield TreeFile(path, number * 1237 % 4097)


def anonymous_bytes(pid: int) -> int:
    """Resident memory that is the process's own (proc(5), RssAnon); 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0  # a zombie


class Sample(NamedTuple):
    """How things stand at one moment."""

    at: float
    transferred: int
    worker: int
    worker_bytes: int
    live_files: int
    live_bytes: int
    finished_bytes: int


class Watch:
    """Samples a running task."""

    def __init__(self, deployment: Deployment, data_dir: Path, task_id: str) -> None:
        self._deployment = deployment
        self._task_id = task_id
        url = EmbeddedPostgres(DataDirectory(data_dir).postgres).url
        self._db = psycopg.connect(url, autocommit=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def until(self, files: float, timeout_s: float) -> dict:
        """Sample until so many files are transferred, or the task has ended; the task then."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            task = self._deployment.task(self._task_id)
            self._sample(task["files_transferred"])
            if task["status"] != "ACTIVE" or task["files_transferred"] >= files:
                return task
            time.sleep(0.5)
        raise AssertionError(f"{self.samples[-1].transferred} files in {timeout_s} s")

    def kill_worker(self) -> None:
        """SIGKILL; the deployment starts another."""
        (pid,) = self._deployment.worker_pids()
        os.kill(pid, signal.SIGKILL)

    def _sample(self, transferred: int) -> None:
        row = self._db.execute(
            "SELECT (SELECT sum(files) - sum(files_transferred) FROM transfer.task),"
            " pg_total_relation_size('transfer.file'),"
            " pg_total_relation_size('transfer.history_segment')"
        ).fetchone()
        assert row is not None
        pids = self._deployment.worker_pids()
        pid = pids[0] if pids else 0
        self.samples.append(
            Sample(time.monotonic(), transferred, pid, anonymous_bytes(pid), *(int(n) for n in row))
        )

    def files_per_s(self, part: tuple[float, float]) -> float:
        """Between two parts of all files."""
        within = [s for s in self.samples if part[0] <= s.transferred / FILES <= part[1]]
        files = within[-1].transferred - within[0].transferred
        return files / (within[-1].at - within[0].at)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_files(tmp_path: Path, domain_a: Domain, domain_b: Domain) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, tree(FILES), seed=FILES)
    with (
        GctServer.start(domain_a, tmp_path / "server-a") as server_a,
        GctServer.start(domain_b, tmp_path / "server-b") as server_b,
    ):
        settings = QUICK | {"TOWPATH_ENGINE__PLAN_WINDOW": str(PLAN_WINDOW)}
        rig = Rig(tmp_path, server_a, server_b, (domain_a, domain_b), settings)
        try:
            deployment = rig.up()
            items = [(str(source / name), str(destination / name), True) for name in ITEMS]
            task_id = deployment.transfer(*rig.endpoints, items, verify_checksum=True)
            with Watch(deployment, rig.data_dir, task_id) as watch:
                for part in KILLS_AT:
                    watch.until(part * FILES, 1500)
                    watch.kill_worker()
                task = watch.until(FILES + 1, 2000)
            events = deployment.events(task_id)
            check(watch, task, events)
        finally:
            rig.close()
    for directory in source.iterdir():
        assert digests(destination / directory.name) == digests(directory)
    assert len(list(destination.iterdir())) == len(list(source.iterdir()))
    rmtree(source)
    rmtree(destination)


def check(watch: Watch, task: dict, events: list) -> None:
    """The figures; printed before they are judged."""
    samples = watch.samples
    first_worker = samples[0].worker
    start = [s for s in samples if s.transferred <= START[1] * FILES]
    base = max(s.worker_bytes for s in start if s.worker in (0, first_worker))
    peak = max(s.worker_bytes for s in samples)
    start_per_s, end_per_s = watch.files_per_s(START), watch.files_per_s(END)
    live_files = max(s.live_files for s in samples)
    live = max(s.live_bytes for s in samples) / live_files
    finished = samples[-1].finished_bytes / FILES
    print(
        f"\n{samples[-1].at - samples[0].at:.0f} s; worker {base / MEBIBYTE:.1f} MiB at the start,"
        f" {peak / MEBIBYTE:.1f} MiB at most; {start_per_s:.0f} files/s at the start,"
        f" {end_per_s:.0f} at the end; {live:.0f} bytes a live file (of {live_files}),"
        f" {finished:.1f} a finished one; faults {task['faults']},"
        f" {len(events)} events, {len({s.worker for s in samples} - {0})} workers"
    )
    assert (task["status"], task["files_transferred"]) == ("SUCCEEDED", FILES)
    assert len({s.worker for s in samples} - {0}) == len(KILLS_AT) + 1
    assert peak - base <= GROWTH_LIMIT_BYTES
    assert end_per_s >= SLOWEST * start_per_s
    assert PLAN_WINDOW * 0.9 <= live_files <= PLAN_WINDOW + len(LARGE_DIRECTORY) + SLACK_FILES
    assert live <= LIVE_FILE_BYTES
    assert finished <= FINISHED_FILE_BYTES
