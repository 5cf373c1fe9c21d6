"""The common credential that both ends of a lane get for their data channel (DCSC).

One for each (owner, source endpoint, destination endpoint), in memory only, at most six hours;
never shared between owners, so that no owner's server can read another's data channel.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from towpath.gridftp.security.dcsc import DataCredential

# Long enough that few are made, short enough that one that leaked is soon worth nothing.
LIFETIME = timedelta(hours=6)
# A lane opened with an old one must still be able to reconnect its data channels for a while.
RENEW_BEFORE_END = timedelta(hours=2)
KEPT = 256  # pairs; more than the tasks one worker runs


class DataCredentials:
    """Makes them when first needed and hands the same one out until it gets old."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._made: dict[tuple[UUID, UUID, UUID], tuple[datetime, asyncio.Future[DataCredential]]]
        self._made = {}

    async def get(self, owner: UUID, source: UUID, destination: UUID) -> DataCredential:
        """The pair's credential; key generation runs in a thread, once for all who wait."""
        key = (owner, source, destination)
        now = self._now()
        made = self._made.get(key)
        if made is None or now >= made[0]:
            self._drop_old(now)
            future = asyncio.ensure_future(asyncio.to_thread(DataCredential.create, now, LIFETIME))
            made = self._made[key] = (now + LIFETIME - RENEW_BEFORE_END, future)
        return await asyncio.shield(made[1])

    def _drop_old(self, now: datetime) -> None:
        self._made = {k: v for k, v in self._made.items() if now < v[0]}
        while len(self._made) >= KEPT:
            del self._made[next(iter(self._made))]
