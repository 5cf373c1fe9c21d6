"""Keys that sign id tokens; the private part is sealed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection


@dataclass(frozen=True)
class SigningKey:
    """A key, and from when on it signs: until the next one does."""

    kid: str
    public_key: dict[str, Any]
    private_key: bytes
    """Sealed, with the kid as its context."""
    created_at: datetime
    signs_from: datetime


async def lock(connection: Connection) -> None:
    """Keep others from adding keys until the transaction ends."""
    await connection.execute("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE")


async def all_keys(connection: Connection) -> list[SigningKey]:
    """By the time they begin to sign."""
    async with connection.cursor(row_factory=class_row(SigningKey)) as cursor:
        await cursor.execute(
            "SELECT kid, public_key, private_key, created_at, signs_from FROM signing_key"
            " ORDER BY signs_from, created_at"
        )
        return await cursor.fetchall()


async def add(
    connection: Connection,
    *,
    kid: str,
    public_key: dict[str, Any],
    private_key: bytes,
    signs_from: datetime,
) -> None:
    """Store a key."""
    await connection.execute(
        "INSERT INTO signing_key (kid, public_key, private_key, signs_from)"
        " VALUES (%s, %s, %s, %s)",
        (kid, Jsonb(public_key), private_key, signs_from),
    )


async def delete(connection: Connection, kid: str) -> None:
    """Forget a key that is over."""
    await connection.execute("DELETE FROM signing_key WHERE kid = %s", (kid,))


async def now(connection: Connection) -> datetime:
    """The database's clock, which decides."""
    cursor = await connection.execute("SELECT now() AS now")
    row = await cursor.fetchone()
    assert row is not None
    at: datetime = row["now"]
    return at
