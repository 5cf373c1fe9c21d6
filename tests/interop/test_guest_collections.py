"""Guest collections through the whole service, at servers of two authorities: guests have neither
credentials nor accounts there."""

import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from interop.test_plan import Plans
from plugins import shares
from plugins.outcomes import cancel, details_of, first_fault, succeeded
from plugins.shares import Guest
from plugins.site import SETTINGS, SITE_GROUP, Site, until
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.trees import digests, make_tree, uniform
from towpath.nexus.groups.rules import Membership, Policies, Role, Status
from towpath.nexus.store import groups
from towpath.nexus.store.groups import Group
from towpath.platform.database import Connection
from towpath.transfer.engine.access import NARROWED
from towpath.transfer.rights import Who
from towpath.transfer.store import endpoints

pytestmark = SITE_GROUP

T = TypeVar("T")
TREE = list(uniform(3, 10, 2048))
BLOCKED = "d0002/f0000"
"""A file of the tree."""
GONE_S = 15
"""Until a guest is out; the service looks every second here, and a busy machine is slow."""


class Sharing:
    """Two directories that the operator shares, one at each server."""

    def __init__(self, site: Site, root: Path) -> None:
        self.site = site
        self.guests: list[Guest] = []
        self.here, self.there = root / "here", root / "there"
        for directory in (self.here, self.there):
            directory.mkdir()
        self.source = self.share(0, self.here, "observations")
        self.destination = self.share(1, self.there, "results")

    def share(self, end: int, path: Path, name: str) -> str:
        """A guest collection; its id."""

        async def make(conn: Connection) -> str:
            host = await endpoints.get(conn, UUID(self.site.endpoints[end]))
            assert host is not None
            sharer = Who.alone(host.owner_id, host.owner_string)
            return str((await shares.share(conn, host, sharer, str(path), name=name)).id)

        return self.store(make)

    def allow(self, guest: str, path: str, permissions: str, **whom: Any) -> UUID:
        """A rule; its id."""
        return self.store(lambda conn: shares.allow(conn, UUID(guest), path, permissions, **whom))

    def take_back(self, rule: UUID) -> None:
        """A rule."""
        self.store(lambda conn: shares.take_back(conn, rule))

    def store(self, act: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something in the service's database."""
        return shares.in_store(self.site.rig.data_dir, act)

    def guest(self) -> Guest:
        """Somebody new."""
        self.guests.append(Guest.new(self.site.deployment))
        return self.guests[-1]


@pytest.fixture
def sharing(site: Site, tmp_path: Path) -> Iterator[Sharing]:
    made = Sharing(site, tmp_path)
    yield made
    for guest in made.guests:
        guest.client.close()
    for end, domain in enumerate(site.rig.domains):
        site.give(site.endpoints[end], domain.proxy_file.read_text()).raise_for_status()


@pytest.fixture
def bob(sharing: Sharing) -> Guest:
    return sharing.guest()


def allow_bob(sharing: Sharing, bob: Guest) -> UUID:
    """He may read the one, and write to a directory of the other; the rule for that."""
    sharing.allow(sharing.source, "/", "r", who=bob.who)
    (sharing.there / "in").mkdir()
    return sharing.allow(sharing.destination, "/in/", "rw", who=bob.who)


def test_a_guest_lists_and_transfers_without_any_credential(
    sharing: Sharing, bob: Guest, site: Site
) -> None:
    allow_bob(sharing, bob)
    make_tree(sharing.here / "tree", TREE, seed=1)
    (sharing.here / "to-etc").symlink_to("/etc")
    listed = bob.get(f"operation/endpoint/{sharing.source}/ls", path="/~/")
    assert [one["name"] for one in listed["DATA"]] == ["tree"]
    assert (listed["path"], listed["absolute_path"]) == ("/~/", "/")
    found = bob.get(f"operation/endpoint/{sharing.source}/stat", path="tree/d0000/f0000")
    assert (found["type"], found["size"]) == ("file", 2048)
    bob.post(f"operation/endpoint/{sharing.destination}/mkdir", {"path": "/in/new"})
    bob.post(
        f"operation/endpoint/{sharing.destination}/rename",
        {"old_path": "/in/new", "new_path": "/in/newer"},
    )
    task_id = bob.transfer(sharing.source, sharing.destination, [("tree", "/in/newer/copy", True)])
    task = succeeded(bob, task_id)
    assert task["files_transferred"] == len(TREE)
    assert digests(sharing.there / "in" / "newer" / "copy") == digests(sharing.here / "tree")
    told = json.dumps([task, bob.events(task_id), bob.get(f"task/{task_id}/successful_transfers")])
    assert "/in/newer/copy" in told
    assert str(sharing.here) not in told
    assert str(sharing.there) not in told
    site.assert_well()


def test_what_is_not_shared_does_not_exist_for_a_guest(sharing: Sharing, bob: Guest) -> None:
    ls = f"operation/endpoint/{sharing.source}/ls"
    assert bob.refused("GET", ls).startswith(("403 PermissionDenied", "404 EndpointNotFound"))
    allow_bob(sharing, bob)
    make_tree(sharing.here / "tree", TREE, seed=1)
    make_tree(sharing.there / "private", TREE, seed=1)
    (sharing.there / "in" / "out").symlink_to("../private")
    there = f"operation/endpoint/{sharing.destination}"
    for path in ("/", "/private", "/private/d0000/f0000", "/inside"):
        for what in ("ls", "stat"):
            answer = bob.refused("GET", f"{there}/{what}", params={"path": path})
            assert answer.startswith("403 PermissionDenied"), answer
    mkdir = f"operation/endpoint/{sharing.source}/mkdir"
    answer = bob.refused("POST", mkdir, json={"path": "/x"})
    assert answer.startswith("403 PermissionDenied"), answer
    rename = {"old_path": "/in/x", "new_path": "/private/x"}
    assert bob.refused("POST", f"{there}/rename", json=rename).startswith("403 PermissionDenied")
    for path in ("/in/out", "/in/out/d0000"):
        answer = bob.refused("GET", f"{there}/ls", params={"path": path})
        assert answer.startswith("403 EndpointPermissionDenied"), answer
    for source, destination, item in (
        (sharing.source, sharing.destination, ("/tree", "/private/x")),
        (sharing.source, sharing.source, ("/tree", "/other")),
        (sharing.destination, sharing.destination, ("/private", "/in/x")),
    ):
        answer = bob.refused_transfer(source, destination, item)
        assert answer.startswith("403 PermissionDenied"), answer
    for paths in (["/private"], ["/in/a", "/private/d*"]):
        document = {
            "DATA_TYPE": "delete",
            "submission_id": str(uuid4()),
            "endpoint": sharing.destination,
            "recursive": True,
            "interpret_globs": True,
            "DATA": [{"DATA_TYPE": "delete_item", "path": path} for path in paths],
        }
        answer = bob.refused("POST", "delete", json=document)
        assert answer.startswith("403 PermissionDenied"), answer
    assert bob.get("task_list", limit=1)["total"] == 0


def group_of(sharing: Sharing, member: Guest) -> UUID:
    """A group with one member; its id."""
    made = Group(uuid4(), "lab", None, None, None, (), Policies())

    async def make(conn: Connection) -> None:
        await groups.add(conn, made)
        await groups.set_membership(
            conn, made.id, Membership(member.sub, Role.MEMBER, Status.ACTIVE)
        )

    shares.in_store(sharing.site.rig.data_dir, make, "nexus")
    return made.id


def test_groups_and_everybody(sharing: Sharing, bob: Guest) -> None:
    make_tree(sharing.here / "tree", TREE, seed=1)
    sharing.allow(sharing.source, "/tree/", "r")
    sharing.allow(sharing.destination, "/", "rw", group=group_of(sharing, bob))
    item = ("/tree/d0000", "/d")
    stranger = sharing.guest()
    answer = stranger.refused_transfer(sharing.source, sharing.destination, item)
    assert answer.startswith("404 EndpointNotFound"), answer
    task_id = bob.transfer(sharing.source, sharing.destination, [(*item, True)])
    assert succeeded(bob, task_id)["files_transferred"] == 10
    document = {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": sharing.destination,
        "recursive": True,
        "DATA": [{"DATA_TYPE": "delete_item", "path": "/d"}],
    }
    succeeded(bob, bob.post("delete", document)["task_id"])
    assert list(sharing.there.iterdir()) == []
    document |= {"submission_id": str(uuid4()), "DATA": [{"path": "/~/"}]}
    assert bob.refused("POST", "delete", json=document).startswith("400"), "the root stays"


@pytest.mark.long
def test_who_leaves_a_group_loses_what_it_gave(sharing: Sharing, bob: Guest) -> None:
    sharing.allow(sharing.source, "/", "r")
    lab = group_of(sharing, bob)
    sharing.allow(sharing.destination, "/", "rw", group=lab)
    task_id = blocked(sharing, bob)
    shares.in_store(
        sharing.site.rig.data_dir,
        lambda conn: conn.execute("DELETE FROM membership WHERE group_id = %s", (lab,)),
        "nexus",
    )
    began = time.monotonic()
    task = bob.wait(task_id, 60)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "ACL_CHANGED")
    assert time.monotonic() - began < 60


