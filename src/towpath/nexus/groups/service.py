"""What somebody does with groups: reads the facts, asks the rules, stores what they say.

The routes and the pages both come here, so there is one place where a group is protected. To whom a
group is not visible it does not exist: 404, whatever he tries.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.groups import rules
from towpath.nexus.groups.rules import (
    Action,
    Code,
    Item,
    Membership,
    Policies,
    Refused,
    Right,
    Role,
    Standing,
    Status,
)
from towpath.nexus.store import groups, identities
from towpath.nexus.store.groups import Group, Record
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError

ACTIVE_LIMIT = 1000
"""Active memberships with which one may still create a group, as at Globus: `my_groups` lists them
all at once."""
TREE_LIMIT = 75
"""Subgroups below one root, as at Globus."""
DEPTH_LIMIT = 4
"""Levels of subgroups below a root, as at Globus."""
MEMBERSHIPS_LIMIT = 50_000
"""Of one group: the answer that lists them has no pages either, and is some 15 MB then."""
BATCH_LIMIT = 1000
"""Items of one request: about a second's work, during which the group is locked."""


@dataclass(frozen=True)
class Caller:
    """Who asks, as of one request."""

    identity_id: UUID
    """His effective identity: it becomes the admin of what he creates."""
    identity_ids: frozenset[UUID]
    """All his identities; a right of one is his right."""
    authenticated: Mapping[UUID, datetime]
    """When each identity was authenticated in the session that he acts in."""
    at: datetime
    client_id: UUID | None = None
    """The client through which he acts."""
    may_manage: bool = True
    """Whether his token is for more than seeing his own groups and memberships."""

    @property
    def mine(self) -> list[UUID]:
        """`identity_ids`, as the store takes them."""
        return list(self.identity_ids)


@dataclass(frozen=True)
class Seen:
    """A group, and what the caller is to it."""

    group: Group
    mine: list[Record]
    standing: Standing

    @classmethod
    def of(cls, group: Group, mine: list[Record]) -> "Seen":
        """From the caller's memberships."""
        return cls(group, mine, rules.standing(record.membership for record in mine))

    def may(self, right: Right) -> bool:
        """Whether the caller has the right."""
        return rules.has(right, self.standing, self.group.policies)


@dataclass(frozen=True)
class Shown:
    """A group with those of its parts that were asked for."""

    seen: Seen
    members: list[Record] | None = None
    children: list[Group] | None = None
    allowed: Mapping[Action, list[UUID]] | None = None


@dataclass(frozen=True)
class Request:
    """An item of a batch, with what is noted beside the membership."""

    item: Item
    reason: str | None = None


