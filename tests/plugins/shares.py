"""Guest collections and their rules, made in the database as the API makes them."""

from datetime import datetime
from uuid import UUID, uuid4

from towpath.platform.database import Connection
from towpath.transfer.rights import PrincipalType, Who
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint, EntityType

_KINDS = {
    EntityType.SERVER: EntityType.SERVER_SHARE,
    EntityType.PERSONAL: EntityType.PERSONAL_SHARE,
    EntityType.COLLECTION: EntityType.COLLECTION_SHARE,
}


async def share(
    conn: Connection, host: Endpoint, sharer: Who, path: str, *, name: str = "results"
) -> Endpoint:
    """A guest collection: `path` of `host`."""
    made = Endpoint(
        id=uuid4(),
        owner_id=sharer.id,
        owner_string=sharer.username or "somebody",
        display_name=name,
        host=host.host,
        port=host.port,
        subject=host.subject,
        data_hosts=host.data_hosts,
        public=False,
        details={},
        entity_type=_KINDS[host.entity_type],
        host_endpoint_id=host.id,
        share_path=path.rstrip("/"),
    )
    await endpoints.insert(conn, made, {})
    found = await endpoints.get(conn, made.id)
    assert found is not None
    return found


async def allow(
    conn: Connection,
    guest: Endpoint | UUID,
    path: str = "/",
    permissions: str = "r",
    *,
    who: Who | None = None,
    group: UUID | None = None,
    expires_at: datetime | None = None,
) -> UUID:
    """A rule, for somebody, for a group, or for all who are logged in; its id."""
    rule_id = uuid4()
    kind, principal = PrincipalType.ALL, None
    if who is not None:
        kind, principal = PrincipalType.IDENTITY, who.id
    elif group is not None:
        kind, principal = PrincipalType.GROUP, group
    guest_id = guest if isinstance(guest, UUID) else guest.id
    await conn.execute(
        "INSERT INTO access_rule (id, endpoint_id, principal_type, principal, path, permissions,"
        " created_by, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (rule_id, guest_id, kind, principal, path, permissions, uuid4(), expires_at),
    )
    return rule_id


async def take_back(conn: Connection, rule_id: UUID) -> None:
    """The rule is gone."""
    await conn.execute("DELETE FROM access_rule WHERE id = %s", (rule_id,))
