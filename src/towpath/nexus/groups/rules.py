"""Who may see and do what in a group: pure decisions, from facts that the caller has read.

The rules are those of the Groups API's own description (groups.api.globus.org, v2), made whole
where it is silent; `docs/reference/groups.md` shows both tables below, and a test holds it to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What an active member may do."""

    MEMBER = "member"
    MANAGER = "manager"
    ADMIN = "admin"


class Status(StrEnum):
    """How an identity stands to a group. Only `ACTIVE` makes it a member."""

    ACTIVE = "active"
    INVITED = "invited"
    PENDING = "pending"
    REJECTED = "rejected"
    REMOVED = "removed"
    LEFT = "left"
    DECLINED = "declined"


class GroupVisibility(StrEnum):
    """Who learns that the group is there."""

    AUTHENTICATED = "authenticated"
    PRIVATE = "private"


class MembersVisibility(StrEnum):
    """Who learns who is in it."""

    MEMBERS = "members"
    MANAGERS = "managers"


class SignupField(StrEnum):
    """What a group may ask of those who join it themselves."""

    INSTITUTION = "institution"
    CURRENT_PROJECT_NAME = "current_project_name"
    ADDRESS = "address"
    CITY = "city"
    STATE = "state"
    COUNTRY = "country"
    ADDRESS1 = "address1"
    ADDRESS2 = "address2"
    ZIP = "zip"
    PHONE = "phone"
    DEPARTMENT = "department"
    FIELD_OF_SCIENCE = "field_of_science"


ASSURANCE_TIMEOUT_S = 28_800
"""Unless the group says otherwise."""


@dataclass(frozen=True)
class Policies:
    """What a group's admins decide. The defaults are those of a new group."""

    visibility: GroupVisibility = GroupVisibility.PRIVATE
    members_visibility: MembersVisibility = MembersVisibility.MANAGERS
    join_requests: bool = False
    """Whether who sees the group may ask to join it."""
    direct_joins: bool = False
    """Whether who sees the group may join it at once. Never in a high assurance group."""
    signup_fields: tuple[SignupField, ...] = ()
    high_assurance: bool = False
    """Whether who acts in the group must have logged in lately."""
    assurance_timeout_s: int = ASSURANCE_TIMEOUT_S


@dataclass(frozen=True)
class Membership:
    """How one identity stands to one group."""

    identity_id: UUID
    role: Role
    status: Status
    source_group_id: UUID | None = None
    """The subgroup whose active member it is, which makes it a member here (role `member`)."""


class Standing(StrEnum):
    """What somebody, with all his identities, is to a group; weakest first."""

    STRANGER = "stranger"
    FORMER = "former"
    INVITED = "invited"
    PENDING = "pending"
    IMPLIED = "member of a subgroup"
    MEMBER = "member"
    MANAGER = "manager"
    ADMIN = "admin"


_STANDING_OF_ROLE = {
    Role.MEMBER: Standing.MEMBER,
    Role.MANAGER: Standing.MANAGER,
    Role.ADMIN: Standing.ADMIN,
}
_STANDING_OF_STATUS = {Status.INVITED: Standing.INVITED, Status.PENDING: Standing.PENDING}
_ORDER = list(Standing)


def standing_of(membership: Membership) -> Standing:
    """What one membership makes of its identity."""
    if membership.status is not Status.ACTIVE:
        return _STANDING_OF_STATUS.get(membership.status, Standing.FORMER)
    if membership.source_group_id is not None:
        return Standing.IMPLIED
    return _STANDING_OF_ROLE[membership.role]


def standing(memberships: Iterable[Membership]) -> Standing:
    """The strongest of somebody's memberships in the group: any identity of his set counts."""
    return max(map(standing_of, memberships), key=_ORDER.index, default=Standing.STRANGER)


class Right(StrEnum):
    """What is asked of the group itself."""

    SEE = "see the group"
    SEE_MEMBERS = "see its active members"
    SEE_RECORDS = "see everybody's status and signup fields"
    UPDATE = "change name, description, terms"
    SET_POLICIES = "set policies"
    CREATE_SUBGROUP = "create a subgroup"
    DELETE = "delete the group"
    ADD = "add, invite (as member)"
    JUDGE = "approve, reject"
    REMOVE = "remove managers and members"
    REMOVE_ADMIN = "remove admins"
    GIVE_ROLE = "add, invite as manager or admin; change_role"


_INVOLVED = frozenset(_ORDER[_ORDER.index(Standing.INVITED) :])
_ACTIVE = frozenset(_ORDER[_ORDER.index(Standing.IMPLIED) :])
_MANAGERS = frozenset({Standing.MANAGER, Standing.ADMIN})
_ADMINS = frozenset({Standing.ADMIN})

