"""The documents of the Auth API."""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from towpath.nexus.scopes import RESOURCE_SERVERS
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.tokens import LIFETIME_S, Token


def token_document(
    token: str, resource_server: str, scopes: Sequence[str], others: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What the token endpoint answers. ``other_tokens`` is always there: the SDK needs it."""
    return {
        "access_token": token,
        "scope": " ".join(scopes),
        "expires_in": LIFETIME_S,
        "token_type": "Bearer",
        "resource_server": resource_server,
        "other_tokens": list(others),
    }


def identity_document(identity: Identity) -> dict[str, Any]:
    """As ``/v2/api/identities`` lists it."""
    return {
        "id": str(identity.id),
        "username": identity.username,
        "name": identity.name,
        "email": identity.email,
        "organization": identity.organization,
        "status": identity.status,
        "identity_provider": str(identity.identity_provider),
        "identity_type": "login",
    }


def userinfo_document(identity: Identity) -> dict[str, Any]:
    """OpenID Connect's userinfo, with Globus' identity set."""
    at = identity.last_authentication
    last = None if at is None else int(at.timestamp())
    common = {
        "sub": str(identity.id),
        "name": identity.name,
        "email": identity.email,
        "organization": identity.organization,
        "identity_provider": str(identity.identity_provider),
        "identity_provider_display_name": identity.provider_name,
    }
    member = {
        **common,
        "username": identity.username,
        "status": identity.status,
        "identity_type": "login",
        "last_authentication": last,
    }
    return {
        **common,
        "preferred_username": identity.username,
        "last_authentication": last,
        "identity_set": [member],
    }


def introspection_document(
    token: Token, identity: Identity, issuer: str, include: frozenset[str]
) -> dict[str, Any]:
    """RFC 7662, with what ``include`` asks for."""
    issued = int(token.issued_at.timestamp())
    document: dict[str, Any] = {
        "active": True,
        "token_type": "Bearer",
        "scope": " ".join(token.scopes),
        "client_id": str(token.client_id),
        "username": identity.username,
        "name": identity.name,
        "email": identity.email,
        "exp": int(token.expires_at.timestamp()),
        "iat": issued,
        "nbf": issued,
        "sub": str(identity.id),
        "aud": [token.resource_server, str(token.client_id)],
        "iss": issuer,
    }
    if include & {"identity_set", "identities_set"}:
        document["identity_set"] = [str(identity.id)]
        document["identities_set"] = [str(identity.id)]
    if "identity_set_detail" in include:
        document["identity_set_detail"] = userinfo_document(identity)["identity_set"]
    if "session_info" in include:
        # a client proves itself with every token request; it has no session
        document["session_info"] = {"session_id": str(identity.id), "authentications": {}}
    return document


def openid_configuration(issuer: str) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0: what is there."""
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/v2/oauth2/token",
        "userinfo_endpoint": f"{issuer}/v2/oauth2/userinfo",
        "introspection_endpoint": f"{issuer}/v2/oauth2/token/introspect",
        "revocation_endpoint": f"{issuer}/v2/oauth2/token/revoke",
        "jwks_uri": f"{issuer}/jwk.json",
        "scopes_supported": sorted(RESOURCE_SERVERS),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS512"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    }


def key_document(key: rsa.RSAPublicKey) -> dict[str, Any]:
    """RFC 7517; the SDK uses the first key, and it must be RSA."""
    numbers = key.public_numbers()
    modulus, exponent = _base64url(numbers.n), _base64url(numbers.e)
    # RFC 7638: the key's thumbprint names it
    canonical = f'{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}'
    name = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=")
    one = {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS512",
        "kid": name.decode(),
        "n": modulus,
        "e": exponent,
    }
    return {"keys": [one]}


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
