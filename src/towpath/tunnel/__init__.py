"""The words that an agent, a relay and the service say to each other. A leaf, no I/O.

An agent is what runs at an endpoint that nobody can dial (`towpath.connect`). It holds one outbound
SSH connection, its *tunnel*, to a relay (`towpath.relay`). Through it come control connections of
the service, and over one channel of it agent and relay speak in lines of JSON
(:mod:`towpath.tunnel.messages`). Whoever wants a connection joined with another one dials the
relay's one port and says one line first (:mod:`towpath.tunnel.prologue`).
"""

from typing import Final

PROTOCOL: Final = 1
"""What both say in their ``hello``; another one is not spoken with."""

SUBSYSTEM: Final = "towpath-tunnel"
"""The SSH subsystem in which an agent and its relay exchange messages."""

CONTROL_FORWARD: Final = ("control", 1)
"""What an agent asks the relay to forward to it. It is no address: the relay opens a channel to it
for each control connection that shows a pass for this agent, and listens on nothing."""
