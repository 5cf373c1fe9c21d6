"""Access rules of guest collections."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row, kwargs_row

from towpath.platform.database import Connection
from towpath.transfer import names
from towpath.transfer.rights import FULL_ACCESS, PrincipalType, Role, Rule
from towpath.transfer.store.rights import CHAIN, rule_of
from towpath.transfer.store.roles import AlreadyThereError

_COLUMNS = "id, principal_type, principal, path, permissions, created_at, expires_at"


def _rule(**row: Any) -> Rule:
    return rule_of(row)


@dataclass(frozen=True, slots=True)
class Implicit:
    """What owners, and those with a role, may do without a rule: read and write everything."""

    principal_type: PrincipalType
    principal: UUID
    role_id: UUID | None
    """None: it is an owner."""
    role: Role


async def list_all(conn: Connection, endpoint_id: UUID) -> list[Rule]:
    """All rules, also those whose time has passed, in the order in which they were made."""
    async with conn.cursor(row_factory=kwargs_row(_rule)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM access_rule WHERE endpoint_id = %s"  # noqa: S608 - constants
            " ORDER BY created_at, id".encode(),
            (endpoint_id,),
        )
        return await cursor.fetchall()


async def implicit(conn: Connection, endpoint_id: UUID) -> list[Implicit]:
    """Owners, the collection's first, and holders of roles, here and at what it belongs to."""
    found: list[Implicit] = []
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT a.owner_id FROM {CHAIN} WHERE e.id = ANY(%s)"  # noqa: S608 - a constant
            " ORDER BY a.id <> e.id, a.share_path IS NULL, a.id".encode(),
            ([endpoint_id],),
        )
        owners = dict.fromkeys(row["owner_id"] for row in await cursor.fetchall())
        found += [
            Implicit(PrincipalType.IDENTITY, owner, None, Role.ADMINISTRATOR) for owner in owners
        ]
        await cursor.execute(
            "SELECT r.id, r.principal_type, r.principal, r.role"  # noqa: S608 - a constant
            f" FROM {CHAIN} JOIN role r ON r.endpoint_id = a.id"
            " WHERE e.id = ANY(%s) AND r.role = ANY(%s) ORDER BY r.created_at, r.id".encode(),
            ([endpoint_id], sorted(FULL_ACCESS)),
        )
        found += [
            Implicit(
                PrincipalType(row["principal_type"]), row["principal"], row["id"], Role(row["role"])
            )
            for row in await cursor.fetchall()
        ]
    return found


async def get(conn: Connection, endpoint_id: UUID, rule_id: UUID) -> Rule | None:
    """One of this collection's."""
    async with conn.cursor(row_factory=kwargs_row(_rule)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM access_rule WHERE endpoint_id = %s AND id = %s".encode(),  # noqa: S608 - constants
            (endpoint_id, rule_id),
        )
        return await cursor.fetchone()


async def count(conn: Connection, endpoint_id: UUID) -> int:
    """How many rules a collection has."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT count(*) AS n FROM access_rule WHERE endpoint_id = %s", (endpoint_id,)
        )
        row = await cursor.fetchone()
    assert row is not None, "a count has a row"
    return int(row["n"])


async def forget_expired(conn: Connection, endpoint_id: UUID, now: datetime) -> None:
    """Remove the rules whose time has passed: they let nobody in, and are in the way."""
    await conn.execute(
        "DELETE FROM access_rule WHERE endpoint_id = %s AND expires_at <= %s", (endpoint_id, now)
    )


async def add(conn: Connection, endpoint_id: UUID, rule: Rule, created_by: UUID) -> None:
    """Make a rule. Raises AlreadyThereError: there is one for this principal and path."""
    done = await conn.execute(
        "INSERT INTO access_rule (id, endpoint_id, principal_type, principal, path,"
        " permissions, created_by, created_at, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (
            rule.id,
            endpoint_id,
            rule.principal_type,
            rule.principal,
            names.to_text(rule.path),
            _permissions(rule),
            created_by,
            rule.created_at,
            rule.expires_at,
        ),
    )
    if done.rowcount == 0:
        raise AlreadyThereError


async def update(conn: Connection, endpoint_id: UUID, rule: Rule) -> None:
    """Write what can be changed: whether it writes, and until when it holds."""
    await conn.execute(
        "UPDATE access_rule SET permissions = %s, expires_at = %s"
        " WHERE endpoint_id = %s AND id = %s",
        (_permissions(rule), rule.expires_at, endpoint_id, rule.id),
    )


async def delete(conn: Connection, endpoint_id: UUID, rule_id: UUID) -> bool:
    """Remove a rule; whether it was there."""
    done = await conn.execute(
        "DELETE FROM access_rule WHERE endpoint_id = %s AND id = %s", (endpoint_id, rule_id)
    )
    return done.rowcount == 1


def _permissions(rule: Rule) -> str:
    return "rw" if rule.writes else "r"
