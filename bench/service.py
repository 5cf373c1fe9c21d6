"""Area `service`: tasks on a running deployment against globus-url-copy.

The service verifies every file by SHA-256 of both ends and keeps a durable record. The peer does
as much of that as it can: SHA-256 for one file; nothing for a tree, because guc asks for the
checksum of the directories too and fails.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from bench.measure import RUN_TIMEOUT_S, BenchError, measure
from bench.rig import Scale, Site, Tree
from bench.rounds import Contest, Mover
from towpath.demo.deployment import Deployment

CHECKSUM = "SHA256"
LOOK_EVERY_S = 0.05
"""How often the end is asked for: what is measured is late by half of it."""


@contextmanager
def contests(trees: Path, state: Path, scale: Scale) -> Iterator[list[Contest]]:
    """The contests of this area, while servers and service run.

    The service's database is in `state`, which should be on a real disk: its commits wait for it.
    """
    with Site.open(trees, scale) as site, Deployment.start(state / "deployment") as service:
        tasks = _Tasks(site, service)
        small, big = site.small_tree(), site.big_file()
        bystanders = (service.pid,)
        verify = ("-verify-checksum", "-checksum-alg", CHECKSUM)
        yield [
            site.contest(
                "small_files_service_vs_guc",
                small,
                ours=tasks.mover(small),
                peer=site.guc_tree(small, bystanders),
            ),
            site.contest(
                "big_verified_service_vs_guc_verify",
                big,
                ours=tasks.mover(big),
                peer=site.guc_big(big, *verify, bystanders=bystanders),
            ),
        ]
        service.stop()


class _Tasks:
    """Submits, and waits for the end, as a script of a user would."""

    def __init__(self, site: Site, service: Deployment) -> None:
        self._site = site
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
        return lambda to: measure(
            lambda: self._run(tree, to),
            servers=self._site.server_pids,
            service=self._service.pid,
        )

    def _run(self, tree: Tree, to: Path) -> float:
        before_s = time.thread_time()
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
        client_cpu_s = time.thread_time() - before_s
        if task["status"] != "SUCCEEDED" or task["faults"]:
            raise BenchError(f"the task did not go well: {task}")
        if task["bytes_checksummed"] != tree.size_bytes:
            raise BenchError(f"not all was verified: {task}")
        return client_cpu_s