RIGHTS: Mapping[Right, frozenset[Standing]] = {
    Right.SEE: _INVOLVED,
    Right.SEE_MEMBERS: _MANAGERS,
    Right.SEE_RECORDS: _MANAGERS,
    Right.UPDATE: _ADMINS,
    Right.SET_POLICIES: _ADMINS,
    Right.CREATE_SUBGROUP: _ADMINS,
    Right.DELETE: _ADMINS,
    Right.ADD: _MANAGERS,
    Right.JUDGE: _MANAGERS,
    Right.REMOVE: _MANAGERS,
    Right.REMOVE_ADMIN: _ADMINS,
    Right.GIVE_ROLE: _ADMINS,
}
"""Who has which right in a private group whose members are seen by its managers."""


def has(right: Right, who: Standing, policies: Policies) -> bool:
    """Whether `who` has `right`; two policies widen what is seen."""
    if right is Right.SEE and policies.visibility is GroupVisibility.AUTHENTICATED:
        return True
    if right is Right.SEE_MEMBERS and policies.members_visibility is MembersVisibility.MEMBERS:
        return who in _ACTIVE
    return who in RIGHTS[right]


class Action(StrEnum):
    """What is done to a membership; the names are the API's."""

    ACCEPT = "accept"
    ADD = "add"
    APPROVE = "approve"
    CHANGE_ROLE = "change_role"
    DECLINE = "decline"
    INVITE = "invite"
    JOIN = "join"
    LEAVE = "leave"
    REJECT = "reject"
    REMOVE = "remove"
    REQUEST_JOIN = "request_join"


class Code(StrEnum):
    """Why an action on one identity was refused."""

    ALREADY_ACTIVE = "ALREADY_ACTIVE"
    ALREADY_INVITED = "ALREADY_INVITED"
    ALREADY_PENDING = "ALREADY_PENDING"
    NOT_ACTIVE = "NOT_ACTIVE"
    NOT_INVITED = "NOT_INVITED"
    NOT_PENDING = "NOT_PENDING"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    HAS_LEFT = "HAS_LEFT"
    WAS_REMOVED = "WAS_REMOVED"
    WAS_REJECTED = "WAS_REJECTED"
    ADD_NOT_ALLOWED = "ADD_NOT_ALLOWED"
    JOIN_NOT_ALLOWED = "JOIN_NOT_ALLOWED"
    MISSING_SIGNUP_FIELDS = "MISSING_SIGNUP_FIELDS"
    NOT_YOUR_IDENTITY = "NOT_YOUR_IDENTITY"
    OWN_MEMBERSHIP = "OWN_MEMBERSHIP"
    LAST_ADMIN = "LAST_ADMIN"
    FORBIDDEN = "FORBIDDEN"
    IDENTITY_NOT_FOUND = "IDENTITY_NOT_FOUND"
    GROUP_FULL = "GROUP_FULL"


DETAILS: Mapping[Code, str] = {
    Code.ALREADY_ACTIVE: "the identity is an active member already",
    Code.ALREADY_INVITED: "the identity is invited already: it can accept",
    Code.ALREADY_PENDING: "the identity has asked to join already: approve or reject that",
    Code.NOT_ACTIVE: "the identity is not an active member",
    Code.NOT_INVITED: "the identity has no invitation to this group",
    Code.NOT_PENDING: "the identity has not asked to join",
    Code.NOT_A_MEMBER: "the identity is neither a member of this group itself nor invited to it",
    Code.HAS_LEFT: "the identity left the group or declined: invite it, and it can accept",
    Code.WAS_REMOVED: "the identity was removed from the group: ask to join, or be invited",
    Code.WAS_REJECTED: "the identity's request was rejected: only an invitation lets it in",
    Code.ADD_NOT_ALLOWED: "the identity does not let others add it: invite it instead",
    Code.JOIN_NOT_ALLOWED: "the group's policies do not allow it",
    Code.MISSING_SIGNUP_FIELDS: "the group asks for signup fields that are missing",
    Code.NOT_YOUR_IDENTITY: "the identity is not one of yours",
    Code.OWN_MEMBERSHIP: "this is your own membership: leave the group instead",
    Code.LAST_ADMIN: "the group would have no admin left: make another one first",
    Code.FORBIDDEN: "this needs a higher role in the group",
    Code.IDENTITY_NOT_FOUND: "there is no such identity",
    Code.GROUP_FULL: "the group has as many memberships as a group can have",
}

OWN_ACTIONS = frozenset(
    {Action.ACCEPT, Action.DECLINE, Action.JOIN, Action.LEAVE, Action.REQUEST_JOIN}
)
"""Done by somebody for himself; the rest is done by managers and admins to others."""

