"""PostgreSQL is killed, cut off and stopped under tasks that run, and everything carries on."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from plugins.rig import Rig
from plugins.site import until
from plugins.watching import Watch
from towpath.demo.deployment import Deployment
from towpath.demo.processes import descendants
from towpath.demo.trees import digests, make_tree, uniform
from towpath.platform.settings import DataDirectory

TREE = list(uniform(12, 100, 4096))
STOPPED_S = 2.0


class Scene:
    """A deployment, and a task that runs in it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        make_tree(rig.root / "src", TREE, seed=1)
        # Slow enough that PostgreSQL is reached before the last file is sent.
        rig.settings |= {"TOWPATH_ENGINE__LANES": "1", "TOWPATH_ENGINE__IN_FLIGHT_FILES": "10"}
        self.deployment: Deployment = rig.up()
        self.workers = until(self.deployment.worker_pids, 10, "a worker runs")

    @property
    def state(self) -> dict[str, Any]:
        found = DataDirectory(self.rig.data_dir).read_state()
        assert found is not None
        return found

    @property
    def postgres(self) -> int:
        return int(self.state["postgres_pid"])

    @contextmanager
    def task_that_runs(self, name: str) -> Iterator[str]:
        """Ends well after what was done to PostgreSQL when some of its files had arrived."""
        there = self.rig.root / name
        item = (str(self.rig.root / "src"), str(there), True)
        task_id = self.deployment.transfer(*self.rig.endpoints, [item])
        until(lambda: arrived(there), 30, "files arrive", every_s=0.005)
        assert arrived(there) < len(TREE), "too late"
        with Watch(self.deployment.client, f"task/{task_id}/progress") as watch:
            yield task_id
            assert self.deployment.wait(task_id, 90)["status"] == "SUCCEEDED"
            told = watch.to_the_end()
        assert told[-1].data["status"] == "SUCCEEDED"
        events = [str(event["id"]) for event in self.deployment.events(task_id)]
        assert [message.id for message in watch.of("event")] == events
        assert digests(there) == digests(self.rig.root / "src")
        assert self.deployment.worker_pids() == self.workers, "they were not lost"


def arrived(there: Path) -> int:
    """Files, as the destination has them: the API, and its counters, come later."""
    return sum(path.is_file() for path in there.rglob("*"))


def test_postgres_is_killed_cut_off_and_stopped(rig: Rig) -> None:
    scene = Scene(rig)
    deployment = scene.deployment
    with scene.task_that_runs("killed") as task_id:
        killed_and_kept_from_starting(scene, task_id)
    with scene.task_that_runs("cut off"):
        cut_all_connections(scene.state["database_url"])
    with scene.task_that_runs("stopped"):
        stop_for_a_while(scene.postgres)
    assert deployment.stop() == 0


def killed_and_kept_from_starting(scene: Scene, task_id: str) -> None:
    settings = scene.rig.data_dir / "postgres" / "data" / "postgresql.auto.conf"
    was = settings.read_text()
    settings.write_text(was + "nonsense = 1\n")
    before = scene.postgres
    os.kill(before, signal.SIGKILL)
    answer = until(lambda: refused(scene.deployment, task_id), 60, "the API says so")
    assert answer.status_code == 503
    assert answer.json()["code"] == "ServiceUnavailable"
    assert "database" in answer.json()["message"]
    assert int(answer.headers["Retry-After"]) > 0
    log = scene.rig.data_dir / "log"
    until(lambda: said(log, "postgres.not_started"), 60, "it was tried, and told")
    settings.write_text(was)
    until(lambda: scene.postgres != before, 60, "it runs again")


def refused(deployment: Deployment, task_id: str) -> httpx.Response | None:
    answer = deployment.client.get(f"/v0.10/task/{task_id}")
    return answer if answer.is_error else None


def said(log: Path, what: str) -> bool:
    return any(what in file.read_text() for file in log.glob("up*"))


def cut_all_connections(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        cut = connection.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert cut is not None
    assert cut[0] > 0


def stop_for_a_while(postgres: int) -> None:
    """The server with all its backends."""
    tree = [postgres, *descendants(postgres)]
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        for pid in tree:
            os.kill(pid, signal.SIGCONT)
