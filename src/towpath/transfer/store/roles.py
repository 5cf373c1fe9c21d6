"""Roles that people and groups have at endpoints."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import kwargs_row

from towpath.platform.database import Connection
from towpath.transfer.rights import PrincipalType, Role


class AlreadyThereError(Exception):
    """Such a role, or such a rule, is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A role, and who has it: an identity or a group."""

    id: UUID
    endpoint_id: UUID
    principal_type: PrincipalType
    principal: UUID
    role: Role


_COLUMNS = "id, endpoint_id, principal_type, principal, role"


def _held(**row: Any) -> Held:
    return Held(
        id=row["id"],
        endpoint_id=row["endpoint_id"],
        principal_type=PrincipalType(row["principal_type"]),
        principal=row["principal"],
        role=Role(row["role"]),
    )


async def add(conn: Connection, held: Held, created_by: UUID) -> None:
    """Give a role. Raises AlreadyThereError."""
    done = await conn.execute(
        "INSERT INTO role (id, endpoint_id, principal_type, principal, role, created_by)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (held.id, held.endpoint_id, held.principal_type, held.principal, held.role, created_by),
    )
    if done.rowcount == 0:
        raise AlreadyThereError


async def list_all(conn: Connection, endpoint_id: UUID) -> list[Held]:
    """Those given at this endpoint itself, in the order in which they were."""
    async with conn.cursor(row_factory=kwargs_row(_held)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM role WHERE endpoint_id = %s ORDER BY created_at, id".encode(),  # noqa: S608 - constants
            (endpoint_id,),
        )
        return await cursor.fetchall()


async def get(conn: Connection, endpoint_id: UUID, role_id: UUID) -> Held | None:
    """One of this endpoint's."""
    async with conn.cursor(row_factory=kwargs_row(_held)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM role WHERE endpoint_id = %s AND id = %s".encode(),  # noqa: S608 - constants
            (endpoint_id, role_id),
        )
        return await cursor.fetchone()


async def by_id(conn: Connection, role_id: UUID) -> Held | None:
    """One of any endpoint's."""
    async with conn.cursor(row_factory=kwargs_row(_held)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM role WHERE id = %s".encode(),  # noqa: S608 - constants
            (role_id,),
        )
        return await cursor.fetchone()


async def delete(conn: Connection, endpoint_id: UUID, role_id: UUID) -> bool:
    """Take one back; whether it was there."""
    done = await conn.execute(
        "DELETE FROM role WHERE endpoint_id = %s AND id = %s", (endpoint_id, role_id)
    )
    return done.rowcount == 1
