"""People as the deployment's services judge them: who somebody is besides, and in which groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection


@dataclass(frozen=True)
class Principal:
    """Somebody, with all that rights may be given to."""

    id: UUID
    username: str
    email: str | None
    identity_set: list[UUID]
    """All identities of the same person; `id` is the first."""
    groups: list[UUID]
    """Those in which any of them is an active member, also by a subgroup."""


_PRINCIPALS = """
SELECT i.id, i.username, i.email, same.identity_set, ARRAY(
    WITH own AS (
        SELECT g.id, g.ancestor_ids FROM membership m JOIN user_group g ON g.id = m.group_id
        WHERE m.identity_id = ANY(same.identity_set) AND m.status = 'active'
    )
    SELECT id FROM own UNION SELECT above FROM own CROSS JOIN unnest(ancestor_ids) AS above
) AS groups
FROM identity i CROSS JOIN LATERAL (
    SELECT array_agg(o.id ORDER BY o.id <> i.id, o.created_at, o.id) AS identity_set
    FROM identity o WHERE o.id = i.id OR o.account_id = i.account_id
) same
WHERE i.id = ANY(%s) AND i.status <> 'closed'
ORDER BY i.id
"""


async def principals(connection: Connection, ids: Sequence[UUID]) -> list[Principal]:
    """Those of ``ids`` that exist."""
    async with connection.cursor(row_factory=class_row(Principal)) as cursor:
        await cursor.execute(_PRINCIPALS, (list(ids),))
        return await cursor.fetchall()
