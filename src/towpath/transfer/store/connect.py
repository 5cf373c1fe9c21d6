"""Connect endpoints: what makes an endpoint one, the keys that set its nodes up, and the nodes.

Where a node is connected is in `store.relays`. Secrets are digests here (I6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection
from towpath.transfer.store.rows import fetch, fetch_one

Kind = Literal["personal", "server"]


@dataclass(frozen=True, slots=True)
class Node:
    """A computer that serves a Connect endpoint."""

    id: UUID
    endpoint_id: UUID
    kind: Kind
    name: str
    tunnel_key: str
    version: str
    certificate: str
    paused: bool
    draining: bool
    removed_at: datetime | None


_NODE = """
    SELECT n.id, n.endpoint_id, c.kind, n.name, n.tunnel_key, n.version, n.certificate, n.paused,
           n.draining, n.removed_at
      FROM connect_node n JOIN connect_endpoint c USING (endpoint_id)
"""


@dataclass(frozen=True, slots=True)
class SetupKey:
    """A setup key that was given and is good still."""

    endpoint_id: UUID
    kind: Kind


async def make(conn: Connection, endpoint_id: UUID, kind: Kind) -> None:
    """An endpoint that is registered becomes a Connect endpoint."""
    await conn.execute(
        "INSERT INTO connect_endpoint (endpoint_id, kind) VALUES (%s, %s)", (endpoint_id, kind)
    )


async def kind_of(conn: Connection, endpoint_id: UUID) -> Kind | None:
    """None: it is no Connect endpoint, or a collection of one."""
    row = await fetch_one(
        conn, "SELECT kind FROM connect_endpoint WHERE endpoint_id = %s", (endpoint_id,)
    )
    return None if row is None else row[0]


async def any_endpoint(conn: Connection) -> bool:
    """Whether there is a Connect endpoint that is not deleted."""
    row = await fetch_one(
        conn,
        "SELECT EXISTS (SELECT FROM connect_endpoint c JOIN endpoint e ON e.id = c.endpoint_id"
        " WHERE e.deleted_at IS NULL)",
    )
    assert row is not None
    return bool(row[0])


# -- setup keys


async def put_setup_key(
    conn: Connection, endpoint_id: UUID, secret_hash: bytes, *, valid_s: float
) -> None:
    """A new setup key; it takes the place of the one before."""
    await conn.execute(
        """
        INSERT INTO setup_key (endpoint_id, secret_hash, not_after)
        VALUES (%s, %s, now() + make_interval(secs => %s))
        ON CONFLICT (endpoint_id) DO UPDATE
           SET secret_hash = excluded.secret_hash, not_after = excluded.not_after, spent_at = NULL
        """,
        (endpoint_id, secret_hash, valid_s),
    )


async def spend_setup_key(conn: Connection, secret_hash: bytes) -> SetupKey | None:
    """Use a setup key: a personal endpoint's is spent with it. None: there is none that is good."""
    async with conn.cursor(row_factory=class_row(SetupKey)) as cursor:
        await cursor.execute(
            """
            UPDATE setup_key k
               SET spent_at = CASE WHEN c.kind = 'personal' THEN now() END
              FROM connect_endpoint c JOIN endpoint e ON e.id = c.endpoint_id
             WHERE k.secret_hash = %s AND c.endpoint_id = k.endpoint_id
               AND k.spent_at IS NULL AND k.not_after > now() AND e.deleted_at IS NULL
            RETURNING k.endpoint_id, c.kind
            """,
            (secret_hash,),
        )
        return await cursor.fetchone()


# -- nodes


async def add_node(
    conn: Connection,
    *,
    node_id: UUID,
    endpoint_id: UUID,
    name: str,
    token_hash: bytes,
    tunnel_key: str,
    version: str,
    certificate: str,
) -> None:
    """A computer that has been set up."""
    await conn.execute(
        """
        INSERT INTO connect_node (id, endpoint_id, name, token_hash, tunnel_key, version,
                                  certificate)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        """,
        (node_id, endpoint_id, name, token_hash, tunnel_key, version, certificate),
    )