NEEDED: Mapping[Action, Right] = {
    Action.ADD: Right.ADD,
    Action.APPROVE: Right.JUDGE,
    Action.CHANGE_ROLE: Right.GIVE_ROLE,
    Action.INVITE: Right.ADD,
    Action.REJECT: Right.JUDGE,
    Action.REMOVE: Right.REMOVE,
}
"""Without it the whole request fails, not the one item."""

_S, _C = Status, Code
OUTCOMES: Mapping[Action, Mapping[Status | None, Status | Code]] = {
    Action.ACCEPT: {_S.INVITED: _S.ACTIVE, _S.ACTIVE: _C.ALREADY_ACTIVE},
    Action.ADD: {
        None: _S.ACTIVE,
        _S.ACTIVE: _C.ALREADY_ACTIVE,
        _S.INVITED: _S.ACTIVE,
        _S.PENDING: _S.ACTIVE,
        _S.REJECTED: _S.ACTIVE,
        _S.REMOVED: _S.ACTIVE,
        _S.LEFT: _C.HAS_LEFT,
        _S.DECLINED: _C.HAS_LEFT,
    },
    Action.APPROVE: {_S.PENDING: _S.ACTIVE, _S.ACTIVE: _C.ALREADY_ACTIVE},
    Action.CHANGE_ROLE: {_S.ACTIVE: _S.ACTIVE},
    Action.DECLINE: {_S.INVITED: _S.DECLINED},
    Action.INVITE: {
        None: _S.INVITED,
        _S.ACTIVE: _C.ALREADY_ACTIVE,
        _S.INVITED: _S.INVITED,
        _S.PENDING: _C.ALREADY_PENDING,
        _S.REJECTED: _S.INVITED,
        _S.REMOVED: _S.INVITED,
        _S.LEFT: _S.INVITED,
        _S.DECLINED: _S.INVITED,
    },
    Action.JOIN: {
        None: _S.ACTIVE,
        _S.ACTIVE: _C.ALREADY_ACTIVE,
        _S.INVITED: _S.ACTIVE,
        _S.PENDING: _S.ACTIVE,
        _S.REJECTED: _C.WAS_REJECTED,
        _S.REMOVED: _C.WAS_REMOVED,
        _S.LEFT: _S.ACTIVE,
        _S.DECLINED: _S.ACTIVE,
    },
    Action.LEAVE: {_S.ACTIVE: _S.LEFT},
    Action.REJECT: {_S.PENDING: _S.REJECTED},
    Action.REMOVE: {_S.ACTIVE: _S.REMOVED, _S.INVITED: _S.REMOVED},
    Action.REQUEST_JOIN: {
        None: _S.PENDING,
        _S.ACTIVE: _C.ALREADY_ACTIVE,
        _S.INVITED: _C.ALREADY_INVITED,
        _S.PENDING: _C.ALREADY_PENDING,
        _S.REJECTED: _C.WAS_REJECTED,
        _S.REMOVED: _S.PENDING,
        _S.LEFT: _S.PENDING,
        _S.DECLINED: _S.PENDING,
    },
}
"""What an action makes of a membership with a status (None: there is none), or why it does not."""

_OTHERWISE = {
    Action.ACCEPT: Code.NOT_INVITED,
    Action.APPROVE: Code.NOT_PENDING,
    Action.CHANGE_ROLE: Code.NOT_ACTIVE,
    Action.DECLINE: Code.NOT_INVITED,
    Action.LEAVE: Code.NOT_ACTIVE,
    Action.REJECT: Code.NOT_PENDING,
    Action.REMOVE: Code.NOT_A_MEMBER,
}


def outcome(action: Action, status: Status | None) -> Status | Code:
    """The next status, or the refusal, by status alone."""
    return OUTCOMES[action].get(status) or _OTHERWISE[action]


@dataclass(frozen=True)
class Item:
    """One action on one identity."""

    action: Action
    identity_id: UUID
    role: Role | None = None
    """For `ADD` and `INVITE` (None: member) and `CHANGE_ROLE`."""


@dataclass(frozen=True)
class Refused:
    """Why one item was not done."""

    code: Code
    detail: str

    @classmethod
    def because(cls, code: Code, more: str = "") -> "Refused":
        """With the code's own words."""
        return cls(code, DETAILS[code] + more)


