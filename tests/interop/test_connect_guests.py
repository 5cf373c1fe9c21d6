"""Guests at real agents, reached through a relay: a person's computer, and a site's collection.

What the service decides comes first; then the same people are tried at the agents with the grants
that the service signs for them, and with commands that it would never send.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from grants.test_paths import READING, WRITING
from interop.test_connect import ACCOUNT, wait_for
from plugins import shares
from plugins.outcomes import details_of, succeeded
from plugins.rig import QUICK
from plugins.shares import Guest, in_store
from plugins.site import until
from towpath.demo.agents import Agent
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.secrets import Sealer
from towpath.platform.settings import DataDirectory, GridftpSettings
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.rights import Who
from towpath.transfer.sessions import EndpointSessions, NotAllowed
from towpath.transfer.store import endpoints

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("connect_guests")]

T = TypeVar("T")
GONE_S = 15
TREE = list(uniform(2, 5, 4096))


@dataclass
class Place:
    """What is shared of an endpoint, and where that is here."""

    host: str
    """The endpoint or collection that it is of."""
    guest: str
    base: Path
    """Where paths of the host begin."""
    share_path: str

    @property
    def root(self) -> Path:
        """Of the guest collection."""
        return self.base / self.share_path.lstrip("/")


@dataclass
class Rig:
    """A deployment with agents, and some people."""

    deployment: Deployment
    places: dict[str, Place]
    people: dict[str, Guest]
    sharer: Who


PEOPLE = ("reader", "writer", "narrow", "member", "stranger")
OWNER = "owner"
LAB = UUID(int=7)
"""The group of the member."""
RULES = {
    OWNER: [("/", "rw")],
    "member": [("/open/", "rw")],
    "reader": [("/", "r")],
    "writer": [("/", "rw")],
    "narrow": [("/open/", "r"), ("/in/", "rw")],
}
"""Everybody who is logged in may read `/everybody/`."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    # pytest's own directories are closed to the account of the site's agent
    root = Path(tempfile.mkdtemp(prefix="towpath-test-"))
    root.chmod(0o755)
    settings = QUICK | {"TOWPATH_GRIDFTP__ACCESS_EVERY_S": "1"}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        deployment = stack.enter_context(Deployment.start(root / "deployment", settings))
        people = {name: Guest.new(deployment) for name in PEOPLE}
        for one in people.values():
            stack.callback(one.client.close)
        places = {
            "personal": _personal(stack, deployment, root),
            "server": _server(stack, deployment, root),
        }
        made = Rig(deployment, places, people, _sharer(deployment, places["personal"]))
        for place in places.values():
            _share(made, place)
        yield made
        for agent in (root / "laptop", root / "node"):
            logs = (agent / "start.log", *agent.glob("agent/log/*"))
            assert not [log for log in logs if "Traceback" in log.read_text(errors="replace")]


def _personal(stack: ExitStack, deployment: Deployment, root: Path) -> Place:
    told = deployment.post("endpoint", {"display_name": "laptop", "is_globus_connect": True})
    files = root / "laptop" / "files"
    files.mkdir(parents=True)
    agent = stack.enter_context(
        Agent.set_up(told["globus_connect_setup_key"], root / "laptop", shares=[files])
    )
    agent.start()
    wait_for(deployment, told["id"], gcp_connected=True)
    return Place(told["id"], "", Path("/"), f"{files}/pub")


def _server(stack: ExitStack, deployment: Deployment, root: Path) -> Place:
    added = json.loads(
        deployment.towpath("endpoint", "add", "Lab", "--connect-server", "--format", "json")
    )
    base = root / "lab"
    base.mkdir()
    node = stack.enter_context(Agent.set_up(added["setup_key"], root / "node"))
    node.towpath("map", "add", ".*", ACCOUNT)
    node.towpath("collection", "add", "Lab data", "--base-path", str(base), "--allow", ACCOUNT)
    node.start()
    found = deployment.get("endpoint_search", filter_scope="my-endpoints")["DATA"]
    (collection,) = [one for one in found if one["entity_type"] == "GCSv5_mapped_collection"]
    return Place(collection["id"], "", base, "/pub")


