"""Authentication policies: how somebody must have logged in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from towpath.nexus.store.columns import set_columns
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Policy:
    """A policy of a project."""

    id: UUID
    project_id: UUID
    display_name: str
    description: str
    high_assurance: bool
    authentication_assurance_timeout: int | None
    """Seconds."""
    required_mfa: bool
    domain_constraints_include: list[str] | None
    domain_constraints_exclude: list[str] | None


_NAMES = (
    "project_id",
    "display_name",
    "description",
    "high_assurance",
    "authentication_assurance_timeout",
    "required_mfa",
    "domain_constraints_include",
    "domain_constraints_exclude",
)
_COLUMNS = f"SELECT id, {', '.join(_NAMES)} FROM authentication_policy"  # noqa: S608 - our names


async def by_id(connection: Connection, ids: Sequence[UUID]) -> list[Policy]:
    """Those of ``ids`` that exist."""
    async with connection.cursor(row_factory=class_row(Policy)) as cursor:
        await cursor.execute(f"{_COLUMNS} WHERE id = ANY(%s) ORDER BY id", (list(ids),))
        return await cursor.fetchall()


async def of_projects(connection: Connection, project_ids: Sequence[UUID]) -> list[Policy]:
    """The policies of some projects, by name."""
    async with connection.cursor(row_factory=class_row(Policy)) as cursor:
        await cursor.execute(
            f"{_COLUMNS} WHERE project_id = ANY(%s) ORDER BY display_name, id",
            (list(project_ids),),
        )
        return await cursor.fetchall()


async def add(connection: Connection, fields: Mapping[str, Any]) -> UUID:
    """Make a policy. ``project_id``, ``display_name`` and ``description`` must be there."""
    made = uuid4()
    await connection.execute(
        "INSERT INTO authentication_policy (id, project_id, display_name, description)"
        " VALUES (%s, %s, %s, %s)",
        (made, fields["project_id"], fields["display_name"], fields["description"]),
    )
    await update(connection, made, fields)
    return made


async def update(connection: Connection, policy_id: UUID, changes: Mapping[str, Any]) -> None:
    """Set some of a policy's fields."""
    await set_columns(connection, "authentication_policy", policy_id, changes, _NAMES)


async def delete(connection: Connection, policy_id: UUID) -> None:
    """Delete a policy."""
    await connection.execute("DELETE FROM authentication_policy WHERE id = %s", (policy_id,))
