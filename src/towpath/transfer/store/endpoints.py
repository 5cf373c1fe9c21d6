"""Registered endpoints. Trust roots are read apart: they are large and few callers need them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from psycopg import sql
from psycopg.rows import dict_row, kwargs_row
from psycopg.types.json import Jsonb

from towpath.platform.database import Connection
from towpath.transfer import names
from towpath.transfer.rights import Who
from towpath.transfer.store.rows import fetch
from towpath.tunnel.names import endpoint_of_host


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


@dataclass(frozen=True, slots=True)
class Named:
    """What an endpoint belongs to, as it is shown with it."""

    id: UUID
    entity_type: EntityType
    display_name: str
    owner_string: str
    public: bool


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
    """Of a collection: where it begins in the endpoint's storage. Of a guest collection that is
    computed, whenever it is read."""
    access: Literal["r", "rw"] | None = None
    """Of a collection: whether it may be written."""
    share_path: str | None = None
    """Of a guest collection: its directory in the collection that it shares, a wire path. '' is all
    of that; otherwise it begins with a slash and ends with none."""
    managed: Mapping[str, Any] = field(default_factory=dict)
    """What its managers have set through the GCS Manager API (`transfer.connect.managed`)."""
    reported: Mapping[str, Any] | None = None
    """Of a collection: what its agents say of it, before that."""
    made_by_manager: bool = False
    """Of a collection: made through that API, and known to no agent's own configuration."""

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
        """What goes before a wire path to make it one of the whole storage."""
        return names.to_wire((self.base_path or "").rstrip("/"))

    @property
    def functional(self) -> bool:
        """Whether there are files in it, and not only in its collections."""
        return self.entity_type is not EntityType.CONNECT

    @property
    def connect_id(self) -> UUID:
        """Of what has agents: the endpoint whose they are, of which it is perhaps a part."""
        return endpoint_of_host(self.host) or self.id

    @property
    def of_connect_server(self) -> bool:
        """Whether it is a part of an endpoint with data transfer nodes."""
        return self.entity_type in (EntityType.COLLECTION, EntityType.COLLECTION_SHARE)

    @property
    def shareable(self) -> bool:
        """Whether others than its owner may be let in to parts of it, by who may use it himself."""
        can = self.functional and not self.is_guest
        return can and self.details.get("shareable") is not False


class Scope(StrEnum):
    """Which endpoints a search looks at (Transfer API, endpoint_search, filter_scope)."""

    ALL = "all"
    MINE = "my-endpoints"
    MY_PERSONAL = "my-gcp-endpoints"
    ADMINISTERED = "administered-by-me"
    MANAGED = "managed-by-me"
    """Ours: whose access rules the viewer may change."""
    SHARED_BY_ME = "shared-by-me"
    SHARED_WITH_ME = "shared-with-me"
    RECENTLY_USED = "recently-used"
    IN_USE = "in-use"


BASE_PATH = (
    "CASE WHEN e.share_path IS NULL THEN coalesce(e.base_path, '') ELSE"
    " rtrim(coalesce((SELECT of.base_path FROM endpoint of WHERE of.id = e.host_endpoint_id), ''),"
    " '/') || e.share_path END"
)
"""Where an endpoint `e` begins in the storage of its server; it may end with a slash."""

COLUMNS = (
    "e.id, e.owner_id, e.owner_string, e.display_name, e.host, e.port, e.subject, e.data_hosts,"
    " e.public, e.details, e.deleted_at, e.entity_type, e.host_endpoint_id, e.access, e.share_path,"
    " e.managed, e.reported, e.made_by_manager,"
    f" CASE WHEN e.share_path IS NULL THEN e.base_path ELSE {BASE_PATH} END AS base_path"
)
"""Of an endpoint `e`, as `from_row` reads them."""

# Whose endpoints, or with which role for him: of the viewer; and what rules let him in to. What
# `rights.standing_of` says of one endpoint, for a search over all.
_VIEWERS = """
WITH mine AS (
    SELECT id, true AS administered, true AS managed FROM endpoint
     WHERE owner_id = ANY(%(identities)s) AND deleted_at IS NULL
    UNION ALL
    SELECT endpoint_id, role = 'administrator', role IN ('administrator', 'access_manager')
      FROM role
     WHERE principal_type = 'identity' AND principal = ANY(%(identities)s)
        OR principal_type = 'group' AND principal = ANY(%(groups)s)
), invited AS (
    SELECT endpoint_id AS id, principal IS NOT NULL AS named FROM access_rule
     WHERE (expires_at IS NULL OR expires_at > %(now)s)
       AND (principal_type IN ('all_authenticated_users', 'anonymous')
            OR principal_type = 'identity' AND principal = ANY(%(identities)s)
            OR principal_type = 'group' AND principal = ANY(%(groups)s))
)
"""


