"""A deployment without workers, and workers one after the other, as a test wants them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal, Self

import psycopg

from plugins.rig import Rig
from plugins.site import until
from towpath.demo.deployment import FINAL

When = Literal["before", "after"]

TESTS = Path(__file__).parents[1]
TASK_S = 60

SETTINGS = {
    "TOWPATH_ENGINE__WORKERS": "0",
    "TOWPATH_ENGINE__SETTLE_S": "0.3",
    "TOWPATH_ENGINE__POLL_S": "0.3",
    "TOWPATH_ENGINE__RECORD_EVERY_S": "0.02",
    "TOWPATH_ENGINE__LANES": "1",
    "TOWPATH_ENGINE__RETRY_FIRST_S": "0.2",
}


class Scene:
    """The deployment runs from the beginning; close it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.deployment = rig.up()
        state = json.loads((rig.data_dir / "run" / "state.json").read_text())
        self.database_url: str = state["database_url"]
        self._database = psycopg.connect(
            self.database_url, autocommit=True, options="-c search_path=transfer"
        )
        self._places = 0
        self._workers: list[subprocess.Popen[str]] = []

    def place(self) -> Path:
        """A directory that no task has had before: a session that is cut off may hang in an old
        one, and write late."""
        self._places += 1
        place = self.rig.root / f"place-{self._places}"
        place.mkdir()
        return place

    def start(self, number: int = 0, when: When = "after", victim: str = "self") -> Any:
        """A worker; see `plugins.mortal`."""
        words = ["-m", "plugins.mortal", str(number), when, victim]
        worker = subprocess.Popen(
            [sys.executable, *words, "--data", str(self.rig.data_dir)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=os.environ | self.rig.settings,
        )
        self._workers.append(worker)
        return worker

    def stop(self, worker: subprocess.Popen[str]) -> int:
        """Cleanly; how many commits there were."""
        worker.terminate()
        told, _ = worker.communicate(timeout=30)
        return int(told.splitlines()[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
        self.rig.close()

    def close(self) -> None:
        """No worker is left."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
            worker.stdout.close()
        self._database.close()

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Of the deployment's own database."""
        return self._database.execute(statement.encode(), parameters).fetchall()

    def wait(self, task_id: str, worker: subprocess.Popen[str]) -> bool:
        """Until the task ends; False: the worker ended first."""

        def over() -> str | None:
            if worker.poll() is not None:
                return "killed"
            [(status,)] = self.sql("SELECT status FROM task WHERE id = %s", task_id)
            return status if status in FINAL else None

        try:
            return until(over, TASK_S, "the task ends", every_s=0.02) != "killed"
        except AssertionError:
            events = self.deployment.events(task_id)
            raise AssertionError(f"{self.deployment.task(task_id)}\n{events}") from None
