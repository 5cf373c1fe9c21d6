"""Faults of the GridFTP servers' processes."""

import os
import signal
from contextlib import suppress
from random import Random

from campaign.makers.base import Hit, Maker, Scene, maker, pick_place


@maker
class SessionKilled(Maker):
    """One session's process at a server dies."""

    kind = "session killed"

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        if place.server is None or not await scene.until(lambda: bool(scene.tasks_of(place))):
            return None
        sessions = place.server.session_pids()
        if not sessions:
            return None
        pid = random.choice(sessions)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return Hit.of(f"session {pid} of {place.name}", scene.tasks_of(place))
        return None
