"""Circuits: a server that does not answer is left alone by tasks, and asked until it answers.

Pure: which failures say that a server is not there, when it is asked next, what tasks' owners are
told. A circuit is open from the first failure until a probe (a connection and the greeting, by
nobody's credential) finds the server; while there is none the server counts as well.
"""

from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from towpath.gridftp.errors import Fixer, GridFTPError, Kind, Phase
from towpath.transfer import times
from towpath.tunnel.names import endpoint_of_host

PROBE_FIRST_S = 1.0
"""A server that is started again takes longer, and who asks once a second is no burden."""
PROBE_MAX_S = 10.0
"""However long it was away, it is found within so long; a minute has six connections."""
PROBE_PART = 1 / 8
"""Of what the outage has lasted: the wait for the next probe adds little to it."""

_UNREACHABLE = frozenset(
    {
        Kind.AWAY,
        Kind.CONNECT,
        Kind.CONNECTION_LOST,
        Kind.DRAINING,
        Kind.PAUSED,
        Kind.PROTOCOL,
        Kind.TIMEOUT,
    }
)
"""What a login fails with where there is no server, a full one, one that hangs, or another
program. Whether it is so, or only this login, the probe finds out."""


AGENT_FOLLOWS = "The task waits, and resumes within seconds when it is back."
_AGENT_ADVICE: dict[str | None, str] = {
    "GC_PAUSED": "Resume the agent there: towpath connect resume.",
    None: "Wake it up or switch it on, see that it has network, and that the agent runs there"
    " (towpath connect status).",
}


def unreachable(error: GridFTPError) -> bool:
    """Whether a login that failed so makes it doubtful that the server is there."""
    return error.kind in _UNREACHABLE


def probe_after_s(outage_s: float, random: Random) -> float:
    """Seconds from a probe that failed to the next one, when the outage has lasted `outage_s`.

    Chance shortens it by up to a quarter: servers that were lost together, with the network, are
    not asked together.
    """
    longest = min(max(outage_s * PROBE_PART, PROBE_FIRST_S), PROBE_MAX_S)
    return longest * (1 - random.random() / 4)


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that does not answer, by the last probe."""

    host: str
    port: int
    name: str
    """Of the endpoint, or of that whose collection it is."""
    at_source: bool
    guest: bool
    """Whether it is reached by a guest collection, whose users are not told which server it is."""
    since: datetime
    next_probe: datetime
    code: str
    error: str

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Outage":
        """From a row of the store, as JSON has it."""
        return cls(
            host=row["host"],
            port=row["port"],
            name=row["name"],
            at_source=row["at_source"],
            guest=row["guest"],
            since=datetime.fromisoformat(row["since"]),
            next_probe=datetime.fromisoformat(row["next_probe"]),
            code=row["code"],
            error=row["error"],
        )

    def details(self) -> dict[str, Any]:
        """What the owner of a task that waits for it is told."""
        return {
            "error": self.error,
            "role": "source" if self.at_source else "destination",
            "phase": Phase.CONNECT,
            "since": times.show(self.since),
            "tried_next": times.show(self.next_probe),
            **(self._server() if endpoint_of_host(self.host) is None else self._agent()),
        }

    def _server(self) -> dict[str, Any]:
        return {
            "endpoint": self.name if self.guest else f"{self.host}:{self.port}",
            "next": "The server is asked until it answers; then the task goes on by itself.",
            "advice": "Check that the server is running and takes sessions, or ask its"
            " administrator.",
            "who_can_fix": Fixer.ADMINISTRATOR,
        }

    def _agent(self) -> dict[str, Any]:
        return {
            "endpoint": self.name,
            "next": AGENT_FOLLOWS,
            "advice": _AGENT_ADVICE.get(self.code, _AGENT_ADVICE[None]),
            "who_can_fix": " or ".join((Fixer.YOU, Fixer.ADMINISTRATOR)),
        }
