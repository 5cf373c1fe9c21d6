"""A task's throughput over time: one row, written in the recorder's transactions."""

import json
import zlib
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from towpath.transfer.accounting import MOVES
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.throughput import Point, Throughput

LATELY_DAYS: Final = 30
"""Of what was measured before that, networks and disks may have changed."""
LAST_TASKS: Final = 1_000
"""Of an owner, that are looked at: a few milliseconds."""
LEAST_BYTES: Final = 100_000_000
"""Of a transfer that is measured: one of less tells how long it takes to begin."""

_DONE = """
    extract(epoch FROM {at})::float8, bytes_transferred,
    CASE WHEN type = 'DELETE' THEN files ELSE files_transferred END, faults
"""
_NOW = _DONE.format(at="clock_timestamp()")
_AT_LAST = _DONE.format(at="coalesce(completion_time, clock_timestamp())")
_START = "extract(epoch FROM started_at)::float8"


async def of_task(conn: AsyncConnection[Any], task_no: int) -> Throughput:
    """As it was written; of a task that has not begun there are no points."""
    row = await fetch_one(
        conn, "SELECT interval_s, data FROM throughput WHERE task_no = %s", (task_no,)
    )
    if row is not None:
        points = json.loads(zlib.decompress(row[1]))
        return Throughput(row[0], [Point(*point) for point in points])
    start = await fetch_one(conn, f"SELECT {_START} FROM task WHERE task_no = %s", (task_no,))  # noqa: S608
    assert start is not None
    return Throughput(points=[] if start[0] is None else [Point(start[0], 0, 0, 0)])


async def measured(
    conn: AsyncConnection[Any], owner_id: UUID, source_id: UUID, destination_id: UUID
) -> float | None:
    """The highest rate, in bytes/s while data moved, of an owner's last transfers between two
    endpoints; None: there is none to measure by. Others' transfers are not his to learn of (I7).
    """
    row = await fetch_one(
        conn,
        """
        SELECT max(bytes_transferred / seconds)::float8 FROM (
            SELECT bytes_transferred, (
                SELECT sum(detail.value::float8) FROM unnest(%(moves)s::text[]) AS category,
                       jsonb_each_text(coalesce(spent -> category, '{}')) AS detail
            ) AS seconds
            FROM (SELECT * FROM task WHERE owner_id = %(owner)s
                  ORDER BY request_time DESC LIMIT %(last)s) AS last
            JOIN task_time USING (task_no)
            WHERE type = 'TRANSFER' AND status = 'SUCCEEDED' AND source_endpoint_id = %(source)s
              AND destination_endpoint_id = %(destination)s
              AND bytes_transferred >= %(least)s
              AND completion_time > now() - make_interval(days => %(days)s)
        ) AS measured WHERE seconds > 0
        """,
        {
            "owner": owner_id,
            "source": source_id,
            "destination": destination_id,
            "moves": [str(one) for one in MOVES],
            "last": LAST_TASKS,
            "least": LEAST_BYTES,
            "days": LATELY_DAYS,
        },
    )
    assert row is not None
    return None if row[0] is None else float(row[0])


async def now(conn: AsyncConnection[Any], task_no: int) -> Point:
    """What a task has done by now."""
    row = await fetch_one(conn, f"SELECT {_NOW} FROM task WHERE task_no = %s", (task_no,))  # noqa: S608
    assert row is not None, "tasks are never removed from the table"
    return Point(*row)


async def write(conn: AsyncConnection[Any], task_no: int, noted: Throughput) -> None:
    """Keep it; inside `fenced`."""
    await conn.execute(
        "INSERT INTO throughput (task_no, interval_s, data) VALUES (%s, %s, %s)"
        " ON CONFLICT (task_no) DO UPDATE SET interval_s = excluded.interval_s,"
        " data = excluded.data",
        (task_no, noted.interval_s, zlib.compress(json.dumps(noted.points).encode())),
    )


async def until_now(conn: AsyncConnection[Any], task_no: int) -> Throughput:
    """As it was written, and how the task stands now, or stood at its end."""
    known = await of_task(conn, task_no)
    row = await fetch_one(conn, f"SELECT {_AT_LAST} FROM task WHERE task_no = %s", (task_no,))  # noqa: S608
    assert row is not None
    last = Point(*row)
    if not known.points:
        return known
    before = [point for point in known.points if point.at < last.at]
    return Throughput(known.interval_s, [*before, last])
