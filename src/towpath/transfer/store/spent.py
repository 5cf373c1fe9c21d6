"""Where the time of tasks went: what was noted, made into seconds (`towpath.transfer.accounting`).

One row for each task, written in transactions that are made anyway, and a row for each change of
how it stands (by triggers: whoever changes it) that has not been made into seconds yet.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from towpath.transfer import accounting
from towpath.transfer.accounting import Away, Category, Entry, Facts, Holder, Spent, Standing
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import fetch, fetch_one


@dataclass(slots=True)
class Book:
    """What is known of a task's time."""

    since: float
    """What was before is in `spent`. Seconds since 1970, by the database's clock, like all here."""
    now: float
    spent: Spent = field(default_factory=dict)
    doing: Spent = field(default_factory=dict)
    """Of the last stretch under a lease."""
    standings: Sequence[Standing] = ()
    epoch: int | None = None
    """Of the lease that somebody has now."""
    ended: float | None = None
    requested: float = 0.0

    @property
    def wall_s(self) -> float:
        """From the request to the end, or to now."""
        return max((self.now if self.ended is None else self.ended) - self.requested, 0.0)


_BOOK = """
SELECT extract(epoch FROM clock_timestamp())::float8, extract(epoch FROM t.request_time)::float8,
       extract(epoch FROM t.completion_time)::float8,
       CASE WHEN t.lease_worker IS NOT NULL AND t.lease_until > now() THEN t.lease_epoch END,
       extract(epoch FROM s.until)::float8, s.spent, s.doing,
       (SELECT json_agg(json_build_array(
                   extract(epoch FROM at)::float8, status, paused, suspended, epoch, waits_for,
                   extract(epoch FROM not_before)::float8) ORDER BY seq)
          FROM task_standing d WHERE d.task_no = t.task_no)
FROM task t LEFT JOIN task_time s USING (task_no) WHERE t.task_no = %s
"""


async def _book(conn: AsyncConnection[Any], task_no: int) -> Book:
    row = await fetch_one(conn, _BOOK, (task_no,))
    assert row is not None, "tasks are never removed from the table"
    now, requested, ended, epoch, until, spent, doing, noted = row
    standings = [Standing(*one) for one in noted or ()]
    if until is None:  # of a task that is older than this table, the time before is not known
        until = standings[0].at if standings else now
    return Book(
        until,
        now,
        accounting.load(spent or {}),
        accounting.load(doing or {}),
        standings,
        epoch,
        ended,
        requested,
    )


async def account(
    conn: AsyncConnection[Any],
    task_no: int,
    epoch: int,
    weights: Mapping[Entry, float],
    *,
    owner_full: bool,
) -> None:
    """Count all until now; `weights` tell of the time under this lease, in seconds by the clock of
    who has it. Inside `fenced`.

    `owner_full`: why it had waited for this lease.
    """
    book = await _book(conn, task_no)
    if not book.standings:
        return  # of a task that has not changed since this is noted; at its next lease it has
    facts = Facts()
    if book.standings[0].epoch != epoch:
        facts = await _facts(conn, task_no, book, owner_full=owner_full)
    accounting.settle(
        book.spent,
        book.standings,
        facts,
        since=book.since,
        now=book.now,
        epoch=epoch,
        weights=weights,
        measured_s=sum(weights.values()),
    )
    doing: Spent = {}
    accounting.share_out(doing, 1.0, weights)
    await conn.execute(
        "INSERT INTO task_time (task_no, until, spent, doing)"
        " VALUES (%(task_no)s, to_timestamp(%(now)s), %(spent)s, %(doing)s)"
        " ON CONFLICT (task_no) DO UPDATE SET until = excluded.until, spent = excluded.spent,"
        " doing = excluded.doing",
        {
            "task_no": task_no,
            "now": book.now,
            "spent": Jsonb(accounting.dump(book.spent)),
            "doing": Jsonb(accounting.dump(doing)),
        },
    )
    if len(book.standings) > 1:
        await conn.execute(
            "DELETE FROM task_standing WHERE task_no = %(task_no)s AND (%(ended)s OR seq <"
            " (SELECT max(seq) FROM task_standing WHERE task_no = %(task_no)s))",
            {"task_no": task_no, "ended": book.ended is not None},
        )


