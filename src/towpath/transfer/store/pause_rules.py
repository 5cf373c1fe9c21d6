"""Pause rules: what an endpoint's activity managers have stopped there, and tasks made to fit them.

A rule is for an endpoint and all that belongs to it. Whether a task is held is written into its
row, by one statement that compares what is held with what should be. So a rule that comes, changes,
begins or goes is found, whichever process made it; and so is a task that was on its way in.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import class_row, dict_row

from towpath.platform.database import Connection
from towpath.transfer.store import held
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import TASK_CHANNEL, fetch_one
from towpath.transfer.store.tasks import Terms

OPERATIONS: Final = (
    "pause_ls",
    "pause_mkdir",
    "pause_rename",
    "pause_task_delete",
    "pause_task_transfer_read",
    "pause_task_transfer_write",
)
"""What a rule may stop, as columns and as documents have it."""

BY_RULE: Final = "a pause rule of an endpoint"
"""Who holds a task, as its owner is told."""

FITTED_AT_ONCE: Final = 100
"""Tasks in one transaction, each with an event: some 100 ms, in which their rows are locked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRule:
    """A rule, and the name of its endpoint."""

    id: UUID
    endpoint_id: UUID
    endpoint_display_name: str
    identity_id: UUID | None
    """Whom it is for; None: for everybody."""
    message: str
    start_time: datetime | None
    created_by: str
    modified_by: str
    modified_by_id: UUID
    modified_at: datetime
    by_host_manager: bool
    pause_ls: bool
    pause_mkdir: bool
    pause_rename: bool
    pause_task_delete: bool
    pause_task_transfer_read: bool
    pause_task_transfer_write: bool


_NAMED = f"""
    r.id, r.endpoint_id, e.display_name AS endpoint_display_name, r.identity_id, r.message,
    r.start_time, r.created_by, r.modified_by, r.modified_by_id, r.modified_at, r.by_host_manager,
    {", ".join(f"r.{one}" for one in OPERATIONS)}
"""
_RULE = f"SELECT {_NAMED} FROM pause_rule r JOIN endpoint e ON e.id = r.endpoint_id"  # noqa: S608 - constants

# An endpoint and what it belongs to: three at most.
_CHAIN = """
WITH RECURSIVE chain AS (
    SELECT e.id, e.host_endpoint_id, 1 AS depth FROM endpoint e WHERE e.id = %(endpoint)s
    UNION ALL
    SELECT e.id, e.host_endpoint_id, c.depth + 1
      FROM endpoint e JOIN chain c ON e.id = c.host_endpoint_id WHERE c.depth < 3
)
"""
# Of a deleted endpoint none is: its tasks end by themselves.
_IN_FORCE = """(r.start_time IS NULL OR r.start_time <= now())
    AND EXISTS (SELECT FROM endpoint d WHERE d.id = r.endpoint_id AND d.deleted_at IS NULL)"""


async def insert(conn: Connection, rule: PauseRule, *, most: int) -> bool:
    """Keep a rule; False if its endpoint has `most` already."""
    names = ", ".join(OPERATIONS)
    values = ", ".join(f"%({one})s" for one in OPERATIONS)
    done = await conn.execute(
        f"""
        INSERT INTO pause_rule (id, endpoint_id, identity_id, message, start_time, created_by,
                                modified_by, modified_by_id, by_host_manager, {names})
        SELECT %(id)s, %(endpoint_id)s, %(identity_id)s, %(message)s, %(start_time)s,
               %(created_by)s, %(modified_by)s, %(modified_by_id)s, %(by_host_manager)s, {values}
         WHERE (SELECT count(*) FROM pause_rule WHERE endpoint_id = %(endpoint_id)s) < %(most)s
        """.encode(),  # noqa: S608 - constants
        {name: getattr(rule, name) for name in PauseRule.__annotations__} | {"most": most},
    )
    return done.rowcount > 0


