"""What an endpoint's managers do to another's task that runs, on real servers."""

import asyncio
import json
from pathlib import Path
from uuid import uuid4

from plugins.other_people import add_client, database, database_url, logged_in
from plugins.site import SESSIONS_END_S, SITE_GROUP, Site, until
from towpath.demo.trees import digests, make_tree, uniform
from towpath.nexus.hashing import new_secret

pytestmark = SITE_GROUP

TREE = list(uniform(4, 20, 1024))
BLOCKED = "d0003/f0000"
WITHIN_S = 10
MANAGER = "endpoint_manager"


def test_what_managers_do_to_a_running_task(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "there"
    make_tree(source, TREE, seed=1)
    (destination / BLOCKED).mkdir(parents=True)  # so that it does not end
    client_id, secret = uuid4(), new_secret()
    asyncio.run(add_client(database_url(site), client_id, secret))
    manager = site.deployment
    with logged_in(site, client_id, secret) as theirs:
        task_id = theirs.copy(source, destination)

        def task() -> dict[str, object]:
            return theirs.deployment.task(task_id)

        until(lambda: task()["files_transferred"] == len(TREE) - 1, 30, "files arrive")
        rule = {"endpoint_id": site.endpoints[1], "message": "Back at ten."}
        rule_id = manager.post(f"{MANAGER}/pause_rule", rule)["id"]
        assert task()["nice_status"] == "PAUSED_BY_ADMIN"
        until(lambda: not any(site.left_open()), SESSIONS_END_S, "its sessions are closed")
        (destination / BLOCKED).rmdir()
        faults = task()["faults"]
        with database(site) as connection:
            # its next try is due, and workers are told that there may be something to do
            connection.execute("UPDATE transfer.file SET not_before = now()")
            connection.execute("NOTIFY towpath_task")
        ids = {"task_id_list": [task_id]}
        manager.post(f"{MANAGER}/admin_pause", {"message": "I said no.", **ids})
        manager.client.delete(f"/v0.10/{MANAGER}/pause_rule/{rule_id}").raise_for_status()
        theirs.deployment.post(f"task/{task_id}/resume", {})
        assert (task()["is_paused"], task()["faults"]) == (True, faults)
        assert not (destination / BLOCKED).exists()
        manager.post(f"{MANAGER}/admin_resume", ids)
        ended = theirs.deployment.wait(task_id, 60)
        assert (ended["status"], ended["is_paused"]) == ("SUCCEEDED", False)
        assert digests(destination) == digests(source)
        codes = [event["code"] for event in theirs.deployment.events(task_id)]
        told = [code for code in codes if code != "IS_A_DIRECTORY"]
        assert told == ["STARTED", "PAUSED", "PAUSED", "UNPAUSED", "SUCCEEDED"]

        later = tmp_path / "later"
        (later / BLOCKED).mkdir(parents=True)
        task_id = theirs.copy(source, later)
        until(lambda: task()["files_transferred"] == len(TREE) - 1, 30, "files arrive")
        cancel = {"message": "We are closing.", "task_id_list": [task_id]}
        made = manager.post(f"{MANAGER}/admin_cancel", cancel)
        status = f"{MANAGER}/admin_cancel/{made['id']}"
        until(lambda: manager.get(status)["done"], WITHIN_S * 2, "it has ended")
        ended = theirs.deployment.task(task_id)
        assert (ended["status"], ended["fatal_error"]["code"]) == ("FAILED", "CANCELED")
        assert ended["canceled_by_admin"] == "BOTH"
        assert ended["canceled_by_admin_message"] == "We are closing."
        last = theirs.deployment.events(task_id)[-1]
        assert last["code"] == "CANCELED"
        details = json.loads(last["details"])
        assert "activity manager" in details["error"]
        assert details["reason"] == "We are closing."
    site.assert_well()
