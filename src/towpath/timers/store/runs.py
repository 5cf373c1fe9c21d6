"""The latest runs of each timer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Json

from towpath.platform.database import Connection

KEPT: Final = 10
"""Of each timer. What a run's task did is at Transfer; a list of all timers holds all of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of a run, as far as it is known."""

    timer_id: UUID
    run_no: int
    ran_at: datetime
    http_status: int | None = None
    task_id: UUID | None = None
    task: dict[str, Any] | None = None
    errors: list[dict[str, Any]] | None = None


async def put(conn: Connection, run: Run) -> None:
    """Keep what is known now of a run, and of earlier ones the latest."""
    await conn.execute(
        "INSERT INTO run (timer_id, run_no, ran_at, http_status, task_id, task, errors)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (timer_id, run_no) DO UPDATE SET ran_at = excluded.ran_at,"
        " http_status = excluded.http_status, task_id = excluded.task_id, task = excluded.task,"
        " errors = excluded.errors",
        (
            run.timer_id,
            run.run_no,
            run.ran_at,
            run.http_status,
            run.task_id,
            None if run.task is None else Json(run.task),
            None if run.errors is None else Json(run.errors),
        ),
    )
    await conn.execute(
        "DELETE FROM run WHERE timer_id = %s AND run_no <= %s", (run.timer_id, run.run_no - KEPT)
    )


async def seen(
    conn: Connection,
    timer_id: UUID,
    run_no: int,
    task: Mapping[str, Any],
    errors: list[dict[str, Any]] | None = None,
) -> None:
    """How the task of a run is doing; `errors`: that it has failed."""
    await conn.execute(
        "UPDATE run SET task = %s, errors = %s WHERE timer_id = %s AND run_no = %s",
        (Json(task), None if errors is None else Json(errors), timer_id, run_no),
    )


async def latest(conn: Connection, timer_ids: Sequence[UUID]) -> Mapping[UUID, list[Run]]:
    """The runs of some timers, newest first."""
    found: dict[UUID, list[Run]] = {timer_id: [] for timer_id in timer_ids}
    async with conn.cursor(row_factory=class_row(Run)) as cursor:
        await cursor.execute(
            "SELECT timer_id, run_no, ran_at, http_status, task_id, task, errors FROM run"
            " WHERE timer_id = ANY(%s) ORDER BY timer_id, run_no DESC",
            (list(timer_ids),),
        )
        async for run in cursor:
            found[run.timer_id].append(run)
    return found
