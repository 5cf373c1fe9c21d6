"""What people have set, and how far each is.

Several processes may run timers. Who claims one has a lease on it (`claim`), and what it writes is
written only while nobody has claimed it since, or changed it (`write`): an epoch counts both.
All times are the caller's, who asks the database for them (`now`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Json

from towpath.platform.database import Connection
from towpath.timers.schedule import Schedule

Status = Literal["active", "inactive", "ended"]
Cause = Literal["user", "globus_auth_requirements"]

ENDED_KEPT: Final = 100
"""Of each owner: a script that sets a timer for each of its transfers does not fill the table."""
ENDED_KEPT_FOR: Final = timedelta(days=30)
"""As long as Transfer tells of a task's details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A row. The transfer document and the schedule as they were checked."""

    id: UUID
    owner_id: UUID
    name: str
    callback_url: str
    callback_body: Any
    scope: str | None
    body: dict[str, Any]
    start_at: datetime
    interval_s: int | None
    most_runs: int | None
    until: datetime | None
    status: Status = "active"
    inactive_cause: Cause | None = None
    inactive_detail: dict[str, Any] | None = None
    since: datetime
    submitted_at: datetime
    next_run: datetime | None
    last_ran_at: datetime | None = None
    n_runs: int = 0
    n_errors: int = 0
    refresh_token: bytes | None
    token_used_at: datetime
    run_no: int = 0
    run_began_at: datetime | None = None
    run_task_id: UUID | None = None
    run_attempts: int = 0
    look_at: datetime | None
    lease_epoch: int = 0

    def __repr__(self) -> str:
        return f"Timer({self.id}, {self.status}, run {self.run_no})"

    @property
    def schedule(self) -> Schedule:
        """When it runs."""
        return Schedule(self.start_at, self.interval_s, self.most_runs, self.until)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A timer that has become inactive, and whose it is."""

    id: UUID
    owner_id: UUID
    name: str


_FIELDS = tuple(Timer.__dataclass_fields__)
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
_JSON = frozenset({"callback_body", "body", "inactive_detail"})

ORDERS: Final = ("submitted_at", "name", "next_run", "last_ran_at", "status")
"""What a list may be sorted by."""


async def now(conn: Connection) -> datetime:
    """The database's time, of which all processes have the same."""
    found = await conn.execute("SELECT clock_timestamp() AS now")
    row = await found.fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment


def _adapted(name: str, value: object) -> object:
    return Json(value) if name in _JSON and value is not None else value


async def insert(conn: Connection, timer: Timer, *, most: int) -> bool:
    """Keep a new timer; False if its owner has `most` that are not over. In a transaction."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"timers {timer.owner_id}",)
    )
    found = await conn.execute(
        "SELECT count(*) AS n FROM timer WHERE owner_id = %s AND status <> 'ended'",
        (timer.owner_id,),
    )
    row = await found.fetchone()
    assert row is not None
    if row["n"] >= most:
        return False
    places = sql.SQL(", ").join(sql.Placeholder() * len(_FIELDS))
    await conn.execute(
        sql.SQL("INSERT INTO timer ({}) VALUES ({})").format(_COLUMNS, places),
        [_adapted(name, getattr(timer, name)) for name in _FIELDS],
    )
    return True


async def get(
    conn: Connection, owner_id: UUID, timer_id: UUID, *, lock: bool = False
) -> Timer | None:
    """One of an owner's timers. With `lock`, its row is held until the transaction ends."""
    query = sql.SQL("SELECT {} FROM timer WHERE owner_id = %s AND id = %s {}").format(
        _COLUMNS, sql.SQL("FOR UPDATE" if lock else "")
    )
    async with conn.cursor(row_factory=class_row(Timer)) as cursor:
        await cursor.execute(query, (owner_id, timer_id))
        return await cursor.fetchone()


async def list_all(
    conn: Connection, owner_id: UUID, *, order: str, descending: bool
) -> Sequence[Timer]:
    """An owner's timers; `order` is one of ORDERS."""
    assert order in ORDERS
    query = sql.SQL("SELECT {} FROM timer WHERE owner_id = %s ORDER BY {} {}, id").format(
        _COLUMNS, sql.Identifier(order), sql.SQL("DESC" if descending else "ASC")
    )
    async with conn.cursor(row_factory=class_row(Timer)) as cursor:
        await cursor.execute(query, (owner_id,))
        return await cursor.fetchall()


async def delete(conn: Connection, timer_id: UUID) -> None:
    """Forget a timer with its runs."""
    await conn.execute("DELETE FROM timer WHERE id = %s", (timer_id,))


async def change(conn: Connection, timer_id: UUID, **columns: object) -> None:
    """What its owner changes. Whoever is at work on it writes nothing more, and looks again."""
    await _set(conn, "id = %(id)s", {"id": timer_id}, {**columns, "lease_until": None}, epoch=1)


