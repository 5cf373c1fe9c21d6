"""Control connections through a tunnel: who gets one, and what flows."""

import asyncio
import time
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from asyncssh.constants import MSG_CHANNEL_OPEN

from plugins.relay_rig import Identity, opened
from towpath.grants.keys import SigningKey
from towpath.relay import control as control_module
from towpath.relay import tunnels as tunnels_module
from towpath.relay.limits import CONTROL_WINDOW
from towpath.tunnel.prologue import Joined, NotJoined, PassShown, Refusal


async def test_what_flows_is_what_was_said_and_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        ahead = b"sent ahead of the answer"
        connection = await rig.say(PassShown(rig.mint(agent.identity)), ahead)
        assert await connection.answer() == Joined()
        assert await connection.receive(len(ahead)) == ahead
        many = bytes(range(256)) * 4096
        sending = asyncio.create_task(connection.send(many))
        assert await connection.receive(len(many)) == many
        await sending
        connection.end()
        assert await connection.rest() == b""
        await rig.until(lambda: rig.relay.control.count == 0)


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"now": time.time() - 200},
    "of another deployment": {"issuer": "https://elsewhere.example.org"},
    "for another relay": {"audience": "5f0b2c39-0000-4000-8000-000000000002"},
    "forged": {"key": SigningKey.new()},
}


async def test_passes_are_for_this_relay_fresh_and_used_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path) as rig:
        agent = (await rig.agent()).identity
        for changes in REFUSED.values():
            connection = await rig.control(agent, **changes)
            answer = await connection.answer()
            assert isinstance(answer, NotJoined)
            assert answer.reason is Refusal.PASS
            assert await connection.rest() == b""
        shown = PassShown(rig.mint(agent))
        assert await (await rig.say(shown)).answer() == Joined()
        again = await (await rig.say(shown)).answer()
        assert isinstance(again, NotJoined)
        assert again.reason is Refusal.PASS
        assert "before" in again.text
        logged = capfd.readouterr().out
        assert "relay.pass_refused" in logged
        assert not any(part in logged for part in shown.token.split("."))


async def test_a_pass_for_who_is_not_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent = (await rig.agent()).identity
        for absent in (
            Identity("00000000-0000-4000-8000-000000000009", agent.endpoint_id, agent.key),
            Identity(agent.node_id, "00000000-0000-4000-8000-000000000009", agent.key),
        ):
            answer = await (await rig.control(absent)).answer()
            assert isinstance(answer, NotJoined)
            assert answer.reason is Refusal.GONE


async def test_both_ends_notice_when_the_other_goes(tmp_path: Path) -> None:
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def until_the_end(
        reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]
    ) -> None:
        writer.write(b"220 ready\r\n")
        try:
            ended.put_nowait(await reader.read(1))
        except (asyncssh.Error, OSError):
            ended.put_nowait(b"")

    async with opened(tmp_path) as rig:
        agent = await rig.agent(control=until_the_end)
        first = await rig.control(agent.identity)
        assert await first.answer() == Joined()
        assert await first.receive(11) == b"220 ready\r\n"
        first.writer.transport.abort()
        assert await asyncio.wait_for(ended.get(), 5) == b""
        second = await rig.control(agent.identity)
        assert await second.answer() == Joined()
        agent.connection.abort()
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            await second.receive(100)
        assert time.monotonic() - began < 5
        await rig.until(lambda: rig.relay.control.count == 0)


async def test_only_the_end_of_the_agents_session_is_an_end_of_file(tmp_path: Path) -> None:
    async def silent(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()
        writer.close()

    async with opened(tmp_path) as rig:
        agent = await rig.agent(control=silent)
        ended = await rig.control(agent.identity)
        assert await ended.answer() == Joined()
        ended.end()
        assert await ended.rest() == b"220 ready\r\n"
        cut = await rig.control(agent.identity)
        assert await cut.answer() == Joined()
        assert await cut.receive(11) == b"220 ready\r\n"
        agent.connection.close()  # in good order, but with sessions in it
        with pytest.raises(ConnectionResetError):
            await cut.rest()
        await rig.until(lambda: rig.relay.control.count == 0)


async def test_an_agent_that_leaves_control_connections_unanswered_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "CONTROL_OPEN_S", 0.05)
    monkeypatch.setattr(tunnels_module, "CONTROL_UNANSWERED", 3)
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        deaf = {**agent.connection._packet_handlers, MSG_CHANNEL_OPEN: lambda *_: None}
        monkeypatch.setattr(agent.connection, "_packet_handlers", deaf)
        for _ in range(3):
            assert len(rig.relay.agents) == 1
            answer = await (await rig.control(agent.identity)).answer()
            assert isinstance(answer, NotJoined)
            assert answer.reason is Refusal.FAILED
        await rig.until(lambda: len(rig.relay.agents) == 0)


async def test_who_does_not_read_stops_who_writes(tmp_path: Path) -> None:
    sent = 0

    async def flood(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        nonlocal sent
        while not writer.is_closing():
            writer.write(b"x" * 32768)
            await writer.drain()
            sent += 32768

    async with opened(tmp_path) as rig:
        agent = await rig.agent(control=flood)
        connection = await rig.control(agent.identity)
        assert await connection.answer() == Joined()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        # the relay's window and buffers, and the kernel's of two sockets
        assert sent < 4 * CONTROL_WINDOW + 16 * 1024 * 1024
        # others are not held up
        assert isinstance(await agent.dial("127.0.0.1", 1), object)
        await connection.close()


async def test_an_agent_has_so_many_control_connections(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        rig.service.limits["control_channels"] = 2
        agent = (await rig.agent()).identity
        first, second, third = [await rig.control(agent) for _ in range(3)]
        assert [await first.answer(), await second.answer()] == [Joined(), Joined()]
        answer = await third.answer()
        assert isinstance(answer, NotJoined)
        assert answer.reason is Refusal.BUSY
        await first.close()
        await rig.until(lambda: rig.relay.control.count == 1)
        assert await (await rig.control(agent)).answer() == Joined()
