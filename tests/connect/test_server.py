"""A node of a server endpoint: collections, accounts, drain; by root, and by one account."""

import asyncio
import getpass
import json
import os
import pwd
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from connect.test_agent import HERE, there_and_back
from connect.test_command import towpath
from plugins.connect import TOWPATH, World, until
from towpath.connect import agent as agent_module
from towpath.connect.admitting import AccountRefused, account_for, may_open
from towpath.connect.choices import ChoiceError, Choices, Collection, Root
from towpath.connect.configuration import KnownCollection
from towpath.connect.directory import AgentDirectory
from towpath.connect.hosting import _storage_of
from towpath.gridftp.client.data.transfers import Copy, upload
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.server.frames import Opening

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")


async def collection_id(world: World, name: str) -> str:
    """As the service has it, once a node has told of it."""
    await until(lambda: any(one["name"] == name for one in world.service.collections))
    return next(one["id"] for one in world.service.collections if one["name"] == name)


async def started_process(world: World, directory: AgentDirectory) -> asyncio.subprocess.Process:
    with (world.tmp_path / "agent.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *TOWPATH, "connect", "start", "--dir", str(directory.root), stdout=log, stderr=log
        )


@asynccontextmanager
async def started(
    world: World, directory: AgentDirectory
) -> AsyncIterator[asyncio.subprocess.Process]:
    """By the command, in a process of its own."""
    process = await started_process(world, directory)
    node = directory.identity().node_id
    try:
        await until(lambda: node in world.service.connected or process.returncode is not None)
        assert process.returncode is None, (world.tmp_path / "agent.log").read_text()
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)


def test_which_accounts_are_let_in() -> None:
    with pytest.raises(AccountRefused, match="does not exist"):
        account_for("no-such-account", ())
    with pytest.raises(AccountRefused, match="root is not let in"):
        account_for("root", ("root",))
    with pytest.raises(AccountRefused, match="none of a person"):
        account_for("games", ())
    with pytest.raises(AccountRefused, match="'nobody' is none of a person"):
        account_for("nobody", ())
    with pytest.raises(AccountRefused, match="is not let in here"):
        account_for("games", ("daemon",))
    assert account_for("games", ("daemon", "games")).pw_name == "games"
    shown = Choices(collections=(Collection("Lab", "/srv", "rw", ("games",)),))
    opened = Choices(roots=(Root("/srv", "rw", ("games",)),))
    for choices in (shown, opened):
        assert may_open("games", choices)
        assert not may_open("daemon", choices)
        assert not may_open("root", choices)


def test_what_managers_have_made_is_held_to_the_roots_here() -> None:
    """Whatever the service says of it."""
    wide = Root("/srv", "rw", ("games",))
    narrow = Root("/srv/archive", "r", ("daemon",))
    choices = Choices().with_root(wide).with_root(narrow)

    def made(path: str, access: str = "rw") -> tuple[Collection, Root] | None:
        return choices.made_at_service(KnownCollection("id", "Made", path, access))

    assert made("/srv/ana") == (Collection("Made", "/srv/ana", "rw", ("games",)), wide)
    assert made("/srv/ana", "r") == (Collection("Made", "/srv/ana", "r", ("games",)), wide)
    assert made("/srv") == (Collection("Made", "/srv", "rw", ("games",)), wide)
    inner = made("/srv/archive/1999")
    assert inner == (Collection("Made", "/srv/archive/1999", "r", ("daemon",)), narrow)
    for path in ("/", "/srvx", "/etc", "srv/ana", "/srv/../etc", "/srv/archive/../../etc"):
        assert made(path) is None
    assert Choices().made_at_service(KnownCollection("id", "Made", "/srv", "rw")) is None
    again = Choices.from_document(json.loads(choices.to_bytes()))
    assert again == choices
    told = choices.report("1.0.0", "dtn")["roots"]
    assert told == [{"path": "/srv", "access": "rw"}, {"path": "/srv/archive", "access": "r"}]
    assert Choices().report("1.0.0", "dtn")["roots"] is None, "another node may have said"
    closed = choices.without_root("/srv").without_root("/srv/archive")
    assert closed.report("1.0.0", "dtn")["roots"] == []
    with pytest.raises(ChoiceError, match="is not open"):
        closed.without_root("/srv")


