"""Restart points of large files: ranges that both servers confirmed (I4).

Every function that writes takes the connection of a `fenced` transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.transfer.store.rows import fetch


@dataclass(frozen=True, slots=True)
class Range:
    """A restart point: bytes [first, after) that both servers confirmed."""

    first: int
    after: int
    verified: bool
    session_generation: int
    algorithm: str | None = None
    digest: str | None = None
    """What both servers computed over it, in hex; None: it was not compared, or not kept."""


async def of_file(conn: AsyncConnection[Any], task_no: int, file_no: int) -> list[Range]:
    """Restart points of a large file, by offset."""
    async with conn.cursor(row_factory=class_row(Range)) as cur:
        await cur.execute(
            "SELECT first, after, verified, session_generation, algorithm, digest FROM file_range"
            " WHERE task_no = %s AND file_no = %s ORDER BY first",
            (task_no, file_no),
        )
        return await cur.fetchall()


async def add(conn: AsyncConnection[Any], task_no: int, ranges: Sequence[tuple[int, Range]]) -> int:
    """Commit restart points (file_no, range); returns the bytes of those that are new."""
    if not ranges:
        return 0
    written = await fetch(
        conn,
        "INSERT INTO file_range (task_no, file_no, first, after, verified, session_generation,"
        " algorithm, digest)"
        " SELECT %s, * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[],"
        " %s::integer[], %s::text[], %s::text[])"
        " ON CONFLICT (task_no, file_no, first) DO UPDATE SET after = excluded.after,"
        " verified = excluded.verified, session_generation = excluded.session_generation,"
        " algorithm = excluded.algorithm, digest = excluded.digest"
        " RETURNING after - first, xmax = 0",  # xmax 0: inserted, not updated
        (
            task_no,
            [no for no, _ in ranges],
            [r.first for _, r in ranges],
            [r.after for _, r in ranges],
            [r.verified for _, r in ranges],
            [r.session_generation for _, r in ranges],
            [r.algorithm for _, r in ranges],
            [r.digest for _, r in ranges],
        ),
    )
    return sum(row[0] for row in written if row[1])


async def drop(
    conn: AsyncConnection[Any], task_no: int, file_no: int, firsts: Sequence[int] | None = None
) -> None:
    """Void restart points: all of a file's, or those that begin at `firsts`.

    Their bytes had been counted as transferred; they are sent again.
    """
    await conn.execute(
        """
        WITH gone AS (
            DELETE FROM file_range WHERE task_no = %(task_no)s AND file_no = %(file_no)s
               AND (%(firsts)s::bigint[] IS NULL OR first = ANY(%(firsts)s::bigint[]))
            RETURNING after - first AS size
        ), lost AS (SELECT sum(size) AS size FROM gone)
        UPDATE task SET bytes_transferred = bytes_transferred - lost.size,
                        bytes_resent = bytes_resent + lost.size
          FROM lost WHERE task_no = %(task_no)s AND lost.size > 0
        """,
        {
            "task_no": task_no,
            "file_no": file_no,
            "firsts": None if firsts is None else list(firsts),
        },
    )
