"""Scopes: what a service's clients may ask for, and what each scope needs elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from towpath.nexus.store.columns import set_columns
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Scope:
    """A scope, and whose it is."""

    id: UUID
    client_id: UUID
    scope_string: str
    name: str
    description: str
    advertised: bool
    allows_refresh_token: bool
    required_domains: list[str]
    resource_server: str
    """What the token that has it names."""
    service: str
    """The name of its client, to be shown."""


@dataclass(frozen=True)
class Dependency:
    """A scope that a service needs elsewhere to do what another scope allows."""

    scope_id: UUID
    depends_on: UUID
    optional: bool
    requires_refresh_token: bool


_COLUMNS = """
SELECT s.id, s.client_id, s.scope_string, s.name, s.description, s.advertised,
       s.allows_refresh_token, s.required_domains,
       coalesce(c.resource_server, c.id::text) AS resource_server, c.name AS service
FROM scope s JOIN client c ON c.id = s.client_id
"""
SETTABLE = ("name", "description", "advertised", "allows_refresh_token", "required_domains")
"""Columns that whoever manages a scope may change; `scope_string` by its suffix."""


async def _scopes(connection: Connection, where: str, value: object) -> list[Scope]:
    async with connection.cursor(row_factory=class_row(Scope)) as cursor:
        await cursor.execute(f"{_COLUMNS} WHERE {where} ORDER BY s.scope_string", (value,))
        return await cursor.fetchall()


async def by_id(connection: Connection, ids: Sequence[UUID]) -> list[Scope]:
    """Those of ``ids`` that exist."""
    return await _scopes(connection, "s.id = ANY(%s)", list(ids))


async def by_string(connection: Connection, strings: Sequence[str]) -> list[Scope]:
    """Those of the scope strings that exist."""
    return await _scopes(connection, "s.scope_string = ANY(%s)", list(strings))


async def of_clients(connection: Connection, client_ids: Sequence[UUID]) -> list[Scope]:
    """The scopes of some clients."""
    return await _scopes(connection, "s.client_id = ANY(%s)", list(client_ids))


async def dependencies(connection: Connection, ids: Sequence[UUID]) -> list[Dependency]:
    """What some scopes need, directly."""
    async with connection.cursor(row_factory=class_row(Dependency)) as cursor:
        await cursor.execute(
            "SELECT scope_id, depends_on, optional, requires_refresh_token FROM scope_dependency"
            " WHERE scope_id = ANY(%s) ORDER BY scope_id, depends_on",
            (list(ids),),
        )
        return await cursor.fetchall()


async def closure(
    connection: Connection, strings: Sequence[str], depth: int
) -> tuple[dict[str, Scope], dict[UUID, list[Dependency]]]:
    """Some scopes and all that they need, to ``depth``: by string, and each one's needs by id."""
    cursor = await connection.execute(
        "WITH RECURSIVE reached(id, depth) AS ("
        " SELECT id, 0 FROM scope WHERE scope_string = ANY(%s)"
        " UNION SELECT d.depends_on, r.depth + 1 FROM scope_dependency d"
        " JOIN reached r ON d.scope_id = r.id WHERE r.depth < %s)"
        " SELECT DISTINCT id FROM reached",
        (list(strings), depth),
    )
    ids = [row["id"] for row in await cursor.fetchall()]
    found = await by_id(connection, ids)
    needs: dict[UUID, list[Dependency]] = {}
    for one in await dependencies(connection, ids):
        needs.setdefault(one.scope_id, []).append(one)
    return {one.scope_string: one for one in found}, needs


async def add(
    connection: Connection, *, client_id: UUID, scope_string: str, fields: Mapping[str, Any]
) -> UUID:
    """Make a scope with some of SETTABLE. Raises ``psycopg.errors.UniqueViolation``."""
    made = uuid4()
    await connection.execute(
        "INSERT INTO scope (id, client_id, scope_string, name, description)"
        " VALUES (%s, %s, %s, '', '')",
        (made, client_id, scope_string),
    )
    await update(connection, made, fields)
    return made


async def update(connection: Connection, scope_id: UUID, changes: Mapping[str, Any]) -> None:
    """Set some of SETTABLE, and ``scope_string``. Raises ``psycopg.errors.UniqueViolation``."""
    await set_columns(connection, "scope", scope_id, changes, {*SETTABLE, "scope_string"})


async def set_dependencies(
    connection: Connection, scope_id: UUID, wanted: Sequence[Dependency]
) -> None:
    """Replace what a scope needs. Raises ``psycopg.errors.ForeignKeyViolation``."""
    await connection.execute("DELETE FROM scope_dependency WHERE scope_id = %s", (scope_id,))
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO scope_dependency (scope_id, depends_on, optional, requires_refresh_token)"
            " VALUES (%s, %s, %s, %s)",
            [
                (scope_id, one.depends_on, one.optional, one.requires_refresh_token)
                for one in wanted
            ],
        )


async def ensure(
    connection: Connection,
    *,
    scope_id: UUID,
    client_id: UUID,
    scope_string: str,
    name: str,
    description: str,
) -> None:
    """Make one of the deployment's own scopes, or bring it up to date."""
    await connection.execute(
        "INSERT INTO scope (id, client_id, scope_string, name, description, advertised)"
        " VALUES (%s, %s, %s, %s, %s, true) ON CONFLICT (scope_string) DO UPDATE"
        " SET client_id = excluded.client_id, name = excluded.name,"
        " description = excluded.description",
        (scope_id, client_id, scope_string, name, description),
    )


async def keep_storage(
    connection: Connection,
    *,
    scope_id: UUID,
    client_id: UUID,
    server: UUID,
    service: str,
    scope_string: str,
    name: str,
    description: str,
) -> None:
    """Make a scope of an endpoint or a collection, and the client that stands for that, unless they
    are there. In a transaction.
    """
    await connection.execute(
        "INSERT INTO client (id, name, administrator, client_type, resource_server)"
        " VALUES (%s, %s, false, 'globus_connect_server', %s) ON CONFLICT DO NOTHING",
        (client_id, service, str(server)),
    )
    await connection.execute(
        "INSERT INTO scope (id, client_id, scope_string, name, description)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (scope_id, client_id, scope_string, name, description),
    )


async def delete(connection: Connection, scope_id: UUID) -> None:
    """Delete a scope, all consents to it, and the tokens that stand on them."""
    await connection.execute(
        "DELETE FROM token t USING consent c WHERE c.scope_id = %s AND c.id = ANY(t.consent_ids)",
        (scope_id,),
    )
    await connection.execute("DELETE FROM scope WHERE id = %s", (scope_id,))


async def advertised(connection: Connection) -> list[str]:
    """The scope strings that anybody may be told of."""
    cursor = await connection.execute(
        "SELECT scope_string FROM scope WHERE advertised ORDER BY scope_string"
    )
    return [row["scope_string"] for row in await cursor.fetchall()]
