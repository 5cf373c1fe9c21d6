"""The worker process: asks for leases, drives their tasks, renews them, stops cleanly."""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable
from random import Random, SystemRandom

import psycopg
import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.platform.settings import LONGEST_LEASE_S, Settings
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.driver import Driver
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.engine.probes import LOOKS_APART_S, Probes
from towpath.transfer.engine.telling import Teller
from towpath.transfer.engine.witness import Witness
from towpath.transfer.sessions import EndpointSessions
from towpath.transfer.store import dates, leases, plans
from towpath.transfer.store.leases import Grant, LeaseLostError
from towpath.transfer.store.rows import TASK_CHANNEL

log = structlog.get_logger()

# After a database error: long enough not to spin, short enough to be back at once.
DATABASE_RETRY_S = 1.0
# A task that was locked when its lease was to be renewed gets another chance soon.
RENEW_LOCKED_S = 0.5
# A clean stop hands tasks back; sessions that do not confirm their end are not waited for longer.
STOP_GRACE_S = 10.0
# The exit code of a worker that has run out of memory (EX_OSERR of sysexits.h).
OUT_OF_MEMORY = 71


class Worker:
    """Runs up to `tasks_per_worker` tasks at once."""

    def __init__(
        self,
        db: Database,
        sessions: EndpointSessions,
        settings: Settings,
        *,
        name: WorkerName,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        exit_process: Callable[[int], object] = os._exit,
        witness: Witness | None = None,
        teller: Teller | None = None,
    ) -> None:
        self._db = db
        self._teller = teller
        self._witness = witness
        self._sessions = sessions
        self._settings = settings.engine
        self._limits = settings.limits
        self._name = str(name)
        self._clock = clock
        self._exit = exit_process
        self._random = random or SystemRandom()
        self._data_credentials = DataCredentials()
        self._probes = Probes(db, sessions, self._random)
        self._running: dict[int, tuple[Driver, asyncio.Task[None]]] = {}
        self._replaced: set[asyncio.Task[None]] = set()
        """Of drivers whose task was granted to us once more; they are ending."""
        self._locked = False
        """Whether a lease could not be renewed because its task was being written to."""
        self._tidied_at = -math.inf
        self._wake = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Begin a clean stop: tasks are handed back."""
        self._stopping = True
        self._wake.set()
        for driver, _ in self._running.values():
            driver.interrupt(stop=True)

    async def run(self) -> None:
        """Until `stop`."""
        helpers = [
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._renew()),
            asyncio.create_task(self._probes.run()),
            *([] if self._teller is None else [asyncio.create_task(self._teller.run())]),
        ]
        log.info("worker runs", worker=self._name)
        try:
            while not self._stopping:
                for helper in helpers:
                    if helper.done():
                        helper.result()  # a worker without one of them is none
                await self._admit()
                await self._sleep(await self._next_look_s())
            running = [task for _, task in self._running.values()]
            if running:
                await asyncio.wait(running, timeout=STOP_GRACE_S)
        finally:
            for task in (*helpers, *(task for _, task in self._running.values())):
                _end(task)
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._replaced:
                await asyncio.wait(self._replaced, timeout=STOP_GRACE_S)
            log.info("worker stopped", worker=self._name)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    @property
    def _room(self) -> int:
        """How many more tasks can be driven."""
        return self._settings.tasks_per_worker - len(self._running)

    async def _admit(self) -> None:
        room = self._room
        if room <= 0:
            return
        try:
            await self._tidy()
            asked_at = self._clock()
            await self._give_up()
            await leases.keep_queued(self._db, deadline_h=self._limits.deadline_h)
            grants = await leases.admit(
                self._db,
                worker=self._name,
                limit=room,
                lease_s=self._settings.lease_s,
                per_owner=self._limits.running_tasks_per_owner,
            )
        except AWAY as error:
            log.warning("database away", error=str(error))
            await asyncio.sleep(DATABASE_RETRY_S)
            return
        for grant in grants:
            self._start(grant, asked_at)

    async def _tidy(self) -> None:
        """See to what others left; as often as there is a look without a notification."""
        now = self._clock()
        if now - self._tidied_at < self._settings.poll_s:
            return
        await self._bury()
        await self._bound_dates()
        await plans.tidy(self._db)
        self._tidied_at = now

    async def _bury(self) -> None:
        """End the leases of workers of this host that are seen to be dead."""
        if ended := await leases.break_in(self._db):
            log.warning("ended transactions of workers without a lease", count=ended)
        for held_by in await leases.holders(self._db):
            name = WorkerName.parse(held_by)
            if name is not None and name.is_dead():
                count = await leases.expire_worker(self._db, held_by)
                log.warning("worker found dead", dead=held_by, leases=count)

    async def _give_up(self) -> None:
        """End our own leases of tasks that we do not drive: theirs ended, or their grants were not
        seen, because the database was away."""
        count = await leases.give_up(
            self._db,
            self._name,
            keep=list(self._running),
            rest_s=self._settings.retry_first_s,
        )
        if count:
            log.warning("own leases given up", leases=count)

    async def _bound_dates(self) -> None:
        count = await dates.bound_tasks(
            self._db,
            longest_lease_s=LONGEST_LEASE_S,
            longest_wait_s=self._settings.retry_max_s,
        )
        if count:
            log.warning("the database's clock was set back", tasks=count)

    async def _next_look_s(self) -> float:
        """Seconds until a task may be due, or it is time for a look without a notification.

        Without room nothing is granted until a driver ends, which wakes us.
        """
        if self._room <= 0:
            return self._settings.poll_s
        try:
            due_s = await dates.next_due_s(self._db)
        except AWAY:
            return DATABASE_RETRY_S
        return min(self._settings.poll_s, max(due_s, LOOKS_APART_S))

    def _start(self, grant: Grant, asked_at: float) -> None:
        context = TaskContext(
            db=self._db,
            grant=grant,
            lease=LeaseClock(asked_at, self._settings.lease_s, self._clock),
            sessions=self._sessions,
            data_credentials=self._data_credentials,
            settings=self._settings,
            random=self._random,
            clock=self._clock,
            options=Options.from_document(grant.options),
            witness=self._witness,
        )
        if self._witness is not None:
            self._witness.begins(grant)
        if self._teller is not None:
            self._teller.follow(context)
        if (before := self._running.get(grant.task_no)) is not None:
            # its lease ran out without us, as when a clock is set
            _end(before[1])
            self._replaced.add(before[1])
            before[1].add_done_callback(self._replaced.discard)
        driver = Driver(context, cancel=grant.cancel_requested, expire=grant.expired)
        task = asyncio.create_task(self._drive(driver), name=f"task {grant.id}")
        self._running[grant.task_no] = (driver, task)

    async def _drive(self, driver: Driver) -> None:
        grant = driver.context.grant
        structlog.contextvars.bind_contextvars(task=str(grant.id), epoch=grant.lease_epoch)
        try:
            await driver.run()
        except LeaseLostError as lost:
            log.warning("lease lost", reason=str(lost))
        except Exception as error:
            if is_away(error):
                # Whoever gets the lease next goes on from what was committed.
                log.warning("database away", error=str(error))
            else:
                if _without_memory(error):
                    # What else was lost with it nobody can know: a lock that was not given back,
                    # say. Another worker sees our end, and takes over at once.
                    with contextlib.suppress(MemoryError):
                        log.error("out of memory")
                    self._exit(OUT_OF_MEMORY)
                log.exception("task driver failed")
                await self._internal_error(driver)
        finally:
            running = self._running.get(grant.task_no)
            if running is not None and running[0] is driver:
                del self._running[grant.task_no]
            if self._witness is not None:
                self._witness.ends(grant)
            if self._teller is not None:
                self._teller.leave(driver.context)
            self._wake.set()

    async def _internal_error(self, driver: Driver) -> None:
        """Our own mistake: told as such, and tried again later like any other fault."""
        try:
            await driver.internal_error()
        except (LeaseLostError, *AWAY) as error:
            log.warning("could not record an internal error", error=str(error))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_LOCKED_S if self._locked else self._settings.renew_s)
            await self._renew_once()

    async def _renew_once(self) -> None:
        held = {no: driver for no, (driver, _) in self._running.items()}
        if not held:
            return
        asked_at = self._clock()
        try:
            renewals = await leases.renew(
                self._db,
                worker=self._name,
                held=[(no, d.context.grant.lease_epoch) for no, d in held.items()],
                lease_s=self._settings.lease_s,
            )
        except AWAY as error:
            log.warning("leases not renewed", error=str(error))
            return
        self._locked = not all(renewal.renewed for renewal in renewals)
        for renewal in renewals:
            driver = held.pop(renewal.task_no)
            if renewal.renewed:
                driver.context.lease.renewed(asked_at, self._settings.lease_s)
            if renewal.cancel_requested or renewal.expired or renewal.paused:
                driver.interrupt(
                    cancel=renewal.cancel_requested, expire=renewal.expired, pause=renewal.paused
                )
        for task_no, driver in held.items():
            running = self._running.get(task_no)
            if running is None or running[0] is not driver:
                continue
            _end(running[1])  # another worker's now, or ended meanwhile

    async def _listen(self) -> None:
        """Wake on NOTIFY; the slow poll covers what is missed."""
        while True:
            try:
                conn = await self._db.dedicated()
                try:
                    await conn.execute(f"LISTEN {TASK_CHANNEL}")
                    async for _ in conn.notifies():
                        self._wake.set()
                        self._probes.wake()
                        await self._renew_once()  # a cancel or a pause is seen at once
                finally:
                    await conn.close()
            except AWAY as error:
                log.debug("not listening", error=str(error))
            await asyncio.sleep(DATABASE_RETRY_S)


def _end(task: asyncio.Task[None]) -> None:
    """Once: again would cut its cleaning up short."""
    if not task.cancelling():
        task.cancel()


def _without_memory(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_without_memory(one) for one in error.exceptions)
    # CPython has no type for a thread that finds no memory
    no_thread = isinstance(error, RuntimeError) and str(error) == "can't start new thread"
    # nor has libpq an SQLSTATE for an answer that finds none here
    no_answer = (
        isinstance(error, psycopg.Error)
        and error.sqlstate is None
        and "out of memory" in str(error)
    )
    return no_thread or no_answer or isinstance(error, MemoryError)


async def run_until_signal(worker: Worker) -> None:
    """Run the worker; SIGTERM and SIGINT stop it cleanly."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    await worker.run()
