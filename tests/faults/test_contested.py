"""Files that a lost worker had under way (I3, I4), to the letter, at real servers.

The lost worker is played: what it had committed the test writes into the database, and what its
commands still do at the destination the test does to the files there.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from plugins.ghost import confirm, haunted, listed, take_all
from plugins.outcomes import transferred
from plugins.rig import Rig
from plugins.scene import SETTINGS, Scene
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, make_tree
from towpath.gridftp.client.ranges import cut
from towpath.gridftp.wire.ranges import RangeSet
from towpath.transfer.store import plan
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.plan import LARGE_FILE_BYTES, Returned, State

pytestmark = pytest.mark.xdist_group("contested")

SETTLE_S = 2.0
MOVING_S = 2 * SETTLE_S
STEP_S = 0.02
"""Between two writes of the lost command: as nothing to `SETTLE_S`, on a busy machine too."""
MODIFIED = 1_700_000_000


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, domain_b: Domain
) -> Iterator[Scene]:
    """A deployment without workers; the source logs every command."""
    root = tmp_path_factory.mktemp("contested")
    settings = SETTINGS | {"TOWPATH_ENGINE__SETTLE_S": str(SETTLE_S)}
    with (
        GctServer.start(domain_a, root / "server-a", args=("-d", "ALL")) as source,
        GctServer.start(domain_b, root / "server-b") as destination,
        Scene(Rig(root, source, destination, (domain_a, domain_b), settings)) as scene,
    ):
        yield scene


class Ends:
    """A task from one directory to another, nothing of which is verified unless it must be."""

    def __init__(self, scene: Scene, **options: object) -> None:
        self.scene = scene
        self.place = scene.place()
        self.source, self.destination = self.place / "src", self.place / "dst"
        self.source.mkdir()
        self.destination.mkdir()
        self._options = options
        self._log_bytes = scene.rig.log_bytes
        self.task_id = ""

    def submit(self) -> None:
        """Nobody works yet."""
        self.task_id = self.scene.deployment.transfer(
            *self.scene.rig.endpoints,
            [(str(self.source), str(self.destination), True)],
            **{"verify_checksum": False, **self._options},
        )

    def sent(self) -> list[tuple[str, int | None]]:
        """Files that were sent since, and from where on."""
        return sorted(
            (Path(one.path).name, one.first)
            for one in self.scene.rig.sent(self._log_bytes)
            if Path(one.path).parent == self.source
        )

    def succeed(self) -> dict[str, Any]:
        """By a worker that stops then; the task."""
        worker = self.scene.start()
        assert self.scene.wait(self.task_id, worker)
        self.scene.stop(worker)
        return self.right()

    def right(self) -> dict[str, Any]:
        """The task has ended, and all is there, and told once."""
        deployment = self.scene.deployment
        task = deployment.task(self.task_id)
        assert task["status"] == "SUCCEEDED", deployment.events(self.task_id)
        assert digests(self.destination) == digests(self.source)
        sizes = {str(path): path.stat().st_size for path in self.source.iterdir()}
        told = [(one["source_path"], one["size"]) for one in transferred(deployment, self.task_id)]
        assert sorted(told) == sorted(sizes.items())
        assert task["files_transferred"] == len(sizes)
        assert task["bytes_transferred"] == sum(sizes.values())
        return task


class LateCommand(threading.Thread):
    """Goes on writing a file, as a server does for a session that nobody has any more."""

    def __init__(self, path: Path, content: bytes) -> None:
        super().__init__()
        self._path, self._content = path, content
        self.disturbed = False
        """Whether somebody else has written the file meanwhile."""
        self.ended_at = 0.0

    def run(self) -> None:
        """Byte by byte for a while, then the rest."""
        until = time.monotonic() + MOVING_S
        written = 0
        with self._path.open("wb", buffering=0) as file:
            while time.monotonic() < until:
                written += file.write(self._content[written : written + 1])
                self.disturbed |= not self._is_ours(file.fileno(), written)
                time.sleep(STEP_S)
            file.write(self._content[written:])
            self.ended_at = time.monotonic()

    def _is_ours(self, descriptor: int, written: int) -> bool:
        there, ours = self._path.stat(), os.fstat(descriptor)
        return (there.st_ino, there.st_size) == (ours.st_ino, written)


def test_what_still_moves_is_left_alone_and_then_compared(scene: Scene) -> None:
    """Twice taken over. One file moves, and becomes right; one stands still and is right; one
    is not: none is written, and none counts, before all have stood still."""
    ends = Ends(scene, preserve_timestamp=True)
    make_tree(ends.source, [TreeFile(name, 5000) for name in ("moves", "right", "wrong")], seed=1)
    make_tree(ends.destination, [TreeFile("right", 5000)], seed=1)
    make_tree(ends.destination, [TreeFile("wrong", 5000)], seed=2)
    wrong = (ends.destination / "wrong").read_bytes()
    for path in ends.source.iterdir():
        os.utime(path, (MODIFIED, MODIFIED))
    ends.submit()

    async def first(conn: AsyncConnection[Any], grant: Grant) -> None:
        await take_all(conn, grant, listed(ends.source))

    async def second(_conn: AsyncConnection[Any], _grant: Grant) -> None:
        """Lost before it had done anything."""

    haunted(scene.database_url, first)
    haunted(scene.database_url, second)
    late = LateCommand(ends.destination / "moves", (ends.source / "moves").read_bytes())
    late.start()
    worker = scene.start()
    late.join()
    assert not late.disturbed
    assert (ends.destination / "wrong").read_bytes() == wrong
    assert scene.deployment.task(ends.task_id)["files_transferred"] == 0
    assert scene.wait(ends.task_id, worker)
    assert time.monotonic() - late.ended_at >= SETTLE_S
    scene.stop(worker)
    task = ends.right()
    assert ends.sent() == [("wrong", None)]
    assert task["bytes_checksummed"] >= 15_000, "whatever the options"
    assert {int(path.stat().st_mtime) for path in ends.destination.iterdir()} == {MODIFIED}


def test_restart_points_are_not_believed(scene: Scene) -> None:
    """A marker means received: the destination has lost one range of each file. One is contested,
    the other goes on with new sessions; the lost ones' digests of ranges had been equal."""
    ends = Ends(scene)
    size = LARGE_FILE_BYTES + 12345
    make_tree(ends.source, [TreeFile(name, size) for name in ("contested", "resumed")], seed=3)
    parts = cut(size, RangeSet())
    kept, lost = parts[:2], parts[2]
    for path in ends.source.iterdir():
        with path.open("rb") as here, (ends.destination / path.name).open("wb") as there:
            for part in kept:
                here.seek(part.first)
                there.seek(part.first)
                there.write(here.read(part.length))
            there.seek(lost.first)
            there.write(b"x" * lost.length)
    ends.submit()

    async def haunt(conn: AsyncConnection[Any], grant: Grant) -> None:
        files = listed(ends.source)
        await take_all(conn, grant, files)
        for file in files:
            await confirm(conn, grant, file, [*kept, lost])
        [resumed] = [file for file in files if file.path == "resumed"]
        await plan.put_back(conn, grant.task_no, [Returned(resumed.file_no, State.PENDING)])

    haunted(scene.database_url, haunt)
    ends.succeed()
    again = [lost, *parts[3:]]
    assert ends.sent() == [(name, p.first) for name in ("contested", "resumed") for p in again]


