"""A large file: its ranges are compared on further sessions, and any session may be lost."""

import os
import re
import signal
from pathlib import Path
from random import Random

import pytest

from plugins.rig import Rig
from plugins.site import until
from towpath.demo.trees import TreeFile, digests, make_tree

MEBIBYTE = 1024 * 1024
SIZE = 640 * MEBIBYTE
TREE = [TreeFile("file", SIZE)]
KILLS = 6

_CHECK = re.compile(r"(?m)^\[(\d+)\].*\[CLIENT\]: CKSM (\w+) (\d+) (\d+) (.*)")


def written(file: Path) -> int:
    """Bytes of it that are there, wherever."""
    return file.stat().st_blocks * 512 if file.exists() else 0


def test_ranges_are_compared_while_the_next_ones_move(rig: Rig) -> None:
    make_tree(rig.root / "src", TREE, 1)
    deployment = rig.up()
    task = deployment.wait(rig.copy_tree(deployment, verify_checksum=True), 60)
    assert task["status"] == "SUCCEEDED"
    assert task["bytes_transferred"] == task["bytes_checksummed"] == SIZE
    assert digests(rig.root / "dst") == digests(rig.root / "src")
    assert deployment.stop() == 0
    (mover,) = {command.session for command in rig.sent()}
    log = (rig.source.workdir / "server.log").read_text(errors="surrogateescape")
    checked: dict[int, int] = {}
    for session, algorithm, first, length, path in _CHECK.findall(log):
        assert algorithm == "SHA256"
        assert path == str(rig.root / "src" / "file")
        checked[int(first)] = int(length)
        checked.setdefault(int(first), int(length))
        if int(session) != mover:
            checked[int(first)] = -int(length)
    assert sum(map(abs, checked.values())) == SIZE
    apart = -sum(length for length in checked.values() if length < 0)
    assert apart > SIZE / 2


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_any_session_may_be_lost(rig: Rig, seed: int) -> None:
    random = Random(seed)
    make_tree(rig.root / "src", TREE, seed)
    deployment = rig.up(
        {
            "TOWPATH_ENGINE__SETTLE_S": "0.3",
            "TOWPATH_ENGINE__IN_FLIGHT_BYTES": str(32 * MEBIBYTE),
        }
    )
    task_id = rig.copy_tree(deployment, verify_checksum=True)
    there = rig.root / "dst" / "file"
    killed = 0
    for number in range(KILLS):
        share = (number + random.uniform(0.2, 0.6)) / KILLS
        until(lambda share=share: written(there) >= share * SIZE, 60, f"{share:.0%}", every_s=0.002)
        pids = [*rig.source.session_pids(), *rig.destination.session_pids()]
        if len(pids) >= 3:  # a lane, and perhaps its checkers
            os.kill(random.choice(pids), signal.SIGKILL)
            killed += 1
    task = deployment.wait(task_id, 120)
    assert killed >= 2
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert digests(rig.root / "dst") == digests(rig.root / "src")
    assert deployment.stop() == 0


@pytest.mark.long
def test_nothing_is_left_of_a_cancelled_one(rig: Rig) -> None:
    make_tree(rig.root / "src", TREE, 3)
    deployment = rig.up()
    task_id = rig.copy_tree(deployment, verify_checksum=True)
    there = Path(rig.root / "dst" / "file")
    until(
        lambda: there.exists() and len(rig.destination.session_pids()) >= 2,
        30,
        "the destination has a lane and a checker",
        every_s=0.01,
    )
    deployment.post(f"task/{task_id}/cancel", {})
    assert deployment.wait(task_id, 30)["status"] == "FAILED"
    until(
        lambda: not (rig.source.session_pids() or rig.destination.session_pids()),
        15,
        "all sessions end",
    )
    assert deployment.stop() == 0
