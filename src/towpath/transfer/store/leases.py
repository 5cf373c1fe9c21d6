"""Leases: the right of one worker to act for a task, for a while (invariant I3).

All times are the database's. A worker counts its own lease from before it asked, on its own
monotonic clock, so that the two clocks never need to agree.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable
from psycopg.rows import class_row

from towpath.platform.database import Database
from towpath.transfer.store import claims, outbox
from towpath.transfer.store.circuits import UNREACHABLE
from towpath.transfer.store.rows import ROWS_AT_ONCE, TASK_CHANNEL, fetch, fetch_one
from towpath.transfer.store.tasks import Status


class LeaseLostError(Exception):
    """Another worker may act for this task now: stop, send nothing more, write nothing more."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A task as its new leaseholder gets it."""

    task_no: int
    id: UUID
    owner_id: UUID
    username: str
    type: str
    options: dict[str, Any]
    source_endpoint_id: UUID
    destination_endpoint_id: UUID | None
    lease_epoch: int
    cancel_requested: bool
    expired: bool
    first_start: bool
    lost_s_ago: float | None
    """How long ago a lease of it was last found to be lost, which may be by this grant (0): what
    that one had sent may still be running. None: never."""
    failures_in_a_row: int
    owner_full: bool = False
    """Whether its owner has no place left for one more such task: it had to wait for this one."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal tells of a task that is still ours."""

    task_no: int
    renewed: bool
    """False: its row is locked, and the lease runs on as it did."""
    lease_epoch: int
    cancel_requested: bool
    expired: bool
    paused: bool
    """By its owner, by others, or because its owner is suspended."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How things are, by the task's row: what was asked before its driver could be told."""

    renewed: list[datetime]
    """Dates of the credentials that there are, for `suspend`."""
    cancel_requested: bool
    expired: bool
    paused: bool
    removals_unsettled: bool
    """Whether an earlier lease's commands that remove may still be running."""
    fatal_error: dict[str, str] | None
    """Not None: the task has failed, and only its end is missing."""


_REACHABLE = """t.source_endpoint_id NOT IN (SELECT id FROM unreachable)
    AND coalesce(t.destination_endpoint_id, t.source_endpoint_id)
        NOT IN (SELECT id FROM unreachable)"""

# Fair over owners: a task's turn is its place in its owner's queue behind what that owner already
# has running, so that the owner with least running goes first (max-min). One statement, so two
# workers that ask at once never get the same task: the row lock makes the second see the first.
_ADMIT = f"""
WITH unreachable AS MATERIALIZED (
    {UNREACHABLE}
), running AS (
    SELECT owner_id, type, count(*) AS n FROM task
    WHERE status = 'ACTIVE' AND lease_until > now() GROUP BY owner_id, type
), queue AS (
    SELECT t.task_no,
           row_number() OVER (PARTITION BY t.owner_id, t.type ORDER BY t.request_time, t.task_no)
               + coalesce(r.n, 0) AS turn,
           count(*) OVER (PARTITION BY t.owner_id, t.type) + coalesce(r.n, 0)
               >= %(per_owner)s AS owner_full,
           t.cancel_requested OR t.deadline <= now()
               OR (t.fatal_error IS NOT NULL AND t.not_before <= now()) AS ending
    FROM task t LEFT JOIN running r USING (owner_id, type)
    WHERE (t.lease_until IS NULL OR t.lease_until <= now())
      AND ((t.status = 'ACTIVE' AND t.paused_at IS NULL AND t.held_at IS NULL
            AND t.not_before <= now() AND {_REACHABLE}
            AND NOT EXISTS (SELECT FROM task h
                            WHERE h.task_no = t.waits_for AND h.status IN ('ACTIVE', 'INACTIVE')))
           OR (t.status IN ('ACTIVE', 'INACTIVE')
               AND (t.cancel_requested OR t.deadline <= now()
                    OR (t.fatal_error IS NOT NULL AND t.not_before <= now()))))
), chosen AS (
    SELECT t.task_no, q.owner_full
    FROM task t JOIN queue q USING (task_no)
    WHERE (q.turn <= %(per_owner)s OR q.ending)
      AND (t.lease_until IS NULL OR t.lease_until <= now())
      AND t.status IN ('ACTIVE', 'INACTIVE')
      AND ((t.paused_at IS NULL AND t.held_at IS NULL AND t.suspended_from IS NULL) OR q.ending)
    ORDER BY q.ending DESC, q.turn, t.request_time
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE task t
SET lease_worker = %(worker)s, lease_epoch = t.lease_epoch + 1,
    lease_until = now() + make_interval(secs => %(lease_s)s),
    lease_lost_at = CASE WHEN t.lease_worker IS NULL THEN t.lease_lost_at ELSE now() END
FROM chosen c WHERE t.task_no = c.task_no
RETURNING t.task_no, t.id, t.owner_id, t.username, t.type, t.options, t.source_endpoint_id,
          t.destination_endpoint_id, t.lease_epoch, t.cancel_requested,
          t.deadline <= now() AS expired, t.started_at IS NULL AS first_start,
          extract(epoch FROM now() - t.lease_lost_at)::float8 AS lost_s_ago, t.failures_in_a_row,
          c.owner_full
"""  # noqa: S608 - constants


