"""Every bound of a relay, with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

# --- the one port --------------------------------------------------------------------------------

BACKLOG: Final = 4096
"""Connections that the kernel keeps until we take them: all agents of a relay may come at once."""

STRANGERS: Final = 4096
"""Connections that have not said what they want. When there are more, the oldest one goes: who says
nothing for ten seconds must not keep others out."""

HANDSHAKES_AT_ONCE: Final = 16
"""Of tunnels. Each takes some 10 ms of one core and a few round trips: so many hide the round
trips of far agents, and leave the loop free in between. The others wait, with their connection."""
TURN_S: Final = 2.0
"""A handshake that takes longer goes on without one of these places: who says nothing more must not
keep others out."""
HANDSHAKES_OF_SITE: Final = 8
"""Of one address (IPv6: of one /64), also of those that take long."""
HANDSHAKE_S: Final = 30.0
"""From an agent's turn until its tunnel is there."""

LOGIN_KEYS: Final = 3
"""Keys that one connection may try: the service is asked about each, and an agent has one."""

WAITING_HANDSHAKES: Final = 8192
"""Connections of agents that wait for their turn, a descriptor each. One more is closed; its agent
comes again later."""
WAITING_OF_SITE: Final = 2048
"""Of these, from one address: a whole site comes back at once, and nobody fills the queue alone."""

# --- tunnels -------------------------------------------------------------------------------------

TUNNELS: Final = 4000
"""Agents of a relay: some 70 KiB each. One more is refused, and goes to another relay."""

KEEPALIVE_S: Final = 15.0
"""A tunnel that has been silent for so long is asked ..."""

KEEPALIVES_LOST: Final = 1
"""... and lost when so many questions in a row were not answered in time: 30 s after the last
byte. It keeps a NAT's memory fresh, too."""

HELLO_S: Final = 30.0
"""From the login until the agent has said hello and wants control connections."""

SUBSYSTEM_WINDOW: Final = 64 * 1024
"""Bytes of requests that an agent may send ahead: one line of the longest."""

REQUESTS_AT_ONCE: Final = 16
"""Requests of an agent that are worked on; the others wait in its window."""

REQUESTS_PER_S: Final = 50.0
"""Of an agent, in the long run ..."""

REQUESTS_BURST: Final = 200
"""... and at once. Who asks for more waits, and nobody else does. A lane needs two for each data
channel that it sets up."""

UNREAD_BYTES: Final = 1024 * 1024
"""What we have told an agent that does not read: then its tunnel is closed."""

CONTROL_WINDOW: Final = 256 * 1024
"""Bytes of a control connection in each direction that wait in us. Listings over it still have
1 MB/s where the round trip is a quarter of a second."""

CONTROL_CHUNK: Final = 32 * 1024
"""Read at once, as large as an SSH packet."""

CONTROL_OPEN_S: Final = 8.0
"""For the agent to take a control connection: less than whoever waits for the prologue's answer."""
CONTROL_UNANSWERED: Final = 200
"""Control connections that an agent neither took nor refused: each stays in the memory of its
tunnel, which is then closed. An agent that is well answers all of them."""

# --- listeners, tickets, joins -------------------------------------------------------------------

LISTENER_BACKLOG: Final = 128
"""Parallel connections of one data channel, all at once."""

LISTENER_IDLE_S: Final = 900.0
"""A listener that nobody is connected through is closed after so long."""

DIAL_S: Final = 10.0
"""To connect to a GridFTP server's data port."""

PROBE_S: Final = 3.0
"""To connect back to an agent and be answered: an open port answers in a round trip."""

JOINS: Final = 20_000
"""Of the relay. Each has two descriptors, and four more for its pipes while bytes move."""

PIPE_BYTES: Final = 1024 * 1024
"""Of each direction of a join in which bytes move: what the kernel gives everybody
(`fs.pipe-max-size`). Larger ones are not faster."""

PIPES_KEPT: Final = 64
"""Empty pipes that a thread keeps for who comes next."""

ROUNDS: Final = 8
"""Pipes' worth that one direction moves before it is another one's turn."""

SILENT_S: Final = 180.0
"""A join whose bytes nobody has acknowledged for so long is cut. Longer than the two minutes that
the kernel lets pass between two looks at a reader who has paused."""

SWEEP_S: Final = 15.0
"""How often these are looked for, and listeners that nobody uses."""

KEEPALIVE_SOCKET: Final = (15, 5, 3)
"""Of every TCP connection: asked after 15 s of silence, every 5 s, lost after three."""

# --- the service ---------------------------------------------------------------------------------

SERVICE_S: Final = 10.0
"""For the service to answer; then it is away."""

SERVICE_RETRY_S: Final = 2.0
"""Between two tries while it is away."""

PRESENCE_GATHER_S: Final = 0.1
"""Agents that come and go are reported together: so long after the first ..."""

PRESENCE_EVERY_S: Final = 1.0
"""... and not more often than this, so that a thousand that come back are a few requests."""

FULL_REPORT_S: Final = 300.0
"""How often everybody who is connected is named: mends whatever went wrong."""

REMEMBERED_S: Final = 600.0
"""For how long an agent that the service has confirmed may come back while the service is away."""

LAST_REPORT_S: Final = 3.0
"""For the service to hear that we end; it notices by itself, too."""

DRAIN_S: Final = 10.0
"""For joins to end after SIGTERM; whoever started us may wait 20 s."""


@dataclass(frozen=True)
class AgentLimits:
    """What one agent may have at once."""

    control_channels: int = 200
    """Control connections: the sessions of the service's tasks and its file manager."""
    listeners: int = 400
    """Two for each session, since a new one is asked for before the old one is gone."""
    data_connections: int = 800
    """Data connections, also those that wait for their other half: several for each session."""

    def narrowed(self, told: Mapping[str, Any]) -> "AgentLimits":
        """With what the service says of this agent; it may only ask for less."""
        lower = {
            name: min(value, getattr(self, name))
            for name in (each.name for each in fields(self))
            if isinstance(value := told.get(name), int) and value >= 0
        }
        return AgentLimits(**{**vars(self), **lower})