@dataclass
class Done:
    """What became of a batch, by action."""

    group: Group
    records: dict[Action, list[Record]] = field(default_factory=dict)
    refused: dict[Action, list[tuple[UUID, Refused]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """What a group is called and says of itself."""

    name: str
    description: str | None = None
    terms_and_conditions: str | None = None


def _not_found() -> ApiError:
    return ApiError(404, "NOT_FOUND", "there is no such group, or you may not see it")


def _forbidden(right: str) -> ApiError:
    return ApiError(403, "FORBIDDEN", f"your role in the group does not let you {right}")


async def see(
    connection: Connection, caller: Caller, group_id: UUID, *, lock: bool = False
) -> Seen:
    """The group as the caller sees it; with `lock`, for a change in this transaction.

    Raises 404 also if the group is there and he may not know.
    """
    read = groups.lock if lock else groups.find
    group = await read(connection, group_id)
    if group is None:
        raise _not_found()
    mine = await groups.records_of(connection, group_id, caller.mine)
    seen = Seen.of(group, mine)
    if not seen.may(Right.SEE):
        raise _not_found()
    return seen


def require(seen: Seen, right: Right, caller: Caller) -> None:
    """Raises 403 if the caller has not the right, or not the fresh session that goes with it."""
    if not caller.may_manage:
        raise ApiError(403, "FORBIDDEN", "this needs a token with the Groups scope `all`")
    if not seen.may(right):
        raise _forbidden(right)
    require_fresh(seen, caller)


def is_stale(seen: Seen, caller: Caller) -> bool:
    """Whether the group is a high assurance one, and the caller's login too old for it."""
    relevant = _active(seen) or caller.mine
    return rules.is_stale(seen.group.policies, caller.authenticated, relevant, caller.at)


def _active(seen: Seen) -> list[UUID]:
    """The caller's identities that are in the group."""
    return [
        record.membership.identity_id
        for record in seen.mine
        if record.membership.status is Status.ACTIVE
    ]


def require_fresh(seen: Seen, caller: Caller) -> None:
    """In a high assurance group: 403 with what the clients need to log in again."""
    if not is_stale(seen, caller):
        return
    wanted = sorted(map(str, _active(seen) or [caller.identity_id]))
    message = "this group wants a login that is not older than its limit: log in again"
    raise ApiError(
        403,
        "FORBIDDEN",
        message,
        extras={
            "authorization_parameters": {
                "session_message": message,
                "session_required_identities": wanted,
            }
        },
    )


async def _note(connection: Connection, caller: Caller, kind: audit.Kind, group_id: UUID) -> None:
    await audit.append(connection, Act(kind, caller.identity_id, group_id, caller.client_id))


async def show(
    connection: Connection, caller: Caller, group_id: UUID, include: Iterable[str]
) -> Shown:
    """The group with the parts named in `include`. Raises 404, and 403 for a part that is not for
    the caller."""
    seen = await see(connection, caller, group_id)
    wanted = frozenset(include)
    members = None
    if "memberships" in wanted:
        require(seen, Right.SEE_MEMBERS, caller)
        statuses = tuple(Status) if seen.may(Right.SEE_RECORDS) else (Status.ACTIVE,)
        members = await groups.all_records(connection, group_id, statuses)
    children = None
    if "child_ids" in wanted:
        children = await groups.visible_children(connection, group_id, caller.mine)
    allowed = None
    if "allowed_actions" in wanted and caller.may_manage:
        admins = await groups.active_admins(connection, group_id)
        allowed = allowed_actions(seen, caller, admins)
    return Shown(seen, members, children, allowed)


def allowed_actions(seen: Seen, caller: Caller, active_admins: int) -> dict[Action, list[UUID]]:
    """Which of the caller's identities could do each action, signup fields aside."""
    policies = replace(seen.group.policies, signup_fields=())
    own = {
        record.membership.identity_id: record.membership
        for record in reversed(seen.mine)  # an own membership before one that is implied
    }
    found: dict[Action, list[UUID]] = {}
    for action in Action:
        able = []
        for identity_id in sorted(caller.identity_ids):
            membership = own.get(identity_id)
            alone = rules.standing([membership] if membership else [])
            if action in rules.NEEDED:
                possible = rules.may_ask(action, alone, policies)
            else:
                explicit = membership if membership and not membership.source_group_id else None
                facts = rules.Facts(policies, alone, caller.identity_ids, explicit, active_admins)
                possible = not isinstance(rules.decide(Item(action, identity_id), facts), Refused)
            if possible:
                able.append(identity_id)
        found[action] = able
    return found


async def create(
    connection: Connection,
    caller: Caller,
    words: Words,
    parent_id: UUID | None = None,
    policies: Policies | None = None,
) -> Seen:
    """A new group whose admin the caller is. Raises 404 and 403 for the parent, 409 for a limit."""
    if not caller.may_manage:
        raise ApiError(403, "FORBIDDEN", "this needs a token with the Groups scope `all`")
    if await groups.count_active(connection, caller.mine) >= ACTIVE_LIMIT:
        raise ApiError(
            409, "LIMIT_REACHED", f"who is in {ACTIVE_LIMIT} groups cannot create another one"
        )
    ancestors: tuple[UUID, ...] = ()
    if parent_id is not None:
        ancestors = await _below(connection, caller, parent_id)
    group = Group(
        uuid4(),
        words.name,
        words.description,
        words.terms_and_conditions,
        parent_id,
        ancestors,
        policies or Policies(),
    )
    await groups.add(connection, group)
    founder = Membership(caller.identity_id, Role.ADMIN, Status.ACTIVE)
    await groups.set_membership(connection, group.id, founder)
    await _note(connection, caller, "group.added", group.id)
    return await see(connection, caller, group.id)


async def _below(connection: Connection, caller: Caller, parent_id: UUID) -> tuple[UUID, ...]:
    """The new subgroup's ancestors."""
    parent = await see(connection, caller, parent_id, lock=True)
    require(parent, Right.CREATE_SUBGROUP, caller)
    ancestors = (*parent.group.ancestor_ids, parent_id)
    if len(ancestors) > DEPTH_LIMIT:
        raise ApiError(409, "LIMIT_REACHED", f"groups go {DEPTH_LIMIT} levels below the first")
    root = ancestors[0]
    await groups.lock(connection, root)  # the tree is counted by one at a time
    if await groups.tree_size(connection, root) >= TREE_LIMIT:
        raise ApiError(409, "LIMIT_REACHED", f"a group has {TREE_LIMIT} subgroups at most")
    return ancestors


async def update(connection: Connection, caller: Caller, group_id: UUID, words: Words) -> Seen:
    """Change what the group says of itself."""
    seen = await see(connection, caller, group_id, lock=True)
    require(seen, Right.UPDATE, caller)
    changed = replace(
        seen.group,
        name=words.name,
        description=words.description,
        terms_and_conditions=words.terms_and_conditions,
    )
    await groups.update(connection, changed)
    await _note(connection, caller, "group.changed", group_id)
    return replace(seen, group=changed)


async def set_policies(
    connection: Connection, caller: Caller, group_id: UUID, policies: Policies
) -> Policies:
    """Replace the group's policies."""
    seen = await see(connection, caller, group_id, lock=True)
    require(seen, Right.SET_POLICIES, caller)
    await groups.update(connection, replace(seen.group, policies=policies))
    await _note(connection, caller, "group.policies_changed", group_id)
    return policies


async def delete(connection: Connection, caller: Caller, group_id: UUID) -> Seen:
    """Delete the group; the answer is what it was. 409 while it has subgroups."""
    seen = await see(connection, caller, group_id, lock=True)
    require(seen, Right.DELETE, caller)
    if await groups.child_ids(connection, group_id):
        raise ApiError(409, "HAS_SUBGROUPS", "the group has subgroups: delete them first")
    await groups.delete(connection, group_id)
    await _note(connection, caller, "group.removed", group_id)
    return seen


async def act(
    connection: Connection, caller: Caller, group_id: UUID, requests: Sequence[Request]
) -> Done:
    """Do a batch, one item after the other; what is refused is told, and the rest is done.

    Runs in the caller's transaction, and holds the group's lock to its end. Raises 403 if an action
    is not his to try at all: then nothing is done. 400 if an identity is named twice.
    """
    seen = await see(connection, caller, group_id, lock=True)
    if not caller.may_manage:
        raise ApiError(403, "FORBIDDEN", "this needs a token with the Groups scope `all`")
    _check_batch(seen, requests)
    require_fresh(seen, caller)
    targets = [one.item.identity_id for one in requests]
    facts = await _facts(connection, caller, seen, targets)
    done = Done(seen.group)
    changed: list[tuple[Action, UUID]] = []
    for one in requests:
        item = one.item
        result = rules.decide(item, facts.of(item.identity_id))
        if isinstance(result, Refused):
            done.refused.setdefault(item.action, []).append((item.identity_id, result))
            continue
        inviting = item.action is Action.INVITE
        await groups.set_membership(
            connection,
            group_id,
            result,
            reason=one.reason,
            invited_by=caller.identity_id if inviting else None,
        )
        facts.note(result)
        details = {
            "group": str(group_id),
            "action": str(item.action),
            "role": str(result.role),
            "status": str(result.status),
        }
        act_ = Act(
            "membership.changed",
            caller.identity_id,
            item.identity_id,
            caller.client_id,
            details,
        )
        await audit.append(connection, act_)
        changed.append((item.action, item.identity_id))
    records = await groups.records_of(connection, group_id, [target for _, target in changed])
    by_identity = {record.membership.identity_id: record for record in reversed(records)}
    for action, identity_id in changed:
        done.records.setdefault(action, []).append(by_identity[identity_id])
    return done


def _check_batch(seen: Seen, requests: Sequence[Request]) -> None:
    targets = [one.item.identity_id for one in requests]
    if len(targets) > BATCH_LIMIT:
        raise ApiError(400, "BAD_REQUEST", f"at most {BATCH_LIMIT} memberships at once")
    if len(set(targets)) < len(targets):
        raise ApiError(400, "BAD_REQUEST", "an identity may be named only once in a request")
    for one in requests:
        action = one.item.action
        if not rules.may_ask(action, seen.standing, seen.group.policies):
            raise _forbidden(f"{action} others")


@dataclass
class _Facts:
    """The facts of a batch; they change as its items are done."""

    seen: Seen
    caller: Caller
    memberships: dict[UUID, Membership]
    existing: set[UUID]
    refusing: set[UUID]
    signups: dict[UUID, dict[str, str]]
    admins: int
    room: int

    def of(self, target: UUID) -> rules.Facts:
        return rules.Facts(
            policies=self.seen.group.policies,
            actor=self.seen.standing,
            own_identities=self.caller.identity_ids,
            target=self.memberships.get(target),
            active_admins=self.admins,
            target_exists=target in self.existing,
            target_allows_add=target not in self.refusing,
            signup=self.signups.get(target, {}),
            full=self.room <= 0,
        )

    def note(self, after: Membership) -> None:
        before = self.memberships.get(after.identity_id)
        self.room -= before is None
        self.admins += _is_admin(after) - _is_admin(before)
        self.memberships[after.identity_id] = after


def _is_admin(membership: Membership | None) -> bool:
    return (
        membership is not None
        and membership.status is Status.ACTIVE
        and membership.role is Role.ADMIN
    )


async def _facts(
    connection: Connection, caller: Caller, seen: Seen, targets: Sequence[UUID]
) -> _Facts:
    group_id = seen.group.id
    records = await groups.records_of(connection, group_id, targets)
    own = {
        record.membership.identity_id: record.membership
        for record in records
        if record.membership.source_group_id is None
    }
    new = len(own) < len(targets)
    return _Facts(
        seen,
        caller,
        own,
        {
            one.id
            for one in await identities.identities_by_id(connection, targets)
            if one.status != "closed"
        },
        await groups.refusing_adds(connection, targets),
        await groups.signups(connection, group_id, targets),
        await groups.active_admins(connection, group_id),
        MEMBERSHIPS_LIMIT - await groups.size(connection, group_id) if new else MEMBERSHIPS_LIMIT,
    )


async def give(connection: Connection, group_id: UUID, identity_id: UUID) -> None:
    """Make somebody an admin, by the deployment's operator and not by the group's rules: the way
    out when a group has lost its last admin. Raises 404."""
    if await groups.lock(connection, group_id) is None:
        raise _not_found()
    admin = Membership(identity_id, Role.ADMIN, Status.ACTIVE)
    await groups.set_membership(connection, group_id, admin)
    details = {"group": str(group_id), "action": "given", "role": "admin", "status": "active"}
    await audit.append(connection, Act("membership.changed", subject=identity_id, details=details))


async def signup_fields(
    connection: Connection, caller: Caller, group_id: UUID
) -> dict[UUID, dict[str, str]]:
    """What each of the caller's identities has told the group."""
    await see(connection, caller, group_id)
    known = await groups.signups(connection, group_id, caller.mine)
    return {one: known.get(one, {}) for one in caller.mine}


async def set_signup_fields(
    connection: Connection,
    caller: Caller,
    group_id: UUID,
    told: Mapping[UUID, Mapping[str, str]],
) -> dict[UUID, dict[str, str]]:
    """Replace what the caller's identities tell the group. 403 for an identity of another."""
    seen = await see(connection, caller, group_id)
    if not caller.may_manage:
        raise ApiError(403, "FORBIDDEN", "this needs a token with the Groups scope `all`")
    require_own(caller, told)
    require_fresh(seen, caller)
    for identity_id, fields in told.items():
        await groups.set_signup(connection, group_id, identity_id, fields)
    return await signup_fields(connection, caller, group_id)


def require_own(caller: Caller, identity_ids: Iterable[UUID]) -> None:
    """403 unless they are the caller's identities."""
    if not caller.identity_ids.issuperset(identity_ids):
        raise ApiError(403, "FORBIDDEN", rules.DETAILS[Code.NOT_YOUR_IDENTITY])
