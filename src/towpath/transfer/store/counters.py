"""A task's counters, as the Transfer API names them; moved in the recorder's batches.

Every function that writes takes the connection of a `fenced` transaction.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.transfer.store.rows import fetch_one


async def begin_batch(
    conn: AsyncConnection[Any],
    task_no: int,
    batch: int,
    accounts: tuple[str | None, str | None] = (None, None),
) -> bool:
    """False if this batch was committed before: its answer was lost, its effect was not.

    `accounts`: under which the task runs at source and destination, as far as that is known.
    """
    cursor = await conn.execute(
        "UPDATE task SET last_batch = %s, source_local_user = coalesce(%s, source_local_user),"
        " destination_local_user = coalesce(%s, destination_local_user)"
        " WHERE task_no = %s AND last_batch < %s",
        (batch, *accounts, task_no, batch),
    )
    return cursor.rowcount > 0


async def transferred(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    files: int,
    transferred_bytes: int,
    checksummed_bytes: int,
    resent_bytes: int,
    deadline_after_h: float,
) -> None:
    """Move the counters. Finished files are progress: what went wrong before is over.

    A deadline that its owner did not give is then at least `deadline_after_h` hours away (Transfer
    API, "deadline").
    """
    await conn.execute(
        "UPDATE task SET files_transferred = files_transferred + %(files)s,"
        " bytes_transferred = bytes_transferred + %(transferred)s,"
        " bytes_checksummed = bytes_checksummed + %(checksummed)s,"
        " bytes_resent = bytes_resent + %(resent)s,"
        " failures_in_a_row = CASE WHEN %(progress)s THEN 0 ELSE failures_in_a_row END,"
        " nice_status = CASE WHEN %(progress)s THEN NULL ELSE nice_status END,"
        " nice_status_details = CASE WHEN %(progress)s THEN NULL ELSE nice_status_details END,"
        " deadline = CASE WHEN %(progress)s"
        " AND NOT coalesce((options->>'deadline_given')::boolean, false)"
        " THEN greatest(deadline, now() + make_interval(secs => %(after_s)s)) ELSE deadline END"
        " WHERE task_no = %(task_no)s",
        {
            "files": files,
            "transferred": transferred_bytes,
            "checksummed": checksummed_bytes,
            "resent": resent_bytes,
            "progress": files > 0 or transferred_bytes > 0,
            "after_s": deadline_after_h * 3600,
            "task_no": task_no,
        },
    )


async def synced(
    conn: AsyncConnection[Any], task_no: int, *, files: int, checksummed_bytes: int
) -> None:
    """So many more were at the destination already."""
    await conn.execute(
        "UPDATE task SET files_skipped = files_skipped + %s,"
        " bytes_checksummed = bytes_checksummed + %s WHERE task_no = %s",
        (files, checksummed_bytes, task_no),
    )


async def skipped(conn: AsyncConnection[Any], task_no: int, count: int) -> None:
    """So many more were left out because their source could not be read."""
    await conn.execute(
        "UPDATE task SET skipped_errors = skipped_errors + %s WHERE task_no = %s", (count, task_no)
    )


async def skipped_errors(conn: AsyncConnection[Any], task_no: int) -> int:
    """How many were left out."""
    row = await fetch_one(conn, "SELECT skipped_errors FROM task WHERE task_no = %s", (task_no,))
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Totals:
    """What a task has done; names as the event that tells of it has them."""

    files_succeeded: int
    directories: int
    files_skipped: int
    skipped_errors: int
    bytes_transferred: int


async def totals(conn: AsyncConnection[Any], task_no: int) -> Totals:
    """What a task has done until now; of a delete, what it has deleted."""
    async with conn.cursor(row_factory=class_row(Totals)) as cur:
        await cur.execute(
            "SELECT CASE WHEN type = 'DELETE' THEN files ELSE files_transferred END"
            " AS files_succeeded, directories, files_skipped, skipped_errors, bytes_transferred"
            " FROM task WHERE task_no = %s",
            (task_no,),
        )
        found = await cur.fetchone()
    assert found is not None
    return found


async def faults(conn: AsyncConnection[Any], task_no: int) -> int:
    """How many a task has had."""
    row = await fetch_one(conn, "SELECT faults FROM task WHERE task_no = %s", (task_no,))
    assert row is not None, "tasks are never removed from the table"
    return int(row[0])
