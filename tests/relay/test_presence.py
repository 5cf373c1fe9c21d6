"""What the service hears of a relay, also when it was away; and how a relay ends."""

import asyncio
from pathlib import Path

import asyncssh
import pytest

from plugins.relay_rig import Double, opened
from towpath.relay import presence
from towpath.tunnel import messages as words
from towpath.tunnel.prologue import Joined, NotJoined, PassShown, Refusal


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "SERVICE_RETRY_S", 0.1)


async def test_who_comes_and_goes_is_reported_together(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agents = await asyncio.gather(*(rig.agent() for _ in range(10)))
        nodes = {agent.identity.node_id for agent in agents}
        await rig.until(lambda: rig.service.connected.keys() == nodes)
        assert rig.service.count("/relay/presence") <= 4
        await agents[0].close()
        await rig.until(lambda: len(rig.service.connected) == 9)
        assert [one["node_id"] for one in rig.service.lost] == [agents[0].identity.node_id]
        beat = [asked for path, asked in rig.service.asked if path == "/relay"][-1]
        assert beat["host"] == "127.0.0.1"
        assert beat["port"] == rig.relay.port
        assert beat["host_key"] == rig.relay.host_key
        assert beat["draining"] is False


async def test_tunnels_go_on_without_the_service_and_all_are_named_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as rig:
        stays, goes, returns = [await rig.agent() for _ in range(3)]
        await rig.until(lambda: len(rig.service.connected) == 3)
        rig.service.away = True
        rig.service.tokens += 1  # and when it is back, our token is not good any more
        await goes.close()
        await returns.close()
        await rig.until(lambda: len(rig.relay.agents) == 1)
        # known a moment ago: it may come back; who was never known is told to try again
        again = await rig.agent(returns.identity)
        with pytest.raises(asyncssh.DisconnectError, match="try again"):
            await rig.log_in(rig.identity())
        assert await (await rig.control(again.identity)).answer() == Joined()
        rig.service.away = False
        there = {stays.identity.node_id, again.identity.node_id}
        await rig.until(lambda: rig.service.connected.keys() == there)


async def test_a_relay_starts_before_its_service(tmp_path: Path) -> None:
    double = Double()
    double.away = True
    async with opened(tmp_path, double) as rig:
        identity = rig.identity()
        answer = await (await rig.control(identity)).answer()
        assert isinstance(answer, NotJoined)
        assert answer.reason is Refusal.FAILED
        double.away = False
        await rig.until(lambda: rig.relay.registered)
        assert await (await rig.control((await rig.agent(identity)).identity)).answer() == Joined()


async def test_nodes_that_were_removed_are_cut_and_new_keys_are_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent, removed = await rig.agent(), await rig.agent()
        rig.service.cut = [removed.identity.node_id]
        await rig.until(lambda: len(rig.relay.agents) == 1)
        used = PassShown(rig.mint(agent.identity))
        assert await (await rig.say(used)).answer() == Joined()
        older = rig.service.key
        rig.service.key = type(older).new()
        assert await agent.event() == words.ConfigurationChanged()
        assert await (await rig.control(agent.identity)).answer() == Joined()
        refused = await (await rig.control(agent.identity, key=older)).answer()
        assert isinstance(refused, NotJoined)
        rig.service.key = older
        await agent.event()
        replayed = await (await rig.say(used)).answer()
        assert isinstance(replayed, NotJoined), "passes that were used stay used"


async def test_a_relay_that_ends_sends_agents_elsewhere_and_lets_data_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent, outside, inside = await rig.joined()
        draining = asyncio.create_task(rig.relay.drain(within_s=10))
        assert await agent.event() == words.Drain()
        await rig.until(lambda: rig.service.asked[-1][1].get("draining") is True)
        answer = await (await rig.control(agent.identity)).answer()
        assert isinstance(answer, NotJoined)
        assert answer.reason is Refusal.DRAINING
        with pytest.raises((asyncssh.Error, OSError)):
            await rig.log_in(rig.identity())
        await outside.send(b"the last bytes")
        assert await inside.receive(14) == b"the last bytes"
        assert not draining.done()
        outside.end()
        inside.end()
        await asyncio.wait_for(draining, 5)
        _, other, _ = agent, await rig.dial(), await rig.relay.close()
        assert rig.service.connected == {}
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await other.receive(1)


async def test_a_lost_agent_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from towpath.relay import tunnels

    monkeypatch.setattr(tunnels, "KEEPALIVE_S", 0.3)
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        transport = agent.connection._transport
        assert transport is not None
        await asyncio.sleep(0.8)
        assert len(rig.relay.agents) == 1, "it answers"
        transport.pause_reading()  # asleep: nothing comes, nothing is closed
        await rig.until(lambda: len(rig.relay.agents) == 0)
        await rig.until(lambda: len(rig.service.lost) == 1)
