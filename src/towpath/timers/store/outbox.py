"""What owners of timers are told by mail.

It is written in the transaction of the change that it tells (ADR 0024), and delivered afterwards,
by whoever has taken it until its lease ends. All times are the database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.rows import class_row
from psycopg.types.json import Json

from towpath.platform.database import Connection

INACTIVE: Final = "timer.inactive"
"""The topic: a timer stands still until its owner does something."""
KEPT_DAYS: Final = 7
"""What is over stays so long, for who asks why he was not told."""
SWEPT_AT_ONCE: Final = 10_000
"""Rows in one statement: a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that is ours until its lease ends, as `towpath.notify` knows it."""

    id: int
    message_id: UUID
    topic: str
    recipient_id: UUID
    document: Mapping[str, Any]
    created_at: datetime
    attempt: int
    age_s: float
    hook: None = None
    """It is a mail."""
    more: int = 0
    """Of each timer one message waits at most: none is left out."""


async def tell_inactive(
    conn: Connection, timer_id: UUID, owner_id: UUID, name: str, detail: Mapping[str, Any]
) -> None:
    """Tell an owner that his timer stands still, and why (`detail`, as the timer keeps it).

    Call it in the transaction of the change. What waits of this timer already is told as it is now.
    """
    why = detail["authorization_parameters"]
    document = {
        "timer_id": str(timer_id),
        "name": name,
        "reason": why["session_message"],
        "required_scopes": why["required_scopes"],
    }
    await conn.execute(
        "INSERT INTO outbox (message_id, topic, timer_id, recipient_id, document)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (timer_id) WHERE state = 'waiting'"
        " DO UPDATE SET document = excluded.document",
        (uuid4(), INACTIVE, timer_id, owner_id, Json(document)),
    )


async def forget(conn: Connection, timer_id: UUID) -> None:
    """What waits of this timer is not true any more."""
    await conn.execute("DELETE FROM outbox WHERE timer_id = %s AND state = 'waiting'", (timer_id,))


# Each person has his turn before any has his second one; what others are delivering counts.
_TAKE: Final = """
WITH busy AS (
    SELECT recipient_id, count(*) AS n FROM outbox
     WHERE taken AND state = 'waiting' AND due_at > now() GROUP BY recipient_id
), due AS (
    SELECT o.id, row_number() OVER (PARTITION BY recipient_id ORDER BY o.due_at, o.id)
                 + coalesce(b.n, 0) AS turn
      FROM outbox o LEFT JOIN busy b USING (recipient_id)
     WHERE o.state = 'waiting' AND o.due_at <= now()
), chosen AS (
    SELECT o.id FROM outbox o JOIN due d USING (id)
     WHERE d.turn <= %(each)s AND o.state = 'waiting' AND o.due_at <= now()
     ORDER BY d.turn, o.id LIMIT %(most)s
       FOR UPDATE OF o SKIP LOCKED
)
UPDATE outbox o
   SET taken = true, due_at = now() + make_interval(secs => %(lease_s)s),
       attempts = o.attempts + 1, attempted_at = now()
  FROM chosen c WHERE o.id = c.id
RETURNING o.id, o.message_id, o.topic, o.recipient_id, o.document, o.created_at,
          o.attempts AS attempt, extract(epoch FROM now() - o.created_at)::float8 AS age_s
"""


async def take(conn: Connection, *, most: int, each: int, lease_s: float) -> Sequence[Taken]:
    """What is due, `each` for each person at most, also of what others have."""
    async with conn.cursor(row_factory=class_row(Taken)) as cursor:
        await cursor.execute(_TAKE, {"most": most, "each": each, "lease_s": lease_s})
        return await cursor.fetchall()


async def drop(conn: Connection, recipient_ids: Sequence[UUID]) -> None:
    """What waits for people who want no mail."""
    await conn.execute(
        "DELETE FROM outbox WHERE recipient_id = ANY(%s) AND state = 'waiting'",
        (list(recipient_ids),),
    )


async def again(
    conn: Connection, one: Taken, *, after_s: float, status: int | None, error: str
) -> None:
    """It is due again `after_s` from now. Nothing, if the lease was lost."""
    await conn.execute(
        "UPDATE outbox SET taken = false, due_at = now() + make_interval(secs => %s), status = %s,"
        " error = %s WHERE id = %s AND attempts = %s AND state = 'waiting'",
        (after_s, status, error, one.id, one.attempt),
    )


async def end(
    conn: Connection, one: Taken, *, arrived: bool, status: int | None, error: str | None = None
) -> None:
    """It is not tried again. Nothing, if the lease was lost."""
    await conn.execute(
        "UPDATE outbox SET taken = false, state = %s, status = %s, error = %s"
        " WHERE id = %s AND attempts = %s AND state = 'waiting'",
        ("delivered" if arrived else "given_up", status, error, one.id, one.attempt),
    )


async def sweep(conn: Connection) -> bool:
    """Forget the oldest of what is over; whether there may be more of it."""
    done = await conn.execute(
        "DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM outbox WHERE state <> 'waiting'"
        " AND created_at < now() - make_interval(days => %s) LIMIT %s))",
        (KEPT_DAYS, SWEPT_AT_ONCE),
    )
    return done.rowcount >= SWEPT_AT_ONCE
