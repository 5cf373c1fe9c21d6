"""The worker is killed at every commit point of small mixed tasks, one after the other (I1, I4).

Right before a commit is sent, and right after it was done and before anyone was told. Another
worker then carries on, and the end must be that of a task that nobody disturbed; nothing that had
been committed is sent again.
"""

import asyncio
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from plugins.audit import Committed, committed, sent_again
from plugins.ghost import haunted, listed, take_all
from plugins.outcomes import delete, transferred
from plugins.rig import Rig
from plugins.scene import SETTINGS, Scene, When
from plugins.site import until
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, make_tree
from towpath.manifest.verify import Finding, Ground, Kind, Manifest, verify
from towpath.platform.database import Database
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.plan import LARGE_FILE_BYTES

pytestmark = pytest.mark.xdist_group("commit points")

BOUNDS = SETTINGS | {
    "TOWPATH_ENGINE__IN_FLIGHT_FILES": "4",
    "TOWPATH_ENGINE__IN_FLIGHT_BYTES": str(32 * 1024 * 1024),
}
MODIFIED = 1_700_000_000

LARGE = TreeFile("large", LARGE_FILE_BYTES + 12345)
SMALL = [TreeFile(f"{place}f{n}", 1000 * n) for place in ("", "d/", "d/e/") for n in range(4)]
SAMPLE = {"mirror": 2, "copy": 1, "delete": 1}
"""Of all commits; each one is killed at by the long tests."""
"""How many points of each `make test` tries, spread over all."""

WHEN: tuple[When, ...] = ("before", "after")
PAIRS = 40
FEWEST = 10
"""Commits of a task; fewer were not all."""

COUNTED = (
    "status",
    "files",
    "directories",
    "symlinks",
    "files_skipped",
    "files_transferred",
    "bytes_transferred",
    "subtasks_total",
    "subtasks_succeeded",
    "subtasks_skipped_errors",
    "subtasks_pending",
)


class Job(Protocol):
    """A task that can be had again and again, each time below another directory."""

    times: bool
    """Whether those at the destination are always the same."""
    counts: bool
    """Whether all is counted: what a delete did since its last commit is not."""

    def submit(self, rig: Rig, deployment: Deployment, place: Path) -> str:
        """Make what is there before, and submit it; its id."""


class Mirror:
    """A tree with a large file and links that are kept, over one with extras and with things in the
    way; and a file whose digest is known."""

    times = True
    counts = True

    def __init__(self, root: Path) -> None:
        self.source = root / "mirrored"
        make_tree(self.source, [*SMALL, LARGE], seed=1)
        (self.source / "empty").mkdir()
        (self.source / "to-file").symlink_to("d/f1")
        (self.source / "to-directory").symlink_to(self.source / "d" / "e")
        (self.source / "outside").symlink_to("/usr/bin")
        (root / "known").write_text("known")
        self.known = root / "known"
        for path in [*self.source.rglob("*"), self.known]:
            os.utime(path, (MODIFIED, MODIFIED), follow_symlinks=False)

    def submit(self, rig: Rig, deployment: Deployment, place: Path) -> str:
        """See `Job`."""
        there = place / "tree"
        make_tree(there, [TreeFile(f"extra/{n}/x", 10) for n in range(3)], seed=2)
        (there / "f1").mkdir()  # where a file comes
        (there / "f1" / "x").touch()
        (there / "d").touch()  # where a directory comes
        (there / "f2").write_text("older")
        (there / "extra-link").symlink_to("extra")
        (there / "to-file").symlink_to("f2")
        items = [(self.source, there, True, None), (self.known, place / "known", False, self.known)]
        return submit(
            rig,
            deployment,
            items,
            verify_checksum=True,
            preserve_timestamp=True,
            delete_destination_extra=True,
            recursive_symlinks="keep",
        )


