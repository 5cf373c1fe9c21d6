"""Groups and memberships.

A member of a subgroup is, by that, a member of every group above it. Such *implied* memberships are
not stored: they are read through the subgroup's `ancestor_ids`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from towpath.nexus.groups.rules import (
    GroupVisibility,
    Membership,
    MembersVisibility,
    Policies,
    Role,
    SignupField,
    Status,
)
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Group:
    """A group, without its members."""

    id: UUID
    name: str
    description: str | None
    terms_and_conditions: str | None
    parent_id: UUID | None
    ancestor_ids: tuple[UUID, ...]
    """From the root down to the parent."""
    policies: Policies


@dataclass(frozen=True)
class Record:
    """A membership as it is shown."""

    group_id: UUID
    membership: Membership
    username: str
    status_reason: str | None = None
    invited_at: datetime | None = None
    updated_at: datetime | None = None
    signup: Mapping[str, str] = field(default_factory=dict)


_GROUP = """
g.id, g.name, g.description, g.terms_and_conditions, g.parent_id, g.ancestor_ids, g.visibility,
g.members_visibility, g.join_requests, g.direct_joins, g.signup_fields, g.high_assurance,
g.assurance_timeout_s
"""
_FIND = f"SELECT {_GROUP} FROM user_group g WHERE g.id = %s"  # noqa: S608 - constants


def _group(row: DictRow) -> Group:
    policies = Policies(
        GroupVisibility(row["visibility"]),
        MembersVisibility(row["members_visibility"]),
        row["join_requests"],
        row["direct_joins"],
        tuple(SignupField(one) for one in row["signup_fields"]),
        row["high_assurance"],
        row["assurance_timeout_s"],
    )
    return Group(
        row["id"],
        row["name"],
        row["description"],
        row["terms_and_conditions"],
        row["parent_id"],
        tuple(row["ancestor_ids"]),
        policies,
    )


def _membership(row: DictRow) -> Membership:
    return Membership(
        row["identity_id"], Role(row["role"]), Status(row["status"]), row["source_group_id"]
    )


def _record(row: DictRow) -> Record:
    return Record(
        row["group_id"],
        _membership(row),
        row["username"],
        row["status_reason"],
        row["invited_at"],
        row["updated_at"],
        row.get("fields") or {},
    )


async def find(connection: Connection, group_id: UUID) -> Group | None:
    """The group, if there is one."""
    cursor = await connection.execute(_FIND, (group_id,))
    row = await cursor.fetchone()
    return None if row is None else _group(row)


async def lock(connection: Connection, group_id: UUID) -> Group | None:
    """The group; until the transaction ends, nobody else changes it or its memberships.

    Whoever changes a membership does this first, so that "the last admin" is a fact and two admins
    who remove each other do it one after the other.
    """
    cursor = await connection.execute(_FIND + " FOR NO KEY UPDATE", (group_id,))
    row = await cursor.fetchone()
    return None if row is None else _group(row)


async def add(connection: Connection, group: Group) -> None:
    """Store a new group, without members."""
    policies = group.policies
    await connection.execute(
        "INSERT INTO user_group (id, name, description, terms_and_conditions, parent_id,"
        " ancestor_ids, visibility, members_visibility, join_requests, direct_joins,"
        " signup_fields, high_assurance, assurance_timeout_s)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            group.id,
            group.name,
            group.description,
            group.terms_and_conditions,
            group.parent_id,
            list(group.ancestor_ids),
            *_policy_values(policies),
        ),
    )


def _policy_values(policies: Policies) -> tuple[Any, ...]:
    return (
        str(policies.visibility),
        str(policies.members_visibility),
        policies.join_requests,
        policies.direct_joins,
        [str(one) for one in policies.signup_fields],
        policies.high_assurance,
        policies.assurance_timeout_s,
    )


async def update(connection: Connection, group: Group) -> None:
    """Store the group's words and policies."""
    await connection.execute(
        "UPDATE user_group SET name = %s, description = %s, terms_and_conditions = %s,"
        " visibility = %s, members_visibility = %s, join_requests = %s, direct_joins = %s,"
        " signup_fields = %s, high_assurance = %s, assurance_timeout_s = %s WHERE id = %s",
        (
            group.name,
            group.description,
            group.terms_and_conditions,
            *_policy_values(group.policies),
            group.id,
        ),
    )


