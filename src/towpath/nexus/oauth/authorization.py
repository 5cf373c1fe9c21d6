"""An authorization request on its way from the application to a code, or to a refusal.

The facts are fetched here, `towpath.nexus.oauth.authorize` decides, and the pages show it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from towpath.nexus import audit, hashing, scopes
from towpath.nexus.oauth import consents, redirects
from towpath.nexus.oauth.authorize import (
    MFA_METHODS,
    AuthenticationFacts,
    ConsentFacts,
    PolicyFacts,
    RequestFacts,
    Requirement,
    Step,
    next_step,
    requirements,
)
from towpath.nexus.oauth.consents import Wanted
from towpath.nexus.oauth.requests import AuthorizationRequest, RequestError
from towpath.nexus.store import (
    accounts,
    authorizations,
    clients,
    identities,
    policies,
    sessions,
    tokens,
)
from towpath.nexus.store import consents as consent_store
from towpath.nexus.store import keys as key_store
from towpath.nexus.store.clients import Client
from towpath.nexus.store.identities import Identity
from towpath.nexus.store.sessions import Session
from towpath.nexus.well_known import WEB_CLIENT, WEB_SCOPES
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Pending:
    """A request that waits for a person, with all that it names."""

    id: str
    client: Client
    request: AuthorizationRequest
    began_at: datetime
    wanted: Sequence[Wanted]
    policies: Sequence[policies.Policy]


async def begin(
    connection: Connection, client: Client, request: AuthorizationRequest, browser: str
) -> Pending:
    """Keep a request. Raises :class:`RequestError` for something in it that does not exist."""
    if client.id == WEB_CLIENT:
        _check_own(request)
    wanted = await _planned(connection, request)
    named = [UUID(one) for one in request.required_policies]
    if len(await policies.by_id(connection, named)) != len(set(named)):
        raise RequestError("invalid_request", "a policy of session_required_policies is not there")
    request_id = hashing.new_token()
    await authorizations.add_request(
        connection,
        request_id,
        browser=browser,
        client_id=client.id,
        parameters=request.document(),
    )
    found = await find(connection, request_id, browser)
    assert found is not None
    assert len(found.wanted) == len(wanted)
    return found


async def find(
    connection: Connection, request_id: str, browser: str, *, lock: bool = False
) -> Pending | None:
    """The request of that id in this browser, if it has not ended."""
    kept = await authorizations.find_request(connection, request_id, browser, lock=lock)
    if kept is None:
        return None
    client = await clients.find(connection, kept.client_id)
    request = AuthorizationRequest.of_document(kept.parameters)
    try:
        wanted = await _planned(connection, request)
    except RequestError:  # a scope was deleted meanwhile
        return None
    if client is None:
        return None
    named = [UUID(one) for one in request.required_policies]
    return Pending(
        request_id,
        client,
        request,
        kept.created_at,
        wanted,
        await policies.by_id(connection, named),
    )


def _check_own(request: AuthorizationRequest) -> None:
    """Any page can send a browser here in the web interface's name, and nobody is asked: so there
    is nothing to be gained, and nothing of others is shown on the login page in its name.
    """
    if request.offline or not WEB_SCOPES.issuperset(request.scope.split()):
        raise RequestError("invalid_scope", "the web interface has a fixed set of scopes")
    if request.session_message is not None:
        raise RequestError("invalid_request", "the web interface has no session_message")


async def _planned(connection: Connection, request: AuthorizationRequest) -> list[Wanted]:
    try:
        return await consents.plan(connection, scopes.parse(request.scope), offline=request.offline)
    except scopes.ScopeError as error:
        raise RequestError("invalid_scope", str(error)) from error


def request_facts(pending: Pending) -> RequestFacts:
    """What the request asks of the session."""
    request = pending.request
    return RequestFacts(
        began_at=pending.began_at,
        prompt=frozenset(request.prompt),
        max_age_s=request.max_age_s,
        identities=[UUID(one) for one in request.required_identities],
        domains=request.required_domains,
        policies=[
            PolicyFacts(
                one.high_assurance,
                one.authentication_assurance_timeout,
                one.required_mfa,
                one.domain_constraints_include,
                one.domain_constraints_exclude,
            )
            for one in pending.policies
        ],
        mfa=request.required_mfa,
        provider=pending.client.required_idp,
        # what a scope needs elsewhere, too: whoever registers a scope may let it depend on any
        scope_domains=[
            one.scope.required_domains
            for one in consents.flattened(pending.wanted)
            if one.scope.required_domains
        ],
    )


async def needed(connection: Connection, pending: Pending) -> list[Requirement]:
    """What the request asks of the session."""
    return requirements(request_facts(pending), await key_store.now(connection))


@dataclass(frozen=True)
class Person:
    """Who is logged in, as applications see them."""

    session: Session
    identity: Identity
    """The account's primary one, which tokens are for."""
    authentications: Sequence[AuthenticationFacts]


