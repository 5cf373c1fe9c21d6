"""Plans: what the walk of a transfer, or of a delete, finds that would be done, kept to be looked
at and applied.

A plan's walk is a task (type PLAN) with everything that tasks have: leases, faults, a frontier. No
route shows it as one.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.platform.database import Connection, Database
from towpath.transfer.planned import Action, Facts, Planned, Reason
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plan import File, add_files, decode, encode
from towpath.transfer.store.rows import ROWS_AT_ONCE, TASK_CHANNEL, fetch, fetch_one
from towpath.transfer.store.tasks import Status

TYPE: Final = "PLAN"

_ENTRY = "entry_no, item_no, path, action, reason, here, there, details, above"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan as its owner sees it."""

    task_no: int
    id: UUID
    owner_id: UUID
    status: str
    """Of its walk: ACTIVE, INACTIVE, SUCCEEDED (all is known) or FAILED."""
    label: str | None
    options: dict[str, Any]
    source_endpoint_id: UUID
    destination_endpoint_id: UUID | None
    """None: it is of a delete, at the source."""
    request_time: datetime
    completion_time: datetime | None
    expires_at: datetime
    fatal_error: dict[str, Any] | None
    nice_status: str | None
    nice_status_details: str | None
    task_id: UUID | None
    """The task that does what it says."""


_PLAN = """
SELECT t.task_no, t.id, t.owner_id, t.status, t.label, t.options, t.source_endpoint_id,
       t.destination_endpoint_id, t.request_time, t.completion_time, p.expires_at, t.fatal_error,
       t.nice_status, t.nice_status_details, a.id AS task_id
FROM plan p JOIN task t USING (task_no) LEFT JOIN task a ON a.task_no = p.applied_by
WHERE t.owner_id = %s AND t.id = %s AND NOT p.dropped
  AND (p.expires_at > now() OR p.applied_by IS NOT NULL)
"""


async def begin(conn: Connection, plan_id: UUID, *, lifetime_h: float) -> None:
    """The task that was just stored is a plan's, and kept for so long."""
    await conn.execute(
        "INSERT INTO plan (task_no, expires_at)"
        " SELECT task_no, now() + make_interval(secs => %s) FROM task WHERE id = %s",
        (lifetime_h * 3600, plan_id),
    )


async def show(conn: Connection, owner_id: UUID, plan_id: UUID) -> Plan | None:
    """A plan of this owner, or None: others' plans do not exist for him (I7)."""
    async with conn.cursor(row_factory=class_row(Plan)) as cursor:
        await cursor.execute(_PLAN, (owner_id, plan_id))
        return await cursor.fetchone()


