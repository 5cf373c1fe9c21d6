"""A worker is killed with files under way, and its witness sees the servers' sessions end.

At real servers: the witness says that nothing writes any more, and they have to mean it.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from plugins.rig import Rig
from plugins.scene import SETTINGS, Scene
from plugins.site import until
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.processes import descendants
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.transfer.engine import witness_process
from towpath.transfer.store.plan import State

pytestmark = pytest.mark.xdist_group("witness")

MEBIBYTE = 1024 * 1024
LARGE = TreeFile("large", 256 * MEBIBYTE)
TREE = [*uniform(5, 100, 8 * 1024), LARGE]
SPOILED = b"not what was sent"
WITNESS_S = 20
"""It ends with its work, which takes a tenth of a second where nothing hangs."""

NOTE_CONTESTED = f"""
CREATE TABLE transfer.contested (task_no bigint, path bytea);
CREATE FUNCTION transfer.note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO transfer.contested VALUES (NEW.task_no, NEW.path); RETURN NEW; END $$;
CREATE TRIGGER note AFTER UPDATE ON transfer.file FOR EACH ROW
    WHEN (NEW.state = {int(State.CONTESTED)}) EXECUTE FUNCTION transfer.note();
"""


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, domain_b: Domain
) -> Iterator[Scene]:
    """A deployment without workers, whose database notes what becomes contested."""
    root = tmp_path_factory.mktemp("witness")
    settings = SETTINGS | {
        "TOWPATH_ENGINE__IN_FLIGHT_FILES": "10",
        "TOWPATH_ENGINE__IN_FLIGHT_BYTES": str(32 * MEBIBYTE),
    }
    with (
        GctServer.start(domain_a, root / "server-a", args=("-d", "ALL")) as source,
        GctServer.start(domain_b, root / "server-b") as destination,
        Scene(Rig(root, source, destination, (domain_a, domain_b), settings)) as scene,
    ):
        with psycopg.connect(scene.database_url, autocommit=True) as database:
            database.execute(NOTE_CONTESTED.encode())
        make_tree(root / "src", TREE, seed=1)
        yield scene


def witness_of(worker: int) -> int:
    """Of a worker's process."""
    [pid] = [
        pid
        for pid in descendants(worker)
        if witness_process.__name__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


@pytest.mark.parametrize(
    ("seen", "verify"),
    [
        (True, False),  # nothing else would find what was lost
        pytest.param(False, True, marks=pytest.mark.long),
        pytest.param(True, True, marks=pytest.mark.long),
        pytest.param(False, False, marks=pytest.mark.long),
    ],
)
def test_a_worker_is_killed_in_the_middle_of_a_file(scene: Scene, seen: bool, verify: bool) -> None:
    """`seen`: its witness lives, and knows; else what was under way is contested, as ever."""
    source, destination = scene.rig.root / "src", scene.place()
    task_id = scene.deployment.transfer(
        *scene.rig.endpoints, [(str(source), str(destination), True)], verify_checksum=verify
    )
    [(task_no,)] = scene.sql("SELECT task_no FROM task WHERE id = %s", task_id)
    worker = scene.start()
    until(
        lambda: scene.sql(
            "SELECT FROM file JOIN file_range USING (task_no, file_no)"
            " WHERE task_no = %s AND state = %s",
            task_no,
            State.IN_FLIGHT,
        ),
        30,
        "the large file is under way, with restart points",
        every_s=0.005,
    )
    witness = witness_of(worker.pid)
    if not seen:
        os.kill(witness, signal.SIGKILL)
    worker.kill()
    worker.wait()
    until(lambda: not Path(f"/proc/{witness}").exists(), WITNESS_S, "the witness ends")
    in_flight = scene.sql(
        "SELECT path FROM file WHERE task_no = %s AND state = %s", task_no, State.IN_FLIGHT
    )
    assert (LARGE.path.encode(),) in in_flight
    [(first,)] = scene.sql("SELECT min(first) FROM file_range WHERE task_no = %s", task_no)
    # A marker means received: of what it covers something is lost (I4).
    with (destination / LARGE.path).open("r+b") as file:
        file.seek(first)
        file.write(SPOILED)
    successor = scene.start()
    assert scene.wait(task_id, successor)
    scene.stop(successor)
    task = scene.deployment.task(task_id)
    assert task["status"] == "SUCCEEDED", scene.deployment.events(task_id)
    assert task["files_transferred"] == len(TREE)
    assert digests(destination) == digests(source)
    contested = scene.sql("SELECT DISTINCT path FROM contested WHERE task_no = %s", task_no)
    assert sorted(contested) == ([] if seen else sorted(in_flight))
    [told] = [event for event in scene.deployment.events(task_id) if event["code"] == "RECOVERED"]
    assert ("contested_files" in str(told["details"])) is not seen
