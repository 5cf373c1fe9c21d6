"""What a person may do at an endpoint: by roles, which are inherited, and by the access rules of
guest collections. Pure: facts in, decisions out.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from towpath.transfer import names


class Role(StrEnum):
    """Of a person or group at an endpoint, and at all that belongs to it (Transfer API, roles)."""

    ADMINISTRATOR = "administrator"
    ACCESS_MANAGER = "access_manager"
    ACTIVITY_MANAGER = "activity_manager"
    ACTIVITY_MONITOR = "activity_monitor"


class PrincipalType(StrEnum):
    """Whom a role or a rule is for."""

    IDENTITY = "identity"
    GROUP = "group"
    ALL = "all_authenticated_users"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Who:
    """A person, by the identity that acts."""

    id: UUID
    username: str | None
    identities: frozenset[UUID]
    """All that are linked; `id` is one of them."""
    groups: frozenset[UUID]
    """Those in which any of them is active."""

    @classmethod
    def alone(cls, identity_id: UUID, username: str | None = None) -> "Who":
        """One of whom nothing else is known: no other identities, no groups."""
        return cls(identity_id, username, frozenset({identity_id}), frozenset())


@dataclass(frozen=True, slots=True)
class Rule:
    """An access rule of a guest collection. `path` is a wire path that begins and ends with a
    slash."""

    id: UUID
    principal_type: PrincipalType
    principal: UUID | None
    path: str
    writes: bool
    created_at: datetime
    expires_at: datetime | None

    def holds_for(self, who: Who | None, now: datetime) -> bool:
        """Whether it is one for this person; None: who has not logged in."""
        if self.expires_at is not None and self.expires_at <= now:
            return False
        if self.principal_type is PrincipalType.ANONYMOUS:
            return True
        if who is None:
            return False
        if self.principal_type is PrincipalType.ALL:
            return True
        if self.principal_type is PrincipalType.GROUP:
            return self.principal in who.groups
        return self.principal in who.identities


@dataclass(frozen=True, slots=True)
class Reach:
    """Where somebody may read and write: directories, with all below them. Paths are absolute,
    without `.` and `..`."""

    readable: tuple[str, ...]
    """Begin and end with a slash; none lies in another."""
    writable: tuple[str, ...]
    """The same; each lies in a readable one."""

    @property
    def nothing(self) -> bool:
        """Whether there is no such place."""
        return not self.readable

    def reads(self, path: str) -> bool:
        """Whether the path is such a directory or below one."""
        return _lies_in_any(path, self.readable)

    def writes(self, path: str) -> bool:
        """The same of writing."""
        return _lies_in_any(path, self.writable)

    def within(self, other: "Reach") -> bool:
        """Whether the other allows all that this one does."""
        return all(map(other.reads, self.readable)) and all(map(other.writes, self.writable))


FULL_ACCESS = frozenset({Role.ADMINISTRATOR, Role.ACCESS_MANAGER})
"""Roles that may read and write all of a guest collection: they could give themselves a rule."""

EVERYWHERE = Reach(("/",), ("/",))
NOWHERE = Reach((), ())


def reach_of(rules: Iterable[Rule], who: Who | None, now: datetime) -> Reach:
    """What rules allow together: the most permissive wins."""
    held = [rule for rule in rules if rule.holds_for(who, now)]
    return Reach(
        _outermost(rule.path for rule in held),
        _outermost(rule.path for rule in held if rule.writes),
    )


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not kept or not path.startswith(kept[-1]):
            kept.append(path)
    return tuple(kept)


def _lies_in_any(path: str, places: Collection[str]) -> bool:
    inside = path if path.endswith("/") else path + "/"
    return any(inside.startswith(place) for place in places)


@dataclass(frozen=True, slots=True)
class Standing:
    """What one person is at one endpoint. `who` None: who has not logged in."""

    owner: bool
    """Of it, or of what it belongs to."""
    roles: frozenset[Role]
    """Those at it and those at what it belongs to."""
    reach: Reach
    """Within the endpoint. Of what is shared by rules; elsewhere everything, for the endpoint's own
    login decides there."""
    public: bool
    guest: bool
    invited: bool = False
    """Whether any rule of a guest collection is for the person."""
    closed: bool = False
    """A guest collection that nobody may use for now."""

    @property
    def visible(self) -> bool:
        """Whether it exists for the person (I7)."""
        return self.public or self.owner or bool(self.roles) or self.invited

    @property
    def allowed(self) -> bool:
        """Whether there is anything that the person may read."""
        return not self.reach.nothing

    @property
    def administers(self) -> bool:
        """May change and delete it, and say who has which role."""
        return self.owner or Role.ADMINISTRATOR in self.roles

    @property
    def manages_access(self) -> bool:
        """May change its access rules."""
        return self.administers or Role.ACCESS_MANAGER in self.roles

    @property
    def manages_activity(self) -> bool:
        """May cancel and pause others' tasks there."""
        return self.administers or Role.ACTIVITY_MANAGER in self.roles

    @property
    def monitors_activity(self) -> bool:
        """May see others' tasks there."""
        return self.manages_activity or Role.ACTIVITY_MONITOR in self.roles

    @property
    def effective_roles(self) -> Sequence[Role]:
        """As documents name them."""
        held = self.roles | ({Role.ADMINISTRATOR} if self.owner else set())
        return [role for role in Role if role in held]


Shared = Literal["none", "r", "rw"]
"""What may be shared of a directory at all: nothing, to read, or to write as well."""

_LEAST_FIRST: Sequence[Shared] = ("none", "r", "rw")
_RESTRICTIONS: Mapping[str, Shared] = {"none": "none", "read": "r", "read_write": "rw"}


def shared_at(restrictions: Mapping[str, Any] | None, share_path: str) -> Shared:
    """What may be shared at a place, where a collection's managers say that by paths in it
    (`read`, `read_write`, `none`): the longest that leads there decides; where none does, nothing
    is shared. What is shared has one right for all below, so a path further below that allows less
    counts for all of it. None: they say nothing, and everything may be shared. `share_path` is a
    wire path; managers spell theirs as the API does.
    """
    if not restrictions:
        return "rw"
    here = share_path.rstrip("/") + "/"
    listed = [
        (names.to_wire(path).rstrip("/") + "/", right)
        for name, right in _RESTRICTIONS.items()
        for path in restrictions.get(name) or ()
    ]
    leading = [(len(path), right) for path, right in listed if here.startswith(path)]
    longest = max((length for length, _ in leading), default=0)
    found = [right for length, right in leading if length == longest]
    found += [right for path, right in listed if path.startswith(here)]
    return min(found, key=_LEAST_FIRST.index) if leading else "none"


def standing_of(
    who: Who | None,
    *,
    owners: Collection[UUID],
    roles: Collection[Role],
    rules: Iterable[Rule],
    public: bool,
    guest: bool,
    now: datetime,
    shared: Shared = "rw",
) -> Standing:
    """`owners`: of the endpoint and of all that it belongs to; `roles`: the person's there;
    `shared`: what anybody may do in a guest collection."""
    owner = who is not None and not who.identities.isdisjoint(owners)
    held = frozenset(roles) if who is not None else frozenset()
    given = reach_of(rules, who, now) if guest else NOWHERE
    reach = EVERYWHERE if not guest or owner or held & FULL_ACCESS else given
    if guest and shared != "rw":
        reach = NOWHERE if shared == "none" else replace(reach, writable=())
    closed = guest and shared == "none"
    return Standing(owner, held, reach, public, guest, invited=not given.nothing, closed=closed)
