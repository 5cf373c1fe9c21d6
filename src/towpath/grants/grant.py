"""What the service may do in one session at a Connect endpoint, and who decides that it may."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from towpath.grants import jws
from towpath.grants.base64url import decoded, encoded
from towpath.grants.judge import MAX_JTI, MAX_TEXT, Judge, Refused
from towpath.grants.keys import SigningKey
from towpath.grants.reasons import Reason

LIFETIME_S: Final = 600
"""Longest life of a grant: a stolen one is worth nothing soon, a session renews its own."""
MAX_PREFIXES: Final = 1000
"""Of one grant; a session has one or two."""
MAX_PATH_BYTES: Final = 4096
"""Of a prefix: the kernel opens no longer path."""
_LATEST: Final = 1 << 37
"""Seconds of the epoch: what can still be written as a date."""
_KIND: Final = "towpath-grant+jwt"
_LETTERS: Final = {"r": False, "rw": True}
_THUMBPRINT: Final = "x5t#S256"
"""RFC 8705, 3.1: how a token names the certificate of who may show it."""


class Prefix(NamedTuple):
    """A directory or file, and all that is below it. The longest one that fits a path holds."""

    path: str
    """Absolute within the collection, normalised; bytes that are no UTF-8 as surrogates."""
    write: bool
    """Whether it may be changed; it may be read in any case."""


class GrantRefused(jws.NotTakenError):
    """A grant is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The claims of a grant. ValueError when they make no sense together."""

    issuer: str
    """The deployment's issuer URL (`iss`)."""
    audience: str
    """The endpoint's id (`aud`)."""
    subject: str
    """The identity on whose behalf (`sub`)."""
    account: str | None
    """The local account; None where the endpoint has but one (`acct`)."""
    collection: str
    """The collection's id (`col`)."""
    prefixes: tuple[Prefix, ...]
    """What may be touched (`pfx`)."""
    grant_id: str
    """Unique (`jti`)."""
    issued: int
    """Seconds of the epoch (`iat`)."""
    expires: int
    """Seconds of the epoch (`exp`)."""
    certificate_sha256: str
    """Of the certificate (DER) whose owner may show it, in hex (`cnf`)."""

    def __post_init__(self) -> None:
        """Refuse what nobody should sign or believe."""
        for text in (self.issuer, self.audience, self.subject, self.collection):
            if not 0 < len(text) <= MAX_TEXT:
                raise ValueError("a claim is empty or too long")
        if self.account is not None and not 0 < len(self.account) <= MAX_TEXT:
            raise ValueError("the account's name is empty or too long")
        if not 0 < len(self.grant_id) <= MAX_JTI:
            raise ValueError("the id is empty or too long")
        if not self.issued < self.expires <= self.issued + LIFETIME_S:
            raise ValueError(f"a grant lives for {LIFETIME_S} s at most")
        if not 0 < len(self.prefixes) <= MAX_PREFIXES:
            raise ValueError(f"a grant has 1 to {MAX_PREFIXES} prefixes")
        if len({prefix.path for prefix in self.prefixes}) != len(self.prefixes):
            raise ValueError("a prefix stands there twice")
        for prefix in self.prefixes:
            _demand_normalised(prefix.path)
        if len(bytes.fromhex(self.certificate_sha256)) != hashlib.sha256().digest_size:
            raise ValueError("a certificate is named by its SHA-256")

    @classmethod
    def issue(
        cls,
        *,
        issuer: str,
        audience: str,
        subject: str,
        account: str | None,
        collection: str,
        prefixes: Iterable[Prefix],
        certificate_sha256: str,
        now: float,
        lifetime_s: int = LIFETIME_S,
    ) -> Grant:
        """A new one, valid from now (seconds of the epoch)."""
        return cls(
            issuer=issuer,
            audience=audience,
            subject=subject,
            account=account,
            collection=collection,
            prefixes=tuple(prefixes),
            grant_id=secrets.token_urlsafe(16),
            issued=int(now),
            expires=int(now) + lifetime_s,
            certificate_sha256=certificate_sha256,
        )

    def to_claims(self) -> dict[str, Any]:
        """As they are signed."""
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "col": self.collection,
            "pfx": [[path, "rw" if write else "r"] for path, write in self.prefixes],
            "jti": self.grant_id,
            "iat": self.issued,
            "exp": self.expires,
            "cnf": {_THUMBPRINT: encoded(bytes.fromhex(self.certificate_sha256))},
        }
        if self.account is not None:
            claims["acct"] = self.account
        return claims

    @classmethod
    def from_claims(cls, claims: dict[str, Any]) -> Grant:
        """The opposite. Raises ValueError, also for claims that nobody here knows: they might
        narrow what is allowed."""
        if claims.keys() - {"acct"} != _CLAIMS:
            raise ValueError("not the claims of a grant")
        account = _text(claims, "acct") if "acct" in claims else None
        confirmation = claims["cnf"]
        if not isinstance(confirmation, dict) or confirmation.keys() != {_THUMBPRINT}:
            raise ValueError("it names no certificate")
        prefixes = claims["pfx"]
        if not isinstance(prefixes, list):
            raise ValueError("it names no prefixes")  # noqa: TRY004 - as below
        return cls(
            issuer=_text(claims, "iss"),
            audience=_text(claims, "aud"),
            subject=_text(claims, "sub"),
            account=account,
            collection=_text(claims, "col"),
            prefixes=tuple(map(_prefix, prefixes)),
            grant_id=_text(claims, "jti"),
            issued=_time(claims, "iat"),
            expires=_time(claims, "exp"),
            certificate_sha256=decoded(_text(confirmation, _THUMBPRINT)).hex(),
        )


