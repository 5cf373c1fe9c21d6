"""One relay, put together."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncssh
import structlog

from towpath import __version__
from towpath.grants.keys import KeySet
from towpath.grants.passes import PassVerifier
from towpath.platform.dial import DialPolicy
from towpath.relay.agents import Agent, Agents
from towpath.relay.control import Control
from towpath.relay.dialling import Dialler
from towpath.relay.exchange import Exchange
from towpath.relay.front import Front
from towpath.relay.joins import Joiner
from towpath.relay.limits import BACKLOG, DRAIN_S, SWEEP_S
from towpath.relay.presence import Present, Reporter
from towpath.relay.requests import Desk
from towpath.relay.service import Registered, Service
from towpath.relay.sockets import Accepting
from towpath.relay.tunnels import Tunnels, host_key, public_key_line
from towpath.tunnel.messages import ConfigurationChanged, Drain

_DRAIN_LOOK_S: Final = 0.1

_log = structlog.stdlib.get_logger("towpath.relay")


@dataclass(frozen=True)
class Place:
    """Where a relay is."""

    directory: Path
    """For its host key."""
    host: str
    """What agents dial: a name or an address."""
    bind_host: str
    """The address to listen on."""
    port: int
    """0: any free one."""
    data_addresses: tuple[str, ...]
    """IP addresses at which others reach its listeners; the first one is told for PASV."""
    data_ports: tuple[int, int] | None = None


class Relay:
    """Begins with :meth:`start`, and ends with :meth:`drain` and :meth:`close`."""

    def __init__(self, place: Place, service: Service, policy: Callable[[int], DialPolicy]) -> None:
        """``policy``: where to connect to, made when the relay's own port is known, which it never
        allows.

        Raises OSError, `asyncssh.KeyImportError`.
        """
        asyncssh.set_log_level("WARNING")
        self._place = place
        self._key = host_key(place.directory)
        self._accepts = True
        self._keys = KeySet({})
        self._verifier: PassVerifier | None = None
        self._verifies_for: tuple[str, str] | None = None
        self._socket = socket.create_server(
            (place.bind_host, place.port),
            family=socket.AF_INET6 if ":" in place.bind_host else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=place.bind_host == "::",
        )
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self.agents = Agents()
        self.joiner = Joiner()
        self.exchange = Exchange(
            bind_host=place.bind_host, data_ports=place.data_ports, joiner=self.joiner
        )
        self._reporter = Reporter(
            service,
            ourselves=self._ourselves,
            everybody=self._everybody,
            registered=self._registered,
            cut=self._cut,
        )
        desk = Desk(
            exchange=self.exchange,
            dialler=Dialler(
                agents=self.agents,
                exchange=self.exchange,
                service=service,
                policy=policy(self.port),
                own_addresses=self._own_addresses(),
                own_port=lambda: self.port,
            ),
            reporter=self._reporter,
            listener_host=lambda _: place.data_addresses[0],
        )
        tunnels = Tunnels(
            key=self._key,
            agents=self.agents,
            service=service,
            desk=lambda: desk,
            arrived=self._arrived,
            left=self._left,
            accepting=lambda: self._accepts,
        )
        self.control = Control(self.agents, lambda: self._verifier)
        self.front = Front(
            tickets=self.exchange.tickets,
            tunnel=tunnels.make,
            control=self.control.take,
            accepting=lambda: self._accepts,
        )
        self._accepting: Accepting | None = None
        self._background: list[asyncio.Task[None]] = []

    @property
    def host_key(self) -> str:
        """The public one, as agents are told it."""
        return public_key_line(self._key)

    @property
    def registered(self) -> bool:
        """Whether the service has answered."""
        return self._verifier is not None

    def start(self) -> None:
        """Take connections, and tell the service."""
        self._accepting = Accepting(self._socket, self.front.take)
        loop = asyncio.get_running_loop()
        self._background = [
            loop.create_task(self._reporter.run()),
            loop.create_task(self._sweep()),
        ]
        _log.info("relay.ready", host=self._place.host, port=self.port)

    async def drain(self, within_s: float = DRAIN_S) -> None:
        """Take nothing new, send agents elsewhere, let data connections end for a while."""
        self._accepts = False
        self._reporter.tell_now()
        for agent in self.agents:
            agent.tunnel.tell(Drain())
        _log.info("relay.drains", agents=len(self.agents), joins=self.exchange.joins)
        deadline = asyncio.get_running_loop().time() + within_s
        while self.exchange.joins or self.control.count:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_DRAIN_LOOK_S)

    async def close(self) -> None:
        """End everything that is left."""
        if self._accepting is not None:
            self._accepting.stop()
        self._socket.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._reporter.last_report()
        self.exchange.close()
        for agent in self.agents:
            agent.tunnel.close("the relay ends")
        await self.front.close()
        await asyncio.to_thread(self.joiner.close)
        _log.info("relay.ended")

    # --- what its parts ask ----------------------------------------------------------------------

    def _own_addresses(self) -> Collection[str]:
        own = set(self._place.data_addresses)
        bound = ipaddress.ip_address(self._place.bind_host)
        own.add(str(bound))
        if bound.is_unspecified:
            own |= {"127.0.0.1", "::1"}
        return own

    def _ourselves(self) -> dict[str, Any]:
        return {
            "host": self._place.host,
            "port": self.port,
            "host_key": self.host_key,
            "data_addresses": list(self._place.data_addresses),
            "version": __version__,
            "agents": len(self.agents),
            "draining": not self._accepts,
        }

    def _everybody(self) -> list[Present]:
        return [agent.present() for agent in self.agents]

    def _registered(self, registered: Registered) -> None:
        if registered.keys != self._keys:
            known, self._keys = bool(self._keys.keys), registered.keys
            for agent in self.agents if known else ():
                agent.tunnel.tell(ConfigurationChanged())  # it verifies grants by the same keys
        ours = registered.issuer, registered.relay_id
        if self._verifies_for != ours:  # a new one would have forgotten the passes that were used
            self._verifies_for = ours
            self._verifier = PassVerifier(
                issuer=registered.issuer, audience=registered.relay_id, keys=lambda: self._keys
            )
            _log.info("relay.registered", relay_id=registered.relay_id)

    def _cut(self, node_id: str) -> None:
        agent = self.agents.get(node_id)
        if agent is not None:
            _log.info("relay.agent_cut", node=node_id)
            agent.tunnel.close("the service does not know this agent any more")

    def _arrived(self, agent: Agent) -> None:
        self.agents.add(agent)
        self._reporter.connected(agent.present())
        _log.info("relay.agent_arrived", node=agent.node_id, address=agent.address)
        if not self._accepts:
            agent.tunnel.tell(Drain())

    def _left(self, agent: Agent, heard_at: datetime) -> None:
        self.exchange.forget(agent)
        if self.agents.remove(agent):
            self._reporter.lost(agent.node_id, heard_at)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.exchange.sweep()
