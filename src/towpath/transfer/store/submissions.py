"""Submissions: what they are held against, and the tasks that they become."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncCopy
from psycopg.rows import dict_row, tuple_row

from towpath.platform.database import Connection
from towpath.transfer.rights import Standing, Who
from towpath.transfer.store import endpoints, rights
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.rows import TASK_CHANNEL
from towpath.transfer.store.tasks import Created, NewItem, NewTask, TaskKey

ROWS_AT_ONCE = 1000
"""Items that are stored before others get their turn: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Somebody who submits, under which ids, and the endpoints that it is about."""

    who: Who
    submissions: Collection[UUID]
    endpoints: Collection[UUID]


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint, deleted or not, as it is for somebody."""

    endpoint: Endpoint
    standing: Standing
    has_credential: bool
    """A credential of his, that may have expired."""


@dataclass(slots=True)
class Known:
    """What is known of somebody who submits."""

    earlier: Mapping[UUID, UUID]
    """The tasks that earlier submissions of these ids made."""
    active: int
    """Tasks that are not finished."""
    places: Mapping[UUID, Place]
    """By endpoint."""
    pause_rules: bool
    """Whether there are any at all, of whichever endpoint."""


# All in one query: a round trip for each of them costs more than what is asked. OFFSET 0: what is
# the same for all endpoints of one who asks is looked up once.
_KNOWN = f"""
SELECT c.id AS caller_id, c.active, c.earlier, c.pause_rules, {endpoints.COLUMNS},
       {rights.standing_columns("c.identities", "c.groups")},
       EXISTS (SELECT FROM credential k WHERE k.endpoint_id = e.id AND k.owner_id = c.id)
           AS has_credential
  FROM (
    SELECT asked.id, asked.identities, asked.groups, asked.endpoints,
           (SELECT count(*) FROM task t WHERE t.owner_id = asked.id AND t.type <> 'PLAN'
               AND t.status IN ('ACTIVE', 'INACTIVE')) AS active,
           (SELECT json_object_agg(t.submission_id, t.id) FROM task t
             WHERE t.owner_id = asked.id AND t.submission_id = ANY(asked.submissions)) AS earlier,
           EXISTS (SELECT FROM pause_rule) AS pause_rules
      FROM json_to_recordset(%s::json) AS asked (
        id uuid, identities uuid[], groups uuid[], submissions uuid[], endpoints uuid[])
    OFFSET 0
  ) c LEFT JOIN ({rights.WITH_HOST}) ON e.id = ANY(c.endpoints)
""".encode()  # noqa: S608 - constants


async def known(conn: Connection, asked: Sequence[Asking], now: datetime) -> dict[UUID, Known]:
    """By who asks; each of them once."""
    rows = [
        {
            "id": one.who.id,
            "identities": list(one.who.identities),
            "groups": list(one.who.groups),
            "submissions": list(one.submissions),
            "endpoints": list(one.endpoints),
        }
        for one in asked
    ]
    found: dict[UUID, Known] = {}
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_KNOWN, (_json(rows),))
        facts: dict[UUID, list[dict[str, Any]]] = {}
        for row in await cursor.fetchall():
            facts.setdefault(row["caller_id"], []).append(row)
    for one in asked:
        theirs = facts[one.who.id]
        here = [row for row in theirs if row["id"] is not None]
        there = [endpoints.from_row(row) for row in here]
        of_each = {row["id"]: row for row in here}
        standings = await rights.standings_by(conn, of_each, there, one.who, now)
        places = {
            end.id: Place(end, standings[end.id], of_each[end.id]["has_credential"])
            for end in there
        }
        earlier = theirs[0]["earlier"] or {}
        found[one.who.id] = Known(
            {UUID(submission): UUID(task) for submission, task in earlier.items()},
            theirs[0]["active"],
            places,
            theirs[0]["pause_rules"],
        )
    return found


async def find(conn: Connection, asked: Sequence[TaskKey]) -> dict[TaskKey, UUID]:
    """The tasks that earlier submissions made."""
    async with conn.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            "SELECT owner_id, submission_id, id FROM task WHERE (owner_id, submission_id) IN"
            " (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))",
            ([owner for owner, _ in asked], [submission for _, submission in asked]),
        )
        return {(owner, submission): id_ for owner, submission, id_ in await cursor.fetchall()}