async def until_now(conn: AsyncConnection[Any], task_no: int, *, per_owner: int) -> Book:
    """A task's time, counted until now or its end; nothing is written.

    `per_owner`: how many tasks of one owner may run at once.
    """
    book = await _book(conn, task_no)
    if book.standings and book.ended is None:
        row = await fetch_one(
            conn,
            "SELECT count(*) >= %s FROM task r JOIN task t USING (owner_id, type)"
            " WHERE t.task_no = %s AND r.status = 'ACTIVE' AND r.lease_until > now()",
            (per_owner, task_no),
        )
        assert row is not None
        facts = await _facts(conn, task_no, book, owner_full=row[0])
        weights = {(c, d): s for c, details in book.doing.items() for d, s in details.items()}
        accounting.settle(
            book.spent,
            book.standings,
            facts,
            since=book.since,
            now=book.now,
            epoch=book.epoch,
            weights=weights,
        )
    return book


_AWAY = """
SELECT extract(epoch FROM o.since)::float8, extract(epoch FROM o.until)::float8,
       CASE WHEN e.id = t.source_endpoint_id THEN 'source' ELSE 'destination' END
FROM task t JOIN endpoint e ON e.id IN (t.source_endpoint_id, t.destination_endpoint_id)
JOIN (SELECT host, port, since, until FROM outage
      UNION ALL
      SELECT host, port, since, NULL FROM circuit WHERE failed_probes > 0) o USING (host, port)
WHERE t.task_no = %s AND coalesce(o.until > to_timestamp(%s), true)
ORDER BY 3 DESC
"""


async def _facts(
    conn: AsyncConnection[Any], task_no: int, book: Book, *, owner_full: bool
) -> Facts:
    away = [
        Away(since, inf if until is None else until, role)
        for since, until, role in await fetch(conn, _AWAY, (task_no, book.since))
    ]
    waited = [one.waits_for for one in book.standings if one.waits_for is not None]
    holders = {
        number: Holder(str(task_id) if own else "", inf if ended is None else ended)
        for number, task_id, own, ended in await fetch(
            conn,
            "SELECT h.task_no, h.id, h.owner_id = t.owner_id,"
            " extract(epoch FROM h.completion_time)::float8"
            " FROM task h, task t WHERE h.task_no = ANY(%s) AND t.task_no = %s",
            (waited, task_no),
        )
    }
    row = await fetch_one(
        conn,
        "SELECT t.nice_status_details, (SELECT details FROM event e WHERE e.task_no = t.task_no"
        " AND e.code = %s ORDER BY seq DESC LIMIT 1) FROM task t WHERE t.task_no = %s",
        (EventCode.PAUSED, task_no),
    )
    assert row is not None
    return Facts(
        away,
        holders,
        Category.QUEUE_OWNER if owner_full else Category.QUEUE_WORKERS,
        paused_by=_told(row[1], "by"),
        backs_off_for=_told(row[0], "role"),
    )


def _told(details: str | None, name: str) -> str:
    """Of an event's details, which may be a text."""
    with suppress(ValueError, AttributeError):
        found = json.loads(details or "").get(name)
        return found if isinstance(found, str) else ""
    return ""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast other tasks of the same owner moved data at one end, bytes a second."""

    from_source: float | None
    to_destination: float | None


async def rates(
    conn: AsyncConnection[Any],
    owner_id: UUID,
    source_id: UUID,
    destination_id: UUID,
    *,
    but: int,
) -> Rate:
    """The fastest of this owner's latest tasks that read at this source, and wrote elsewhere than
    at this destination; and the same the other way round. Others' tasks tell him nothing (I7)."""
    row = await fetch_one(
        conn,
        f"""
        WITH latest AS (
            SELECT task_no, bytes_transferred, source_endpoint_id, destination_endpoint_id FROM task
            WHERE owner_id = %(owner)s AND task_no <> %(but)s AND type = 'TRANSFER'
              AND bytes_transferred >= {LEAST_BYTES}
            ORDER BY request_time DESC LIMIT {LATEST_TASKS}
        ), moved AS (
            SELECT l.*, (SELECT sum(d.value::float8) FROM unnest(%(moves)s::text[]) AS c,
                         jsonb_each_text(s.spent -> c) AS d) AS seconds
            FROM latest l JOIN task_time s USING (task_no)
        )
        SELECT max(bytes_transferred / seconds) FILTER (
                   WHERE source_endpoint_id = %(source)s
                     AND destination_endpoint_id <> %(destination)s),
               max(bytes_transferred / seconds) FILTER (
                   WHERE destination_endpoint_id = %(destination)s
                     AND source_endpoint_id <> %(source)s)
        FROM moved WHERE seconds >= 1
        """,  # noqa: S608 - constants
        {
            "owner": owner_id,
            "but": but,
            "source": source_id,
            "destination": destination_id,
            "moves": [str(category) for category in accounting.MOVES],
        },
    )
    assert row is not None
    return Rate(*row)


LEAST_BYTES = 64 * 1024 * 1024
"""Of less it cannot be told how fast it was."""
LATEST_TASKS = 50
"""What was longer ago says little of today, and each is looked at."""