async def count_kept(conn: Connection, owner_id: UUID) -> int:
    """How many plans an owner has; it stays so until the transaction ends: others who ask wait."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtext('plan'), hashtext(%s))", (str(owner_id),)
    )
    row = await fetch_one(
        conn,
        "SELECT count(*) FROM plan JOIN task USING (task_no) WHERE owner_id = %s AND NOT dropped",
        (owner_id,),
    )
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Count:
    """How many entries of one kind."""

    action: str
    reason: str
    entries: int
    bytes: int
    doubted: int
    """Files of which a server says that they cannot be read, or written."""


_SIZE = (
    "CASE WHEN action = 'delete'"
    """ THEN substring(encode(there, 'escape') FROM '^\\["[^"]*", ([0-9]+), [^,]*, null\\]$')"""
    """ ELSE substring(encode(here, 'escape') FROM '^\\["[^"]*", ([0-9]+)') END"""
)
"""As `_dump` writes it. Not read as JSON: PostgreSQL takes no target of a link that is no text.
With a link that is deleted nothing goes of what it leads to."""


async def counts(conn: Connection, task_no: int) -> list[Count]:
    """How many there are so far, by action and reason."""
    rows = await fetch(
        conn,
        "SELECT action, reason, count(*),"  # noqa: S608 - a constant
        f" coalesce(sum({_SIZE}::bigint), 0),"
        " count(*) FILTER (WHERE details <> '' AND action IN ('copy', 'overwrite'))"
        " FROM plan_entry WHERE task_no = %s AND dir_no IS NULL GROUP BY 1, 2 ORDER BY 1, 2",
        (task_no,),
    )
    return [
        Count(action, reason, number, int(size), doubted)
        for action, reason, number, size, doubted in rows
    ]


async def add(
    conn: AsyncConnection[Any],
    task_no: int,
    entries: Sequence[Planned],
    *,
    dir_no: int | None = None,
) -> None:
    """Entries of a plan; inside `fenced`. `dir_no`: not to be seen before that directory is listed
    to its end."""
    if not entries:
        return
    async with (
        conn.cursor() as cur,
        cur.copy(
            "COPY plan_entry (task_no, dir_no, item_no, path, action, reason, here, there, details,"
            " above) FROM STDIN"
        ) as copy,
    ):
        for one in entries:
            await copy.write_row(
                (
                    *(task_no, dir_no, one.item_no, encode(one.path), str(one.action)),
                    *(str(one.reason), _dump(one.here), _dump(one.there), one.details, one.above),
                )
            )


async def listed(conn: AsyncConnection[Any], task_no: int, dir_no: int) -> None:
    """A directory is listed to its end: its entries are to be seen."""
    await conn.execute(
        "UPDATE plan_entry SET dir_no = NULL WHERE task_no = %s AND dir_no = %s", (task_no, dir_no)
    )


async def forget(conn: AsyncConnection[Any], task_no: int, dir_no: int) -> None:
    """What is known of a directory that was not listed to its end."""
    await conn.execute(
        "DELETE FROM plan_entry WHERE task_no = %s AND dir_no = %s", (task_no, dir_no)
    )


async def count(conn: AsyncConnection[Any], task_no: int) -> int:
    """All entries, also those that are not to be seen yet."""
    row = await fetch_one(conn, "SELECT count(*) FROM plan_entry WHERE task_no = %s", (task_no,))
    assert row is not None
    return int(row[0])


async def note_links(conn: AsyncConnection[Any], task_no: int, targets: Mapping[str, str]) -> None:
    """The links among the directories above what a delete names, by absolute path, as they were
    before anything was listed: what is noted stays. Inside `fenced`."""
    await conn.execute(
        "UPDATE plan SET links_above = coalesce(links_above, %s) WHERE task_no = %s",
        (json.dumps(dict(targets)).encode("ascii"), task_no),
    )


async def links_above(conn: AsyncConnection[Any], task_no: int) -> dict[str, str] | None:
    """The same, if they were noted."""
    row = await fetch_one(conn, "SELECT links_above FROM plan WHERE task_no = %s", (task_no,))
    if row is None or row[0] is None:
        return None
    found: dict[str, str] = json.loads(bytes(row[0]))
    return found


async def leave_out(conn: AsyncConnection[Any], task_no: int, numbers: Sequence[int]) -> None:
    """These are not in the plan after all; inside `fenced`."""
    await conn.execute(
        "DELETE FROM plan_entry WHERE task_no = %s AND entry_no = ANY(%s)", (task_no, list(numbers))
    )


async def stay(conn: AsyncConnection[Any], task_no: int, numbers: Sequence[int]) -> None:
    """These would not go, because something in them stays; inside `fenced`."""
    await conn.execute(
        "UPDATE plan_entry SET action = %s, reason = %s WHERE task_no = %s AND entry_no = ANY(%s)",
        (str(Action.SKIP), str(Reason.HOLDS_MORE), task_no, list(numbers)),
    )


async def not_all_read(conn: AsyncConnection[Any], task_no: int) -> bool:
    """Whether something could not be looked at, and would stop a task, or be left out by it."""
    row = await fetch_one(
        conn,
        "SELECT FROM plan_entry WHERE task_no = %s AND (action = %s OR reason = ANY(%s)) LIMIT 1",
        (task_no, str(Action.FAULT), [str(code) for code in EventCode]),
    )
    return row is not None


async def take_over(conn: AsyncConnection[Any], task_no: int) -> int:
    """Forget directories that were not listed to their end; how many entries are left. Inside
    `fenced`."""
    await conn.execute(
        "DELETE FROM plan_entry WHERE task_no = %s AND dir_no IS NOT NULL", (task_no,)
    )
    return await count(conn, task_no)


async def in_the_way(
    conn: AsyncConnection[Any], task_no: int
) -> dict[tuple[int, str], Facts | None]:
    """What would be removed before something of another type comes: items, and paths below them;
    with what comes, if it comes into that very place."""
    rows = await fetch(
        conn,
        "SELECT item_no, path, here FROM plan_entry"
        " WHERE task_no = %s AND action = %s AND reason = %s",
        (task_no, str(Action.DELETE), str(Reason.IN_THE_WAY)),
    )
    return {(row[0], decode(row[1])): _load(row[2]) for row in rows}


async def on_the_way(conn: AsyncConnection[Any], task_no: int) -> list[Planned]:
    """Directories that lead to other entries, as far as the plan has them: links to directories,
    and those that are made so that an item has a place."""
    rows = await fetch(
        conn,
        f"SELECT {_ENTRY} FROM plan_entry WHERE task_no = %s AND dir_no IS NULL"  # noqa: S608
        " AND (reason = %s OR (action = %s AND path = ''))",
        (task_no, str(Reason.THROUGH_LINK), str(Action.MAKE_DIRECTORY)),
    )
    return [_planned(row) for row in rows]


async def numbered(
    conn: AsyncConnection[Any], task_no: int, numbers: Sequence[int]
) -> dict[int, Planned]:
    """Entries by their numbers."""
    rows = await fetch(
        conn,
        f"SELECT {_ENTRY} FROM plan_entry WHERE task_no = %s AND entry_no = ANY(%s)",  # noqa: S608
        (task_no, list(numbers)),
    )
    return {row[0]: _planned(row) for row in rows}


async def page(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    after: int,
    limit: int,
    actions: Collection[str] = tuple(Action),
    reasons: Collection[str] | None = None,
    backwards: bool = False,
) -> list[tuple[int, Planned]]:
    """Entries behind number `after`, or before it, with their numbers."""
    order = "<" if backwards else ">"
    rows = await fetch(
        conn,
        f"SELECT {_ENTRY} FROM plan_entry WHERE task_no = %s AND entry_no {order} %s"  # noqa: S608
        " AND dir_no IS NULL AND action = ANY(%s) AND (%s::text[] IS NULL OR reason = ANY(%s))"
        f" ORDER BY entry_no {'DESC' if backwards else ''} LIMIT %s",
        (
            *(task_no, after, [str(one) for one in actions]),
            *([None if reasons is None else [str(one) for one in reasons]] * 2),
            limit,
        ),
    )
    return [(row[0], _planned(row)) for row in rows]


def _planned(row: tuple[Any, ...]) -> Planned:
    """Of the columns of `_ENTRY`."""
    _, item_no, path, action, reason, here, there, details, above = row
    return Planned(
        *(item_no, decode(path), Action(action), reason),
        *(_load(here), _load(there), details, above),
    )


def _dump(facts: Facts | None) -> bytes | None:
    return None if facts is None else json.dumps(facts).encode("ascii")


def _load(stored: bytes | None) -> Facts | None:
    return None if stored is None else Facts(*json.loads(bytes(stored)))


# -- applying


async def lock(conn: Connection, task_no: int) -> None:
    """Who applies the plan at the same time waits until the transaction ends."""
    await conn.execute("SELECT FROM plan WHERE task_no = %s FOR UPDATE", (task_no,))


async def apply(conn: Connection, task_no: int, task_id: UUID) -> bool:
    """The task `task_id`, just stored, does what the plan says; False: another one does, or
    somebody may have begun to remove the plan meanwhile."""
    cursor = await conn.execute(
        "UPDATE plan SET applied_by = t.task_no FROM task t"
        " WHERE plan.task_no = %s AND t.id = %s AND applied_by IS NULL"
        " AND NOT dropped AND expires_at > clock_timestamp()",
        (task_no, task_id),
    )
    return cursor.rowcount > 0


@dataclass(frozen=True, slots=True)
class Applied:
    """The plan that a task follows."""

    plan_no: int
    cursor: int
    """Among the entries, for all but deletions."""
    way_left: int
    """Of what is in the way only what has a lower number has not been gone through."""
    extras_left: int
    """The same of extras; and of what a delete was asked for: no plan has both."""


async def followed(conn: AsyncConnection[Any], task_no: int) -> Applied | None:
    """Which plan a task follows; None: it does what its document says."""
    row = await fetch_one(
        conn,
        "SELECT task_no, cursor, way_left, extras_left FROM plan WHERE applied_by = %s",
        (task_no,),
    )
    return None if row is None else Applied(*row)


async def advance(
    conn: AsyncConnection[Any],
    plan_no: int,
    task_no: int,
    *,
    cursor: int,
    files: Sequence[File] = (),
    found: int = 0,
    skipped: int = 0,
    directories: int = 0,
    symlinks: int = 0,
) -> None:
    """The task has come so far among the entries: these files are to be sent now; and its
    counters. Inside `fenced`."""
    await conn.execute("UPDATE plan SET cursor = %s WHERE task_no = %s", (cursor, plan_no))
    await add_files(conn, task_no, files)
    await conn.execute(
        "UPDATE task SET files = files + %s, files_skipped = files_skipped + %s,"
        " bytes_found = bytes_found + %s, directories = directories + %s, symlinks = symlinks + %s"
        " WHERE task_no = %s",
        (found, skipped, sum(file.size for file in files), directories, symlinks, task_no),
    )


_LEFT = {
    Reason.IN_THE_WAY: "way_left",
    Reason.EXTRA: "extras_left",
    Reason.ASKED: "extras_left",
}


async def removed(conn: AsyncConnection[Any], plan_no: int, reason: Reason, left: int) -> None:
    """Of deletions for this reason, those from this number on have been gone through. Inside
    `fenced`."""
    await conn.execute(
        f"UPDATE plan SET {_LEFT[reason]} = %s WHERE task_no = %s",  # noqa: S608 - a constant
        (left, plan_no),
    )


async def all_taken(conn: AsyncConnection[Any], task_no: int) -> None:
    """A transfer that follows a plan has nothing to list. Inside `fenced`."""
    await conn.execute("DELETE FROM frontier WHERE task_no = %s", (task_no,))


# -- the end


async def drop(conn: Connection, task_no: int) -> bool:
    """Its owner does not want it any more: its walk ends, and somebody tidies up. False, and
    nothing is done, while a task follows it."""
    cursor = await conn.execute(
        f"UPDATE plan SET dropped = true WHERE task_no = %s AND {_FREE}",  # noqa: S608 - a constant
        (task_no,),
    )
    if not cursor.rowcount:
        return False
    await conn.execute(
        "UPDATE task SET cancel_requested = true, status = 'ACTIVE',"
        " not_before = least(not_before, now())"
        " WHERE task_no = %s AND status IN ('ACTIVE', 'INACTIVE')",
        (task_no,),
    )
    await conn.execute("SELECT pg_notify(%s, %s)", (TASK_CHANNEL, str(task_no)))
    return True


# Not by what is missing: a task that follows it since a moment ago may not be seen yet.
_FREE = f"""(plan.applied_by IS NULL OR EXISTS (SELECT FROM task a WHERE a.task_no = plan.applied_by
    AND a.status IN ('{Status.SUCCEEDED}', '{Status.FAILED}')))"""
_OVER = f"""
SELECT plan.task_no FROM plan JOIN task t ON t.task_no = plan.task_no
WHERE (dropped OR expires_at <= now()) AND t.status IN ('{Status.SUCCEEDED}', '{Status.FAILED}')
  AND {_FREE}
LIMIT 1 FOR UPDATE OF plan SKIP LOCKED
"""  # noqa: S608 - constants
_ROWS = ("event", "item", "fidelity", "throughput", "task_time", "task_standing", "history_segment")


async def tidy(database: Database) -> bool:
    """Remove one plan that nobody wants any more, or some of its entries; whether there was one."""
    async with database.transaction() as conn:
        row = await fetch_one(conn, _OVER)
        if row is None:
            return False
        [task_no] = row
        cursor = await conn.execute(
            "DELETE FROM plan_entry WHERE ctid = ANY(ARRAY("
            " SELECT ctid FROM plan_entry WHERE task_no = %s LIMIT %s))",
            (task_no, ROWS_AT_ONCE),
        )
        if cursor.rowcount >= ROWS_AT_ONCE:
            return True
        await conn.execute("DELETE FROM plan WHERE task_no = %s", (task_no,))
        for table in _ROWS:
            await conn.execute(f"DELETE FROM {table} WHERE task_no = %s", (task_no,))  # noqa: S608
        await conn.execute("DELETE FROM task WHERE task_no = %s", (task_no,))
    return True