async def update(conn: Connection, rule: PauseRule) -> None:
    """Write what may change of a rule."""
    names = ", ".join(f"{one} = %({one})s" for one in OPERATIONS)
    await conn.execute(
        f"""
        UPDATE pause_rule SET message = %(message)s, start_time = %(start_time)s,
               modified_by = %(modified_by)s, modified_by_id = %(modified_by_id)s,
               modified_at = now(), {names}
         WHERE id = %(id)s
        """.encode(),  # noqa: S608 - constants
        {name: getattr(rule, name) for name in PauseRule.__annotations__},
    )


async def delete(conn: Connection, rule_id: UUID) -> None:
    """Forget a rule. Tasks that it holds go on when they are made to fit."""
    await conn.execute("DELETE FROM pause_rule WHERE id = %s", (rule_id,))


async def get(conn: Connection, rule_id: UUID, *, lock: bool = False) -> PauseRule | None:
    """A rule. With `lock`, its row is held until the transaction ends."""
    query = f"{_RULE} WHERE r.id = %s" + (" FOR UPDATE OF r" if lock else "")
    async with conn.cursor(row_factory=class_row(PauseRule)) as cursor:
        await cursor.execute(query.encode(), (rule_id,))
        return await cursor.fetchone()


async def at(conn: Connection, endpoint_ids: Collection[UUID], *, limit: int) -> list[PauseRule]:
    """The rules of these endpoints, by the endpoint's name and the rules' age."""
    async with conn.cursor(row_factory=class_row(PauseRule)) as cursor:
        await cursor.execute(
            f"{_RULE} WHERE r.endpoint_id = ANY(%s)"
            " ORDER BY lower(e.display_name), e.id, r.modified_at, r.id LIMIT %s".encode(),
            (list(endpoint_ids), limit),
        )
        return await cursor.fetchall()


async def for_person(
    conn: Connection, endpoint_id: UUID, identities: Collection[UUID]
) -> list[PauseRule]:
    """The rules that are in force for a person at an endpoint, those of what it belongs to too."""
    async with conn.cursor(row_factory=class_row(PauseRule)) as cursor:
        await cursor.execute(
            f"{_CHAIN} {_RULE} JOIN chain c ON c.id = r.endpoint_id"
            f" WHERE {_IN_FORCE}"
            " AND (r.identity_id IS NULL OR r.identity_id = ANY(%(identities)s))"
            " ORDER BY r.modified_at, r.id".encode(),
            {"endpoint": endpoint_id, "identities": list(identities)},
        )
        return await cursor.fetchall()


# Which rules are in force at which endpoints; and for which of the tasks that have not ended.
_APPLYING = f"""
covered AS (
    SELECT r.id AS rule_id, r.endpoint_id, 1 AS depth FROM pause_rule r WHERE {_IN_FORCE}
    UNION ALL
    SELECT c.rule_id, e.id, c.depth + 1
      FROM covered c JOIN endpoint e ON e.host_endpoint_id = c.endpoint_id WHERE c.depth < 3
), touched AS (
    SELECT t.task_no, c.rule_id, t.type, t.owner_id, true AS at_source
      FROM covered c JOIN task t ON t.source_endpoint_id = c.endpoint_id
     WHERE t.status IN ('ACTIVE', 'INACTIVE')
       AND (%(task_ids)s::uuid[] IS NULL OR t.id = ANY(%(task_ids)s))
    UNION ALL
    SELECT t.task_no, c.rule_id, t.type, t.owner_id, false
      FROM covered c JOIN task t ON t.destination_endpoint_id = c.endpoint_id
     WHERE t.status IN ('ACTIVE', 'INACTIVE')
       AND (%(task_ids)s::uuid[] IS NULL OR t.id = ANY(%(task_ids)s))
), applying AS (
    SELECT t.task_no, array_agg(DISTINCT r.id ORDER BY r.id) AS rules
      FROM touched t JOIN pause_rule r ON r.id = t.rule_id
           LEFT JOIN principal p ON p.identity_id = t.owner_id
     WHERE t.type <> 'PLAN'
       AND (r.identity_id IS NULL OR r.identity_id = t.owner_id
            OR r.identity_id = ANY(p.identities))
       AND CASE WHEN t.type = 'DELETE' THEN r.pause_task_delete
                WHEN t.at_source THEN r.pause_task_transfer_read
                ELSE r.pause_task_transfer_write END
     GROUP BY t.task_no
)
"""  # noqa: S608 - constants


