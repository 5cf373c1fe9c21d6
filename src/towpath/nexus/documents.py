"""The documents of the Auth API."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from towpath.nexus.oauth.grants import Issued
from towpath.nexus.oauth.keys import ALGORITHM
from towpath.nexus.scopes import EMAIL, OFFLINE_ACCESS, PROFILE, VIEW_IDENTITY_SET
from towpath.nexus.store.clients import DEPENDENT_TOKEN
from towpath.nexus.store.consents import Consent
from towpath.nexus.store.identities import Identity, Provider
from towpath.nexus.store.tokens import LIFETIME_S, Grant, Token

END_SESSION = "/v2/oauth2/logout"
"""Where applications ask for a logout (OpenID Connect RP-Initiated Logout 1.0)."""


def token_document(issued: Issued, *, state: str | None = None) -> dict[str, Any]:
    """One token, as the token endpoint answers it."""
    document: dict[str, Any] = {
        "access_token": issued.access_token,
        "scope": " ".join(issued.scopes),
        "expires_in": LIFETIME_S,
        "token_type": "Bearer",
        "resource_server": issued.resource_server,
    }
    if issued.refresh_token is not None:
        document["refresh_token"] = issued.refresh_token
    if state is not None:
        document["state"] = state
    return document


def tokens_document(
    issued: Sequence[Issued], *, state: str | None = None, id_token: str | None = None
) -> dict[str, Any]:
    """All of them. ``other_tokens`` is always there: the SDK needs it."""
    first, *others = [token_document(one, state=state) for one in issued]
    if id_token is not None:
        first["id_token"] = id_token
    return {**first, "other_tokens": others}


def identity_document(identity: Identity, seen: Collection[str]) -> dict[str, Any]:
    """As ``/v2/api/identities`` lists it; ``seen`` are the fields that the caller sees of it."""
    return {
        "id": str(identity.id),
        "username": identity.username,
        "name": identity.name if "name" in seen else None,
        "email": identity.email if "email" in seen else None,
        "organization": identity.organization if "organization" in seen else None,
        "status": identity.status,
        "identity_provider": str(identity.identity_provider),
        "identity_type": "login",
    }


def provider_document(provider: Provider) -> dict[str, Any]:
    """As ``/v2/api/identity_providers`` lists it."""
    return {
        "id": str(provider.id),
        "name": provider.name,
        "short_name": provider.short_name,
        "domains": provider.domains,
        "alternative_names": provider.alternative_names,
    }


def person_claims(
    identity: Identity, identity_set: Sequence[Identity], scopes: Collection[str]
) -> dict[str, Any]:
    """What a client may know of a person by its scopes: userinfo's claims, and id tokens'.

    OpenID Connect Core 1.0, 5.4, with Globus' own claims.
    """
    claims: dict[str, Any] = {"sub": str(identity.id)}
    if PROFILE in scopes:
        claims |= {
            "preferred_username": identity.username,
            "name": identity.name,
            "organization": identity.organization,
            "identity_provider": str(identity.identity_provider),
            "identity_provider_display_name": identity.provider_name,
            "last_authentication": _seconds(identity.last_authentication),
        }
    if EMAIL in scopes:
        claims["email"] = identity.email
        if identity.email is not None:
            claims["email_verified"] = identity.email_verified
    if VIEW_IDENTITY_SET in scopes:
        claims["identity_set"] = identity_set_detail(identity_set)
    return claims


def identity_set_detail(identity_set: Sequence[Identity]) -> list[dict[str, Any]]:
    """A person's identities, in full."""
    return [
        {
            "sub": str(one.id),
            "username": one.username,
            "name": one.name,
            "email": one.email,
            "organization": one.organization,
            "identity_provider": str(one.identity_provider),
            "identity_provider_display_name": one.provider_name,
            "status": one.status,
            "identity_type": "login",
            "last_authentication": _seconds(one.last_authentication),
        }
        for one in identity_set
    ]


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def introspection_document(
    token: Token, identity: Identity, audience: Sequence[str], issuer: str
) -> dict[str, Any]:
    """RFC 7662, of an active token."""
    issued = int(token.issued_at.timestamp())
    return {
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
        "aud": list(dict.fromkeys(audience)),
        "iss": issuer,
    }


def session_document(grant: Grant) -> dict[str, Any]:
    """Who has logged in, in the session that a grant comes from. A client has none: it proves
    itself with each request.
    """
    return {
        "session_id": str(grant.session_id or grant.id),
        "authentications": grant.authentications,
    }


def consent_document(consent: Consent) -> dict[str, Any]:
    """All that the SDK's ``ConsentForest`` reads."""
    return {
        "id": consent.id,
        "client": str(consent.client_id),
        "scope": str(consent.scope_id),
        "scope_name": consent.scope_string,
        "effective_identity": str(consent.identity_id),
        "dependency_path": consent.path,
        "created": consent.created_at.isoformat(),
        "updated": consent.updated_at.isoformat(),
        "last_used": consent.last_used_at.isoformat(),
        "status": "approved",
        "allows_refresh": consent.allows_refresh,
        "auto_approved": consent.auto_approved,
        # a person takes back all that a client may, not a part of it
        "atomically_revocable": False,
    }


def openid_configuration(issuer: str, scopes: Sequence[str]) -> dict[str, Any]:
    """OpenID Connect Discovery 1.0 and RFC 8414: what is there."""
    authentication = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/v2/oauth2/authorize",
        "token_endpoint": f"{issuer}/v2/oauth2/token",
        "userinfo_endpoint": f"{issuer}/v2/oauth2/userinfo",
        "introspection_endpoint": f"{issuer}/v2/oauth2/token/introspect",
        "revocation_endpoint": f"{issuer}/v2/oauth2/token/revoke",
        "end_session_endpoint": f"{issuer}{END_SESSION}",
        "jwks_uri": f"{issuer}/jwk.json",
        "scopes_supported": [*scopes, OFFLINE_ACCESS],
        "grant_types_supported": [
            "authorization_code",
            "client_credentials",
            "refresh_token",
            DEPENDENT_TOKEN,
        ],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "token_endpoint_auth_methods_supported": [*authentication, "none"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
        "revocation_endpoint_auth_methods_supported": [*authentication, "none"],
        "claims_supported": [
            "at_hash",
            "aud",
            "auth_time",
            "email",
            "email_verified",
            "exp",
            "iat",
            "identity_provider",
            "identity_provider_display_name",
            "identity_set",
            "iss",
            "last_authentication",
            "name",
            "nonce",
            "organization",
            "preferred_username",
            "sub",
        ],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "ui_locales_supported": ["en"],
    }
