"""What people keep with their account: SSH keys."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

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
