"""An agent, a real relay, and our own client."""

from pathlib import Path

from plugins.connect import RELAY, World
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload

LOOPBACK = DataOptions(data_hosts=frozenset({"127.0.0.1", RELAY}))


async def test_files_go_there_and_back_by_relay_only(world: World, tmp_path: Path) -> None:
    directory = await world.directory(relay_only=True)
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id)
        there = world.home() / "a"
        here = tmp_path / "a"
        here.write_bytes(b"x" * 3_000_000)
        outcomes = await upload(session, [Copy(here, str(there), 3_000_000)], LOOPBACK)
        assert [one.status for one in outcomes] == ["done"], outcomes
        assert there.read_bytes() == here.read_bytes()
        back = tmp_path / "b"
        outcomes = await download(session, [Copy(back, str(there), 3_000_000)], LOOPBACK)
        assert [one.status for one in outcomes] == ["done"], outcomes
        assert back.read_bytes() == here.read_bytes()
        await session.close()
        assert agent.ways.moved_directly == 0
        assert agent.ways.moved_by_relay == 2