async def admit(
    db: Database, *, worker: str, limit: int, lease_s: float, per_owner: int
) -> list[Grant]:
    """Grant `worker` the leases of up to `limit` tasks that may run now."""
    async with db.transaction() as conn, conn.cursor(row_factory=class_row(Grant)) as cur:
        await cur.execute(
            _ADMIT,
            {"worker": worker, "limit": limit, "lease_s": lease_s, "per_owner": per_owner},
        )
        return await cur.fetchall()


# Moved on in steps of an hour: a long queue is not written anew with every look at it.
QUEUED_DEADLINE_STEP_H = 1.0


async def keep_queued(db: Database, *, deadline_h: float) -> int:
    """Keep the deadlines of transfers that wait for their turn about `deadline_h` away.

    Only of those that have not begun, or wait for another task, and whose owners gave none
    (Transfer API, "deadline"); not of those whose server does not answer. Returns how many were
    moved.
    """
    async with db.transaction() as conn:
        cursor = await conn.execute(
            f"""
            WITH unreachable AS MATERIALIZED ({UNREACHABLE})
            UPDATE task t SET deadline = now() + make_interval(secs => %s)
            WHERE status = 'ACTIVE' AND type = 'TRANSFER' AND paused_at IS NULL AND held_at IS NULL
              AND (started_at IS NULL OR waits_for IS NOT NULL) AND faults = 0
              AND NOT cancel_requested
              AND NOT coalesce((options->>'deadline_given')::boolean, false)
              AND deadline < now() + make_interval(secs => %s)
              AND {_REACHABLE}
            """,  # noqa: S608 - constants
            (deadline_h * 3600, max(deadline_h - QUEUED_DEADLINE_STEP_H, deadline_h / 2) * 3600),
        )
        return cursor.rowcount


# The rows of tasks that are being written to are waited for, one after the other and so long
# together: other tasks' leases must not run out meanwhile.
LOCKED_WAIT_S = 1.0

_HELD = """
FROM task t JOIN unnest(%(tasks)s::bigint[], %(epochs)s::bigint[]) AS held (task_no, epoch)
    ON t.task_no = held.task_no AND t.lease_epoch = held.epoch
WHERE t.lease_worker = %(worker)s AND t.lease_until > now()
"""
_TOLD = """t.task_no, {renewed} AS renewed, t.lease_epoch, t.cancel_requested,
t.deadline <= now() AS expired,
t.paused_at IS NOT NULL OR t.held_at IS NOT NULL OR t.suspended_from IS NOT NULL AS paused"""
_RENEW = f"""
WITH ours AS (SELECT t.task_no {_HELD} FOR NO KEY UPDATE OF t {{locked}})
UPDATE task t SET lease_until = now() + make_interval(secs => %(lease_s)s)
FROM ours WHERE t.task_no = ours.task_no
RETURNING {_TOLD.format(renewed="true")}
"""  # noqa: S608 - constants
_STILL_HELD = f"SELECT {_TOLD.format(renewed='false')} {_HELD}"


