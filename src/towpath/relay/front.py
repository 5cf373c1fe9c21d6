"""The relay's one port: whoever connects is told apart by the first bytes he says."""

import asyncio
import contextlib
import select
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from towpath.relay.limits import (
    HANDSHAKES_AT_ONCE,
    HANDSHAKES_OF_SITE,
    STRANGERS,
    TURN_S,
    WAITING_HANDSHAKES,
    WAITING_OF_SITE,
)
from towpath.relay.sockets import abort, peer_ip, readable, say_and_close, site_of
from towpath.relay.tickets import Tickets
from towpath.tunnel.prologue import (
    LINE_LIMIT,
    PROLOGUE_S,
    PassShown,
    ProbeSaid,
    PrologueError,
    PrologueReader,
    Refusal,
    Said,
    TicketSaid,
    refusal,
)

_SSH: Final = b"S"
"""How SSH begins (RFC 4253, 4.2). A prologue begins with another letter."""

_log = structlog.stdlib.get_logger("towpath.relay.front")


class Front:
    """Gives each connection to whom it is for."""

    def __init__(
        self,
        *,
        tickets: Tickets,
        tunnel: Callable[[socket.socket], Awaitable[None]],
        control: Callable[[socket.socket, str], Awaitable[None]],
        accepting: Callable[[], bool],
        prologue_s: float = PROLOGUE_S,
    ) -> None:
        """``tunnel`` and ``control`` own what they are given; the second one with its pass.
        ``accepting``: false when the relay takes nothing new.
        """
        self._tickets = tickets
        self._tunnel = tunnel
        self._control = control
        self._accepting = accepting
        self._prologue_s = prologue_s
        self._strangers: dict[asyncio.Task[None], socket.socket] = {}
        self._known: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        self._waiting = 0
        self._sites: dict[str, _Site] = {}

    @property
    def strangers(self) -> int:
        """Connections that have not said what they want."""
        return len(self._strangers)

    @property
    def handshakes_waiting(self) -> int:
        """Agents that wait for their turn, or have it."""
        return self._waiting

    def take(self, connection: socket.socket) -> None:
        """Own an accepted connection."""
        if len(self._strangers) >= STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._meet(connection))
        self._strangers[task] = connection
        task.add_done_callback(self._met)

    async def close(self) -> None:
        """End all that is under way."""
        tasks = [*self._strangers, *self._known]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _met(self, task: asyncio.Task[None]) -> None:
        self._strangers.pop(task, None)
        self._known.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("relay.front_failed", exc_info=error)

    def _go_on(self, work: Awaitable[None]) -> None:
        """He is no stranger any more."""

        async def going_on() -> None:
            await work

        task = asyncio.get_running_loop().create_task(going_on())
        self._known.add(task)
        task.add_done_callback(self._met)

    async def _meet(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._prologue_s):
                said = await _said(connection)
        except (PrologueError, TimeoutError) as error:
            text = str(error) or f"nothing was said within {self._prologue_s:g} s"
            say_and_close(connection, refusal(Refusal.MALFORMED, text))
        except OSError:
            connection.close()
        except asyncio.CancelledError:
            abort(connection)
            raise
        else:
            self._serve(connection, said)

    def _serve(self, connection: socket.socket, said: Said | None) -> None:
        if isinstance(said, TicketSaid):
            joined = self._tickets.take(said.ticket)
            if joined is None:
                text = "nobody waits for this ticket, or not any more"
                say_and_close(connection, refusal(Refusal.TICKET, text))
            else:
                joined(connection)
        elif not self._accepting():
            say_and_close(connection, refusal(Refusal.DRAINING, "this relay ends; try another"))
        elif isinstance(said, PassShown):
            self._go_on(self._control(connection, said.token))
        elif isinstance(said, ProbeSaid):
            say_and_close(connection, refusal(Refusal.MALFORMED, "this is a relay"))
        elif self._waiting >= WAITING_HANDSHAKES:
            connection.close()
        else:
            self._go_on(self._in_turn(connection))

    async def _in_turn(self, connection: socket.socket) -> None:
        try:
            name = site_of(peer_ip(connection))
        except OSError:
            connection.close()
            return
        site = self._sites.setdefault(name, _Site())
        if site.connections >= WAITING_OF_SITE:
            connection.close()
            return
        self._waiting += 1
        site.connections += 1
        try:
            async with site.places:
                await self._shake_hands(connection)
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._waiting -= 1
            site.connections -= 1
            if not site.connections:
                del self._sites[name]

    async def _shake_hands(self, connection: socket.socket) -> None:
        async with self._turn:
            if _has_gone(connection):
                connection.close()  # its turn would be wasted
                return
            handshake = asyncio.ensure_future(self._tunnel(connection))
            try:
                await asyncio.wait((handshake,), timeout=TURN_S)
            except asyncio.CancelledError:
                handshake.cancel()
                raise
        await handshake


@dataclass(eq=False)
class _Site:
    """Agents' connections from one address."""

    connections: int = 0
    """That wait for a place, or have one."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HANDSHAKES_OF_SITE))


async def _said(connection: socket.socket) -> Said | None:
    """The prologue, and not a byte of what is behind it; None if it is SSH, of which nothing was
    taken. Raises PrologueError, OSError.
    """
    reader = PrologueReader()
    begun = False
    while True:
        await readable(connection)
        with contextlib.suppress(BlockingIOError):
            ahead = connection.recv(LINE_LIMIT, socket.MSG_PEEK)
            if not ahead:
                raise ConnectionError("it has gone")
            if not begun and ahead.startswith(_SSH):
                return None
            begun = True
            found = reader.feed(connection.recv(_up_to_line_end(ahead)))
            if found is not None:
                return found


def _up_to_line_end(ahead: bytes) -> int:
    at = ahead.find(b"\n")
    return len(ahead) if at < 0 else at + 1


def _has_gone(connection: socket.socket) -> bool:
    """Whether the peer has given up, though what it said is still there to be read."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
