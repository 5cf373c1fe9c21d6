"""The agents that are connected, one tunnel for each node."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from towpath.relay.limits import AgentLimits
from towpath.relay.presence import Present
from towpath.tunnel.messages import Answer, Event

if TYPE_CHECKING:
    import asyncssh

_log = structlog.stdlib.get_logger("towpath.relay.agents")


class Tunnel(Protocol):
    """What an agent's SSH connection can do for the rest of the relay."""

    def said_hello(self) -> None:
        """The agent has said a hello that we understand."""

    def tell(self, message: Answer | Event) -> None:
        """Send it; nothing happens if the tunnel is gone."""

    async def open_control(
        self, ip: str, port: int
    ) -> (
        "tuple[asyncssh.SSHServerConnection, asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]"
    ):
        """A channel to the agent's GridFTP server, for a client at an address.

        Raises OSError, `asyncssh.Error`.
        """

    def close(self, reason: str) -> None:
        """End it."""


@dataclass(eq=False)
class Agent:
    """One that is connected, as long as this tunnel lasts."""

    node_id: str
    endpoint_id: str
    kind: str
    address: str
    """Where its tunnel comes from: an IP address."""
    tunnel: Tunnel
    version: str = ""
    limits: AgentLimits = field(default_factory=AgentLimits)
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    direct_address: str | None = None
    """Where others can reach it, as a probe has shown."""

    def present(self) -> Present:
        """As the service is told."""
        return Present(self.node_id, self.address, self.version, self.direct_address, self.since)


class Agents:
    """By node. Of two tunnels of one node the newer one counts: its agent has come back, and the
    older one has not been noticed as lost yet.
    """

    def __init__(self) -> None:
        self._by_node: dict[str, Agent] = {}

    def __len__(self) -> int:
        return len(self._by_node)

    def __iter__(self) -> Iterator[Agent]:
        return iter(list(self._by_node.values()))

    def get(self, node_id: str) -> Agent | None:
        """The one that is connected."""
        return self._by_node.get(node_id)

    def add(self, agent: Agent) -> None:
        """It is connected from now on."""
        older = self._by_node.get(agent.node_id)
        self._by_node[agent.node_id] = agent
        if older is not None:
            _log.info("relay.agent_replaced", node=agent.node_id, address=agent.address)
            older.tunnel.close("another tunnel of the same node is newer")

    def remove(self, agent: Agent) -> bool:
        """Its tunnel is gone. False if another one had taken its place."""
        if self._by_node.get(agent.node_id) is not agent:
            return False
        del self._by_node[agent.node_id]
        return True
