"""Keys that sign grants and passes: Ed25519, published as a JWK set (RFC 8037)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from towpath.grants.base64url import decoded, encoded

MAX_KEYS: Final = 8
"""Of a set: two are valid during a rotation; so many more than that nobody publishes."""
MAX_KEY_ID: Final = 128
"""Characters of a key's name; ours have 43."""


class SigningKey:
    """A private key, and its name (`kid`): the thumbprint of RFC 7638."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Own a key."""
        self._key = key
        self.public = key.public_key()
        self.key_id = _thumbprint(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    @classmethod
    def new(cls) -> SigningKey:
        """A new one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, secret: bytes) -> SigningKey:
        """As `to_bytes` gave it. Raises ValueError."""
        return cls(Ed25519PrivateKey.from_private_bytes(secret))

    def to_bytes(self) -> bytes:
        """The secret, 32 bytes."""
        return self._key.private_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """A signature, 64 bytes."""
        return self._key.sign(data)


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys by name. Empty: nothing is believed."""

    keys: Mapping[str, Ed25519PublicKey]

    @classmethod
    def of(cls, keys: Iterable[SigningKey]) -> KeySet:
        """The public halves."""
        return cls({key.key_id: key.public for key in keys})

    @classmethod
    def from_jwks(cls, document: Any, *, most: int = MAX_KEYS) -> KeySet:
        """Read a JWK set. Keys that are none of ours are left out. Raises ValueError."""
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list) or len(entries) > most:
            raise ValueError(f"a key set is a list of at most {most} keys")
        keys: dict[str, Ed25519PublicKey] = {}
        for entry in entries:
            if not isinstance(entry, dict) or entry.get("kty") != "OKP":
                continue
            name, point = entry.get("kid"), entry.get("x")
            if entry.get("crv") != "Ed25519" or entry.get("use", "sig") != "sig":
                continue
            if not (isinstance(name, str) and 0 < len(name) <= MAX_KEY_ID) or name in keys:
                raise ValueError("each key of a set has a name of its own")
            keys[name] = Ed25519PublicKey.from_public_bytes(decoded(str(point)))
        return cls(keys)

    def to_jwks(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "keys": [
                {**_jwk(key), "kid": name, "use": "sig", "alg": "EdDSA"}
                for name, key in self.keys.items()
            ]
        }

    def verifies(self, key_id: str, signature: bytes, data: bytes) -> bool:
        """Whether a key of this name, which must be there, signed the data."""
        try:
            self.keys[key_id].verify(signature, data)
        except InvalidSignature:
            return False
        return True


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": encoded(key.public_bytes_raw())}


def _thumbprint(key: Ed25519PublicKey) -> str:
    text = json.dumps(_jwk(key), separators=(",", ":"), sort_keys=True)
    return encoded(hashlib.sha256(text.encode("ascii")).digest())
