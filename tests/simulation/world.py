"""A world: servers, a database, workers, and what befalls them; all of it follows from a seed."""

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
import structlog

from simulation.checkers import Checks
from simulation.database import BEGAN, SimulatedDatabase
from simulation.endpoints import Endpoint, Weather
from simulation.loop import PROCESS, TICK_S, Process, VirtualLoop
from towpath.gridftp.client.session import Server
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.settings import EngineSettings, Settings
from towpath.transfer.engine.worker import Worker
from towpath.transfer.rights import Who
from towpath.transfer.sessions import EndpointSessions, Login, NoCredential

T = TypeVar("T")

ROUND_TRIPS_S = (0.0002, 0.001, 0.0002, 0.004, 0.015, 0.0005)
"""Of the servers; those far away are listed in another way."""

REMEMBERED = 120
"""Events of a task that are shown when something is wrong with it."""


@dataclass
class Plan:
    """What a world is like."""

    seed: int
    workers: int = 3
    tasks_per_worker: int = 16
    roughness: float = 1.0


class World:
    """One simulated deployment. `run` runs a coroutine in it, to its end."""

    def __init__(self, plan: Plan, database_url: str) -> None:
        self.plan = plan
        self.random = Random(plan.seed)
        self.loop = VirtualLoop()
        self.database = SimulatedDatabase(database_url, self.loop)
        self.database.before = self._before_transaction
        self.database.after = self._after_commit
        self.weather = Weather(plan.roughness)
        self.settings = Settings(engine=EngineSettings(tasks_per_worker=plan.tasks_per_worker))
        self.settle_s = self.settings.engine.settle_s
        self.checks = Checks(self)
        self.endpoints = [
            Endpoint(self, number, rtt_s) for number, rtt_s in enumerate(ROUND_TRIPS_S, 1)
        ]
        self.by_ip = {endpoint.ip: endpoint for endpoint in self.endpoints}
        self.by_id: dict[UUID, Endpoint] = {}
        self.without_credential: set[UUID] = set()
        """Owners who have to renew it."""
        self.wires: set[Any] = set()
        self.numbers = itertools.count(1)
        self.workers: list[SimulatedWorker] = []
        self.faults: Counter[str] = Counter()
        self.calm = False
        self._tokens = itertools.count(1)
        self._worker_numbers = itertools.count(1)
        self._hash = blake2b()
        self._told: dict[str, deque[str]] = {}

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Until it is done; what it leaves behind stays."""
        asyncio.set_event_loop(self.loop)
        return self.loop.run_until_complete(main)

    def close(self) -> None:
        """Nothing of it is needed any more."""
        self.database.close()
        self.loop.close()
        asyncio.set_event_loop(None)

    # -- time, numbers, and what is told

    def unix_s(self) -> int:
        """The time of servers' clocks."""
        return int(BEGAN.timestamp() + self.loop.time())

    def token(self) -> int:
        """Contents that nothing else has."""
        return next(self._tokens)

    def who(self) -> tuple[str | None, int | None]:
        """The task, and the epoch of its lease, for which something is done now."""
        bound = structlog.contextvars.get_contextvars()
        return bound.get("task"), bound.get("epoch")

    def note(self, task: str | None, *what: object) -> None:
        """Something happens."""
        text = f"{self.loop.time():.6f} {task} {' '.join(map(str, what))}"
        self._hash.update(text.encode("utf-8", "surrogateescape"))
        if task is not None:
            told = self._told.get(task)
            if told is None:
                told = self._told[task] = deque(maxlen=REMEMBERED)
            told.append(text)

    def told_of(self, task: str) -> list[str]:
        """The last that happened to a task."""
        return list(self._told.get(task, ()))

    def forget(self, task: str) -> None:
        """It is over, and well."""
        self._told.pop(task, None)

    @property
    def digest(self) -> str:
        """Equal for runs in which the same has happened."""
        return self._hash.hexdigest()[:16]

    def fault(self, kind: str, task: str | None, *, quiet: bool = False) -> None:
        """Something goes wrong. `quiet`: as part of something that was counted before."""
        if not quiet:
            self.faults[kind] += 1
        self.note(task, "FAULT", kind)
        self.checks.fault(task)

    # -- the database

    def _before_transaction(self) -> float:
        if PROCESS.get() is None:
            return 0.0
        chance = self.random.random()
        if not self.calm and chance < 0.0002 * self.plan.roughness:
            self.fault("database connection lost", self.who()[0])
            raise psycopg.OperationalError("simulated: the connection was lost")
        return 0.0003 + chance * 0.002 if chance < 0.2 else 0.0

    def _after_commit(self) -> float:
        process = PROCESS.get()
        if process is None or self.calm:
            return 0.0
        if process.frozen:
            return TICK_S  # it hears of the commit when it goes on
        chance = self.random.random()
        if chance < 0.0002 * self.plan.roughness:
            self.fault("commit not answered", self.who()[0])
            raise psycopg.OperationalError("simulated: the commit was not answered")
        return 0.001 if chance < 0.05 else 0.0

    # -- workers

    def start_worker(self) -> "SimulatedWorker":
        """One more."""
        worker = SimulatedWorker(self, next(self._worker_numbers))
        self.workers.append(worker)
        return worker

    def end_calmly(self) -> None:
        """Nothing more goes wrong."""
        self.calm = True
        self.weather = Weather(0.0)


