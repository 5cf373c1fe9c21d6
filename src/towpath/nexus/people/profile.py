"""What people tell of themselves, and whom: each field is for its owner alone, for the people in
their groups, or for everybody who is logged in.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.store import profiles
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.identities import Identity
from towpath.platform.database import Connection

VALUE_LIMIT = 500
"""Characters of what is told: a postal address has 300 at most (ISO 19160, UPU S42 examples)."""
_PHONE = re.compile(r"[0-9+() ./-]{3,40}")


class Audience(StrEnum):
    """Who sees a field."""

    ME = "me"
    GROUPS = "groups"
    """Who may see in one of your groups that you are in it."""
    EVERYBODY = "everybody"
    """Who is logged in."""


class Field(StrEnum):
    """What a profile has. The first three are the identity's, the last has routes of its own."""

    NAME = "name"
    ORGANIZATION = "organization"
    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address"
    WEB_PAGE = "web_page"
    SSH_KEYS = "ssh_keys"


OF_IDENTITY = (Field.NAME, Field.ORGANIZATION, Field.EMAIL)
TOLD = (Field.PHONE, Field.ADDRESS, Field.WEB_PAGE)
DEFAULT_AUDIENCE: Mapping[Field, Audience] = {
    # as at Globus: people are found by these, and recognized
    **dict.fromkeys(OF_IDENTITY, Audience.EVERYBODY),
    **dict.fromkeys(TOLD, Audience.ME),
    Field.SSH_KEYS: Audience.ME,
}
_NEAR = {Audience.ME: 0, Audience.GROUPS: 1, Audience.EVERYBODY: 2}


class ProfileError(ValueError):
    """What was told cannot be taken; the message is for the person."""


@dataclass(frozen=True)
class Profile:
    """What a person has told besides the identity's own data."""

    values: Mapping[Field, str] = field(default_factory=dict)
    """Of `TOLD`."""
    audiences: Mapping[Field, Audience] = field(default_factory=lambda: dict(DEFAULT_AUDIENCE))
    mail_invitations: bool = True
    """Whether an invitation to a group is mailed."""

    def sees(self, viewer: Audience, one: Field) -> bool:
        """Whether somebody sees the field who is as near as `viewer`."""
        return _NEAR[self.audiences[one]] >= _NEAR[viewer]


def read(stored: Mapping[str, Any]) -> Profile:
    """From what is stored; what is missing has its default."""
    return Profile(
        {one: stored["values"][one] for one in TOLD if one in stored.get("values", {})},
        {
            one: Audience(stored.get("audiences", {}).get(one, DEFAULT_AUDIENCE[one]))
            for one in Field
        },
        stored.get("mail_invitations", True),
    )


def _stored(profile: Profile) -> dict[str, Any]:
    return {
        "values": dict(profile.values),
        "audiences": dict(profile.audiences),
        "mail_invitations": profile.mail_invitations,
    }


def changed(
    profile: Profile,
    *,
    values: Mapping[str, str | None] | None = None,
    audiences: Mapping[str, str] | None = None,
    mail_invitations: bool | None = None,
) -> Profile:
    """With what is given; an empty value takes one away. Raises :class:`ProfileError`."""
    told = dict(profile.values)
    for name, value in (values or {}).items():
        one = _field(name, TOLD)
        if value is None or not value.strip():
            told.pop(one, None)
        else:
            told[one] = _checked(one, value.strip())
    seen = dict(profile.audiences)
    for name, audience in (audiences or {}).items():
        try:
            seen[_field(name, tuple(Field))] = Audience(audience)
        except ValueError as error:
            known = ", ".join(Audience)
            raise ProfileError(f"Who sees {name[:50]} is one of: {known}.") from error
    mails = profile.mail_invitations if mail_invitations is None else mail_invitations
    return Profile(told, seen, mails)


def _field(name: str, among: Sequence[Field]) -> Field:
    if name not in among:
        raise ProfileError(f"There is no field {name[:50]!r} to tell.")
    return Field(name)


def _checked(one: Field, value: str) -> str:
    if len(value) > VALUE_LIMIT or any(
        not (char.isprintable() or (char == "\n" and one is Field.ADDRESS)) for char in value
    ):
        raise ProfileError(f"Give at most {VALUE_LIMIT} characters, and no control characters.")
    if one is Field.PHONE and _PHONE.fullmatch(value) is None:
        raise ProfileError("A phone number has digits, spaces and + ( ) - . / only.")
    # shown as a link: nothing that runs a script (OWASP ASVS 5.0, 1.2.2)
    if one is Field.WEB_PAGE and not _is_web_page(value):
        raise ProfileError("A web page begins with https:// or http://.")
    return value


def _is_web_page(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username


async def of(connection: Connection, account_id: UUID) -> Profile:
    """The account's profile."""
    return read(await profiles.told(connection, account_id))


async def save(connection: Connection, account: Account, profile: Profile) -> None:
    """Replace the account's profile. Call it in a transaction."""
    await profiles.tell(connection, account.id, account.primary_identity, _stored(profile))
    act = Act(
        "account.changed",
        actor=account.primary_identity,
        subject=account.primary_identity,
        details={"what": ["profile"]},
    )
    await audit.append(connection, act)


async def visible(
    connection: Connection, viewer_ids: Sequence[UUID], targets: Iterable[Identity]
) -> dict[UUID, frozenset[Field]]:
    """By identity, the fields that the viewer (all his identities) sees of it.

    Who has no account, such as a client, has nothing to hide.
    """
    targets = list(targets)
    told = await profiles.told_of(
        connection, {one.account_id for one in targets if one.account_id is not None}
    )
    strict = {id_: read(stored) for id_, stored in told.items()}
    # most say nothing of who sees what: then there is nothing to look up
    asked = [
        id_ for id_, profile in strict.items() if Audience.GROUPS in profile.audiences.values()
    ]
    near = await profiles.in_sight(connection, viewer_ids, asked) if asked else set()
    own = {one.account_id for one in targets if one.id in viewer_ids} - {None}
    default = Profile()
    found = {}
    for one in targets:
        profile = default if one.account_id is None else strict.get(one.account_id, default)
        viewer = Audience.GROUPS if one.account_id in near else Audience.EVERYBODY
        if one.account_id in own:
            viewer = Audience.ME
        found[one.id] = frozenset(each for each in Field if profile.sees(viewer, each))
    return found
