"""Relays, and which nodes are connected to which: presence.

A relay that has not been heard of for `DEAD_AFTER_S` is dead, and its nodes are not connected. All
times are the database's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection as Db
from towpath.transfer.store.rows import fetch, fetch_one

DEAD_AFTER_S = 20.0
"""Four of a relay's heartbeats."""

_ALIVE = f"r.heard_at > now() - interval '{DEAD_AFTER_S:g} seconds'"


@dataclass(frozen=True, slots=True)
class Relay:
    """A registered relay, with what it told last."""

    client_id: UUID
    name: str
    host: str | None
    port: int | None
    host_key: str | None
    data_addresses: list[str]
    version: str | None
    agents: int
    draining: bool
    heard_at: datetime | None
    alive: bool


_RELAY = f"""
    SELECT r.client_id, r.name, r.host, r.port, r.host_key, r.data_addresses, r.version, r.agents,
           r.draining, r.heard_at, coalesce({_ALIVE}, false) AS alive
      FROM relay r
"""  # noqa: S608 - a constant


async def add(conn: Db, client_id: UUID, name: str) -> None:
    """Register a relay; nothing happens if it is. Raises psycopg's UniqueViolation for its name."""
    await conn.execute(
        "INSERT INTO relay (client_id, name) VALUES (%s, %s) ON CONFLICT (client_id) DO NOTHING",
        (client_id, name),
    )


async def remove(conn: Db, client_id: UUID) -> bool:
    """Whether it was registered. Its nodes are not connected any more."""
    cursor = await conn.execute("DELETE FROM relay WHERE client_id = %s", (client_id,))
    return cursor.rowcount > 0


async def list_all(conn: Db) -> list[Relay]:
    """All of them, by name."""
    async with conn.cursor(row_factory=class_row(Relay)) as cursor:
        await cursor.execute(f"{_RELAY} ORDER BY r.name".encode())
        return await cursor.fetchall()


async def is_relay(conn: Db, client_id: UUID) -> bool:
    """Whether it is registered."""
    row = await fetch_one(conn, "SELECT FROM relay WHERE client_id = %s", (client_id,))
    return row is not None


async def alive(conn: Db) -> list[Relay]:
    """Those that are there, in the order in which an agent tries them: not draining, few agents."""
    async with conn.cursor(row_factory=class_row(Relay)) as cursor:
        await cursor.execute(
            f"{_RELAY} WHERE {_ALIVE} ORDER BY r.draining, r.agents, r.name".encode()
        )
        return await cursor.fetchall()


async def heartbeat(
    conn: Db,
    client_id: UUID,
    *,
    host: str,
    port: int,
    host_key: str,
    data_addresses: Sequence[str],
    version: str,
    agents: int,
    draining: bool,
) -> None:
    """A relay is there."""
    await conn.execute(
        """
        UPDATE relay SET host = %s, port = %s, host_key = %s, data_addresses = %s, version = %s,
               agents = %s, draining = %s, heard_at = now()
         WHERE client_id = %s
        """,
        (
            host,
            port,
            host_key,
            list(data_addresses),
            version,
            agents,
            draining,
            client_id,
        ),
    )


async def to_cut(conn: Db, client_id: UUID) -> list[UUID]:
    """Nodes whose tunnels are at this relay, and should not be."""
    rows = await fetch(
        conn,
        "SELECT id FROM connect_node WHERE relay_id = %s AND removed_at IS NOT NULL",
        (client_id,),
    )
    return [row[0] for row in rows]


# -- presence


@dataclass(frozen=True, slots=True)
class Connected:
    """A node whose tunnel is at a relay."""

    node_id: UUID
    address: str | None
    direct_address: str | None
    version: str | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Lost:
    """A node whose tunnel has ended."""

    node_id: UUID
    heard_at: datetime | None


async def connect(
    conn: Db, relay_id: UUID, nodes: Sequence[Connected], *, news: bool = True
) -> list[UUID]:
    """These are connected there. Returns their endpoints. Removed ones stay removed.

    Not `news`: they may have been there for long, and have left without the relay's knowing. Who
    has come to another relay since then, which lives, stays there.
    """
    rows = await fetch(
        conn,
        f"""
        UPDATE connect_node n
           SET relay_id = %s, address = c.address, direct_address = c.direct_address,
               version = coalesce(c.version, n.version),
               connected_at = least(coalesce(c.since, now()), now()), heard_at = now()
          FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
               AS c (id, address, direct_address, version, since)
         WHERE n.id = c.id
           AND (%s OR c.since >= n.connected_at OR NOT EXISTS (
                SELECT FROM relay r WHERE r.client_id = n.relay_id AND r.client_id <> %s
                   AND {_ALIVE}))
        RETURNING n.endpoint_id
        """,  # noqa: S608 - a constant
        (
            relay_id,
            [one.node_id for one in nodes],
            [one.address for one in nodes],
            [one.direct_address for one in nodes],
            [one.version for one in nodes],
            [one.since for one in nodes],
            news,
            relay_id,
        ),
    )
    return [row[0] for row in rows]


