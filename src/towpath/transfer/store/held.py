"""Tasks that somebody else than their owner holds: activity managers, by a word or by a pause rule.

`held_at` is set while either does; nothing else has to be known to grant a task.
"""

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection
from towpath.transfer import times
from towpath.transfer.store import events
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import TASK_CHANNEL
from towpath.transfer.store.tasks import Terms


def set_after(rules: str, by: str) -> str:
    """Assignments for a task `t` that `rules` and `by` (SQL) hold from now on, or no longer.

    Its deadline, unless its owner gave it, is %(held_for)s away, or then %(freed)s.
    """
    held = f"({rules} <> '{{}}' OR {by} <> '{{}}')"
    return f"""held_at = CASE WHEN {held} THEN coalesce(t.held_at, now()) END,
        not_before = least(t.not_before, now()),
        deadline = CASE WHEN coalesce((t.options->>'deadline_given')::boolean, false)
                             OR (t.held_at IS NOT NULL) = {held} THEN t.deadline
                        WHEN {held} THEN now() + %(held_for)s
                        WHEN t.paused_at IS NOT NULL OR t.suspended_from IS NOT NULL
                        THEN t.deadline
                        ELSE now() + %(freed)s END"""


_CHANGE = f"""
WITH theirs AS (
    SELECT task_no, held_at, (held_by - %(keys)s::text[]) || %(by)s::jsonb AS held_by FROM task
     WHERE task_no = %(task_no)s AND status IN ('ACTIVE', 'INACTIVE') FOR NO KEY UPDATE
)
UPDATE task t SET held_by = w.held_by, {set_after("t.held_rules", "w.held_by")}
  FROM theirs w WHERE t.task_no = w.task_no
RETURNING t.task_no, w.held_at AS was_held_at, t.held_at, t.deadline
"""  # noqa: S608 - constants


async def hold(
    conn: Connection, task_no: int, keys: Sequence[str], message: str, *, by: str, terms: Terms
) -> bool:
    """Hold a task until `free`; False if it has ended. `keys`: for which of its sides, see
    `Task.held_by`. `by`: who wants it, as its owner is told."""
    row = await _change(conn, task_no, keys, dict.fromkeys(keys, message), terms)
    if row is not None:
        await tell(conn, row, terms, code=EventCode.PAUSED, by=by, reason=message)
    return row is not None


async def free(
    conn: Connection, task_no: int, keys: Sequence[str], *, by: str, terms: Terms
) -> bool:
    """End it for these sides. The task goes on if nothing else holds it; False if it has ended."""
    row = await _change(conn, task_no, keys, {}, terms)
    if row is not None and row["was_held_at"] is not None and row["held_at"] is None:
        await tell(conn, row, terms, code=EventCode.UNPAUSED, by=by, reason=None)
    return row is not None


async def _change(
    conn: Connection, task_no: int, keys: Sequence[str], by: dict[str, str], terms: Terms
) -> dict[str, Any] | None:
    values = {"held_for": terms.deadline, "freed": terms.deadline}
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            _CHANGE.encode(),
            {"task_no": task_no, "keys": list(keys), "by": Jsonb(by), **values},
        )
        row = await cursor.fetchone()
    await conn.execute("SELECT pg_notify(%s, %s)", (TASK_CHANNEL, str(task_no)))
    return row


async def tell(
    conn: Connection,
    row: dict[str, Any],
    terms: Terms,
    *,
    code: EventCode,
    by: str,
    reason: str | None,
) -> None:
    """The owner's event of a task that is held now, or goes on; `row`: `task_no`, `deadline`."""
    paused = code is EventCode.PAUSED
    details = {
        "by": by,
        **({} if reason is None else {"reason": reason}),
        "next": "What is under way is stopped. It goes on when they let it."
        if paused
        else "It goes on when its turn comes.",
        "deadline": times.show(row["deadline"]),
    }
    event = events.Event(code, "paused" if paused else "unpaused", details)
    await events.append(conn, row["task_no"], [event], most=terms.events_most)