_FOR_TASK = f"""
WITH RECURSIVE {_APPLYING} {_RULE}
 WHERE r.id IN (SELECT unnest(rules) FROM applying) ORDER BY r.modified_at, r.id
"""  # noqa: S608 - constants


async def for_task(conn: Connection, task_id: UUID) -> list[PauseRule]:
    """The rules that hold a task that has not ended, or will in a moment."""
    async with conn.cursor(row_factory=class_row(PauseRule)) as cursor:
        await cursor.execute(_FOR_TASK.encode(), {"task_ids": [task_id]})
        return await cursor.fetchall()


_ANYTHING = """
SELECT EXISTS (SELECT FROM pause_rule)
    OR EXISTS (SELECT FROM task WHERE held_at IS NOT NULL AND held_rules <> '{}')
"""
# Rows that are being written to come with the next look, which is soon: other tasks' leases must
# not run out while they are waited for.
_FIT = f"""
WITH RECURSIVE {_APPLYING}, wrong AS (
    SELECT t.task_no, coalesce(a.rules, '{{}}') AS rules, t.held_at
      FROM task t LEFT JOIN applying a USING (task_no)
     WHERE t.status IN ('ACTIVE', 'INACTIVE')
       AND (%(task_ids)s::uuid[] IS NULL OR t.id = ANY(%(task_ids)s))
       AND t.held_rules IS DISTINCT FROM coalesce(a.rules, '{{}}')
     ORDER BY t.task_no LIMIT %(most)s
       FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE task t SET held_rules = w.rules, {held.set_after("w.rules", "t.held_by")}
  FROM wrong w WHERE t.task_no = w.task_no
RETURNING t.task_no, w.held_at AS was_held_at, t.held_at, t.deadline,
          ARRAY(SELECT r.message FROM pause_rule r WHERE r.id = ANY(t.held_rules)
                 ORDER BY r.modified_at, r.id) AS messages
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Fitted:
    """How many tasks were made to fit; `more`: there may be others."""

    held: int
    freed: int
    more: bool


async def fit_tasks(
    conn: Connection,
    *,
    held_for: Terms,
    freed: Terms,
    task_ids: Collection[UUID] | None = None,
) -> Fitted:
    """Hold tasks that a rule is about, and let others go on; all, or these. Whoever runs one stops.

    `held_for`, `freed`: the deadlines that follow if owners gave none.
    """
    anything = await fetch_one(conn, _ANYTHING)
    assert anything is not None
    if not anything[0]:
        return Fitted(0, 0, more=False)
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            _FIT.encode(),
            {
                "task_ids": None if task_ids is None else list(task_ids),
                "most": FITTED_AT_ONCE,
                "held_for": held_for.deadline,
                "freed": freed.deadline,
            },
        )
        rows = await cursor.fetchall()
    stopped = [row for row in rows if row["was_held_at"] is None and row["held_at"] is not None]
    went_on = [row for row in rows if row["was_held_at"] is not None and row["held_at"] is None]
    for row in stopped:
        await held.tell(conn, row, held_for, code=EventCode.PAUSED, by=BY_RULE, reason=_reason(row))
    for row in went_on:
        await held.tell(conn, row, freed, code=EventCode.UNPAUSED, by=BY_RULE, reason=None)
    if stopped or went_on:
        # empty: whoever hears it looks at all that it has
        await conn.execute("SELECT pg_notify(%s, '')", (TASK_CHANNEL,))
    return Fitted(len(stopped), len(went_on), more=len(rows) >= FITTED_AT_ONCE)


def _reason(row: dict[str, Any]) -> str | None:
    """What those say whose rules they are."""
    return " ".join(row["messages"]) or None
