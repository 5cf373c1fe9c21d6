"""What a proof of an identity opens. Pure decisions; the reasons are in decision 12.

An identity is who the upstream means by a subject (OpenID Connect Core, 5.7): never who has the
same e-mail address, and never who has the same name, but for a name that somebody reserved and
nobody has ever logged in with.
"""

from dataclasses import dataclass
from uuid import UUID

from towpath.nexus.federation.relying_party import Proof
from towpath.nexus.store.federation import Known


@dataclass(frozen=True)
class Create:
    """Nobody of this name was ever here: a new identity, with an account of its own."""


@dataclass(frozen=True)
class TakeOver:
    """Somebody reserved the name (as in a group's invitation); this is its owner's first login."""

    identity_id: UUID


@dataclass(frozen=True)
class Open:
    """The identity is known; without an account it gets one."""

    identity_id: UUID
    account_id: UUID | None


@dataclass(frozen=True)
class Link:
    """Make the identity one of the account's."""

    identity: "Create | TakeOver | Open"
    empties: UUID | None = None
    """An account of which it was the only identity, and which ends."""


@dataclass(frozen=True)
class Refuse:
    """Nothing is changed; ``told`` is for the page."""

    reason: str
    told: str


SUSPENDED = Refuse(
    "suspended", "This account has been suspended. Ask the operator of this service."
)
NAME_TAKEN = Refuse(
    "name_taken",
    "Your institution gave this name to somebody else before. Ask the operator of this service.",
)
OTHER_ACCOUNT = Refuse(
    "other_account",
    "This identity belongs to another account, which has more than this one. Log in with it there,"
    " unlink it, and then link it here.",
)


def login(
    proof: Proof, subject: Known | None, namesake: Known | None
) -> Create | TakeOver | Open | Refuse:
    """What a login opens. ``subject``: whom the upstream means; ``namesake``: who has the name."""
    if subject is not None:
        if subject.account_suspended:
            return SUSPENDED
        return Open(subject.identity_id, subject.account_id)
    if namesake is None:
        return Create()
    reserved = (
        namesake.status == "unused"
        and not namesake.has_subject
        and namesake.account_id is None
        and namesake.provider_id == proof.upstream_id
    )
    return TakeOver(namesake.identity_id) if reserved else NAME_TAKEN


def link(
    proof: Proof, subject: Known | None, namesake: Known | None, account_id: UUID
) -> Link | Open | Refuse:
    """What linking to ``account_id`` does; the caller proved that the session there is the same."""
    found = login(proof, subject, namesake)
    if isinstance(found, Refuse):
        return found
    if not isinstance(found, Open) or found.account_id is None:
        return Link(found)
    if found.account_id == account_id:
        return found  # it is linked already
    assert subject is not None
    if subject.account_size > 1 or subject.account_administrator:
        return OTHER_ACCOUNT
    return Link(found, empties=found.account_id)