async def renew(
    db: Database, *, worker: str, held: Sequence[tuple[int, int]], lease_s: float
) -> list[Renewal]:
    """Prolong the leases (task_no, epoch) still `worker`'s; the others are not returned.

    A task whose row stays locked holds up no other, and is returned as not renewed.
    """
    fixed = {"worker": worker, "lease_s": lease_s}
    async with db.transaction() as conn:
        told = await _renewals(conn, _RENEW.format(locked="SKIP LOCKED"), held, fixed)
    free = {renewal.task_no for renewal in told}
    rest = [(task_no, epoch) for task_no, epoch in held if task_no not in free]
    for one in rest:
        try:
            async with db.transaction() as conn:
                wait_ms = max(1, int(LOCKED_WAIT_S * 1000 / len(rest)))
                await conn.execute(f"SET LOCAL lock_timeout = {wait_ms}")
                told += await _renewals(conn, _RENEW.format(locked=""), [one], fixed)
        except LockNotAvailable:
            async with db.connection() as conn:
                told += await _renewals(conn, _STILL_HELD, [one], fixed)
    return told


async def _renewals(
    conn: AsyncConnection[Any],
    statement: str,
    held: Sequence[tuple[int, int]],
    fixed: dict[str, Any],
) -> list[Renewal]:
    async with conn.cursor(row_factory=class_row(Renewal)) as cur:
        await cur.execute(
            statement,
            fixed
            | {
                "tasks": [task_no for task_no, _ in held],
                "epochs": [epoch for _, epoch in held],
            },
        )
        return await cur.fetchall()


@asynccontextmanager
async def fenced(db: Database, task_no: int, epoch: int) -> AsyncIterator[AsyncConnection[Any]]:
    """A transaction that only the holder of lease `epoch` can commit.

    It locks the task row, so a takeover waits for it and every later write of the loser fails.
    The lock is exclusive among the holder's own writers because most of them move the counters
    in the same row: with shared locks two of them would wait for each other.

    Raises:
        LeaseLostError: the lease is another's, or has run out.
    """
    async with db.transaction() as conn:
        ours = await fetch_one(
            conn,
            "SELECT 1 FROM task WHERE task_no = %s AND lease_epoch = %s AND lease_until > now()"
            " FOR NO KEY UPDATE",
            (task_no, epoch),
        )
        if ours is None:
            raise LeaseLostError(f"task {task_no}, epoch {epoch}")
        yield conn


async def release(conn: AsyncConnection[Any], task_no: int) -> None:
    """Give the place back; inside `fenced`. The epoch stays, so late writes still fail."""
    await conn.execute(
        "UPDATE task SET lease_worker = NULL, lease_until = NULL WHERE task_no = %s", (task_no,)
    )


# A transaction of a worker whose lease is over is older than any that still makes progress.
STUCK_TRANSACTION_S = 3.0


def application_of(worker: str) -> str:
    """The application name of a worker's database connections: `towpath ` and a digest."""
    return f"towpath {hashlib.sha256(worker.encode()).hexdigest()[:32]}"


async def break_in(db: Database) -> int:
    """End old transactions of workers whose leases are all over; returns how many there were.

    A worker that was stopped in the middle of one keeps the task's row locked, and nobody could
    take the task over. Every write it could still commit would be refused anyway. One that holds a
    lease lives: it ends what it does for a lease that it lost by itself, and its other tasks go on.
    """
    async with db.connection() as conn:
        rows = await fetch(
            conn,
            """
            SELECT lease_worker FROM task
            WHERE lease_worker IS NOT NULL AND status IN ('ACTIVE', 'INACTIVE')
            GROUP BY lease_worker HAVING max(lease_until) <= now()
            """,
        )
        losers = [row[0] for row in rows]
        if not losers:
            return 0
        ended = await fetch(
            conn,
            """
            SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
            WHERE a.xact_start < now() - make_interval(secs => %s)
              AND a.application_name = ANY(%s)
            """,
            (STUCK_TRANSACTION_S, [application_of(worker) for worker in losers]),
        )
    return len(ended)


async def holders(db: Database) -> list[str]:
    """The workers that hold leases now."""
    async with db.connection() as conn:
        found = await fetch(
            conn,
            "SELECT DISTINCT lease_worker FROM task"
            " WHERE lease_worker IS NOT NULL AND lease_until > now() ORDER BY 1",
        )
    return [row[0] for row in found]