@pytest.mark.long
def test_sources_that_changed_meanwhile(scene: Scene) -> None:
    """What had arrived was right before: of the same length, and now longer, shorter, large, or no
    longer large, with restart points."""
    ends = Ends(scene)
    before = {
        "same": 5000,
        "grew": 5000,
        "shrank": 5000,
        "became-large": 5000,
        "was-large": LARGE_FILE_BYTES + 1,
    }
    after = {
        "same": 5000,
        "grew": 9000,
        "shrank": 1,
        "became-large": LARGE_FILE_BYTES + 1,
        "was-large": 7000,
    }
    for root in (ends.source, ends.destination):
        make_tree(root, [TreeFile(*one) for one in before.items()], seed=4)
    for path in ends.source.iterdir():
        os.utime(path, (MODIFIED, MODIFIED))
    files = listed(ends.source)
    make_tree(ends.source, [TreeFile(*one) for one in after.items()], seed=5)
    ends.submit()

    async def haunt(conn: AsyncConnection[Any], grant: Grant) -> None:
        await take_all(conn, grant, files)
        [large] = [file for file in files if file.path == "was-large"]
        await confirm(conn, grant, large, cut(large.size, RangeSet())[:1])

    haunted(scene.database_url, haunt)
    task = ends.succeed()
    assert {name for name, _ in ends.sent()} == set(before)
    changes = [one["code"] for one in scene.deployment.events(ends.task_id) if one["is_error"]]
    assert sorted(changes) == ["FILE_SIZE_CHANGED"] * 4 + ["VERIFY_CHECKSUM"]
    assert task["faults"] == len(before)


@pytest.mark.long
def test_a_task_that_is_cancelled_leaves_no_other_files_bytes(scene: Scene) -> None:
    """What an earlier lease had sent: shifted by a failure, cut off, arrived, not begun; and one
    that moves for longer than it takes to settle. The end comes when nothing moves, and only the
    shifted one is sent again."""
    ends = Ends(scene)
    names = ("arrived", "cut off", "moves", "not begun", "shifted", "shifted too")
    make_tree(ends.source, [TreeFile(name, 5000) for name in names], seed=5)
    content = {path.name: path.read_bytes() for path in ends.source.iterdir()}
    there = {
        "arrived": content["arrived"],
        "cut off": content["cut off"][:1234],
        "shifted": content["shifted too"],
        "shifted too": content["not begun"],
    }
    for name, held in there.items():
        (ends.destination / name).write_bytes(held)
    ends.submit()

    async def haunt(conn: AsyncConnection[Any], grant: Grant) -> None:
        files = listed(ends.source)
        await take_all(conn, grant, files)
        [shifted] = [file for file in files if file.path == "shifted"]
        await plan.put_back(conn, grant.task_no, [Returned(shifted.file_no, State.PENDING)])

    haunted(scene.database_url, haunt)
    scene.deployment.post(f"task/{ends.task_id}/cancel", {})
    late = LateCommand(ends.destination / "moves", content["moves"])
    late.start()
    worker = scene.start()
    assert scene.wait(ends.task_id, worker)
    ended_at = time.monotonic()
    late.join()
    scene.stop(worker)
    assert not late.disturbed
    assert ended_at - late.ended_at >= SETTLE_S
    assert scene.deployment.task(ends.task_id)["fatal_error"]["code"] == "CANCELED"
    shifted = ["shifted", "shifted too"]
    assert ends.sent() == [(name, None) for name in shifted]
    right = there | {name: content[name] for name in ("moves", *shifted)}
    assert {path.name: path.read_bytes() for path in ends.destination.iterdir()} == right
    assert (
        sorted(Path(one["source_path"]).name for one in transferred(scene.deployment, ends.task_id))
        == shifted
    )
