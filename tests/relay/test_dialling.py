"""What the relay dials for an agent: what service and policy both allow, never itself."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from plugins.relay_rig import TestAgent, opened
from towpath.platform.dial import DialPolicy
from towpath.relay import dialling
from towpath.tunnel import messages as words
from towpath.tunnel.messages import TunnelError
from towpath.tunnel.prologue import OK, Joined, ProbeSaid, PrologueReader, TicketSaid, prologue

ELSEWHERE = "127.0.0.2"
"""An address that is not the relay's own, on the same machine."""

NONCE = "n" * 22


@asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
) -> AsyncIterator[int]:
    started = await asyncio.start_server(serve, ELSEWHERE, 0)
    async with started:
        yield started.sockets[0].getsockname()[1]


async def refused(agent: TestAgent, host: str, port: int) -> TunnelError:
    answer = await agent.dial(host, port)
    assert isinstance(answer, words.Failed), answer
    return answer.code


async def test_what_the_service_allows_is_dialled_and_joined(tmp_path: Path) -> None:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    serve = lambda reader, writer: accepted.put_nowait((reader, writer))  # noqa: E731
    async with opened(tmp_path) as rig, serving(serve) as port:
        agent = await rig.agent()
        assert await refused(agent, ELSEWHERE, port) is TunnelError.REFUSED
        assert accepted.empty()
        rig.service.allowed.add((ELSEWHERE, port))
        ticket = await agent.dial(ELSEWHERE, port)
        assert isinstance(ticket, words.Ticket)
        reader, writer = await accepted.get()
        writer.write(b"from the server")
        half = await rig.say(TicketSaid(ticket.ticket), ahead=b"from the agent")
        assert await half.answer() == Joined()
        assert await half.receive(15) == b"from the server"
        assert await reader.readexactly(14) == b"from the agent"
        writer.close()
        assert await half.rest() == b""
        # a ticket that nobody says closes what was dialled for it
        rig.relay.exchange.tickets._lifetime_s = 0.05
        assert isinstance(await agent.dial(ELSEWHERE, port), words.Ticket)
        reader, writer = await accepted.get()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_it_never_dials_itself_and_asks_the_policy(tmp_path: Path) -> None:
    def strict(port: int) -> DialPolicy:
        return DialPolicy(own_listeners=[("127.0.0.1", port)])

    async with opened(tmp_path, policy=strict) as rig:
        agent = await rig.agent()
        hosts = (ELSEWHERE, "10.0.0.1", "169.254.1.1", "::1", "0.0.0.0")
        for host in ("127.0.0.1", *hosts):
            rig.service.allowed.add((host, rig.relay.port))
        for own in ("127.0.0.1", "::ffff:127.0.0.1"):
            assert await refused(agent, own, rig.relay.port) is TunnelError.UNREACHABLE
        for host in hosts:
            assert await refused(agent, host, rig.relay.port) is TunnelError.REFUSED, host
        # the service was not asked for its own port
        assert "127.0.0.1" not in {
            asked["host"] for path, asked in rig.service.asked if "dial" in path
        }


async def test_a_server_on_the_relays_machine_is_dialled_too(tmp_path: Path) -> None:
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    started = await asyncio.start_server(
        lambda _, writer: accepted.put_nowait(writer), "127.0.0.1", 0
    )
    async with opened(tmp_path) as rig, started:
        agent, port = await rig.agent(), started.sockets[0].getsockname()[1]
        assert await refused(agent, "127.0.0.1", port) is TunnelError.UNREACHABLE
        rig.service.allowed.add(("127.0.0.1", port))
        assert isinstance(await agent.dial("127.0.0.1", port), words.Ticket)
        (await accepted.get()).close()


