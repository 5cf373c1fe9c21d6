"""`towpath up` is killed again and again while timers run: each run is one task, none is lost."""

import json
import random
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from plugins.rig import QUICK, Rig
from plugins.site import until
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.timers.runner import submission_id

KILLS = 25
TIMERS = 8
TIMER = "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"
SETTINGS = QUICK | {
    "TOWPATH_TIMERS__SHORTEST_INTERVAL_S": "1",
    "TOWPATH_LIMITS__RUNNING_TASKS_PER_OWNER": "100",
    "TOWPATH_SAMPLES__ENABLED": "false",
}


@pytest.mark.long
def test_kills(tmp_path: Path, domain_a: Domain, domain_b: Domain) -> None:
    """As many tasks as runs, under the ids that follow from timer and number."""
    random_source = random.Random(7)
    (tmp_path / "file").write_text("again and again")
    with (
        GctServer.start(domain_a, tmp_path / "a") as source,
        GctServer.start(domain_b, tmp_path / "b") as destination,
    ):
        rig = Rig(tmp_path, source, destination, (domain_a, domain_b), SETTINGS)
        try:
            made = _make(rig, tmp_path)
            for _ in range(KILLS):
                deployment = rig.up()
                with _database(rig) as connection:  # what else takes half a minute each time
                    connection.execute("UPDATE timers.timer SET lease_until = NULL")
                time.sleep(random_source.uniform(0.0, 2.5))
                deployment.kill()
            rig.up()
            with _database(rig) as connection:
                connection.execute("UPDATE timers.timer SET most_runs = run_no, next_run = NULL")
                until(
                    lambda: connection.execute(
                        "SELECT 1 FROM timers.timer HAVING bool_and(status = 'ended')"
                    ).fetchone(),
                    120,
                    "all are over",
                    every_s=0.5,
                )
                runs = connection.execute("SELECT id, run_no, n_runs FROM timers.timer").fetchall()
                tasks = connection.execute("SELECT submission_id FROM transfer.task").fetchall()
            wanted = {
                submission_id(timer_id, run_no)
                for timer_id, last, _ in runs
                for run_no in range(1, last + 1)
            }
            print(f"{KILLS} kills, {len(wanted)} runs, {len(tasks)} tasks")
            assert {str(timer_id) for timer_id, _, _ in runs} == set(made)
            assert sorted(str(one) for (one,) in tasks) == sorted(map(str, wanted))
            assert all(n_runs == run_no for _, run_no, n_runs in runs)
            assert len(wanted) > KILLS, "there was something to break"
        finally:
            rig.close()


def _database(rig: Rig) -> "psycopg.Connection[tuple[Any, ...]]":
    state = json.loads((rig.data_dir / "run" / "state.json").read_text())
    return psycopg.connect(state["database_url"], autocommit=True)


def _make(rig: Rig, tmp_path: Path) -> list[str]:
    """Timers that run every second; their ids."""
    deployment = rig.up()
    operator = deployment.environment()
    answer = deployment.client.post(
        "/v2/oauth2/token",
        data={"grant_type": "client_credentials", "scope": TIMER},
        auth=(operator["GLOBUS_CLI_CLIENT_ID"], operator["GLOBUS_CLI_CLIENT_SECRET"]),
    )
    here, there = rig.endpoints
    made = []
    for number in range(TIMERS):
        item = {"source_path": f"{tmp_path}/file", "destination_path": f"{tmp_path}/{number}"}
        timer = {
            "timer_type": "transfer",
            "name": str(number),
            "schedule": {"type": "recurring", "interval_seconds": 1},
            "body": {
                "source_endpoint": here,
                "destination_endpoint": there,
                "DATA": [item],
            },
        }
        created = deployment.client.post(
            "/v2/timer",
            json={"timer": timer},
            headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
        )
        assert created.status_code == 201, created.text
        made.append(str(UUID(created.json()["timer"]["job_id"])))
    deployment.kill()
    return made