@pytest.mark.long
def test_a_right_that_is_taken_back_while_bytes_flow(
    sharing: Sharing, bob: Guest, site: Site
) -> None:
    """What is on its way is cut, and nothing more arrives."""
    rule = allow_bob(sharing, bob)
    with (sharing.here / "large").open("wb") as file:
        file.truncate(64 * 1024**3)  # of holes: it is read as fast as can be
    task_id = bob.transfer(sharing.source, sharing.destination, [("/large", "/in/large", False)])
    until(lambda: bob.task(task_id)["bytes_transferred"] > 0, 30, "it flows")
    sharing.take_back(rule)
    began = time.monotonic()
    task = bob.wait(task_id, 60)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "ACL_CHANGED")
    assert time.monotonic() - began < GONE_S
    until(lambda: not site.left_open(), GONE_S, "its sessions are closed")
    size = (sharing.there / "in" / "large").stat().st_size
    time.sleep(2)
    assert (sharing.there / "in" / "large").stat().st_size == size < 64 * 1024**3
    (sharing.there / "in" / "large").unlink()


@pytest.mark.long
def test_rights_that_are_narrowed_while_bytes_flow(
    sharing: Sharing, bob: Guest, site: Site
) -> None:
    """The server keeps a session to what it was told first: it is done with others."""
    allow_bob(sharing, bob)
    wide = sharing.allow(sharing.destination, "/", "rw", who=bob.who)
    with (sharing.here / "large").open("wb") as file:
        file.truncate(64 * 1024**3)
    task_id = bob.transfer(sharing.source, sharing.destination, [("/large", "/in/large", False)])
    until(lambda: bob.task(task_id)["bytes_transferred"] > 0, 30, "it flows")
    sharing.take_back(wide)
    [told] = until(
        lambda: details_of(bob, task_id, "CONNECTION_RESET"), GONE_S, "its session is closed"
    )
    assert told["error"] == NARROWED
    before = bob.task(task_id)["bytes_transferred"]
    until(lambda: bob.task(task_id)["bytes_transferred"] > before, 30, "it flows again")
    assert bob.task(task_id)["status"] == "ACTIVE"
    time.sleep(3 * float(SETTINGS["TOWPATH_GRIDFTP__ACCESS_EVERY_S"]))
    assert len(details_of(bob, task_id, "CONNECTION_RESET")) == 1, "once"
    cancel(bob, task_id)
    (sharing.there / "in" / "large").unlink()
    until(lambda: not site.left_open(), GONE_S, "its sessions are closed")


