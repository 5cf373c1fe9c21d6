"""What becomes of tasks whose owners nexus suspends, restores or deletes."""

import asyncio
from datetime import timedelta

import httpx
import structlog

from towpath.platform.account_changes import changes_after
from towpath.platform.database import AWAY, Database, is_away
from towpath.platform.settings import EngineSettings, LimitSettings
from towpath.transfer.store import owners
from towpath.transfer.store.owners import Fitted
from towpath.transfer.store.tasks import Terms

EVERY_S = 5.0
"""A task stops within 30 s of its owner's suspension: this, and what the engine takes, some 5 s."""
ROUNDS_LIMIT = 1000
"""Pages of changes taken over in a row; then tasks have their turn."""

_log = structlog.stdlib.get_logger("towpath.owners")


class OwnerWatch:
    """Asks nexus what became of accounts, and makes tasks fit it.

    ``http`` has nexus' origin as its ``base_url``; ``login`` is this service's own client.
    """

    def __init__(
        self,
        database: Database,
        http: httpx.AsyncClient,
        login: httpx.Auth,
        *,
        limits: LimitSettings,
        engine: EngineSettings,
    ) -> None:
        self._database = database
        self._http = http
        self._login = login
        most = engine.events_per_task
        self._suspended = Terms(timedelta(hours=limits.paused_deadline_h), most)
        self._restored = Terms(timedelta(hours=limits.deadline_h), most)

    async def run(self) -> None:
        """Until cancelled. While nexus or the database is away, all stays as it is."""
        while True:
            try:
                await self.look()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                _log.warning("owners.nexus_unavailable", error=str(error))
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(EVERY_S)

    async def look(self) -> Fitted:
        """Take over what is new, and make tasks fit all that is known.

        Raises ``httpx.HTTPError``, and ValueError, KeyError or TypeError for an answer that is
        none, when tasks have been seen to all the same.
        """
        try:
            for _ in range(ROUNDS_LIMIT):
                if not await self._take_over():
                    break
        finally:
            async with self._database.transaction() as conn:
                fitted = await owners.fit_tasks(
                    conn, suspended=self._suspended, restored=self._restored
                )
        if fitted != Fitted(0, 0, 0):
            _log.info(
                "owners.tasks_fitted",
                suspended=fitted.suspended,
                restored=fitted.restored,
                cancelled=fitted.cancelled,
            )
        return fitted

    async def _take_over(self) -> bool:
        """A page of changes; whether there may be more."""
        async with self._database.transaction() as conn:
            after = await owners.cursor(conn)
        changes = await changes_after(self._http, self._login, after)
        async with self._database.transaction() as conn:
            # another process may have been faster
            reached = await owners.cursor(conn)
            for change in changes:
                if change.n > reached:
                    await owners.take_over(conn, change)
        return bool(changes)
