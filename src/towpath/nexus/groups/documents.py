"""The documents of the Groups API."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from towpath.nexus.groups.rules import Policies, Right
from towpath.nexus.groups.service import Caller, Done, Seen, Shown
from towpath.nexus.store.groups import Record


def policies_document(policies: Policies) -> dict[str, Any]:
    """All policies; `direct_joins` is one more than Globus tells."""
    return {
        "is_high_assurance": policies.high_assurance,
        "authentication_assurance_timeout": policies.assurance_timeout_s,
        "group_visibility": str(policies.visibility),
        "group_members_visibility": str(policies.members_visibility),
        "join_requests": policies.join_requests,
        "signup_fields": [str(one) for one in policies.signup_fields],
        "direct_joins": policies.direct_joins,
    }


def membership_document(record: Record, *, full: bool = False) -> dict[str, Any]:
    """A membership; in full, with what only its owner and the group's managers see."""
    membership = record.membership
    document: dict[str, Any] = {
        "group_id": str(record.group_id),
        "identity_id": str(membership.identity_id),
        "username": record.username,
        "role": str(membership.role),
        "status": str(membership.status),
        "membership_fields": dict(record.signup) if full else {},
    }
    if membership.source_group_id is not None:
        document["source_group_id"] = str(membership.source_group_id)
    if full:
        document["status_reason"] = record.status_reason
        document["invite_time"] = _time(record.invited_at)
        document["updated"] = _time(record.updated_at)
    return document


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def group_document(seen: Seen, caller: Caller) -> dict[str, Any]:
    """The group, with the caller's own memberships."""
    group, policies = seen.group, seen.group.policies
    return {
        "id": str(group.id),
        "name": group.name,
        "description": group.description,
        "terms_and_conditions": group.terms_and_conditions,
        "parent_id": None if group.parent_id is None else str(group.parent_id),
        "group_type": "regular",
        "enforce_session": policies.high_assurance,
        "session_limit": policies.assurance_timeout_s,
        "session_timeouts": _timeouts(policies, caller),
        "my_memberships": [membership_document(record, full=True) for record in seen.mine],
        "policies": policies_document(policies),
        "subscription_id": None,
        "subscription_info": None,
        "subscription_admin_verified_id": None,
    }


def _timeouts(policies: Policies, caller: Caller) -> dict[str, Any]:
    """When each identity's authentication becomes too old for a high assurance group."""
    if not policies.high_assurance:
        return {}
    found = {}
    for identity_id, at in caller.authenticated.items():
        until = at + timedelta(seconds=policies.assurance_timeout_s)
        found[str(identity_id)] = {
            "expire_time": _time(until),
            "expires_in": max(0, int((until - caller.at).total_seconds())),
        }
    return found


def shown_document(shown: Shown, caller: Caller) -> dict[str, Any]:
    """The group with what was asked for."""
    document = group_document(shown.seen, caller)
    if shown.members is not None:
        full = shown.seen.may(Right.SEE_RECORDS)
        document["memberships"] = [
            membership_document(
                record, full=full or record.membership.identity_id in caller.identity_ids
            )
            for record in shown.members
        ]
    if shown.children is not None:
        document["child_ids"] = [str(child.id) for child in shown.children]
    if shown.allowed is not None:
        document["allowed_actions"] = {
            str(action): [str(one) for one in able] for action, able in shown.allowed.items()
        }
    return document


def done_document(done: Done) -> dict[str, Any]:
    """What became of a batch: by action the memberships, and the errors of the rest."""
    document: dict[str, Any] = {
        str(action): [membership_document(record) for record in done.records.get(action, ())]
        for action in sorted({*done.records, *done.refused})
    }
    if done.refused:
        document["errors"] = {
            str(action): [
                {"identity_id": str(one), "code": str(refused.code), "detail": refused.detail}
                for one, refused in items
            ]
            for action, items in done.refused.items()
        }
    return document


def preferences_document(identity_ids: Iterable[UUID], refusing: set[UUID]) -> dict[str, Any]:
    """For each identity, whether others may add it to a group."""
    return {str(one): {"allow_add": one not in refusing} for one in sorted(identity_ids)}


def signup_document(told: Mapping[UUID, Mapping[str, str]]) -> dict[str, Any]:
    """For each identity, what it told the group."""
    return {str(one): dict(told[one]) for one in sorted(told)}
