"""Consents that unfinished tasks stand on, as nexus was asked last, and what becomes of those."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import dict_row

from towpath.platform.database import Connection
from towpath.transfer import times
from towpath.transfer.consents import DataAccess
from towpath.transfer.store import events, outbox
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import TASK_CHANNEL
from towpath.transfer.store.tasks import Terms

_OF_TASKS = """
SELECT DISTINCT t.client_id, t.root_client_id, t.owner_id AS identity_id, e.id AS collection_id
  FROM task t JOIN endpoint e ON e.id IN (t.source_endpoint_id, t.destination_endpoint_id)
 WHERE t.status IN ('ACTIVE', 'INACTIVE') AND t.client_id IS NOT NULL
   AND e.entity_type = 'GCSv5_mapped_collection'
"""


def _is(one: str, other: str) -> str:
    """Whether two rows are about one consent."""
    same = " AND ".join(
        f"{one}.{name} = {other}.{name}" for name in ("client_id", "identity_id", "collection_id")
    )
    return f"{same} AND {one}.root_client_id IS NOT DISTINCT FROM {other}.root_client_id"


async def to_ask(conn: Connection, *, older_s: float, limit: int) -> list[DataAccess]:
    """What unfinished tasks stand on and was not asked about for so long, the longest first."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"""
            WITH of_tasks AS ({_OF_TASKS})
            SELECT o.client_id, o.root_client_id, o.identity_id, o.collection_id
              FROM of_tasks o LEFT JOIN data_access d ON {_is("d", "o")}
             WHERE d.asked_at IS NULL OR d.asked_at < now() - make_interval(secs => %s)
             ORDER BY d.asked_at NULLS FIRST LIMIT %s
            """,  # noqa: S608 - constants
            (older_s, limit),
        )
        return [DataAccess(**row) for row in await cursor.fetchall()]


async def heard(conn: Connection, asked: Sequence[DataAccess], held: Sequence[bool]) -> None:
    """What nexus has said."""
    await conn.execute(
        "INSERT INTO data_access"
        " (client_id, root_client_id, identity_id, collection_id, held, asked_at)"
        " SELECT *, now()"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::boolean[])"
        " ON CONFLICT (client_id, identity_id, collection_id, root_client_id)"
        " DO UPDATE SET held = excluded.held, asked_at = excluded.asked_at",
        (
            [one.client_id for one in asked],
            [one.root_client_id for one in asked],
            [one.identity_id for one in asked],
            [one.collection_id for one in asked],
            list(held),
        ),
    )


async def forget(conn: Connection) -> None:
    """What no unfinished task stands on any more."""
    await conn.execute(
        f"DELETE FROM data_access d WHERE NOT EXISTS"  # noqa: S608 - constants
        f" (SELECT FROM ({_OF_TASKS}) o WHERE {_is('d', 'o')})"
    )


_LACKING = """
SELECT d.collection_id FROM data_access d
 WHERE d.client_id = t.client_id AND d.root_client_id IS NOT DISTINCT FROM t.root_client_id
   AND d.identity_id = t.owner_id AND NOT d.held
   AND d.collection_id IN (t.source_endpoint_id, t.destination_endpoint_id)
 LIMIT 1
"""
# A task that runs goes on: it began with the consent. Who is about to begin it waits for the row.
_HOLD = f"""
WITH theirs AS (
    SELECT t.task_no, ({_LACKING}) AS lacking FROM task t
     WHERE t.status = 'ACTIVE' AND t.client_id IS NOT NULL AND NOT t.cancel_requested
       AND t.fatal_error IS NULL AND (t.lease_until IS NULL OR t.lease_until <= now())
       AND EXISTS ({_LACKING})
     ORDER BY t.task_no FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE task t SET status = 'INACTIVE', consent_wait = theirs.lacking,
       nice_status = %(code)s,
       deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false)
                       THEN deadline ELSE now() + %(deadline)s END
  FROM theirs JOIN endpoint e ON e.id = theirs.lacking WHERE t.task_no = theirs.task_no
