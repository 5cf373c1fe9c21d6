"""Registered endpoints. Trust roots are read apart: they are large and few callers need them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row, kwargs_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection


class EntityType(StrEnum):
    """What an endpoint is, as the Transfer API calls it."""

    SERVER = "GCSv4_host"
    """A GridFTP server that somebody registered."""
    PERSONAL = "GCP_mapped_collection"
    """A person's computer with an agent: endpoint and collection at once."""
    CONNECT = "GCSv5_endpoint"
    """A site's data transfer nodes with agents. Files are in its collections."""
    COLLECTION = "GCSv5_mapped_collection"
    """A part of such an endpoint's storage."""
    SERVER_SHARE = "GCSv4_share"
    """A guest collection: a directory of a registered server, shared by rules."""
    PERSONAL_SHARE = "GCP_guest_collection"
    """One of a person's computer."""
    COLLECTION_SHARE = "GCSv5_guest_collection"
    """One of a collection."""


GUESTS = frozenset(
    {EntityType.SERVER_SHARE, EntityType.PERSONAL_SHARE, EntityType.COLLECTION_SHARE}
)
"""Entities that are shared by rules."""

_WITHOUT_AGENT = frozenset({EntityType.SERVER, EntityType.SERVER_SHARE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A GridFTP server that someone registered."""

    id: UUID
    owner_id: UUID
    owner_string: str
    display_name: str
    host: str
    port: int
    subject: str | None
    data_hosts: tuple[str, ...]
    public: bool
    details: dict[str, Any]
    deleted_at: datetime | None = None
    entity_type: EntityType = EntityType.SERVER
    host_endpoint_id: UUID | None = None
    """Of a collection: the endpoint that it belongs to; of a guest collection: what it shares."""
    base_path: str | None = None
    """Of a collection: where it begins in the endpoint's storage."""
    access: Literal["r", "rw"] | None = None
    """Of a collection: whether it may be written."""
    share_path: str | None = None
    """Of a guest collection: its directory in the collection that it shares. '' is all of that;
    otherwise it begins with a slash and ends with none."""

    def visible_to(self, viewer: UUID) -> bool:
        """Public endpoints are for all who are logged in, private ones for their owner (I7)."""
        return self.public or self.owner_id == viewer

    @property
    def is_connect(self) -> bool:
        """Whether there is an agent behind it."""
        return self.entity_type not in _WITHOUT_AGENT

    @property
    def is_guest(self) -> bool:
        """Whether it is shared by rules, with the owner's own credential or account."""
        return self.entity_type in GUESTS

    @property
    def base(self) -> str:
        """What goes before a path to make it one of the whole storage."""
        return (self.base_path or "").rstrip("/")

    @property
    def functional(self) -> bool:
        """Whether there are files in it, and not only in its collections."""
        return self.entity_type is not EntityType.CONNECT

    @property
    def connect_id(self) -> UUID:
        """Of a Connect endpoint or its collection: the endpoint whose agents serve it."""
        return self.host_endpoint_id or self.id


class Scope(StrEnum):
    """Which endpoints a search looks at (Transfer API, endpoint_search, filter_scope)."""

    ALL = "all"
    MINE = "my-endpoints"
    MY_PERSONAL = "my-gcp-endpoints"
    RECENTLY_USED = "recently-used"
    IN_USE = "in-use"


_COLUMNS = (
    "e.id, e.owner_id, e.owner_string, e.display_name, e.host, e.port, e.subject, e.data_hosts,"
    " e.public, e.details, e.deleted_at, e.entity_type, e.host_endpoint_id, e.base_path,"
    " e.access, e.share_path"
)

_SCOPES = {
    Scope.ALL: "true",
    Scope.MINE: "e.owner_id = %(viewer)s",
    Scope.MY_PERSONAL: (f"e.owner_id = %(viewer)s AND e.entity_type = '{EntityType.PERSONAL}'"),
    Scope.RECENTLY_USED: (
        "EXISTS (SELECT FROM task t WHERE t.owner_id = %(viewer)s"
        " AND e.id IN (t.source_endpoint_id, t.destination_endpoint_id))"
    ),
    Scope.IN_USE: (
        "EXISTS (SELECT FROM task t WHERE t.owner_id = %(viewer)s"
        " AND t.status IN ('ACTIVE', 'INACTIVE')"
        " AND e.id IN (t.source_endpoint_id, t.destination_endpoint_id))"
    ),
}


def _endpoint(**row: Any) -> Endpoint:
    kind = EntityType(row["entity_type"])
    return Endpoint(**{**row, "data_hosts": tuple(row["data_hosts"]), "entity_type": kind})


async def insert(conn: Connection, endpoint: Endpoint, trust_roots: Mapping[str, str]) -> None:
    """Register an endpoint."""
    await conn.execute(
        """
        INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port, subject,
                              trust_roots, data_hosts, public, details, entity_type,
                              host_endpoint_id, base_path, access, share_path)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            endpoint.id,
            endpoint.owner_id,
            endpoint.owner_string,
            endpoint.display_name,
            endpoint.host,
            endpoint.port,
            endpoint.subject,
            Jsonb(dict(trust_roots)),
            list(endpoint.data_hosts),
            endpoint.public,
            Jsonb(endpoint.details),
            endpoint.entity_type,
            endpoint.host_endpoint_id,
            endpoint.base_path,
            endpoint.access,
            endpoint.share_path,
        ),
    )


async def get(conn: Connection, endpoint_id: UUID, *, lock: bool = False) -> Endpoint | None:
    """An endpoint, deleted or not. With `lock`, its row is held until the transaction ends."""
    query = sql.SQL("SELECT {} FROM endpoint e WHERE e.id = %s {}").format(
        sql.SQL(_COLUMNS), sql.SQL("FOR NO KEY UPDATE" if lock else "")
    )
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (endpoint_id,))
        return await cursor.fetchone()


async def get_trust_roots(conn: Connection, endpoint_id: UUID) -> dict[str, str]:
    """{file name: text} of the endpoint's trusted-certificates directory."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT trust_roots FROM endpoint WHERE id = %s", (endpoint_id,))
        row = await cursor.fetchone()
    return row["trust_roots"] if row else {}


async def update(
    conn: Connection, endpoint: Endpoint, trust_roots: Mapping[str, str] | None
) -> None:
    """Write what an owner may change; `trust_roots` None leaves them."""
    await conn.execute(
        """
        UPDATE endpoint
           SET display_name = %s, host = %s, port = %s, subject = %s, data_hosts = %s,
               public = %s, details = %s, trust_roots = coalesce(%s, trust_roots),
               base_path = %s, access = %s
         WHERE id = %s
        """,
        (
            endpoint.display_name,
            endpoint.host,
            endpoint.port,
            endpoint.subject,
            list(endpoint.data_hosts),
            endpoint.public,
            Jsonb(endpoint.details),
            None if trust_roots is None else Jsonb(dict(trust_roots)),
            endpoint.base_path,
            endpoint.access,
            endpoint.id,
        ),
    )


async def mark_deleted(conn: Connection, endpoint_id: UUID, *, deleted: bool = True) -> None:
    """Delete an endpoint for its users (or bring it back); the row stays because tasks name it."""
    await conn.execute(
        "UPDATE endpoint SET deleted_at = CASE WHEN %s THEN now() END WHERE id = %s",
        (deleted, endpoint_id),
    )


async def collections(conn: Connection, endpoint_id: UUID) -> list[Endpoint]:
    """Those of a Connect endpoint that are not deleted, by name."""
    query = sql.SQL(
        "SELECT {} FROM endpoint e WHERE e.host_endpoint_id = %s AND e.deleted_at IS NULL"
        " ORDER BY e.display_name, e.id"
    ).format(sql.SQL(_COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (endpoint_id,))
        return await cursor.fetchall()


async def search(
    conn: Connection,
    viewer: UUID,
    *,
    kinds: Collection[EntityType] = tuple(EntityType),
    host_endpoint_id: UUID | None = None,
    scope: Scope,
    words: Iterable[str] = (),
    owner_id: UUID | None = None,
    limit: int,
    offset: int,
) -> list[Endpoint]:
    """Endpoints that `viewer` may see and whose texts hold all `words`, by name."""
    values: dict[str, object] = {
        "viewer": viewer,
        "owner": owner_id,
        "kinds": list(kinds),
        "host": host_endpoint_id,
        "limit": limit,
        "offset": offset,
    }
    conditions = ["e.entity_type = ANY(%(kinds)s)"]
    if host_endpoint_id is not None:
        conditions.append("e.host_endpoint_id = %(host)s")
    conditions += ["e.deleted_at IS NULL", "(e.public OR e.owner_id = %(viewer)s)", _SCOPES[scope]]
    if owner_id is not None:
        conditions.append("e.owner_id = %(owner)s")
    for number, word in enumerate(words):
        values[f"word{number}"] = "%" + escape_like(word) + "%"
        conditions.append(
            "concat_ws(' ', e.display_name, e.owner_string, e.host, e.id::text,"
            " e.details->>'organization', e.details->>'department', e.details->>'description',"
            f" e.details->>'keywords') ILIKE %(word{number})s"
        )
    query = sql.SQL(
        "SELECT {columns} FROM endpoint e WHERE {where}"
        " ORDER BY lower(e.display_name), e.id LIMIT %(limit)s OFFSET %(offset)s"
    ).format(
        columns=sql.SQL(_COLUMNS),
        where=sql.SQL(" AND ").join(map(sql.SQL, conditions)),
    )
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


def escape_like(text: str) -> str:
    """The text as a LIKE pattern that matches only itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
