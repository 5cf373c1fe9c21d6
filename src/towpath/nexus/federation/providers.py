"""Upstream providers: what the operator says of one, and what it says of itself (discovery)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from towpath.nexus.federation.errors import UpstreamDownError

SIGNATURES = frozenset(
    (
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "Ed25519",
    )
)
"""Signature algorithms that are accepted. None with a shared key: who knows a client secret could
sign for everybody (RFC 8725, 2.1, 3.1)."""
USERNAME_CLAIM = "preferred_username"
SCOPES = "openid profile email"


@dataclass(frozen=True)
class Upstream:
    """An OpenID provider as the operator registered it."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    client_secret: str | None
    domains: tuple[str, ...]
    """It may speak for names in these, and no others."""
    username_claim: str = USERNAME_CLAIM
    authority: str | None = None
    """Certificates (PEM) to trust for its servers, beside the system's."""

    def __repr__(self) -> str:
        return f"Upstream({self.name}, {self.issuer})"


@dataclass(frozen=True)
class Metadata:
    """What is used of a provider's metadata (OpenID Connect Discovery 1.0, 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    signatures: frozenset[str]
    names_itself: bool
    """It puts ``iss`` into its answers (RFC 9207): one without it is not from there."""
    takes_wishes: bool
    """It takes the parameter ``claims`` (OpenID Connect Core, 5.5)."""
    secret_in_form: bool
    """It takes the client's secret only in the form (``client_secret_post``)."""


def checked_issuer(issuer: str) -> str:
    """``issuer`` if it can be one: https, no query, no fragment. Raises ValueError."""
    parts = urlsplit(issuer)
    if parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("an issuer is an https URL")
    if parts.query or parts.fragment:
        raise ValueError("an issuer has no query and no fragment")
    return issuer


def discovery_url(issuer: str) -> str:
    """Where the metadata are (OpenID Connect Discovery 1.0, 4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def read_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Check a metadata document. Raises :class:`UpstreamDownError`."""
    if document.get("issuer") != issuer:
        # OpenID Connect Discovery 1.0, 4.3: or one provider could speak as another
        stated = str(document.get("issuer"))[:200]
        raise UpstreamDownError(f"the metadata of {issuer} are those of another issuer: {stated}")
    signatures = SIGNATURES & _words(document, "id_token_signing_alg_values_supported")
    if not signatures:
        raise UpstreamDownError(f"{issuer} signs with no algorithm that is accepted")
    if "code" not in _words(document, "response_types_supported"):
        raise UpstreamDownError(f"{issuer} does not offer the authorization code flow")
    methods = _words(document, "token_endpoint_auth_methods_supported") or {"client_secret_basic"}
    return Metadata(
        authorization_endpoint=_https(document, "authorization_endpoint", issuer),
        token_endpoint=_https(document, "token_endpoint", issuer),
        jwks_uri=_https(document, "jwks_uri", issuer),
        userinfo_endpoint=_https(document, "userinfo_endpoint", issuer)
        if document.get("userinfo_endpoint")
        else None,
        signatures=frozenset(signatures),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        takes_wishes=document.get("claims_parameter_supported") is True,
        secret_in_form="client_secret_basic" not in methods and "client_secret_post" in methods,
    )


def _words(document: Mapping[str, Any], key: str) -> set[str]:
    value = document.get(key)
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _https(document: Mapping[str, Any], key: str, issuer: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or urlsplit(value).scheme != "https":
        raise UpstreamDownError(f"{issuer} says no https URL for {key}")
    return value