def _within(some: str) -> str:
    """Whether an endpoint or what it belongs to is among some. Who has registered a server has no
    say in what others share of it with credentials of their own."""
    return (
        f"(e.id IN {some} OR e.entity_type <> '{EntityType.SERVER_SHARE}'"
        f" AND (h.id IN {some} OR h.host_endpoint_id IN {some}))"
    )


_MINE = "(SELECT id FROM mine)"
_INVITED = "e.id IN (SELECT id FROM invited)"
_VISIBLE = f"(e.public OR {_INVITED} OR {_within(_MINE)})"

_SCOPES = {
    Scope.ALL: "true",
    Scope.MINE: "e.owner_id = ANY(%(identities)s)",
    Scope.MY_PERSONAL: (
        f"e.owner_id = ANY(%(identities)s) AND e.entity_type = '{EntityType.PERSONAL}'"
    ),
    Scope.ADMINISTERED: _within("(SELECT id FROM mine WHERE administered)"),
    Scope.MANAGED: _within("(SELECT id FROM mine WHERE managed)"),
    Scope.SHARED_BY_ME: "e.share_path IS NOT NULL AND e.owner_id = ANY(%(identities)s)",
    Scope.SHARED_WITH_ME: (
        "e.id IN (SELECT id FROM invited WHERE named) AND e.owner_id <> ALL(%(identities)s)"
    ),
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


def from_row(row: Mapping[str, Any]) -> Endpoint:
    """From the columns `COLUMNS`, and any others."""
    share_path = row["share_path"]
    return Endpoint(
        **{
            **{name: row[name] for name in _FIELDS},
            "data_hosts": tuple(row["data_hosts"]),
            "entity_type": EntityType(row["entity_type"]),
            "share_path": None if share_path is None else names.to_wire(share_path),
        }
    )


_FIELDS = tuple(field.name for field in fields(Endpoint))


def _endpoint(**row: Any) -> Endpoint:
    return from_row(row)


async def insert(conn: Connection, endpoint: Endpoint, trust_roots: Mapping[str, str]) -> None:
    """Register an endpoint."""
    await conn.execute(
        """
        INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port, subject,
                              trust_roots, data_hosts, public, details, entity_type,
                              host_endpoint_id, base_path, access, share_path, managed,
                              reported, made_by_manager)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
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
            None if endpoint.share_path is None else names.to_text(endpoint.share_path),
            Jsonb(dict(endpoint.managed)),
            None if endpoint.reported is None else Jsonb(dict(endpoint.reported)),
            endpoint.made_by_manager,
        ),
    )


async def get(conn: Connection, endpoint_id: UUID, *, lock: bool = False) -> Endpoint | None:
    """An endpoint, deleted or not. With `lock`, its row is held until the transaction ends."""
    query = sql.SQL("SELECT {} FROM endpoint e WHERE e.id = %s {}").format(
        sql.SQL(COLUMNS), sql.SQL("FOR NO KEY UPDATE" if lock else "")
    )
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (endpoint_id,))
        return await cursor.fetchone()


async def get_some(
    conn: Connection, endpoint_ids: Collection[UUID], *, limit: int
) -> list[Endpoint]:
    """Those of these that are not deleted, by name."""
    query = sql.SQL(
        "SELECT {} FROM endpoint e WHERE e.id = ANY(%s) AND e.deleted_at IS NULL"
        " ORDER BY lower(e.display_name), e.id LIMIT %s"
    ).format(sql.SQL(COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (list(endpoint_ids), limit))
        return await cursor.fetchall()


async def get_many(conn: Connection, ids: Collection[UUID]) -> dict[UUID, Endpoint]:
    """Endpoints, deleted or not, by id."""
    query = sql.SQL("SELECT {} FROM endpoint e WHERE e.id = ANY(%s)").format(sql.SQL(COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (list(ids),))
        return {one.id: one for one in await cursor.fetchall()}


async def get_trust_roots(conn: Connection, endpoint_id: UUID) -> dict[str, str]:
    """{file name: text} of the endpoint's trusted-certificates directory."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT trust_roots FROM endpoint WHERE id = %s", (endpoint_id,))
        row = await cursor.fetchone()
    return row["trust_roots"] if row else {}


async def update(
    conn: Connection, endpoint: Endpoint, trust_roots: Mapping[str, str] | None
) -> None:
    """Write what an owner may change; `trust_roots` None leaves them. What others share of it is
    where it is."""
    await conn.execute(
        """
        UPDATE endpoint
           SET display_name = %s, host = %s, port = %s, subject = %s, data_hosts = %s,
               public = %s, details = %s, trust_roots = coalesce(%s, trust_roots),
               base_path = %s, access = %s, managed = %s, reported = %s
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
            Jsonb(dict(endpoint.managed)),
            None if endpoint.reported is None else Jsonb(dict(endpoint.reported)),
            endpoint.id,
        ),
    )
    # what is shared of a server is where the server is
    await conn.execute(
        "UPDATE endpoint SET host = %s, port = %s, subject = %s, data_hosts = %s"
        " WHERE host_endpoint_id = %s AND share_path IS NOT NULL",
        (
            endpoint.host,
            endpoint.port,
            endpoint.subject,
            list(endpoint.data_hosts),
            endpoint.id,
        ),
    )


async def mark_deleted(conn: Connection, endpoint_id: UUID) -> None:
    """Delete an endpoint for its users, with all that belongs to it; the rows stay because tasks
    name them. In a transaction.
    """
    await conn.execute("UPDATE endpoint SET deleted_at = now() WHERE id = %s", (endpoint_id,))
    # seen by a statement after the one that holds the row: whoever shares it held it before
    await conn.execute(
        """
        WITH RECURSIVE below AS (
            SELECT id FROM endpoint WHERE host_endpoint_id = %s
            UNION ALL SELECT e.id FROM endpoint e JOIN below b ON e.host_endpoint_id = b.id
        )
        UPDATE endpoint SET deleted_at = now()
         WHERE id IN (SELECT id FROM below) AND deleted_at IS NULL
        """,
        (endpoint_id,),
    )


async def bring_back(conn: Connection, endpoint_id: UUID) -> None:
    """Undo the deletion of an endpoint; not of what belonged to it."""
    await conn.execute("UPDATE endpoint SET deleted_at = NULL WHERE id = %s", (endpoint_id,))


async def above(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, list[Named]]:
    """By endpoint: what each belongs to, the nearest first; nothing of those that are by
    themselves."""
    rows = await fetch(
        conn,
        """
        SELECT e.id, h.id, h.entity_type, h.display_name, h.owner_string, h.public,
               g.id, g.entity_type, g.display_name, g.owner_string, g.public
          FROM endpoint e JOIN endpoint h ON h.id = e.host_endpoint_id
          LEFT JOIN endpoint g ON g.id = h.host_endpoint_id
         WHERE e.id = ANY(%s)
        """,
        (list(ids),),
    )
    found: dict[UUID, list[Named]] = {}
    for row in rows:
        parts = [part for part in (row[1:6], row[6:11]) if part[0] is not None]
        found[row[0]] = [Named(one[0], EntityType(one[1]), *one[2:]) for one in parts]
    return found


async def collections(conn: Connection, endpoint_id: UUID) -> list[Endpoint]:
    """Those that the agents of a Connect endpoint have and that are not deleted, by name."""
    query = sql.SQL(
        "SELECT {} FROM endpoint e WHERE e.host_endpoint_id = %s AND e.deleted_at IS NULL"
        " AND e.share_path IS NULL ORDER BY e.display_name, e.id"
    ).format(sql.SQL(COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (endpoint_id,))
        return await cursor.fetchall()


async def belonging(conn: Connection, endpoint_id: UUID) -> list[Endpoint]:
    """All that belongs to an endpoint and is not deleted, by name: its collections, and what is
    shared of it and of them."""
    query = sql.SQL(
        "SELECT {} FROM endpoint e LEFT JOIN endpoint h ON h.id = e.host_endpoint_id"
        " WHERE e.deleted_at IS NULL AND (h.id = %s OR h.host_endpoint_id = %s)"
        " ORDER BY lower(e.display_name), e.id"
    ).format(sql.SQL(COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (endpoint_id, endpoint_id))
        return await cursor.fetchall()


async def count_shared(conn: Connection, host_id: UUID, owner_id: UUID) -> int:
    """How many guest collections somebody has of a host."""
    rows = await fetch(
        conn,
        "SELECT count(*) FROM endpoint WHERE host_endpoint_id = %s AND owner_id = %s"
        " AND share_path IS NOT NULL AND deleted_at IS NULL",
        (host_id, owner_id),
    )
    return int(rows[0][0])


async def shared_of(
    conn: Connection,
    viewer: Who,
    now: datetime,
    host_id: UUID,
    *,
    after: UUID | None = None,
    limit: int,
) -> list[UUID]:
    """Guest collections of a host that `viewer` may see, whoever shares them, by id; those after
    `after`."""
    rows = await fetch(
        conn,
        f"""
        {_VIEWERS}
        SELECT e.id FROM endpoint e LEFT JOIN endpoint h ON h.id = e.host_endpoint_id
         WHERE e.host_endpoint_id = %(host)s AND e.share_path IS NOT NULL
           AND e.deleted_at IS NULL AND {_VISIBLE}
           AND (%(after)s::uuid IS NULL OR e.id > %(after)s)
         ORDER BY e.id LIMIT %(limit)s
        """,  # noqa: S608 - constants
        {
            "identities": list(viewer.identities),
            "groups": list(viewer.groups),
            "now": now,
            "host": host_id,
            "after": after,
            "limit": limit,
        },
    )
    return [row[0] for row in rows]


async def of_host(conn: Connection, host: str, *, after: UUID | None, limit: int) -> list[Endpoint]:
    """All that belongs to a Connect endpoint with that host name and is not deleted, collections
    and what is shared of them, by id; `after`: those behind that one."""
    query = sql.SQL(
        "SELECT {} FROM endpoint e WHERE e.host = %s AND e.host_endpoint_id IS NOT NULL"
        " AND e.deleted_at IS NULL AND (%s::uuid IS NULL OR e.id > %s) ORDER BY e.id LIMIT %s"
    ).format(sql.SQL(COLUMNS))
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, (host, after, after, limit))
        return await cursor.fetchall()


async def shows_part(conn: Connection, viewer: Who, now: datetime, host: str) -> bool:
    """Whether `viewer` may see something that belongs to a Connect endpoint with that host name."""
    rows = await fetch(
        conn,
        f"""
        {_VIEWERS}
        SELECT EXISTS (SELECT FROM endpoint e LEFT JOIN endpoint h ON h.id = e.host_endpoint_id
                        WHERE e.host = %(host)s AND e.host_endpoint_id IS NOT NULL
                          AND e.deleted_at IS NULL AND {_VISIBLE})
        """,  # noqa: S608 - constants
        {
            "identities": list(viewer.identities),
            "groups": list(viewer.groups),
            "now": now,
            "host": host,
        },
    )
    return bool(rows[0][0])


async def set_managed(conn: Connection, endpoint_id: UUID, managed: Mapping[str, Any]) -> None:
    """What its managers have set, instead of that before."""
    await conn.execute(
        "UPDATE endpoint SET managed = %s WHERE id = %s", (Jsonb(dict(managed)), endpoint_id)
    )


async def search(
    conn: Connection,
    viewer: Who,
    now: datetime,
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
        "viewer": viewer.id,
        "identities": list(viewer.identities),
        "groups": list(viewer.groups),
        "now": now,
        "owner": owner_id,
        "kinds": list(kinds),
        "host": host_endpoint_id,
        "limit": limit,
        "offset": offset,
    }
    conditions = ["e.entity_type = ANY(%(kinds)s)"]
    if host_endpoint_id is not None:
        conditions.append("e.host_endpoint_id = %(host)s")
        # of which private place something is shared, is not told by a search either
        conditions.append(f"(h.public OR e.share_path IS NULL OR {_within(_MINE)})")
    conditions += ["e.deleted_at IS NULL", _VISIBLE, _SCOPES[scope]]
    if owner_id is not None:
        conditions.append("e.owner_id = %(owner)s")
    for number, word in enumerate(words):
        values[f"word{number}"] = "%" + escape_like(word) + "%"
        conditions.append(
            "concat_ws(' ', e.display_name, e.owner_string,"
            " CASE WHEN e.share_path IS NULL THEN e.host END, e.id::text,"
            " e.details->>'organization', e.details->>'department', e.details->>'description',"
            f" e.details->>'keywords') ILIKE %(word{number})s"
        )
    query = sql.SQL(
        "{viewers} SELECT {columns} FROM endpoint e"
        " LEFT JOIN endpoint h ON h.id = e.host_endpoint_id WHERE {where}"
        " ORDER BY lower(e.display_name), e.id LIMIT %(limit)s OFFSET %(offset)s"
    ).format(
        viewers=sql.SQL(_VIEWERS),
        columns=sql.SQL(COLUMNS),
        where=sql.SQL(" AND ").join(map(sql.SQL, conditions)),
    )
    async with conn.cursor(row_factory=kwargs_row(_endpoint)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


def escape_like(text: str) -> str:
    """The text as a LIKE pattern that matches only itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
