"""Signed statements: JWS in its compact form (RFC 7515), EdDSA, and nothing else.

The algorithm is ours and not the token's: one that names another, or none, is not read any further.
`typ` keeps apart what is signed with the same key: a pass is no grant.
"""

from __future__ import annotations

import json
from typing import Any, Final

from towpath.grants.base64url import decoded, encoded
from towpath.grants.keys import MAX_KEY_ID, KeySet, SigningKey
from towpath.grants.reasons import Reason

MAX_TOKEN_BYTES: Final = 64 * 1024
"""Of one statement: a grant for hundreds of long paths; the longest line that GridFTP servers of
ours take has twice as many."""
MAX_HEADER_BYTES: Final = 1024
"""Of what is read before the signature is known to be good; ours has 100."""
MAX_ID: Final = 64
"""Characters of a `jti` in logs; ours have 22."""
_ALGORITHM: Final = "EdDSA"


class NotTakenError(Exception):
    """A statement is not what it should be. Never holds the statement itself."""

    def __init__(self, reason: Reason, sentence: str, statement_id: str | None = None) -> None:
        super().__init__(f"{reason}: {sentence}")
        self.reason: Final = reason
        self.sentence: Final = sentence
        """What is wrong, for people."""
        self.statement_id = statement_id
        """Its `jti`, for logs, as far as it could be read: who altered the statement may have
        altered this too."""


def sign(claims: dict[str, Any], key: SigningKey, *, kind: str) -> str:
    """A statement of a kind (`typ`)."""
    header = {"alg": _ALGORITHM, "kid": key.key_id, "typ": kind}
    signed = f"{_packed(header)}.{_packed(claims)}"
    return f"{signed}.{encoded(key.sign(signed.encode('ascii')))}"


def read(token: str, keys: KeySet, *, kind: str) -> dict[str, Any]:
    """What a statement of this kind says. Raises `NotTakenError`: altered, key."""
    if len(token) > MAX_TOKEN_BYTES:
        raise _altered("it is too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise _altered("it is no signed statement")
    head, body, mark = parts
    header = _unpacked(head) if len(head) <= MAX_HEADER_BYTES else None
    if header is None or header.keys() != {"alg", "kid", "typ"}:
        raise _altered("its header makes no sense")
    if header["alg"] != _ALGORITHM:
        raise _altered(f"it is not signed with {_ALGORITHM}")
    if header["typ"] != kind:
        raise _altered("it is a statement of another kind")
    name = header["kid"]
    if not isinstance(name, str) or len(name) > MAX_KEY_ID:
        raise _altered("its header makes no sense")
    claims = _unpacked(body)
    statement_id = id_in(claims)
    if name not in keys.keys:
        raise NotTakenError(
            Reason.KEY, "it is signed with a key that is not known here", statement_id
        )
    try:
        signature = decoded(mark)
    except ValueError:
        raise _altered("its signature makes no sense", statement_id) from None
    if not keys.verifies(name, signature, f"{head}.{body}".encode("ascii", "replace")):
        raise _altered("its signature is wrong", statement_id)
    if claims is None:
        raise _altered("it makes no sense")
    return claims


def _altered(sentence: str, statement_id: str | None = None) -> NotTakenError:
    return NotTakenError(Reason.ALTERED, sentence, statement_id)


def id_in(claims: dict[str, Any] | None) -> str | None:
    """The `jti` as it may stand in a log; None when there is none."""
    found = None if claims is None else claims.get("jti")
    if not isinstance(found, str):
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in found[:MAX_ID])


def _packed(members: dict[str, Any]) -> str:
    return encoded(json.dumps(members, separators=(",", ":")).encode("ascii"))


def _unpacked(text: str) -> dict[str, Any] | None:
    """The object in a part of a statement; None when there is none."""
    try:
        found = json.loads(
            decoded(text), object_pairs_hook=_once_each, parse_constant=_no_such_number
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


def _no_such_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")
