"""Asks nexus whether the consents still hold that unfinished tasks stand on."""

import asyncio
from datetime import timedelta

import httpx
import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.platform.settings import EngineSettings, LimitSettings
from towpath.transfer.consents import ASKED_AT_ONCE, Ask, ask
from towpath.transfer.store import consents
from towpath.transfer.store.consents import Fitted
from towpath.transfer.store.tasks import Terms

EVERY_S = 5.0
OLDER_S = 15.0
"""How long an answer is good: a task does not begin later than that, and the one look after it,
without a consent that was taken back."""
MOST_AT_ONE_LOOK = 1000
"""Answers of nexus: ten requests. The rest have their turn at the next look."""

_log = structlog.stdlib.get_logger("towpath.consents")


class ConsentWatch:
    """Looks again and again. `nexus` gives its answers."""

    def __init__(
        self, database: Database, nexus: Ask, *, limits: LimitSettings, engine: EngineSettings
    ) -> None:
        self._database = database
        self._nexus = nexus
        most = engine.events_per_task
        self._waiting = Terms(timedelta(hours=limits.paused_deadline_h), most)
        self._going_on = Terms(timedelta(hours=limits.deadline_h), most)

    async def run(self) -> None:
        """Until cancelled. While nexus or the database is away, all stays as it is."""
        while True:
            try:
                await self.look()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                _log.warning("consents.nexus_unavailable", error=str(error))
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(EVERY_S)

    async def look(self, *, older_s: float = OLDER_S) -> Fitted:
        """Ask about what is due, and make tasks fit. Raises ``httpx.HTTPError``, and ValueError,
        KeyError or TypeError for an answer that is none."""
        async with self._database.connection() as conn:
            due = await consents.to_ask(conn, older_s=older_s, limit=MOST_AT_ONE_LOOK)
        for first in range(0, len(due), ASKED_AT_ONCE):
            some = due[first : first + ASKED_AT_ONCE]
            held = await ask(self._nexus, some)
            async with self._database.connection() as conn:
                await consents.heard(conn, some, held)
        async with self._database.transaction() as conn:
            await consents.forget(conn)
            fitted = await consents.fit_tasks(conn, waiting=self._waiting, going_on=self._going_on)
        if fitted != Fitted(0, 0):
            _log.info("consents.tasks_fitted", held=fitted.held, freed=fitted.freed)
        return fitted
