"""The database as a service sees it: a pool on its own schema."""

import asyncio
import json
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import orjson
import psycopg
import structlog
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from towpath.platform.postgres import EmbeddedPostgres, PostgresError

__all__ = ["Connection", "Database", "EmbeddedPostgres", "PostgresError"]

_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password")
"""Of a server that is there; an error while connecting has no code."""

_log = structlog.stdlib.get_logger("towpath.database")

T = TypeVar("T")

Connection = psycopg.AsyncConnection[DictRow]
"""Rows are dicts; ask a cursor for ``row_factory=tuple_row`` where there are many."""

AWAY = (psycopg.OperationalError, psycopg.InternalError)
"""What a lost, restarting or failing-over database raises: the same statement may work later.
(PostgreSQL's class 25, a transaction that was ended for us, is an InternalError.) Others do too:
who would try again for ever, or tell nobody, asks `is_away`."""

_AWAY_STATES = (
    "08",  # the connection is lost
    "25",  # our transaction was ended, or this server is a standby now
    "40",  # deadlock, serialization
    "53300",  # too many connections
    "55P03",  # a lock was not to be had
    "57P",  # the server stops, starts or crashes
)
"""Beginnings of SQLSTATEs (PostgreSQL manual, appendix A)."""

CONNECT_TIMEOUT_S = 10
POOL_WAIT_S = 30.0
"""A request waits this long for a connection; then the database is too slow, and it says so."""
AWAY_WAIT_S = 2.0
"""While no connection can be made at all, it waits only so long."""
TRIED_S = 1.0
"""A connection that was used so recently, and on which nothing has come since, is not tried before
it is used again: that would be a round trip for each request. A server that ends one says so."""
HEAL_EVERY_S = 1.0
"""How often the pool is looked after while it has lost connections. By itself it would wait twice
as long from one attempt to the next, in the end for minutes, and try again only when asked."""
FIRST_WAIT_S = 60.0
"""How long a start waits for a database that is starting too."""
PEER_GONE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""A database host that vanished, as in a failover, is noticed within 25 s (libpq's settings)."""
IDLE_TRANSACTION_LIMIT = "5s"
"""A transaction that a dead or stopped process left open does not hold its locks for longer: a
stopped worker has at most two in a row on a task (a write, a renewal), so its task can be taken
over when its lease of 15 s ends."""


_LARGE_NUMBER = b"0" * 19
"""With so many digits it may have more than 64 bits."""
_EACH_DIGIT_0 = bytes.maketrans(b"123456789", b"000000000")


def _parsed(document: bytes | str) -> Any:
    """JSON as PostgreSQL has it. A row has several documents, mostly small ones, for which the
    standard library takes three times as long; it has numbers of any size.
    """
    if isinstance(document, bytes) and _LARGE_NUMBER not in document.translate(_EACH_DIGIT_0):
        try:
            return orjson.loads(document)
        except ValueError:  # such as 1e999
            pass
    return json.loads(document)


set_json_loads(_parsed)


def is_away(error: BaseException) -> bool:
    """Whether this is one of AWAY that passes when the database is there again.

    A full disk, too little memory or an error inside the server are not: they must be told.
    """
    if not isinstance(error, AWAY):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(_AWAY_STATES)


class Database:
    """A pool of connections whose ``search_path`` is one service's schema.

    JSON columns come and go as Python objects, timestamps as aware datetimes in UTC.
    """

    def __init__(
        self, url: str, *, schema: str, max_size: int = 10, application: str | None = None
    ) -> None:
        self.url = url
        self.schema = schema
        self._arguments: dict[str, Any] = {
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": CONNECT_TIMEOUT_S,
            **PEER_GONE,
            "application_name": application or f"towpath-{schema}",
            "options": (
                f"-c search_path={schema} -c timezone=UTC"
                f" -c idle_in_transaction_session_timeout={IDLE_TRANSACTION_LIMIT}"
            ),
        }
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=psycopg.AsyncConnection[DictRow],
            kwargs=self._arguments,
            min_size=1,
            max_size=max_size,
            reconnect_timeout=AWAY_WAIT_S,
            reconnect_failed=self._gave_up,
            # a server that was restarted leaves dead connections behind
            check=self._check,
            name=schema,
            open=False,
        )
        self._used: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._away = False
        self._healing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises ``psycopg_pool.PoolTimeout`` (a ``psycopg.OperationalError``)."""
        await self._pool.open(wait=True, timeout=POOL_WAIT_S)

    async def close(self) -> None:
        """Close every connection."""
        if self._healing is not None:
            self._healing.cancel()
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit: every statement is its own transaction."""
        asked = _cancellations()
        connection = await self._taken()
        try:
            async with connection:
                # The pool waits by asyncio.wait_for, which before Python 3.12 loses a cancellation
                # that comes while a connection is handed over: whoever was cancelled would go on.
                if _cancellations() > asked:
                    raise asyncio.CancelledError
                yield connection
        except AssertionError as error:
            # A cancellation that comes while psycopg begins a pipeline (executemany) comes out as
            # this, and leaves a connection that no one can use again.
            if _cancellations() > asked:
                await connection.close()
                raise asyncio.CancelledError from error
            raise
        except AWAY:
            self._used.clear()
            self._heal_soon()
            raise
        finally:
            self._used[connection] = time.monotonic()
            await self._pool.putconn(connection)

    async def _check(self, connection: Connection) -> None:
        used = self._used.get(connection)
        recently = used is not None and time.monotonic() - used <= TRIED_S
        if not recently or _has_news(connection):
            await AsyncConnectionPool.check_connection(connection)

    async def _taken(self) -> Connection:
        deadline = time.monotonic() + POOL_WAIT_S
        while True:
            try:
                connection = await self._pool.getconn(timeout=AWAY_WAIT_S)
                self._is_away(False)
                return connection
            except PoolTimeout:
                self._heal_soon()
                if self._away or time.monotonic() > deadline:
                    raise

    async def _gave_up(self, _pool: AsyncConnectionPool[Connection]) -> None:
        self._is_away(True)
        self._heal_soon()

    def _is_away(self, away: bool) -> None:  # noqa: FBT001 - it is all that there is
        if away and not self._away:
            _log.warning("database.away", schema=self.schema)
        elif self._away and not away:
            _log.info("database.back", schema=self.schema)
        self._away = away

    def _heal_soon(self) -> None:
        if self._healing is None or self._healing.done():
            self._healing = asyncio.create_task(self._heal())

    async def _heal(self) -> None:
        """Part with lost connections, and make new ones, until there is one to be had."""
        while True:
            await self._pool.check()
            if self._pool.get_stats().get("pool_available"):
                self._is_away(False)
                return
            await asyncio.sleep(HEAL_EVERY_S)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in one transaction: committed at the end, rolled back on an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def dedicated(self) -> Connection:
        """A connection outside the pool, in autocommit, e.g. to LISTEN. The caller closes it."""
        return await psycopg.AsyncConnection[DictRow].connect(self.url, **self._arguments)


