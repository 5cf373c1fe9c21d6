"""Logins by grant: what the service's statement means for a session of this endpoint's server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from towpath.grants import SKEW_S, Grant, GrantRefused, Reason, Verifier
from towpath.gridftp.server.permission import Admission, Permission, TokenRefused


class Place(NamedTuple):
    """Where the sessions of a grant are."""

    account: str
    """The local account they run as."""
    home: str
    """Where they start: an absolute path of their storage."""
    extra: Mapping[str, str] = {}
    """For whoever runs them (`Opening.extra`)."""


class GrantLogins:
    """The `permission.Tokens` of an endpoint."""

    def __init__(
        self,
        verifier: Verifier,
        place_of: Callable[[Grant], Place],
        *,
        fetch_keys: Callable[[], None] | None = None,
    ) -> None:
        """`place_of`: for a grant that is good; called in a thread, raises `GrantRefused` (account)
        when there is no such account or collection here. `fetch_keys`: called in a thread when a
        grant is signed with a key that is not known: returns when it has asked the service."""
        self._verifier = verifier
        self._place_of = place_of
        self._fetch_keys = fetch_keys

    def log_in(self, token: str, certificate_sha256: str) -> Admission:
        """See `permission.Tokens`."""
        try:
            grant = self._verified(token, certificate_sha256)
            place = self._place_of(grant)
        except GrantRefused as refusal:
            raise _refused(refusal) from None
        return Admission(
            account=place.account,
            home=place.home,
            permission=permission_of(grant),
            extra=place.extra,
            token=grant,
        )

    def _verified(self, token: str, certificate_sha256: str) -> Grant:
        try:
            return self._verifier.verify(token, certificate_sha256)
        except GrantRefused as refusal:
            if refusal.reason is not Reason.KEY or self._fetch_keys is None:
                raise
        self._fetch_keys()
        return self._verifier.verify(token, certificate_sha256)

    def renew(self, token: str, certificate_sha256: str, current: Admission) -> Permission:
        """See `permission.Tokens`."""
        assert isinstance(current.token, Grant)
        try:
            grant = self._verifier.verify_renewal(token, certificate_sha256, current.token)
        except GrantRefused as refusal:
            raise _refused(refusal) from None
        return permission_of(grant)


def permission_of(grant: Grant) -> Permission:
    """What the server's sessions look at."""
    return Permission(
        permission_id=grant.grant_id,
        rules=tuple(("RW" if write else "R", path) for path, write in grant.prefixes),
        expires=grant.expires + SKEW_S,
    )


def _refused(refusal: GrantRefused) -> TokenRefused:
    return TokenRefused(refusal.reason.value, refusal.sentence, refusal.statement_id)
