"""Listeners in an agent's place, tickets, and who may have what."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from plugins.relay_rig import opened
from towpath.relay import exchange as exchange_module
from towpath.tunnel import messages as words
from towpath.tunnel.prologue import Joined, NotJoined, Refusal, TicketSaid
from towpath.tunnel.tickets import new_ticket


async def test_a_gridftp_server_reaches_an_agent_through_the_relays_port(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        listener = await agent.listen()
        assert listener.host == "127.0.0.1"
        outside = await rig.dial(listener.port, ahead=b"sent before anybody was there")
        incoming = await agent.incoming()
        assert incoming.listener == listener.listener
        inside = await rig.say(TicketSaid(incoming.ticket), ahead=b"hello")
        assert await inside.answer() == Joined()
        assert await inside.receive(29) == b"sent before anybody was there"
        assert await outside.receive(5) == b"hello"
        outside.end()
        assert await inside.rest() == b""
        inside.end()
        assert await outside.rest() == b""
        await rig.until(lambda: rig.relay.exchange.joins == 0)


async def test_an_agent_reaches_another_one_directly_or_through_the_relay(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        receiver, sender = await rig.agent(), await rig.agent()
        # both are seen at the same address: what the receiver can be reached at is told
        listener = await receiver.listen("127.0.0.1:40123", "10.1.2.3:40123", "9.9.9.9:22")
        ticket = await sender.dial(listener.host, listener.port)
        assert isinstance(ticket, words.Ticket)
        assert ticket.candidates == ("127.0.0.1:40123", "10.1.2.3:40123")
        assert await receiver.event() == words.Expect(listener.listener, ticket.ticket)
        # they could not be reached: through the relay, and only now is the receiver asked to come
        assert receiver.events.empty()
        one = await rig.say(TicketSaid(ticket.ticket), ahead=b"data")
        incoming = await receiver.incoming()
        assert incoming.ticket != ticket.ticket
        other = await rig.say(TicketSaid(incoming.ticket))
        assert [await one.answer(), await other.answer()] == [Joined(), Joined()]
        assert await other.receive(4) == b"data"


async def test_a_ticket_is_good_once_and_not_to_be_guessed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        listener = await agent.listen()
        await rig.dial(listener.port)
        incoming = await agent.incoming()
        good = await rig.say(TicketSaid(incoming.ticket))
        assert await good.answer() == Joined()
        for ticket in (incoming.ticket, new_ticket(), listener.listener.ljust(43, "A")):
            refused = await (await rig.say(TicketSaid(ticket))).answer()
            assert isinstance(refused, NotJoined)
            assert refused.reason is Refusal.TICKET
        logged = capfd.readouterr().out
        assert "relay.agent_arrived" in logged
        assert incoming.ticket not in logged


async def test_what_nobody_fetches_ends_with_its_ticket(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        rig.relay.exchange.tickets._lifetime_s = 0.2
        receiver, sender = await rig.agent(), await rig.agent()
        listener = await receiver.listen()
        outside = await rig.dial(listener.port)
        ticket = await sender.dial(listener.host, listener.port)
        assert isinstance(ticket, words.Ticket)
        assert ticket.candidates == ()
        inside = await rig.say(TicketSaid(ticket.ticket))
        with pytest.raises(OSError, match="reset"):
            await outside.receive(1)
        answer = await inside.answer()
        assert isinstance(answer, NotJoined)
        assert answer.reason is Refusal.FAILED
        unused = await sender.dial(listener.host, listener.port)
        assert isinstance(unused, words.Ticket)
        await rig.until(lambda: rig.relay.exchange.joins == 0)
        late = await (await rig.say(TicketSaid(unused.ticket))).answer()
        assert isinstance(late, NotJoined)
        assert late.reason is Refusal.TICKET
        assert len(rig.relay.exchange.tickets) == 0


async def test_a_listener_is_its_agents_alone_and_ends_with_its_tunnel(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        owner, other = await rig.agent(), await rig.agent()
        first, second = await owner.listen(), await owner.listen()
        other.say(words.Unlisten(first.listener))
        await other.dial("127.0.0.1", 1)  # answered after it
        waiting = await rig.dial(first.port)
        await owner.incoming()
        owner.say(words.Unlisten(second.listener))
        await rig.until(lambda: rig.relay.exchange.listeners == 1)
        with pytest.raises(ConnectionRefusedError):
            await rig.dial(second.port)
        owner.connection.abort()
        with pytest.raises(OSError, match="reset"):
            await waiting.receive(1)
        await rig.until(lambda: rig.relay.exchange.listeners == 0)
        gone = await other.dial("127.0.0.1", first.port)
        assert isinstance(gone, words.Failed)
        assert gone.code is words.TunnelError.UNREACHABLE


async def test_joined_connections_outlive_the_tunnel(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent, outside, inside = await rig.joined()
        await agent.close()
        await rig.until(lambda: len(rig.relay.agents) == 0)
        await outside.send(b"still")
        assert await inside.receive(5) == b"still"


async def test_limits_of_an_agent(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        rig.service.limits |= {"listeners": 2, "data_connections": 2}
        agent, other = await rig.agent(), await rig.agent()
        listener, _ = await agent.listen(), await agent.listen()
        third = await agent.ask(words.Listen)
        assert isinstance(third, words.Failed)
        assert third.code is words.TunnelError.LIMIT
        await other.listen()  # another's limit is another's
        await rig.dial(listener.port)
        await rig.dial(listener.port)
        await agent.incoming()
        await agent.incoming()
        with pytest.raises(ConnectionResetError):
            await (await rig.dial(listener.port)).receive(1)
        refused = await agent.dial(listener.host, listener.port)
        assert isinstance(refused, words.Failed)
        assert refused.code is words.TunnelError.LIMIT


def three_ports() -> tuple[int, socket.socket]:
    """The first of three, which is taken; the others are free, and come to nobody by chance."""
    for first in range(20_000, 32_000, 10):
        with contextlib.ExitStack() as stack:
            try:
                taken, *_ = [
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
                    for port in range(first, first + 3)
                ]
            except OSError:
                continue
            return first, taken.dup()
    raise AssertionError("no ports")


async def test_listeners_have_ports_of_the_range_and_idle_ones_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, taken = three_ports()
    with taken:
        async with opened(tmp_path, data_ports=(first, first + 2)) as rig:
            agent = await rig.agent()
            ports = {(await agent.listen()).port, (await agent.listen()).port}
            assert ports == {first + 1, first + 2}
            none_left = await agent.ask(words.Listen)
            assert isinstance(none_left, words.Failed)
            monkeypatch.setattr(exchange_module, "LISTENER_IDLE_S", 0.0)
            rig.relay.exchange.sweep()
            assert rig.relay.exchange.listeners == 0
            assert isinstance(await agent.event(), words.Unlistened)


async def test_the_half_that_waits_may_go_before_it_is_fetched(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        listener = await agent.listen()
        outside = await rig.dial(listener.port)
        incoming = await agent.incoming()
        outside.reset()
        inside = await rig.say(TicketSaid(incoming.ticket))
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await inside.receive(100)
        await rig.until(lambda: rig.relay.exchange.joins == 0)
