"""Keeps tasks as their endpoints' pause rules want them."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from towpath.platform.database import AWAY, Connection, Database, is_away
from towpath.platform.settings import EngineSettings, LimitSettings
from towpath.transfer.store import pause_rules
from towpath.transfer.store.pause_rules import Fitted
from towpath.transfer.store.tasks import Terms

EVERY_S: Final = 2.0
"""A rule that begins at a certain time, or that another process was told of, holds tasks so much
later at most. Without any rule the look is one query of a table without rows."""

_log = structlog.stdlib.get_logger("towpath.pauses")


class PauseWatch:
    """Makes tasks fit the rules: at once where a rule has changed, and of all now and then."""

    def __init__(
        self, database: Database, *, limits: LimitSettings, engine: EngineSettings
    ) -> None:
        self._database = database
        most = engine.events_per_task
        self.held_for = Terms(timedelta(hours=limits.paused_deadline_h), most)
        """Of a task that is held: how long until it is given up."""
        self.freed = Terms(timedelta(hours=limits.deadline_h), most)
        """Of one that goes on."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. While the database is away, all stays as it is."""
        while True:
            self._wake.clear()
            try:
                while (await self._fit()).more:
                    pass
            except AWAY as error:
                if not is_away(error):
                    raise
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def fit(self) -> Fitted:
        """A first lot of tasks, now; `run` sees to the others at once."""
        fitted = await self._fit()
        self._wake.set()
        return fitted

    async def _fit(self) -> Fitted:
        async with self._database.transaction() as conn:
            fitted = await pause_rules.fit_tasks(conn, held_for=self.held_for, freed=self.freed)
        if fitted.held or fitted.freed:
            _log.info("pauses.tasks_fitted", held=fitted.held, freed=fitted.freed)
        return fitted

    async def fit_new(self, conn: Connection, task_ids: Collection[UUID]) -> None:
        """Tasks that are just stored, before anybody may run them."""
        await pause_rules.fit_tasks(
            conn, held_for=self.held_for, freed=self.freed, task_ids=task_ids
        )