RETURNING t.task_no, t.deadline, t.client_id, t.root_client_id, t.owner_id, e.id AS collection_id,
          e.display_name, e.id = t.source_endpoint_id AS at_source
"""  # noqa: S608 - constants
_FREE = f"""
WITH theirs AS (
    SELECT t.task_no, t.consent_wait FROM task t
     WHERE t.status = 'INACTIVE' AND t.consent_wait IS NOT NULL AND NOT EXISTS ({_LACKING})
     ORDER BY t.task_no FOR NO KEY UPDATE OF t
)
UPDATE task t SET consent_wait = NULL,
       status = CASE WHEN suspended_from IS NULL THEN 'ACTIVE' ELSE 'INACTIVE' END,
       suspended_from = CASE WHEN suspended_from IS NOT NULL THEN 'ACTIVE' END,
       not_before = now(), failures_in_a_row = 0, nice_status = NULL, nice_status_details = NULL,
       deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false)
                       OR paused_at IS NOT NULL THEN deadline ELSE now() + %(deadline)s END
  FROM theirs JOIN endpoint e ON e.id = theirs.consent_wait WHERE t.task_no = theirs.task_no
RETURNING t.task_no, t.deadline, t.client_id, t.root_client_id, t.owner_id, e.id AS collection_id,
          e.display_name, e.id = t.source_endpoint_id AS at_source
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Fitted:
    """How many tasks were made to wait for a consent, and how many go on with one."""

    held: int
    freed: int


async def fit_tasks(conn: Connection, *, waiting: Terms, going_on: Terms) -> Fitted:
    """Make tasks that lack a consent INACTIVE before they begin, which their owners are told, and
    let those go on that have it again. In a transaction."""
    held = await _changed(conn, _HOLD, waiting, EventCode.CONSENT_REQUIRED)
    freed = await _changed(conn, _FREE, going_on, EventCode.CONSENT_GIVEN)
    return Fitted(held, freed)


async def _changed(conn: Connection, statement: str, terms: Terms, code: EventCode) -> int:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement.encode(), {"deadline": terms.deadline, "code": code})
        rows = await cursor.fetchall()
    for row in rows:
        access = DataAccess(
            row["client_id"],
            row["owner_id"],
            row["collection_id"],
            root_client_id=row["root_client_id"],
        )
        details = _details(code, access, row["display_name"])
        # who looks after the other end only is told of no collection by it
        details["role"] = "source" if row["at_source"] else "destination"
        details["deadline"] = times.show(row["deadline"])
        if code is EventCode.CONSENT_REQUIRED:
            await conn.execute(
                "UPDATE task SET nice_status_details = %s WHERE task_no = %s",
                (json.dumps(details), row["task_no"]),
            )
        event = events.Event(
            code,
            code.replace("_", " ").lower(),
            details,
            is_error=code is EventCode.CONSENT_REQUIRED,
        )
        await events.append(conn, row["task_no"], [event], most=terms.events_most)
        if code is EventCode.CONSENT_REQUIRED:
            await outbox.tell_task(conn, row["task_no"])
    if rows:
        # empty: whoever hears it looks at all that it has
        await conn.execute("SELECT pg_notify(%s, '')", (TASK_CHANNEL,))
    return len(rows)


def _details(code: EventCode, access: DataAccess, name: str) -> dict[str, str | None]:
    if code is EventCode.CONSENT_GIVEN:
        return {
            "reason": f"The application may use your data in “{name}” again.",
            "next": "It goes on when its turn comes.",
        }
    return {
        "error": f"The application that submitted this may not use your data in “{name}” any more.",
        "collection": str(access.collection_id),
        "advice": access.advice,
        "who_can_fix": "you",
        "next": "It waits, and goes on when that is allowed again.",
    }
