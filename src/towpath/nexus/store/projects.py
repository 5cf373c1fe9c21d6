"""Projects: who looks after clients, scopes and policies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from towpath.nexus.store.columns import set_columns
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Project:
    """Its admins are identities, and members of groups."""

    id: UUID
    display_name: str
    contact_email: str
    admin_ids: list[UUID]
    admin_group_ids: list[UUID]


@dataclass(frozen=True)
class AdminGroup:
    """A group whose members are admins, as a project shows it."""

    id: UUID
    name: str
    description: str | None


_COLUMNS = "SELECT id, display_name, contact_email, admin_ids, admin_group_ids FROM project"
SETTABLE = ("display_name", "contact_email", "admin_ids", "admin_group_ids")
"""Columns that an admin may change."""


async def find(connection: Connection, project_id: UUID, *, lock: bool = False) -> Project | None:
    """The project; ``lock`` keeps others from changing it until the transaction ends."""
    async with connection.cursor(row_factory=class_row(Project)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} WHERE id = %s" + (" FOR UPDATE" if lock else ""), (project_id,)
        )
        return await cursor.fetchone()


async def of_admin(
    connection: Connection, identity_ids: Sequence[UUID], group_ids: Sequence[UUID]
) -> list[Project]:
    """Those that somebody with these identities and groups looks after, by name."""
    async with connection.cursor(row_factory=class_row(Project)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} WHERE admin_ids && %s::uuid[] OR admin_group_ids && %s::uuid[]"
            " ORDER BY display_name, id",
            (list(identity_ids), list(group_ids)),
        )
        return await cursor.fetchall()


async def groups_named(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, AdminGroup]:
    """Those of some groups that exist, by id."""
    async with connection.cursor(row_factory=class_row(AdminGroup)) as cursor:
        await cursor.execute(
            "SELECT id, name, description FROM user_group WHERE id = ANY(%s)", (list(ids),)
        )
        return {one.id: one for one in await cursor.fetchall()}


async def add(connection: Connection, fields: Mapping[str, Any]) -> UUID:
    """Make a project of SETTABLE."""
    made = uuid4()
    await connection.execute(
        "INSERT INTO project (id, display_name, contact_email, admin_ids, admin_group_ids)"
        " VALUES (%(id)s, %(display_name)s, %(contact_email)s, %(admin_ids)s, %(admin_group_ids)s)",
        {"id": made, **fields},
    )
    return made


async def update(connection: Connection, project_id: UUID, changes: Mapping[str, Any]) -> None:
    """Set some of SETTABLE."""
    await set_columns(connection, "project", project_id, changes, SETTABLE)


async def delete(connection: Connection, project_id: UUID) -> None:
    """Delete a project and its policies.

    Raises ``psycopg.errors.RestrictViolation`` while it has clients.
    """
    await connection.execute("DELETE FROM project WHERE id = %s", (project_id,))