def _sharer(deployment: Deployment, place: Place) -> Who:
    host = in_store(deployment.data_dir, lambda conn: endpoints.get(conn, UUID(place.host)))
    assert host is not None
    return Who.alone(host.owner_id, host.owner_string)


def _share(rig: Rig, place: Place) -> None:
    for directory in ("open", "in", "closed", "everybody"):
        (place.root / directory).mkdir(parents=True)
        (place.root / directory / "f").write_text(directory)
    private = place.root.with_name("private")
    private.mkdir()
    (private / "f").write_text("secret")
    for directory in ("open", "in"):
        (place.root / directory / "out").symlink_to("../../private")
        (place.root / directory / "nowhere").symlink_to(private / "new")
    for path in (place.root, private):
        _belongs_to_account(place, path)

    async def make(conn: Any) -> str:
        host = await endpoints.get(conn, UUID(place.host))
        assert host is not None
        made = await shares.share(conn, host, rig.sharer, place.share_path)
        for name, rules in RULES.items():
            for path, permissions in rules:
                if name == "member":
                    await shares.allow(conn, made, path, permissions, group=LAB)
                elif name != OWNER:
                    await shares.allow(conn, made, path, permissions, who=rig.people[name].who)
        await shares.allow(conn, made, "/everybody/")
        return str(made.id)

    place.guest = in_store(rig.deployment.data_dir, make)


def _belongs_to_account(place: Place, path: Path) -> None:
    if place.base == Path("/") or os.geteuid() != 0:
        return
    for one in (path, *path.rglob("*")):
        if not one.is_symlink():
            shutil.chown(one, ACCOUNT)


def may(name: str, path: str, *, writes: bool) -> bool:
    """What the rules say, told once more."""
    if path.startswith("/../"):
        return False
    given = [*RULES.get(name, []), ("/everybody/", "r")]
    return any(
        f"{path}/".startswith(prefix) and (not writes or letters == "rw")
        for prefix, letters in given
    )


PATHS = ("/open/f", "/in/f", "/closed/f", "/everybody/f", "/../private/f", "/in/out/f")
OPERATIONS = {
    "list": ("MLSC {0}/..", False),
    "status": ("MLST {0}", False),
    "size": ("SIZE {0}", False),
    "checksum": ("CKSM MD5 0 -1 {0}", False),
    "time": ("MFMT 20200101000000 {0}", True),
    "mode": ("SITE CHMOD 0644 {0}", True),
    "make a directory": ("MKD {0}-new", True),
    "rename": ("RNFR {0}|RNTO {0}-new/f", True),
    "rename back": ("RNFR {0}-new/f|RNTO {0}", True),
    "remove a directory": ("RMD {0}-new", True),
    "make a link": ("SITE SYMLINKFROM {0}|SITE SYMLINKTO {0}-link", True),
    "delete": ("DELE {0}-link", True),
    "read": ("PORT 127,0,0,1,255,255|RETR {0}", False),
}
"""In an order in which those that succeed leave everything as it was."""


def at_agent(rig: Rig, act: Callable[[EndpointSessions], Awaitable[T]]) -> T:
    """With the service's own keys, in this process."""
    directory = DataDirectory(rig.deployment.data_dir)

    async def run() -> T:
        url = directory.read_state()["database_url"]
        async with Database(url, schema="transfer", max_size=2) as database:
            sealer = Sealer(directory.seal_key)
            sessions = EndpointSessions(
                database,
                sealer,
                DialPolicy(allow_loopback=True),
                GridftpSettings(access_every_s=0.5),
                connect=ConnectKeys(database, sealer, rig.deployment.url),
            )
            try:
                return await act(sessions)
            finally:
                await sessions.close()

    return asyncio.run(run())


def person(rig: Rig, name: str) -> Who:
    """As the service knows them."""
    if name == OWNER:
        return rig.sharer
    who = rig.people[name].who
    return replace(who, groups=frozenset({LAB})) if name == "member" else who


async def opened(sessions: EndpointSessions, place: Place, who: Who) -> Session:
    """A session at what is shared, with paths as its host's users send them."""
    login = await sessions.login(UUID(place.guest), who)
    return await sessions.open_login(replace(login, root=None))


async def said(session: Session, lines: str) -> bool:
    """Whether the last of them was done; of a file that is read, whether that was tried."""
    *_, reply = await session.answers(session.submit(lines.split("|")))
    if "|RETR" in lines:
        return "connect" in reply.text.lower()
    return reply.ok


