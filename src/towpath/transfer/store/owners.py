"""Owners whose accounts are suspended or deleted, and what becomes of their tasks.

What nexus tells is kept as each owner's state; tasks are then made to fit it, whenever they were
submitted. So a task that was on its way in while its owner was suspended is found as well.
"""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from psycopg.rows import dict_row

from towpath.platform.account_changes import AccountChange
from towpath.platform.database import Connection
from towpath.transfer import times
from towpath.transfer.store import events, outbox
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import TASK_CHANNEL
from towpath.transfer.store.tasks import Status, Terms


async def cursor(conn: Connection) -> int:
    """The number of the last change that was taken over; the row is held."""
    found = await conn.execute("SELECT after FROM account_cursor FOR UPDATE")
    row = await found.fetchone()
    assert row is not None, "the migration made it"
    return int(row["after"])


async def take_over(conn: Connection, change: AccountChange) -> None:
    """Note a change; changes come in the order of their numbers."""
    owners = list(change.identity_ids)
    if change.what == "restored":
        await conn.execute(
            "DELETE FROM owner_state WHERE owner_id = ANY(%s) AND what = 'suspended'", (owners,)
        )
    else:
        await conn.execute(
            "INSERT INTO owner_state (owner_id, what) SELECT unnest(%s::uuid[]), %s"
            " ON CONFLICT (owner_id) DO UPDATE SET what = excluded.what, at = excluded.at",
            (owners, change.what),
        )
    await conn.execute("UPDATE account_cursor SET after = %s", (change.n,))


async def state_of(conn: Connection, owner_id: UUID) -> Literal["suspended", "deleted"] | None:
    """Of somebody's account; None: it is in order."""
    found = await conn.execute("SELECT what FROM owner_state WHERE owner_id = %s", (owner_id,))
    row = await found.fetchone()
    return None if row is None else row["what"]


_SUSPEND = """
WITH theirs AS (
    SELECT task_no FROM task WHERE status IN ('ACTIVE', 'INACTIVE') AND suspended_from IS NULL
       AND NOT cancel_requested
       AND owner_id IN (SELECT owner_id FROM owner_state WHERE what = 'suspended')
     ORDER BY task_no FOR NO KEY UPDATE
)
UPDATE task t SET suspended_from = status, status = 'INACTIVE',
    deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false)
               THEN deadline ELSE now() + %(deadline)s END
FROM theirs WHERE t.task_no = theirs.task_no
RETURNING t.task_no, deadline, suspended_from
"""
_RESTORE = """
WITH theirs AS (
    SELECT task_no FROM task WHERE suspended_from IS NOT NULL AND status = 'INACTIVE'
       AND owner_id NOT IN (SELECT owner_id FROM owner_state)
     ORDER BY task_no FOR NO KEY UPDATE
)
UPDATE task t SET status = suspended_from, suspended_from = NULL,
    not_before = least(not_before, now()),
    deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false)
               OR paused_at IS NOT NULL OR held_at IS NOT NULL
               THEN deadline ELSE now() + %(deadline)s END
FROM theirs WHERE t.task_no = theirs.task_no
RETURNING t.task_no, deadline
"""
_CANCEL = """
WITH theirs AS (
    SELECT task_no FROM task WHERE status IN ('ACTIVE', 'INACTIVE') AND NOT cancel_requested
       AND owner_id IN (SELECT owner_id FROM owner_state WHERE what = 'deleted')
     ORDER BY task_no FOR NO KEY UPDATE
)
UPDATE task t SET cancel_requested = true, status = 'ACTIVE', suspended_from = NULL,
    not_before = least(not_before, now())
FROM theirs WHERE t.task_no = theirs.task_no
RETURNING t.task_no, deadline
"""
_FORGET_CREDENTIALS = """
DELETE FROM credential c USING owner_state o
WHERE o.owner_id = c.owner_id AND o.what = 'deleted'
  AND NOT EXISTS (SELECT FROM task t WHERE t.owner_id = c.owner_id
                  AND t.status IN ('ACTIVE', 'INACTIVE'))
"""
_FORGET_NAMES = """
DELETE FROM principal p USING owner_state o
WHERE o.owner_id = p.identity_id AND o.what = 'deleted'
"""
_FORGET_BOOKMARKS = """
DELETE FROM bookmark b USING owner_state o WHERE o.owner_id = b.owner_id AND o.what = 'deleted'
"""
_FORGET_WEBHOOKS = """
DELETE FROM webhook w USING owner_state o WHERE o.owner_id = w.owner_id AND o.what = 'deleted'
"""

_SUSPENDED = {
    "reason": "The account of the task's owner is suspended.",
    "next": "What is under way is stopped. It goes on when the account is restored.",
}
_RESTORED = {
    "reason": "The account of the task's owner is restored.",
    "next": "It goes on when its turn comes.",
}
_DELETED = {
    "reason": "The account of the task's owner is deleted.",
    "next": "The task is cancelled.",
}


@dataclass(frozen=True, slots=True)
class Fitted:
    """How many tasks were made to fit the state of their owners."""

    suspended: int
    restored: int
    cancelled: int


async def fit_tasks(conn: Connection, *, suspended: Terms, restored: Terms) -> Fitted:
    """Suspend tasks of suspended owners, cancel those of deleted ones, and let others go on.

    Whoever runs one is woken and stops. A deleted owner's credentials are forgotten when the last
    of their tasks has ended: until then an end may have to look at what it left.
    """
    cancelled = await _changed(conn, _CANCEL, suspended, EventCode.OWNER_DELETED, _DELETED)
    held = await _changed(conn, _SUSPEND, suspended, EventCode.OWNER_SUSPENDED, _SUSPENDED)
    freed = await _changed(conn, _RESTORE, restored, EventCode.OWNER_RESTORED, _RESTORED)
    await conn.execute(_FORGET_CREDENTIALS)
    await conn.execute(_FORGET_NAMES)
    await conn.execute(_FORGET_BOOKMARKS)  # also one that was on its way in
    await conn.execute(_FORGET_WEBHOOKS)
    return Fitted(held, freed, cancelled)


async def _changed(
    conn: Connection, statement: str, terms: Terms, code: EventCode, details: dict[str, str]
) -> int:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.encode(), {"deadline": terms.deadline})
        rows = await cursor.fetchall()
    for row in rows:
        told = details | {"deadline": times.show(row["deadline"])}
        event = events.Event(code, code.replace("_", " ").lower(), told)
        await events.append(conn, row["task_no"], [event], most=terms.events_most)
        if row.get("suspended_from") == Status.ACTIVE:
            await outbox.tell_task(conn, row["task_no"])
    if rows:
        # empty: whoever hears it looks at all that it has
        await conn.execute("SELECT pg_notify(%s, '')", (TASK_CHANNEL,))
    return len(rows)
