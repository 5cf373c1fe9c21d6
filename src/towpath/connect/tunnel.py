"""The tunnel to a relay, seen from the agent: opened, asked, listened to."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncssh

from towpath import __version__
from towpath.connect.configuration import Relay
from towpath.connect.control_channel import ControlChannel, NewControl
from towpath.connect.proxy import Proxy, connect
from towpath.tunnel import CONTROL_FORWARD, PROTOCOL, SUBSYSTEM
from towpath.tunnel import messages as words

OPEN_S: Final = 20.0
"""For dialling, key exchange and all that makes a tunnel: some round trips, and a busy relay."""
ASK_S: Final = 15.0
"""For an answer; the longest is that of a dial, which the relay asks the service about."""
KEEPALIVE_S: Final = 15.0
"""Between two signs of life when nothing else is said: routers forget connections that say nothing
for half a minute."""
KEEPALIVES_MISSED: Final = 2
"""Then the relay is gone."""
TRIED_S: Final = 4.0
"""For a sign of life of a tunnel that may be dead: longer than a wireless network needs to be back,
and a mistake costs the sessions that are open."""

OnEvent = Callable[[words.Event, "Tunnel"], None]
"""Told of what the relay tells, and by which tunnel it came."""


class TunnelFailed(Exception):  # noqa: N818 - reads as what it says
    """There is no tunnel, or it was not done; the text says what failed where."""


class Refused(TunnelFailed):
    """The relay answered no."""

    def __init__(self, failed: words.Failed) -> None:
        super().__init__(failed.message)
        self.code = failed.code


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who opens tunnels."""

    node_id: str
    key: asyncssh.SSHKey
    new_control: NewControl