async def write(conn: Connection, timer: Timer, **columns: object) -> bool:
    """What whoever has claimed it has done; False if it is not theirs any more."""
    where = "id = %(id)s AND lease_epoch = %(held)s"
    return await _set(conn, where, {"id": timer.id, "held": timer.lease_epoch}, columns, epoch=0)


async def _set(
    conn: Connection,
    where: str,
    named: Mapping[str, object],
    columns: Mapping[str, object],
    *,
    epoch: int,
) -> bool:
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in columns
    )
    done = await conn.execute(
        sql.SQL("UPDATE timer SET lease_epoch = lease_epoch + {}, {} WHERE {}").format(
            sql.Literal(epoch),
            assignments,
            sql.SQL(where),
        ),
        {**named, **{name: _adapted(name, value) for name, value in columns.items()}},
    )
    return done.rowcount > 0


async def claim(
    conn: Connection, *, at: datetime, limit: int, lease_s: float, longest_s: float
) -> Sequence[Timer]:
    """Up to `limit` timers with something to do, which nobody else has a lease on.

    A lease that would last longer than one can, and a run that nobody would look at for longer
    than `longest_s`, were dated by a clock that has been set back.
    """
    lease, longest = timedelta(seconds=lease_s), timedelta(seconds=longest_s)
    query = sql.SQL(
        "UPDATE timer SET lease_epoch = lease_epoch + 1, lease_until = %(until)s"
        " WHERE id IN (SELECT id FROM timer WHERE (look_at <= %(now)s"
        "   OR run_began_at IS NOT NULL AND look_at > %(latest)s)"
        "  AND (lease_until IS NULL OR lease_until <= %(now)s OR lease_until > %(until)s)"
        "  ORDER BY look_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)"
        " RETURNING {}"
    ).format(_COLUMNS)
    async with conn.cursor(row_factory=class_row(Timer)) as cursor:
        await cursor.execute(
            query, {"now": at, "until": at + lease, "latest": at + longest, "limit": limit}
        )
        return await cursor.fetchall()


async def stop_all(
    conn: Connection, owner_ids: Sequence[UUID], *, at: datetime, detail: Mapping[str, Any]
) -> Sequence[Stopped]:
    """All timers of people who may not do anything any more become inactive; which they were.

    `detail` is what they need to resume them: tokens, when they may again.
    """
    async with conn.cursor(row_factory=class_row(Stopped)) as cursor:
        await cursor.execute(
            "UPDATE timer SET status = 'inactive', inactive_cause = 'globus_auth_requirements',"
            " inactive_detail = %s, since = %s, look_at = NULL, lease_until = NULL,"
            " lease_epoch = lease_epoch + 1"
            " WHERE owner_id = ANY(%s) AND status = 'active' RETURNING id, owner_id, name",
            (Json(detail), at, list(owner_ids)),
        )
        return await cursor.fetchall()


async def delete_all(conn: Connection, owner_ids: Sequence[UUID]) -> int:
    """Forget all timers of people who are gone; how many there were."""
    done = await conn.execute("DELETE FROM timer WHERE owner_id = ANY(%s)", (list(owner_ids),))
    return done.rowcount


async def cursor(conn: Connection) -> int:
    """How far the changes of accounts have been followed; the row is held."""
    found = await conn.execute("SELECT after FROM account_cursor FOR UPDATE")
    row = await found.fetchone()
    assert row is not None, "the migration made it"
    return int(row["after"])


async def followed(conn: Connection, n: int) -> None:
    """They have been followed up to the change of this number."""
    await conn.execute("UPDATE account_cursor SET after = %s", (n,))


async def next_look(conn: Connection) -> datetime | None:
    """When there is something to do next, whoever does it."""
    found = await conn.execute(
        "SELECT min(greatest(look_at, lease_until)) AS at FROM timer WHERE look_at IS NOT NULL"
    )
    row = await found.fetchone()
    assert row is not None
    moment: datetime | None = row["at"]
    return moment


async def sweep_ended(conn: Connection, owner_id: UUID) -> None:
    """Of an owner's timers that are over, the latest stay."""
    await conn.execute(
        "DELETE FROM timer WHERE id IN (SELECT id FROM timer WHERE owner_id = %s"
        " AND status = 'ended' ORDER BY since DESC OFFSET %s)",
        (owner_id, ENDED_KEPT),
    )


async def sweep_old(conn: Connection, *, at: datetime) -> None:
    """Those that have been over for long go."""
    await conn.execute(
        "DELETE FROM timer WHERE status = 'ended' AND since < %s", (at - ENDED_KEPT_FOR,)
    )