async def delete(connection: Connection, group_id: UUID) -> None:
    """Delete a group without subgroups, with all that belongs to it."""
    await connection.execute("DELETE FROM user_group WHERE id = %s", (group_id,))


async def child_ids(connection: Connection, group_id: UUID) -> list[UUID]:
    """The subgroups right below."""
    cursor = await connection.execute(
        "SELECT id FROM user_group WHERE parent_id = %s ORDER BY id", (group_id,)
    )
    return [row["id"] async for row in cursor]


_VISIBLE_CHILDREN = f"""
SELECT {_GROUP} FROM user_group g WHERE g.parent_id = %(group)s AND (
  g.visibility = 'authenticated'
  OR EXISTS (SELECT FROM membership m WHERE m.group_id = g.id
    AND m.identity_id = ANY(%(mine)s) AND m.status IN ('active', 'invited', 'pending'))
  OR EXISTS (SELECT FROM membership m JOIN user_group below ON below.id = m.group_id
    WHERE m.identity_id = ANY(%(mine)s) AND m.status = 'active'
      AND below.ancestor_ids @> ARRAY[g.id])
) ORDER BY g.name, g.id
"""  # noqa: S608 - constants


async def visible_children(
    connection: Connection, group_id: UUID, identity_ids: Sequence[UUID]
) -> list[Group]:
    """Those of the subgroups right below that one of the identities may see: they are visible to
    all, or the identity is in them, in a group below them, invited or waiting."""
    cursor = await connection.execute(
        _VISIBLE_CHILDREN,
        {"group": group_id, "mine": list(identity_ids)},
    )
    return [_group(row) async for row in cursor]


async def tree_size(connection: Connection, root_id: UUID) -> int:
    """How many subgroups there are below a root, at any depth."""
    cursor = await connection.execute(
        "SELECT count(*) AS n FROM user_group"
        " WHERE parent_id IS NOT NULL AND ancestor_ids @> ARRAY[%s]",
        (root_id,),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["n"])


_MY_GROUPS = f"""
WITH own AS (
  SELECT group_id, identity_id, role, status FROM membership
  WHERE identity_id = ANY(%(mine)s) AND status = ANY(%(statuses)s)
), implied AS (
  SELECT DISTINCT ON (above, own.identity_id)
    above AS group_id, own.identity_id, own.group_id AS source_group_id
  FROM own JOIN user_group below ON below.id = own.group_id
    CROSS JOIN unnest(below.ancestor_ids) AS above
  WHERE own.status = 'active' AND below.parent_id IS NOT NULL
  ORDER BY above, own.identity_id, own.group_id
), mine AS (
  SELECT group_id, identity_id, role, status, NULL::uuid AS source_group_id FROM own
  UNION ALL
  SELECT group_id, identity_id, 'member', 'active', source_group_id FROM implied
  WHERE NOT EXISTS (SELECT FROM own WHERE own.group_id = implied.group_id
    AND own.identity_id = implied.identity_id AND own.status = 'active')
)
SELECT {_GROUP}, mine.group_id, mine.identity_id, mine.role, mine.status, mine.source_group_id,
  i.username, NULL AS status_reason, NULL AS invited_at, NULL AS updated_at
FROM mine JOIN user_group g ON g.id = mine.group_id JOIN identity i ON i.id = mine.identity_id
ORDER BY g.name, g.id, i.username
"""  # noqa: S608 - constants


async def my_groups(
    connection: Connection, identity_ids: Sequence[UUID], statuses: Iterable[Status]
) -> list[tuple[Group, list[Record]]]:
    """The groups in which one of the identities has one of the statuses, by name; with those
    memberships. Where it is active in a subgroup, it is an active member of what is above."""
    cursor = await connection.execute(
        _MY_GROUPS,
        {"mine": list(identity_ids), "statuses": [str(one) for one in statuses]},
    )
    found: dict[UUID, tuple[Group, list[Record]]] = {}
    async for row in cursor:
        if row["id"] not in found:
            found[row["id"]] = (_group(row), [])
        found[row["id"]][1].append(_record(row))
    return list(found.values())


_GROUP_IDS = """
WITH own AS (
  SELECT g.id, g.ancestor_ids FROM membership m JOIN user_group g ON g.id = m.group_id
  WHERE m.identity_id = ANY(%s) AND m.status = 'active'
)
SELECT id FROM own UNION SELECT above FROM own CROSS JOIN unnest(ancestor_ids) AS above
"""