@pytest.mark.parametrize("kind", ["personal", "server"])
def test_the_agent_decides_as_the_rules_do(rig: Rig, kind: str) -> None:
    """People by operations by paths, at the agent alone."""
    place = rig.places[kind]

    async def tried(sessions: EndpointSessions) -> dict[tuple[str, str, str], bool]:
        found = {}
        for name in (OWNER, *PEOPLE):
            session = await opened(sessions, place, person(rig, name))
            for path in PATHS:
                where = (
                    os.path.normpath(f"{place.share_path}{path}")
                    if ".." in path
                    else (f"{place.share_path}{path}")
                )
                for operation, (lines, _) in OPERATIONS.items():
                    if operation == "list":
                        there = f"MLSC {where.rpartition('/')[0]}"
                        found[name, path, operation] = await said(session, there)
                    else:
                        found[name, path, operation] = await said(session, lines.format(where))
            await session.close()
        return found

    found = at_agent(rig, tried)
    expected = {
        (name, path, operation): may(name, path, writes=writes) and "/out/" not in path
        for name in (OWNER, *PEOPLE)
        for path in PATHS
        for operation, (_, writes) in OPERATIONS.items()
    }
    assert len(expected) == 6 * 6 * 13
    assert {key: found[key] for key in expected if found[key] != expected[key]} == {}
    assert sum(expected.values()) > 50


def test_what_is_shared_lets_nobody_in_to_what_it_is_shared_of(rig: Rig) -> None:
    async def tried(sessions: EndpointSessions) -> None:
        host = UUID(rig.places["personal"].host)
        for name in PEOPLE:
            with pytest.raises(NotAllowed):
                await sessions.login(host, person(rig, name))
        own = await sessions.open(host, rig.sharer)
        await own.stat(str(rig.places["personal"].root))
        await own.close()

    at_agent(rig, tried)


@pytest.mark.parametrize("kind", ["personal", "server"])
def test_every_command_is_kept_in(rig: Rig, kind: str) -> None:
    """Above and beside the rules, through links and `..`; whatever a server can be told."""
    place = rig.places[kind]

    def everything() -> dict[str, object]:
        found = (place.root, place.root.with_name("private"))
        return {
            str(one): (one.lstat().st_mode, one.lstat().st_mtime_ns)
            for top in found
            for one in (top, *top.rglob("*"))
        }

    async def tried(sessions: EndpointSessions) -> list[tuple[str, str]]:
        session = await opened(sessions, place, person(rig, "narrow"))
        share = place.share_path
        outside = [
            *(f"{share}/closed/f", f"{share}/../private/f", f"{share}/open/out/f"),
            *(f"{share}/in/out/f", f"{share}/in/../closed/f", f"{share}/closed"),
        ]
        through = []
        for path in outside:
            for lines in (*READING, *WRITING):
                address = "PORT 127,0,0,1,255,255"
                if lines.startswith(("STOR", "APPE", "ESTO")):
                    address = "PASV"
                if await said(session, f"{address}|{lines.format(path, path)}"):
                    through.append((path, lines))
        new = (f"{share}/open/new", f"{share}/in/nowhere", f"{share}/in/out/new")
        through += [(path, "STOR") for path in new if await said(session, f"PASV|STOR {path}")]
        await session.close()
        return through

    before = everything()
    assert at_agent(rig, tried) == []
    assert everything() == before


