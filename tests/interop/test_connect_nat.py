"""Agents behind routers that let nobody in: whom they reach, who reaches them, and by which way."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from plugins.capture import captured
from plugins.nat import PROXY_PORT, RELAY_PORT, Nat
from towpath.demo.internet import PUBLIC
from towpath.demo.trees import TreeFile, make_tree

pytestmark = pytest.mark.xdist_group("nat")  # they share a rig


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nat]:
    """A rig with one agent behind a router."""
    with Nat.open(tmp_path_factory.mktemp("nat")) as nat:
        nat.agent("laptop", nat.internet.home().host())
        yield nat


def test_agent_sends_to_a_gridftp_server_directly(laptop: Nat) -> None:
    assert laptop.carry("laptop", "laboratory").directly


def test_gridftp_server_sends_to_an_agent_by_the_relay(laptop: Nat) -> None:
    assert laptop.carry("laboratory", "laptop").by_relay


@pytest.mark.long
def test_agents_behind_two_routers_meet_at_the_relay(laptop: Nat) -> None:
    """Both have the same private addresses: what is tried there is somebody else."""
    laptop.agent("desktop", laptop.internet.home().host())
    assert laptop.carry("laptop", "desktop").by_relay
    assert laptop.carry("desktop", "laptop").by_relay


@pytest.mark.long
def test_agents_behind_one_router_find_each_other(nat: Nat) -> None:
    home = nat.internet.home()
    for name in ("laptop", "desktop"):
        nat.agent(name, home.host())
    assert nat.carry("laptop", "desktop").directly
    assert nat.carry("desktop", "laptop").directly


@pytest.mark.long
def test_agent_that_can_be_dialled_is_dialled(nat: Nat) -> None:
    nat.agent("server", nat.internet.site())
    nat.agent("laptop", nat.internet.home().host())
    for source, destination in (
        ("laboratory", "server"),
        ("server", "laboratory"),
        ("laptop", "server"),
    ):
        assert nat.carry(source, destination).directly, (source, destination)
    assert nat.carry("server", "laptop").by_relay


@pytest.mark.long
def test_office_lets_out_to_the_service_and_the_relay_only(nat: Nat) -> None:
    """So what goes to a GridFTP server goes by the relay, too."""
    office = nat.internet.home()
    nat.agent("desk", office.host())
    ports = f"{nat.api_port}, {RELAY_PORT}"
    office.let_out(f"ip daddr {nat.service.address} tcp dport {{ {ports} }}")
    assert nat.carry("desk", "laboratory").by_relay
    assert nat.carry("laboratory", "desk").by_relay


@pytest.mark.long
def test_office_lets_out_by_an_http_proxy_only(nat: Nat) -> None:
    proxy = nat.proxy()
    host = proxy.removeprefix("http://").partition(":")[0]
    office = nat.internet.home(f"ip daddr {host} tcp dport {PROXY_PORT}")
    nat.agent("desk", office.host(), ["--proxy", proxy])
    assert nat.carry("desk", "laboratory").by_relay
    assert nat.carry("laboratory", "desk").by_relay


@pytest.mark.long
def test_globus_command_moves_between_homes(laptop: Nat, tmp_path: Path) -> None:
    globus = laptop.globus()
    here, there = laptop.folder("laptop"), laptop.folder("laboratory")
    make_tree(here, [TreeFile("one", 100_000)], 1)
    source, destination = (laptop.endpoints[name] for name in ("laptop", "laboratory"))
    assert "one" in globus.text("ls", f"{source}:{here}")
    told = globus.json(
        "transfer",
        "--recursive",
        f"{source}:{here}",
        f"{destination}:{there}/to",
        "--verify-checksum",
    )
    globus.run("task", "wait", told["task_id"], "--timeout", "60")
    assert (there / "to" / "one").read_bytes() == (here / "one").read_bytes()


WINDOW_BYTES = 16
WINDOWS = 500


@pytest.mark.long
def test_relay_sees_no_byte_of_what_is_private(laptop: Nat, tmp_path: Path) -> None:
    """What passes its host's only device, all layers; in clear, the same way does find the file."""
    found = {}
    for private in (True, False):
        with captured(laptop.service.enter, PUBLIC, tmp_path / "packets") as seen:
            under_way = laptop.begin(
                "laboratory", "laptop", [TreeFile("secret", 4 * 1024 * 1024)], encrypt_data=private
            )
            assert under_way.finish().by_relay
        assert seen.lost == 0
        assert len(seen.content) > 2 * under_way.size_bytes  # in, and out again
        content = (under_way.source / "secret").read_bytes()
        chosen = Random(7)
        starts = [chosen.randrange(len(content) - WINDOW_BYTES) for _ in range(WINDOWS)]
        found[private] = sum(content[at : at + WINDOW_BYTES] in seen.content for at in starts)
    assert found[True] == 0
    assert found[False] > 0.95 * WINDOWS, "some are cut by the ends of packets"
