"""The outbox: what people are told, by mail and through their webhooks (ADR 0024).

It is written in the transaction of the change that it tells, so that each change is told once
whatever crashes; who delivers it (`towpath.transfer.store.deliveries`) comes afterwards, and may
try more than once.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from towpath.transfer import times
from towpath.transfer.store.rows import fetch_one

MOST_WAITING: Final = 1000
"""Deliveries that wait for one webhook, or one person's mail. What comes then is only counted: who
is told so much reads nothing of it, and a receiver that is away must not grow the database."""


class Topic(StrEnum):
    """What may be told. Webhooks choose among all but the last two."""

    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"  # canceled and expired ones, too
    TASK_INACTIVE = "task.inactive"
    CREDENTIAL_EXPIRING = "credential.expiring"
    ACCESS_GRANTED = "access.granted"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"


_TELL = """
WITH target AS MATERIALIZED (
    SELECT %(recipient)s::uuid AS id, NULL::uuid AS webhook_id
     WHERE %(mail)s::boolean
       AND NOT EXISTS (SELECT FROM mail_off WHERE identity_id = %(recipient)s)
    UNION ALL
    SELECT id, id FROM webhook
     WHERE owner_id = %(recipient)s AND enabled AND %(topic)s::text = ANY(topics)
), asked AS MATERIALIZED (
    SELECT t.*, EXISTS (
               SELECT FROM outbox o WHERE o.target_id = t.id AND o.state = 'waiting'
                ORDER BY o.id DESC OFFSET %(most)s::integer - 1) AS is_full
      FROM target t
), newest AS (
    SELECT one.id FROM asked a CROSS JOIN LATERAL (
        SELECT o.id FROM outbox o WHERE o.target_id = a.id AND o.state = 'waiting'
         ORDER BY o.id DESC LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) one
     WHERE a.is_full
), counted AS (
    UPDATE outbox o SET more = o.more + 1 FROM newest n WHERE o.id = n.id
)
INSERT INTO outbox (message_id, topic, recipient_id, webhook_id, target_id, document)
SELECT %(message)s::uuid, %(topic)s, %(recipient)s, a.webhook_id, a.id, %(document)s::json
  FROM asked a WHERE NOT a.is_full
"""


async def tell(
    conn: AsyncConnection[Any],
    topic: Topic | str,
    recipient_id: UUID,
    document: Mapping[str, Any],
    *,
    mail: bool = True,
) -> None:
    """Tell a person: by mail, and through those of his webhooks that have the topic.

    Call it in the transaction of the change: what is rolled back is not told. `document` is JSON:
    what webhooks receive as `data`, and what the mail is written from
    (`towpath.notify.texts`). A topic that is unknown there is mailed as its `subject` and
    `text`. Nothing is sent from here.
    """
    await conn.execute(
        _TELL,
        {
            "topic": str(topic),
            "recipient": recipient_id,
            "mail": mail,
            "most": MOST_WAITING,
            "message": uuid4(),
            "document": json.dumps(document),
        },
    )


async def tell_webhook(
    conn: AsyncConnection[Any],
    topic: Topic,
    recipient_id: UUID,
    webhook_id: UUID,
    document: Mapping[str, Any],
) -> int:
    """Tell through one webhook, whatever its topics; the delivery's number."""
    row = await fetch_one(
        conn,
        "INSERT INTO outbox (message_id, topic, recipient_id, webhook_id, target_id, document)"
        " VALUES (%s, %s, %s, %s, %s, %s::json) RETURNING id",
        (uuid4(), str(topic), recipient_id, webhook_id, webhook_id, json.dumps(document)),
    )
    assert row is not None
    return int(row[0])


_TASK = """
SELECT t.id, t.owner_id, t.type, t.status, t.label, t.username, t.options, t.request_time,
       t.completion_time, t.deadline, t.source_endpoint_id, t.destination_endpoint_id,
       s.display_name AS source_name, d.display_name AS destination_name, t.files, t.directories,
       t.files_skipped, t.files_transferred, t.bytes_transferred, t.skipped_errors, t.faults,
       t.fatal_error, t.nice_status, t.nice_status_details, e.details AS fatal_details
  FROM task t
  JOIN endpoint s ON s.id = t.source_endpoint_id
  LEFT JOIN endpoint d ON d.id = t.destination_endpoint_id
  LEFT JOIN LATERAL (
      SELECT details FROM event
       WHERE event.task_no = t.task_no AND code = t.fatal_error ->> 'code'
       ORDER BY seq DESC LIMIT 1) e ON true
 WHERE t.task_no = %s
"""
_TOPICS: Final = {
    "SUCCEEDED": (Topic.TASK_SUCCEEDED, "notify_on_succeeded"),
    "FAILED": (Topic.TASK_FAILED, "notify_on_failed"),
    "INACTIVE": (Topic.TASK_INACTIVE, "notify_on_inactive"),
}
"""By status: the topic, and the option of a task that says whether its owner wants mail."""


async def tell_task(conn: AsyncConnection[Any], task_no: int) -> None:
    """Tell a task's owner of the status that it has now; in the transaction that gave it."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_TASK, (task_no,))
        row = await cursor.fetchone()
    assert row is not None, "the row is locked by us"
    if row["type"] == "PLAN":
        return  # nobody knows its walk as a task
    topic, option = _TOPICS[row["status"]]
    wanted = row["options"].get(option, True) is True
    await tell(conn, topic, row["owner_id"], _task_document(row), mail=wanted)


def _task_document(row: Mapping[str, Any]) -> dict[str, Any]:
    """As the API's task document has it, as far as it is of interest to who is told."""
    fatal_error = row["fatal_error"]
    details = row["nice_status_details"] if fatal_error is None else row["fatal_details"]
    destination_id = row["destination_endpoint_id"]
    return {
        "task_id": str(row["id"]),
        "type": row["type"],
        "status": row["status"],
        "label": row["label"],
        "username": row["username"],
        "request_time": times.show(row["request_time"]),
        "completion_time": times.show(row["completion_time"]),
        "deadline": times.show(row["deadline"]),
        "source_endpoint_id": str(row["source_endpoint_id"]),
        "source_endpoint_display_name": row["source_name"],
        "destination_endpoint_id": None if destination_id is None else str(destination_id),
        "destination_endpoint_display_name": row["destination_name"],
        "files": row["files"],
        "directories": row["directories"],
        "files_skipped": row["files_skipped"],
        "files_transferred": row["files_transferred"],
        "bytes_transferred": row["bytes_transferred"],
        "skipped_errors": row["skipped_errors"],
        "faults": row["faults"],
        "fatal_error": fatal_error,
        "nice_status": row["nice_status"],
        "details": _details(details),
    }


def _details(text: str | None) -> dict[str, Any] | None:
    """Of the event that says why: its object, or its words."""
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    return found if isinstance(found, dict) else {"error": text}