@pytest.mark.parametrize("kind", ["personal", "server"])
def test_guests_list_and_transfer(rig: Rig, kind: str, domain_a: Domain, tmp_path: Path) -> None:
    place, narrow = rig.places[kind], rig.people["narrow"]
    listed = narrow.get(f"operation/endpoint/{place.guest}/ls", path="/open")
    assert [one["name"] for one in listed["DATA"]] == ["f"]
    for path in ("/", "/closed", "/open/out"):
        answer = narrow.refused(
            "GET", f"operation/endpoint/{place.guest}/ls", params={"path": path}
        )
        assert answer.startswith(("403", "404 ClientError.NotFound")), answer
    answer = rig.people["stranger"].refused("GET", f"operation/endpoint/{place.guest}/ls")
    assert answer.startswith("403 PermissionDenied"), answer
    narrow.post(f"operation/endpoint/{place.guest}/mkdir", {"path": "/in/there"})
    make_tree(tmp_path / "src", TREE, seed=1)
    with GctServer.start(domain_a, tmp_path / "server") as server:
        site = rig.deployment.add_endpoint(
            f"site-{kind}", server.url(""), domain_a.trust_dir, domain_a.proxy_file
        )
        mine = in_store(
            rig.deployment.data_dir, lambda conn: _shared_site(conn, rig, site, tmp_path)
        )
        sent = narrow.transfer(mine, place.guest, [("/src", "/in/there/tree", True)])
        succeeded(narrow, sent)
        assert digests(place.root / "in" / "there" / "tree") == digests(tmp_path / "src")
        back = narrow.transfer(place.guest, mine, [("/in/there/tree", "/back", True)])
        succeeded(narrow, back)
        assert digests(tmp_path / "back") == digests(tmp_path / "src")
    document = {
        "DATA_TYPE": "delete",
        "submission_id": str(UUID(int=1 if kind == "server" else 2)),
        "endpoint": place.guest,
        "recursive": True,
        "DATA": [{"DATA_TYPE": "delete_item", "path": "/in/there"}],
    }
    succeeded(narrow, narrow.post("delete", document)["task_id"])
    assert not (place.root / "in" / "there").exists()
    told = json.dumps([narrow.events(one) for one in (sent, back)])
    assert str(place.root) not in told


async def _shared_site(conn: Any, rig: Rig, site: str, path: Path) -> str:
    host = await endpoints.get(conn, UUID(site))
    assert host is not None
    made = await shares.share(conn, host, rig.sharer, str(path), name="mine")
    await shares.allow(conn, made, "/", "rw")
    return str(made.id)


async def is_allowed(session: Session, path: str) -> bool:
    """Whether the agent lets it be looked at."""
    try:
        await session.stat(path)
    except GridFTPError as error:
        if error.kind is not Kind.PATH_NOT_ALLOWED:
            raise
        return False
    return True


def test_who_is_kept_out_from_now_on_is_out_within_the_interval(
    rig: Rig, domain_a: Domain, tmp_path: Path
) -> None:
    """A session that runs, at the agent, and a task."""
    place = rig.places["personal"]
    late = Guest.new(rig.deployment)
    data = rig.deployment.data_dir
    guest = UUID(place.guest)
    rule = in_store(data, lambda conn: shares.allow(conn, guest, "/in/", "rw", who=late.who))

    async def watched(sessions: EndpointSessions) -> float:
        session = await sessions.open(guest, late.who)
        await session.stat("/in/f")
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(in_store, data, lambda conn: shares.take_back(conn, rule))
        began = loop.time()
        async with asyncio.timeout(GONE_S):  # what all who are logged in may read is left
            while await is_allowed(session, "/in/f"):
                await asyncio.sleep(0.05)
        gone_s = loop.time() - began
        await session.stat("/everybody/f")
        await session.close()
        with pytest.raises(NotAllowed):
            (await sessions.login(guest, late.who)).demand(["/in/f"], writes=False)
        return gone_s

    assert at_agent(rig, watched) < 3

    rule = in_store(data, lambda conn: shares.allow(conn, guest, "/in/", "rw", who=late.who))
    make_tree(tmp_path / "src", TREE, seed=1)
    (place.root / "in" / "copy" / "d0001" / "f0000").mkdir(parents=True)
    with GctServer.start(domain_a, tmp_path / "server") as server:
        site = rig.deployment.add_endpoint(
            "site-late", server.url(""), domain_a.trust_dir, domain_a.proxy_file
        )
        mine = in_store(data, lambda conn: _shared_site(conn, rig, site, tmp_path))
        task = late.transfer(mine, place.guest, [("/src", "/in/copy", True)])
        until(lambda: late.task(task)["files_transferred"] == len(TREE) - 1, 30, "files arrive")
        in_store(data, lambda conn: shares.take_back(conn, rule))
        ended = late.wait(task, GONE_S)
    assert ended["fatal_error"]["code"] == "ACL_CHANGED"
    [told] = details_of(late, task, "ACL_CHANGED")
    assert told["role"] == "destination"
    late.client.close()
