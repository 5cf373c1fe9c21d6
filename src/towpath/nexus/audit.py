"""The audit log: who did what that matters to security, and when.

An act is appended in the transaction that does it, so there is no act without its record and no
record of what was rolled back. `towpath.nexus.audit_sealing` chains the records a moment later.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID

from towpath.nexus.store import audit as store
from towpath.platform.database import Connection
from towpath.platform.errors import current_address, current_request_id
from towpath.platform.logs import scrub

Kind = Literal[
    "login.ok",
    "login.failed",
    "login.throttled",
    "session.ended",
    "account.invited",
    "account.created",
    "account.changed",
    "account.suspended",
    "account.restored",
    "account.deleted",
    "account.exported",
    "password.set",
    "password.reset_asked",
    "identity.linked",
    "identity.unlinked",
    "passkey.added",
    "passkey.removed",
    "provider.added",
    "provider.changed",
    "provider.removed",
    "consent.given",
    "consent.refused",
    "consent.withdrawn",
    "token.issued",
    "token.refreshed",
    "token.revoked",
    "token.reused",
    "code.replayed",
    "client.registered",
    "client.changed",
    "client.deleted",
    "client.refused",
    "credential.added",
    "credential.removed",
    "scope.added",
    "scope.changed",
    "scope.removed",
    "project.added",
    "project.changed",
    "project.removed",
    "policy.added",
    "policy.changed",
    "policy.removed",
    "group.added",
    "group.changed",
    "group.removed",
    "group.policies_changed",
    "membership.changed",
    "key.added",
]
"""Every kind of act; closed, so that who reads the log knows what there can be."""

KINDS: dict[Kind, str] = {
    "login.ok": "Somebody proved who they are. Details: how (`amr`), the identity provider.",
    "login.failed": "Somebody did not. The subject is the identity, where the name given is one; "
    "the name itself is not kept, for people type passwords there.",
    "login.throttled": "An attempt was refused before it was looked at: too many failed.",
    "session.ended": "A browser session ended before its time: logout, suspension, a new password.",
    "account.invited": "Somebody may make an account. The subject is the name that they will have.",
    "account.created": "An account was made.",
    "account.changed": "An account's data or rights were changed. Details: which.",
    "account.suspended": "An account was suspended; its sessions and tokens ended.",
    "account.restored": "A suspended account may act again.",
    "account.deleted": "An account was deleted.",
    "account.exported": "All that is kept about an account was handed out.",
    "password.set": "A password was set or replaced.",
    "password.reset_asked": "A mail with a link to set a new password was asked for.",
    "identity.linked": "An identity was joined to an account.",
    "identity.unlinked": "An identity was taken out of an account.",
    "passkey.added": "A passkey was registered.",
    "passkey.removed": "A passkey was removed.",
    "provider.added": "An upstream identity provider was added.",
    "provider.changed": "An upstream identity provider was changed.",
    "provider.removed": "An upstream identity provider was removed.",
    "consent.given": "Somebody allowed a client to act for them. Details: the scopes.",
    "consent.refused": "Somebody was asked and said no.",
    "consent.withdrawn": "A consent was withdrawn.",
    "token.issued": "Tokens were issued. Details: the grant type, resource servers and scopes.",
    "token.refreshed": "An access token was issued for a refresh token.",
    "token.revoked": "A token or a whole grant was revoked.",
    "token.reused": "A refresh token came that had been replaced: its grant was ended.",
    "code.replayed": "An authorization code came a second time: its grant was ended.",
    "client.registered": "A client was registered.",
    "client.changed": "A client's data were changed. Details: which.",
    "client.deleted": "A client was deleted.",
    "client.refused": "A client did not prove who it is: wrong or missing secret.",
    "credential.added": "A client got a further secret.",
    "credential.removed": "A client's secret was removed.",
    "scope.added": "A scope was made.",
    "scope.changed": "A scope was changed.",
    "scope.removed": "A scope was removed.",
    "project.added": "A project was made.",
    "project.changed": "A project was changed; its administrators are a part of it.",
    "project.removed": "A project was removed.",
    "policy.added": "An authentication policy was made.",
    "policy.changed": "An authentication policy was changed.",
    "policy.removed": "An authentication policy was removed.",
    "group.added": "A group was made.",
    "group.changed": "A group's name, description or terms were changed.",
    "group.removed": "A group was removed.",
    "group.policies_changed": "A group's policies were changed.",
    "membership.changed": "A membership was changed. Details: the action, and the role and status "
    "after it.",
    "key.added": "A key that will sign id tokens was made. The subject is its `kid`.",
}
"""What each kind says; `docs/reference/audit.md` has it from here."""

TEXT_LIMIT = 500
"""Characters of a text: names and ids are shorter, and the log is kept for ever."""
DETAILS_LIMIT = 4096
"""Characters of an act's details as JSON."""

assert set(get_args(Kind)) == set(KINDS)


@dataclass(frozen=True)
class Act:
    """Something that matters to security.

    ``details`` say more: ids and words of ours rather than what people typed, never a secret.
    """

    kind: Kind
    actor: UUID | None = None
    """The identity, or the client with its own identity, that acts; None: nobody known."""
    subject: UUID | str | None = None
    """What it was done to: an identity, account, client, group."""
    client: UUID | None = None
    """The client through which the actor acts."""
    details: Mapping[str, Any] = field(default_factory=dict)


async def append(connection: Connection, act: Act) -> None:
    """Record ``act`` in ``connection``'s transaction, with the request's id and address.

    What fails and is rolled back leaves no record: a refusal that must be told is appended in a
    transaction of its own. Raises ValueError for a kind that is none.
    """
    if act.kind not in KINDS:
        raise ValueError(f"{act.kind!r} is no kind of act")
    await store.add_pending(
        connection,
        kind=act.kind,
        actor=act.actor,
        subject=None if act.subject is None else _text(str(act.subject)),
        client=act.client,
        address=current_address.get() or None,
        request_id=current_request_id.get() or None,
        details=_details(act.details),
    )


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    found = _storable(scrub(dict(details)))
    assert isinstance(found, dict)
    written = json.dumps(found)
    return found if len(written) <= DETAILS_LIMIT else {"cut": written[:DETAILS_LIMIT]}


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(str(key)): _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return value


def _text(value: str) -> str:
    """As PostgreSQL takes it: no NUL, no half of a surrogate pair."""
    return value[:TEXT_LIMIT].encode(errors="replace").decode().replace("\0", "?")
