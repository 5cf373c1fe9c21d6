"""Which way data connections take: directly where that works, else by the relay.

As the sender we are told an address, and dial it. Where nothing answers, the relay gives a ticket:
with it the connection is made at another agent's own port, if there is one and it can be reached,
else at the relay, which joins it with the other side.

As the receiver we listen ourselves if the relay could reach a port of ours, else it listens in our
place, and tells of each connection that comes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final, Protocol

from towpath.connect.accepting import accept
from towpath.connect.configuration import Relay
from towpath.connect.proxy import Proxy, connect, dial, read_line
from towpath.connect.tunnel import TunnelFailed
from towpath.gridftp.client.dial import reason_of
from towpath.tunnel import messages as words
from towpath.tunnel.messages import candidate, candidate_address
from towpath.tunnel.prologue import (
    LINE_LIMIT,
    OK,
    PROLOGUE_S,
    AnswerReader,
    Joined,
    NotJoined,
    ProbeSaid,
    PrologueError,
    PrologueReader,
    Refusal,
    TicketSaid,
    prologue,
    refusal,
)

_log: Final = logging.getLogger(__name__)

DIRECT_S: Final = 3.0
"""How long an address is dialled directly before the relay is asked: a lost packet is sent again
after one second and after three."""
CANDIDATE_S: Final = 1.0
"""For each address at which another agent may be: it is near, or it is not there."""
REMEMBERED_S: Final = 600.0
"""How long a host that only the relay reached is not dialled directly any more: each of sixteen
connections would wait `DIRECT_S`, and those of the next file again."""
REMEMBERED_HOSTS: Final = 1000
"""Hosts that are remembered; a task has two or three."""
BACKLOG: Final = 128
"""Data connections of one session at a time."""
EXPECTED: Final = 256
"""Tickets of one listener that somebody may say: two for each connection."""
PORTS_TRIED: Final = 50
"""Of the range, before it is called full."""


_OF_A_SITE: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"))
)
"""RFC 1918, and what providers have inside (RFC 6598)."""


class Relayed(Protocol):
    """What is needed of a tunnel (`tunnel.Tunnel`)."""

    @property
    def relay(self) -> Relay:
        """Where it goes."""

    @property
    def theirs(self) -> tuple[str, int]:
        """The same in numbers."""

    @property
    def ours(self) -> str:
        """Our address on it."""

    async def dial(self, host: str, port: int) -> words.Ticket:
        """See `Tunnel`."""

    async def listen(self, candidates: tuple[str, ...]) -> words.Listening:
        """See `Tunnel`."""

    def unlisten(self, listener: str) -> None:
        """See `Tunnel`."""

    async def probe(self, port: int, nonce: str) -> words.Probed:
        """See `Tunnel`."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the owner has set."""

    ports: tuple[int, int] | None = None
    """Where data connections may come in; None: anywhere."""
    relay_only: bool = False
    """Whether nothing is to go directly."""


Deliver = Callable[[socket.socket, str], None]
"""Takes over a data connection, and the address it is from."""


