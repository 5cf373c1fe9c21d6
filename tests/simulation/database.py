"""A real PostgreSQL, asked in virtual time.

Statements block the loop, so the virtual clock never runs ahead of the database, and each
transaction is one moment of virtual time, which is what `now()` says in it. The delays, and the
faults, come before and after it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from simulation.loop import PROCESS, VirtualLoop
from simulation.statements import SimulatedConnection, Statements
from towpath.platform.migrations import migrate

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
"""The database's time when the loop's is 0."""

SCHEMA = "transfer"

# `now()` is found here before PostgreSQL's own, because the search path says so. `$1` would not be
# known when a statement is prepared; a setting of the session is.
_CLOCK = """
CREATE SCHEMA simulation;
CREATE FUNCTION simulation.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('simulation.now')::timestamptz $$;
CREATE FUNCTION simulation.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT pg_catalog.current_setting('simulation.now')::timestamptz $$;
"""
_TELL_TIME = b"SELECT pg_catalog.set_config('simulation.now', $1, false)"
_DEFAULTS = """
SELECT format('ALTER TABLE %%I.%%I ALTER COLUMN %%I SET DEFAULT simulation.now()',
              table_schema, table_name, column_name)
  FROM information_schema.columns WHERE table_schema = %s AND column_default LIKE '%%now()%%'
"""

# No log, and no work behind the back of a world that is to be repeated. Those that refer to others
# come first, as PostgreSQL wants it.
_OPTIONS = """
SELECT format('ALTER TABLE %%s SET UNLOGGED, SET (autovacuum_enabled = off)', oid::regclass)
  FROM pg_class
 WHERE relnamespace = %s::regnamespace AND relkind = 'r' ORDER BY oid DESC
"""


def prepare(url: str) -> None:
    """An empty database gets the service's schema, and a clock of its own."""
    asyncio.run(migrate(url, schema=SCHEMA, package="towpath.transfer.store"))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(_CLOCK)
        for changes in (_DEFAULTS, _OPTIONS):
            for (statement,) in conn.execute(changes, (SCHEMA,)).fetchall():
                conn.execute(statement)


class _Listener:
    """A connection that listens."""

    def __init__(self, database: "SimulatedDatabase") -> None:
        self._database = database
        self._wake = asyncio.Event()

    async def execute(self, _statement: str) -> None:
        self._database.listeners.append(self._wake)

    async def notifies(self) -> AsyncIterator[None]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._database.away():
                raise psycopg.OperationalError("simulated: the database is away")
            yield None

    async def close(self) -> None:
        self._database.listeners.remove(self._wake)


class SimulatedDatabase:
    """As `towpath.platform.database.Database`, for all processes of one world."""

    def __init__(self, url: str, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = psycopg.connect(
            url,
            autocommit=True,
            options=f"-c search_path=simulation,{SCHEMA},pg_catalog -c timezone=UTC"
            " -c lock_timeout=5s -c jit=off -c plan_cache_mode=force_generic_plan"
            " -c enable_seqscan=off",
        )
        self._statements = Statements(self._real)
        self._clock_told = -1.0
        self._busy = False
        self.listeners: list[asyncio.Event] = []
        self.transactions = 0
        self.away_until = 0.0
        self.before: Callable[[], float] = lambda: 0.0
        """Seconds until a transaction begins, or raises what goes wrong."""
        self.after: Callable[[], float] = lambda: 0.0
        """Seconds until its commit is answered, or raises what goes wrong with that."""

    def close(self) -> None:
        """Disconnect."""
        self._statements.flush()
        self._real.close()

    def cpu_s(self) -> float:
        """What the database's process has used of a processor."""
        fields = Path(f"/proc/{self._real.info.backend_pid}/stat").read_text().rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def away(self) -> bool:
        """Whether the process that asks cannot reach it now; the world itself always can."""
        process = PROCESS.get()
        return process is not None and (process.dead or self._loop.time() < self.away_until)

    def clock(self) -> datetime:
        """The virtual time as the database tells it."""
        return BEGAN + timedelta(seconds=self._loop.time())

    def query(self, statement: str, params: Any = ()) -> list[Any]:
        """Rows as they are committed, at once; for those who only watch."""
        self._begin()
        return self._statements.run(statement, params, tuple_row)[1]

    def run(self, statement: str, params: Any = ()) -> None:
        """What nobody of this world does."""
        self._begin()
        self._statements.run(statement, params, tuple_row)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SimulatedConnection]:
        """See `Database.transaction`."""
        await self._reached()
        conn = SimulatedConnection(self._statements)
        self._statements.first(b"BEGIN")
        try:
            yield conn
            # Goes with what comes next: nobody else looks at the database, so nobody can see that
            # it came so late.
            self._statements.first(b"COMMIT")
            self._committed(conn)
        except BaseException:
            self._statements.first(b"ROLLBACK")
            self._clock_told = -1.0  # that is rolled back as well
            raise
        finally:
            self._busy = False
        delay_s = self.after()
        if delay_s:
            await asyncio.sleep(delay_s)
            self._reach()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SimulatedConnection]:
        """See `Database.connection`."""
        await self._reached()
        conn = SimulatedConnection(self._statements)
        try:
            yield conn
            self._committed(conn)
        except BaseException:
            self._clock_told = -1.0  # it may have been told in vain, with the statement that failed
            raise
        finally:
            self._busy = False

    async def dedicated(self) -> _Listener:
        """See `Database.dedicated`."""
        self._reach()
        return _Listener(self)

    async def _reached(self) -> None:
        delay_s = self.before()
        if delay_s:
            await asyncio.sleep(delay_s)
        self._reach()
        assert not self._busy, "nobody waits for anything in a transaction"
        self._busy = True
        self.transactions += 1
        self._begin()

    def _reach(self) -> None:
        if self.away():
            raise psycopg.OperationalError("simulated: the database is away")

    def _begin(self) -> None:
        """Tell the time if it has moved."""
        now = self._loop.time()
        if now != self._clock_told:
            self._clock_told = now
            self._statements.first(_TELL_TIME, self.clock().isoformat().encode())

    def _committed(self, conn: SimulatedConnection) -> None:
        for told in conn.on_commit:
            told()
        if conn.notified:
            for listener in self.listeners:
                listener.set()