async def group_ids_of(connection: Connection, identity_ids: Sequence[UUID]) -> list[UUID]:
    """The groups in which one of the identities is an active member, also by a subgroup."""
    cursor = await connection.execute(_GROUP_IDS, (list(identity_ids),))
    return [row["id"] async for row in cursor]


_IS_MEMBER = """
SELECT EXISTS (
  SELECT FROM membership m WHERE m.group_id = %(group)s AND m.identity_id = ANY(%(mine)s)
    AND m.status = 'active'
) OR EXISTS (
  SELECT FROM membership m JOIN user_group g ON g.id = m.group_id
  WHERE m.identity_id = ANY(%(mine)s) AND m.status = 'active' AND %(group)s = ANY(g.ancestor_ids)
) AS member
"""


async def is_member(connection: Connection, group_id: UUID, identity_ids: Sequence[UUID]) -> bool:
    """Whether one of the identities is an active member of the group, also by a subgroup."""
    cursor = await connection.execute(_IS_MEMBER, {"group": group_id, "mine": list(identity_ids)})
    row = await cursor.fetchone()
    return row is not None and bool(row["member"])


_OWN_RECORD = """
SELECT m.group_id, m.identity_id, m.role, m.status, NULL::uuid AS source_group_id, i.username,
m.status_reason, m.invited_at, m.updated_at, s.fields
FROM membership m JOIN identity i ON i.id = m.identity_id
LEFT JOIN signup s ON s.group_id = m.group_id AND s.identity_id = m.identity_id
WHERE m.group_id = %(group)s
"""

_IMPLIED_RECORD = """
SELECT DISTINCT ON (m.identity_id) %(group)s::uuid AS group_id, m.identity_id, 'member' AS role,
  'active' AS status, m.group_id AS source_group_id, i.username, NULL::text AS status_reason,
  NULL::timestamptz AS invited_at, NULL::timestamptz AS updated_at, NULL::jsonb AS fields
FROM user_group below JOIN membership m ON m.group_id = below.id
  JOIN identity i ON i.id = m.identity_id
WHERE below.parent_id IS NOT NULL AND below.ancestor_ids @> ARRAY[%(group)s::uuid]
  AND m.status = 'active'
  AND NOT EXISTS (SELECT FROM membership own WHERE own.group_id = %(group)s
    AND own.identity_id = m.identity_id AND own.status = 'active')
"""


async def records_of(
    connection: Connection, group_id: UUID, identity_ids: Sequence[UUID]
) -> list[Record]:
    """How these identities stand to the group; implied memberships last."""
    parameters = {"group": group_id, "mine": list(identity_ids)}
    own = await connection.execute(
        _OWN_RECORD + " AND m.identity_id = ANY(%(mine)s) ORDER BY i.username",
        parameters,
    )
    found = [_record(row) async for row in own]
    implied = await connection.execute(
        _IMPLIED_RECORD + " AND m.identity_id = ANY(%(mine)s) ORDER BY m.identity_id, m.group_id",
        parameters,
    )
    return found + [_record(row) async for row in implied]


async def all_records(
    connection: Connection, group_id: UUID, statuses: Iterable[Status] = tuple(Status)
) -> list[Record]:
    """Every membership with one of the statuses, by name; implied ones last."""
    own = await connection.execute(
        _OWN_RECORD + " AND m.status = ANY(%(statuses)s) ORDER BY i.username",
        {"group": group_id, "statuses": [str(one) for one in statuses]},
    )
    found = [_record(row) async for row in own]
    implied = await connection.execute(
        _IMPLIED_RECORD + " ORDER BY m.identity_id, m.group_id", {"group": group_id}
    )
    return found + sorted(
        [_record(row) async for row in implied], key=lambda record: record.username
    )


async def active_admins(connection: Connection, group_id: UUID) -> int:
    """How many active admins the group has."""
    cursor = await connection.execute(
        "SELECT count(*) AS n FROM membership"
        " WHERE group_id = %s AND role = 'admin' AND status = 'active'",
        (group_id,),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["n"])


