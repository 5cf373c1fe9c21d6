"""The one port: strangers of all kinds, and agents that are known or not."""

import asyncio
import contextlib
import time
from pathlib import Path

import asyncssh
import pytest

from plugins.relay_rig import Identity, opened
from towpath.relay import front as front_module
from towpath.tunnel import CONTROL_FORWARD, PROTOCOL, SUBSYSTEM
from towpath.tunnel import messages as words
from towpath.tunnel.prologue import Joined, NotJoined, PassShown, Refusal, TicketSaid, prologue
from towpath.tunnel.tickets import new_ticket


async def test_a_prologue_may_come_in_single_bytes_with_data_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        connection = await rig.dial()
        line = prologue(PassShown(rig.mint(agent.identity)))
        for at in range(len(line) - 20):
            connection.writer.write(line[at : at + 1])
            await asyncio.sleep(0)
        await connection.send(line[-20:] + b"behind")
        assert await connection.answer() == Joined()
        assert await connection.receive(6) == b"behind"


async def test_nonsense_and_slowness_are_told_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        rig.relay.front._prologue_s = 0.3
        for said in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"TPJ1 ticket short\n",
            b"T" * 5000,
            b"\x16\x03\x01",
        ):
            answer = await (await rig.dial(ahead=said)).answer()
            assert isinstance(answer, NotJoined)
            assert answer.reason is Refusal.MALFORMED
        slow = await rig.dial()
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in prologue(TicketSaid(new_ticket())) * 9:
                await slow.send(bytes([byte]))
                await asyncio.sleep(0.02)
        assert time.monotonic() - began < 3
        silent = await rig.dial()
        answer = await silent.answer()
        assert isinstance(answer, NotJoined)
        await rig.until(lambda: rig.relay.front.strangers == 0)


async def test_who_says_nothing_does_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "STRANGERS", 3)
    async with opened(tmp_path) as rig:
        silent = [await rig.dial() for _ in range(4)]
        await rig.until(lambda: rig.relay.front.strangers == 3)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await silent[0].receive(1)
        assert (await rig.agent()).connection is not None


async def test_who_stops_in_the_middle_of_a_handshake_does_not_keep_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "TURN_S", 0.3)
    monkeypatch.setattr(front_module, "HANDSHAKES_OF_SITE", 100)
    monkeypatch.setattr(front_module, "HANDSHAKES_AT_ONCE", 2)
    async with opened(tmp_path) as rig:
        for _ in range(4):
            await rig.dial(ahead=b"SSH-2.0-nothing_more\r\n")
        await rig.until(lambda: rig.relay.front.handshakes_waiting == 4)
        began = time.monotonic()
        await rig.agent()
        assert time.monotonic() - began < 5
        assert rig.relay.front.handshakes_waiting == 4, "they have their time still"


async def test_one_address_does_not_take_all_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "HANDSHAKES_OF_SITE", 2)
    monkeypatch.setattr(front_module, "WAITING_OF_SITE", 3)
    monkeypatch.setattr(front_module, "HANDSHAKES_AT_ONCE", 3)
    async with opened(tmp_path) as rig:
        for _ in range(3):
            await rig.dial(ahead=b"SSH-2.0-nothing_more\r\n")
        await rig.until(lambda: rig.relay.front.handshakes_waiting == 3)
        more = await rig.dial(ahead=b"SSH-2.0-nothing_more\r\n")
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await more.receive(1)
        rig.agents_from = "127.0.0.5"
        await asyncio.wait_for(rig.agent(), 5)


