"""What becomes of timers whose owners nexus suspends or deletes.

Their tokens end at nexus at once, whatever is done here; but who looks at a timer sees it stand
still now and not at its next run, and who is deleted leaves nothing behind.
"""

import asyncio
from typing import Final

import httpx
import structlog

from towpath.platform.account_changes import changes_after
from towpath.platform.database import AWAY, Database, is_away
from towpath.timers.nexus import needed
from towpath.timers.runner import requirement
from towpath.timers.store import outbox, timers

EVERY_S: Final = 30.0
"""Nothing runs meanwhile: a run needs a token."""
_WHY = "Your account was suspended: when it is restored, resume the timer (globus timer resume)"

_log = structlog.stdlib.get_logger("towpath.timers")


class OwnerWatch:
    """``http`` has nexus' origin as its ``base_url``; ``login`` is this service's own client."""

    def __init__(self, database: Database, http: httpx.AsyncClient, login: httpx.Auth) -> None:
        self._database = database
        self._http = http
        self._login = login

    async def run(self) -> None:
        """Until cancelled. While nexus or the database is away, all stays as it is."""
        while True:
            try:
                while await self.look():
                    pass
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                _log.warning("timers.nexus_unavailable", error=str(error))
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(EVERY_S)

    async def look(self) -> bool:
        """Follow a page of changes; whether there may be more. Raises as `changes_after`."""
        async with self._database.transaction() as conn:
            after = await timers.cursor(conn)
        changes = await changes_after(self._http, self._login, after)
        async with self._database.transaction() as conn:
            # another process may have been faster
            reached = await timers.cursor(conn)
            for change in changes:
                if change.n <= reached:
                    continue
                count = 0
                if change.what == "suspended":
                    at, detail = await timers.now(conn), requirement(needed(), _WHY)
                    stopped = await timers.stop_all(conn, change.identity_ids, at=at, detail=detail)
                    for one in stopped:
                        await outbox.tell_inactive(conn, one.id, one.owner_id, one.name, detail)
                    count = len(stopped)
                elif change.what == "deleted":
                    count = await timers.delete_all(conn, change.identity_ids)
                if count:
                    _log.info("timers.owner", what=change.what, timers=count)
                await timers.followed(conn, change.n)
        return bool(changes)