async def count_nodes(conn: Connection, endpoint_id: UUID) -> int:
    """How many it has."""
    row = await fetch_one(
        conn,
        "SELECT count(*) FROM connect_node WHERE endpoint_id = %s AND removed_at IS NULL",
        (endpoint_id,),
    )
    assert row is not None
    return int(row[0])


async def remove_nodes(conn: Connection, endpoint_id: UUID) -> None:
    """They are no nodes any more: their tokens end, and relays are told to cut their tunnels."""
    await conn.execute(
        "UPDATE connect_node SET removed_at = now() WHERE endpoint_id = %s AND removed_at IS NULL",
        (endpoint_id,),
    )


async def node_by_token(conn: Connection, token_hash: bytes) -> Node | None:
    """Whose token it is, removed or not."""
    return await _node(conn, f"{_NODE} WHERE n.token_hash = %s", token_hash)


async def node(conn: Connection, node_id: UUID) -> Node | None:
    """A node, removed or not."""
    return await _node(conn, f"{_NODE} WHERE n.id = %s", node_id)


async def _node(conn: Connection, query: str, value: object) -> Node | None:
    async with conn.cursor(row_factory=class_row(Node)) as cursor:
        await cursor.execute(query.encode(), (value,))
        return await cursor.fetchone()


async def renew_certificate(conn: Connection, node_id: UUID, certificate: str) -> None:
    """The node's new host certificate."""
    await conn.execute(
        "UPDATE connect_node SET certificate = %s WHERE id = %s", (certificate, node_id)
    )


async def report(
    conn: Connection,
    node_id: UUID,
    *,
    name: str,
    version: str,
    paused: bool,
    draining: bool,
    folders: Sequence[Mapping[str, Any]],
) -> None:
    """What a node tells of itself."""
    await conn.execute(
        """
        UPDATE connect_node SET name = %s, version = %s, paused = %s, draining = %s, folders = %s,
               reported_at = now()
         WHERE id = %s
        """,
        (name, version, paused, draining, Jsonb(list(folders)), node_id),
    )


# -- what servers tell of their collections


async def set_mappings(conn: Connection, endpoint_id: UUID, mappings: Sequence[Any]) -> None:
    """How identities become accounts at an endpoint."""
    await conn.execute(
        "UPDATE connect_endpoint SET mappings = %s WHERE endpoint_id = %s",
        (Jsonb(list(mappings)), endpoint_id),
    )


async def get_mappings(conn: Connection, endpoint_id: UUID) -> list[Any]:
    """The documents that were reported, in order."""
    row = await fetch_one(
        conn, "SELECT mappings FROM connect_endpoint WHERE endpoint_id = %s", (endpoint_id,)
    )
    return [] if row is None else list(row[0])


async def set_roots(conn: Connection, endpoint_id: UUID, roots: Sequence[Any]) -> None:
    """Where managers of an endpoint may make collections."""
    await conn.execute(
        "UPDATE connect_endpoint SET roots = %s WHERE endpoint_id = %s",
        (Jsonb(list(roots)), endpoint_id),
    )


async def get_roots(conn: Connection, endpoint_id: UUID) -> list[Any]:
    """The same, as it was reported."""
    row = await fetch_one(
        conn, "SELECT roots FROM connect_endpoint WHERE endpoint_id = %s", (endpoint_id,)
    )
    return [] if row is None else list(row[0])


async def lock_endpoint(conn: Connection, endpoint_id: UUID) -> None:
    """Reports of several nodes of one endpoint come one after the other."""
    await fetch(
        conn,
        "SELECT FROM connect_endpoint WHERE endpoint_id = %s FOR UPDATE",
        (endpoint_id,),
    )