def blocked(sharing: Sharing, who: Deployment) -> str:
    """A transfer of which all has arrived but one file, which a directory holds up; its id."""
    make_tree(sharing.here / "tree", TREE, seed=1)
    (sharing.there / "in" / "copy" / BLOCKED).mkdir(parents=True)
    task_id = who.transfer(sharing.source, sharing.destination, [("/tree", "/in/copy", True)])
    rest = len(TREE) - 1
    until(lambda: who.task(task_id)["files_transferred"] == rest, 30, "the others arrive")
    return task_id


def test_a_right_that_is_taken_back_ends_the_transfer(
    sharing: Sharing, bob: Guest, site: Site
) -> None:
    rule = allow_bob(sharing, bob)
    task_id = blocked(sharing, bob)
    sharing.allow(sharing.destination, "/in/copy/", "rw", who=bob.who)
    sharing.take_back(rule)  # what is left is enough
    time.sleep(2)
    assert bob.task(task_id)["status"] == "ACTIVE"
    sharing.store(lambda conn: conn.execute("DELETE FROM access_rule WHERE path = '/in/copy/'"))
    task = bob.wait(task_id, GONE_S)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "ACL_CHANGED")
    [told] = details_of(bob, task_id, "ACL_CHANGED")
    assert told["error"] == "no access rule of “results” lets you in"
    assert (told["role"], told["next"]) == ("destination", "The task has failed.")
    assert told["advice"].startswith("ask ")
    until(lambda: not site.left_open(), GONE_S, "its sessions are closed")
    site.assert_well()