class Copy:
    """A tree with a large file and links that are copied; half of it is there, and something cannot
    be read. Nothing is verified."""

    times = False
    counts = True

    def __init__(self, root: Path) -> None:
        self.source = root / "copied"
        make_tree(self.source, [*SMALL, LARGE, TreeFile("closed", 100)], seed=3)
        make_tree(self.source, [TreeFile("closed-directory/f", 100)], seed=3)
        (self.source / "to-file").symlink_to("d/f1")
        (self.source / "to-directory").symlink_to("d/e")
        for name in ("closed", "closed-directory"):
            (self.source / name).chmod(0)

    def submit(self, rig: Rig, deployment: Deployment, place: Path) -> str:
        """See `Job`."""
        there = place / "tree"
        (there / "d").mkdir(parents=True)
        for name in ("f1", "d/f1"):
            shutil.copy(self.source / name, there / name)
        make_tree(there, [TreeFile(name, size) for name, size in SMALL[2:8:2]], seed=4)
        return submit(
            rig,
            deployment,
            [(self.source, there, True, None)],
            verify_checksum=False,
            skip_source_errors=True,
            recursive_symlinks="copy",
            sync_level=3,
        )


class Delete:
    """Two trees and a file."""

    times = False
    counts = False

    def __init__(self, root: Path) -> None:
        pass

    def submit(self, rig: Rig, deployment: Deployment, place: Path) -> str:
        """See `Job`."""
        for name in ("one", "two", "stays"):
            make_tree(place / name, [TreeFile(path, 10) for path, _ in SMALL], seed=1)
        (place / "one" / "to-directory").symlink_to("../stays")
        (place / "one" / "to-nothing").symlink_to("nowhere")
        (place / "f").touch()
        gone = [place / name for name in ("one", "two", "f")]
        return delete(deployment, rig.endpoints[1], *gone, recursive=True)


JOBS = {"mirror": Mirror, "copy": Copy, "delete": Delete}


def submit(
    rig: Rig,
    deployment: Deployment,
    items: list[tuple[Path, Path, bool, Path | None]],
    **options: object,
) -> str:
    """(source, destination, recursive, the file whose SHA-256 is named); the task's id."""
    document = {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": rig.endpoints[0],
        "destination_endpoint": rig.endpoints[1],
        "DATA": [
            {
                "DATA_TYPE": "transfer_item",
                "source_path": str(here),
                "destination_path": str(there),
                "recursive": recursive,
            }
            | ({} if known is None else named(known))
            for here, there, recursive, known in items
        ],
        **options,
    }
    task_id: str = deployment.post("transfer", document)["task_id"]
    return task_id


def named(file: Path) -> dict[str, str]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"external_checksum": digest, "checksum_algorithm": "SHA256"}


class End(NamedTuple):
    """All that a task leaves behind, with paths from its place on."""

    there: dict[str, object]
    """Everything at the destination: digest and time of files, targets of links."""
    counters: dict[str, Any]
    history: Counter[tuple[str, str]]
    events: Counter[str]
    """Without errors."""
    faults: int
    not_carried_over: list[dict[str, Any]]
    sent: frozenset[str]
    """Files of the source that were sent, as far as its log tells: a line may be torn."""


def picture(place: Path, *, times: bool) -> dict[str, object]:
    """What is there."""
    found: dict[str, object] = {}
    contents = digests(place)
    for path in place.rglob("*"):
        name, status = str(path.relative_to(place)), path.lstat()
        if path.is_symlink():
            found[name] = str(path.readlink()).replace(str(place), "")
        elif path.is_dir():
            found[name] = "a directory"
        else:
            modified = int(status.st_mtime) if times else None
            found[name] = (contents[name], status.st_mode, modified)
    return found


def committed_of(scene: Scene, task_id: str) -> Committed:
    """By a worker that was killed, when its last transaction is over."""
    ours = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'towpath %%'"
    until(lambda: not scene.sql(ours), 10, "its connections are closed", every_s=0.005)
    [(task_no,)] = scene.sql("SELECT task_no FROM task WHERE id = %s", task_id)

    async def read() -> Committed:
        async with (
            Database(scene.database_url, schema="transfer") as database,
            database.connection() as conn,
        ):
            return await committed(conn, task_no)

    return asyncio.run(read())


def differing(scene: Scene, task_id: str, *, proved: bool) -> list[Finding]:
    """What at the destination is not as the task's manifest says, or not `proved` by it."""
    answer = scene.deployment.client.get(f"/v0.10/task/{task_id}/manifest")
    found: list[Finding] = []
    with NamedTemporaryFile() as file:
        file.write(answer.content)
        file.flush()
        manifest = Manifest(Path(file.name), None)
        base = manifest.head["destination_base"]
        verify(manifest, Ground(os.fsencode(base), base, "destination", str), report=found.append)
    return [one for one in found if proved or one.kind is not Kind.UNPROVED]


