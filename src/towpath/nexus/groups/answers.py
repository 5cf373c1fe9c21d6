"""What the routes answer, field by field. Every field is always there, and no other, but for those
that have a default.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, RootModel

from towpath.nexus.groups.rules import (
    Action,
    GroupVisibility,
    MembersVisibility,
    Role,
    SignupField,
    Status,
)


class Answer(BaseModel):
    """Exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class LoginNeeded(Answer):
    """A login that is to be made anew, as the Globus clients know it."""

    session_message: str
    session_required_identities: list[str]


class Error(Answer):
    """What a route answers instead, with status 400 and above."""

    code: str
    detail: str
    message: str
    request_id: str
    resource: str
    provided_scopes: list[str] = Field(default=[])
    """Where those of the token are too few."""
    authorization_parameters: LoginNeeded | None = None
    """Where the caller's login is too old for the group."""


class Policies(Answer):
    """What a group's members and others may see and do."""

    is_high_assurance: bool
    authentication_assurance_timeout: int
    group_visibility: GroupVisibility
    group_members_visibility: MembersVisibility
    join_requests: bool
    signup_fields: list[SignupField]
    direct_joins: bool


class Membership(Answer):
    """What an identity is in a group. The last three fields are for itself and for managers."""

    group_id: UUID
    identity_id: UUID
    username: str
    role: Role
    status: Status
    membership_fields: dict[str, str]
    source_group_id: UUID | None = None
    """Of a member of a subgroup."""
    status_reason: str | None = None
    invite_time: str | None = None
    updated: str | None = None


class Timeout(Answer):
    """When an identity's login becomes too old."""

    expire_time: str
    expires_in: int


class ChangedGroup(Answer):
    """A group, with the caller's own memberships."""

    id: UUID
    name: str
    description: str | None
    terms_and_conditions: str | None
    parent_id: UUID | None
    group_type: Literal["regular"]
    enforce_session: bool
    session_limit: int
    session_timeouts: dict[UUID, Timeout]
    my_memberships: list[Membership]
    policies: Policies
    subscription_id: None
    subscription_info: None
    subscription_admin_verified_id: None


class Group(ChangedGroup):
    """A group, with what was asked for in `include`."""

    memberships: list[Membership] = Field(default=[])
    child_ids: list[UUID] = Field(default=[])
    allowed_actions: dict[Action, list[UUID]] = Field(default={})


class Subgroups(Answer):
    """Subgroups."""

    children: list[ChangedGroup]


class Refusal(Answer):
    """What was not done of a batch, and why."""

    identity_id: UUID
    code: str
    detail: str


Memberships = Annotated[list[Membership], Field(default=[])]


class DoneBatch(Answer):
    """By action, the memberships as they are now, and what was not done."""

    accept: Memberships
    add: Memberships
    approve: Memberships
    change_role: Memberships
    decline: Memberships
    invite: Memberships
    join: Memberships
    leave: Memberships
    reject: Memberships
    remove: Memberships
    request_join: Memberships
    errors: dict[Action, list[Refusal]] = Field(default={})


class Verified(Answer):
    """There are no subscriptions."""

    group_id: UUID
    subscription_admin_verified_id: None


class Preference(Answer):
    """Whether others may add an identity to groups."""

    allow_add: bool


class GroupList(RootModel[list[ChangedGroup]]):
    """Groups."""


class StatusCounts(RootModel[dict[UUID, dict[Status, int]]]):
    """By group, how many memberships have which status."""


class SignupFields(RootModel[dict[UUID, dict[str, str]]]):
    """By identity, what it has told a group."""


class Preferences(RootModel[dict[UUID, Preference]]):
    """By identity."""