@dataclass(frozen=True)
class Facts:
    """What a decision on one item depends on, as it stands when the item's turn comes."""

    policies: Policies
    actor: Standing
    """Of all the actor's identities, when the request came."""
    own_identities: frozenset[UUID]
    target: Membership | None
    """The target's own membership, not one that a subgroup implies."""
    active_admins: int
    """How many active admins the group has itself."""
    target_exists: bool = True
    target_allows_add: bool = True
    signup: Mapping[str, str] = field(default_factory=dict)
    """What the target has told this group."""
    full: bool = False
    """Whether the group can take no further membership."""


def may_ask(action: Action, actor: Standing, policies: Policies) -> bool:
    """Whether somebody may try an action on others at all; else the whole request is refused."""
    needed = NEEDED.get(action)
    return needed is None or has(needed, actor, policies)


def decide(item: Item, facts: Facts) -> Membership | Refused:
    """The target's membership after the item, or why it is not done."""
    code = _forbidden(item, facts) or _not_by_policy(item, facts)
    if code is not None:
        return Refused.because(code)
    before = facts.target
    after = outcome(item.action, before.status if before else None)
    if isinstance(after, Code):
        return Refused.because(after)
    role = _next_role(item, before)
    if _loses_last_admin(before, role, after, facts.active_admins):
        return Refused.because(Code.LAST_ADMIN)
    if item.action in (Action.ACCEPT, Action.JOIN, Action.REQUEST_JOIN):
        missing = [name for name in facts.policies.signup_fields if not facts.signup.get(name)]
        if missing:
            return Refused.because(Code.MISSING_SIGNUP_FIELDS, f": {', '.join(missing)}")
    return Membership(item.identity_id, role, after)


def _forbidden(item: Item, facts: Facts) -> Code | None:
    """What has to do with who asks, and of whom."""
    own = item.identity_id in facts.own_identities
    if item.action in OWN_ACTIONS:
        return None if own else Code.NOT_YOUR_IDENTITY
    if not may_ask(item.action, facts.actor, facts.policies):
        return Code.FORBIDDEN
    if not facts.target_exists:
        return Code.IDENTITY_NOT_FOUND
    if item.action is Action.REMOVE and own:
        return Code.OWN_MEMBERSHIP
    role = facts.target.role if facts.target is not None else Role.MEMBER
    if item.action is Action.REMOVE and role is Role.ADMIN:
        return None if has(Right.REMOVE_ADMIN, facts.actor, facts.policies) else Code.FORBIDDEN
    if item.action in (Action.ADD, Action.INVITE):
        # nor may a manager replace an invitation as admin by a lesser one
        invited = facts.target is not None and facts.target.status is Status.INVITED
        roles = {item.role or Role.MEMBER, role if invited else Role.MEMBER}
        if roles != {Role.MEMBER} and not has(Right.GIVE_ROLE, facts.actor, facts.policies):
            return Code.FORBIDDEN
    return None


def _not_by_policy(item: Item, facts: Facts) -> Code | None:
    policies = facts.policies
    status = facts.target.status if facts.target is not None else None
    if facts.target is None and facts.full and item.action in _NEW:
        return Code.GROUP_FULL
    if item.action is Action.ADD and not facts.target_allows_add:
        return Code.ADD_NOT_ALLOWED
    direct = policies.direct_joins and not policies.high_assurance
    if item.action is Action.JOIN and not direct and status not in (Status.INVITED, Status.ACTIVE):
        return Code.JOIN_NOT_ALLOWED
    if item.action is Action.REQUEST_JOIN and not policies.join_requests:
        return Code.JOIN_NOT_ALLOWED
    return None


_NEW = frozenset(action for action, by_status in OUTCOMES.items() if None in by_status)


def _next_role(item: Item, before: Membership | None) -> Role:
    if item.action in (Action.ADD, Action.INVITE, Action.CHANGE_ROLE):
        return item.role or Role.MEMBER
    taken_up = item.action in (Action.ACCEPT, Action.JOIN)
    if taken_up and before is not None and before.status is Status.INVITED:
        return before.role
    # who comes back, or is gone, has no more than a member's role to come back to
    return Role.MEMBER


def _loses_last_admin(
    before: Membership | None, role: Role, status: Status, active_admins: int
) -> bool:
    was = before is not None and before.status is Status.ACTIVE and before.role is Role.ADMIN
    return was and not (status is Status.ACTIVE and role is Role.ADMIN) and active_admins <= 1


def is_stale(
    policies: Policies,
    authenticated: Mapping[UUID, datetime],
    identity_ids: Iterable[UUID],
    now: datetime,
) -> bool:
    """Whether a high assurance group asks for a new login: none of `identity_ids` was authenticated
    in the caller's session within the group's timeout."""
    if not policies.high_assurance:
        return False
    limit = timedelta(seconds=policies.assurance_timeout_s)
    return not any(
        one in authenticated and now - authenticated[one] <= limit for one in identity_ids
    )