@dataclass
class Listener:
    """An open one, for a session that receives."""

    host: str
    port: int
    """What it answers to PASV."""
    name: str | None
    """At the relay, when that listens."""
    direct: bool
    deliver: Deliver = field(repr=False)
    expected: dict[str, None] = field(default_factory=dict, repr=False)
    """Tickets that another agent may say at our own port."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)
    taken: int = 0


class NoWay(OSError):  # noqa: N818 - reads as what it says
    """There is none; the text is for the other end."""


class Ways:
    """All data connections of an agent. On the loop."""

    def __init__(
        self,
        means: Means,
        tunnel: Callable[[], Relayed | None],
        proxy: Callable[[str], Proxy | None] = lambda _host: None,
    ) -> None:
        """`tunnel` gives the one that is open now, `proxy` how a relay is reached."""
        self._means = means
        self._tunnel = tunnel
        self._proxy = proxy
        self._relay_reached: dict[str, float] = {}
        """Hosts that only the relay reaches, until when."""
        self._listeners: dict[str, Listener] = {}
        self.open_at: str | None = None
        """Our address at which others reach us; None: they do not."""
        self.moved_directly = 0
        self.moved_by_relay = 0
        """Data connections, counted."""

    # -- as the sender

    async def dial(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to there. Raises `OSError`, whose text says what was tried."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        tunnel = self._tunnel()
        relay_first = self._means.relay_only or self._is_reached_by_relay(host, loop.time())
        tried = ""
        if not relay_first and not (tunnel is not None and host == tunnel.theirs[0]):
            within = DIRECT_S if tunnel is not None else timeout_s
            try:
                return await self._directly(host, port, within)
            except OSError as error:
                tried = f"directly: {_why(error)}; "
        if tunnel is not None:
            try:
                async with asyncio.timeout_at(until):
                    connection = await self._by_relay(tunnel, host, port)
            except (OSError, TunnelFailed) as error:
                tried += f"by the relay {tunnel.relay.name}: {_why(error)}"
            else:
                if tried:
                    self._remember(host, loop.time())
                return connection
        else:
            tried += "no relay is connected"
        # Another server at the relay's own host is none that the relay dials.
        may_go = not self._means.relay_only or (tunnel is not None and host == tunnel.theirs[0])
        if may_go and (left := until - loop.time()) > 0:
            with suppress(OSError):
                return await self._directly(host, port, left)
        raise NoWay(f"{host}:{port} cannot be reached ({tried})")

    async def _directly(self, host: str, port: int, within_s: float) -> socket.socket:
        async with asyncio.timeout(within_s):
            connection = await dial(host, port)
        self.moved_directly += 1
        return connection

    async def _by_relay(self, tunnel: Relayed, host: str, port: int) -> socket.socket:
        ticket = await tunnel.dial(host, port)
        said = TicketSaid(ticket.ticket)
        if not self._means.relay_only:
            for one in ticket.candidates:
                with suppress(OSError):
                    async with asyncio.timeout(CANDIDATE_S):
                        connection = await _joined(await dial(*candidate_address(one)), said)
                    self.moved_directly += 1
                    return connection
        relay = tunnel.relay
        connection = await _joined(
            await connect(relay.host, relay.port, self._proxy(relay.host)), said
        )
        self.moved_by_relay += 1
        return connection

    def _is_reached_by_relay(self, host: str, now: float) -> bool:
        until = self._relay_reached.get(host)
        if until is not None and until <= now:
            del self._relay_reached[host]
            until = None
        return until is not None

    def _remember(self, host: str, now: float) -> None:
        while len(self._relay_reached) >= REMEMBERED_HOSTS:
            del self._relay_reached[next(iter(self._relay_reached))]
        self._relay_reached[host] = now + REMEMBERED_S

    def forget(self) -> None:
        """We are elsewhere now: what could not be reached perhaps can."""
        self._relay_reached.clear()
        self.open_at = None

    # -- as the receiver

    @asynccontextmanager
    async def listening(self, local_host: str, deliver: Deliver) -> AsyncIterator[Listener]:
        """Listen, until the context ends. Raises `OSError` when there is no way."""
        tunnel = self._tunnel()
        own: socket.socket | None = None
        if not self._means.relay_only:
            with suppress(OSError):
                own = _bound(tunnel.ours if tunnel is not None else local_host, self._means.ports)
        listener: Listener | None = None
        try:
            if own is not None and self.open_at is not None:
                port = int(own.getsockname()[1])
                listener = Listener(self.open_at, port, None, True, deliver)
            else:
                listener = await self._listen_at_relay(tunnel, own, deliver)
            if own is not None:
                accepting = self._accept(own, listener)
                _spawn(listener, accepting, "a data connection's listener failed")
            yield listener
        finally:
            try:
                if listener is not None:
                    await self._unlisten(tunnel, listener)
            finally:  # who waits on a socket is gone before it is closed
                if own is not None:
                    own.close()

    async def _listen_at_relay(
        self, tunnel: Relayed | None, own: socket.socket | None, deliver: Deliver
    ) -> Listener:
        if tunnel is None:
            raise NoWay("nobody can connect here: no relay is connected")
        candidates: tuple[str, ...] = ()
        if own is not None:
            host, port = own.getsockname()[:2]
            candidates = (candidate(host, port),)
        try:
            answer = await tunnel.listen(candidates)
        except TunnelFailed as error:
            raise NoWay(f"the relay {tunnel.relay.name} does not listen: {error}") from None
        listener = Listener(answer.host, answer.port, answer.listener, False, deliver)
        self._listeners[answer.listener] = listener
        return listener

    async def _unlisten(self, tunnel: Relayed | None, listener: Listener) -> None:
        if listener.name is not None:
            self._listeners.pop(listener.name, None)
            if tunnel is not None:
                with suppress(TunnelFailed):
                    tunnel.unlisten(listener.name)
        for task in listener.tasks:
            task.cancel()
        await asyncio.gather(*listener.tasks, return_exceptions=True)

    def take(self, event: words.Event, tunnel: Relayed) -> None:
        """What the relay tells of listeners."""
        if isinstance(event, words.Expect):
            listener = self._listeners.get(event.listener)
            if listener is not None:
                while len(listener.expected) >= EXPECTED:
                    del listener.expected[next(iter(listener.expected))]
                listener.expected[event.ticket] = None
        elif isinstance(event, words.Incoming):
            listener = self._listeners.get(event.listener)
            if listener is not None and len(listener.tasks) < EXPECTED:
                fetching = self._fetch(tunnel, listener, event.ticket)
                _spawn(listener, fetching, "a data connection at the relay was not taken")

    async def _fetch(self, tunnel: Relayed, listener: Listener, ticket: str) -> None:
        """Somebody came to the relay for us: dial it, too."""
        relay = tunnel.relay
        async with asyncio.timeout(PROLOGUE_S):
            connection = await _joined(
                await connect(relay.host, relay.port, self._proxy(relay.host)), TicketSaid(ticket)
            )
        self.moved_by_relay += 1
        listener.deliver(connection, tunnel.theirs[0])

    async def _accept(self, own: socket.socket, listener: Listener) -> None:
        while True:
            connection, address = await accept(own)
            connection.setblocking(False)
            host = str(address[0]).partition("%")[0]
            if listener.direct:
                self.moved_directly += 1
                listener.deliver(connection, host)
            elif len(listener.tasks) < EXPECTED:
                asked = self._ask_ticket(connection, host, listener)
                _spawn(listener, asked, "a data connection was not let in")
            else:
                connection.close()

    async def _ask_ticket(self, connection: socket.socket, host: str, listener: Listener) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PROLOGUE_S):
                said = PrologueReader().feed(await read_line(connection, LINE_LIMIT))
                if not isinstance(said, TicketSaid) or said.ticket not in listener.expected:
                    no = refusal(Refusal.TICKET, "nobody with this ticket is expected")
                    await loop.sock_sendall(connection, no)
                    raise ConnectionError("it showed no ticket of ours")
                del listener.expected[said.ticket]
                await loop.sock_sendall(connection, OK)
        except PrologueError as error:
            connection.close()
            raise ConnectionError(str(error)) from None
        except BaseException:
            connection.close()
            raise
        self.moved_directly += 1
        listener.deliver(connection, host)

    # -- can we be reached?

    async def look_outside(self, tunnel: Relayed) -> None:
        """Ask the relay to dial back; remember what came of it. Raises nothing."""
        self.open_at = None
        if self._means.relay_only:
            return
        nonce = secrets.token_urlsafe(16)
        try:
            with _bound(tunnel.ours, self._means.ports) as own:
                port = int(own.getsockname()[1])
                answering = asyncio.get_running_loop().create_task(_answer_probe(own, nonce))
                try:
                    probed = await tunnel.probe(port, nonce)
                finally:
                    answering.cancel()
                    await asyncio.gather(answering, return_exceptions=True)
        except (OSError, TunnelFailed) as error:
            _log.info("whether others reach us is not known: %s", error)
            return
        if probed.open and await self._is_for_others(tunnel, probed.address):
            self.open_at = probed.address

    async def _is_for_others(self, tunnel: Relayed, address: str) -> bool:
        """Whether an address that the relay reaches is worth telling to those who reach the relay:
        a relay may be near us, and others far."""
        if ":" in address:  # PASV has no such address
            return False
        try:
            relays = await tunnel.listen(())
        except TunnelFailed:
            return False
        with suppress(TunnelFailed):
            tunnel.unlisten(relays.listener)
        return _reach(address) >= _reach(relays.host)


def _reach(host: str) -> int:
    """How far away an address has a meaning: on this machine, in a site, everywhere."""
    address = ip_address(host)
    if address.is_loopback or address.is_link_local:
        return 0
    return 1 if any(address in network for network in _OF_A_SITE) else 2


async def _answer_probe(own: socket.socket, nonce: str) -> None:
    loop = asyncio.get_running_loop()
    expected = prologue(ProbeSaid(nonce))
    while True:
        connection, _address = await loop.sock_accept(own)
        with connection, suppress(OSError):
            connection.setblocking(False)
            async with asyncio.timeout(PROLOGUE_S):
                if await read_line(connection, LINE_LIMIT) == expected:
                    await loop.sock_sendall(connection, OK)


async def _joined(connection: socket.socket, said: TicketSaid) -> socket.socket:
    """The connection, once the other half is there. Raises `OSError`, having closed it."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(connection, prologue(said))
        answer = AnswerReader().feed(await read_line(connection, LINE_LIMIT))
        if isinstance(answer, NotJoined):
            raise ConnectionRefusedError(f"{answer.reason.value}: {answer.text}")
        assert isinstance(answer, Joined)
    except PrologueError as error:
        connection.close()
        raise ConnectionError(str(error)) from None
    except BaseException:
        connection.close()
        raise
    return connection


def _bound(host: str, ports: tuple[int, int] | None) -> socket.socket:
    """Listens at a port of the range, and does not block. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    failure: OSError = OSError("no port of the range is free")
    tries = 1 if ports is None else PORTS_TRIED
    for _ in range(tries):
        port = 0 if ports is None else random.randint(*ports)  # noqa: S311 - to spread
        try:
            own = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            failure = error
            continue
        own.setblocking(False)
        return own
    raise failure


def _spawn(listener: Listener, work: Coroutine[Any, Any, None], what: str) -> None:
    task = asyncio.get_running_loop().create_task(work)
    listener.tasks.add(task)

    def over(done: asyncio.Task[None]) -> None:
        listener.tasks.discard(done)
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.info("%s: %r", what, error)

    task.add_done_callback(over)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing answers"
    return reason_of(error) if isinstance(error, OSError) else str(error)
