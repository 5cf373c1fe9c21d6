"""Roles and access rules, and what they make of a person at an endpoint."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from towpath.platform.database import Connection
from towpath.transfer import names
from towpath.transfer.rights import (
    PrincipalType,
    Role,
    Rule,
    Shared,
    Standing,
    Who,
    shared_at,
    standing_of,
)
from towpath.transfer.store.endpoints import Endpoint

WITH_HOST = "endpoint e LEFT JOIN endpoint h ON h.id = e.host_endpoint_id"
"""An endpoint `e`, and what it belongs to, `h`."""

_HOLDERS = """(
        e.id, CASE WHEN e.entity_type <> 'GCSv4_share' THEN h.id END,
        CASE WHEN e.entity_type <> 'GCSv4_share' THEN h.host_endpoint_id END)"""

CHAIN = f"{WITH_HOST} JOIN endpoint a ON a.id IN {_HOLDERS}"
"""The same, and all whose roles are good for it (`a`): a guest collection belongs to a collection,
and that to an endpoint. But who has registered a server has no say in what others share of it with
credentials of their own."""


def standing_columns(identities: str, groups: str) -> str:
    """Of `WITH_HOST`: the facts about somebody that `standings_by` reads. Both are SQL, of arrays.

    What is shared is closed while its host may not be shared (any more), and when who shares it is
    suspended or gone.
    """
    return f"""
       ARRAY(SELECT a.owner_id FROM endpoint a WHERE a.id IN {_HOLDERS}) AS owners,
       ARRAY(SELECT r.role FROM role r WHERE r.endpoint_id IN {_HOLDERS}
                AND (r.principal_type = 'identity' AND r.principal = ANY({identities})
                     OR r.principal_type = 'group' AND r.principal = ANY({groups}))) AS roles,
       e.share_path IS NOT NULL
           AND (coalesce(h.details->>'shareable', '') = 'false' OR h.deleted_at IS NOT NULL
                OR EXISTS (SELECT FROM owner_state o WHERE o.owner_id = e.owner_id)) AS closed,
       h.access = 'r' AS read_only, h.managed->'sharing_restrict_paths' AS restrictions
    """  # noqa: S608 - constants


_STANDING = f"""
SELECT e.id, {standing_columns("%(identities)s", "%(groups)s")}
  FROM {WITH_HOST} WHERE e.id = ANY(%(endpoints)s)
"""  # noqa: S608 - constants

_RULES = """
SELECT endpoint_id, id, principal_type, principal, path, permissions, created_at, expires_at
FROM access_rule
WHERE endpoint_id = ANY(%(endpoints)s)
  AND (principal_type IN ('all_authenticated_users', 'anonymous')
       OR principal_type = 'identity' AND principal = ANY(%(identities)s)
       OR principal_type = 'group' AND principal = ANY(%(groups)s))
"""


async def standing(
    conn: Connection, endpoint: Endpoint, who: Who | None, now: datetime
) -> Standing:
    """What a person is at an endpoint, and may do there; None: who has not logged in."""
    return (await standings(conn, [endpoint], who, now))[endpoint.id]


async def standings(
    conn: Connection, endpoints: Sequence[Endpoint], who: Who | None, now: datetime
) -> dict[UUID, Standing]:
    """The same of several endpoints, by their ids."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_STANDING.encode(), _asked(endpoints, who))
        facts = {row["id"]: row for row in await cursor.fetchall()}
    return await standings_by(conn, facts, endpoints, who, now)


async def standings_by(
    conn: Connection,
    facts: Mapping[UUID, Mapping[str, Any]],
    endpoints: Sequence[Endpoint],
    who: Who | None,
    now: datetime,
) -> dict[UUID, Standing]:
    """The same, where `standing_columns` of each have been read. Asks for access rules if any of
    them goes by some."""
    rules: dict[UUID, list[Rule]] = {}
    if any(one.is_guest for one in endpoints):
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_RULES, _asked(endpoints, who))
            for row in await cursor.fetchall():
                rules.setdefault(row["endpoint_id"], []).append(rule_of(row))
    return {
        one.id: standing_of(
            who,
            owners=facts[one.id]["owners"],
            roles=[Role(role) for role in facts[one.id]["roles"]],
            rules=rules.get(one.id, ()),
            public=one.public,
            guest=one.is_guest,
            shared=_shared(one, facts[one.id]),
            now=now,
        )
        for one in endpoints
    }


def _asked(endpoints: Sequence[Endpoint], who: Who | None) -> dict[str, list[UUID]]:
    return {
        "endpoints": [one.id for one in endpoints],
        "identities": [] if who is None else list(who.identities),
        "groups": [] if who is None else list(who.groups),
    }


def _shared(endpoint: Endpoint, facts: Mapping[str, Any]) -> Shared:
    if endpoint.share_path is None:
        return "rw"
    if facts["closed"]:
        return "none"
    most = shared_at(facts["restrictions"], endpoint.share_path)
    return "r" if most == "rw" and facts["read_only"] else most


def rule_of(row: dict[str, Any]) -> Rule:
    """From a row of access_rule."""
    return Rule(
        id=row["id"],
        principal_type=PrincipalType(row["principal_type"]),
        principal=row["principal"],
        path=names.to_wire(row["path"]),
        writes=row["permissions"] == "rw",
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
