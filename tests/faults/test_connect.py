"""Relays that die, computers that sleep, addresses that change: in the middle of a large file."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from plugins.covered import Source, Watch
from plugins.nat import Nat, UnderWay
from plugins.site import until
from towpath.demo.agents import Agent
from towpath.demo.internet import Home
from towpath.demo.servers import Host
from towpath.demo.trees import TreeFile

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SIZE_BYTES = 200 * 1024 * 1024 + 5
BYTES_S = 20 * 1024 * 1024
"""So much the agents are let move: the middle is long enough for something to happen in it."""
SHORT_S, LONG_S = 10.0, 60.0
AFTER_S = 240.0
"""For the rest, once all is well again."""

KINDS = (
    ("laptop", "laboratory"),
    ("laboratory", "laptop"),
    ("laptop", "desktop"),
)


@dataclass
class Homes:
    """Two computers behind two routers."""

    nat: Nat
    routers: dict[str, Home] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)

    def settle(self, name: str) -> None:
        """Another one."""
        self.routers[name] = self.nat.internet.home()
        self.hosts[name] = self.routers[name].host()
        self.agents[name] = self.nat.agent(name, self.hosts[name])
        self.agents[name].towpath("limit", f"{BYTES_S // 1024 // 1024}M")


@pytest.fixture
def homes(nat: Nat) -> Homes:
    made = Homes(nat)
    for name in ("laptop", "desktop"):
        made.settle(name)
    return made


def disturbed(
    homes: Homes, source: str, destination: str, disturb: Callable[[UnderWay], None]
) -> None:
    """A transfer that something happens to in the middle; it ends well, and nothing that had
    arrived is sent again."""
    nat = homes.nat
    with Watch(nat.deployment.data_dir) as watch:
        under_way = nat.begin(source, destination, [TreeFile("large", SIZE_BYTES)])
        under_way.until_moved(0.3)
        until(watch.restart_points, 60, "there are restart points")
        disturb(under_way)
        under_way.finish(AFTER_S)
        if source == "laboratory":
            sender = Source(under_way.source, nat.laboratory.workdir / "server.log", is_ours=False)
        else:
            sender = Source(under_way.source, homes.agents[source].access_log, is_ours=True)
        assert watch.resent_covered(sender) == []


@pytest.mark.parametrize(("source", "destination"), KINDS)
def test_relay_dies_and_another_takes_over(nat: Nat, source: str, destination: str) -> None:
    """The one of the agent that receives, if there is one: with what it carries."""
    another = nat.another_relay()
    homes = Homes(nat)
    for name in ("laptop", "desktop"):
        homes.settle(name)
    agent = homes.agents[source if destination == "laboratory" else destination]

    def kill(_under_way: UnderWay) -> None:
        lost = agent.relay()
        assert lost is not None
        # `up` starts its own one again; the agent is at the other one by then
        by_up = lost.startswith(nat.service.address)
        os.kill(nat.relay_pid() if by_up else another.pid, signal.SIGKILL)
        until(lambda: agent.relay() not in {None, lost}, 60, "it has another one")

    disturbed(homes, source, destination, kill)


@pytest.mark.parametrize("asleep_s", [SHORT_S, LONG_S])
@pytest.mark.parametrize(("source", "destination"), KINDS)
def test_agent_sleeps(homes: Homes, source: str, destination: str, asleep_s: float) -> None:
    sleeper = destination if source == "laboratory" else source

    def sleep(under_way: UnderWay) -> None:
        homes.agents[sleeper].signal(signal.SIGSTOP)
        began = time.monotonic()
        if asleep_s == LONG_S:
            said = until(lambda: away(under_way), LONG_S, "the task says that it is away")
            assert re.search(rf"“{sleeper}” has not been connected since \d\d:\d\d UTC", said), said
            assert "resumes" in said
        time.sleep(max(0.0, asleep_s - (time.monotonic() - began)))
        homes.agents[sleeper].signal(signal.SIGCONT)

    disturbed(homes, source, destination, sleep)


def away(under_way: UnderWay) -> str | None:
    """What the task's newest event says of somebody who is away: cause and consequence."""
    for event in reversed(under_way.nat.deployment.events(under_way.task_id)):
        if event["code"] == "GC_NOT_CONNECTED":
            details = json.loads(event["details"])
            return f"{details['error']} {details['next']}"
    return None


@pytest.mark.parametrize(("source", "destination"), KINDS)
def test_address_of_an_agent_changes(homes: Homes, source: str, destination: str) -> None:
    moving = destination if source == "laboratory" else source

    def renumber(_under_way: UnderWay) -> None:
        homes.hosts[moving] = homes.routers[moving].renumber(homes.hosts[moving])

    disturbed(homes, source, destination, renumber)


@pytest.mark.parametrize(("source", "destination"), KINDS)
def test_public_address_changes(homes: Homes, source: str, destination: str) -> None:
    moving = destination if source == "laboratory" else source
    disturbed(homes, source, destination, lambda _: homes.routers[moving].move())
