"""Connections that the relay makes for an agent, where the service and the operator allow it."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection

import structlog

from towpath.platform.dial import DialPolicy, DialRefused
from towpath.relay.agents import Agent, Agents
from towpath.relay.exchange import Exchange, ExchangeError, Listener
from towpath.relay.limits import DIAL_S, PROBE_S
from towpath.relay.service import Service, ServiceAwayError, ServiceRefusedError
from towpath.relay.sockets import is_ours, plain_ip
from towpath.tunnel.messages import (
    CANDIDATES_LIMIT,
    Answer,
    Dial,
    Failed,
    Probe,
    Probed,
    Ticket,
    TunnelError,
    candidate,
    candidate_address,
)
from towpath.tunnel.prologue import (
    LINE_LIMIT,
    AnswerReader,
    Joined,
    ProbeSaid,
    PrologueError,
    prologue,
)

_log = structlog.stdlib.get_logger("towpath.relay.dialling")


class Dialler:
    """Answers `dial` and `probe`."""

    def __init__(
        self,
        *,
        agents: Agents,
        exchange: Exchange,
        service: Service,
        policy: DialPolicy,
        own_addresses: Collection[str],
        own_port: Callable[[], int],
    ) -> None:
        """``own_addresses``: IP addresses under which our listeners are known."""
        self._agents = agents
        self._exchange = exchange
        self._service = service
        self._policy = policy
        self._own_addresses = own_addresses
        self._own_port = own_port

    async def dial(self, agent: Agent, asked: Dial) -> Answer:
        """A ticket for a connection to the address, or why there is none."""
        try:
            own = self._is_own(asked.host)
            listener = self._exchange.listener_at(asked.port) if own else None
            if listener is not None:
                found = candidates_for(agent, listener)
                ticket = self._exchange.ticket_to_listener(agent, listener, direct=bool(found))
                return Ticket(asked.id, ticket, found)
            if own and asked.port == self._own_port():
                return _nobody(asked)
            if (own or is_ours(asked.host)) and not self._policy.is_named(asked.host):
                # our own firewall is not in the way, and what listens here may rely on it
                return Failed(
                    asked.id,
                    TunnelError.UNREACHABLE if own else TunnelError.REFUSED,
                    f"{asked.host} is the relay's own machine; nobody listens for an agent at port"
                    f" {asked.port} (any more). For a GridFTP server there the operator can allow"
                    " it with dial.allow_networks, or --allow-network",
                )
            answer = await self._dial_out(agent, asked)
            # an endpoint's server may run on the relay's machine; more likely this was a listener
            refused = isinstance(answer, Failed) and answer.code is TunnelError.REFUSED
            return _nobody(asked) if own and refused else answer
        except ExchangeError as error:
            return Failed(asked.id, TunnelError.LIMIT, str(error))

    async def _dial_out(self, agent: Agent, asked: Dial) -> Answer:
        slot = self._exchange.slot(agent)
        target: socket.socket | None = None
        try:
            answer = await self._service.may_dial(agent.node_id, asked.host, asked.port)
            if not answer.allowed:
                return Failed(asked.id, TunnelError.REFUSED, answer.message)
            target = await self._policy.connect(asked.host, asked.port, timeout_s=DIAL_S)
            if self._agents.get(agent.node_id) is not agent:
                return Failed(asked.id, TunnelError.UNAVAILABLE, "the tunnel is gone")
            ticket = self._exchange.ticket_to_socket(slot, target)
        except (ServiceAwayError, ServiceRefusedError) as error:
            return Failed(asked.id, TunnelError.UNAVAILABLE, f"the service: {error}")
        except DialRefused as error:
            _log.warning("relay.dial_refused", node=agent.node_id, reason=str(error))
            return Failed(asked.id, TunnelError.REFUSED, str(error))
        except OSError as error:
            why = "no answer" if isinstance(error, TimeoutError) else str(error)
            text = f"{asked.host} port {asked.port}: {why}"
            return Failed(asked.id, TunnelError.UNREACHABLE, text)
        else:
            slot = target = None  # type: ignore[assignment]  # they are the ticket's now
            return Ticket(asked.id, ticket)
        finally:
            if slot is not None:
                slot.free()
            if target is not None:
                target.close()

    async def probe(self, agent: Agent, asked: Probe) -> Answer:
        """Whether the agent's port can be reached at the address that its tunnel comes from."""
        is_open = False
        try:
            if not (self._is_own(agent.address) and self._taken(asked.port)):
                async with asyncio.timeout(PROBE_S):
                    is_open = await self._is_open(agent.address, asked.port, asked.nonce)
        except (DialRefused, OSError, PrologueError) as error:
            _log.debug("relay.probe", node=agent.node_id, found=str(error) or "no answer")
        return Probed(asked.id, is_open, agent.address)

    async def _is_open(self, ip: str, port: int, nonce: str) -> bool:
        loop = asyncio.get_running_loop()
        connection = await self._policy.connect(ip, port, timeout_s=PROBE_S)
        with connection:
            await loop.sock_sendall(connection, prologue(ProbeSaid(nonce)))
            reader = AnswerReader()
            while data := await loop.sock_recv(connection, LINE_LIMIT):
                answer = reader.feed(data)
                if answer is not None:
                    return isinstance(answer, Joined)
        return False

    def _taken(self, port: int) -> bool:
        return port == self._own_port() or self._exchange.listener_at(port) is not None

    def _is_own(self, host: str) -> bool:
        """Whether it is an address of this machine at which we listen: we never dial ourselves."""
        try:
            return plain_ip(host) in self._own_addresses
        except ValueError:
            return False  # a name is checked when it is resolved, by the policy


def _nobody(asked: Dial) -> Failed:
    text = f"nobody listens on port {asked.port} of this relay (any more)"
    return Failed(asked.id, TunnelError.UNREACHABLE, text)


def candidates_for(agent: Agent, listener: Listener) -> tuple[str, ...]:
    """Addresses at which one agent may reach another one without us: its own ones behind the same
    router, and the one at which everybody can reach it.

    Only such as can be the other's: nobody has other agents knock at third parties' doors.
    """
    other = listener.agent
    found: list[str] = []
    ports: list[int] = []
    for text in listener.candidates:
        ip, port = candidate_address(text)
        ports.append(port)
        if agent.address == other.address and _is_behind(ip, other.address):
            found.append(text)
    if other.direct_address is not None and ports:
        found.append(candidate(other.direct_address, ports[0]))
    return tuple(dict.fromkeys(found))[:CANDIDATES_LIMIT]


def _is_behind(ip: str, public: str) -> bool:
    address = ipaddress.ip_address(ip)
    if ip == public:
        return True
    return address.is_private and not (
        address.is_loopback or address.is_link_local or address.is_unspecified
    )
