"""Others' tasks, for those who may look after them: activity monitors and managers of endpoints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from psycopg.rows import class_row, dict_row

from towpath.platform.database import Connection
from towpath.transfer.rights import Role, Who
from towpath.transfer.store.endpoints import Endpoint, get_some
from towpath.transfer.store.rows import TASK_CHANNEL, fetch, fetch_one
from towpath.transfer.store.tasks import Status, Task, select_tasks

CANCELS_KEPT_DAYS: Final = 7
"""How long one may ask what became of tasks that were cancelled together."""

MONITORS: Final = (Role.ADMINISTRATOR, Role.ACTIVITY_MANAGER, Role.ACTIVITY_MONITOR)
MANAGERS: Final = (Role.ADMINISTRATOR, Role.ACTIVITY_MANAGER)

# As `store.rights` inherits them, from above: not to what others share of a registered server.
_THEIRS = """
WITH RECURSIVE own AS (
    SELECT e.id FROM endpoint e WHERE e.owner_id = ANY(%(identities)s)
    UNION
    SELECT r.endpoint_id FROM role r
     WHERE r.role = ANY(%(roles)s)
       AND (r.principal_type = 'identity' AND r.principal = ANY(%(identities)s)
            OR r.principal_type = 'group' AND r.principal = ANY(%(groups)s))
), theirs AS (
    SELECT id FROM own
    UNION
    SELECT e.id FROM theirs t JOIN endpoint e ON e.host_endpoint_id = t.id
     WHERE e.entity_type <> 'GCSv4_share'
)
SELECT id FROM theirs
"""


def _person(who: Who, roles: Collection[Role]) -> dict[str, object]:
    return {
        "identities": list(who.identities),
        "groups": list(who.groups),
        "roles": [str(role) for role in roles],
    }


async def monitored(conn: Connection, who: Who) -> frozenset[UUID]:
    """Endpoints whose tasks a person may see, deleted ones too: their tasks go on."""
    rows = await fetch(conn, _THEIRS, _person(who, MONITORS))
    return frozenset(row[0] for row in rows)


async def managed(conn: Connection, who: Who) -> frozenset[UUID]:
    """Endpoints whose tasks a person may pause and cancel."""
    rows = await fetch(conn, _THEIRS, _person(who, MANAGERS))
    return frozenset(row[0] for row in rows)


async def monitored_endpoints(conn: Connection, who: Who, *, limit: int) -> list[Endpoint]:
    """Those that are not deleted, by name."""
    return await get_some(conn, await monitored(conn, who), limit=limit)


@dataclass(frozen=True, slots=True)
class Key:
    """The place of a task in lists: unfinished ones first, then those that ended last."""

    open: bool
    at: datetime
    """When it ended, or was submitted."""
    task_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tasks a list has. None: whichever."""

    ids: Sequence[UUID] | None = None
    statuses: Sequence[Status] | None = None
    owners: Sequence[UUID] | None = None
    at_source: Collection[UUID]
    """Endpoints that a task may have as its source, or where it deletes."""
    at_destination: Collection[UUID]
    """... or else as its destination."""
    paused: bool | None = None
    completed_from: datetime | None = None
    completed_until: datetime | None = None
    least_faults: int | None = None
    local_user: str | None = None
    """The account at one of these ends."""


_PLACE = """(t.completion_time IS NULL, coalesce(t.completion_time, t.request_time), t.task_no)"""
_LIST = f"""
{select_tasks()}
 WHERE t.task_no IN (
       SELECT task_no FROM task WHERE source_endpoint_id = ANY(%(at_source)s)
        UNION
       SELECT task_no FROM task WHERE destination_endpoint_id = ANY(%(at_destination)s))
   AND t.type <> 'PLAN'
   AND (%(ids)s::uuid[] IS NULL OR t.id = ANY(%(ids)s))
   AND (%(statuses)s::text[] IS NULL OR t.status = ANY(%(statuses)s))
   AND (%(owners)s::uuid[] IS NULL OR t.owner_id = ANY(%(owners)s))
   AND (%(paused)s::boolean IS NULL
        OR (t.paused_at IS NOT NULL OR t.held_at IS NOT NULL) = %(paused)s)
   AND (%(from)s::timestamptz IS NULL OR t.completion_time >= %(from)s
        OR t.completion_time IS NULL AND %(until)s::timestamptz IS NULL)
   AND (%(until)s::timestamptz IS NULL OR t.completion_time <= %(until)s)
   AND (%(faults)s::bigint IS NULL OR t.faults >= %(faults)s)
   AND (%(local_user)s::text IS NULL
        OR t.source_local_user = %(local_user)s AND t.source_endpoint_id = ANY(%(at_source)s)
        OR t.destination_local_user = %(local_user)s
           AND t.destination_endpoint_id = ANY(%(at_destination)s))
   AND (%(task_no)s::bigint IS NULL
        OR {_PLACE} < (%(open)s::boolean, %(at)s::timestamptz, %(task_no)s))
 ORDER BY {_PLACE} DESC
 LIMIT %(limit)s
"""  # noqa: S608 - constants


