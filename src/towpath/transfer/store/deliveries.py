"""The outbox's other side: deliveries as they are taken, and how they end.

Whoever takes one has it until its lease ends; then it is due again, for anybody. All times are the
database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from towpath.platform.database import Connection
from towpath.transfer.store.rows import fetch_one

KEPT_DAYS: Final = 7
"""What is over stays so long, for who asks why he was not told."""
KEPT_OF_WEBHOOK: Final = 100
"""... and of a webhook at most so many."""
SWEPT_AT_ONCE: Final = 10_000
"""Rows in one statement: a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook, with its secrets."""

    id: UUID
    url: str
    authority: str | None
    secrets: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that is ours until its lease ends, as `towpath.notify` knows it; secrets sealed,
    but for those of `hook`.
    """

    id: int
    message_id: UUID
    topic: str
    recipient_id: UUID
    document: Mapping[str, Any]
    more: int
    created_at: datetime
    attempt: int
    age_s: float
    webhook_id: UUID | None
    url: str | None
    authority: str | None
    sealed_secret: bytes | None = field(repr=False)
    sealed_earlier: bytes | None = field(repr=False)
    """The secret before, while both sign."""
    hook: Hook | None = None
    """Whoever has taken it opens the secrets. None: it is a mail."""


@dataclass(frozen=True, slots=True)
class Failing:
    """How long a webhook has failed."""

    failures_in_a_row: int
    failing_s: float


# Each target has its turn before any has its second one; what others are delivering counts. The
# row lock makes who asks at the same time see who was first.
_TAKE: Final = """
WITH busy AS (
    SELECT target_id, count(*) AS n FROM outbox
     WHERE taken AND state = 'waiting' AND due_at > now() GROUP BY target_id
), due AS (
    SELECT o.id, row_number() OVER (PARTITION BY target_id ORDER BY o.due_at, o.id)
                 + coalesce(b.n, 0) AS turn
      FROM outbox o LEFT JOIN busy b USING (target_id)
     WHERE o.state = 'waiting' AND o.due_at <= now()
       AND (o.webhook_id IS NULL) = %(by_mail)s::boolean
       AND (%(by_mail)s::boolean
            OR o.recipient_id NOT IN (SELECT owner_id FROM owner_state))
), chosen AS (
    SELECT o.id, o.webhook_id FROM outbox o JOIN due d USING (id)
     WHERE d.turn <= %(per_target)s AND o.state = 'waiting' AND o.due_at <= now()
     ORDER BY d.turn, o.id LIMIT %(most)s
       FOR UPDATE OF o SKIP LOCKED
)
UPDATE outbox o
   SET taken = true, due_at = now() + make_interval(secs => %(lease_s)s),
       attempts = o.attempts + 1, attempted_at = now()
  FROM chosen c LEFT JOIN webhook w ON w.id = c.webhook_id
 WHERE o.id = c.id
RETURNING o.id, o.message_id, o.topic, o.recipient_id, o.document, o.more, o.created_at,
          o.attempts AS attempt, extract(epoch FROM now() - o.created_at)::float8 AS age_s,
          o.webhook_id, w.url, w.authority, w.sealed_secret,
          CASE WHEN w.earlier_until > now() THEN w.sealed_earlier END AS sealed_earlier
"""


async def take(
    conn: AsyncConnection[Any], *, by_mail: bool, most: int, per_target: int, lease_s: float
) -> list[Taken]:
    """What is due, `per_target` for each person or webhook at most, also of what others have.

    Webhooks of people whose accounts are suspended wait.
    """
    async with conn.cursor(row_factory=class_row(Taken)) as cursor:
        await cursor.execute(
            _TAKE,
            {"by_mail": by_mail, "most": most, "per_target": per_target, "lease_s": lease_s},
        )
        return await cursor.fetchall()


_ENDED = """
UPDATE outbox SET taken = false, state = %(state)s, status = %(status)s, error = %(error)s
 WHERE id = %(id)s AND attempts = %(attempt)s AND state = 'waiting'
RETURNING webhook_id
"""


async def delivered(conn: AsyncConnection[Any], one: Taken, *, status: int | None) -> None:
    """It has arrived; its webhook works. Nothing, if the lease was lost."""
    ended = await _end(conn, one, "delivered", status=status, error=None)
    if ended and one.webhook_id is not None:
        await conn.execute(
            "UPDATE webhook SET failures_in_a_row = 0, failing_since = NULL"
            " WHERE id = %s AND failures_in_a_row > 0",
            (one.webhook_id,),
        )


