"""User credentials: the account that a person has at an endpoint with agents, and its name."""

from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection


@dataclass(frozen=True, slots=True)
class UserCredential:
    """One account of one person. No secret belongs to it: the endpoint's rules give the account."""

    id: UUID
    endpoint_id: UUID
    identity_id: UUID
    username: str
    display_name: str | None


_SELECT = "SELECT id, endpoint_id, identity_id, username, display_name FROM user_credential"


async def put(conn: Connection, credential: UserCredential) -> None:
    """Make it, or change the account or the name of one that is there."""
    await conn.execute(
        "INSERT INTO user_credential (id, endpoint_id, identity_id, username, display_name)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (endpoint_id, identity_id) DO UPDATE"
        " SET username = excluded.username, display_name = excluded.display_name",
        (
            credential.id,
            credential.endpoint_id,
            credential.identity_id,
            credential.username,
            credential.display_name,
        ),
    )


async def of_endpoint(conn: Connection, endpoint_id: UUID) -> list[UserCredential]:
    """All of an endpoint, by id."""
    async with conn.cursor(row_factory=class_row(UserCredential)) as cursor:
        await cursor.execute(f"{_SELECT} WHERE endpoint_id = %s ORDER BY id", (endpoint_id,))
        return await cursor.fetchall()


async def get(conn: Connection, endpoint_id: UUID, credential_id: UUID) -> UserCredential | None:
    """One of an endpoint's."""
    async with conn.cursor(row_factory=class_row(UserCredential)) as cursor:
        await cursor.execute(
            f"{_SELECT} WHERE endpoint_id = %s AND id = %s", (endpoint_id, credential_id)
        )
        return await cursor.fetchone()


async def delete(conn: Connection, credential_id: UUID) -> None:
    """Forget it."""
    await conn.execute("DELETE FROM user_credential WHERE id = %s", (credential_id,))
