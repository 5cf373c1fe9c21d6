"""A stopped worker's commands go on running on the servers while another takes over (I3)."""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from plugins.rig import Rig
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.store import segments
from towpath.transfer.store.plan import State

MEBIBYTE = 1024 * 1024
LARGE = TreeFile("large/file", 256 * MEBIBYTE)
TREE = [*uniform(20, 100, 4 * 1024), LARGE]
LEASE_S = 5
T = TypeVar("T")


@contextmanager
def database_of(rig: Rig) -> Any:
    """The deployment's own database, looked at from outside."""
    url = json.loads((rig.data_dir / "run" / "state.json").read_text())["database_url"]
    options = "-c search_path=transfer"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        yield connection


def until(look: Callable[[], T | None], timeout_s: float, what: str) -> T:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s: {what}")


@pytest.mark.long
@pytest.mark.parametrize("verify", [True, False])
def test_what_counts_is_what_the_successor_read(rig: Rig, verify: bool) -> None:
    source, destination = rig.root / "src", rig.root / "dst"
    make_tree(source, TREE, seed=1)
    first = digests(source)
    for seed in (2, 3):  # ready beforehand: the change itself must be over before the takeover
        make_tree(aside(source, seed), TREE, seed=seed)
    second = digests(aside(source, 2))
    deployment = rig.up(
        {
            "TOWPATH_ENGINE__WORKERS": "2",
            "TOWPATH_ENGINE__LEASE_S": str(LEASE_S),
            "TOWPATH_ENGINE__RENEW_S": "1",
        }
    )
    task_id = rig.copy_tree(deployment, verify_checksum=verify)
    with database_of(rig) as database:

        def busy() -> tuple[str, int] | None:
            row = database.execute(
                "SELECT lease_worker, lease_epoch,"
                " (SELECT count(*) FROM file WHERE state = %(flying)s AND size < 1000000),"
                " (SELECT count(*) FROM file WHERE state = %(flying)s AND size > 1000000),"
                " files_transferred"
                " FROM task",
                {"flying": State.IN_FLIGHT},
            ).fetchone()
            ready = row and row[2] >= 100 and row[3] == 1 and row[4] >= 100
            return (row[0], row[1]) if ready else None

        holder, epoch = until(busy, 30, "a large file and 100 small ones in flight")
        name = WorkerName.parse(holder)
        assert name is not None
        os.kill(name.pid, signal.SIGSTOP)
        try:
            contested = database.execute(
                "SELECT count(*) FROM file WHERE state = %s", (State.IN_FLIGHT,)
            ).fetchone()[0]
            replace_content(source, seed=2)
            finished = finished_under(database, epoch)
            until(
                lambda: database.execute(
                    "SELECT 1 FROM task WHERE lease_epoch > %s", (epoch,)
                ).fetchone(),
                30,
                "another worker has the lease",
            )
            task = deployment.wait(task_id, 120)
            assert task["status"] == "SUCCEEDED"
        finally:
            replace_content(source, seed=3)
            os.kill(name.pid, signal.SIGCONT)
    arrived = digests(destination)
    assert contested > 100
    assert finished, "nothing was finished before the worker was stopped"
    for path in first:
        expected = first[path] if path in finished else second[path]
        assert arrived[path] == expected, path
    # The old worker is awake: it notices, stops, and writes nothing any more.
    log = rig.data_dir / "log"
    until(
        lambda: any("lease lost" in one.read_text() for one in log.glob("worker-*.log")) or None,
        20,
        "the stopped worker saw that its lease was lost",
    )
    assert digests(destination) == arrived
    assert any(event["code"] == "RECOVERED" for event in deployment.events(task_id))


def finished_under(database: Any, epoch: int) -> set[str]:
    """The files that the stopped worker finished, a commit on its way to PostgreSQL included.

    Such a commit still holds the task's row: so either the row is free and nothing more can come,
    or another lease begins, before which nothing more has come.
    """
    finished: set[str] = set()
    while True:
        try:
            with database.transaction():
                database.execute("SELECT FROM task FOR UPDATE NOWAIT")
                now, seen = epoch_and_finished(database)
                return seen if now == epoch else finished
        except psycopg.errors.LockNotAvailable:
            now, seen = epoch_and_finished(database)
            if now != epoch:
                return finished
            finished = seen


def epoch_and_finished(database: Any) -> tuple[int, set[str]]:
    """One statement: both of the same moment."""
    rows = database.execute(
        "SELECT lease_epoch, data FROM task LEFT JOIN history_segment USING (task_no)"
    ).fetchall()
    files = [file for _, data in rows if data for file in segments.unpack(data, segments.Finished)]
    return rows[0][0], {file.path for file in files}


def aside(source: Path, seed: int) -> Path:
    return source.with_name(f"{source.name}-{seed}")


def replace_content(source: Path, seed: int) -> None:
    """Every file gets other bytes of the same length, at once: by a rename."""
    for path, _ in TREE:
        (aside(source, seed) / path).replace(source / path)