async def at_start(work: Callable[[], Awaitable[T]]) -> T:
    """Do what a start needs of a database that may be starting, too; again while it is away,
    FIRST_WAIT_S in all at most. `work` may be done more than once.

    What a server that is there refuses, such as a password, is not waited for. Raises what `work`
    raises.
    """
    deadline = time.monotonic() + FIRST_WAIT_S
    told = False
    while True:
        try:
            return await work()
        except AWAY as error:
            refused = any(words in str(error) for words in _REFUSALS)
            if refused or not is_away(error) or time.monotonic() > deadline:
                raise
            if not told:
                _log.warning("database.awaited", error=str(error), at_most_s=FIRST_WAIT_S)
                told = True
            await asyncio.sleep(HEAL_EVERY_S)


async def wait_for_database(url: str) -> None:
    """Until the server takes connections, as `at_start`. Raises ``psycopg.OperationalError``."""

    async def connect() -> None:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=CONNECT_TIMEOUT_S)
        await connection.close()

    await at_start(connect)


def _has_news(connection: Connection) -> bool:
    """Whether something has come, or it is closed: of one that nobody uses, that is its end."""
    if connection.closed:
        return True
    news = select.poll()
    news.register(connection.fileno(), select.POLLIN)
    return bool(news.poll(0))


def _cancellations() -> int:
    """How often the task that runs has been asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
