"""Keys of manifests."""

from typing import Literal

from towpath.transfer.api.answers.base import Answer


class ManifestKey(Answer):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class ManifestKeys(Answer):
    """A JWK set, and whose it is."""

    issuer: str
    keys: list[ManifestKey]