def end_of(scene: Scene, job: Job, task_id: str, place: Path, log_bytes: int) -> End:
    """Of a task that has ended."""
    task = scene.deployment.task(task_id)
    assert task["status"] == "SUCCEEDED", scene.deployment.events(task_id)
    told = "SELECT count(*) FROM outbox WHERE document ->> 'task_id' = %s"
    assert scene.sql(told, task_id) == [(1,)], "its owner is told once"
    if task["type"] == "TRANSFER":
        assert differing(scene, task_id, proved=task["verify_checksum"]) == []
    arrived = transferred(scene.deployment, task_id) if task["type"] == "TRANSFER" else ()
    end = End(
        picture(place, times=job.times),
        {name: task[name] for name in COUNTED},
        Counter(
            (one["source_path"], one["destination_path"].removeprefix(str(place)))
            for one in arrived
        ),
        Counter(
            event["code"] for event in scene.deployment.events(task_id) if not event["is_error"]
        ),
        task["faults"],
        []
        if task["type"] == "DELETE"
        else scene.deployment.get(f"task/{task_id}/fidelity")["DATA"],
        frozenset(command.path for command in scene.rig.sent(log_bytes)),
    )
    shutil.rmtree(place)
    return end


@pytest.fixture(scope="module")
def scene(domain_a: Domain, domain_b: Domain, unprivileged_account: str | None) -> Iterator[Scene]:
    """The source's permissions mean something."""
    with TemporaryDirectory(prefix="towpath-test-") as made:
        root = Path(made)
        root.chmod(0o755)  # for the source's account
        with (
            GctServer.start(
                domain_a, root / "server-a", args=("-d", "ALL"), account=unprivileged_account
            ) as source,
            GctServer.start(domain_b, root / "server-b") as destination,
            Scene(Rig(root, source, destination, (domain_a, domain_b), BOUNDS)) as scene,
        ):
            yield scene


def undisturbed(scene: Scene, job: Job) -> tuple[End, int]:
    """How it ends, and how many commits that takes."""
    place, log_bytes = scene.place(), scene.rig.log_bytes
    task_id = job.submit(scene.rig, scene.deployment, place)
    worker = scene.start()
    assert scene.wait(task_id, worker)
    commits = scene.stop(worker)
    return end_of(scene, job, task_id, place, log_bytes), commits


def killed(scene: Scene, job: Job, deaths: Sequence[tuple[int, When]], right: End) -> End | None:
    """How it ends when each of these commits is the last of a worker. None: it ended before.

    Every other time its witness dies with it, so that what was in flight is contested.
    """
    place, rig = scene.place(), scene.rig
    log_bytes = rig.log_bytes
    task_id = job.submit(rig, scene.deployment, place)
    moments: list[tuple[Committed, set[int]]] = []
    for death in deaths:
        worker = scene.start(*death, "both" if death[0] % 2 else "self")
        if scene.wait(task_id, worker):
            worker.kill()
            return None
        known = committed_of(scene, task_id)
        sessions = {*rig.source.session_pids(), *(one.session for one in rig.sent(log_bytes))}
        moments.append((known, sessions))
    worker = scene.start()
    assert scene.wait(task_id, worker), "a worker that nobody kills has ended"
    worker.kill()
    end = end_of(scene, job, task_id, place, log_bytes)
    for known, sessions in moments:
        later = [one for one in rig.sent(log_bytes) if one.session not in sessions]
        assert sent_again(known, later) == []
    told = end.events.pop("RECOVERED", 0)
    in_flight = sum(known.in_flight > 0 for known, _ in moments)
    assert told == in_flight if len(deaths) == 1 else bool(told) == bool(in_flight)
    return end if job.counts else uncounted(end, right)


def uncounted(end: End, right: End) -> End:
    """The same, where not everything need be counted."""
    numbers = {name for name, one in right.counters.items() if isinstance(one, int)}
    assert all(0 <= end.counters[name] <= right.counters[name] for name in numbers)
    return end._replace(counters=end.counters | {name: right.counters[name] for name in numbers})


