"""Faults of the GridFTP servers: their processes, their accounts' credentials."""

import asyncio
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from typing import ClassVar

import httpx

from campaign.makers.base import Hit, Maker, Scene, maker, pick_place
from towpath.demo.processes import descendants

DOWN_S = (0.0, 2.0)
STOPPED_S = (0.5, 8.0)
"""Some shorter, some longer than what the settings allow."""
EXPIRES_S = 3.0
LOGIN_WITHIN_S = 15.0
"""Sessions that are there go on without a credential, until something happens to one."""


@maker
class SessionKilled(Maker):
    """One session's process at a server dies."""

    kind = "session killed"

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        await scene.until(lambda: scene.tasks_of(place))
        sessions = place.session_pids()
        if not sessions:
            return None
        pid = random.choice(sessions)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return Hit.of(f"session {pid} of {place.name}", scene.tasks_of(place))
        return None


@maker
class SessionStopped(Maker):
    """One session's process at a server sleeps for a while (SIGSTOP), and goes on."""

    kind = "session stopped"

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        await scene.until(lambda: scene.tasks_of(place))
        sessions = place.session_pids()
        if not sessions:
            return None
        pid = random.choice(sessions)
        with stopped([pid]):
            hit = Hit.of(f"session {pid} of {place.name}", scene.tasks_of(place))
            await asyncio.sleep(random.uniform(*STOPPED_S))
        return hit


@maker
class ServerKilled(Maker):
    """A server dies with all its sessions, and is started again."""

    kind = "server killed"
    sessions_too: ClassVar[bool] = True

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        async with scene.alone(place.name):
            if not await scene.until(lambda: scene.tasks_of(place)):
                return None
            hit = Hit.of(place.name, scene.tasks_of(place))
            await place.stop(scene.ground.network, sessions_too=self.sessions_too)
            await asyncio.sleep(random.uniform(*DOWN_S))
            await place.start(scene.ground.network)
            hit.concerns(scene.tasks_of(place))
        return hit


@maker
class ServerRestarted(ServerKilled):
    """A server's listener dies and is started again; its sessions go on."""

    kind = "server restarted"
    sessions_too = False


@maker
class ServerStopped(Maker):
    """A server sleeps with all its sessions (SIGSTOP), and goes on."""

    kind = "server stopped"

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        async with scene.alone(place.name):
            if not await scene.until(lambda: scene.tasks_of(place)):
                return None
            assert place.server is not None, "nobody else breaks it"
            with stopped([place.server.pid, *descendants(place.server.pid)]):
                hit = Hit.of(place.name, scene.tasks_of(place))
                await asyncio.sleep(random.uniform(*STOPPED_S))
            hit.concerns(scene.tasks_of(place))
        return hit


@maker
class CredentialExpired(Maker):
    """The credential for a server expires, and is renewed when a task waits for that."""

    kind = "credential expired"
    tells = frozenset({"NO_CREDENTIALS"})
    weight = 1.2  # every other time nobody logs in

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        async with scene.alone(f"credential {place.name}"):
            lifetime = timedelta(seconds=EXPIRES_S)
            short = await asyncio.to_thread(place.domain.make_proxy, lifetime)
            try:
                await scene.ground.give_credential(place, short.to_pem().decode())
            except httpx.HTTPError:
                return None  # the API is down, or it took so long that it has expired already
            hit = Hit(place.name, frozenset())
            try:
                hit.tasks = await scene.until_told(self.tells, within_s=EXPIRES_S + LOGIN_WITHIN_S)
            finally:
                await scene.ground.give_credential_for_long(place)
        return hit if hit.tasks else None


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """These processes sleep meanwhile."""
    asleep = []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            asleep.append(pid)
    try:
        yield
    finally:
        for pid in asleep:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