def test_a_link_leads_out_of_no_root(tmp_path: Path) -> None:
    """Where a collection begins, is found from its root on."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    outside.mkdir()
    (root / "in" / "file").touch()
    (outside / "file").touch()
    (root / "out").symlink_to(outside)
    (root / "back").symlink_to("in")

    def listed(base: str) -> list[bytes]:
        extra = {"base": f"{root}/{base}".rstrip("/"), "access": "R", "root": str(root)}
        storage = _storage_of(cast("Opening", SimpleNamespace(extra=extra)))
        return sorted(name for name, _ in storage.entries(b"/") if not name.startswith(b"."))

    assert listed("in") == [b"file"]
    assert listed("back") == [b"file"]
    assert listed("") == [b"back", b"in"]
    with pytest.raises(OSError, match="No such file"):
        listed("out")
    with pytest.raises(OSError, match="Not a directory"):
        listed("in/file")


@AS_ROOT
async def test_two_accounts_each_in_its_process(
    server_world: World, open_tmp_path: Path, tmp_path: Path
) -> None:
    world, base = server_world, open_tmp_path / "lab"
    base.mkdir()
    for name in ("games", "daemon"):
        (base / name).mkdir(mode=0o700)
        os.chown(base / name, pwd.getpwnam(name).pw_uid, 0)
    (base / "out").symlink_to("/etc")
    directory = await world.directory("dtn", relay_only=True)
    place = ("--dir", str(directory.root))
    told = await towpath(
        *("collection", "add", "Lab", "--base-path", str(base)),
        *("--allow", "games", "--allow", "daemon", *place),
    )
    assert f"“Lab” shows {base}" in told
    await towpath("map", "add", r"(.*)@people\.example", "{0}", *place)
    async with started(world, directory) as process:
        identity = directory.identity()
        where = {"collection": await collection_id(world, "Lab")}
        (mapping,) = world.service.reports[-1]["mappings"]
        assert mapping["mappings"][0]["output"] == "{0}"
        for account in ("games", "daemon"):
            session = await world.open(identity.node_id, account=account, **where)
            assert session.home == "/"
            await there_and_back(session, Path("/") / account, tmp_path, base=base)
            assert (base / account / "there").owner() == account
            other = "daemon" if account == "games" else "games"
            with pytest.raises(GridFTPError):
                await session.stat(f"/{other}/there")
            for path in ("/out/passwd", "/etc/passwd", "/../etc/passwd"):
                with pytest.raises(GridFTPError):
                    await session.stat(path)
            await session.close()
        for account in ("root", "bin", "no-such-account"):
            with pytest.raises(GridFTPError, match="GRANT account"):
                await world.open(identity.node_id, account=account, **where)
        with pytest.raises(GridFTPError, match="GRANT audience"):
            await world.open(identity.node_id, account="games")
        users = {
            pwd.getpwuid(Path(f"/proc/{child}").stat().st_uid).pw_name
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children")
            .read_text()
            .split()
        }
        assert users == {"nobody", "games", "daemon"}

        # A change while it runs: sessions are cut, and what comes is by what holds now.
        session = await world.open(identity.node_id, account="games", **where)
        await towpath("collection", "remove", "Lab", *place)
        with pytest.raises(GridFTPError):
            await session.stat("/")
        with pytest.raises(GridFTPError, match="GRANT audience"):
            await world.open(identity.node_id, account="games", **where)
        await until(lambda: world.service.collections == [])
        await towpath(
            *("collection", "add", "Lab", "--read-only", "--base-path", str(base)),
            *("--allow", "games", *place),
        )
        where = {"collection": await collection_id(world, "Lab")}
        session = await world.open(identity.node_id, account="games", **where)
        await session.stat("/games/there")
        with pytest.raises(GridFTPError):
            await session.delete_file("/games/there")
        await session.close()
        status = json.loads(await towpath("status", "--format", "json", *place))
        assert status["moved_bytes"] >= 4 * 3_000_000, "also what other processes moved"
        await towpath("stop", *place)
        assert await asyncio.wait_for(process.wait(), 20) == 0, "who watches it lets it be"
    text = (world.tmp_path / "agent.log").read_text()
    assert directory.token() not in text
    assert "command=STOR" in text

    world.service.fault = (410, "ConnectEndpointGone")
    process = await started_process(world, directory)
    assert await asyncio.wait_for(process.wait(), 20) == 3, "who watches it need not start it again"
    assert "Error: the endpoint was deleted" in (world.tmp_path / "agent.log").read_text()


@AS_ROOT
def test_strangers_do_not_find_the_broker(tmp_path: Path) -> None:
    """What is asked for data connections is in a directory that is closed to other accounts."""
    from towpath.connect.running_as_root import _listen

    tmp_path.chmod(0o755)
    directory = AgentDirectory(tmp_path / "agent")
    directory.prepare()
    listening = _listen(directory)
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
                stranger.connect(str(directory.paths_socket))
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    listening.close()
    assert os.waitpid(pid, 0)[1] == 0


async def test_an_ordinary_user_serves_that_account_and_drains(
    server_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who runs the tests is perhaps root, whom no server serves: then it passes for another.
    world, me = server_world, "daemon" if os.geteuid() == 0 else getpass.getuser()
    for module in ("admitting", "running"):
        monkeypatch.setattr(f"towpath.connect.{module}.own_account", lambda: pwd.getpwnam(me))
    base = tmp_path.resolve() / "lab"
    base.mkdir()
    directory = await world.directory("dtn")
    directory.keep_choices(Choices(collections=(Collection("Lab", str(base)),)))
    async with world.running(directory) as agent:
        where = {"collection": await collection_id(world, "Lab"), "account": me}
        await until(lambda: agent.collection_name(where["collection"]) == "Lab")
        session = await world.open(agent.identity.node_id, **where)
        here = tmp_path / "here"
        here.write_bytes(b"a" * 1000)
        (outcome,) = await upload(session, [Copy(here, "/a", 1000)], HERE)
        assert outcome.status == "done", outcome
        assert (base / "a").read_bytes() == here.read_bytes()
        with pytest.raises(GridFTPError, match="GRANT account"):
            await world.open(agent.identity.node_id, **{**where, "account": "games"})

        agent.choose(replace(agent.chosen.current, draining=True))
        await session.stat("/a")
        with pytest.raises(GridFTPError, match="DRAINING"):
            await world.open(agent.identity.node_id, **where)
        await until(lambda: world.service.reports[-1]["draining"])
        await session.close()
        agent.choose(replace(agent.chosen.current, draining=False))
        session = await world.open(agent.identity.node_id, **where)
        await session.close()


async def test_a_second_node_takes_nothing_from_the_first(
    server_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a renewal would bring a new configuration, too
    monkeypatch.setattr(agent_module, "RENEW_BEFORE", timedelta(0))
    world = server_world
    key = world.service.setup_key(world.port, uses=2)
    world.service.setup_key = lambda _port, **_more: key  # type: ignore[method-assign]
    first, second = await world.directory("one"), await world.directory("two")
    assert first.identity().endpoint_id == second.identity().endpoint_id
    assert first.identity().node_id != second.identity().node_id
    async with world.running(first) as one, world.running(second) as other:
        await until(lambda: len(world.service.reports) == 2)
        one.choose(Choices(collections=(Collection("Lab", str(world.tmp_path)),)))
        lab = await collection_id(world, "Lab")
        assert other.collection_name(lab) is None, "it asks every hour"
        reports = len(world.service.reports)
        other.choose(Choices(collections=(Collection("Tape", str(world.tmp_path), "r"),)))
        await until(lambda: len(world.service.reports) > reports)
        assert [one["name"] for one in world.service.collections] == ["Lab", "Tape"]
        assert world.service.collections[0]["id"] == lab
