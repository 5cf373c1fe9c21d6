"""Faults of PostgreSQL: all of the service stands on it."""

import asyncio
import os
import signal
from datetime import timedelta
from random import Random

import psycopg

from campaign.makers.base import Hit, Maker, Scene, maker
from campaign.makers.servers import stopped
from towpath.demo.processes import descendants

AWAY_S = (0.0, 2.0)
SLOW_S = (0.5, 3.0)
JUMP_S = (20.0, 3600.0)
AFTER_JUMP_S = 2.0


class DatabaseFault(Maker):
    """One at a time; all tasks that run are concerned, so there are fewer of them."""

    real_server = False
    tells = frozenset({"RECOVERED"})
    weight = 0.7

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        async with scene.alone("database"):
            if not await scene.until(scene.audit.running):
                return None
            hit = Hit.of("PostgreSQL", scene.audit.running())
            try:
                await self.breaks(scene, random)
            except psycopg.Error:
                return None  # it was not there
        return hit

    async def breaks(self, scene: Scene, random: Random) -> None:
        """Break it and mend it."""
        raise NotImplementedError


@maker
class DatabaseKilled(DatabaseFault):
    """SIGKILL to PostgreSQL; it recovers when it is started again."""

    kind = "database killed"

    async def breaks(self, scene: Scene, random: Random) -> None:
        postgres = scene.ground.postgres
        assert postgres.pid is not None, "nobody else breaks it"
        os.kill(postgres.pid, signal.SIGKILL)
        await asyncio.sleep(random.uniform(*AWAY_S))
        await postgres.start()


@maker
class DatabaseRestarted(DatabaseFault):
    """A fast shutdown, as for an update."""

    kind = "database restarted"

    async def breaks(self, scene: Scene, random: Random) -> None:
        await scene.ground.postgres.stop()
        await asyncio.sleep(random.uniform(*AWAY_S))
        await scene.ground.postgres.start()


@maker
class DatabaseConnectionsCut(DatabaseFault):
    """Every connection to PostgreSQL is ended by it."""

    kind = "database connections cut"

    async def breaks(self, scene: Scene, random: Random) -> None:  # noqa: ARG002
        async with await psycopg.AsyncConnection.connect(
            scene.ground.postgres.url, autocommit=True
        ) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )


@maker
class DatabaseSlow(DatabaseFault):
    """Nothing is answered for a while."""

    kind = "database slow"

    async def breaks(self, scene: Scene, random: Random) -> None:
        pid = scene.ground.postgres.pid
        assert pid is not None, "nobody else breaks it"
        with stopped(descendants(pid)):
            await asyncio.sleep(random.uniform(*SLOW_S))


@maker
class ClockJumped(DatabaseFault):
    """PostgreSQL's clock, by which leases live, jumps, and after a while back."""

    kind = "clock jumped"

    async def breaks(self, scene: Scene, random: Random) -> None:
        seconds = random.choice((1, -1)) * random.uniform(*JUMP_S)
        scene.ground.postgres.set_clock(timedelta(seconds=seconds))
        try:
            await asyncio.sleep(AFTER_JUMP_S)
        finally:
            scene.ground.postgres.set_clock(timedelta(0))
