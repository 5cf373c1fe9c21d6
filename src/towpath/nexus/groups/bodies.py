"""What the Groups API is sent, checked."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from towpath.nexus.groups.rules import (
    Action,
    GroupVisibility,
    Item,
    MembersVisibility,
    Policies,
    Role,
    SignupField,
)
from towpath.nexus.groups.service import Request, Words
from towpath.platform.errors import ApiError

NAME_LIMIT = 256
TEXT_LIMIT = 20_000
"""Characters of a description or of terms: some pages of text."""
FIELD_LIMIT = 1024
"""Characters of a signup field."""
TIMEOUT_LIMIT_S = 30 * 86_400
"""Of high assurance: a longer one assures nothing."""
PERSONAL_FIELDS = ("first_name", "last_name", "organization")
"""What a membership may tell besides the fields that a group can ask for."""
SIGNUP_FIELDS = frozenset({*map(str, SignupField), *PERSONAL_FIELDS})


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains NUL")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("contains a control character")
    return text


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_LIMIT),
    AfterValidator(_one_line),
]
Text = Annotated[str, StringConstraints(max_length=TEXT_LIMIT), AfterValidator(_without_nul)]
Value = Annotated[str, StringConstraints(max_length=FIELD_LIMIT), AfterValidator(_without_nul)]


class PoliciesBody(BaseModel):
    """Policies; what is left out, or null, stays as it is."""

    is_high_assurance: bool | None = None
    authentication_assurance_timeout: int | None = Field(default=None, ge=1, le=TIMEOUT_LIMIT_S)
    group_visibility: GroupVisibility | None = None
    group_members_visibility: MembersVisibility | None = None
    join_requests: bool | None = None
    signup_fields: list[SignupField] | None = Field(default=None, max_length=len(SignupField))
    direct_joins: bool | None = None

    def over(self, policies: Policies) -> Policies:
        """`policies` with what is given here."""

        def given(value: Any, otherwise: Any) -> Any:
            return otherwise if value is None else value

        fields = self.signup_fields
        return Policies(
            visibility=given(self.group_visibility, policies.visibility),
            members_visibility=given(self.group_members_visibility, policies.members_visibility),
            join_requests=given(self.join_requests, policies.join_requests),
            direct_joins=given(self.direct_joins, policies.direct_joins),
            signup_fields=policies.signup_fields
            if fields is None
            else tuple(dict.fromkeys(fields)),
            high_assurance=given(self.is_high_assurance, policies.high_assurance),
            assurance_timeout_s=given(
                self.authentication_assurance_timeout, policies.assurance_timeout_s
            ),
        )


class GroupBody(BaseModel):
    """A new group."""

    name: Line
    description: Text | None = None
    terms_and_conditions: Text | None = None
    parent_id: UUID | None = None
    policies: PoliciesBody | None = None

    def words(self) -> Words:
        """What the group says of itself."""
        return Words(self.name, self.description, self.terms_and_conditions)


class UpdateBody(BaseModel):
    """What changes of a group; what is left out stays."""

    name: Line | None = None
    description: Text | None = None
    terms_and_conditions: Text | None = None
    subscription_admin_verified_id: UUID | None = None

    def over(self, words: Words) -> Words:
        """`words` with what is given here; a null takes a text away."""
        given = self.model_fields_set
        return Words(
            self.name or words.name,
            self.description if "description" in given else words.description,
            self.terms_and_conditions
            if "terms_and_conditions" in given
            else words.terms_and_conditions,
        )


class VerifiedBody(BaseModel):
    """The subscription that vouches for a group."""

    subscription_admin_verified_id: UUID | None = None


class ItemBody(BaseModel):
    """One identity in a batch."""

    identity_id: UUID
    role: Role | None = None
    status_reason: Value | None = None


class BatchBody(BaseModel):
    """A list for each action; an action that there is not is a mistake, not nothing."""

    model_config = ConfigDict(extra="forbid")

    accept: list[ItemBody] | None = None
    add: list[ItemBody] | None = None
    approve: list[ItemBody] | None = None
    change_role: list[ItemBody] | None = None
    decline: list[ItemBody] | None = None
    invite: list[ItemBody] | None = None
    join: list[ItemBody] | None = None
    leave: list[ItemBody] | None = None
    reject: list[ItemBody] | None = None
    remove: list[ItemBody] | None = None
    request_join: list[ItemBody] | None = None

    def requests(self) -> list[Request]:
        """The items of all actions, in the order of the actions' names."""
        return [
            Request(Item(action, one.identity_id, one.role), one.status_reason)
            for action in Action
            for one in getattr(self, action) or ()
        ]


class PreferencesBody(BaseModel):
    """What an identity wants of groups."""

    allow_add: bool | None = None


def preferences(body: dict[str, Any], mine: list[UUID]) -> dict[UUID, bool]:
    """By identity; or one document for all, as the SDK's example sends it. Null is the default.

    Raises 400.
    """
    told = dict.fromkeys(mine, body) if "allow_add" in body else _by_identity(body)
    return {
        one: PreferencesBody.model_validate(words).allow_add is not False
        for one, words in told.items()
    }


def signup_fields(body: dict[str, Any], mine: list[UUID]) -> dict[UUID, dict[str, str]]:
    """By identity; or one document for all. Null and '' say nothing. Raises 400."""
    told = dict.fromkeys(mine, body) if SIGNUP_FIELDS & body.keys() else _by_identity(body)
    return {one: _fields(fields) for one, fields in told.items()}


def _by_identity(body: dict[str, Any]) -> dict[UUID, dict[str, Any]]:
    found = {}
    for key, value in body.items():
        try:
            identity_id = UUID(key)
        except ValueError as error:
            raise ApiError(400, "BAD_REQUEST", "the body goes by identity id") from error
        if not isinstance(value, dict):
            raise ApiError(400, "BAD_REQUEST", "the value of an identity id is an object")
        found[identity_id] = value
    return found


def _fields(fields: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, value in fields.items():
        if name not in SIGNUP_FIELDS:
            raise ApiError(400, "BAD_REQUEST", f"there is no signup field {name[:100]!r}")
        if value is None or value == "":
            continue
        if not isinstance(value, str) or len(value) > FIELD_LIMIT or "\0" in value:
            raise ApiError(400, "BAD_REQUEST", f"{name} is no text of {FIELD_LIMIT} characters")
        found[name] = value
    return found
