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
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.timers.nexus import TIMER_SCOPE
from towpath.timers.runner import submission_id

KILLS = 25
TIMERS = 16
"""Set before each kill."""
SETTINGS = QUICK | {
    "TOWPATH_TIMERS__TIMERS_PER_OWNER": "1000",
    "TOWPATH_LIMITS__ACTIVE_TASKS_PER_OWNER": "1000",
    "TOWPATH_SAMPLES__ENABLED": "false",
    "TOWPATH_ENGINE__WORKERS": "0",  # what becomes of the tasks is another matter
}


@pytest.mark.long
def test_kills(tmp_path: Path, domain_a: Domain, domain_b: Domain) -> None:
    """As many tasks as runs, under the ids that follow from timer and number."""
    random_source = random.Random(7)
    with (
        GctServer.start(domain_a, tmp_path / "a") as source,
        GctServer.start(domain_b, tmp_path / "b") as destination,
    ):
        rig = Rig(tmp_path, source, destination, (domain_a, domain_b), SETTINGS)
        try:
            made, half_done = [], 0
            for _ in range(KILLS):
                deployment = rig.up()
                with _database(rig) as connection:
                    # what else takes half a minute each time
                    connection.execute("UPDATE timers.timer SET lease_until = NULL")
                    half_done += _half_done(connection)
                made += _make(deployment, rig, TIMERS)
                time.sleep(random_source.uniform(0.0, 0.4))
                deployment.kill()
            rig.up()
            with _database(rig) as connection:
                until(
                    lambda: connection.execute(
                        "SELECT 1 FROM timers.timer HAVING bool_and(n_runs = 1)"
                    ).fetchone(),
                    120,
                    "all have run",
                    every_s=0.5,
                )
                tasks = connection.execute("SELECT submission_id FROM transfer.task").fetchall()
            print(f"{KILLS} kills, {len(made)} runs, {half_done} half done, {len(tasks)} tasks")
            wanted = sorted(str(submission_id(UUID(one), 1)) for one in made)
            assert sorted(str(one) for (one,) in tasks) == wanted
            assert half_done, "there was something to break"
        finally:
            rig.close()


def _half_done(connection: "psycopg.Connection[tuple[Any, ...]]") -> int:
    """Runs that had begun, whose task was not written down when the last kill came."""
    found = connection.execute(
        "SELECT count(*) FROM timers.timer WHERE run_began_at IS NOT NULL AND run_task_id IS NULL"
    ).fetchone()
    assert found is not None
    return int(found[0])


def _database(rig: Rig) -> "psycopg.Connection[tuple[Any, ...]]":
    state = json.loads((rig.data_dir / "run" / "state.json").read_text())
    return psycopg.connect(state["database_url"], autocommit=True)


def _make(deployment: Deployment, rig: Rig, count: int) -> list[str]:
    """Timers that are due at once; their ids."""
    operator = deployment.environment()
    answer = deployment.client.post(
        "/v2/oauth2/token",
        data={"grant_type": "client_credentials", "scope": TIMER_SCOPE},
        auth=(operator["GLOBUS_CLI_CLIENT_ID"], operator["GLOBUS_CLI_CLIENT_SECRET"]),
    )
    here, there = rig.endpoints
    body = {
        "source_endpoint": here,
        "destination_endpoint": there,
        "DATA": [{"source_path": "/a", "destination_path": "/b"}],
    }
    timer = {"timer_type": "transfer", "schedule": {"type": "once"}, "body": body}
    made = []
    for _ in range(count):
        created = deployment.client.post(
            "/v2/timer",
            json={"timer": timer},
            headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
        )
        assert created.status_code == 201, created.text
        made.append(str(created.json()["timer"]["job_id"]))
    return made
