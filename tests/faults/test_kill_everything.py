"""kill -9 of the whole service, database included, again and again: nothing lost, nothing twice.

After each kill the database is looked at alone, so that "committed" is what it really had; then
the source server's own log tells what was sent afterwards (I1, I2, I4).
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from plugins.audit import Committed, committed, sent_again
from plugins.rig import Rig
from plugins.site import until
from towpath.demo.deployment import Deployment
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.platform.database import Database, EmbeddedPostgres
from towpath.platform.settings import DataDirectory
from towpath.transfer.store.rows import fetch

MEBIBYTE = 1024 * 1024
LARGE = "large/file"
TREE = [*uniform(6, 100, 8 * 1024), TreeFile(LARGE, 512 * MEBIBYTE)]
LARGER_TREE = [*uniform(20, 200, 8 * 1024), TreeFile(LARGE, 2048 * MEBIBYTE)]


class Moment(NamedTuple):
    """A kill: what the database held after it, and the source's sessions until then."""

    committed: Committed
    sessions: frozenset[int]

    @property
    def ranges_mib(self) -> float:
        """Of the large file."""
        return sum(ranges.total for ranges in self.committed.ranges.values()) / MEBIBYTE


async def read_committed(data_dir: Path) -> Committed:
    """Start the killed deployment's database by itself and read it."""
    postgres = EmbeddedPostgres(DataDirectory(data_dir).postgres)
    await postgres.start()
    try:
        async with (
            Database(postgres.url, schema="transfer") as database,
            database.connection() as conn,
        ):
            [(task_no,)] = await fetch(conn, "SELECT task_no FROM task")
            return await committed(conn, task_no)
    finally:
        await postgres.stop()


def arrived(destination: Path, tree: Sequence[TreeFile]) -> float:
    """How much of the tree is there, from 0 to 1: small files and the large one count half each."""
    small = sum(
        len(names)
        for directory, _, names in os.walk(destination)
        if Path(directory).name != Path(LARGE).parent.name
    )
    large = destination / LARGE
    written = large.stat().st_blocks * 512 if large.exists() else 0
    size = next(file.size for file in tree if file.path == LARGE)
    return (small / (len(tree) - 1) + min(written / size, 1)) / 2


def at_least(share: float, look: Callable[[], float]) -> Callable[[], float | None]:
    """What `look` sees once it is so much."""

    def seen() -> float | None:
        now = look()
        return now if now >= share else None

    return seen


def campaign(rig: Rig, tree: Sequence[TreeFile], *, seed: int, kills: int) -> None:
    random = Random(seed)
    destination = rig.root / "dst"
    make_tree(rig.root / "src", tree, seed)
    expected = digests(rig.root / "src")
    # Little is in flight, so that what has arrived is soon committed. The servers' sessions die
    # with the service here, so a short settlement is as good as a long one.
    rig.settings |= {
        "TOWPATH_ENGINE__SETTLE_S": "0.4",
        "TOWPATH_ENGINE__LANES": "1",
        "TOWPATH_ENGINE__IN_FLIGHT_FILES": "10",
        "TOWPATH_ENGINE__IN_FLIGHT_BYTES": str(32 * MEBIBYTE),
    }
    deployment = rig.up()
    task_id = rig.copy_tree(deployment)
    moments: list[Moment] = []
    for number in range(kills):
        # each later than the one before, wherever in its part
        share = (number + random.uniform(0.2, 0.6)) / kills
        there = until(
            at_least(share, lambda: arrived(destination, tree)),
            60,
            f"{share:.0%} have arrived",
            every_s=0.002,
        )
        sessions = set(rig.source.session_pids())
        deployment.kill()
        sessions |= {*rig.source.session_pids(), *(command.session for command in rig.sent())}
        moment = Moment(asyncio.run(read_committed(rig.data_dir)), frozenset(sessions))
        moments.append(moment)
        print(
            f"kill {number + 1} at {there:.0%}: {len(moment.committed.finished)} files,"
            f" {moment.ranges_mib:.0f} MiB in ranges committed"
        )
        deployment = rig.up()
    task = deployment.wait(task_id, 180)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert task["files_transferred"] == len(tree)
    assert digests(destination) == expected
    check_throughput(deployment, task)
    sent = rig.sent()
    for moment in moments:
        later = [command for command in sent if command.session not in moment.sessions]
        assert sent_again(moment.committed, later) == []
    states = {(len(moment.committed.finished), moment.ranges_mib) for moment in moments}
    assert len(states) > kills // 2, f"the kills came at the same few moments: {states}"
    assert deployment.stop() == 0


def check_throughput(deployment: Deployment, task: dict[str, Any]) -> None:
    """Whoever had the task went on with it."""
    plot = deployment.get(f"task/{task['task_id']}/throughput")["DATA"]
    times = [point["time"] for point in plot]
    assert times == sorted(set(times))
    assert (plot[0]["files"], plot[-1]["files"]) == (0, task["files_transferred"])
    assert plot[-1]["bytes"] == task["bytes_transferred"]
    done = [(point["files"], point["bytes"]) for point in plot]  # a large file is many points
    assert done == sorted(done)
    # where it stood still there are points before and after, and one of the worker that goes on
    assert len(set(done)) >= len(plot) / 3


@pytest.mark.timeout(240)
def test_three_kills(rig: Rig) -> None:
    campaign(rig, TREE, seed=5, kills=3)


@pytest.mark.long
def test_twenty_kills(rig: Rig) -> None:
    campaign(rig, LARGER_TREE, seed=20, kills=20)
