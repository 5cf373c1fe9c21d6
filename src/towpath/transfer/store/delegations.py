"""Keys made for proxies that their owners are about to sign, sealed; one for each endpoint."""

from typing import Final
from uuid import UUID

from towpath.platform.database import Connection
from towpath.transfer.store.rows import fetch_one

GOOD_FOR_S: Final = 3600
"""How long a client may take to sign: there may be a person who is asked for a pass phrase."""


def seal_context(endpoint_id: UUID, owner_id: UUID) -> bytes:
    """What a sealed key is bound to: moved to another row, it does not open."""
    return b"transfer.delegation:" + endpoint_id.bytes + owner_id.bytes


async def put(conn: Connection, endpoint_id: UUID, owner_id: UUID, sealed: bytes) -> None:
    """Keep a key in the place of the one before, and forget everybody's that are too old."""
    await conn.execute(
        "DELETE FROM delegation WHERE made_at < now() - make_interval(secs => %s)", (GOOD_FOR_S,)
    )
    await conn.execute(
        """
        INSERT INTO delegation (endpoint_id, owner_id, sealed) VALUES (%s, %s, %s)
        ON CONFLICT (endpoint_id, owner_id)
        DO UPDATE SET sealed = excluded.sealed, made_at = excluded.made_at
        """,
        (endpoint_id, owner_id, sealed),
    )


async def get(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> bytes | None:
    """The key that is waiting, sealed."""
    row = await fetch_one(
        conn,
        "SELECT sealed FROM delegation WHERE endpoint_id = %s AND owner_id = %s"
        " AND made_at >= now() - make_interval(secs => %s)",
        (endpoint_id, owner_id, GOOD_FOR_S),
    )
    return None if row is None else bytes(row[0])


async def delete(conn: Connection, endpoint_id: UUID, owner_id: UUID) -> None:
    """It is used."""
    await conn.execute(
        "DELETE FROM delegation WHERE endpoint_id = %s AND owner_id = %s", (endpoint_id, owner_id)
    )