async def lose(conn: Db, relay_id: UUID, nodes: Sequence[Lost]) -> None:
    """These are not connected there any more; one that is at another relay by now stays there."""
    await conn.execute(
        """
        UPDATE connect_node n
           SET relay_id = NULL, heard_at = least(coalesce(l.heard_at, now()), now())
          FROM unnest(%s::uuid[], %s::timestamptz[]) AS l (id, heard_at)
         WHERE n.id = l.id AND n.relay_id = %s
        """,
        ([one.node_id for one in nodes], [one.heard_at for one in nodes], relay_id),
    )


async def lose_all_but(conn: Db, relay_id: UUID, nodes: Sequence[UUID]) -> None:
    """Only these are connected there."""
    await conn.execute(
        "UPDATE connect_node SET relay_id = NULL, heard_at = coalesce(heard_at, now())"
        " WHERE relay_id = %s AND NOT id = ANY(%s)",
        (relay_id, list(nodes)),
    )


@dataclass(frozen=True, slots=True)
class Presence:
    """A node of an endpoint, and how to reach it. `relay_id` None: it is not connected."""

    node_id: UUID
    paused: bool
    draining: bool
    direct_address: str | None
    relay_id: UUID | None
    relay_host: str | None
    relay_port: int | None
    heard_at: datetime | None


async def presence(conn: Db, endpoint_id: UUID) -> list[Presence]:
    """All nodes of an endpoint."""
    async with conn.cursor(row_factory=class_row(Presence)) as cursor:
        await cursor.execute(
            f"""
            SELECT n.id AS node_id, n.paused, n.draining, n.direct_address,
                   CASE WHEN {_ALIVE} THEN r.client_id END AS relay_id,
                   r.host AS relay_host, r.port AS relay_port,
                   coalesce(r.heard_at, n.heard_at) AS heard_at
              FROM connect_node n LEFT JOIN relay r ON r.client_id = n.relay_id
             WHERE n.endpoint_id = %s AND n.removed_at IS NULL
             ORDER BY n.created_at, n.id
            """.encode(),  # noqa: S608 - a constant
            (endpoint_id,),
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Connection:
    """Whether the agents of an endpoint are there."""

    connected: bool
    paused: bool


async def connections(conn: Db, ids: Sequence[UUID]) -> dict[UUID, Connection]:
    """By endpoint or collection, also one that is shared, of those among `ids` that have agents."""
    rows = await fetch(
        conn,
        f"""
        SELECT e.id, coalesce(bool_or({_ALIVE}), false),
               coalesce(bool_and(n.paused) FILTER (WHERE {_ALIVE}), false)
          FROM endpoint e LEFT JOIN endpoint h ON h.id = e.host_endpoint_id
          JOIN connect_endpoint c ON c.endpoint_id IN (e.id, h.id, h.host_endpoint_id)
          LEFT JOIN connect_node n ON n.endpoint_id = c.endpoint_id AND n.removed_at IS NULL
          LEFT JOIN relay r ON r.client_id = n.relay_id
         WHERE e.id = ANY(%s)
         GROUP BY e.id
        """,  # noqa: S608 - a constant
        (list(ids),),
    )
    return {row[0]: Connection(*row[1:]) for row in rows}


async def data_addresses(conn: Db, endpoint_id: UUID) -> frozenset[str]:
    """Addresses that an endpoint's agents may announce for data: of relays, and their own."""
    return await relay_addresses(conn) | await own_addresses(conn, endpoint_id)


async def relay_addresses(conn: Db) -> frozenset[str]:
    """Where relays that are there listen in agents' place."""
    rows = await fetch(conn, f"SELECT unnest(r.data_addresses) FROM relay r WHERE {_ALIVE}")  # noqa: S608 - a constant
    return frozenset(row[0] for row in rows)


async def own_addresses(conn: Db, endpoint_id: UUID) -> frozenset[str]:
    """Where a relay has reached the endpoint's agents themselves."""
    rows = await fetch(
        conn,
        "SELECT n.direct_address FROM connect_node n"
        " WHERE n.endpoint_id = %s AND n.removed_at IS NULL AND n.direct_address IS NOT NULL",
        (endpoint_id,),
    )
    return frozenset(row[0] for row in rows)


async def partners(conn: Db, endpoint_id: UUID) -> list[tuple[str, list[str]]]:
    """The other sides of active tasks of this endpoint or its collections: (host, data hosts)."""
    rows = await fetch(
        conn,
        """
        WITH own AS (
            SELECT e.id FROM endpoint e JOIN endpoint of ON of.id = %(endpoint)s
             WHERE e.host = of.host AND e.port = of.port
        )
        SELECT DISTINCT e.host, e.data_hosts
          FROM task t JOIN endpoint e
            ON (t.source_endpoint_id IN (SELECT id FROM own) AND e.id = t.destination_endpoint_id)
            OR (t.destination_endpoint_id IN (SELECT id FROM own) AND e.id = t.source_endpoint_id)
         WHERE t.status = 'ACTIVE' AND e.deleted_at IS NULL
        """,
        {"endpoint": endpoint_id},
    )
    return [(row[0], list(row[1])) for row in rows]
