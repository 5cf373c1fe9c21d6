"""Tasks follow their owners' accounts, through the real service and servers."""

import asyncio
import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from plugins.other_people import add_client, database, database_url, logged_in
from plugins.site import SESSIONS_END_S, SITE_GROUP, Site, until
from towpath.demo.trees import digests, make_tree, uniform
from towpath.nexus.hashing import new_secret

pytestmark = SITE_GROUP

TREE = list(uniform(4, 20, 1024))
BLOCKED = "d0003/f0000"
STOPS_WITHIN_S = 30


def note(site: Site, what: str, identity_id: object) -> None:
    """Have nexus tell of an account. The clients' own identities have none that could be
    suspended, but tasks follow what is told, whoever it is about."""
    with database(site) as connection:
        connection.execute(
            "INSERT INTO nexus.account_change (identity_ids, what) VALUES (%s, %s)",
            ([identity_id], what),
        )


def owner_of(site: Site, task_id: str) -> UUID:
    return UUID(site.deployment.task(task_id)["owner_id"])


def running(site: Site, source: Path, destination: Path) -> str:
    """A task under way, of which one file is tried again and again: a directory is in its place."""
    make_tree(source, TREE, seed=1)
    (destination / BLOCKED).mkdir(parents=True)
    task_id = site.copy(source, destination)
    rest = len(TREE) - 1
    until(lambda: site.deployment.task(task_id)["files_transferred"] == rest, 30, "files arrive")
    return task_id


def codes(site: Site, task_id: str) -> list[str]:
    found = [event["code"] for event in site.deployment.events(task_id)]
    return [code for code in found if code != "IS_A_DIRECTORY"]


def test_a_running_task_stops_with_its_owner_and_goes_on_with_him(
    site: Site, tmp_path: Path
) -> None:
    source, destination = tmp_path / "source", tmp_path / "there"
    task_id = running(site, source, destination)
    owner = owner_of(site, task_id)
    note(site, "suspended", owner)
    until(lambda: "OWNER_SUSPENDED" in codes(site, task_id), STOPS_WITHIN_S, "it is told")
    until(lambda: not any(site.left_open()), SESSIONS_END_S, "its sessions are closed")
    task = site.deployment.task(task_id)
    assert (task["status"], task["nice_status"], task["is_ok"]) == (
        *("INACTIVE", "OWNER_SUSPENDED"),
        False,
    )
    assert "suspended" in json.loads(task["nice_status_details"])["reason"]
    faults = task["faults"]
    (destination / BLOCKED).rmdir()
    with database(site) as connection:
        # its next try is due, and workers are told that there may be something to do
        connection.execute("UPDATE transfer.task SET not_before = now() WHERE id = %s", (task_id,))
        connection.execute("UPDATE transfer.file SET not_before = now()")
        connection.execute("NOTIFY towpath_task")
    later = tmp_path / "later"
    (later / BLOCKED).mkdir(parents=True)  # so that it does not end before it is found
    second = site.copy(source, later)
    until(lambda: "OWNER_SUSPENDED" in codes(site, second), STOPS_WITHIN_S, "a new one is found")
    until(lambda: not any(site.left_open()), SESSIONS_END_S, "its sessions are closed")
    (later / BLOCKED).rmdir()
    assert not (destination / BLOCKED).exists()
    assert site.deployment.task(task_id)["faults"] == faults

    note(site, "restored", owner)
    ended = [site.deployment.wait(one, 60) for one in (task_id, second)]
    assert [task["status"] for task in ended] == ["SUCCEEDED"] * 2
    assert codes(site, task_id) == ["STARTED", "OWNER_SUSPENDED", "OWNER_RESTORED", "SUCCEEDED"]
    assert digests(destination) == digests(source)
    site.assert_well()


@pytest.mark.long
def test_a_deleted_owners_tasks_are_cancelled_and_his_credentials_forgotten(
    site: Site, tmp_path: Path
) -> None:
    client_id, secret = uuid4(), new_secret()
    asyncio.run(add_client(database_url(site), client_id, secret))
    with logged_in(site, client_id, secret) as own:
        task_id = running(own, tmp_path / "source", tmp_path / "there")
        assert owner_of(own, task_id) == client_id
        note(site, "deleted", client_id)
        until(lambda: own.deployment.task(task_id)["status"] == "FAILED", 30, "it ends")
        assert codes(own, task_id) == ["STARTED", "OWNER_DELETED", "CANCELED"]
    with database(site) as connection:

        def credentials() -> int:
            found = connection.execute(
                "SELECT count(*) FROM transfer.credential WHERE owner_id = %s", (client_id,)
            ).fetchone()
            assert found is not None
            return int(str(found[0]))

        until(lambda: not credentials(), STOPS_WITHIN_S, "its credentials are forgotten")
    site.assert_well()
