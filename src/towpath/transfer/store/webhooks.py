"""Webhooks: where people want to be told, and with which secret. Secrets are sealed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.platform.database import Connection
from towpath.transfer.store import outbox
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.rows import fetch_one

BOTH_SIGN_H: Final = 24.0
"""After a secret was replaced, so that receivers can be told of the new one."""

_COLUMNS = """id, owner_id, url, description, topics, authority, enabled, disabled_because,
created_at, failures_in_a_row, earlier_until"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """As it is shown: without its secrets."""

    id: UUID
    owner_id: UUID
    url: str
    description: str
    topics: Sequence[str]
    authority: str | None = None
    enabled: bool = True
    disabled_because: str | None = None
    created_at: datetime | None = None
    failures_in_a_row: int = 0
    earlier_until: datetime | None = None
    """Until when the secret before signs too."""


def seal_context(webhook_id: UUID) -> bytes:
    """What a sealed secret is bound to."""
    return b"transfer.webhook:" + webhook_id.bytes


async def list_all(conn: Connection, owner_id: UUID) -> list[Webhook]:
    """An owner's, the oldest first."""
    async with conn.cursor(row_factory=class_row(Webhook)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM webhook WHERE owner_id = %s ORDER BY created_at, id",  # noqa: S608 - a constant
            (owner_id,),
        )
        return await cursor.fetchall()


async def get(
    conn: Connection, owner_id: UUID, webhook_id: UUID, *, lock: bool = False
) -> Webhook | None:
    """One of an owner's; `lock`: held until the transaction ends."""
    async with conn.cursor(row_factory=class_row(Webhook)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM webhook WHERE id = %s AND owner_id = %s"  # noqa: S608 - a constant
            + (" FOR NO KEY UPDATE" if lock else ""),
            (webhook_id, owner_id),
        )
        return await cursor.fetchone()


async def insert(conn: Connection, made: Webhook, sealed_secret: bytes, *, most: int) -> bool:
    """Keep a new one; False if its owner has `most` already."""
    await fetch_one(
        conn,
        "SELECT pg_advisory_xact_lock(hashtext('webhook'), hashtext(%s))",
        (str(made.owner_id),),
    )
    row = await fetch_one(
        conn,
        "INSERT INTO webhook (id, owner_id, url, description, topics, authority, sealed_secret)"
        " SELECT %s, %s::uuid, %s, %s, %s, %s, %s"
        "  WHERE (SELECT count(*) FROM webhook WHERE owner_id = %s) < %s RETURNING id",
        (
            made.id,
            made.owner_id,
            made.url,
            made.description,
            list(made.topics),
            made.authority,
            sealed_secret,
            made.owner_id,
            most,
        ),
    )
    return row is not None


async def update(conn: Connection, changed: Webhook) -> None:
    """Set what its owner may change. One that is switched on again begins without failures."""
    await conn.execute(
        "UPDATE webhook SET url = %s, description = %s, topics = %s, authority = %s, enabled = %s,"
        " disabled_because = CASE WHEN %s THEN NULL ELSE disabled_because END,"
        " failures_in_a_row = CASE WHEN %s THEN 0 ELSE failures_in_a_row END,"
        " failing_since = CASE WHEN %s THEN NULL ELSE failing_since END WHERE id = %s",
        (
            changed.url,
            changed.description,
            list(changed.topics),
            changed.authority,
            *[changed.enabled] * 4,
            changed.id,
        ),
    )
    if not changed.enabled:
        await _forget_waiting(conn, changed.id, "the webhook was switched off")


async def delete(conn: Connection, owner_id: UUID, webhook_id: UUID) -> bool:
    """With all its deliveries; False if there was none."""
    cursor = await conn.execute(
        "DELETE FROM webhook WHERE id = %s AND owner_id = %s", (webhook_id, owner_id)
    )
    return cursor.rowcount > 0


async def replace_secret(conn: Connection, webhook_id: UUID, sealed_secret: bytes) -> None:
    """The one before signs too, for BOTH_SIGN_H."""
    await conn.execute(
        "UPDATE webhook SET sealed_earlier = sealed_secret, sealed_secret = %s,"
        " earlier_until = now() + make_interval(secs => %s) WHERE id = %s",
        (sealed_secret, BOTH_SIGN_H * 3600, webhook_id),
    )


async def tests_lately(conn: Connection, webhook_id: UUID, *, within_s: float) -> int:
    """How many test messages were asked for in the last so many seconds."""
    row = await fetch_one(
        conn,
        "SELECT count(*) FROM outbox WHERE webhook_id = %s AND topic = %s"
        " AND created_at > now() - make_interval(secs => %s)",
        (webhook_id, Topic.WEBHOOK_TEST, within_s),
    )
    assert row is not None
    return int(row[0])


async def test(conn: Connection, webhook: Webhook, document: dict[str, Any]) -> int:
    """A test message for one webhook, whatever its topics; the delivery's number."""
    return await outbox.tell_webhook(
        conn, Topic.WEBHOOK_TEST, webhook.owner_id, webhook.id, document
    )


async def disable(conn: AsyncConnection[Any], webhook_id: UUID, because: str) -> None:
    """Switch one off that does not work, and tell its owner by mail; once, whoever finds out."""
    row = await fetch_one(
        conn,
        "UPDATE webhook SET enabled = false, disabled_because = %s WHERE id = %s AND enabled"
        " RETURNING owner_id, url",
        (because, webhook_id),
    )
    if row is None:
        return
    await _forget_waiting(conn, webhook_id, "the webhook was switched off")
    owner_id, url = row
    document = {"webhook_id": str(webhook_id), "url": url, "because": because}
    await outbox.tell(conn, Topic.WEBHOOK_DISABLED, owner_id, document)


async def _forget_waiting(conn: AsyncConnection[Any], webhook_id: UUID, why: str) -> None:
    await conn.execute(
        "UPDATE outbox SET state = 'given_up', taken = false, error = %s"
        " WHERE target_id = %s AND state = 'waiting'",
        (why, webhook_id),
    )