def struck(scene: Scene, job: Job, number: int) -> End | None:
    """How it ends when the destination's sessions are killed at this commit."""
    place, log_bytes = scene.place(), scene.rig.log_bytes
    task_id = job.submit(scene.rig, scene.deployment, place)
    worker = scene.start(number, "after", str(scene.rig.destination.pid))
    assert scene.wait(task_id, worker), "a worker that nobody kills has ended"
    end = end_of(scene, job, task_id, place, log_bytes)._replace(faults=0)
    end.events.pop("RECOVERED", None)
    return None if scene.stop(worker) < number else end


def differences(right: End, end: End) -> dict[str, object]:
    """What of it is not as it should be."""
    both = zip(right._asdict().items(), end, strict=True)
    found = {name: (one, other) for (name, one), other in both if one != other and name != "sent"}
    more = end.sent - right.sent - {here for here, _ in right.history}
    return found | ({"sent": more} if more else {})


@pytest.mark.timeout(300)
def test_some_commit_points(scene: Scene) -> None:
    for name, most in SAMPLE.items():
        job = JOBS[name](scene.place())
        right, commits = undisturbed(scene, job)
        for n in range(most):
            number = round((n + 0.5) * commits / most)
            end = killed(scene, job, [(number, WHEN[n % 2])], right)
            assert end is None or differences(right, end) == {}, (name, number)


@pytest.mark.long
@pytest.mark.parametrize("name", ["mirror", "copy"])
def test_pairs_of_commit_points(scene: Scene, name: str) -> None:
    """The second worker dies, too: anywhere from where it takes the plan over."""
    job = JOBS[name](scene.place())
    right, commits = undisturbed(scene, job)
    random, wrong = Random(1), {}
    for _ in range(PAIRS):
        deaths = [(random.randrange(1, commits), random.choice(WHEN)) for _ in range(2)]
        end = killed(scene, job, deaths, right)
        if end is not None and (found := differences(right, end)):
            wrong[tuple(deaths)] = found
            print(deaths, found, flush=True)
    assert wrong == {}


@pytest.mark.long
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("name", JOBS)
def test_every_commit_point(scene: Scene, name: str, when: When) -> None:
    job = JOBS[name](scene.place())
    right, _ = undisturbed(scene, job)
    number, wrong = 1, {}
    while (end := killed(scene, job, [(number, when)], right)) is not None:
        if found := differences(right, end):
            wrong[number] = found
            print(number, found, flush=True)
        number += 1
    print(f"{name}, killed {when} each of {number - 1} commits")
    assert wrong == {}
    assert number > FEWEST


@pytest.mark.long
@pytest.mark.parametrize("name", JOBS)
def test_the_destinations_sessions_at_every_commit_point(scene: Scene, name: str) -> None:
    job = JOBS[name](scene.place())
    right, _ = undisturbed(scene, job)
    number, wrong = 1, {}
    while (end := struck(scene, job, number)) is not None:
        if found := differences(right, end):
            wrong[number] = found
            print(number, found, flush=True)
        number += 1
    print(f"{name}, sessions killed at each of {number - 1} commits")
    assert wrong == {}
    assert number > FEWEST


def test_a_contested_file_that_cannot_be_read_is_left_out(scene: Scene) -> None:
    """That it can be looked at is not enough: it fails when it is sent."""
    place = scene.place()
    make_tree(place / "src", [TreeFile("closed", 5000), TreeFile("open", 5000)], seed=1)
    make_tree(place / "dst", [TreeFile("closed", 100)], seed=2)  # as far as it had come
    (place / "src" / "closed").chmod(0)
    items = [(place / "src", place / "dst", True, None)]
    task_id = submit(scene.rig, scene.deployment, items, skip_source_errors=True)

    async def haunt(conn: AsyncConnection[Any], grant: Grant) -> None:
        await take_all(conn, grant, listed(place / "src"))

    haunted(scene.database_url, haunt)
    assert scene.wait(task_id, scene.start())
    task = scene.deployment.task(task_id)
    assert (task["files_transferred"], task["subtasks_skipped_errors"]) == (1, 1)
    assert task["faults"] == 0
    assert [path.name for path in (place / "dst").iterdir()] == ["open"]