async def list_tasks(
    conn: Connection, wanted: Wanted, *, after: Key | None, limit: int
) -> list[Task]:
    """Up to `limit` tasks behind `after`."""
    async with conn.cursor(row_factory=class_row(Task)) as cursor:
        await cursor.execute(
            _LIST.encode(),
            {
                "ids": None if wanted.ids is None else list(wanted.ids),
                "statuses": None if wanted.statuses is None else list(wanted.statuses),
                "owners": None if wanted.owners is None else list(wanted.owners),
                "at_source": list(wanted.at_source),
                "at_destination": list(wanted.at_destination),
                "paused": wanted.paused,
                "from": wanted.completed_from,
                "until": wanted.completed_until,
                "faults": wanted.least_faults,
                "local_user": wanted.local_user,
                "open": None if after is None else after.open,
                "at": None if after is None else after.at,
                "task_no": None if after is None else after.task_no,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


def key_of(task: Task) -> Key:
    """Where a task is in the list."""
    ended = task.completion_time
    return Key(ended is None, ended or task.request_time, task.task_no)


async def find(conn: Connection, ids: Collection[UUID]) -> list[Task]:
    """Tasks by their ids, whosever they are: the caller decides what may be seen of them (I7)."""
    async with conn.cursor(row_factory=class_row(Task)) as cursor:
        await cursor.execute(
            (
                select_tasks() + " WHERE t.id = ANY(%s) AND t.type <> 'PLAN' ORDER BY t.task_no"
            ).encode(),
            (list(ids),),
        )
        return await cursor.fetchall()


Side = Literal["SOURCE", "DESTINATION", "BOTH"]


async def request_cancel(conn: Connection, task_no: int, side: Side, message: str) -> bool:
    """Ask for a task's end in the name of an endpoint; False if it has ended already.

    Who asked first stays who asked. As of an owner (`tasks.request_cancel`), the engine ends it.
    """
    row = await fetch_one(
        conn,
        """
        UPDATE task SET canceled_by = CASE WHEN cancel_requested THEN canceled_by
                                           ELSE %(side)s END,
                        canceled_message = CASE WHEN cancel_requested THEN canceled_message
                                                ELSE %(message)s END,
                        cancel_requested = true, status = 'ACTIVE',
                        not_before = least(not_before, now())
         WHERE task_no = %(task_no)s AND status IN ('ACTIVE', 'INACTIVE')
        RETURNING task_no
        """,
        {"side": side, "message": message, "task_no": task_no},
    )
    if row is not None:
        await conn.execute("SELECT pg_notify(%s, %s)", (TASK_CHANNEL, str(task_no)))
    return row is not None


async def keep_cancel(
    conn: Connection, cancel_id: UUID, created_by: UUID, tasks: Collection[int]
) -> None:
    """Remember tasks whose end was asked for together, and forget old ones."""
    await conn.execute(
        "DELETE FROM admin_cancel WHERE created_at < now() - make_interval(days => %s)",
        (CANCELS_KEPT_DAYS,),
    )
    await conn.execute(
        "INSERT INTO admin_cancel (id, created_by, tasks) VALUES (%s, %s, %s)",
        (cancel_id, created_by, list(tasks)),
    )


async def cancel_done(conn: Connection, cancel_id: UUID, created_by: UUID) -> bool | None:
    """Whether all of them have ended; None: this person has asked for no such thing."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            SELECT NOT EXISTS (SELECT FROM task t WHERE t.task_no = ANY(c.tasks)
                                AND t.status IN ('ACTIVE', 'INACTIVE')) AS done
              FROM admin_cancel c WHERE c.id = %s AND c.created_by = %s
            """,
            (cancel_id, created_by),
        )
        row = await cursor.fetchone()
    return None if row is None else bool(row["done"])
