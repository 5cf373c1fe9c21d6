"""What ``towpath up`` runs for endpoints with agents: a relay, and new keys when it is time."""

import asyncio
import sys
from pathlib import Path

import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.platform.supervisor import Supervisor
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.store import connect

KEYS_LOOK_S = 3600.0
"""From one look at the age of the keys of grants, which is in days, to the next."""

_log = structlog.stdlib.get_logger("towpath.up")


class OwnRelay:
    """A relay process, from the moment when there is an endpoint that needs one."""

    def __init__(self, data: Path) -> None:
        self._needed = asyncio.Event()
        self._process = Supervisor(
            [sys.executable, "-m", "towpath.cli", "relay", "--data", str(data)], count=1
        )

    def need(self) -> None:
        """There is such an endpoint."""
        self._needed.set()

    async def run(self, database: Database) -> None:
        """Until cancelled."""
        async with database.connection() as conn:
            if await connect.any_endpoint(conn):
                self.need()
        await self._needed.wait()
        await self._process.start()
        _log.info("up.relay")
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Its agents are sent away first."""
        await self._process.stop()


async def renew_keys(keys: ConnectKeys) -> None:
    """Rotate the keys of grants when they are old; until cancelled."""
    while True:
        try:
            await keys.rotate_if_due()
        except AWAY as error:
            if not is_away(error):
                raise
        await asyncio.sleep(KEYS_LOOK_S)
