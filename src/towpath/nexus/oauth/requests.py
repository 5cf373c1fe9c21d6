"""Reading an authorization request (RFC 6749, 4.1.1; OpenID Connect Core 1.0, 3.1.2.1). Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from uuid import UUID

from towpath.nexus import scopes
from towpath.nexus.store.clients import Client

TEXT_LIMIT = 2000
"""Characters of state, nonce, and messages."""
LIST_LIMIT = 20
"""Identities, domains and policies of a session requirement."""
PART_LIMIT = 255
"""Characters of one of them; a domain's longest."""
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url, RFC 7636, 4.2
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})


class RequestError(Exception):
    """What is wrong with a request, by a name of RFC 6749, 4.1.2.1."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


@dataclass(frozen=True)
class AuthorizationRequest:
    """What an application wants, once client and redirect URI are known to be right."""

    redirect_uri: str
    scope: str
    state: str | None = None
    nonce: str | None = None
    code_challenge: str | None = None
    """S256."""
    offline: bool = False
    prompt: Sequence[str] = ()
    max_age_s: int | None = None
    login_hint: str | None = None
    required_identities: Sequence[str] = ()
    """Each must be logged in, in the session."""
    required_domains: Sequence[str] = ()
    """An identity of one of them must be."""
    required_policies: Sequence[str] = ()
    required_mfa: bool = False
    session_message: str | None = None
    """The application's words on why; shown as such."""
    grant_name: str | None = None
    """A label for the consent, proposed by the application (``prefill_named_grant``)."""

    def document(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> "AuthorizationRequest":
        """From what was stored."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})


def read(
    client: Client, redirect_uri: str, pairs: Sequence[tuple[str, str]]
) -> AuthorizationRequest:
    """The request in some query parameters. Raises :class:`RequestError`.

    Client and redirect URI must have been checked before: where they are wrong nobody is
    redirected anywhere.
    """
    given = dict(pairs)
    if len(given) != len(pairs):
        raise RequestError("invalid_request", "a parameter is there twice")
    for name in ("request", "request_uri", "registration"):
        if name in given:
            raise RequestError(f"{name}_not_supported", f"{name} is not offered")
    if given.get("response_type") != "code":
        raise RequestError("unsupported_response_type", "only response_type=code is offered")
    if given.get("response_mode", "query") != "query":
        raise RequestError("invalid_request", "only response_mode=query is offered")
    for name in ("state", "nonce", "session_message", "login_hint", "prefill_named_grant"):
        text = given.get(name, "")
        if len(text) > TEXT_LIMIT or not text.isprintable():
            raise RequestError("invalid_request", f"{name} is too long, or has control characters")
    wanted = _scopes(given.get("scope", ""))
    offline = _one_of(given, "access_type", ("online", "offline"), "online") == "offline"
    if scopes.OFFLINE_ACCESS in wanted:
        del wanted[scopes.OFFLINE_ACCESS]
        offline = True
    if not wanted:
        raise RequestError("invalid_scope", "scope is missing")
    prompt = given.get("prompt", "").split()
    if not set(prompt) <= _PROMPTS or ("none" in prompt and len(prompt) > 1):
        raise RequestError("invalid_request", "prompt is not known, or none and something else")
    return AuthorizationRequest(
        redirect_uri=redirect_uri,
        scope=" ".join(map(str, wanted.values())),
        state=given.get("state"),
        nonce=given.get("nonce"),
        code_challenge=_challenge(client, given),
        offline=offline,
        prompt=prompt,
        max_age_s=_max_age(given.get("max_age")),
        login_hint=given.get("login_hint"),
        required_identities=[str(one) for one in _ids(given, "session_required_identities")],
        required_domains=[one.lower() for one in _list(given, "session_required_single_domain")],
        required_policies=[str(one) for one in _ids(given, "session_required_policies")],
        required_mfa=_true(given, "session_required_mfa"),
        session_message=given.get("session_message"),
        grant_name=given.get("prefill_named_grant"),
    )


def _scopes(text: str) -> dict[str, scopes.ScopeNode]:
    try:
        return scopes.parse(text)
    except scopes.ScopeError as error:
        raise RequestError("invalid_scope", str(error)) from error


def _challenge(client: Client, given: dict[str, str]) -> str | None:
    """PKCE: always for clients without a secret, and only by S256 (RFC 9700, 2.1.1)."""
    challenge = given.get("code_challenge")
    if challenge is None:
        if client.public:
            raise RequestError("invalid_request", "code_challenge is missing (RFC 7636)")
        if "code_challenge_method" in given:
            raise RequestError("invalid_request", "code_challenge is missing")
        return None
    # without a method it would be "plain" (RFC 7636, 4.3)
    if given.get("code_challenge_method") != "S256":
        raise RequestError("invalid_request", "code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(challenge):
        raise RequestError("invalid_request", "code_challenge is not one of S256")
    return challenge


def _max_age(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise RequestError("invalid_request", "max_age is not a number of seconds")
    return int(text)


def _one_of(given: dict[str, str], name: str, known: Sequence[str], default: str) -> str:
    value = given.get(name, default)
    if value not in known:
        raise RequestError("invalid_request", f"{name} must be one of {', '.join(known)}")
    return value


def _true(given: dict[str, str], name: str) -> bool:
    """The SDK writes Python's words."""
    return _one_of({name: given.get(name, "false").lower()}, name, ("true", "false"), "") == "true"


def _list(given: dict[str, str], name: str) -> list[str]:
    found = [part.strip() for part in given.get(name, "").split(",") if part.strip()]
    if len(found) > LIST_LIMIT or any(
        len(part) > PART_LIMIT or not part.isprintable() for part in found
    ):
        raise RequestError("invalid_request", f"{name} is too long, or has control characters")
    return found


def _ids(given: dict[str, str], name: str) -> list[UUID]:
    try:
        return [UUID(part) for part in _list(given, name)]
    except ValueError as error:
        raise RequestError("invalid_request", f"{name} has something that is no UUID") from error
