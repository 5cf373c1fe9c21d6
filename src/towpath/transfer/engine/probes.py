"""Asks servers that did not answer whether they do now; part of every worker.

What a probe sees is in `transfer.circuits`, what is kept of it in `store.circuits`.
"""

import asyncio
from random import Random

import structlog

from towpath.gridftp.errors import GridFTPError
from towpath.platform.database import AWAY, Database
from towpath.transfer.circuits import PROBE_MAX_S, probe_after_s, unreachable
from towpath.transfer.engine.faults import code_of
from towpath.transfer.sessions import EndpointSessions
from towpath.transfer.store import circuits
from towpath.transfer.store.circuits import Circuit

log = structlog.get_logger()

PROBES_AT_ONCE = 128
"""Of a worker; each is a socket. So many servers that accept connections and say nothing, which any
user can register, delay no other server's probe."""
LOOKS_APART_S = 0.5
"""From one look for what is due to the next, for probes and for tasks: what is due and not granted
is locked, or may not be granted yet, and is not looked for in a spin. No date is that exact."""
LOOK_EVERY_S = 5.0
"""Where no probe is known to be due: a doubt is notified, this is for the one that was missed."""


class Probes:
    """Claims probes that are due, and sends them."""

    def __init__(self, db: Database, sessions: EndpointSessions, random: Random) -> None:
        self._db = db
        self._sessions = sessions
        self._random = random
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                wait_s = await self._send_due()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for probe in self._running:
                probe.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _send_due(self) -> float:
        """Send what is due; seconds until more may be."""
        room = PROBES_AT_ONCE - len(self._running)
        if room == 0:
            return LOOK_EVERY_S
        try:
            for circuit in await circuits.claim_due(self._db, limit=room, longest_s=PROBE_MAX_S):
                probe = asyncio.create_task(self._probe(circuit))
                self._running.add(probe)
                probe.add_done_callback(self._ended)
            next_s = await circuits.next_due_s(self._db)
        except AWAY as error:
            log.warning("no probes: database away", error=str(error))
            return LOOK_EVERY_S
        return LOOK_EVERY_S if next_s is None else min(max(next_s, LOOKS_APART_S), LOOK_EVERY_S)

    def _ended(self, probe: asyncio.Task[None]) -> None:
        self._running.discard(probe)
        if not probe.cancelled() and (error := probe.exception()) is not None:
            log.error("probe failed", exc_info=error)  # a mistake of ours; the claim runs out
        self.wake()

    async def _probe(self, circuit: Circuit) -> None:
        """One probe and what follows. If the database is away, somebody asks again."""
        where = f"{circuit.host}:{circuit.port}"
        try:
            error = await self._ask(circuit)
            if error is None or not unreachable(error):
                await circuits.close(self._db, circuit)
                if circuit.failed_probes:
                    log.info("server answers again", server=where, outage_s=circuit.outage_s)
                return
            if not circuit.failed_probes:
                log.warning("server does not answer", server=where, error=str(error))
            await circuits.stays_open(
                self._db,
                circuit,
                probe_after_s=probe_after_s(circuit.outage_s, self._random),
                code=code_of(error),
                error=error.message,
            )
        except AWAY as error:
            log.warning("probe is lost: database away", server=where, error=str(error))

    async def _ask(self, circuit: Circuit) -> GridFTPError | None:
        """What is wrong there, if anything; the claim is held meanwhile."""
        asked = asyncio.create_task(self._sessions.greet(circuit.host, circuit.port))
        try:
            while not (await asyncio.wait([asked], timeout=circuits.CLAIM_S / 2))[0]:
                await circuits.hold(self._db, circuit)
            await asked
        except GridFTPError as error:
            return error
        finally:
            asked.cancel()
            await asyncio.wait([asked])
            if not asked.cancelled():
                asked.exception()  # seen, though something else went wrong first
        return None