# One statement, and so one transaction unless there is one already.
_CREATE = """
WITH made AS (
    INSERT INTO task (id, owner_id, username, submission_id, type, label, options,
                      source_endpoint_id, destination_endpoint_id, deadline, client_id,
                      root_client_id)
    SELECT * FROM json_to_recordset(%s::json) AS asked (
        id uuid, owner_id uuid, username text, submission_id uuid, type text, label text,
        options jsonb, source_endpoint_id uuid, destination_endpoint_id uuid,
        deadline timestamptz, client_id uuid, root_client_id uuid)
    ON CONFLICT (owner_id, submission_id) DO NOTHING
    RETURNING task_no, id
), items AS (
    INSERT INTO item (task_no, item_no, source_path, destination_path, recursive,
                      checksum_algorithm, external_checksum)
    SELECT made.task_no, item_no, source_path, destination_path, recursive, checksum_algorithm,
           external_checksum
      FROM made JOIN json_to_recordset(%s::json) AS asked (
        id uuid, item_no integer, source_path text, destination_path text, recursive boolean,
        checksum_algorithm text, external_checksum text) USING (id)
)
SELECT task_no, id, pg_notify(%s, task_no::text) FROM made
"""

_COPY = """
COPY item (task_no, item_no, source_path, destination_path, recursive, checksum_algorithm,
           external_checksum) FROM STDIN
"""


async def create(conn: Connection, new: Sequence[NewTask]) -> list[Created]:
    """Store tasks with their items, all or none, and wake the workers when that is committed.

    The unique key (owner, submission id) decides between submissions that arrive together: a
    later one waits for the first to commit and then finds it (invariant I1).
    """
    if sum(len(task.items) for task in new) <= ROWS_AT_ONCE:
        numbers = await _insert(conn, new, [row for task in new for row in _item_rows(task)])
    else:
        async with conn.transaction():
            numbers = await _insert(conn, new, [])
            async with conn.cursor() as cursor, cursor.copy(_COPY) as copy:
                for task in new:
                    if task.id in numbers:
                        await _copy_items(copy, numbers[task.id], task.items)
    known = [task.key for task in new if task.id not in numbers]
    earlier = await find(conn, known) if known else {}
    return [
        Created(task.id, duplicate=False)
        if task.id in numbers
        else Created(earlier[task.key], duplicate=True)
        for task in new
    ]


async def _insert(
    conn: Connection, new: Sequence[NewTask], item_rows: Sequence[dict[str, Any]]
) -> dict[UUID, int]:
    """The numbers of those that were not there already. In one order, whoever stores several: two
    that have the same ones would wait for each other."""
    rows = [_task_row(task) for task in sorted(new, key=attrgetter("key"))]
    async with conn.cursor(row_factory=tuple_row) as cursor:
        # as JSON: a small part of what arrays of each column take psycopg
        await cursor.execute(_CREATE, (_json(rows), _json(item_rows), TASK_CHANNEL))
        return {id_: task_no for task_no, id_, _ in await cursor.fetchall()}


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _task_row(task: NewTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "owner_id": task.owner_id,
        "username": task.username,
        "submission_id": task.submission_id,
        "type": task.type,
        "label": task.label,
        "options": task.options,
        "source_endpoint_id": task.source_endpoint_id,
        "destination_endpoint_id": task.destination_endpoint_id,
        "deadline": task.deadline,
        "client_id": task.client_id,
        "root_client_id": task.root_client_id,
    }


def _item_rows(task: NewTask) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(task.items):
        yield {
            "id": task.id,
            "item_no": number,
            "source_path": item.source_path,
            "destination_path": item.destination_path,
            "recursive": item.recursive,
            "checksum_algorithm": item.checksum_algorithm,
            "external_checksum": item.external_checksum,
        }


async def _copy_items(copy: AsyncCopy, task_no: int, items: Sequence[NewItem]) -> None:
    for first in range(0, len(items), ROWS_AT_ONCE):
        rows = enumerate(items[first : first + ROWS_AT_ONCE], first)
        await copy.write(
            "".join([f"{task_no}\t{number}\t{_copied(item)}\n" for number, item in rows])
        )
        await asyncio.sleep(0)


def _copied(item: NewItem) -> str:
    """The columns of an item, as COPY reads them (PostgreSQL manual, COPY, "Text Format"). Four
    times as fast as giving it one by one to psycopg.
    """
    recursive = "\\N" if item.recursive is None else "t" if item.recursive else "f"
    return (
        f"{_text(item.source_path)}\t{_text(item.destination_path)}\t{recursive}"
        f"\t{_text(item.checksum_algorithm)}\t{_text(item.external_checksum)}"
    )


def _text(value: str | None) -> str:
    if value is None:
        return "\\N"
    return value.translate(_ESCAPES) if "\\" in value or not value.isprintable() else value


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
