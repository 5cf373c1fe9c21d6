"""What is still needed before an application gets its code: a pure decision.

A request makes *requirements*. Each must be met by one authentication in the browser session; the
login page is asked for what is missing. Then come the consents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

MFA_METHODS = frozenset({"mfa"})
"""Of ``amr`` (RFC 8176): more than one factor, as a passkey with user verification is, too."""


@dataclass(frozen=True)
class Requirement:
    """What one authentication must be."""

    identity: UUID | None = None
    domains: Sequence[str] | None = None
    """The identity's name ends in one of them; ``*.example.org`` is all below."""
    not_domains: Sequence[str] = ()
    provider: UUID | None = None
    not_before: datetime | None = None
    mfa: bool = False

    def met_by(self, one: "AuthenticationFacts") -> bool:
        """Whether this authentication will do."""
        return (
            (self.identity is None or one.identity_id == self.identity)
            and (self.domains is None or any(matches(one.domain, d) for d in self.domains))
            and not any(matches(one.domain, d) for d in self.not_domains)
            and (self.provider is None or one.provider_id == self.provider)
            and (self.not_before is None or one.at >= self.not_before)
            and (not self.mfa or one.mfa)
        )


@dataclass(frozen=True)
class PolicyFacts:
    """An authentication policy, as far as it decides."""

    high_assurance: bool
    assurance_timeout_s: int | None
    mfa: bool
    include: Sequence[str] | None
    exclude: Sequence[str] | None


@dataclass(frozen=True)
class RequestFacts:
    """What the request asks of the session."""

    began_at: datetime
    prompt: frozenset[str]
    max_age_s: int | None
    identities: Sequence[UUID]
    domains: Sequence[str]
    policies: Sequence[PolicyFacts]
    mfa: bool
    provider: UUID | None
    """The client takes logins from no other (``required_idp``)."""
    scope_domains: Sequence[Sequence[str]]
    """Of each scope that is for people of some domains only."""


@dataclass(frozen=True)
class AuthenticationFacts:
    """One identity's login in the session."""

    identity_id: UUID
    domain: str
    provider_id: UUID
    at: datetime
    mfa: bool


@dataclass(frozen=True)
class ConsentFacts:
    """Whether the person must be asked."""

    missing: bool
    """Something of the request was not allowed yet."""
    client_proven: bool
    """That the request is the client's own is certain. Otherwise the person is asked each time:
    anyone can say to be a program without a secret (RFC 6749, 10.2).
    """
    asked: bool = False
    """The person has just said yes to this request."""
    own: bool = False
    """The client is the deployment's own web interface: who logs in here has chosen it."""


@dataclass(frozen=True)
class Login:
    """Somebody must log in; ``unmet`` says who, and how."""

    unmet: Sequence[Requirement]


@dataclass(frozen=True)
class Consent:
    """The person must be asked."""


@dataclass(frozen=True)
class Issue:
    """Nothing is missing."""


@dataclass(frozen=True)
class Refuse:
    """The application is told no (OpenID Connect Core 1.0, 3.1.2.6)."""

    error: str
    description: str


Step = Login | Consent | Issue | Refuse


def requirements(request: RequestFacts, now: datetime) -> list[Requirement]:
    """What the session must have."""
    fresh = [request.began_at] if "login" in request.prompt else []
    if request.max_age_s is not None:
        # a login made for this request is fresh, however small max_age is
        fresh.append(min(now - timedelta(seconds=request.max_age_s), request.began_at))
    not_before = max(fresh, default=None)
    found = [Requirement(not_before=not_before)]
    found += [Requirement(identity=one, not_before=not_before) for one in request.identities]
    if request.domains:
        found.append(Requirement(domains=request.domains, not_before=not_before))
    found += [_of_policy(one, request.began_at, now) for one in request.policies]
    if request.mfa:
        found.append(Requirement(mfa=True, not_before=not_before))
    if request.provider is not None:
        found.append(Requirement(provider=request.provider))
    found += [Requirement(domains=one) for one in request.scope_domains]
    return found


def _of_policy(policy: PolicyFacts, began_at: datetime, now: datetime) -> Requirement:
    not_before = None
    if policy.high_assurance and policy.assurance_timeout_s is not None:
        not_before = min(now - timedelta(seconds=policy.assurance_timeout_s), began_at)
    return Requirement(
        domains=policy.include,
        not_domains=policy.exclude or (),
        not_before=not_before,
        mfa=policy.mfa,
    )


def next_step(
    request: RequestFacts,
    session: Iterable[AuthenticationFacts] | None,
    consent: ConsentFacts,
    now: datetime,
) -> Step:
    """What comes next. ``session`` is None while nobody is logged in."""
    known = list(session or ())
    unmet = [
        one for one in requirements(request, now) if not any(one.met_by(fact) for fact in known)
    ]
    silent = "none" in request.prompt
    if session is None or unmet:
        if silent:
            return Refuse("login_required", "somebody must log in first")
        return Login(unmet)
    # the consent page is where another account can be chosen
    must_ask = (
        (consent.missing and not consent.own)
        or not consent.client_proven
        or bool(request.prompt & {"consent", "select_account"})
    )
    if must_ask and not consent.asked:
        if silent:
            return Refuse("consent_required", "the person must be asked first")
        return Consent()
    return Issue()


def matches(domain: str, pattern: str) -> bool:
    """Whether a domain is the pattern, or with ``*.`` is below it."""
    domain, pattern = domain.lower(), pattern.lower()
    if pattern.startswith("*."):
        return domain.endswith(pattern[1:])
    return domain == pattern
