"""Keeps a tunnel open: to the first relay that answers, and to another one when that is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from towpath.connect.configuration import Relay
from towpath.connect.proxy import Proxy
from towpath.connect.retrying import STEADY_S, Waits
from towpath.connect.surroundings import LOOK_S, Change, Hope, Lookout
from towpath.connect.tunnel import Caller, Tunnel, TunnelFailed
from towpath.connect.ways import Ways
from towpath.tunnel import messages as words

_log: Final = logging.getLogger(__name__)

DRAIN_S: Final = 3600.0
"""How long sessions at a relay that ends may go on; it cuts them earlier if it has to."""


class Keeper:
    """One agent's tunnel. `run` until cancelled."""

    def __init__(
        self,
        caller: Caller,
        *,
        relays: Callable[[], tuple[Relay, ...]],
        proxy: Callable[[str], Proxy | None],
        on_configuration: Callable[[], None],
        waits: Waits | None = None,
    ) -> None:
        """`relays`: those that live, in the order to try. `proxy`: how a host is reached.
        `on_configuration`: called when the service has something new."""
        self._caller = caller
        self._relays = relays
        self._proxy = proxy
        self._on_configuration = on_configuration
        self._waits = waits or Waits()
        self.ways: Ways | None = None
        """Told of what happens; set before `run`."""
        self.tunnel: Tunnel | None = None
        self.since: float | None = None
        """When the tunnel was opened, as time of day."""
        self.trouble = ""
        """Why there is none."""
        self.connected = asyncio.Event()
        self._stirred = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()

    def stir(self) -> None:
        """Do not wait any longer: something has changed that may help."""
        self._waits.reset()
        self._stirred.set()

    async def run(self) -> None:
        """Until cancelled. Then everything is closed."""
        avoid: Relay | None = None
        try:
            while True:
                tunnel = await self._open_one(avoid)
                if tunnel is None:
                    avoid = None
                    self._on_configuration()  # perhaps there are other relays by now
                    await self._wait()
                    continue
                avoid = await self._hold(tunnel)
        finally:
            if self.tunnel is not None:
                await self.tunnel.close()
            for task in self._leaving:
                task.cancel()
            await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _open_one(self, avoid: Relay | None) -> Tunnel | None:
        relays = self._relays()
        if not relays:
            self.trouble = "the service has no relay that is alive"
        # The one that was just lost comes last: it may still look alive to the service.
        for relay in sorted(relays, key=lambda one: one == avoid):
            try:
                return await Tunnel.open(
                    relay, self._caller, proxy=self._proxy(relay.host), on_event=self._take
                )
            except TunnelFailed as error:
                if self.trouble != str(error):
                    _log.warning("%s", error)
                self.trouble = str(error)
        return None

    async def _wait(self) -> None:
        wait_s = self._waits.next_s()
        self._stirred.clear()
        hope = Hope()
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_S)):
                    await self._stirred.wait()
                return
            if hope.look():
                self._waits.reset()
                return

    async def _hold(self, tunnel: Tunnel) -> Relay | None:
        """Until it is lost, or left; gives the relay that is better not tried first."""
        began = time.monotonic()
        self.tunnel, self.since, self.trouble = tunnel, time.time(), ""
        self.connected.set()
        _log.info("connected to the relay %s, seen as %s", tunnel.relay.name, tunnel.seen_as)
        looking: asyncio.Task[None] | None = None
        if self.ways is not None:
            self.ways.forget()
            looking = asyncio.create_task(self.ways.look_outside(tunnel))
        watching = asyncio.create_task(self._watch(tunnel))
        try:
            await asyncio.wait((tunnel.ended, watching), return_when=asyncio.FIRST_COMPLETED)
            left = watching.done()
            if left and tunnel.draining.is_set():
                if self._leave(tunnel):
                    return tunnel.relay
                left = False
                await tunnel.ended
        finally:
            watching.cancel()
            if looking is not None:
                looking.cancel()
        self._forget(tunnel)
        await tunnel.close("this machine slept, or moved")
        self.trouble = tunnel.ended.result()
        _log.warning("the tunnel to %s is lost: %s", tunnel.relay.name, self.trouble)
        if left or time.monotonic() - began >= STEADY_S:
            self._waits.reset()
        if not left:  # by us alone: nobody else comes back now
            await self._wait()
        return tunnel.relay

    async def _watch(self, tunnel: Tunnel) -> None:
        """Until the tunnel is known to be dead, or to be left."""
        lookout = Lookout(ours=tunnel.ours, theirs=tunnel.theirs)
        suspicion = Change.NONE
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await tunnel.draining.wait()
                    return
            change = lookout.look()
            if change is Change.MOVED:
                _log.info("this machine's address is another one now")
                return
            if change is Change.SLEPT or (change is Change.REROUTED and suspicion is not change):
                _log.info("this machine %s: is the tunnel still there?", change.value)
                if not await tunnel.is_alive():
                    return
            suspicion = change

    def _leave(self, tunnel: Tunnel) -> bool:
        """The relay ends soon: have another one before, and let sessions end where they are.
        False: there is no other."""
        if not any(one != tunnel.relay for one in self._relays()):
            _log.info("the relay %s ends soon, and there is no other", tunnel.relay.name)
            return False
        self._waits.reset()
        task = asyncio.create_task(self._let_end(tunnel))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return True

    def _forget(self, tunnel: Tunnel) -> None:
        if self.tunnel is tunnel:
            self.tunnel, self.since = None, None
            self.connected.clear()

    async def _let_end(self, tunnel: Tunnel) -> None:
        quiet = asyncio.create_task(tunnel.quiet.wait())
        waiting = (quiet, tunnel.ended)
        await asyncio.wait(waiting, timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        quiet.cancel()
        self._forget(tunnel)
        await tunnel.close("the relay ends soon")

    def _take(self, event: words.Event, tunnel: Tunnel) -> None:
        if isinstance(event, words.ConfigurationChanged):
            self._on_configuration()
        elif isinstance(event, words.Drain):
            _log.info("the relay ends soon")
        elif self.ways is not None:
            self.ways.take(event, tunnel)
