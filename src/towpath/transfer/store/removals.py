"""What a task deletes. `count` takes the connection of a `fenced` transaction."""

from typing import Any

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch_one


async def have_begun(conn: AsyncConnection[Any], task_no: int) -> bool:
    """Whether a delete task has deleted anything yet."""
    row = await fetch_one(
        conn,
        "SELECT files + directories > 0 FROM task WHERE task_no = %s",
        (task_no,),
    )
    assert row is not None
    return bool(row[0])


async def count(conn: AsyncConnection[Any], task_no: int, *, files: int, directories: int) -> None:
    """Move the counters of a delete task. It is progress: what went wrong before is over."""
    await conn.execute(
        "UPDATE task SET files = files + %s, directories = directories + %s,"
        " failures_in_a_row = 0, nice_status = NULL, nice_status_details = NULL"
        " WHERE task_no = %s",
        (files, directories, task_no),
    )
