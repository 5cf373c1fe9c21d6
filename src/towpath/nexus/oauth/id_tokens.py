"""Id tokens (OpenID Connect Core 1.0, 2): who has logged in, said to one client."""

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from towpath.nexus.documents import person_claims
from towpath.nexus.oauth.keys import ID_TOKEN_LIFETIME_S
from towpath.nexus.store.identities import Identity


def claims(
    *,
    issuer: str,
    client_id: UUID,
    identity: Identity,
    identity_set: Sequence[Identity],
    scopes: Collection[str],
    nonce: str | None,
    authentications: Mapping[str, Any],
    access_token: str,
    now_s: int,
) -> dict[str, Any]:
    """What the token says. ``authentications`` are the grant's; ``now_s`` is since 1970."""
    found: dict[str, Any] = {
        **person_claims(identity, identity_set, scopes),
        "iss": issuer,
        "aud": str(client_id),
        "iat": now_s,
        "exp": now_s + ID_TOKEN_LIFETIME_S,
        "at_hash": at_hash(access_token),
    }
    if nonce is not None:
        found["nonce"] = nonce
    logins = list(authentications.values())
    if logins:
        last = max(logins, key=lambda one: one["auth_time"])
        found["auth_time"] = last["auth_time"]
        found["amr"] = last["amr"]
        if last.get("acr") is not None:
            found["acr"] = last["acr"]
    return found


def at_hash(access_token: str) -> str:
    """The left half of the token's hash, by the hash of RS512 (Core 1.0, 3.1.3.6)."""
    raw = hashlib.sha512(access_token.encode("ascii")).digest()
    return base64.urlsafe_b64encode(raw[: len(raw) // 2]).rstrip(b"=").decode("ascii")