async def test_the_relays_machine_is_dialled_only_where_the_operator_has_named_it(
    tmp_path: Path,
) -> None:
    """A listener behind the machine's own firewall is none for agents, whatever address it has."""
    public, own = "198.51.100.7", ipaddress.ip_network("198.51.100.0/24")
    for networks, asks in (((), 0), ((own,), 1)):
        policy = DialPolicy(allow_networks=networks)
        async with opened(
            tmp_path, None, lambda _, one=policy: one, data_addresses=(public,)
        ) as rig:
            agent = await rig.agent()
            for host in (public, f"::ffff:{public}"):
                assert await refused(agent, host, 5432) is TunnelError.UNREACHABLE
            assert rig.service.count("/relay/dial") == 2 * asks
            assert await refused(agent, "127.0.0.1", 5432) is not None


async def test_who_does_not_answer_and_a_service_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as rig:
        agent = await rig.agent()
        with socket.socket() as closed:
            closed.bind((ELSEWHERE, 0))
            port = closed.getsockname()[1]
            rig.service.allowed.add((ELSEWHERE, port))
            assert await refused(agent, ELSEWHERE, port) is TunnelError.UNREACHABLE
            closed.listen(0)
            monkeypatch.setattr(dialling, "DIAL_S", 0.2)
            filling = [socket.socket() for _ in range(3)]
            for one in filling:
                one.setblocking(False)
                one.connect_ex((ELSEWHERE, port))
            assert await refused(agent, ELSEWHERE, port) is TunnelError.UNREACHABLE
            for one in filling:
                one.close()
        rig.service.away = True
        assert await refused(agent, ELSEWHERE, port) is TunnelError.UNAVAILABLE
        assert rig.relay.exchange.joins == 0


async def test_a_probe_says_whether_the_agent_can_be_reached(tmp_path: Path) -> None:
    async def agents_port(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = PrologueReader().feed(await reader.readline())
        if said == ProbeSaid(NONCE):
            writer.write(OK)
        writer.close()

    async with opened(tmp_path, bind_host="0.0.0.0", data_addresses=("192.0.2.1",)) as rig:
        started = await asyncio.start_server(agents_port, "127.0.0.1", 0)
        async with started:
            port = started.sockets[0].getsockname()[1]
            agent = await rig.agent()
            probed = await agent.ask(lambda number: words.Probe(number, port, NONCE))
            assert isinstance(probed, words.Probed)
            assert (probed.open, probed.address) == (True, "127.0.0.1")
            node = agent.identity.node_id
            await rig.until(
                lambda: rig.service.connected.get(node, {}).get("direct_address", "") == "127.0.0.1"
            )
            # open to all: told to others, wherever they are
            listener = await agent.listen("10.9.8.7:4000")
            ticket = await (await rig.agent()).dial("192.0.2.1", listener.port)
            assert isinstance(ticket, words.Ticket)
            assert "127.0.0.1:4000" in ticket.candidates
            for nonce, other in (("other" * 5, port), (NONCE, rig.relay.port), (NONCE, 1)):
                probed = await agent.ask(
                    lambda number, port=other, nonce=nonce: words.Probe(number, port, nonce)
                )
                assert isinstance(probed, words.Probed)
                assert not probed.open
            await rig.until(
                lambda: rig.service.connected.get(node, {}).get("direct_address", "") is None
            )


async def test_a_port_that_says_nonsense_or_nothing_is_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "PROBE_S", 0.2)

    def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-something\r\n")
        writer.close()

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    started = [
        await asyncio.start_server(nonsense, "127.0.0.1", 0),
        await asyncio.start_server(nothing, "127.0.0.1", 0),
    ]
    async with opened(tmp_path) as rig, started[0], started[1]:
        agent = await rig.agent()
        for one in started:
            port = one.sockets[0].getsockname()[1]
            probed = await agent.ask(lambda number, port=port: words.Probe(number, port, NONCE))
            assert isinstance(probed, words.Probed)
            assert not probed.open


async def test_the_relay_is_no_port_of_an_agents(tmp_path: Path) -> None:
    async with opened(tmp_path) as rig:
        answer = await (await rig.dial(ahead=prologue(ProbeSaid(NONCE)))).answer()
        assert answer != Joined()
