"""What one agent asks, worked on in bounded parallel."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

from towpath import __version__
from towpath.relay.agents import Agent
from towpath.relay.dialling import Dialler
from towpath.relay.exchange import Exchange, ExchangeError
from towpath.relay.limits import REQUESTS_AT_ONCE, REQUESTS_BURST, REQUESTS_PER_S
from towpath.relay.presence import Reporter
from towpath.tunnel import PROTOCOL
from towpath.tunnel.messages import (
    Answer,
    Dial,
    Failed,
    Hello,
    Listen,
    Listening,
    Probe,
    Probed,
    Request,
    TunnelError,
    UnknownRequest,
    Unlisten,
    Welcome,
)

_log = structlog.stdlib.get_logger("towpath.relay.requests")


class Desk:
    """Answers the requests of agents."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        dialler: Dialler,
        reporter: Reporter,
        listener_host: Callable[[Agent], str],
    ) -> None:
        """``listener_host``: the IP address that a listener of this agent is told as."""
        self._exchange = exchange
        self._dialler = dialler
        self._reporter = reporter
        self._listener_host = listener_host

    async def answer(self, agent: Agent, request: Request) -> Answer | None:
        """What to answer; None for a request that has no answer."""
        if not agent.version and not isinstance(request, Hello | Unlisten):
            return Failed(request.id, TunnelError.MALFORMED, "the first request is hello")
        match request:
            case Hello():
                return self._hello(agent, request)
            case Listen():
                return self._listen(agent, request)
            case Unlisten():
                if not self._exchange.unlisten(agent, request.listener):
                    _log.info("relay.no_such_listener", node=agent.node_id)
                return None
            case Dial():
                return await self._dialler.dial(agent, request)
            case Probe():
                return await self._probe(agent, request)
            case UnknownRequest():
                text = f"this relay, version {__version__}, does not know {request.do!r}"
                return Failed(request.id, TunnelError.UNKNOWN, text)

    def _hello(self, agent: Agent, request: Hello) -> Answer:
        if request.protocol != PROTOCOL:
            text = f"this relay speaks protocol {PROTOCOL}, not {request.protocol}"
            return Failed(request.id, TunnelError.UNKNOWN, text)
        agent.version = request.version
        agent.tunnel.said_hello()
        return Welcome(request.id, PROTOCOL, __version__, agent.address)

    def _listen(self, agent: Agent, request: Listen) -> Answer:
        try:
            listener = self._exchange.listen(agent, request.candidates)
        except ExchangeError as error:
            return Failed(request.id, TunnelError.LIMIT, str(error))
        return Listening(request.id, listener.name, self._listener_host(agent), listener.port)

    async def _probe(self, agent: Agent, request: Probe) -> Answer:
        found = await self._dialler.probe(agent, request)
        direct = found.address if isinstance(found, Probed) and found.open else None
        if direct != agent.direct_address:
            agent.direct_address = direct
            self._reporter.connected(agent.present())
        return found


class Inbox:
    """The requests of one agent, begun in the order of their arrival, answered when they are done.

    ``pause`` and ``resume`` stop the agent from sending: who asks for more than we do waits.
    """

    def __init__(
        self,
        work: Callable[[Request], asyncio.Future[None]],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._work = work
        self._pause = pause
        self._resume = resume
        self._waiting: deque[Request] = deque()
        self._running: set[asyncio.Future[None]] = set()
        self._pace = Pace(REQUESTS_PER_S, REQUESTS_BURST)
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def put(self, request: Request) -> None:
        """One more. What arrives in one piece is taken whole: at most the agent's window."""
        self._waiting.append(request)
        self._start()
        if self._waiting:
            self._pause()

    def close(self) -> None:
        """Nobody waits for answers any more."""
        self._closed = True
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running:
            task.cancel()

    def _start(self) -> None:
        if self._timer is not None:
            return
        while self._waiting and len(self._running) < REQUESTS_AT_ONCE:
            delay_s = self._pace.delay_s(time.monotonic())
            if delay_s:
                self._timer = asyncio.get_running_loop().call_later(delay_s, self._again)
                return
            task = self._work(self._waiting.popleft())
            self._running.add(task)
            task.add_done_callback(self._done)

    def _again(self) -> None:
        self._timer = None
        self._continue()

    def _done(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        self._continue()

    def _continue(self) -> None:
        if self._closed:
            return
        self._start()
        if not self._waiting:
            self._resume()


class Pace:
    """So many in the long run, and a burst at once."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = float(burst)
        self._at: float | None = None

    def delay_s(self, now: float) -> float:
        """0 if one may go now, and it is counted; else how long to wait."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._per_s
