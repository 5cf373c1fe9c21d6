"""Roles and access rules, and what they make of a person at an endpoint."""

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from towpath.platform.database import Connection
from towpath.transfer.rights import PrincipalType, Role, Rule, Standing, Who, standing_of
from towpath.transfer.store.endpoints import Endpoint

# A guest collection belongs to a collection, and that to an endpoint: three at most. But who has
# registered a server has no say in what others share of it with credentials of their own.
_STANDING = """
WITH RECURSIVE chain AS (
    SELECT e.id, e.owner_id, e.host_endpoint_id, e.entity_type, 1 AS depth
    FROM endpoint e WHERE e.id = %(endpoint)s
    UNION ALL
    SELECT e.id, e.owner_id, e.host_endpoint_id, e.entity_type, c.depth + 1
    FROM endpoint e JOIN chain c ON e.id = c.host_endpoint_id
    WHERE c.depth < 3 AND c.entity_type <> 'GCSv4_share'
)
SELECT array(SELECT owner_id FROM chain) AS owners,
       array(SELECT DISTINCT r.role FROM role r JOIN chain c ON r.endpoint_id = c.id
             WHERE r.principal_type = 'identity' AND r.principal = ANY(%(identities)s)
                OR r.principal_type = 'group' AND r.principal = ANY(%(groups)s)) AS roles
"""

_RULES = """
SELECT id, principal_type, principal, path, permissions, created_at, expires_at
FROM access_rule
WHERE endpoint_id = %(endpoint)s
  AND (principal_type IN ('all_authenticated_users', 'anonymous')
       OR principal_type = 'identity' AND principal = ANY(%(identities)s)
       OR principal_type = 'group' AND principal = ANY(%(groups)s))
"""


async def standing(
    conn: Connection, endpoint: Endpoint, who: Who | None, now: datetime
) -> Standing:
    """What a person is at an endpoint, and may do there; None: who has not logged in."""
    asked = {
        "endpoint": endpoint.id,
        "identities": [] if who is None else list(who.identities),
        "groups": [] if who is None else list(who.groups),
    }
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_STANDING, asked)
        row = await cursor.fetchone()
        assert row is not None, "it has no FROM that could be empty"
        rules = []
        if endpoint.is_guest:
            await cursor.execute(_RULES, asked)
            rules = [rule_of(one) for one in await cursor.fetchall()]
    return standing_of(
        who,
        owners=row["owners"],
        roles=[Role(one) for one in row["roles"]],
        rules=rules,
        public=endpoint.public,
        guest=endpoint.is_guest,
        now=now,
    )


def rule_of(row: dict[str, Any]) -> Rule:
    """From a row of access_rule."""
    return Rule(
        id=row["id"],
        principal_type=PrincipalType(row["principal_type"]),
        principal=row["principal"],
        path=row["path"],
        writes=row["permissions"] == "rw",
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
