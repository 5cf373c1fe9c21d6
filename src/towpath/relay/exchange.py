"""Where connections meet: listeners in agents' places, tickets, and joins."""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from towpath.relay.agents import Agent
from towpath.relay.joins import Ended, Joiner, JoinsFullError
from towpath.relay.limits import JOINS, LISTENER_BACKLOG, LISTENER_IDLE_S
from towpath.relay.slots import Slot, Slots
from towpath.relay.sockets import Accepting, abort, reset_at_end, say_and_close
from towpath.relay.tickets import Tickets
from towpath.tunnel.messages import Expect, Incoming, Unlistened
from towpath.tunnel.prologue import OK, Refusal, refusal

LISTENER_NAME_BYTES: Final = 9

_log = structlog.stdlib.get_logger("towpath.relay.exchange")


class ExchangeError(Exception):
    """A limit, or a port that is not to be had; the message is for the agent."""


@dataclass(eq=False)
class Listener:
    """A port on which we listen in an agent's place."""

    name: str
    agent: Agent
    port: int
    candidates: tuple[str, ...]
    socket: socket.socket
    waiting: set[str] = field(default_factory=set)
    """Tickets of connections that wait for the agent."""
    joined: int = 0
    used_at: float = field(default_factory=time.monotonic)


class Exchange:
    """All of it, on one event loop; only the bytes are moved elsewhere."""

    def __init__(
        self, *, bind_host: str, data_ports: tuple[int, int] | None, joiner: Joiner
    ) -> None:
        self._bind_host = bind_host
        self._ports = data_ports
        self._joiner = joiner
        self._listeners: dict[int, Listener] = {}
        self._joins = Slots(JOINS)
        self._listening = Slots(65_536)
        self._slots: dict[Listener, Slot] = {}
        self._accepting: dict[Listener, Accepting] = {}
        self._next_port = 0 if data_ports is None else data_ports[0]
        self.tickets = Tickets()

    @property
    def joins(self) -> int:
        """That move bytes, or wait for a half."""
        return self._joins.taken

    @property
    def listeners(self) -> int:
        """Ports that are listened on."""
        return len(self._listeners)

    # --- listeners -------------------------------------------------------------------------------

    def listen(self, agent: Agent, candidates: tuple[str, ...]) -> Listener:
        """A port in the agent's place. Raises :class:`ExchangeError`."""
        slot = self._listening.take(agent, agent.limits.listeners)
        if slot is None:
            raise ExchangeError(f"an agent has at most {agent.limits.listeners} listeners")
        try:
            listening = self._bind()
        except ExchangeError:
            slot.free()
            raise
        port = int(listening.getsockname()[1])
        name = secrets.token_urlsafe(LISTENER_NAME_BYTES)
        listener = Listener(name, agent, port, candidates, listening)
        self._listeners[port] = listener
        self._slots[listener] = slot
        listening.setblocking(False)
        take = partial(self.offer, listener, ticketed=False)
        self._accepting[listener] = Accepting(listening, take)
        return listener

    def listener_at(self, port: int) -> Listener | None:
        """Who has this port."""
        return self._listeners.get(port)

    def unlisten(self, agent: Agent, name: str) -> bool:
        """End a listener of this agent. False if it has none of this name."""
        for listener in self._listeners.values():
            if listener.name == name and listener.agent is agent:
                self._close(listener)
                return True
        return False

    def forget(self, agent: Agent) -> None:
        """Its tunnel is gone: end its listeners. What is joined goes on, it needs no tunnel."""
        for listener in [one for one in self._listeners.values() if one.agent is agent]:
            self._close(listener)

    def sweep(self) -> None:
        """End listeners that nobody uses."""
        too_old = time.monotonic() - LISTENER_IDLE_S
        for listener in list(self._listeners.values()):
            if not listener.joined and not listener.waiting and listener.used_at < too_old:
                listener.agent.tunnel.tell(Unlistened(listener.name))
                self._close(listener)

    def close(self) -> None:
        """End all listeners, and whatever waits for its other half."""
        for listener in list(self._listeners.values()):
            self._close(listener)
        self.tickets.close()

    def _close(self, listener: Listener) -> None:
        self._accepting.pop(listener).stop()
        listener.socket.close()
        del self._listeners[listener.port]
        self._slots.pop(listener).free()
        for ticket in list(listener.waiting):
            self.tickets.void(ticket)

    def _bind(self) -> socket.socket:
        last: OSError | None = None
        for port in self._ports_to_try():
            try:
                return socket.create_server(
                    (self._bind_host, port),
                    family=socket.AF_INET6 if ":" in self._bind_host else socket.AF_INET,
                    backlog=LISTENER_BACKLOG,
                    dualstack_ipv6=self._bind_host == "::",
                )
            except OSError as error:
                last = error
        _log.warning("relay.no_port", error=str(last), ports=self._ports)
        raise ExchangeError(f"the relay has no free port to listen on ({last})")

    def _ports_to_try(self) -> Iterable[int]:
        """From where the last one was found, so that a port rests before it is used again: a late
        connection of the last one that had it must not meet the next.
        """
        if self._ports is None:
            yield 0
            return
        first, last = self._ports
        for _ in range(last - first + 1):
            port = self._next_port
            self._next_port = first if port >= last else port + 1
            if port not in self._listeners:
                yield port

    # --- halves that meet ------------------------------------------------------------------------

    def offer(self, listener: Listener, connection: socket.socket, *, ticketed: bool) -> None:
        """A connection for the agent of a listener: it is told to come and fetch it.

        ``ticketed``: who made it waits for the prologue's answer.
        """
        agent = listener.agent
        slot = self._joins.take(agent.node_id, agent.limits.data_connections)
        if slot is None or self._listeners.get(listener.port) is not listener:
            if slot is not None:
                slot.free()
            why = Refusal.GONE if slot is not None else Refusal.BUSY
            _refuse(connection, why, "the other agent cannot take it", ticketed=ticketed)
            return
        listener.used_at = time.monotonic()
        reset_at_end(connection, on=True)

        def fetched(half: socket.socket) -> None:
            listener.waiting.discard(ticket)
            listener.joined += 1
            self._meet((half, True), (connection, ticketed), partial(self._parted, listener, slot))

        def unfetched() -> None:
            listener.waiting.discard(ticket)
            slot.free()
            why = "the other agent did not come for it"
            _refuse(connection, Refusal.FAILED, why, ticketed=ticketed)

        ticket = self.tickets.issue(fetched, unfetched)
        listener.waiting.add(ticket)
        agent.tunnel.tell(Incoming(listener.name, ticket))

    def ticket_to_listener(self, agent: Agent, listener: Listener, *, direct: bool) -> str:
        """A ticket with which an agent reaches another one's listener. ``direct``: it tries the
        other's own port first. Raises :class:`ExchangeError`.
        """
        slot = self.slot(agent)

        def said(connection: socket.socket) -> None:
            # from here on it counts as the other agent's
            slot.free()
            self.offer(listener, connection, ticketed=True)

        ticket = self.tickets.issue(said, slot.free)
        if direct:
            listener.used_at = time.monotonic()
            listener.agent.tunnel.tell(Expect(listener.name, ticket))
        return ticket

    def ticket_to_socket(self, slot: Slot, target: socket.socket) -> str:
        """A ticket for a connection that we have made for an agent, and own from now on."""
        reset_at_end(target, on=True)

        def said(connection: socket.socket) -> None:
            self._meet((connection, True), (target, False), partial(_free, slot))

        def unsaid() -> None:
            slot.free()
            abort(target)

        return self.tickets.issue(said, unsaid)

    def slot(self, agent: Agent) -> Slot:
        """Room for one more data connection. Raises :class:`ExchangeError`."""
        slot = self._joins.take(agent.node_id, agent.limits.data_connections)
        if slot is None:
            raise ExchangeError(
                f"an agent has at most {agent.limits.data_connections} data connections"
            )
        return slot

    def _meet(
        self,
        one: tuple[socket.socket, bool],
        other: tuple[socket.socket, bool],
        parted: Callable[[Ended], None],
    ) -> None:
        """Join two sockets; those of which that is true are told so."""
        loop = asyncio.get_running_loop()
        try:
            for connection, told in (one, other):
                if told:
                    connection.send(OK)  # the first bytes of a connection never wait
        except OSError as error:
            # who waited has gone: the other one is told as a joined end would be
            abort(one[0])
            abort(other[0])
            parted(Ended(0, 0, str(error)))
            return
        try:
            self._joiner.join(one[0], other[0], partial(_in_loop, loop, parted))
        except JoinsFullError as error:
            _log.warning("relay.no_join", error=str(error))
            parted(Ended(0, 0, str(error)))

    def _parted(self, listener: Listener, slot: Slot, ended: Ended) -> None:
        listener.joined -= 1
        listener.used_at = time.monotonic()
        _free(slot, ended)


def _free(slot: Slot, ended: Ended) -> None:
    slot.free()
    _log.info("relay.parted", sent=ended.sent, received=ended.received, failure=ended.failure)


def _in_loop(
    loop: asyncio.AbstractEventLoop, parted: Callable[[Ended], None], ended: Ended
) -> None:
    """From a thread of joins."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(parted, ended)


def _refuse(connection: socket.socket, reason: Refusal, text: str, *, ticketed: bool) -> None:
    if ticketed:
        say_and_close(connection, refusal(reason, text))
    else:
        abort(connection)
