"""psycopg's asynchronous connection, as far as the store uses it, over blocking calls of libpq.

A virtual world runs millions of statements; psycopg's own way to wait for each costs as much as the
statement. Values are converted, and errors told, by psycopg.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg._copy_base import format_row_text
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.rows import dict_row

GOOD = {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_IN}


class Statements:
    """Runs statements on one connection, each prepared when it is new."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._link = connection.pgconn
        self._transformer = Transformer(connection)
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._makers: dict[Any, Any] = {}

    def script(self, text: str) -> None:
        """Several statements in one round trip."""
        self._checked(self._link.exec_(text.encode()))

    def run(self, query: Any, params: Any, row_factory: Any) -> tuple[int, list[Any]]:
        """The number of rows, and the rows, if there are any to be told."""
        if not isinstance(query, str):
            query = query.as_string(self._connection)
        transformer = self._transformer
        converted = PostgresQuery(transformer)
        converted.convert(query, params or None)
        key = (converted.query, converted.types)
        name = self._prepared.get(key)
        if name is None:
            name = self._prepared[key] = b"s%d" % len(self._prepared)
            self._checked(self._link.prepare(name, converted.query, converted.types))
        result = self._link.exec_prepared(name, converted.params, converted.formats)
        self._checked(result)
        if result.status != pq.ExecStatus.TUPLES_OK:
            return result.command_tuples or 0, []
        made = (converted.query, row_factory)
        maker = self._makers.get(made)
        if maker is None:
            maker = self._makers[made] = row_factory(_Told(result))
        transformer.set_pgresult(result)
        return result.ntuples, transformer.load_rows(0, result.ntuples, maker)

    def copy(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """COPY ... FROM STDIN."""
        transformer, out = Transformer(self._connection), bytearray()
        for row in rows:
            format_row_text(row, transformer, out)
        self._checked(self._link.exec_(statement.encode()))
        self._link.put_copy_data(out)
        self._link.put_copy_end()
        while (result := self._link.get_result()) is not None:
            self._checked(result)

    def _checked(self, result: pq.abc.PGresult) -> None:
        if result.status not in GOOD:
            raise error_from_result(result)


class _Told:
    """What row factories want to know of a cursor."""

    _encoding = "utf-8"

    def __init__(self, result: Any) -> None:
        self.pgresult = result


class SimulatedCursor:
    """The part of `AsyncCursor` that the store uses."""

    def __init__(self, conn: "SimulatedConnection", row_factory: Any) -> None:
        self._conn = conn
        self._row_factory = row_factory
        self._rows: list[Any] = []
        self.rowcount = -1

    async def execute(self, query: Any, params: Any = None) -> "SimulatedCursor":
        """See psycopg."""
        self.rowcount, self._rows = self._conn.statements.run(query, params, self._row_factory)
        if isinstance(query, str) and "notify" in query.lower():
            self._conn.notified |= self.rowcount > 0 or query.startswith("NOTIFY")
        return self

    async def executemany(self, query: Any, several: Iterable[Any]) -> None:
        """See psycopg."""
        for params in several:
            await self.execute(query, params)

    async def fetchone(self) -> Any:
        """See psycopg."""
        return self._rows.pop(0) if self._rows else None

    async def fetchall(self) -> list[Any]:
        """See psycopg."""
        rows, self._rows = self._rows, []
        return rows

    @asynccontextmanager
    async def copy(self, statement: str) -> AsyncIterator["_Copy"]:
        """See psycopg."""
        copy = _Copy()
        yield copy
        self._conn.statements.copy(statement, copy.rows)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class _Copy:
    def __init__(self) -> None:
        self.rows: list[Sequence[Any]] = []

    async def write_row(self, row: Sequence[Any]) -> None:
        self.rows.append(row)


class SimulatedConnection:
    """The part of `AsyncConnection` that the store uses."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.notified = False
        self.on_commit: list[Callable[[], None]] = []
        """Called if what is done here now is committed."""

    def cursor(self, *, row_factory: Any = None) -> SimulatedCursor:
        """A cursor."""
        return SimulatedCursor(self, row_factory or dict_row)

    async def execute(self, query: Any, params: Any = None) -> SimulatedCursor:
        """The cursor with the statement's results."""
        return await self.cursor().execute(query, params)
