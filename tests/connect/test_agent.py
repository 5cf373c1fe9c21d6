"""An agent, real relays, and our own client in the place of the service's."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from plugins.connect import READ, RELAY, World, until
from towpath.connect import local_control
from towpath.connect.agent import Agent, Loaded
from towpath.connect.choices import Choices, Folder
from towpath.connect.errors import ConnectError, Trouble
from towpath.connect.running import PERSONAL_LIMITS, serve_own
from towpath.grants import SigningKey
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind

HERE = DataOptions(data_hosts=frozenset({"127.0.0.1", RELAY}))
SIZE = 3_000_000


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


async def there_and_back(
    session: Session, home: Path, tmp_path: Path, size: int = SIZE, base: Path = Path("/")
) -> None:
    """A file up, and down again. `base`: what the session sees as `/`."""
    here, there, back = tmp_path / "here", home / "there", tmp_path / "back"
    here.write_bytes(b"towpath " * (size // 8))
    size = here.stat().st_size
    (outcome,) = await upload(session, [Copy(here, str(there), size)], HERE)
    assert outcome.status == "done", outcome
    assert same(here, base / there.relative_to("/"))
    (outcome,) = await download(session, [Copy(back, str(there), size)], HERE)
    assert outcome.status == "done", outcome
    assert same(here, back)


async def choose(agent: Agent, directory_socket: Path, choices: Choices) -> None:
    """As a command does it, in a thread."""
    question = {"do": "choices", "choices": choices.to_document()}
    answer = await asyncio.to_thread(local_control.ask, directory_socket, question)
    assert answer["choices"] == json.loads(choices.to_bytes())
    assert agent.chosen.current == choices


async def test_by_relay_only(world: World, tmp_path: Path) -> None:
    directory = await world.directory(relay_only=True)
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id)
        await there_and_back(session, world.home(), tmp_path)
        await session.close()
        assert (agent.ways.moved_directly, agent.ways.moved_by_relay) == (0, 2)


async def test_directly_where_the_relay_reaches_us(world: World, tmp_path: Path) -> None:
    directory = await world.directory()
    async with world.running(directory) as agent:
        await until(lambda: agent.ways.open_at is not None)
        session = await world.open(agent.identity.node_id)
        await there_and_back(session, world.home(), tmp_path)
        await session.close()
        assert (agent.ways.moved_directly, agent.ways.moved_by_relay) == (2, 0)


async def test_two_agents_find_each_other_behind_a_relay(world: World) -> None:
    """The one is not reachable, says the relay; but a candidate of its own is."""
    receiver = await world.directory("receiver")
    sender = await world.directory("sender")
    async with world.running(receiver) as one, world.running(sender) as other:
        await until(lambda: one.ways.open_at is not None and other.ways.open_at is not None)
        one.ways.open_at = None
        taken: asyncio.Queue[tuple[object, str]] = asyncio.Queue()
        async with one.ways.listening("", lambda *what: taken.put_nowait(what)) as listener:
            assert listener.host == RELAY
            with await other.ways.dial(listener.host, listener.port, 10) as outgoing:
                incoming, host = await asyncio.wait_for(taken.get(), 10)
                assert host.startswith("127.")
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(outgoing, b"hello")
                assert await loop.sock_recv(incoming, 5) == b"hello"  # type: ignore[arg-type]
                incoming.close()  # type: ignore[attr-defined]
        assert (other.ways.moved_directly, other.ways.moved_by_relay) == (1, 0)
        assert (one.ways.moved_directly, one.ways.moved_by_relay) == (1, 0)


async def test_a_strangers_ticket_is_not_taken(world: World) -> None:
    directory = await world.directory()
    async with world.running(directory) as agent:
        await until(lambda: agent.ways.open_at is not None)
        agent.ways.open_at = None
        taken: list[object] = []
        asked: list[tuple[str, ...]] = []
        tunnel = agent.keeper.tunnel
        assert tunnel is not None
        listen = tunnel.listen

        async def spied(candidates: tuple[str, ...]) -> object:
            asked.append(candidates)
            return await listen(candidates)

        tunnel.listen = spied  # type: ignore[method-assign, assignment]
        async with agent.ways.listening("", lambda *what: taken.append(what)):
            host, _, port = asked[0][0].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"TPJ1 ticket " + b"A" * 43 + b"\n")
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"TPJ1 no ticket ")
            writer.close()
            assert taken == []


async def test_a_relay_dies_and_another_takes_over(world: World, tmp_path: Path) -> None:
    second = await world.relay()
    first = world.relays[0]
    directory = await world.directory()
    async with world.running(directory) as agent:
        assert agent.keeper.tunnel is not None
        assert agent.keeper.tunnel.relay.port == first.relay.port
        session = await world.open(agent.identity.node_id, first)
        await first.relay.close()
        with pytest.raises(GridFTPError) as caught:
            await session.stat(str(world.home()))
        assert caught.value.kind is Kind.CONNECTION_LOST
        await until(
            lambda: (
                agent.keeper.tunnel is not None
                and agent.keeper.tunnel.relay.port == second.relay.port
            )
        )
        await until(lambda: world.is_present(agent))
        session = await world.open(agent.identity.node_id, second)
        await there_and_back(session, world.home(), tmp_path)
        await session.close()


async def test_a_relay_that_drains_is_left_without_a_break(world: World) -> None:
    second = await world.relay()
    first = world.relays[0]
    directory = await world.directory()
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id, first)
        old = agent.keeper.tunnel
        assert old is not None
        world.announce(second)
        draining = asyncio.create_task(first.relay.drain())
        await until(lambda: agent.keeper.tunnel not in (old, None))
        await session.stat(str(world.home()))
        assert not old.ended.done(), "its session goes on"
        await session.close()
        await until(old.ended.done)
        assert agent.keeper.tunnel is not None
        await draining


async def test_without_relays_it_waits_for_one(lonely_world: World) -> None:
    directory = await lonely_world.directory()
    async with lonely_world.running(directory, connected=False) as agent:
        await until(lambda: bool(agent.keeper.trouble))
        assert agent.status()["trouble"] == "the service has no relay that is alive"
        await lonely_world.relay()
        agent._ask()
        await until(lambda: lonely_world.is_present(agent))


async def test_a_pause_cuts_and_lasts(world: World) -> None:
    directory = await world.directory()
    socket = directory.control_socket
    async with world.running(directory) as agent:
        await until(lambda: len(world.service.reports) == 1)
        session = await world.open(agent.identity.node_id)
        paused = replace(agent.chosen.current, paused=True)
        await choose(agent, socket, paused)
        directory.keep_choices(paused)
        with pytest.raises(GridFTPError):
            await session.stat(str(world.home()))
        with pytest.raises(GridFTPError, match="PAUSED"):
            await world.open(agent.identity.node_id)
        await until(lambda: world.service.reports[-1]["paused"])
    async with world.running(directory) as agent:
        with pytest.raises(GridFTPError, match="PAUSED"):
            await world.open(agent.identity.node_id)
        await choose(agent, socket, replace(paused, paused=False))
        session = await world.open(agent.identity.node_id)
        await session.close()


async def test_shared_and_not_shared_at_once(world: World, tmp_path: Path) -> None:
    directory = await world.directory()
    (world.home() / "a").write_bytes(b"a")
    other = tmp_path.resolve() / "other"
    other.mkdir()
    (other / "b").write_bytes(b"b")
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id)
        await session.stat(f"{world.home()}/a")
        with pytest.raises(GridFTPError) as caught:
            await session.stat(f"{other}/b")
        assert caught.value.kind is Kind.PATH_NOT_ALLOWED, caught.value
        await choose(agent, directory.control_socket, Choices(folders=(Folder(str(other), "r"),)))
        await session.stat(f"{other}/b")
        with pytest.raises(GridFTPError):
            await session.delete_file(f"{other}/b")
        with pytest.raises(GridFTPError):
            await session.stat(f"{world.home()}/a")
        await until(
            lambda: world.service.reports[-1]["folders"] == [{"path": str(other), "access": "r"}]
        )
        await session.close()


async def test_a_reading_grant_cannot_write_what_is_shared(world: World) -> None:
    directory = await world.directory()
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id, prefixes=READ)
        await session.stat(str(world.home()))
        with pytest.raises(GridFTPError):
            await session.mkdir(f"{world.home()}/new")
        await session.close()
        for changes in ({"collection": "another"}, {"audience": "another"}, {"account": "games"}):
            with pytest.raises(GridFTPError, match=r"GRANT (audience|account)"):
                await world.open(agent.identity.node_id, **changes)


async def test_a_limit_holds(world: World, tmp_path: Path) -> None:
    directory = await world.directory(relay_only=True)
    async with world.running(directory) as agent:
        limited = replace(agent.chosen.current, limit_bytes_s=2_000_000)
        await choose(agent, directory.control_socket, limited)
        session = await world.open(agent.identity.node_id)
        began = time.monotonic()
        await there_and_back(session, world.home(), tmp_path, 1_000_000)
        took = time.monotonic() - began
        (moved,) = agent.status()["transfers"]
        assert 2_000_000 <= moved["moved_bytes"] < 2_100_000
        assert 0 < moved["bytes_per_s"] < 4_000_000
        await session.close()
        await until(lambda: agent.status()["sessions"] == 0)
        assert 0.8 < took < 5, took
        assert agent.status()["moved_bytes"] >= 2_000_000
        assert agent.status()["transfers"] == [], "of a session that is over"


async def test_a_new_key_is_asked_for_when_it_is_needed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.connect.agent.APART_S", 0.0)
    directory = await world.directory()
    async with world.running(directory) as agent:
        new = SigningKey.new()
        world.service.keys = [world.service.key, new]
        session = await world.open(agent.identity.node_id)
        await session.close()
        thief = SigningKey.new()
        world.service.keys = [world.service.key, thief]
        token = world.grant()
        world.service.keys = [world.service.key, new]
        monkeypatch.setattr(world, "grant", lambda *_a, **_k: token)
        with pytest.raises(GridFTPError, match="GRANT key"):
            await world.open(agent.identity.node_id)


async def test_a_certificate_near_its_end_is_renewed(world: World) -> None:
    directory = await world.directory()
    before = directory.configuration().host_certificate  # of 29 days, says the double
    async with world.running(directory):
        await until(lambda: directory.configuration().host_certificate != before)


@pytest.mark.parametrize(
    ("fault", "trouble", "advice"),
    [
        ((410, "ConnectEndpointGone"), Trouble.GONE, "Make a new one there"),
        ((400, "AgentTooOld"), Trouble.TOO_OLD, "pip install --upgrade towpath"),
        ((401, "AuthenticationFailed"), Trouble.TOKEN, "ask the service for a new setup key"),
    ],
)
async def test_what_only_the_owner_can_put_right_ends_it(
    world: World, fault: tuple[int, str], trouble: Trouble, advice: str
) -> None:
    directory = await world.directory()
    world.service.fault = fault
    with pytest.raises(ConnectError, match=advice) as caught:
        await asyncio.wait_for(serve_own(directory, Loaded.of(directory), PERSONAL_LIMITS), 10)
    assert caught.value.trouble is trouble


async def test_a_service_that_is_away_is_a_warning(world: World) -> None:
    directory = await world.directory()
    world.service.fault = (503, "ServiceUnavailable")
    async with world.running(directory) as agent:
        await until(lambda: agent.status()["warnings"])
        assert "cannot answer now" in agent.status()["warnings"][0]
        session = await world.open(agent.identity.node_id)
        await session.close()
        world.service.fault = None
        world.service.warning = "towpath 0.1 is served until 0.3 is there: update soon"
        agent._asked.set()
        await until(lambda: agent.status()["warnings"] == [world.service.warning])


async def test_a_machine_that_slept_tries_its_tunnel(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.connect.keeper.LOOK_S", 0.05)
    directory = await world.directory()
    slept = [0.0]
    from towpath.connect import surroundings

    real = surroundings.boot_clock
    monkeypatch.setattr(
        surroundings.Lookout.__init__,
        "__kwdefaults__",
        {
            **(surroundings.Lookout.__init__.__kwdefaults__ or {}),
            "clock": lambda: real() + slept[0],
        },
    )
    async with world.running(directory) as agent:
        tunnel = agent.keeper.tunnel
        assert tunnel is not None
        asked: list[bool] = []
        alive = tunnel.is_alive

        async def spied() -> bool:
            asked.append(await alive())
            return asked[-1]

        monkeypatch.setattr(tunnel, "is_alive", spied)
        slept[0] += 60
        await until(lambda: asked == [True])
        assert agent.keeper.tunnel is tunnel, "it was there still"

        async def dead() -> bool:
            return False

        monkeypatch.setattr(tunnel, "is_alive", dead)
        slept[0] += 60
        await until(lambda: agent.keeper.tunnel not in (tunnel, None))


async def test_the_log_has_no_secret(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    directory = await world.directory()
    tokens: list[str] = []
    mint = world.grant

    def remembered(*args: object, **changes: object) -> str:
        tokens.append(mint(*args, **changes))  # type: ignore[arg-type]
        return tokens[-1]

    world.grant = remembered  # type: ignore[method-assign]
    async with world.running(directory) as agent:
        session = await world.open(agent.identity.node_id)
        await there_and_back(session, world.home(), tmp_path)
        await session.close()
    assert "transfer" in caplog.text
    secrets = [*tokens, directory.token(), directory.tunnel_key_file.read_text()]
    secrets += [line for line in directory.host_key_file.read_text().splitlines() if len(line) > 30]
    for secret in secrets:
        assert secret not in caplog.text


async def test_what_the_service_refuses_holds_here_and_is_said(world: World) -> None:
    directory = await world.directory()
    async with world.running(directory) as agent:
        await until(lambda: agent.status()["told"])
        refused = {"code": "ClientError.BadRequest", "message": "too many folders"}
        world.service.refused_report = refused
        limited = replace(agent.chosen.current, limit_bytes_s=1_000_000)
        question = {"do": "choices", "choices": limited.to_document()}
        answer = await asyncio.to_thread(local_control.ask, directory.control_socket, question)
        assert answer["told"] is False
        assert any("refuses: too many folders" in text for text in answer["warnings"])
        assert agent.chosen.current == limited
        asked = world.service.count("/connect/report")
        agent._asked.set()
        await until(lambda: world.service.asked[-1][0] == "/connect/configuration")
        assert world.service.count("/connect/report") == asked, "not the same again"
        world.service.refused_report = None
        await choose(agent, directory.control_socket, replace(limited, limit_bytes_s=None))
        assert agent.status()["told"]
        assert agent.status()["warnings"] == []
