"""What an id_token must be to count (OpenID Connect Core 1.0, 3.1.3.7). Pure."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwk, jwt
from joserfc.errors import JoseError

from towpath.nexus.federation.errors import NotFreshError, ProofRejectedError

LEEWAY = timedelta(seconds=60)
"""Between our clock and an upstream's."""
TOKEN_LIMIT = 32 * 1024
SUBJECT_LIMIT = 255
"""Characters, all of them ASCII (OpenID Connect Core 1.0, 2)."""
_TYPE_OF_SIGNATURE = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_HASH_OF_SIGNATURE = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


class UnknownKeyError(ProofRejectedError):
    """The token names a key that the set does not have; a newer set may."""


@dataclass(frozen=True)
class Expected:
    """What a token must say to be the answer to our request."""

    issuer: str
    client_id: str
    nonce: str
    signatures: Collection[str]
    fresh_since: datetime | None = None
    """The person must have authenticated since then; None: whenever."""


def check(
    token: str,
    keys: Sequence[Mapping[str, Any]],
    expected: Expected,
    *,
    access_token: str | None,
    now: datetime,
) -> dict[str, Any]:
    """The claims of ``token``, all checks passed.

    ``keys`` are those of the issuer's key set. Raises :class:`ProofRejectedError`, of which
    :class:`UnknownKeyError` says that the key set may be too old, and :class:`NotFreshError`.
    """
    algorithm, claims = _verified(token, keys, expected.signatures)
    _check_addressee(claims, expected)
    _check_times(claims, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(
        nonce.encode(), expected.nonce.encode()
    ):
        raise ProofRejectedError("the id_token has another nonce: it answers another login")
    if expected.fresh_since is not None:
        at = authenticated_at(claims)
        if at is None or at < expected.fresh_since - LEEWAY:
            raise NotFreshError("the id_token does not tell of a fresh authentication")
    if "at_hash" in claims and access_token is not None:
        _check_at_hash(claims["at_hash"], access_token, algorithm)
    return claims


def authenticated_at(claims: Mapping[str, Any]) -> datetime | None:
    """``auth_time``, if the token says it. Raises :class:`ProofRejectedError`."""
    return _time(claims, "auth_time")


def _verified(
    token: str, keys: Sequence[Mapping[str, Any]], signatures: Collection[str]
) -> tuple[str, dict[str, Any]]:
    if len(token) > TOKEN_LIMIT:
        raise ProofRejectedError("the id_token is too long")
    header = _header(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in signatures:
        raise ProofRejectedError(f"the id_token is signed with {str(algorithm)[:20]!r}")
    key = _key(keys, header.get("kid"), algorithm)
    try:
        return algorithm, jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError) as error:
        raise ProofRejectedError(f"the id_token's signature does not hold: {error}") from error


def _header(token: str) -> dict[str, Any]:
    first = token.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise ProofRejectedError("the id_token is none") from error
    if not isinstance(header, dict):
        raise ProofRejectedError("the id_token is none")
    return header


def _key(keys: Sequence[Mapping[str, Any]], wanted: object, algorithm: str) -> jwk.Key:
    """The one key of the set that can have signed."""
    kind = _TYPE_OF_SIGNATURE[algorithm[:2]]
    fitting = [
        key
        for key in keys
        if key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) in _names(algorithm)
        and (wanted is None or key.get("kid") == wanted)
    ]
    if len(fitting) != 1:
        raise UnknownKeyError(f"the issuer's key set has {len(fitting)} keys for this id_token")
    public = {name: value for name, value in fitting[0].items() if name not in ("alg", "key_ops")}
    try:
        return jwk.import_key(public)
    except (JoseError, ValueError) as error:
        raise ProofRejectedError(f"the issuer's key cannot be used: {error}") from error


def _names(algorithm: str) -> tuple[str, ...]:
    """What a key may call it: RFC 9864 gave EdDSA a second name."""
    return ("EdDSA", "Ed25519") if algorithm.startswith("Ed") else (algorithm,)


def _check_addressee(claims: Mapping[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise ProofRejectedError("the id_token is of another issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or expected.client_id not in audiences:
        raise ProofRejectedError("the id_token is for another client")
    authorized = claims.get("azp")
    if authorized is None and len(audiences) > 1:
        raise ProofRejectedError("the id_token is for several clients, and does not say for which")
    if authorized is not None and authorized != expected.client_id:
        raise ProofRejectedError("the id_token was made for another client")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LIMIT:
        raise ProofRejectedError("the id_token has no subject")
    if not (subject.isascii() and subject.isprintable()):
        raise ProofRejectedError("the id_token's subject is no text")


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires is None or issued is None:
        raise ProofRejectedError("the id_token does not say when it was issued or expires")
    if now >= expires + LEEWAY:
        raise ProofRejectedError("the id_token has expired")
    for name in ("iat", "nbf", "auth_time"):
        moment = _time(claims, name)
        if moment is not None and moment > now + LEEWAY:
            raise ProofRejectedError(f"the id_token's {name} is in the future")


def _time(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProofRejectedError(f"the id_token's {name} is no time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise ProofRejectedError(f"the id_token's {name} is no time") from error


def _check_at_hash(stated: object, access_token: str, algorithm: str) -> None:
    """OpenID Connect Core 1.0, 3.1.3.8."""
    made = _HASH_OF_SIGNATURE.get(algorithm[-3:])
    if made is None:  # Ed25519 hashes with SHA-512
        made = hashlib.sha512
    digest = made(access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if not isinstance(stated, str) or not hmac.compare_digest(stated.encode(), half.encode()):
        raise ProofRejectedError("the id_token belongs to another access token")
