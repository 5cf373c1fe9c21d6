"""What a worker shows to a relay to be joined with an agent: one connection, within a minute."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from towpath.grants import jws
from towpath.grants.judge import MAX_JTI, MAX_TEXT, Judge
from towpath.grants.keys import SigningKey
from towpath.grants.reasons import Reason

LIFETIME_S: Final = 60
"""It is shown right after it is made."""
_KIND: Final = "towpath-pass+jwt"
_NAMES: Final = ("iss", "aud", "endpoint", "node", "jti")


class PassRefused(jws.NotTakenError):
    """A pass is not taken: expired, clock, audience, issuer, key, altered, replayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """The claims of a pass."""

    issuer: str
    audience: str
    """The relay's id."""
    endpoint: str
    node: str
    pass_id: str
    issued: int
    expires: int

    def __post_init__(self) -> None:
        """ValueError for what nobody should sign or believe."""
        for text in (self.issuer, self.audience, self.endpoint, self.node):
            if not 0 < len(text) <= MAX_TEXT:
                raise ValueError("a claim is empty or too long")
        if not 0 < len(self.pass_id) <= MAX_JTI:
            raise ValueError("the id is empty or too long")
        if not self.issued < self.expires <= self.issued + LIFETIME_S:
            raise ValueError(f"a pass lives for {LIFETIME_S} s at most")

    @classmethod
    def issue(cls, *, issuer: str, audience: str, endpoint: str, node: str, now: float) -> Pass:
        """A new one, valid from now (seconds of the epoch)."""
        return cls(
            issuer=issuer,
            audience=audience,
            endpoint=endpoint,
            node=node,
            pass_id=secrets.token_urlsafe(16),
            issued=int(now),
            expires=int(now) + LIFETIME_S,
        )

    @classmethod
    def _from_claims(cls, claims: dict[str, Any]) -> Pass:
        if claims.keys() != {*_NAMES, "iat", "exp"}:
            raise ValueError("not the claims of a pass")
        if not all(isinstance(claims[name], str) for name in _NAMES):
            raise ValueError("a claim is no text")
        if not all(type(claims[name]) is int for name in ("iat", "exp")):
            raise ValueError("a time is no whole number")
        return cls(
            issuer=claims["iss"],
            audience=claims["aud"],
            endpoint=claims["endpoint"],
            node=claims["node"],
            pass_id=claims["jti"],
            issued=claims["iat"],
            expires=claims["exp"],
        )


def mint(permitted: Pass, key: SigningKey) -> str:
    """The pass as it is shown to the relay: a secret until it is used."""
    claims = {
        "iss": permitted.issuer,
        "aud": permitted.audience,
        "endpoint": permitted.endpoint,
        "node": permitted.node,
        "jti": permitted.pass_id,
        "iat": permitted.issued,
        "exp": permitted.expires,
    }
    return jws.sign(claims, key, kind=_KIND)


class PassVerifier(Judge):
    """Decides for one relay."""

    audience_kind = "relay"

    def verify(self, token: str) -> Pass:
        """The pass, which is used up by this. Raises `PassRefused`."""
        try:
            claims = jws.read(token, self._keys(), kind=_KIND)
            found = Pass._from_claims(claims)  # noqa: SLF001 - it is ours
        except jws.NotTakenError as refusal:
            raise PassRefused(refusal.reason, refusal.sentence, refusal.statement_id) from None
        except ValueError as error:
            raise PassRefused(Reason.ALTERED, str(error)) from None
        refused = self._refused(found) or self._used_up(found, found.pass_id)
        if refused is not None:
            raise PassRefused(*refused, found.pass_id)
        return found