async def give_up(
    conn: AsyncConnection[Any], one: Taken, *, status: int | None, error: str
) -> None:
    """It is not tried again."""
    await _end(conn, one, "given_up", status=status, error=error)


async def _end(
    conn: AsyncConnection[Any], one: Taken, state: str, *, status: int | None, error: str | None
) -> bool:
    values = {"state": state, "status": status, "error": error}
    row = await fetch_one(conn, _ENDED, {**values, "id": one.id, "attempt": one.attempt})
    return row is not None


async def again(
    conn: AsyncConnection[Any], one: Taken, *, after_s: float, status: int | None, error: str
) -> Failing | None:
    """It is due again `after_s` from now. Of a webhook: how long it has failed."""
    row = await fetch_one(
        conn,
        "UPDATE outbox SET taken = false, due_at = now() + make_interval(secs => %s), status = %s,"
        " error = %s WHERE id = %s AND attempts = %s AND state = 'waiting' RETURNING webhook_id",
        (after_s, status, error, one.id, one.attempt),
    )
    if row is None or row[0] is None:
        return None
    row = await fetch_one(
        conn,
        "UPDATE webhook SET failures_in_a_row = failures_in_a_row + 1,"
        " failing_since = coalesce(failing_since, now()) WHERE id = %s RETURNING"
        " failures_in_a_row, extract(epoch FROM now() - failing_since)::float8",
        (one.webhook_id,),
    )
    return None if row is None else Failing(*row)


async def put_off(conn: AsyncConnection[Any], one: Taken, *, after_s: float, error: str) -> None:
    """It is due again `after_s` from now, and nobody has failed: it was not tried."""
    await conn.execute(
        "UPDATE outbox SET taken = false, due_at = now() + make_interval(secs => %s), error = %s"
        " WHERE id = %s AND attempts = %s AND state = 'waiting'",
        (after_s, error, one.id, one.attempt),
    )


async def sweep(conn: AsyncConnection[Any]) -> bool:
    """Forget the oldest of what is over; whether there may be more of it."""
    old = await conn.execute(
        "DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM outbox WHERE state <> 'waiting'"
        " AND created_at < now() - make_interval(days => %s) LIMIT %s))",
        (KEPT_DAYS, SWEPT_AT_ONCE),
    )
    many = await conn.execute(
        "DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM (SELECT id, row_number() OVER"
        " (PARTITION BY webhook_id ORDER BY id DESC) AS place FROM outbox"
        "  WHERE state <> 'waiting' AND webhook_id IS NOT NULL) AS ended"
        " WHERE place > %s LIMIT %s))",
        (KEPT_OF_WEBHOOK, SWEPT_AT_ONCE),
    )
    return max(old.rowcount, many.rowcount) >= SWEPT_AT_ONCE


@dataclass(frozen=True, slots=True)
class Past:
    """A delivery as its webhook's owner sees it."""

    id: int
    message_id: UUID
    topic: str
    created_at: datetime
    state: str
    attempts: int
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    """None: there is none, or it is under way."""
    status: int | None
    error: str | None


async def of_webhook(conn: Connection, webhook_id: UUID, *, most: int) -> list[Past]:
    """Its last deliveries, the newest first."""
    async with conn.cursor(row_factory=class_row(Past)) as cursor:
        await cursor.execute(
            "SELECT id, message_id, topic, created_at, state, attempts, attempted_at,"
            " CASE WHEN state = 'waiting' AND NOT taken THEN due_at END AS next_attempt_at,"
            " status, error FROM outbox WHERE webhook_id = %s ORDER BY id DESC LIMIT %s",
            (webhook_id, most),
        )
        return await cursor.fetchall()


async def mail_wanted(conn: Connection, identity_id: UUID) -> bool:
    """Whether a person wants to be told by mail at all."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT FROM mail_off WHERE identity_id = %s", (identity_id,))
        return cursor.rowcount == 0


async def want_mail(conn: Connection, identity_id: UUID, *, wanted: bool) -> None:
    """Note what a person wants. What waits already is sent no more, either."""
    if wanted:
        await conn.execute("DELETE FROM mail_off WHERE identity_id = %s", (identity_id,))
        return
    await conn.execute(
        "INSERT INTO mail_off (identity_id) VALUES (%s) ON CONFLICT DO NOTHING", (identity_id,)
    )
    await conn.execute(
        "DELETE FROM outbox WHERE target_id = %s AND webhook_id IS NULL AND state = 'waiting'",
        (identity_id,),
    )
