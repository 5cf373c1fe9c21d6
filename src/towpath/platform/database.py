"""The database as a service sees it: a pool on its own schema."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from towpath.platform.postgres import EmbeddedPostgres, PostgresError

__all__ = ["Connection", "Database", "EmbeddedPostgres", "PostgresError"]

Connection = psycopg.AsyncConnection[DictRow]
"""Rows are dicts; ask a cursor for ``row_factory=tuple_row`` where there are many."""

AWAY = (psycopg.OperationalError, psycopg.InternalError)
"""What a lost, restarting or failing-over database raises: the same statement may work later.
(PostgreSQL's class 25, a transaction that was ended for us, is an InternalError.)"""

CONNECT_TIMEOUT_S = 10
POOL_WAIT_S = 30.0
"""A request waits this long for a connection; then the database is too slow, and it says so."""
IDLE_TRANSACTION_LIMIT = "5s"
"""A transaction that a dead or stopped process left open does not hold its locks for longer: a
stopped worker has at most two in a row on a task (a write, a renewal), so its task can be taken
over when its lease of 15 s ends."""


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
            timeout=POOL_WAIT_S,
            # a server that was restarted leaves dead connections behind
            check=AsyncConnectionPool.check_connection,
            name=schema,
            open=False,
        )

    async def open(self) -> None:
        """Connect. Raises ``psycopg_pool.PoolTimeout`` (a ``psycopg.OperationalError``)."""
        await self._pool.open(wait=True, timeout=POOL_WAIT_S)

    async def close(self) -> None:
        """Close every connection."""
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
        async with self._pool.connection() as connection:
            # The pool waits by asyncio.wait_for, which before Python 3.12 loses a cancellation that
            # comes while a connection is handed over: whoever was cancelled would go on for ever.
            if _cancellations() > asked:
                raise asyncio.CancelledError
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in one transaction: committed at the end, rolled back on an exception."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def dedicated(self) -> Connection:
        """A connection outside the pool, in autocommit, e.g. to LISTEN. The caller closes it."""
        return await psycopg.AsyncConnection[DictRow].connect(self.url, **self._arguments)


def _cancellations() -> int:
    """How often the task that runs has been asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
