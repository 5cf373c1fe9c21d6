"""Tasks as their owners see them: show, list, change, cancel; and their events."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import args_row, class_row, dict_row

from towpath.platform import ids
from towpath.platform.database import Connection
from towpath.transfer import times
from towpath.transfer.circuits import Outage
from towpath.transfer.claims import Wait
from towpath.transfer.store import events
from towpath.transfer.store.circuits import OUTAGE_COLUMN, OUTAGE_JOIN
from towpath.transfer.store.claims import WAIT_COLUMNS, WAIT_JOIN
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import TASK_CHANNEL


class Status(StrEnum):
    """Of a task. Each comment says who moves it on."""

    ACTIVE = "ACTIVE"  # a worker that has its lease, now or when its turn comes
    INACTIVE = "INACTIVE"  # its owner, with a renewed credential; who restores its owner's account;
    # or its deadline
    SUCCEEDED = "SUCCEEDED"  # nobody
    FAILED = "FAILED"  # nobody; canceled and expired tasks too


FINAL_STATUSES = (Status.SUCCEEDED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class NewItem:
    """One thing a user asked for; paths in the API's spelling (`towpath.transfer.names`)."""

    source_path: str
    destination_path: str | None
    recursive: bool | None
    checksum_algorithm: str | None = None
    """None: the servers' fastest."""
    external_checksum: str | None = None
    """The digest that the file must have, lower case."""


