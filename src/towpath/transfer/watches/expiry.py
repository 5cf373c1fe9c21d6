"""Tells people that a credential of theirs will soon be of no use, while they can renew it."""

import asyncio
from typing import Final

import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.transfer.expiry import LATELY, WITHIN, warning
from towpath.transfer.store import credentials, outbox

EVERY_S: Final = 300.0
AT_ONCE: Final = 100
"""Told in one transaction; the others follow at once."""

_log = structlog.stdlib.get_logger("towpath.expiry")


class ExpiryWatch:
    """Looks for such credentials, and tells of each once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Until cancelled. While the database is away, nobody is told."""
        while True:
            try:
                while await self.look() >= AT_ONCE:
                    pass
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(EVERY_S)

    async def look(self) -> int:
        """Tell of a first lot; of how many."""
        async with self._database.transaction() as conn:
            found = await credentials.take_expiring(
                conn, within=WITHIN, lately=LATELY, most=AT_ONCE
            )
            for one in found:
                await outbox.tell(
                    conn, outbox.Topic.CREDENTIAL_EXPIRING, one.owner_id, warning(one)
                )
        if found:
            _log.info("expiry.told", credentials=len(found))
        return len(found)
