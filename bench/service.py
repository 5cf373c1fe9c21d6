"""Area `service`: tasks on a running deployment against globus-url-copy.

The service verifies every file by SHA-256 of both ends and keeps a durable record. The peer does
as much of that as it can: SHA-256 for one file; nothing for a tree, because guc asks for the
checksum of the directories too and fails.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.measure import RUN_TIMEOUT_S, BenchError, Ran
from bench.rig import Site, Tree
from bench.rounds import Contest, Mover, Place, Plan, Ratio, Room
from towpath.demo.deployment import Deployment
from towpath.demo.trees import TreeFile, uniform

CHECKSUM = "SHA256"
LOOK_EVERY_S = 0.05
"""How often the end is asked for: what is measured is late by half of it."""


@dataclass(frozen=True)
class Scale:
    """How much is moved."""

    files_per_directory: int
    big_bytes: int


FULL = Scale(files_per_directory=100, big_bytes=1024**3)
QUICK = Scale(files_per_directory=10, big_bytes=64 * 1024**2)
DIRECTORIES = 10
SMALL_BYTES = 1024


@contextmanager
def _open(room: Room) -> Iterator["_Tasks"]:
    """Servers and service, with its database on a disk: its commits wait for it."""
    work = room.trees / "service"
    work.mkdir()
    with Site.open(work) as site, Deployment.start(room.state / "deployment") as service:
        site.lasting.add(service.pid)
        yield _Tasks(site, service, room)
        service.stop()


def _small(tasks: "_Tasks") -> Contest:
    files = uniform(DIRECTORIES, tasks.scale.files_per_directory, SMALL_BYTES)
    tree = Tree.make(tasks.room.trees / "small", list(files))
    guc = tasks.site.guc(tree, "/", "-r", "-cd", "-fast", "-pp")
    return _against(tasks, "small_files_service_vs_guc", tree, guc)


def _big(tasks: "_Tasks") -> Contest:
    tree = Tree.make(tasks.room.trees / "big", [TreeFile("file", tasks.scale.big_bytes)])
    verify = ("-verify-checksum", "-checksum-alg", CHECKSUM)
    guc = tasks.site.guc(tree, "/file", "-fast", "-p", "4", *verify)
    return _against(tasks, "big_verified_service_vs_guc_verify", tree, guc)


def _against(tasks: "_Tasks", name: str, tree: Tree, guc: Mover) -> Contest:
    sides = {"service": tasks.mover(tree), "guc": guc}
    return Contest(name, sides, (Ratio(name, "service", ("guc",)),), tree.check)


PLACES = (
    Place(
        _open,
        (
            Plan("small_files_service_vs_guc", 4, _small),
            Plan("big_verified_service_vs_guc_verify", 8, _big),
        ),
    ),
)


class _Tasks:
    """Submits, and waits for the end, as a script of a user would."""

    def __init__(self, site: Site, service: Deployment, room: Room) -> None:
        self.site = site
        self.room = room
        self.scale = QUICK if room.quick else FULL
        self._service = service
        self._endpoints = [
            service.add_endpoint(
                name, server.url(""), site.domain.trust_dir, site.domain.proxy_file
            )
            for name, server in (("source", site.source), ("destination", site.destination))
        ]
        service.get("task_list")  # the client's login is not part of a task

    def mover(self, tree: Tree) -> Mover:
        """One task for the tree."""
        return lambda to: self.site.measure(lambda: self._run(tree, to), service=self._service.pid)

    def _run(self, tree: Tree, to: Path) -> Ran:
        before_s, before_cpu_s = time.perf_counter(), time.thread_time()
        source, destination = self._endpoints
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": source,
            "destination_endpoint": destination,
            "verify_checksum": True,
            "DATA": [
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": str(tree.root),
                    "destination_path": str(to),
                    "recursive": True,
                    "checksum_algorithm": CHECKSUM,
                }
            ],
        }
        task_id = self._service.post("transfer", document)["task_id"]
        task = self._service.wait(task_id, RUN_TIMEOUT_S, LOOK_EVERY_S)
        ran = Ran(time.perf_counter() - before_s, time.thread_time() - before_cpu_s)
        if task["status"] != "SUCCEEDED" or task["faults"]:
            raise BenchError(f"the task did not go well: {task}")
        if task["bytes_checksummed"] != tree.size_bytes:
            raise BenchError(f"not all was verified: {task}")
        return ran