async def without_admin(connection: Connection) -> list[tuple[UUID, str]]:
    """Groups that have no active admin who can log in: id and name."""
    cursor = await connection.execute(
        "SELECT id, name FROM user_group g WHERE NOT EXISTS (SELECT FROM membership m"
        " JOIN identity i ON i.id = m.identity_id LEFT JOIN account a ON a.id = i.account_id"
        " WHERE m.group_id = g.id AND m.role = 'admin' AND m.status = 'active'"
        " AND a.suspended_at IS NULL) ORDER BY name, id"
    )
    return [(row["id"], row["name"]) async for row in cursor]


async def size(connection: Connection, group_id: UUID) -> int:
    """How many memberships are stored, whatever their status."""
    cursor = await connection.execute(
        "SELECT count(*) AS n FROM membership WHERE group_id = %s", (group_id,)
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["n"])


async def count_active(connection: Connection, identity_ids: Sequence[UUID]) -> int:
    """How many active memberships the identities have together."""
    cursor = await connection.execute(
        "SELECT count(*) AS n FROM membership WHERE identity_id = ANY(%s) AND status = 'active'",
        (list(identity_ids),),
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["n"])


async def status_counts(
    connection: Connection, identity_ids: Sequence[UUID]
) -> dict[UUID, dict[Status, int]]:
    """For each group that one of the identities manages, how many memberships have each status."""
    cursor = await connection.execute(
        "SELECT group_id, status, count(*) AS n FROM membership WHERE group_id IN"
        " (SELECT group_id FROM membership WHERE identity_id = ANY(%s) AND status = 'active'"
        "  AND role <> 'member') GROUP BY group_id, status",
        (list(identity_ids),),
    )
    found: dict[UUID, dict[Status, int]] = {}
    async for row in cursor:
        found.setdefault(row["group_id"], {})[Status(row["status"])] = row["n"]
    return found


async def set_membership(
    connection: Connection,
    group_id: UUID,
    membership: Membership,
    *,
    reason: str | None = None,
    invited_by: UUID | None = None,
) -> None:
    """Store a membership; with ``invited_by``, as an invitation of now."""
    await connection.execute(
        "INSERT INTO membership"
        " (group_id, identity_id, role, status, status_reason, invited_by, invited_at)"
        " VALUES (%(group)s, %(identity)s, %(role)s, %(status)s, %(reason)s, %(by)s,"
        " CASE WHEN %(by)s::uuid IS NOT NULL THEN now() END)"
        " ON CONFLICT (group_id, identity_id) DO UPDATE SET role = excluded.role,"
        " status = excluded.status, status_reason = excluded.status_reason, updated_at = now(),"
        " invited_by = coalesce(excluded.invited_by, membership.invited_by),"
        " invited_at = coalesce(excluded.invited_at, membership.invited_at)",
        {
            "group": group_id,
            "identity": membership.identity_id,
            "role": str(membership.role),
            "status": str(membership.status),
            "reason": reason,
            "by": invited_by,
        },
    )


async def signups(
    connection: Connection, group_id: UUID, identity_ids: Sequence[UUID]
) -> dict[UUID, dict[str, str]]:
    """What each of the identities has told the group."""
    cursor = await connection.execute(
        "SELECT identity_id, fields FROM signup WHERE group_id = %s AND identity_id = ANY(%s)",
        (group_id, list(identity_ids)),
    )
    return {row["identity_id"]: row["fields"] async for row in cursor}


async def set_signup(
    connection: Connection, group_id: UUID, identity_id: UUID, fields: Mapping[str, str]
) -> None:
    """Replace what an identity tells the group."""
    await connection.execute(
        "INSERT INTO signup (group_id, identity_id, fields) VALUES (%s, %s, %s)"
        " ON CONFLICT (group_id, identity_id) DO UPDATE SET fields = excluded.fields",
        (group_id, identity_id, Jsonb(dict(fields))),
    )


async def refusing_adds(connection: Connection, identity_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the identities that do not let others add them to a group."""
    cursor = await connection.execute(
        "SELECT identity_id FROM group_preference WHERE identity_id = ANY(%s) AND NOT allow_add",
        (list(identity_ids),),
    )
    return {row["identity_id"] async for row in cursor}


async def set_allow_add(connection: Connection, identity_id: UUID, *, allow: bool) -> None:
    """Whether others may add the identity to a group."""
    await connection.execute(
        "INSERT INTO group_preference (identity_id, allow_add) VALUES (%s, %s)"
        " ON CONFLICT (identity_id) DO UPDATE SET allow_add = excluded.allow_add",
        (identity_id, allow),
    )