class SimulatedWorker:
    """A worker process."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"worker {number}"
        self.process = Process(self.name)
        self.worker = Worker(
            cast("Any", world.database),
            cast("Any", SimulatedSessions(world)),
            world.settings,
            name=cast("Any", self.name),
            clock=world.loop.time,
            random=Random(world.random.random()),
        )
        self.worker._data_credentials = cast("Any", _NoDataCredentials())
        self.task = world.loop.create_task(self.worker.run(), context=self.process.context)

    @property
    def gone(self) -> bool:
        """Whether it is no more."""
        return self.process.dead or self.task.done()

    def kill(self) -> None:
        """At once."""
        self.world.loop.kill(self.process)
        self.world.workers.remove(self)

    async def freeze(self, seconds: float) -> None:
        """As by SIGSTOP, and later SIGCONT."""
        for endpoint in self.world.endpoints:
            for session in sorted(endpoint.sessions, key=lambda one: one.number):
                if session.wire.process is self.process:
                    session.unhang()
        self.world.loop.freeze(self.process)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.world.loop.thaw(self.process)

    async def stop(self) -> None:
        """As by SIGTERM."""
        self.world.workers.remove(self)
        self.worker.stop()
        await asyncio.wait([self.task])


class _NoDataCredentials:
    async def get(self, *_: object) -> None:
        """Data channels of this world have no authentication."""


class SimulatedSessions(EndpointSessions):
    """Sessions with simulated servers, in clear text."""

    def __init__(self, world: World) -> None:
        nothing = cast("Any", None)
        super().__init__(cast("Any", world.database), nothing, nothing, world.settings.gridftp)
        self._world = world

    async def person(self, known: Who) -> Who:
        """Without asking anybody."""
        return known

    async def login(
        self,
        endpoint_id: UUID,
        who: Who,
        *,
        writes: bool = True,  # noqa: ARG002
    ) -> Login:
        """Without credential and trust."""
        if who.id in self._world.without_credential:
            raise NoCredential("simulated: no credential", "renew it")
        server = Server(self._world.by_id[endpoint_id].host)
        nothing = cast("Any", None)
        return Login(endpoint_id, who, server, frozenset(), nothing, nothing)

    async def dial(self, host: str, port: int) -> Any:
        """A connection, or none."""
        world = self._world
        endpoint = next(one for one in world.endpoints if one.host == host)
        await asyncio.sleep(endpoint.rtt_s)
        refused = world.weather.refused(world.random)
        if refused or endpoint.is_down:
            world.fault("connection refused", world.who()[0], quiet=not refused)
            raise GridFTPError(Kind.CONNECT, "simulated: connection refused", f"{host}:{port}")
        return endpoint.dial()


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what waits for nothing but its turn."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast("T", end.value)
