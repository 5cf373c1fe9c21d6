"""Codes of events that no other test provokes, as a task's owner meets them."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins import peers
from plugins.outcomes import cancel, first_fault
from plugins.peers import gsi_server, serving
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.trees import make_tree, uniform

pytestmark = SITE_GROUP
TREE = list(uniform(1, 2, 100))


def into(site: Site, tmp_path: Path, endpoint_id: str, **options: object) -> str:
    """A small tree to an endpoint that is not what it should be; the task id."""
    make_tree(tmp_path / "src", TREE, seed=1)
    item = (str(tmp_path / "src"), "/dst", True)
    return site.deployment.transfer(
        site.endpoints[0], endpoint_id, [item], verify_checksum=False, **options
    )


def test_nobody_listens(site: Site, tmp_path: Path) -> None:
    with serving(peers.hangs_up) as gone:
        there = site.register(gone.url, site.rig.domains[0])
    task_id = into(site, tmp_path, there)
    told = first_fault(site.deployment, task_id)
    assert told["code"] == "CONNECT_FAILED"
    assert str(gone.port) in told["details"]["endpoint"]
    assert "tried again" in told["details"]["next"]
    cancel(site.deployment, task_id)


def test_a_credential_that_the_server_does_not_trust(site: Site, tmp_path: Path) -> None:
    here, there = site.rig.domains
    endpoint_id = site.register(site.rig.destination.url(""), there)
    site.give(endpoint_id, here.proxy_file.read_text()).raise_for_status()
    task_id = into(site, tmp_path, endpoint_id)
    told = first_fault(site.deployment, task_id)
    assert told["code"] == "AUTH"
    assert "trust" in told["details"]["advice"]
    cancel(site.deployment, task_id)


@pytest.mark.parametrize(
    ("answer", "code", "next_words"),
    [
        ("552 Disk quota exceeded.", "QUOTA_EXCEEDED", "tried again"),
        ("451 The moon is in the wrong phase.", "UNKNOWN", "tried again"),
    ],
)
def test_a_server_refuses_a_file(
    site: Site, tmp_path: Path, answer: str, code: str, next_words: str
) -> None:
    domain = site.rig.domains[1]
    with serving(gsi_server(domain, {"STOR": answer, **passive(site)})) as peer:
        task_id = into(site, tmp_path, site.register(peer.url, domain))
        told = first_fault(site.deployment, task_id)
        assert told["code"] == code
        assert told["details"]["server_said"]
        assert told["details"]["role"] == "destination"
        assert next_words in told["details"]["next"]
        cancel(site.deployment, task_id)


def passive(site: Site) -> dict[str, str | None]:
    """A passive answer with an address where something listens."""
    high, low = divmod(site.rig.source.port, 256)
    return {"PASV": f"227 Entering Passive Mode (127,0,0,1,{high},{low})"}


def test_a_quota_may_be_fatal(site: Site, tmp_path: Path) -> None:
    domain = site.rig.domains[1]
    answers = {"STOR": "552 Disk quota exceeded.", **passive(site)}
    with serving(gsi_server(domain, answers)) as peer:
        there = site.register(peer.url, domain)
        task_id = into(site, tmp_path, there, fail_on_quota_errors=True)
        task = site.deployment.wait(task_id, 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "QUOTA_EXCEEDED")
    assert "has failed" in first_fault(site.deployment, task_id)["details"]["next"]


def test_a_name_that_cannot_be_carried(site: Site, tmp_path: Path) -> None:
    make_tree(tmp_path / "src", TREE, seed=1)
    (tmp_path / "src" / "two\nlines").write_text("")
    task = site.deployment.wait(site.copy(tmp_path / "src", tmp_path / "dst"), 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "INVALID_PATH_NAME")
    assert 0 < task["subtasks_failed"] == task["subtasks_total"] - task["subtasks_succeeded"]


def test_the_deadline(site: Site, tmp_path: Path) -> None:
    """What is done by then stays done, and the rest is told."""
    make_tree(tmp_path / "src", uniform(2, 3, 100), seed=1)
    (tmp_path / "dst" / "d0000" / "f0000").mkdir(parents=True)
    task_id = site.copy(tmp_path / "src", tmp_path / "dst")
    until(lambda: site.deployment.task(task_id)["files_transferred"] == 5, 20, "the others arrive")
    assert site.deployment.task(task_id)["subtasks_pending"] == 5
    deadline = datetime.now(UTC) + timedelta(seconds=3)
    site.deployment.client.put(
        f"/v0.10/task/{task_id}",
        json={"DATA_TYPE": "task", "deadline": deadline.strftime("%Y-%m-%d %H:%M:%S.%f")},
    ).raise_for_status()
    task = site.deployment.wait(task_id, 30)
    assert datetime.now(UTC) >= deadline
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "EXPIRED")
    assert (task["files_transferred"], task["subtasks_expired"]) == (5, 5)
    assert task["subtasks_pending"] == 0
    first, *_, last = site.deployment.events(task_id)
    assert (first["code"], last["code"], last["is_error"]) == ("STARTED", "EXPIRED", True)
    assert "submit again" in json.loads(last["details"])["advice"]
    assert os.listdir(tmp_path / "dst" / "d0000" / "f0000") == []  # noqa: PTH208
    site.assert_well()
