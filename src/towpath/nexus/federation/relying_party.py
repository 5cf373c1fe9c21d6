"""The exchange with an upstream: where to send the browser, and what its answer proves."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit
from uuid import UUID

from towpath.nexus.federation import id_token
from towpath.nexus.federation.attempts import Derived
from towpath.nexus.federation.errors import (
    NotOursError,
    ProofRejectedError,
    UpstreamDownError,
    UpstreamRefusedError,
)
from towpath.nexus.federation.providers import (
    SCOPES,
    Metadata,
    Upstream,
    discovery_url,
    read_metadata,
)
from towpath.platform.outbound import Answer, Outbound, OutboundError

KNOWN_FOR_S = 3600.0
"""Metadata and keys are asked for again after an hour; while an upstream does not answer, the old
ones serve on."""
KEYS_AGAIN_S = 10.0
"""A token with an unknown key asks for the key set again, but not more often: a forger must not
make us ask for each of his tokens."""
KEYS_LIMIT = 100
MFA_CONTEXT = "https://refeds.org/profile/mfa"
"""How research federations say that more than one factor was used (REFEDS MFA profile)."""
OLDEST_S = 14 * 86_400
"""How old a login at an upstream may be: as old as one here. Besides, it makes `auth_time` a must
(OpenID Connect Core, 2), without which nothing is known of how old it is."""
LONG_AGO = datetime.fromtimestamp(0, UTC)
_HOW = json.dumps({"id_token": {"acr": None, "amr": None, "auth_time": None}})
"""How somebody logged in, which many providers say only if they are asked."""
VALUES_LIMIT = 20
TEXT_LIMIT = 255


@dataclass(frozen=True)
class Wish:
    """What a login at the upstream should be like."""

    fresh: bool = False
    """The person authenticates anew: ``prompt=login``, ``max_age=0``."""
    mfa: bool = False
    login_hint: str | None = None


@dataclass(frozen=True)
class Proof:
    """Who logged in at an upstream, and how. Everything in it was checked."""

    upstream_id: UUID
    subject: str
    username: str
    """In one of the upstream's domains, in lower case."""
    name: str | None
    email: str | None
    email_verified: bool
    organization: str | None
    authenticated_at: datetime
    """`LONG_AGO` where the upstream does not say: what needs a recent login must not trust it."""
    acr: str | None
    amr: tuple[str, ...] = field(default=())


@dataclass
class _Known:
    metadata: Metadata
    metadata_at: float
    keys: list[dict[str, Any]]
    keys_at: float


