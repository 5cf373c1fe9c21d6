"""The unmodified `globus timer` and `globus_sdk.TimersClient` against a whole deployment."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import globus_sdk
import psycopg
import pytest

from plugins.globus import Globus
from plugins.site import SITE_GROUP, Site, until

pytestmark = SITE_GROUP

RUN_S = 60
PAGE = Path(__file__).parents[2] / "docs/how-to/run-transfers-on-a-schedule.md"
IN_A_YEAR = 'RecurringTimerSchedule(86_400, "2099-01-01"'
"""The page's timer begins at once; its directories are not here."""


@pytest.fixture
def globus(site: Site, tmp_path: Path) -> Globus:
    return Globus.of(site.deployment, tmp_path / "home")


@pytest.fixture
def timers(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[globus_sdk.TimersClient]:
    """The SDK's client, as a program that acts for itself."""
    for name, value in site.deployment.environment().items():
        monkeypatch.setenv(name, value)
    environment = site.deployment.environment()
    app = globus_sdk.ClientApp(
        "timers",
        client_id=environment["GLOBUS_CLI_CLIENT_ID"],
        client_secret=environment["GLOBUS_CLI_CLIENT_SECRET"],
        config=globus_sdk.GlobusAppConfig(token_storage="memory"),
    )
    with app, globus_sdk.TimersClient(app=app) as client:
        yield client


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("of the lake")
    return source


def ended(client: globus_sdk.TimersClient, job_id: str) -> Callable[[], dict[str, Any] | None]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get_job(job_id).data
        return job if job["status"] == "ended" else None

    return look


def test_the_command(site: Site, globus: Globus, tree: Path, tmp_path: Path) -> None:
    here, there = site.endpoints
    made = globus.json(
        *("timer", "create", "transfer", f"{here}:{tree}/", f"{there}:{tmp_path}/copy/"),
        *("--recursive", "--interval", "1d", "--stop-after-runs", "5", "--name", "nightly"),
        *("--label", "of the timer"),
    )
    job_id = made["job_id"]
    assert (made["name"], made["schedule"]["interval_seconds"]) == ("nightly", 86_400)
    until((tmp_path / "copy" / "file").exists, RUN_S, "it has run")

    def ran() -> str | None:
        shown = globus.text("timer", "show", job_id)
        return shown if "Awaiting the next run" in shown else None

    shown = until(ran, RUN_S, "the run is over")
    for words in ("Transfer", "nightly", "1 day", "loaded", "Stop After Number of Runs: 5"):
        assert words in shown, shown
    assert "nightly" in globus.text("timer", "list")
    assert "paused" in globus.text("timer", "pause", job_id)
    assert "resumed" in globus.text("timer", "resume", job_id)
    assert "deleted" in globus.text("timer", "delete", job_id)
    assert "No such timer" in globus.fails("timer", "show", job_id)


def test_a_consent_that_was_taken_back(
    site: Site, globus: Globus, timers: globus_sdk.TimersClient, tree: Path, tmp_path: Path
) -> None:
    """In client mode the command gives it again by itself."""
    body = _body(site, tree, tmp_path / "again")
    at = datetime.now(UTC) + timedelta(days=1)
    schedule = globus_sdk.OnceTimerSchedule(at)
    timer = globus_sdk.TransferTimer(name="late", schedule=schedule, body=body)
    job_id = timers.create_timer(timer)["timer"]["job_id"]
    state = json.loads((site.deployment.data_dir / "run" / "state.json").read_text())
    with psycopg.connect(state["database_url"], options="-c search_path=nexus") as connection:
        connection.execute(
            "DELETE FROM consent WHERE client_id = '524230d7-ea86-4a52-8312-86065a9e0417'"
        )
        connection.execute(  # a day later
            "UPDATE timers.timer SET next_run = now(), look_at = now() WHERE id = %s", (job_id,)
        )
    until(
        lambda: timers.get_job(job_id)["status"] == "inactive", RUN_S, "it has noticed", every_s=0.2
    )
    assert "resumed" in globus.text("timer", "resume", job_id)
    job = until(ended(timers, job_id), RUN_S, "it has run", every_s=0.2)
    assert (job["n_runs"], job["n_errors"]) == (1, 1)
    assert (tmp_path / "again" / "file").read_text() == "of the lake"


def _body(site: Site, source: Path, destination: Path) -> globus_sdk.TransferData:
    here, there = site.endpoints
    body = globus_sdk.TransferData(source_endpoint=here, destination_endpoint=there)
    body.add_item(f"{source}/", f"{destination}/", recursive=True)
    return body


def test_every_method_of_the_sdk(
    site: Site, timers: globus_sdk.TimersClient, tree: Path, tmp_path: Path
) -> None:
    once = globus_sdk.TransferTimer(
        name="once",
        schedule=globus_sdk.OnceTimerSchedule(),
        body=_body(site, tree, tmp_path / "one"),
    )
    one = timers.create_timer(once)["timer"]["job_id"]
    here, there = site.endpoints
    callback = {
        "body": {
            "source_endpoint_id": here,
            "destination_endpoint_id": there,
            "transfer_items": [
                {
                    "source_path": f"{tree}/",
                    "destination_path": f"{tmp_path}/two/",
                    "recursive": True,
                }
            ],
        }
    }
    old = globus_sdk.TimerJob(
        "https://actions.automate.globus.org/transfer/transfer/run",
        callback,
        datetime.now(UTC) + timedelta(days=1),
        timedelta(days=7),
        name="old",
    )
    two = timers.create_job(old)["job_id"]
    listed = {job["job_id"]: job["name"] for job in timers.list_jobs()["jobs"]}
    assert {one: "once", two: "old"}.items() <= listed.items()
    assert timers.update_job(two, {"name": "weekly"})["name"] == "weekly"
    assert two in timers.pause_job(two)["message"]
    assert timers.get_job(two)["inactive_reason"] == {"cause": "user", "detail": None}
    assert two in timers.resume_job(two)["message"]
    assert two in timers.resume_job(two, update_credentials=True)["message"]
    assert timers.get_job(two)["status"] == "new"
    job = until(ended(timers, one), RUN_S, "it has run", every_s=0.2)
    assert job["results"]["data"][0]["data"]["status"] == "SUCCEEDED"
    for job_id in (one, two):
        assert timers.delete_job(job_id)["status"] == "deleted"
    with pytest.raises(globus_sdk.TimersAPIError) as refused:
        timers.get_job(two)
    assert (refused.value.http_status, refused.value.code) == (404, "NOT_FOUND")
    with pytest.raises(globus_sdk.TimersAPIError) as invalid:
        timers.create_job({"name": "nothing"})
    assert "field required: body.callback_url" in invalid.value.messages


def test_the_program_of_the_page(site: Site, timers: globus_sdk.TimersClient) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    here, there = site.endpoints
    names = {"source_id": here, "destination_id": there, "timers": timers}
    exec(program.replace("RecurringTimerSchedule(86_400", IN_A_YEAR), names)
    job = timers.get_job(names["timer_id"])
    assert job["stop_after"] == {"date": None, "n_runs": 10}
    assert timers.delete_job(names["timer_id"])["status"] == "deleted"