async def expire_worker(db: Database, worker: str) -> int:
    """End the leases of a worker process known to be dead; returns how many there were.

    Only for who sees that the process has ended: a live worker would go on sending.
    """
    async with db.transaction() as conn:
        cursor = await conn.execute(
            "UPDATE task SET lease_until = now() WHERE lease_worker = %s AND lease_until > now()",
            (worker,),
        )
        if cursor.rowcount:
            await conn.execute(f"NOTIFY {TASK_CHANNEL}")
        return cursor.rowcount


async def give_up(db: Database, worker: str, *, keep: Sequence[int], rest_s: float) -> int:
    """End `worker`'s leases but those of the tasks `keep`; returns how many there were.

    For that worker itself, which knows what it drives: anybody may take the others over, but not
    before `rest_s` from now. What made it lose them may still be there, and `not_before` would not
    hold up a task that only has to end. Tasks whose rows are locked come with the next call.
    """
    async with db.connection() as conn:
        cursor = await conn.execute(
            """
            WITH lost AS (
                SELECT task_no FROM task WHERE lease_worker = %(worker)s
                   AND status IN ('ACTIVE', 'INACTIVE') AND task_no <> ALL(%(keep)s)
                   FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE task t SET lease_worker = NULL, lease_lost_at = now(),
                lease_until = now() + make_interval(secs => %(rest_s)s)
            FROM lost WHERE t.task_no = lost.task_no
            """,
            {"worker": worker, "keep": keep, "rest_s": rest_s},
        )
        return cursor.rowcount


async def back_off(
    conn: AsyncConnection[Any], task_no: int, *, delay_s: float, failures_in_a_row: int
) -> None:
    """Not admitted again before `delay_s` from now; inside `fenced`."""
    await conn.execute(
        "UPDATE task SET not_before = now() + make_interval(secs => %s), failures_in_a_row = %s"
        " WHERE task_no = %s",
        (delay_s, failures_in_a_row, task_no),
    )


_PLAN = ("file", "file_range", "frontier", "link_segment", "extra", "linked")
_DROP_PLAN = "WITH {} SELECT".format(
    ", ".join(
        f"{table}_gone AS (DELETE FROM {table} WHERE task_no = %(task_no)s)"  # noqa: S608
        for table in _PLAN
    )
)

_DROP_SOME = "WITH {} SELECT greatest({})".format(
    ", ".join(
        f"{table}_gone AS (DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608
        f"SELECT ctid FROM {table} WHERE task_no = %(task_no)s LIMIT %(most)s)) RETURNING 1)"
        for table in _PLAN
    ),
    ", ".join(f"(SELECT count(*) FROM {table}_gone)" for table in _PLAN),  # noqa: S608
)
"""Of all tables in one round trip: most plans end with a few rows in one of them."""


async def finish_some(conn: AsyncConnection[Any], task_no: int) -> bool:
    """Drop the first rows of a plan before `finish`; whether there may be more than it should.

    A plan with a part missing must not go on: of a task that fails `note_fatal_error` first.
    """
    row = await fetch_one(conn, _DROP_SOME, {"task_no": task_no, "most": ROWS_AT_ONCE})
    assert row is not None
    return bool(row[0] >= ROWS_AT_ONCE)


async def note_fatal_error(
    conn: AsyncConnection[Any], task_no: int, fatal_error: dict[str, str]
) -> None:
    """The task has failed: whoever has a lease of it from now on only ends it; inside `fenced`."""
    await conn.execute(
        "UPDATE task SET fatal_error = %s::jsonb WHERE task_no = %s",
        (json.dumps(fatal_error), task_no),
    )


async def finish(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    status: Status,
    fatal_error: dict[str, str] | None,
) -> None:
    """The task's last word; inside `fenced`. Its plan is dropped (`finish_some` first), its history
    stays.

    Whoever waits for its claims may be granted a lease when this is committed, and the owner is
    told.
    """
    await conn.execute(_DROP_PLAN, {"task_no": task_no})
    await conn.execute(
        "UPDATE task SET status = %s, fatal_error = %s::jsonb, completion_time = now(),"
        " nice_status = NULL, nice_status_details = NULL, paused_at = NULL,"
        " held_at = NULL, held_by = '{}', held_rules = '{}',"
        " suspended_from = NULL, waits_for = NULL, waits_at = NULL WHERE task_no = %s",
        (status, None if fatal_error is None else json.dumps(fatal_error), task_no),
    )
    await claims.drop(conn, task_no)
    await outbox.tell_task(conn, task_no)
    await conn.execute(
        "SELECT pg_notify(%s, '') WHERE EXISTS (SELECT FROM task WHERE waits_for = %s)",
        (TASK_CHANNEL, task_no),
    )