class Tunnel:
    """An open one; use `open`."""

    def __init__(self, relay: Relay, connection: asyncssh.SSHClientConnection) -> None:
        self.relay: Final = relay
        self._connection = connection
        self.ours: Final = str(connection.get_extra_info("sockname")[0])
        """Our address on it, in numbers."""
        theirs = connection.get_extra_info("peername")
        self.theirs: Final = (str(theirs[0]), int(theirs[1]))
        """Where it goes: the relay, or the proxy on the way."""
        self.seen_as = ""
        """Our address as the relay sees it."""
        self.draining: Final = asyncio.Event()
        """Set when the relay has said that it ends soon."""
        self.channels = 0
        """Control connections that are open."""
        self.quiet: Final = asyncio.Event()
        """Set while there are none."""
        self.quiet.set()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[words.Answer]] = {}
        self._writer: asyncssh.SSHWriter[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None
        self.ended: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        """Set, to what is known of the reason, when it is over."""

    @classmethod
    async def open(
        cls, relay: Relay, caller: Caller, *, proxy: Proxy | None, on_event: OnEvent
    ) -> Tunnel:
        """Dial, prove who we are, say hello. Raises `TunnelFailed`."""
        try:
            async with asyncio.timeout(OPEN_S):
                return await cls._open(relay, caller, proxy, on_event)
        except TimeoutError:
            raise TunnelFailed(
                f"the relay {relay.name} did not answer within {OPEN_S:.0f} s"
            ) from None
        except asyncssh.HostKeyNotVerifiable:
            raise TunnelFailed(
                f"who answers at {relay.name} is not the relay that the service names"
            ) from None
        except asyncssh.PermissionDenied:
            raise TunnelFailed(f"the relay {relay.name} does not let this agent in") from None
        except (OSError, asyncssh.Error, ValueError) as error:
            raise TunnelFailed(f"no tunnel to the relay {relay.name}: {error}") from error

    @classmethod
    async def _open(
        cls, relay: Relay, caller: Caller, proxy: Proxy | None, on_event: OnEvent
    ) -> Tunnel:
        dialled = await connect(relay.host, relay.port, proxy)
        try:
            dialled.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection = await asyncssh.connect(
                relay.host,
                relay.port,
                sock=dialled,
                config=None,  # not the user's, which is for people
                agent_path=None,
                username=caller.node_id,
                client_keys=[caller.key],
                preferred_auth="publickey",
                known_hosts=([asyncssh.import_public_key(relay.host_key)], [], []),
                compression_algs=["none"],  # what is in it is encrypted
                keepalive_interval=KEEPALIVE_S,
                keepalive_count_max=KEEPALIVES_MISSED,
                login_timeout=OPEN_S,
            )
        except BaseException:
            dialled.close()
            raise
        try:
            tunnel = cls(relay, connection)
            await tunnel._begin(caller, on_event)
        except BaseException:
            connection.abort()
            raise
        return tunnel

    async def _begin(self, caller: Caller, on_event: OnEvent) -> None:
        def session(_host: str, _port: int) -> ControlChannel:
            channel = ControlChannel(caller.new_control(self.theirs[0], self.ours), self._less)
            self.channels += 1
            self.quiet.clear()
            return channel

        await self._connection.create_server(session, *CONTROL_FORWARD, encoding=None)
        self._writer, reader, _errors = await self._connection.open_session(
            subsystem=SUBSYSTEM, encoding=None
        )
        self._reading = asyncio.get_running_loop().create_task(self._read(reader, on_event))
        welcome = await self.ask(words.Hello(self._next(), __version__, PROTOCOL))
        if not isinstance(welcome, words.Welcome):
            raise TunnelFailed(f"the relay {self.relay.name} answers otherwise than it should")
        self.seen_as = welcome.address

    def _less(self) -> None:
        self.channels -= 1
        if not self.channels:
            self.quiet.set()

    # -- asking

    async def listen(self, candidates: tuple[str, ...]) -> words.Listening:
        """Let the relay listen. Raises `TunnelFailed`."""
        answer = await self.ask(words.Listen(self._next(), candidates))
        if not isinstance(answer, words.Listening):
            raise self._odd()
        return answer

    def unlisten(self, listener: str) -> None:
        """It is not needed any more."""
        self._say(words.Unlisten(listener))

    async def dial(self, host: str, port: int) -> words.Ticket:
        """A ticket for a connection to there. Raises `TunnelFailed`."""
        answer = await self.ask(words.Dial(self._next(), host, port))
        if not isinstance(answer, words.Ticket):
            raise self._odd()
        return answer

    async def probe(self, port: int, nonce: str) -> words.Probed:
        """Whether the relay reaches this port of ours. Raises `TunnelFailed`."""
        answer = await self.ask(words.Probe(self._next(), port, nonce))
        if not isinstance(answer, words.Probed):
            raise self._odd()
        return answer

    async def is_alive(self) -> bool:
        """Whether it still answers, soon."""
        with suppress(TimeoutError, TunnelFailed):
            async with asyncio.timeout(TRIED_S):
                with suppress(Refused):  # an answer, too
                    await self.ask(words.Hello(self._next(), __version__, PROTOCOL))
                return True
        return False

    async def ask(self, request: words.Request) -> words.Answer:
        """Any request. Raises `TunnelFailed`; `Refused` when the answer is no."""
        assert not isinstance(request, words.Unlisten)
        waiting: asyncio.Future[words.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        try:
            self._say(request)
            async with asyncio.timeout(ASK_S):
                answer = await waiting
        except TimeoutError:
            raise TunnelFailed(f"the relay {self.relay.name} does not answer") from None
        finally:
            del self._waiting[request.id]
        if isinstance(answer, words.Failed):
            raise Refused(answer)
        return answer

    def _next(self) -> int:
        return next(self._numbers)

    def _say(self, request: words.Request) -> None:
        if self._writer is None or self.ended.done():
            raise TunnelFailed(f"the tunnel to {self.relay.name} is closed")
        try:
            self._writer.write(words.encode(request))
        except OSError as error:
            raise TunnelFailed(f"the tunnel to {self.relay.name} is closed: {error}") from None

    def _odd(self) -> TunnelFailed:
        return TunnelFailed(f"the relay {self.relay.name} answers otherwise than it should")

    # -- listening

    async def _read(self, reader: asyncssh.SSHReader[bytes], on_event: OnEvent) -> None:
        lines = words.Lines()
        reason = "the relay closed it"
        try:
            while data := await reader.read(words.LINE_LIMIT):
                for line in lines.feed(data):
                    self._take(words.decode_report(line), on_event)
        except (OSError, asyncssh.Error, words.MessageError) as error:
            reason = str(error) or type(error).__name__
        finally:
            self._end(reason)
            self._connection.abort()

    def _take(self, report: words.Answer | words.Event, on_event: OnEvent) -> None:
        if isinstance(
            report,
            words.Welcome | words.Listening | words.Ticket | words.Probed | words.Failed,
        ):
            waiting = self._waiting.get(report.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(report)
            return
        if isinstance(report, words.Drain):
            self.draining.set()
        on_event(report, self)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(
                    TunnelFailed(f"the tunnel to {self.relay.name} broke: {reason}")
                )

    async def close(self, reason: str = "this agent closed it") -> None:
        """End it, and all that comes through it."""
        self._end(reason)
        self._connection.abort()
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading
        with suppress(OSError, asyncssh.Error):
            await self._connection.wait_closed()
