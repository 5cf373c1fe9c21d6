"""psycopg's asynchronous connection, as far as the store uses it, over blocking calls of libpq.

A virtual world runs millions of statements; psycopg's own way to wait for each costs as much as the
statement, and so does each round trip: what begins and ends transactions goes with the statement
that comes after it. Values are converted, and errors told, by psycopg.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import chain
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg._copy_base import format_row_text
from psycopg._queries import _query2pg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.rows import dict_row, tuple_row

INSERTED_MAX = 8
"""Rows; each number of them is a statement of its own."""

TEXT_OID = 25
GOOD = {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COPY_IN}


class Statements:
    """Runs statements on one connection, each prepared when it is new."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._link = connection.pgconn
        self._transformer = Transformer(connection)
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._makers: dict[Any, Any] = {}
        self._first: list[tuple[bytes, list[bytes] | None]] = []

    def first(self, text: bytes, *params: bytes) -> None:
        """What is to be run in the same round trip as the statement after it, and tells nothing."""
        name = self._prepare(text, (TEXT_OID,) * len(params))
        self._first.append((name, list(params) or None))

    def run(
        self, query: Any, params: Any, row_factory: Any, *, typed: bool = True
    ) -> tuple[int, list[Any]]:
        """The number of rows, and the rows, if there are any to be told. Not `typed`: the database
        knows what type each parameter is."""
        if not isinstance(query, str):
            query = query.as_string(self._connection)
        transformer = self._transformer
        if params:
            text, formats, order = _parsed(query)
            ordered = params if order is None else [params[name] for name in order]
            values = transformer.dump_sequence(ordered, formats)
            name = self._prepare(text, transformer.types or () if typed else ())
            result = self._run(name, values, transformer.formats)
        else:
            name = self._prepare(query.encode(), ())
            result = self._run(name, None)
        if result.status != pq.ExecStatus.TUPLES_OK:
            return result.command_tuples or 0, []
        made = (name, row_factory)
        maker = self._makers.get(made)
        if maker is None:
            maker = self._makers[made] = row_factory(_Told(result))
        transformer.set_pgresult(result)
        return result.ntuples, transformer.load_rows(0, result.ntuples, maker)

    def copy(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """COPY ... FROM STDIN, which is an INSERT where it is short, in half the round trips."""
        if not rows:
            return
        if len(rows) <= INSERTED_MAX:
            into = statement.removeprefix("COPY ").removesuffix(" FROM STDIN")
            row = f"({', '.join(['%t'] * len(rows[0]))})"
            values = ", ".join([row] * len(rows))
            self.run(
                f"INSERT INTO {into} VALUES {values}", list(chain(*rows)), tuple_row, typed=False
            )
            return
        self.flush()
        transformer, out = Transformer(self._connection), bytearray()
        for one in rows:
            format_row_text(one, transformer, out)
        self._checked(self._link.exec_(statement.encode()))
        self._link.put_copy_data(out)
        self._link.put_copy_end()
        while (result := self._link.get_result()) is not None:
            self._checked(result)

    def flush(self) -> None:
        """Nothing waits for a statement after it."""
        if self._first:
            self._run(*self._first.pop())

    def _prepare(self, text: bytes, types: tuple[int, ...]) -> bytes:
        key = (text, types)
        name = self._prepared.get(key)
        if name is None:
            name = self._prepared[key] = b"s%d" % len(self._prepared)
            self._checked(self._link.prepare(name, text, types))
        return name

    def _run(self, name: bytes, params: Any, formats: Any = None) -> Any:
        link, first = self._link, self._first
        if not first:
            result = link.exec_prepared(name, params, formats)
            self._checked(result)
            return result
        self._first = []
        link.enter_pipeline_mode()
        for one, its_params in first:
            link.send_query_prepared(one, its_params)
        link.send_query_prepared(name, params, formats)
        link.pipeline_sync()
        results = []
        for _ in range(len(first) + 1):
            results.append(link.get_result())
            link.get_result()  # says that there are no more of this statement
        link.get_result()  # the end of the pipeline
        link.exit_pipeline_mode()
        for result in results:
            self._checked(result)
        return results[-1]

    def _checked(self, result: pq.abc.PGresult) -> None:
        if result.status not in GOOD:
            raise error_from_result(result)


@cache  # as many as the store has
def _parsed(query: str) -> tuple[bytes, Any, list[str] | None]:
    text, formats, order, _ = _query2pg(query.encode(), "utf-8")
    return text, formats, order


@cache
def _notifies(query: str) -> bool:
    return "notify" in query.lower()


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
        if isinstance(query, str) and _notifies(query):
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

    async def write(self, text: str) -> None:
        """Whole lines, as COPY reads them."""
        lines = text.split("\n")[:-1]
        self.rows += [[_column(column) for column in line.split("\t")] for line in lines]


def _column(text: str) -> str | None:
    signs = {"t": "\t", "n": "\n", "r": "\r"}
    return (
        None if text == "\\N" else re.sub(r"\\(.)", lambda sign: signs.get(sign[1], sign[1]), text)
    )


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