# A guest collection is used with the credential that its owner has given for what it shares.
_RENEWED = """SELECT c.updated_at FROM endpoint e JOIN credential c
      ON (c.endpoint_id, c.owner_id) = (CASE WHEN e.share_path IS NULL THEN e.id
                                             ELSE e.host_endpoint_id END,
                                        CASE WHEN e.share_path IS NULL THEN task.owner_id
                                             ELSE e.owner_id END)
    WHERE e.id IN (task.source_endpoint_id, task.destination_endpoint_id)"""


async def suspend(
    conn: AsyncConnection[Any], task_no: int, *, renewed: Sequence[datetime] | None
) -> bool:
    """INACTIVE: waits until its owner, or who shares what it uses, renews a credential; inside
    `fenced`.

    False, and nothing is done, if one of its endpoints' credentials has another date than those
    that the task began with: it was renewed meanwhile, so the task may simply try again, and nobody
    would wake it. Not a later date: clocks are set back. None: the task has not begun. The owner is
    told, unless the task is INACTIVE already because his account is suspended.
    """
    row = await fetch_one(
        conn,
        f"""
        UPDATE task SET status = 'INACTIVE',
               suspended_from = CASE WHEN suspended_from IS NOT NULL THEN 'INACTIVE' END
         WHERE task_no = %(task_no)s
           AND (%(renewed)s::timestamptz[] IS NULL
                OR NOT EXISTS ({_RENEWED} AND c.updated_at <> ALL(%(renewed)s::timestamptz[])))
        RETURNING suspended_from IS NULL
        """,  # noqa: S608 - a constant
        {"task_no": task_no, "renewed": None if renewed is None else list(renewed)},
    )
    if row is not None and row[0]:
        await outbox.tell_task(conn, task_no)
    return row is not None


async def standing(conn: AsyncConnection[Any], task_no: int) -> Standing:
    """What is asked of a task that begins; inside `fenced`."""
    async with conn.cursor(row_factory=class_row(Standing)) as cur:
        await cur.execute(
            f"SELECT ARRAY({_RENEWED}) AS renewed, cancel_requested,"  # noqa: S608 - a constant
            " deadline <= now() AS expired,"
            " paused_at IS NOT NULL OR held_at IS NOT NULL OR suspended_from IS NOT NULL AS paused,"
            " removals_unsettled, fatal_error"
            " FROM task WHERE task_no = %s",
            (task_no,),
        )
        row = await cur.fetchone()
    assert row is not None, "the row is locked by us"
    return row


@dataclass(frozen=True, slots=True)
class Canceled:
    """For which side an activity manager has asked for a task's end, and why."""

    side: str
    message: str


async def canceled(conn: AsyncConnection[Any], task_no: int) -> Canceled | None:
    """Who else than its owner has asked for the task's end."""
    row = await fetch_one(
        conn, "SELECT canceled_by, canceled_message FROM task WHERE task_no = %s", (task_no,)
    )
    assert row is not None, "tasks are never removed from the table"
    return None if row[0] is None else Canceled(row[0], row[1])


async def database_now(conn: AsyncConnection[Any]) -> datetime:
    """The clock of leases, deadlines and schedules."""
    row = await fetch_one(conn, "SELECT clock_timestamp()")
    assert row is not None
    now = row[0]
    assert isinstance(now, datetime)
    return now


async def start(conn: AsyncConnection[Any], task_no: int) -> None:
    """First start: the items become the frontier; inside `fenced`."""
    await conn.execute("UPDATE task SET started_at = now() WHERE task_no = %s", (task_no,))
    await conn.execute(
        "INSERT INTO frontier (task_no, dir_no, item_no, path)"
        " SELECT task_no, item_no, item_no, '' FROM item WHERE task_no = %s",
        (task_no,),
    )


async def failures_in_a_row(conn: AsyncConnection[Any], task_no: int) -> int:
    """How often the task has failed since its last progress; inside `fenced`."""
    row = await fetch_one(conn, "SELECT failures_in_a_row FROM task WHERE task_no = %s", (task_no,))
    assert row is not None, "the row is locked by us"
    return int(row[0])
