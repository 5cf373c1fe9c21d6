"""What the pictures show: laboratories, tasks of every kind, and a transfer on its way."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx

from towpath.demo.authority import Domain
from towpath.demo.own import OwnServer
from towpath.demo.processes import descendants

KIB, MIB, GIB = 1024, 1024**2, 1024**3
ENDS_S = 60.0
CURVE_S = 12
"""So long the transfer has run when it is looked at: a curve has a past."""
PROXY_S = 25
"""The credential that expires while its task runs."""


@dataclass
class World:
    """All that the pages need to have something to show."""

    api: httpx.Client
    """As the person who is logged in."""
    detector: str
    archive: str
    cluster: str
    tasks: dict[str, str]
    """By what they are there for."""

    def transfer(
        self, label: str, source: tuple[str, str], destination: tuple[str, str], **options: Any
    ) -> str:
        """Submit one item; the task's id."""
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "label": label,
            "source_endpoint": source[0],
            "destination_endpoint": destination[0],
            "verify_checksum": True,
            "DATA": [
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": source[1],
                    "destination_path": destination[1],
                }
            ],
            **options,
        }
        answer = self.api.post("/v0.10/transfer", json=document)
        answer.raise_for_status()
        return str(answer.json()["task_id"])

    def wait(self, task_id: str, until: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Until its document is as wanted."""
        deadline = time.monotonic() + ENDS_S
        while time.monotonic() < deadline:
            document = self.api.get(f"/v0.10/task/{task_id}").json()
            if until(document):
                return
            time.sleep(0.2)
        raise AssertionError(f"{what}: {document}")


def ended(document: dict[str, Any]) -> bool:
    """For `World.wait`."""
    return document["status"] in ("SUCCEEDED", "FAILED")


@contextmanager
def world(directory: Path, api: httpx.Client) -> Iterator[World]:
    """Start the servers and fill the person's history."""
    with ExitStack() as stack:
        beamline = Domain.create(directory / "beamline", "Synchrotron", user="Lina Lock")
        university = Domain.create(directory / "university", "University", user="Lina Lock")
        roots = [directory / name for name in ("detector", "archive", "cluster")]
        _measurements(roots[0])
        (roots[1] / "archive" / "2025").mkdir(parents=True)
        (roots[2] / "scratch").mkdir(parents=True)
        servers = [
            stack.enter_context(OwnServer.start(domain, directory / f"server-{n}", root=root))
            for n, (domain, root) in enumerate(
                zip((beamline, university, university), roots, strict=True)
            )
        ]
        names = ("Beamline 7 detector", "University archive", "Cluster scratch")
        ids = [
            _register(api, name, server, domain)
            for name, server, domain in zip(
                names, servers, (beamline, university, university), strict=True
            )
        ]
        made = World(api, *ids, tasks={})
        _bookmarks(made)
        _history(made, university)
        # last: it is on its way while the pictures are taken
        archive = servers[1]
        stack.enter_context(_slowed(archive.pid))
        made.tasks["active"] = made.transfer(
            "Night shift: all frames of run 2041",
            (made.detector, "/data/beamtime-4711/run-2041/"),
            (made.archive, "/archive/2026/beamtime-4711/run-2041/"),
        )
        made.wait(
            made.tasks["active"],
            lambda task: task["bytes_transferred"] > GIB // 4,
            "the transfer that is watched",
        )
        time.sleep(CURVE_S)
        yield made


def _measurements(root: Path) -> None:
    """Files as a beamline writes them: some large, many small."""
    chance = Random(7)
    base = root / "data" / "beamtime-4711"
    for folder in ("calibration", "logs", "processed", "run-2040", "run-2041", "sample-photos"):
        (base / folder).mkdir(parents=True)
    for name, size in (
        ("README.txt", 2 * KIB),
        ("beamtime-4711.nxs", 48 * MIB),
        ("experiment-log.md", 31 * KIB),
        ("mask_eiger2.edf", 9 * MIB),
        ("proposal.pdf", 3 * MIB),
        ("samples.csv", 14 * KIB),
    ):
        _file(base / name, size, chance)
    for number in range(1, 9):
        _file(base / "run-2041" / f"frames_{number:03d}.h5", 900 * MIB, chance)
    for number in range(240):
        size = chance.randrange(20, 400) * KIB
        _file(base / "run-2040" / f"frame_{number:05d}.cbf", size, chance)
    for number in range(12):
        _file(base / "calibration" / f"agbh_{number:02d}.tif", 4 * MIB, chance)


def _file(path: Path, size: int, chance: Random) -> None:
    """The first mebibyte has something in it; the rest is a hole, to spare the disk."""
    with path.open("wb") as file:
        file.write(chance.randbytes(min(size, MIB)))
        file.truncate(size)
    age = timedelta(minutes=chance.randrange(30, 60 * 24 * 9)).total_seconds()
    os.utime(path, (time.time() - age, time.time() - age))


def _register(api: httpx.Client, name: str, server: OwnServer, domain: Domain) -> str:
    document = {
        "DATA_TYPE": "endpoint",
        "display_name": name,
        "description": f"{name}, for everybody with an account there",
        "DATA": [{"DATA_TYPE": "server", "uri": server.url("")}],
        "trust_roots": dict(domain.trust.files),
    }
    answer = api.post("/v0.10/endpoint", json=document)
    answer.raise_for_status()
    endpoint_id = str(answer.json()["id"])
    _give(api, endpoint_id, domain.proxy_file.read_text())
    return endpoint_id


def _give(api: httpx.Client, endpoint_id: str, proxy: str) -> None:
    route = f"/v0.10/endpoint/{endpoint_id}/credential"
    api.put(route, json={"proxy": proxy}).raise_for_status()


def _bookmarks(made: World) -> None:
    for name, endpoint_id, path in (
        ("Beamtime 4711", made.detector, "/data/beamtime-4711/"),
        ("Archive of this year", made.archive, "/archive/2026/"),
    ):
        document = {"name": name, "endpoint_id": endpoint_id, "path": path}
        made.api.post("/v0.10/bookmark", json=document).raise_for_status()


def _history(made: World, university: Domain) -> None:
    base = "/data/beamtime-4711"
    done = made.transfer(
        "Run 2040 to the archive",
        (made.detector, f"{base}/run-2040/"),
        (made.archive, "/archive/2026/beamtime-4711/run-2040/"),
        preserve_timestamp=True,
    )
    calibrated = made.transfer(
        "Calibration, kept in step",
        (made.detector, f"{base}/calibration/"),
        (made.cluster, "/scratch/calibration/"),
        sync_level=3,
        delete_destination_extra=True,
    )
    missing = made.transfer(
        "Run 2042",
        (made.detector, f"{base}/run-2042/"),
        (made.archive, "/archive/2026/beamtime-4711/run-2042/"),
    )
    for task_id in (done, calibrated, missing):
        made.wait(task_id, ended, "a task of the history")
    paused = made.transfer(
        "Processed data, for the weekend",
        (made.detector, f"{base}/processed/"),
        (made.cluster, "/scratch/processed/"),
    )
    made.api.post(f"/v0.10/task/{paused}/pause").raise_for_status()
    expiring = university.make_proxy(timedelta(seconds=PROXY_S)).to_pem()
    _give(made.api, made.cluster, expiring.decode())
    time.sleep(PROXY_S)
    expired = made.transfer(
        "Sample photos to the cluster",
        (made.detector, f"{base}/beamtime-4711.nxs"),
        (made.cluster, "/scratch/beamtime-4711.nxs"),
    )
    made.wait(expired, lambda task: task["status"] == "INACTIVE", "a task without credential")
    made.tasks |= {"done": done, "failed": missing, "paused": paused, "inactive": expired}


@contextmanager
def _slowed(pid: int) -> Iterator[None]:
    """Give a server a small part of the time, so that there is something to watch."""
    over = threading.Event()
    chance = Random(4711)

    def stop_and_go() -> None:
        while not over.is_set():
            going_s = chance.uniform(0.004, 0.02)
            for name, seconds in ((signal.SIGSTOP, 0.1), (signal.SIGCONT, going_s)):
                for one in (pid, *descendants(pid)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, name)
                over.wait(seconds)

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