class RelyingParty:
    """Asks upstreams, and remembers what they say of themselves. One for a process.

    ``clock`` is the wall clock that tokens are checked by, ``monotonic`` counts how old things are.
    """

    def __init__(
        self,
        outbound: Outbound,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbound = outbound
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[tuple[UUID, str], _Known] = {}

    async def look(self, upstream: Upstream) -> None:
        """Whether it is there and can be used. Raises :class:`UpstreamDownError`."""
        known = await self._metadata(upstream)
        await self._keys(upstream, known, at_most_old_s=KNOWN_FOR_S)

    async def authorization_url(
        self, upstream: Upstream, *, redirect_uri: str, state: str, derived: Derived, wish: Wish
    ) -> str:
        """Where the browser goes to log in. Raises :class:`UpstreamDownError`."""
        known = await self._metadata(upstream)
        parameters = {
            "response_type": "code",
            "client_id": upstream.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPES,
            "state": state,
            "nonce": derived.nonce,
            "code_challenge": derived.challenge,
            "code_challenge_method": "S256",
            "max_age": str(OLDEST_S),
        }
        if known.metadata.takes_wishes:
            parameters["claims"] = _HOW
        if wish.fresh:
            parameters |= {"prompt": "login", "max_age": "0"}
        if wish.mfa:
            parameters["acr_values"] = MFA_CONTEXT
        if wish.login_hint is not None:
            parameters["login_hint"] = wish.login_hint
        endpoint = known.metadata.authorization_endpoint
        separator = "&" if urlsplit(endpoint).query else "?"
        return f"{endpoint}{separator}{urlencode(parameters)}"

    async def redeem(
        self,
        upstream: Upstream,
        answer: Mapping[str, str],
        *,
        redirect_uri: str,
        derived: Derived,
        fresh_since: datetime | None,
    ) -> Proof:
        """What the answer in the redirect proves. Raises :class:`FederationError`.

        ``answer`` is its query, whose state was found to be ours already.
        """
        known = await self._metadata(upstream)
        _check_sender(answer, upstream, known.metadata)
        if "error" in answer:
            raise UpstreamRefusedError(f"{upstream.name} answers {answer['error'][:100]!r}")
        if "code" not in answer:
            raise NotOursError("an answer without code and without error")
        tokens = await self._tokens(upstream, known.metadata, answer["code"], redirect_uri, derived)
        access_token = tokens.get("access_token")
        if not isinstance(access_token, str) or not access_token.isascii():
            raise ProofRejectedError(f"{upstream.name} gives no access token")
        claims = await self._checked(upstream, known, tokens, access_token, derived, fresh_since)
        if _text(claims, upstream.username_claim) is None or "name" not in claims:
            claims = await self._with_userinfo(upstream, known.metadata, claims, access_token)
        return proof_of(upstream, claims)

    async def _tokens(
        self,
        upstream: Upstream,
        metadata: Metadata,
        code: str,
        redirect_uri: str,
        derived: Derived,
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": derived.verifier,
        }
        headers = {}
        if upstream.client_secret is None:
            form["client_id"] = upstream.client_id
        elif metadata.secret_in_form:
            form |= {"client_id": upstream.client_id, "client_secret": upstream.client_secret}
        else:
            # RFC 6749, 2.3.1: both are form-encoded first
            pair = f"{quote_plus(upstream.client_id)}:{quote_plus(upstream.client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        answer = await self._ask(
            upstream, "POST", metadata.token_endpoint, form=form, headers=headers
        )
        document = _document(upstream, answer) if answer.status in (200, 400, 401) else {}
        if answer.status == 200:
            return document
        said = document.get("error")
        if said == "invalid_grant":
            # a code of somebody else's login, or one that was used (RFC 9700, 4.5)
            raise ProofRejectedError(f"{upstream.name} does not redeem the code")
        raise UpstreamDownError(
            f"{upstream.name} gives no tokens: {answer.status} {str(said)[:100]}"
        )

    async def _checked(
        self,
        upstream: Upstream,
        known: _Known,
        tokens: Mapping[str, Any],
        access_token: str,
        derived: Derived,
        fresh_since: datetime | None,
    ) -> dict[str, Any]:
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise ProofRejectedError(f"{upstream.name} gives no id_token")
        expected = id_token.Expected(
            issuer=upstream.issuer,
            client_id=upstream.client_id,
            nonce=derived.nonce,
            signatures=known.metadata.signatures,
            fresh_since=fresh_since,
        )

        def check() -> dict[str, Any]:
            return id_token.check(
                token, known.keys, expected, access_token=access_token, now=self._clock()
            )

        await self._keys(upstream, known, at_most_old_s=KNOWN_FOR_S)
        try:
            return check()
        except id_token.UnknownKeyError:
            await self._keys(upstream, known, at_most_old_s=KEYS_AGAIN_S)
            return check()

    async def _with_userinfo(
        self,
        upstream: Upstream,
        metadata: Metadata,
        claims: dict[str, Any],
        access_token: str,
    ) -> dict[str, Any]:
        if metadata.userinfo_endpoint is None:
            return claims
        headers = {"Authorization": f"Bearer {access_token}"}
        answer = await self._ask(upstream, "GET", metadata.userinfo_endpoint, headers=headers)
        if answer.status != 200:
            raise UpstreamDownError(f"{upstream.name} says nothing of its user: {answer.status}")
        more = _document(upstream, answer)
        if more.get("sub") != claims["sub"]:
            # OpenID Connect Core, 5.3.2: or tokens of somebody else could be put in
            raise ProofRejectedError(f"{upstream.name}'s user document is of somebody else")
        return {**more, **claims}

    async def _metadata(self, upstream: Upstream) -> _Known:
        place = (upstream.id, upstream.issuer)
        known = self._known.get(place)
        now = self._monotonic()
        if known is not None and now - known.metadata_at < KNOWN_FOR_S:
            return known
        try:
            answer = await self._ask(upstream, "GET", discovery_url(upstream.issuer))
            if answer.status != 200:
                raise UpstreamDownError(f"{upstream.name} has no metadata: {answer.status}")
            metadata = read_metadata(_document(upstream, answer), upstream.issuer)
        except UpstreamDownError:
            if known is None:
                raise
            return known
        if known is None:
            known = self._known[place] = _Known(metadata, now, [], float("-inf"))
        else:
            known.metadata, known.metadata_at = metadata, now
        return known

    async def _keys(self, upstream: Upstream, known: _Known, *, at_most_old_s: float) -> None:
        now = self._monotonic()
        if now - known.keys_at < at_most_old_s:
            return
        try:
            answer = await self._ask(upstream, "GET", known.metadata.jwks_uri)
            keys = _document(upstream, answer).get("keys") if answer.status == 200 else None
            if not isinstance(keys, list) or len(keys) > KEYS_LIMIT:
                raise UpstreamDownError(f"{upstream.name} has no key set: {answer.status}")
        except UpstreamDownError:
            if not known.keys:
                raise
            return
        known.keys = [key for key in keys if isinstance(key, dict)]
        known.keys_at = now

    async def _ask(
        self,
        upstream: Upstream,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        try:
            return await self._outbound.request(
                method, url, form=form, headers=headers, authority=upstream.authority
            )
        except OutboundError as error:
            raise UpstreamDownError(f"{upstream.name}: {error}") from error


def proof_of(upstream: Upstream, claims: Mapping[str, Any]) -> Proof:
    """What checked ``claims`` say. Raises :class:`ProofRejectedError`.

    A name without a domain is in the upstream's first one; one in a domain that is not the
    upstream's is refused: it has no say there.
    """
    stated = _text(claims, upstream.username_claim)
    if stated is None:
        raise ProofRejectedError(f"{upstream.name} says no {upstream.username_claim}")
    local, at, domain = stated.strip().lower().rpartition("@")
    if not at:
        local, domain = domain, upstream.domains[0]
    if not local or any(character.isspace() or character in '@"<>' for character in local):
        raise ProofRejectedError(
            f"{upstream.name} says a {upstream.username_claim} that is no name"
        )
    if domain not in upstream.domains:
        raise ProofRejectedError(f"{upstream.name} has no say in {domain[:TEXT_LIMIT]!r}")
    acr = _text(claims, "acr")
    methods = claims.get("amr")
    said = methods[:VALUES_LIMIT] if isinstance(methods, list) else []
    amr = [clean for one in said if (clean := _clean(one)) is not None]
    if acr == MFA_CONTEXT and "mfa" not in amr:
        amr.append("mfa")
    at_time = id_token.authenticated_at(claims)
    email = _text(claims, "email")
    return Proof(
        upstream_id=upstream.id,
        subject=claims["sub"],
        username=f"{local}@{domain}",
        name=_text(claims, "name"),
        email=None if claims.get("email_verified") is False else email,
        email_verified=claims.get("email_verified") is True,
        organization=_text(claims, "organization"),
        authenticated_at=at_time or LONG_AGO,
        acr=acr,
        amr=tuple(amr),
    )


def _check_sender(answer: Mapping[str, str], upstream: Upstream, metadata: Metadata) -> None:
    """Against mix-up (RFC 9700, 4.4; RFC 9207, 2.4): the answer is of the one that was asked."""
    stated = answer.get("iss")
    if stated is None and metadata.names_itself:
        raise ProofRejectedError(f"the answer does not say that it is of {upstream.name}")
    if stated is not None and stated != upstream.issuer:
        raise ProofRejectedError(f"the answer is of another issuer than {upstream.name}")


def _document(upstream: Upstream, answer: Answer) -> dict[str, Any]:
    try:
        return answer.document()
    except OutboundError as error:
        raise UpstreamDownError(f"{upstream.name}: {error}") from error


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    return _clean(claims.get(name))


def _clean(value: object) -> str | None:
    """A text of an upstream as a database and a page can have it."""
    if not isinstance(value, str):
        return None
    return "".join(one for one in value if one.isprintable())[:TEXT_LIMIT] or None