_CLAIMS: Final = {"iss", "aud", "sub", "col", "pfx", "jti", "iat", "exp", "cnf"}


def mint(grant: Grant, key: SigningKey) -> str:
    """The grant as it is shown to the endpoint: a secret of this session."""
    return jws.sign(grant.to_claims(), key, kind=_KIND)


class Verifier(Judge):
    """Decides for one endpoint."""

    audience_kind = "endpoint"

    def verify(self, token: str, certificate_sha256: str) -> Grant:
        """The grant, which is used up by this. Raises `GrantRefused`.

        `certificate_sha256` (hex): of the certificate of whoever shows it, proven by then.
        """
        return self._verified(token, certificate_sha256, None)

    def verify_renewal(self, token: str, certificate_sha256: str, current: Grant) -> Grant:
        """As `verify`, for a session that has a grant: for the same identity, account and
        collection."""
        return self._verified(token, certificate_sha256, current)

    def _verified(self, token: str, certificate_sha256: str, current: Grant | None) -> Grant:
        try:
            claims = jws.read(token, self._keys(), kind=_KIND)
        except jws.NotTakenError as refusal:
            raise GrantRefused(refusal.reason, refusal.sentence, refusal.statement_id) from None
        try:
            grant = Grant.from_claims(claims)
        except ValueError as error:
            raise GrantRefused(Reason.ALTERED, str(error), jws.id_in(claims)) from None
        refused = (
            self._refused(grant)
            or _not_whose(grant, certificate_sha256, current)
            or self._used_up(grant, grant.grant_id)
        )
        if refused is not None:
            raise GrantRefused(*refused, grant.grant_id)
        return grant


def _not_whose(grant: Grant, certificate_sha256: str, current: Grant | None) -> Refused | None:
    if grant.certificate_sha256.lower() != certificate_sha256.lower():
        return Reason.CERTIFICATE, "it was made for who has another certificate"
    if current is not None and _holder(grant) != _holder(current):
        return Reason.SESSION, "the session is for another identity, account or collection"
    return None


def certificate_sha256(der: bytes) -> str:
    """How a grant names a certificate."""
    return hashlib.sha256(der).hexdigest()


def _holder(grant: Grant) -> tuple[str, str | None, str]:
    return grant.subject, grant.account, grant.collection


def _demand_normalised(path: str) -> None:
    """A path that can be compared: ValueError for any that is written in another way."""
    names = path.split("/")
    if path != "/" and (names[0] or not names[1:] or not all(names[1:])):
        raise ValueError("a prefix is absolute, without empty names")
    if "." in names or ".." in names or "\0" in path:
        raise ValueError("a prefix has no . or .., and no NUL")
    if len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise ValueError(f"a prefix has {MAX_PATH_BYTES} bytes at most")


def _prefix(found: object) -> Prefix:
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("a prefix is a path and r or rw")
    path, letters = found
    if not isinstance(path, str) or not isinstance(letters, str) or letters not in _LETTERS:
        raise ValueError("a prefix is a path and r or rw")
    return Prefix(path, _LETTERS[letters])


def _text(claims: dict[str, Any], name: str) -> str:
    found = claims[name]
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - it is the value that is wrong
    return found


def _time(claims: dict[str, Any], name: str) -> int:
    found = claims[name]
    if type(found) is not int or not 0 <= found <= _LATEST:
        raise ValueError(f"{name} is no time")
    return found
