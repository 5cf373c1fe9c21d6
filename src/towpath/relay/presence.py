"""Tells the service that this relay lives, and who is connected to it."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from towpath.relay.limits import (
    FULL_REPORT_S,
    LAST_REPORT_S,
    PRESENCE_EVERY_S,
    PRESENCE_GATHER_S,
    SERVICE_RETRY_S,
)
from towpath.relay.service import Registered, Service, ServiceAwayError, ServiceRefusedError

_log = structlog.stdlib.get_logger("towpath.relay.presence")


@dataclass(frozen=True)
class Present:
    """A connected agent, as the service is told of it."""

    node_id: str
    address: str
    version: str
    direct_address: str | None
    since: datetime

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "node_id": self.node_id,
            "address": self.address,
            "version": self.version,
            "direct_address": self.direct_address,
            "since": self.since.isoformat(),
        }


class Reporter:
    """One loop: the heartbeat, and who came and went since the last report.

    After a time in which the service was away, or a report that may not have arrived, everybody is
    reported: what the service has of us is then wrong in ways that we do not know.
    """

    def __init__(
        self,
        service: Service,
        *,
        ourselves: Callable[[], dict[str, Any]],
        everybody: Callable[[], Iterable[Present]],
        registered: Callable[[Registered], None],
        cut: Callable[[str], None],
    ) -> None:
        """``cut``: ends the tunnel of a node that the service does not know any more."""
        self._service = service
        self._ourselves = ourselves
        self._everybody = everybody
        self._registered = registered
        self._cut = cut
        self._changed: dict[str, Present | datetime] = {}
        self._wake = asyncio.Event()
        self._beat_at = 0.0
        self._full_at = 0.0
        self._reported_at = 0.0
        self._away_since: float | None = None

    def connected(self, agent: Present) -> None:
        """It is here, or something about it has changed."""
        self._changed[agent.node_id] = agent
        self._wake.set()

    def lost(self, node_id: str, heard_at: datetime) -> None:
        """It has gone."""
        self._changed[node_id] = heard_at
        self._wake.set()

    def tell_now(self) -> None:
        """Something about ourselves has changed."""
        self._beat_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._until_something_is_due()
            try:
                if time.monotonic() >= self._beat_at:
                    await self._beat()
                await self._report()
            except (ServiceAwayError, ServiceRefusedError) as error:
                self._failed(error)
                await asyncio.sleep(SERVICE_RETRY_S)
            else:
                self._worked()

    async def last_report(self) -> None:
        """Before we end: whoever is left is lost."""
        for present in self._everybody():
            self._changed[present.node_id] = datetime.now(UTC)
        try:
            async with asyncio.timeout(LAST_REPORT_S):
                await self._beat()
                await self._report()
        except (ServiceAwayError, ServiceRefusedError, TimeoutError) as error:
            _log.warning("relay.last_report_failed", error=str(error))

    async def _until_something_is_due(self) -> None:
        delay = max(0.0, self._beat_at - time.monotonic())
        try:
            async with asyncio.timeout(delay):  # wait_for() may lose the cancellation that ends us
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        pause_s = self._reported_at + PRESENCE_EVERY_S - time.monotonic()
        await asyncio.sleep(max(PRESENCE_GATHER_S, pause_s))

    async def _beat(self) -> None:
        registered = await self._service.register(self._ourselves())
        self._beat_at = time.monotonic() + registered.interval_s
        self._registered(registered)
        self._cut_all(registered.cut)

    async def _report(self) -> None:
        now = time.monotonic()
        if now >= self._full_at:
            self._changed.clear()
            full = [present.document() for present in self._everybody()]
            self._cut_all(await self._service.report(full, [], everybody=True))
            self._full_at = now + FULL_REPORT_S
            _log.info("relay.reported_all", agents=len(full))
            return
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        connected = [one.document() for one in changed.values() if isinstance(one, Present)]
        lost = [
            {"node_id": node_id, "heard_at": one.isoformat()}
            for node_id, one in changed.items()
            if isinstance(one, datetime)
        ]
        self._cut_all(await self._service.report(connected, lost, everybody=False))
        self._reported_at = time.monotonic()

    def _cut_all(self, nodes: Iterable[str]) -> None:
        for node_id in nodes:
            self._cut(node_id)

    def _failed(self, error: Exception) -> None:
        self._beat_at = self._full_at = 0.0
        if self._away_since is None:
            self._away_since = time.monotonic()
            _log.warning(
                "relay.service_away", error=str(error), advice="tunnels go on; tried every 2 s"
            )

    def _worked(self) -> None:
        if self._away_since is not None:
            away_s = time.monotonic() - self._away_since
            _log.warning("relay.service_back", away_s=round(away_s, 1))
            self._away_since = None
