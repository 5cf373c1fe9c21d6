"""What people keep with their account: what they tell of themselves, and SSH keys."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection


@dataclass(frozen=True)
class SshKeyRow:
    """A public key of a person."""

    id: UUID
    name: str
    public_key: str
    fingerprint: str
    created_at: datetime


async def ssh_keys(connection: Connection, account_id: UUID) -> list[SshKeyRow]:
    """The account's, the oldest first."""
    async with connection.cursor(row_factory=class_row(SshKeyRow)) as cursor:
        await cursor.execute(
            "SELECT id, name, public_key, fingerprint, created_at FROM ssh_key"
            " WHERE account_id = %s ORDER BY created_at, id",
            (account_id,),
        )
        return await cursor.fetchall()


async def add_ssh_key(
    connection: Connection,
    *,
    key_id: UUID,
    account_id: UUID,
    name: str,
    public_key: str,
    fingerprint: str,
) -> None:
    """Keep a key; one that is there already gets the new name."""
    await connection.execute(
        "INSERT INTO ssh_key (id, account_id, name, public_key, fingerprint)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (account_id, fingerprint)"
        " DO UPDATE SET name = excluded.name",
        (key_id, account_id, name, public_key, fingerprint),
    )


async def remove_ssh_key(connection: Connection, account_id: UUID, key_id: UUID) -> None:
    """Forget one of the account's keys."""
    await connection.execute(
        "DELETE FROM ssh_key WHERE id = %s AND account_id = %s", (key_id, account_id)
    )


async def told_of(
    connection: Connection, account_ids: Collection[UUID]
) -> dict[UUID, dict[str, Any]]:
    """What each account tells, if it has told anything."""
    if not account_ids:
        return {}
    cursor = await connection.execute(
        "SELECT i.account_id, p.fields FROM profile p JOIN identity i ON i.id = p.identity_id"
        " WHERE i.account_id = ANY(%s) ORDER BY p.updated_at",
        (list(account_ids),),
    )
    return {row["account_id"]: row["fields"] async for row in cursor}


async def told(connection: Connection, account_id: UUID) -> dict[str, Any]:
    """What the account tells; empty if it has told nothing."""
    return (await told_of(connection, [account_id])).get(account_id, {})


async def tell(
    connection: Connection, account_id: UUID, primary_identity: UUID, fields: Mapping[str, Any]
) -> None:
    """Replace what the account tells. It is kept with the identity that is the primary one now."""
    await connection.execute(
        "DELETE FROM profile WHERE identity_id IN (SELECT id FROM identity WHERE account_id = %s)",
        (account_id,),
    )
    await connection.execute(
        "INSERT INTO profile (identity_id, fields) VALUES (%s, %s)"
        " ON CONFLICT (identity_id) DO UPDATE SET fields = excluded.fields, updated_at = now()",
        (primary_identity, Jsonb(dict(fields))),
    )


_IN_SIGHT = """
WITH mine AS (
  SELECT m.group_id, m.role <> 'member' AS manages FROM membership m
  WHERE m.identity_id = ANY(%(mine)s) AND m.status = 'active'
  UNION ALL
  SELECT above, false FROM membership m JOIN user_group g ON g.id = m.group_id
    CROSS JOIN unnest(g.ancestor_ids) AS above
  WHERE m.identity_id = ANY(%(mine)s) AND m.status = 'active'
), theirs AS (
  SELECT i.account_id, m.group_id FROM identity i JOIN membership m ON m.identity_id = i.id
  WHERE i.account_id = ANY(%(accounts)s) AND m.status = 'active'
  UNION ALL
  SELECT i.account_id, above FROM identity i JOIN membership m ON m.identity_id = i.id
    JOIN user_group g ON g.id = m.group_id CROSS JOIN unnest(g.ancestor_ids) AS above
  WHERE i.account_id = ANY(%(accounts)s) AND m.status = 'active'
)
SELECT DISTINCT theirs.account_id FROM theirs JOIN mine USING (group_id)
  JOIN user_group g ON g.id = group_id
WHERE mine.manages OR g.members_visibility = 'members'
"""


async def in_sight(
    connection: Connection, viewer_ids: Sequence[UUID], account_ids: Sequence[UUID]
) -> set[UUID]:
    """Those of the accounts that the viewer meets in a group whose members he may see."""
    cursor = await connection.execute(
        _IN_SIGHT, {"mine": list(viewer_ids), "accounts": list(account_ids)}
    )
    return {row["account_id"] async for row in cursor}
