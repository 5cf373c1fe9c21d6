"""Events: what is worth telling about a task, faults included.

A task keeps a bounded number of them (I5), so that they neither drown what matters nor grow the
database with a broken endpoint; the counters go on counting. Each event has a row of its own while
there is room. Then each code has one more row at most, the latest event, which says how many more
like it there were. So nothing that happens once is ever lost, nor is the last of what repeats.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch, fetch_one

# Of all events so many may tell of progress. When they are reached, neighbours become one: recent
# progress is told finely and old progress coarsely, over days as over minutes.
PROGRESS_PART = 0.01
PROGRESS_AT_LEAST = 10
MORE = "more_like_this"
"""In details: how many events the row stands for besides the one it shows."""


class EventCode(StrEnum):
    """What an event is about, as the Transfer API names it; `docs/reference/tasks.md` has them all.

    A new one needs its row there, with the test that proves it.
    """

    # the life of a task
    STARTED = "STARTED"
    WAITING_FOR_TASK = "WAITING_FOR_TASK"  # ours
    PROGRESS = "PROGRESS"
    PAUSED = "PAUSED"
    UNPAUSED = "UNPAUSED"
    OWNER_SUSPENDED = "OWNER_SUSPENDED"  # ours
    OWNER_RESTORED = "OWNER_RESTORED"  # ours
    OWNER_DELETED = "OWNER_DELETED"  # ours
    CONSENT_REQUIRED = "CONSENT_REQUIRED"  # ours
    CONSENT_GIVEN = "CONSENT_GIVEN"  # ours
    RECOVERED = "RECOVERED"  # ours
    SKIPPED_ERRORS = "SKIPPED_ERRORS"
    DELETE_DESTINATION_EXTRA_SKIPPED = "DELETE_DESTINATION_EXTRA_SKIPPED"
    DELETED_DESTINATION_EXTRA = "DELETED_DESTINATION_EXTRA"  # ours
    FIDELITY = "FIDELITY"  # ours
    PLAN_CHANGED = "PLAN_CHANGED"  # ours
    SUCCEEDED = "SUCCEEDED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    # faults
    ACL_CHANGED = "ACL_CHANGED"
    AUTH = "AUTH"
    CONNECT_FAILED = "CONNECT_FAILED"
    CONNECTION_BROKEN = "CONNECTION_BROKEN"
    CONNECTION_RESET = "CONNECTION_RESET"
    ENDPOINT_ERROR = "ENDPOINT_ERROR"
    EXTERNAL_CHECKSUM_MISMATCH = "EXTERNAL_CHECKSUM_MISMATCH"
    FILES_IN_DOUBT = "FILES_IN_DOUBT"  # ours
    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    FILE_SIZE_CHANGED = "FILE_SIZE_CHANGED"
    GC_NOT_CONNECTED = "GC_NOT_CONNECTED"
    GC_PAUSED = "GC_PAUSED"
    GSI_DN_MISMATCH = "GSI_DN_MISMATCH"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INVALID_PATH_NAME = "INVALID_PATH_NAME"
    IS_A_DIRECTORY = "IS_A_DIRECTORY"
    NO_CREDENTIALS = "NO_CREDENTIALS"
    NO_SPACE_LEFT = "NO_SPACE_LEFT"
    NOT_A_DIRECTORY = "NOT_A_DIRECTORY"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    PLAN_TOO_LARGE = "PLAN_TOO_LARGE"  # ours
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    TIMEOUT = "TIMEOUT"
    UNKNOWN = "UNKNOWN"
    VERIFY_CHECKSUM = "VERIFY_CHECKSUM"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of `event_list`. `details` is text or a JSON object."""

    code: EventCode
    description: str
    details: str | dict[str, Any]
    is_error: bool = False


def progress(size: int, seconds: float) -> Event:
    """So many bytes were transferred in the last `seconds`."""
    return Event(
        EventCode.PROGRESS,
        "progress",
        {
            "bytes_transferred": size,
            "duration": round(seconds, 1),
            "mbps": round(size * 8 / max(seconds, 0.1) / 1e6, 1),
        },
    )


