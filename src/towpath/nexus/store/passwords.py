"""Password hashes."""

from uuid import UUID

from towpath.platform.database import Connection


async def of(connection: Connection, identity_id: UUID) -> str | None:
    """The identity's hash; None if it has no password."""
    cursor = await connection.execute(
        "SELECT hash FROM password WHERE identity_id = %s", (identity_id,)
    )
    row = await cursor.fetchone()
    return None if row is None else str(row["hash"])


async def put(connection: Connection, identity_id: UUID, stored: str) -> None:
    """Set or replace it."""
    await connection.execute(
        "INSERT INTO password (identity_id, hash) VALUES (%s, %s) ON CONFLICT (identity_id)"
        " DO UPDATE SET hash = excluded.hash, changed_at = now()",
        (identity_id, stored),
    )


async def rehash(connection: Connection, identity_id: UUID, old: str, new: str) -> None:
    """The same password with other parameters, unless it was changed meanwhile."""
    await connection.execute(
        "UPDATE password SET hash = %s WHERE identity_id = %s AND hash = %s",
        (new, identity_id, old),
    )
