"""Events: what is worth telling about a task, faults included."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch_one

# More would drown what matters and grow the database with a broken endpoint (I5); the counters
# go on counting. Life-cycle events are always kept.
EVENTS_MAX = 10_000
LIFE_CYCLE = frozenset({"STARTED", "SUCCEEDED", "CANCELED", "EXPIRED", "FAILED", "SKIPPED_ERRORS"})


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `event_list`. `details` is text or a JSON object; `code` as the API names it."""

    code: str
    description: str
    details: str | dict[str, Any]
    is_error: bool = False


async def append(conn: AsyncConnection[Any], task_no: int, events: Sequence[Event]) -> None:
    """Add events; inside `fenced`. Errors count as faults and set the task's nice status."""
    if not events:
        return
    row = await fetch_one(conn, "SELECT count(*) FROM event WHERE task_no = %s", (task_no,))
    room = EVENTS_MAX - (row[0] if row else 0)
    kept = [e for i, e in enumerate(events) if i < room or e.code in LIFE_CYCLE]
    async with conn.cursor() as cur:
        await cur.executemany(
            "INSERT INTO event (task_no, code, is_error, description, details)"
            " VALUES (%s, %s, %s, %s, %s)",
            [(task_no, e.code, e.is_error, e.description, _text(e.details)) for e in kept],
        )
    errors = [e for e in events if e.is_error]
    if errors:
        await conn.execute(
            "UPDATE task SET faults = faults + %s, nice_status = %s, nice_status_details = %s"
            " WHERE task_no = %s",
            (len(errors), errors[-1].code, _text(errors[-1].details), task_no),
        )


def _text(details: str | dict[str, Any]) -> str:
    text = details if isinstance(details, str) else json.dumps(details)
    # A path may hold bytes that are no UTF-8 (surrogates here) or NUL-like garbage of a server.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