async def append(
    conn: AsyncConnection[Any], task_no: int, events: Sequence[Event], *, most: int
) -> None:
    """Add events, of which a task has `most` rows at most; inside `fenced`.

    Errors count as faults and set the task's nice status.
    """
    if not events:
        return
    progress_most = max(int(most * PROGRESS_PART), PROGRESS_AT_LEAST)
    row = await fetch_one(
        conn,
        "SELECT count(*) FROM event WHERE task_no = %s AND code <> %s",
        (task_no, EventCode.PROGRESS),
    )
    assert row is not None
    room = max(most - progress_most - len(EventCode) - row[0], 0)
    await _insert(conn, task_no, [e for e in events if e.code is EventCode.PROGRESS])
    others = [e for e in events if e.code is not EventCode.PROGRESS]
    await _insert(conn, task_no, others[:room])
    await _insert_latest(conn, task_no, others[room:])
    if len(others) < len(events):
        await _merge_progress(conn, task_no, progress_most)
    errors = [e for e in events if e.is_error]
    if errors:
        await conn.execute(
            "UPDATE task SET faults = faults + %s, nice_status = %s, nice_status_details = %s"
            " WHERE task_no = %s",
            (len(errors), errors[-1].code, _text(errors[-1].details), task_no),
        )


async def _insert(conn: AsyncConnection[Any], task_no: int, events: Sequence[Event]) -> None:
    if not events:
        return
    async with conn.cursor() as cur:
        await cur.executemany(
            "INSERT INTO event (task_no, code, is_error, description, details)"
            " VALUES (%s, %s, %s, %s, %s)",
            [(task_no, e.code, e.is_error, e.description, _text(e.details)) for e in events],
        )


async def _insert_latest(conn: AsyncConnection[Any], task_no: int, events: Sequence[Event]) -> None:
    """Of each code the last one, in the place of its last row, which it counts."""
    last = {e.code: e for e in events}
    for code, one in last.items():
        more = sum(e.code is code for e in events) - 1
        row = await fetch_one(
            conn,
            "DELETE FROM event WHERE task_no = %(task_no)s AND seq = (SELECT max(seq) FROM event"
            " WHERE task_no = %(task_no)s AND code = %(code)s) RETURNING details",
            {"task_no": task_no, "code": code},
        )
        if row is not None:
            more += 1 + _more(row[0])
        await _insert(conn, task_no, [_counting(one, more)])


async def _merge_progress(conn: AsyncConnection[Any], task_no: int, most: int) -> None:
    """When there are more than `most`, make one of every two neighbours, the later one's row."""
    rows = await fetch(
        conn,
        "SELECT seq, details FROM event WHERE task_no = %s AND code = %s ORDER BY seq",
        (task_no, EventCode.PROGRESS),
    )
    if len(rows) <= most:
        return
    for (earlier, one), (later, two) in zip(rows[::2], rows[1::2], strict=False):
        told = [json.loads(one), json.loads(two)]
        both = progress(sum(d["bytes_transferred"] for d in told), sum(d["duration"] for d in told))
        await conn.execute("DELETE FROM event WHERE task_no = %s AND seq = %s", (task_no, earlier))
        await conn.execute(
            "UPDATE event SET details = %s WHERE task_no = %s AND seq = %s",
            (_text(both.details), task_no, later),
        )


def _counting(event: Event, more: int) -> Event:
    """The event, which stands for so many others too."""
    if not more or isinstance(event.details, str):
        return event
    return replace(event, details={**event.details, MORE: more})


def _more(details: str) -> int:
    """How many events a stored row stands for besides its own."""
    try:
        return int(json.loads(details).get(MORE, 0))
    except (ValueError, AttributeError):  # a text
        return 0


def _text(details: str | dict[str, Any]) -> str:
    text = details if isinstance(details, str) else json.dumps(details)
    # A path may hold bytes that are no UTF-8 (surrogates here) or NUL-like garbage of a server.
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