async def person_of(connection: Connection, session: Session | None) -> Person | None:
    """Whose session it is; None if nobody is logged in. In a transaction: the account is neither
    suspended nor deleted before it ends, or it would have a grant afterwards.
    """
    if session is None or not await accounts.hold(connection, session.account_id):
        return None
    account = await accounts.account(connection, session.account_id)
    if account is None:
        return None
    known = {one.id: one for one in await identities.identities_of_account(connection, account.id)}
    facts = [
        AuthenticationFacts(
            identity_id=identity_id,
            domain=known[identity_id].username.rpartition("@")[2],
            provider_id=one.provider_id,
            at=one.at,
            mfa=bool(MFA_METHODS & set(one.amr)),
        )
        for identity_id, one in session.authentications.items()
        if identity_id in known
    ]
    return Person(session, known[account.primary_identity], facts)


async def decide(
    connection: Connection, pending: Pending, person: Person | None, issuer: str, *, asked: bool
) -> Step:
    """What comes next. ``asked``: the person has just allowed what was shown."""
    missing = True
    if person is not None:
        given = await consent_store.of_client(connection, person.identity.id, pending.client.id)
        missing = consents.missing(pending.wanted, given)
    proven = not pending.client.public or redirects.proves_the_client(
        pending.request.redirect_uri, issuer
    )
    return next_step(
        request_facts(pending),
        None if person is None else person.authentications,
        ConsentFacts(
            missing=missing,
            client_proven=proven,
            asked=asked,
            own=pending.client.id == WEB_CLIENT,
        ),
        await key_store.now(connection),
    )


def shown(pending: Pending) -> str:
    """A digest of what the consent page shows, so that nothing else is allowed by it."""
    text = "\n".join(
        f"{one.scope.scope_string} {one.allows_refresh}"
        for one in consents.flattened(pending.wanted)
    )
    return hashlib.sha256(text.encode()).hexdigest()


async def issue(connection: Connection, pending: Pending, person: Person, issuer: str) -> str:
    """Note the consents, make a grant with a code, and end the request. Returns where the browser
    goes with the code, or with an error if the session has just ended. Call it in a transaction.
    """
    request, client, identity = pending.request, pending.client, person.identity
    if client.id == WEB_CLIENT and not await sessions.hold(connection, person.session.id):
        # it was logged out meanwhile: the interface's grants end with their session
        return await refuse(
            connection, pending, person, issuer, "login_required", "the session has ended"
        )
    before = {one.id for one in await consent_store.of_client(connection, identity.id, client.id)}
    roots = await consents.record(
        connection, pending.wanted, identity_id=identity.id, client_id=client.id
    )
    after = await consent_store.of_client(connection, identity.id, client.id)
    new = [one.scope_string for one in after if one.id not in before]
    if new:
        act = audit.Act(
            "consent.given", actor=identity.id, client=client.id, details={"scopes": new}
        )
        await audit.append(connection, act)
    grant_id = await tokens.add_grant(
        connection,
        client_id=client.id,
        identity_id=identity.id,
        session_id=person.session.id,
        authentications=_snapshot(person.session),
    )
    code = hashing.new_token()
    is_shown = redirects.is_shown(request.redirect_uri, issuer)
    await authorizations.add_code(
        connection,
        code,
        grant_id=grant_id,
        redirect_uri=request.redirect_uri,
        code_challenge=request.code_challenge,
        offline=request.offline,
        nonce=request.nonce,
        state=request.state,
        consent_ids=roots,
        lifetime_s=(
            authorizations.SHOWN_CODE_LIFETIME_S if is_shown else authorizations.CODE_LIFETIME_S
        ),
    )
    await authorizations.end_request(connection, pending.id)
    return answer_uri(request.redirect_uri, issuer, request.state, code=code)


async def refuse(
    connection: Connection,
    pending: Pending,
    person: Person | None,
    issuer: str,
    error: str,
    description: str,
) -> str:
    """End the request without a code. Returns where the browser goes with the error."""
    if error == "access_denied" and person is not None:
        act = audit.Act("consent.refused", actor=person.identity.id, client=pending.client.id)
        await audit.append(connection, act)
    await authorizations.end_request(connection, pending.id)
    return error_uri(
        pending.request.redirect_uri, issuer, pending.request.state, error, description
    )


def _snapshot(session: Session) -> dict[str, Any]:
    """The session's logins, as introspection tells them as long as the grant lives."""
    return {
        str(identity_id): {
            "idp": str(one.provider_id),
            "auth_time": int(one.at.timestamp()),
            "acr": one.acr,
            "amr": list(one.amr),
            "custom_claims": {},
        }
        for identity_id, one in session.authentications.items()
    }


def answer_uri(redirect_uri: str, issuer: str, state: str | None, **answer: str) -> str:
    """The redirect URI with the answer; ``iss`` says whose it is (RFC 9207)."""
    if state is not None:
        answer["state"] = state
    answer["iss"] = issuer
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(answer)}"


def error_uri(
    redirect_uri: str, issuer: str, state: str | None, error: str, description: str
) -> str:
    """The redirect URI with an error (RFC 6749, 4.1.2.1)."""
    # the RFC's characters: no quote, no backslash, nothing outside ASCII
    told = "".join(one if " " <= one <= "~" and one not in '"\\' else "'" for one in description)
    return answer_uri(redirect_uri, issuer, state, error=error, error_description=told)