TaskKey = tuple[UUID, UUID]
"""Owner and submission id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task to store; `options` as accepted, without items."""

    id: UUID
    owner_id: UUID
    username: str
    submission_id: UUID
    type: str
    label: str | None
    options: dict[str, Any]
    source_endpoint_id: UUID
    destination_endpoint_id: UUID | None
    deadline: datetime
    items: Sequence[NewItem]
    client_id: UUID | None = None
    """The application whose token it came with."""
    root_client_id: UUID | None = None
    """The application with which its owner has logged in: another one, if the token was that of a
    service, which acts for it."""

    @property
    def key(self) -> TaskKey:
        """What a repetition has, too."""
        return self.owner_id, self.submission_id


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` stored, or found: `duplicate` means that nothing new was stored."""

    id: UUID
    duplicate: bool


@dataclass(slots=True)
class Task:
    """A stored task with its counters and the names of its endpoints.

    Its fields are in the order of `select_tasks`. Nobody changes one; it is not frozen because one
    that is takes twenty times as long to make.
    """

    task_no: int
    id: UUID
    owner_id: UUID
    username: str
    submission_id: UUID
    type: str
    status: str
    label: str | None
    options: dict[str, Any]
    source_endpoint_id: UUID
    destination_endpoint_id: UUID | None
    request_time: datetime
    completion_time: datetime | None
    deadline: datetime
    cancel_requested: bool
    fatal_error: dict[str, Any] | None
    nice_status: str | None
    nice_status_details: str | None
    started_at: datetime | None
    files: int
    directories: int
    symlinks: int
    files_skipped: int
    files_transferred: int
    bytes_transferred: int
    bytes_checksummed: int
    bytes_resent: int
    faults: int
    subtasks_failed: int
    skipped_errors: int
    bytes_found: int | None
    """Of the files that a transfer has found and means to copy; None: they were not counted."""
    source_display_name: str
    source_owner_string: str
    destination_display_name: str | None
    destination_owner_string: str | None
    paused_at: datetime | None
    held_at: datetime | None
    """Since when somebody else than its owner holds it."""
    held_by_row: dict[str, str] | None
    held_messages: list[str]
    """Those of the pause rules that hold it."""
    canceled_by: str | None
    """For which side (`SOURCE`, `DESTINATION`, `BOTH`) a manager has asked for its end."""
    canceled_message: str | None
    suspended_from: str | None
    """The status that it had when its owner was suspended; None: its owner is not."""
    waits: bool
    waits_at: str | None
    holder_id: UUID | None
    holder_label: str | None
    holder_state: str | None
    outage_row: dict[str, Any] | None
    first_item_row: dict[str, Any] | None

    @property
    def held_by(self) -> dict[str, str]:
        """Messages of activity managers who hold it: `source`, `destination`; `source_share`,
        `destination_share`: those of a guest collection there."""
        return self.held_by_row or {}

    @property
    def first_item(self) -> NewItem | None:
        """What its owner named first."""
        return None if self.first_item_row is None else NewItem(**self.first_item_row)

    @property
    def outage(self) -> Outage | None:
        """The server that it waits for because it does not answer."""
        return None if self.outage_row is None else Outage.from_row(self.outage_row)

    @property
    def wait(self) -> Wait | None:
        """Whom it waits for, and where."""
        if not self.waits or self.waits_at is None:
            return None
        return Wait(self.waits_at, self.holder_id, self.holder_label, self.holder_state)

    @property
    def is_paused(self) -> bool:
        """By its owner, or by somebody else."""
        return self.paused_at is not None or self.held_at is not None

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling about a task."""

    seq: int
    """Later ones of a task have higher numbers."""
    at: datetime
    code: str
    is_error: bool
    description: str
    details: str


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a task list: a column from `FILTER_COLUMNS`, an operator, its value.

    The column ENDPOINTS, of both ends, has the one operator `&&`, with a list of ids.
    """

    column: str
    operator: str
    value: object


ENDPOINTS = "endpoints"
FILTER_COLUMNS = frozenset({"id", "type", "status", "label", "request_time", "completion_time"})
ORDER_COLUMNS = FILTER_COLUMNS | {
    "deadline",
    "faults",
    "files",
    "directories",
    "files_transferred",
    "files_skipped",
    "bytes_transferred",
}
_ENDS = sql.SQL("ARRAY[t.source_endpoint_id, t.destination_endpoint_id]")
_OPERATORS = frozenset({"&&", "= ANY", "<> ALL", "ILIKE ANY", "NOT ILIKE", ">=", "<="})


def select_tasks(more: str = "") -> str:
    """Tasks `t` as `Task` has them, without those that are the walks of plans; `more`: further
    columns, each with a comma before it."""
    return f"""
    SELECT t.task_no, t.id, t.owner_id, t.username, t.submission_id, t.type, t.status, t.label,
           t.options, t.source_endpoint_id, t.destination_endpoint_id, t.request_time,
           t.completion_time, t.deadline, t.cancel_requested, t.fatal_error, t.nice_status,
           t.nice_status_details, t.started_at, t.files, t.directories, t.symlinks,
           t.files_skipped, t.files_transferred, t.bytes_transferred, t.bytes_checksummed,
           t.bytes_resent, t.faults, t.subtasks_failed, t.skipped_errors, t.bytes_found,
           s.display_name AS source_display_name, s.owner_string AS source_owner_string,
           d.display_name AS destination_display_name, d.owner_string AS destination_owner_string,
           t.paused_at, t.held_at, nullif(t.held_by, '{{}}') AS held_by_row,
           ARRAY(SELECT r.message FROM pause_rule r WHERE r.id = ANY(t.held_rules)
                  ORDER BY r.modified_at, r.id) AS held_messages,
           t.canceled_by, t.canceled_message, t.suspended_from, {WAIT_COLUMNS}, {OUTAGE_COLUMN},
           (SELECT to_jsonb(i) - '{{task_no,item_no}}'::text[] FROM item i
             WHERE i.task_no = t.task_no AND i.item_no = 0) AS first_item_row{more}
      FROM task t
      JOIN endpoint s ON s.id = t.source_endpoint_id AND t.type <> 'PLAN'
      LEFT JOIN endpoint d ON d.id = t.destination_endpoint_id
      {WAIT_JOIN}
      {OUTAGE_JOIN}
"""  # noqa: S608 - constants


_TASK = select_tasks()
EVENT_COLUMNS = "seq, at, code, is_error, description, details"


async def _wake(conn: Connection, task_no: int) -> None:
    await conn.execute("SELECT pg_notify(%s, %s)", (TASK_CHANNEL, str(task_no)))


async def show(conn: Connection, owner_id: UUID, task_id: UUID) -> Task | None:
    """A task of this owner, or None: others' tasks do not exist for him (I7)."""
    async with conn.cursor(row_factory=class_row(Task)) as cursor:
        await cursor.execute(_TASK + "WHERE t.id = %s AND t.owner_id = %s", (task_id, owner_id))
        return await cursor.fetchone()


async def show_many(conn: Connection, asked: Sequence[tuple[UUID, UUID]]) -> list[Task | None]:
    """The same of several (owner, task), in their order."""
    async with conn.cursor(row_factory=args_row(Task)) as cursor:
        # Not by owner, too: of one who has submitted thousands just now the statistics know few
        # tasks, and all of them would be looked through.
        await cursor.execute(_SHOW_MANY, (_array({task for _, task in asked}),))
        found = {task.id: task for task in await cursor.fetchall()}
    return [
        task if (task := found.get(task_id)) is not None and task.owner_id == owner_id else None
        for owner_id, task_id in asked
    ]


_SHOW_MANY = _TASK + "WHERE t.id = ANY(%s)"


def _array(wanted: Collection[UUID]) -> str:
    """As PostgreSQL writes one. A list would take psycopg twice as long."""
    return "{" + ",".join(map(ids.show, wanted)) + "}"


async def list_page(
    conn: Connection,
    owner_id: UUID,
    *,
    clauses: Sequence[Clause],
    order: Sequence[tuple[str, bool]],
    limit: int,
    offset: int,
) -> tuple[list[Task], int]:
    """One page of an owner's tasks and the number of all that match.

    `order` is pairs of a column of ORDER_COLUMNS and whether it descends.
    """
    conditions: list[sql.Composable] = [sql.SQL("t.owner_id = %s AND t.type <> 'PLAN'")]
    values: list[object] = [owner_id]
    for clause in clauses:
        assert clause.column in FILTER_COLUMNS or clause.column == ENDPOINTS
        assert clause.operator in _OPERATORS
        value = sql.SQL("(%s)") if clause.operator.endswith(("ANY", "ALL")) else sql.SQL("%s")
        column = _ENDS if clause.column == ENDPOINTS else sql.Identifier("t", clause.column)
        if clause.column == "label" and clause.operator in ("<> ALL", "NOT ILIKE"):
            # a task without a label is not called what the filter excludes
            condition = sql.SQL("coalesce({}, '') {} {}")
        else:
            condition = sql.SQL("{} {} {}")
        conditions.append(condition.format(column, sql.SQL(clause.operator), value))
        values.append(clause.value)
    where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions)
    ordering: list[sql.Composable] = []
    for column_name, descending in order:
        assert column_name in ORDER_COLUMNS
        direction = sql.SQL("DESC NULLS LAST" if descending else "ASC NULLS LAST")
        ordering.append(sql.SQL("{} {}").format(sql.Identifier("t", column_name), direction))
    ordering.append(sql.SQL("t.task_no DESC"))  # pages never overlap
    page = sql.SQL(_TASK) + where + sql.SQL(" ORDER BY ") + sql.SQL(", ").join(ordering)
    async with conn.cursor(row_factory=class_row(Task)) as cursor:
        await cursor.execute(page + sql.SQL(" LIMIT %s OFFSET %s"), [*values, limit, offset])
        tasks = await cursor.fetchall()
    async with conn.cursor(row_factory=dict_row) as counter:
        await counter.execute(sql.SQL("SELECT count(*) AS total FROM task t") + where, values)
        row = await counter.fetchone()
    assert row is not None
    return tasks, row["total"]


async def update(
    conn: Connection,
    owner_id: UUID,
    task_id: UUID,
    *,
    label: str | None,
    deadline: datetime,
    deadline_given: bool,
) -> bool:
    """Set label and deadline of a task that still runs; False if it does not.

    A deadline that was given stays; others the engine moves on (`deadline_given` in the options).
    """
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            UPDATE task SET label = %s, deadline = %s,
                            options = CASE WHEN %s THEN options || '{"deadline_given": true}'
                                           ELSE options END
             WHERE id = %s AND owner_id = %s AND status IN ('ACTIVE', 'INACTIVE')
            RETURNING task_no
            """,
            (label, deadline, deadline_given, task_id, owner_id),
        )
        row = await cursor.fetchone()
    if row is None:
        return False
    await _wake(conn, row["task_no"])
    return True


async def request_cancel(conn: Connection, owner_id: UUID, task_id: UUID) -> bool:
    """Ask for a task's end; False if it has ended already.

    The engine ends it, when what is in flight is known to be still. An INACTIVE task is made
    ACTIVE again, and back-off is cut short, so that a worker takes it up.
    """
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            UPDATE task SET cancel_requested = true, status = 'ACTIVE',
                            not_before = least(not_before, now())
             WHERE id = %s AND owner_id = %s AND status IN ('ACTIVE', 'INACTIVE')
            RETURNING task_no
            """,
            (task_id, owner_id),
        )
        row = await cursor.fetchone()
    if row is None:
        return False
    await _wake(conn, row["task_no"])
    return True


@dataclass(frozen=True, slots=True)
class Terms:
    """Of a pause or its end: the deadline that follows if the task's owner gave none."""

    deadline: timedelta
    events_most: int


@dataclass(frozen=True, slots=True)
class Change(Terms):
    """A pause or its end, and who wants it."""

    by: str


async def pause(conn: Connection, owner_id: UUID, task_id: UUID, change: Change) -> bool:
    """Pause a task until `resume`; False if it has ended. Once paused, it stays as it is.

    Whoever runs it gives its lease back; it keeps its claims (I9).
    """
    told = "What is under way is stopped. It goes on when it is resumed."
    event = events.Event(EventCode.PAUSED, "paused", {"by": change.by, "next": told})
    return await _pause_or_resume(conn, owner_id, task_id, change, event, pause=True)


async def resume(conn: Connection, owner_id: UUID, task_id: UUID, change: Change) -> bool:
    """End a pause: the task may be granted at once. False if it has ended."""
    told = "It goes on when its turn comes."
    event = events.Event(EventCode.UNPAUSED, "unpaused", {"by": change.by, "next": told})
    return await _pause_or_resume(conn, owner_id, task_id, change, event, pause=False)


async def _pause_or_resume(
    conn: Connection,
    owner_id: UUID,
    task_id: UUID,
    change: Change,
    event: events.Event,
    *,
    pause: bool,
) -> bool:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            UPDATE task
               SET paused_at = CASE WHEN %(pause)s THEN now() END,
                   not_before = least(not_before, now()),
                   deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false)
                                     OR held_at IS NOT NULL
                                   THEN deadline ELSE now() + %(deadline)s END
             WHERE id = %(id)s AND owner_id = %(owner)s AND status IN ('ACTIVE', 'INACTIVE')
               AND (paused_at IS NULL) = %(pause)s
            RETURNING task_no, deadline
            """,
            {"pause": pause, "deadline": change.deadline, "id": task_id, "owner": owner_id},
        )
        row = await cursor.fetchone()
        if row is None:
            await cursor.execute(
                "SELECT FROM task WHERE id = %s AND owner_id = %s"
                " AND status IN ('ACTIVE', 'INACTIVE')",
                (task_id, owner_id),
            )
            return cursor.rowcount > 0
    assert isinstance(event.details, dict), "made above"
    told = replace(event, details=event.details | {"deadline": times.show(row["deadline"])})
    await events.append(conn, row["task_no"], [told], most=change.events_most)
    await _wake(conn, row["task_no"])
    return True


async def credential_renewed(conn: Connection, owner_id: UUID, endpoint_id: UUID) -> int:
    """Tasks that use this credential of the owner's go on, suspended ones and those backing off:
    his own at this endpoint, and everybody's at what he shares of it.

    All that have not ended are locked first: one whose suspension is not committed yet is waited
    for, and then goes on too.
    """
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            """
            WITH shared AS MATERIALIZED (
                SELECT id FROM endpoint WHERE host_endpoint_id = %(endpoint)s
                   AND owner_id = %(owner)s AND share_path IS NOT NULL
            ), theirs AS (
                SELECT task_no, status = 'INACTIVE' OR not_before > now() AS waited FROM task
                 WHERE status IN ('ACTIVE', 'INACTIVE') AND consent_wait IS NULL
                   AND (owner_id = %(owner)s
                        AND %(endpoint)s IN (source_endpoint_id, destination_endpoint_id)
                        OR source_endpoint_id IN (SELECT id FROM shared)
                        OR destination_endpoint_id IN (SELECT id FROM shared))
                 ORDER BY task_no FOR NO KEY UPDATE
            )
            UPDATE task t SET status = CASE WHEN suspended_from IS NULL THEN 'ACTIVE'
                                            ELSE 'INACTIVE' END,
                              suspended_from = CASE WHEN suspended_from IS NOT NULL
                                               THEN 'ACTIVE' END,
                              not_before = now(), failures_in_a_row = 0,
                              nice_status = NULL, nice_status_details = NULL
              FROM theirs WHERE t.task_no = theirs.task_no AND waited
            RETURNING t.task_no
            """,
            {"owner": owner_id, "endpoint": endpoint_id},
        )
        rows = await cursor.fetchall()
    for row in rows:
        await _wake(conn, row["task_no"])
    return len(rows)


async def list_events(
    conn: Connection, task_no: int, *, is_error: bool | None, limit: int, offset: int
) -> tuple[list[Event], int]:
    """One page of a task's events, newest first, and the number of all that match."""
    condition = "WHERE task_no = %s AND (%s::boolean IS NULL OR is_error = %s::boolean)"
    values = (task_no, is_error, is_error)
    async with conn.cursor(row_factory=class_row(Event)) as cursor:
        await cursor.execute(
            f"""
            SELECT {EVENT_COLUMNS} FROM event {condition}
             ORDER BY seq DESC LIMIT %s OFFSET %s
            """,  # noqa: S608 - a constant of this function
            (*values, limit, offset),
        )
        events = await cursor.fetchall()
    async with conn.cursor(row_factory=dict_row) as counter:
        await counter.execute(
            f"SELECT count(*) AS total FROM event {condition}",  # noqa: S608 - as above
            values,
        )
        row = await counter.fetchone()
    assert row is not None
    return events, row["total"]