@pytest.mark.long
def test_a_task_waits_for_the_sharers_credential(
    sharing: Sharing, bob: Guest, site: Site, domain_a: Domain
) -> None:
    allow_bob(sharing, bob)
    make_tree(sharing.here / "tree", TREE, seed=1)
    item = [("/tree", "/in/copy", True)]
    short = domain_a.make_proxy(timedelta(seconds=3))
    site.give(site.endpoints[0], short.to_pem().decode()).raise_for_status()
    time.sleep(3.5)
    ls = f"operation/endpoint/{sharing.source}/ls"
    assert bob.refused("GET", ls).startswith("502 ExternalError.DirListingFailed.CredentialExpired")
    task_id = bob.transfer(sharing.source, sharing.destination, item)
    until(lambda: bob.task(task_id)["status"] == "INACTIVE", 15, "it waits")
    told = first_fault(bob, task_id)
    sharer = site.deployment.get(f"endpoint/{site.endpoints[0]}")["owner_string"]
    assert told["code"] == "NO_CREDENTIALS"
    assert told["details"]["sharer"] == sharer
    assert told["details"]["error"] == (
        f"the credential of {sharer}, with which “observations” is shared, has expired"
    )
    assert told["details"]["who_can_fix"] == "who shares the collection"
    site.give(site.endpoints[0], domain_a.proxy_file.read_text()).raise_for_status()
    succeeded(bob, task_id)
    assert digests(sharing.there / "in" / "copy") == digests(sharing.here / "tree")


def test_a_share_and_its_host_are_one_place(sharing: Sharing, bob: Guest, site: Site) -> None:
    """Whoever comes second waits, whatever each of them calls it (I9)."""
    allow_bob(sharing, bob)
    first = blocked(sharing, bob)
    place = sharing.there / "in" / "copy"
    item = [(str(sharing.here / "tree"), str(place), True)]
    second = site.deployment.transfer(*site.endpoints, item)

    def waits(who: Deployment, task_id: str) -> dict[str, Any] | None:
        task = who.task(task_id)
        if task["nice_status"] != "WAITING_FOR_TASK":
            return None
        details: dict[str, Any] = json.loads(task["nice_status_details"])
        return details

    told = until(lambda: waits(site.deployment, second), 15, "the second waits")
    assert (told["path"], told["task"]) == (str(place), "another user's")
    third = bob.transfer(sharing.source, sharing.destination, [("/tree", "/in/copy/d0000", True)])
    told = until(lambda: waits(bob, third), 15, "the third waits")
    assert told["path"] == "/in/copy/d0000"
    cancel(bob, third)
    shutil.rmtree(place / BLOCKED)
    succeeded(bob, first)
    succeeded(site.deployment, second)


def test_a_guest_plans_a_delete_where_he_may_write(sharing: Sharing, bob: Guest) -> None:
    """And applies it only as long as he may."""
    rule = allow_bob(sharing, bob)
    sharing.allow(sharing.destination, "/", "r", who=bob.who)
    make_tree(sharing.there / "in" / "tree", TREE, seed=1)
    make_tree(sharing.here / "tree", TREE, seed=1)

    def removal(collection: str, path: str) -> dict[str, Any]:
        return {"endpoint": collection, "recursive": True, "DATA": [{"path": path}]}

    for collection, path in ((sharing.source, "/tree"), (sharing.destination, "/other")):
        document = removal(collection, path) | {"submission_id": str(uuid4())}
        refused = bob.refused("POST", "delete/plan", json=document)
        assert refused.startswith("403 PermissionDenied"), refused
    plans = Plans(bob)
    plan_id = plans.make("delete/plan", removal(sharing.destination, "/in/tree"))
    told = {one["source_path"] for one in plans.entries(plan_id)}
    assert told >= {"/in/tree", f"/in/tree/{BLOCKED}"}
    assert all(path.startswith("/in/tree") for path in told)
    sharing.take_back(rule)
    again = {"submission_id": str(uuid4())}
    refused = bob.refused("POST", f"plan/{plan_id}/apply", json=again)
    assert refused.startswith("403 PermissionDenied"), refused
    assert (sharing.there / "in" / "tree" / BLOCKED).exists()
    sharing.allow(sharing.destination, "/in/", "rw", who=bob.who)
    plans.apply(plan_id)
    assert list((sharing.there / "in").iterdir()) == []


@pytest.mark.long
def test_a_share_that_is_deleted_ends_its_tasks(sharing: Sharing, bob: Guest) -> None:
    allow_bob(sharing, bob)
    task_id = blocked(sharing, bob)
    sharing.store(lambda conn: endpoints.mark_deleted(conn, UUID(sharing.destination)))
    task = bob.wait(task_id, GONE_S)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "ENDPOINT_ERROR")
