"""What tickets stand for, until they are said or too old."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from towpath.tunnel.tickets import TICKET_LIFETIME_S, new_ticket


@dataclass(frozen=True)
class _Issued:
    said: Callable[[socket.socket], None]
    unsaid: Callable[[], None]
    timer: asyncio.TimerHandle


class Tickets:
    """Each is good for one connection, within its lifetime. They are nobody's in particular: who
    knows one was told it by this relay, through a tunnel.
    """

    def __init__(self, lifetime_s: float = TICKET_LIFETIME_S) -> None:
        self._lifetime_s = lifetime_s
        self._issued: dict[str, _Issued] = {}

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, said: Callable[[socket.socket], None], unsaid: Callable[[], None]) -> str:
        """A new one. ``said`` gets the connection that says it; else ``unsaid`` is called, once."""
        ticket = new_ticket()
        timer = asyncio.get_running_loop().call_later(self._lifetime_s, self.void, ticket)
        self._issued[ticket] = _Issued(said, unsaid, timer)
        return ticket

    def take(self, ticket: str) -> Callable[[socket.socket], None] | None:
        """What to do with the connection that said it; None if it is not good (any more)."""
        issued = self._issued.pop(ticket, None)
        if issued is None:
            return None
        issued.timer.cancel()
        return issued.said

    def close(self) -> None:
        """None is good any more."""
        for ticket in list(self._issued):
            self.void(ticket)

    def void(self, ticket: str) -> None:
        """It is not good any more. Nothing happens if it was said."""
        issued = self._issued.pop(ticket, None)
        if issued is not None:
            issued.timer.cancel()
            issued.unsaid()