async def test_only_known_keys_under_their_own_name_get_in(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        known, other = rig.identity(), rig.identity()
        unknown = asyncssh.generate_private_key("ssh-ed25519")
        for identity in (
            Identity(known.node_id, "", unknown),
            Identity(known.node_id, "", other.key),
            Identity("root", "", known.key),
            Identity("../../etc", "", known.key),
        ):
            with pytest.raises(asyncssh.PermissionDenied):
                await rig.log_in(identity)
        assert len(rig.relay.agents) == 0
        await rig.agent(known)
        assert len(rig.relay.agents) == 1


async def test_a_connection_may_try_few_keys(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(9)]
        with pytest.raises(asyncssh.Error):
            await asyncssh.connect(
                "127.0.0.1",
                rig.relay.port,
                config=None,
                agent_path=None,
                username=rig.identity().node_id,
                client_keys=keys,
                known_hosts=None,
            )
        assert rig.service.count("/relay/agent") == 3


async def test_a_tunnel_is_for_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        connection = await rig.log_in(rig.identity())
        for refused in (
            connection.run("id"),
            connection.open_connection("127.0.0.1", rig.relay.port),
            connection.start_sftp_client(),
            connection.create_process(term_type="xterm"),
        ):
            with pytest.raises(asyncssh.Error):
                await refused
        for host, port in (("", 0), ("127.0.0.1", 0), ("control", 2)):
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.start_server(lambda *_: None, host, port)


async def test_an_agent_is_there_when_it_has_said_hello_and_takes_control_connections(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as rig:
        identity = rig.identity()
        connection = await rig.log_in(identity)
        writer, reader, _ = await connection.open_session(subsystem=SUBSYSTEM, encoding=None)
        writer.write(words.encode(words.Dial(1, "127.0.0.1", 1)))
        early = words.decode_report(await reader.readline())
        assert isinstance(early, words.Failed)
        writer.write(words.encode(words.Hello(2, "9.9.9", PROTOCOL + 1)))
        other = words.decode_report(await reader.readline())
        assert isinstance(other, words.Failed)
        assert other.code is words.TunnelError.UNKNOWN
        writer.write(words.encode(words.Hello(3, "9.9.9", PROTOCOL)))
        assert isinstance(words.decode_report(await reader.readline()), words.Welcome)
        assert len(rig.relay.agents) == 0
        await connection.start_server(lambda *_: None, *CONTROL_FORWARD)
        await rig.until(lambda: len(rig.relay.agents) == 1)
        await rig.until(lambda: identity.node_id in rig.service.connected)
        assert rig.service.connected[identity.node_id]["version"] == "9.9.9"
        for line, code in (
            (b'{"id": 4, "do": "sing"}\n', words.TunnelError.UNKNOWN),
            (b'{"id": 5, "do": "dial", "host": 7}\n', words.TunnelError.MALFORMED),
        ):
            writer.write(line)
            answer = words.decode_report(await reader.readline())
            assert isinstance(answer, words.Failed)
            assert answer.code is code
        writer.write(b"nonsense\n")
        await rig.until(lambda: len(rig.relay.agents) == 0)


async def test_of_two_tunnels_of_a_node_the_newer_one_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        older = await rig.agent()
        listener = await older.listen()
        newer = await rig.agent(older.identity)
        assert older.reading is not None
        await asyncio.wait_for(older.reading, 5)
        assert len(rig.relay.agents) == 1
        with pytest.raises(ConnectionRefusedError):
            await rig.dial(listener.port)
        assert await (await rig.control(newer.identity)).answer() == Joined()
        assert rig.service.lost == []


async def test_an_agent_that_asks_too_much_waits_and_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        greedy, other = await rig.agent(), await rig.agent()
        began = time.monotonic()
        asked = [asyncio.create_task(greedy.dial("127.0.0.1", 1)) for _ in range(250)]
        await asyncio.sleep(0)
        await other.dial("127.0.0.1", 1)
        assert time.monotonic() - began < 0.5
        await asyncio.gather(*asked)
        assert time.monotonic() - began > 0.7


async def test_an_agent_that_does_not_read_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        agent.reader.channel.pause_reading()
        assert agent.reading is not None
        there = rig.relay.agents.get(agent.identity.node_id)
        assert there is not None
        for _ in range(60_000):
            there.tunnel.tell(words.Incoming("l", "T" * 43))
        await rig.until(lambda: len(rig.relay.agents) == 0)
