"""kill -9 of the whole service, database included, again and again: nothing lost, nothing twice.

After each kill the database is looked at alone, so that "committed" is what it really had; then
the source server's own log tells what was sent afterwards (I1, I2, I4).
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from plugins.rig import Command, Rig
from plugins.site import until
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.platform.database import Database, EmbeddedPostgres
from towpath.platform.settings import DataDirectory
from towpath.transfer.store import restart_points, segments
from towpath.transfer.store.rows import fetch

MEBIBYTE = 1024 * 1024
LARGE = "large/file"
TREE = [*uniform(10, 100, 8 * 1024), TreeFile(LARGE, 1024 * MEBIBYTE)]
LARGER_TREE = [*uniform(20, 200, 8 * 1024), TreeFile(LARGE, 2048 * MEBIBYTE)]


class Committed(NamedTuple):
    """What the database held after a kill, and the source's sessions until then."""

    finished: frozenset[str]
    ranges: RangeSet
    sessions: frozenset[int]


async def read_committed(data_dir: Path) -> tuple[frozenset[str], RangeSet]:
    """Start the killed deployment's database by itself and read it."""
    postgres = EmbeddedPostgres(DataDirectory(data_dir).postgres)
    await postgres.start()
    try:
        async with (
            Database(postgres.url, schema="transfer") as database,
            database.connection() as conn,
        ):
            finished: set[str] = set()
            ranges = RangeSet()
            for (task_no,) in await fetch(conn, "SELECT task_no FROM task"):
                after = 0
                while (
                    found := await segments.read_segment(conn, task_no, segments.Finished, after)
                ) is not None:
                    after, files = found
                    finished.update(f.path for f in files)
                for (file_no,) in await fetch(
                    conn, "SELECT file_no FROM file WHERE path = %s", (LARGE.encode(),)
                ):
                    for one in await restart_points.of_file(conn, task_no, file_no):
                        ranges.add(ByteRange(one.first, one.after))
            return frozenset(finished), ranges
    finally:
        await postgres.stop()


def sent_again(root: Path, before: Committed, later: list[Command]) -> list[Command]:
    """Commands after a kill for what had been committed before it."""
    wrong = []
    for command in later:
        path = str(Path(command.path).relative_to(root))
        if command.first is None:
            covered = path in before.finished
        else:
            assert command.length is not None
            part = RangeSet([ByteRange(command.first, command.first + command.length)])
            total = part.total + before.ranges.total
            for one in before.ranges:
                part.add(one)
            covered = part.total < total or path in before.finished
        if covered:
            wrong.append(command)
    return wrong


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
    moments: list[Committed] = []
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
        committed = asyncio.run(read_committed(rig.data_dir))
        moments.append(Committed(*committed, frozenset(sessions)))
        print(
            f"kill {number + 1} at {there:.0%}: {len(moments[-1].finished)} files,"
            f" {moments[-1].ranges.total / MEBIBYTE:.0f} MiB in ranges committed"
        )
        deployment = rig.up()
    task = deployment.wait(task_id, 180)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert task["files_transferred"] == len(tree)
    assert digests(destination) == expected
    sent = rig.sent()
    for moment in moments:
        later = [command for command in sent if command.session not in moment.sessions]
        assert sent_again(rig.root / "src", moment, later) == []
    states = {(len(moment.finished), moment.ranges.total) for moment in moments}
    assert len(states) > kills // 2, f"the kills came at the same few moments: {states}"
    assert deployment.stop() == 0


@pytest.mark.timeout(240)
def test_five_kills(rig: Rig) -> None:
    campaign(rig, TREE, seed=5, kills=5)


@pytest.mark.long
def test_twenty_kills(rig: Rig) -> None:
    campaign(rig, LARGER_TREE, seed=20, kills=20)
