"""The command, as its user types it; the agent in a process of its own."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from connect.test_agent import there_and_back
from plugins.connect import TOWPATH, World, until
from towpath.cli import main
from towpath.connect.directory import AgentDirectory


async def towpath(*words: str, exit_code: int = 0, said: str | None = None) -> str:
    """In a thread: the service is in this one. Standard output and error together."""
    arguments = ["connect", *words]
    done: Result = await asyncio.to_thread(CliRunner().invoke, main, arguments, input=said)
    assert done.exit_code == exit_code, done.output
    return done.output


async def started(*words: str, exit_code: int = 0) -> str:
    """`start --background`, by a command of its own, for what it leaves is its child."""
    process = await asyncio.create_subprocess_exec(
        *TOWPATH,
        *("connect", "start", "--background", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == exit_code, output
    return output.decode()


async def test_a_day_with_an_agent(world: World, tmp_path: Path) -> None:
    place = ("--dir", str(tmp_path / "agent"))
    agent = AgentDirectory(tmp_path / "agent")
    home = tmp_path / "agent-home"
    home.mkdir()
    assert "No such option" not in await towpath("status", *place, exit_code=1)
    key = world.service.setup_key(world.port)
    told = await towpath("setup", "-", "--name", "lap", *place, said=f"{key}\n")
    assert "“laptop” of ana@people.example is set up here" in told
    assert f"{Path.home()} (read and write)" in told
    assert f"towpath connect start --dir {agent.root}" in told

    told = await towpath("share", "--read-write", str(home), *place)
    assert f"read and write  {home}" in told
    await towpath("unshare", str(Path.home()), *place)
    assert "is not shared by itself" in await towpath("unshare", str(tmp_path), *place, exit_code=1)
    assert "Not running" in await towpath("status", *place)
    assert "which has none of it" in await towpath("drain", *place, exit_code=1)
    assert "At most 1.5 MB/s." in await towpath("limit", "1.5M", *place)
    await towpath("limit", "5", *place, exit_code=2)

    assert "is connected, by the relay 127.0.0.2" in await started(*place)
    try:
        assert "runs in" in await towpath("start", *place, exit_code=1)
        status = json.loads(await towpath("status", "--format", "json", *place))
        assert status["choices"]["limit_bytes_s"] == 1_500_000
        assert status["choices"]["folders"] == [{"path": str(home.resolve()), "access": "rw"}]
        await towpath("limit", "none", *place)
        await until(lambda: status["display_name"] == "laptop")
        node = agent.identity().node_id
        await until(lambda: node in world.service.connected)
        session = await world.open(node)
        await there_and_back(session, home.resolve(), tmp_path)
        told = await towpath("status", *place)
        assert "Connected since" in told
        assert "1 sessions" in told
        assert f"shared (rw)  {home}" in told
        await session.close()
        assert "Paused." in await towpath("pause", *place)
        assert "Paused: 'towpath connect resume'" in await towpath("status", *place)
        await until(lambda: world.service.reports[-1]["paused"])
        assert '"transfer"' in await towpath("logs", "-n", "100", *place)
    finally:
        assert "Stopped." in await towpath("stop", *place)
    assert "It does not run." in await towpath("stop", *place)
    assert not agent.control_socket.exists()
    assert "Paused: " in await towpath("status", *place), "it is so after a restart, too"


async def test_an_agent_whose_endpoint_is_gone_says_so_and_ends(
    world: World, tmp_path: Path
) -> None:
    directory = await world.directory()
    world.service.fault = (410, "ConnectEndpointGone")
    told = await started("--dir", str(directory.root), exit_code=1)
    assert "the endpoint was deleted" in told


async def test_a_unit_for_systemd(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = await world.directory()
    config = world.tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    monkeypatch.setenv("PATH", str(world.tmp_path))  # without systemctl
    told = await towpath("service", "install", "--dir", str(directory.root))
    unit = (config / "systemd/user/towpath-connect.service").read_text()
    assert f'connect start --dir "{directory.root}"' in unit
    assert "loginctl enable-linger" in told
    await towpath("service", "uninstall", "--dir", str(directory.root))
    assert not (config / "systemd/user/towpath-connect.service").exists()


@pytest.mark.long
async def test_an_agent_that_slept_a_minute_is_back_at_once(world: World, tmp_path: Path) -> None:
    """Stopped as a whole, as a closed laptop is; then the relay has given it up."""
    directory = await world.directory()
    place = ("--dir", str(directory.root))
    await started(*place)
    node = directory.identity().node_id
    await until(lambda: node in world.service.connected)
    pid = pid_of(directory)
    try:
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: node not in world.service.connected, 90)
        os.kill(pid, signal.SIGCONT)
        began = time.monotonic()
        await until(lambda: node in world.service.connected, 30)
        assert time.monotonic() - began < 10
        session = await world.open(node)
        await there_and_back(session, world.home(), tmp_path)
        await session.close()
    finally:
        os.kill(pid, signal.SIGCONT)
        await towpath("stop", *place)


def pid_of(directory: AgentDirectory) -> int:
    """Of the process that holds the directory's lock."""
    inode = directory.lock_file.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    raise AssertionError("nobody holds it")
