"""The grants of the token endpoint: what a client gives, and the tokens that it gets for it."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from towpath.nexus import hashing, scopes
from towpath.nexus.oauth import consents
from towpath.nexus.oauth.authorize import matches
from towpath.nexus.store import authorizations, clients, tokens
from towpath.nexus.store import consents as consent_store
from towpath.nexus.store import scopes as scope_store
from towpath.nexus.store.authorizations import Code
from towpath.nexus.store.clients import Client
from towpath.nexus.store.consents import Consent
from towpath.nexus.store.identities import CLIENTS_DOMAIN
from towpath.nexus.store.tokens import Token
from towpath.platform.database import Connection

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636, 4.1


@dataclass(frozen=True)
class Issued:
    """A new access token, for one resource server."""

    access_token: str
    resource_server: str
    scopes: Sequence[str]
    refresh_token: str | None = None


@dataclass(frozen=True)
class Refused:
    """No tokens. ``reason`` is for the log and the audit trail; the client is not told."""

    reason: str
    compromised: bool = False
    """Something that is used once came again: its grant was ended."""
    identity_id: UUID | None = None


@dataclass(frozen=True)
class Exchanged:
    """What a code was good for."""

    tokens: Sequence[Issued]
    code: Code


def challenge_of(verifier: str) -> str:
    """S256 of a PKCE verifier (RFC 7636, 4.2)."""
    raw = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def fault_of_code(
    code: Code, client: Client, redirect_uri: str | None, verifier: str | None
) -> str | None:
    """Why a client does not get anything for a code that was not used before; None if it does."""
    if code.client_id != client.id:
        return "another client's code"
    if code.expired:
        return "the code has expired"
    if redirect_uri != code.redirect_uri:
        return "another redirect_uri"
    if code.code_challenge is None:
        # who sends a verifier has sent a challenge: somebody took it out (RFC 9700, 2.1.1)
        return None if verifier is None else "a code_verifier without code_challenge"
    if verifier is None or not _VERIFIER.fullmatch(verifier):
        return "no code_verifier"
    if not hmac.compare_digest(challenge_of(verifier), code.code_challenge):
        return "a wrong code_verifier"
    return None


async def exchange_code(
    connection: Connection,
    client: Client,
    code: str,
    redirect_uri: str | None,
    verifier: str | None,
) -> Exchanged | Refused:
    """Tokens for a code (RFC 6749, 4.1.3). Call it in a transaction, and commit that also if it is
    refused: a code that comes again ends all that came of it (RFC 6749, 4.1.2).
    """
    found = await authorizations.find_code(connection, code)
    if found is None:
        return Refused("an unknown code")
    fault = fault_of_code(found, client, redirect_uri, verifier)
    if found.used and found.client_id == client.id:
        await tokens.revoke_of_grant(connection, found.grant_id)
        return Refused("a code came again", compromised=True, identity_id=found.identity_id)
    if fault is not None:
        return Refused(fault, identity_id=found.identity_id)
    await authorizations.use_code(connection, code)
    allowed = await consent_store.by_id(connection, found.consent_ids)
    if not allowed:
        await tokens.revoke_of_grant(connection, found.grant_id)  # nothing will come of it
        return Refused("the consent was taken back", identity_id=found.identity_id)
    issued = await issue(
        connection,
        allowed,
        grant_id=found.grant_id,
        client_id=client.id,
        identity_id=found.identity_id,
        offline=found.offline,
    )
    return Exchanged(issued, found)


async def refresh(
    connection: Connection, client: Client, refresh_token: str, scope: str | None
) -> Issued | Refused:
    """A new access token for a refresh token (RFC 6749, 6). In a transaction, as above.

    A client without a secret gets a new refresh token each time. An old one that comes again was
    stolen, or the new one was: the grant ends (RFC 9700, 4.14.2). Others keep theirs, as the Globus
    clients expect.
    """
    found = await tokens.find_any(connection, refresh_token, lock=True)
    if found is None or found.kind != "refresh" or found.client_id != client.id:
        return Refused("an unknown refresh token")
    if found.replaced_at is not None:
        await tokens.revoke_of_grant(connection, found.grant_id)
        return Refused(
            "a refresh token came again", compromised=True, identity_id=found.identity_id
        )
    allowed = await consent_store.by_id(connection, found.consent_ids)
    still = [one for one in allowed if one.scope_string in found.scopes]
    if scope is not None:
        wanted = set(scopes.top_level(scope))
        if not wanted or not wanted <= set(found.scopes):
            raise scopes.ScopeError("more than the refresh token is for")
        still = [one for one in still if one.scope_string in wanted]
    if not still:
        return Refused("the consent was taken back", identity_id=found.identity_id)
    kept = refresh_token
    if client.public:
        kept = hashing.new_token()
        await _add(connection, kept, "refresh", found, allowed, found.scopes)
        await tokens.replace(connection, refresh_token, kept)
    else:
        await tokens.note_use(connection, refresh_token)
    made = hashing.new_token()
    names = [one.scope_string for one in still]
    await _add(connection, made, "access", found, still, names, parent=kept)
    await consent_store.note_use(connection, [one.id for one in still])
    return Issued(made, found.resource_server, names, kept)


async def _add(
    connection: Connection,
    value: str,
    kind: tokens.Kind,
    like: Token,
    allowed: Sequence[Consent],
    names: Sequence[str],
    parent: str | None = None,
) -> None:
    await tokens.add(
        connection,
        value,
        kind=kind,
        grant_id=like.grant_id,
        client_id=like.client_id,
        identity_id=like.identity_id,
        resource_server=like.resource_server,
        scopes=names,
        consent_ids=[one.id for one in allowed],
        parent=parent,
    )


async def client_credentials(
    connection: Connection, client: Client, scope: str
) -> Sequence[Issued]:
    """Tokens for a client itself (RFC 6749, 4.4); what they need it allows itself.

    Raises :class:`towpath.nexus.scopes.ScopeError`.
    """
    trees = scopes.parse(scope)
    if not trees:
        raise scopes.ScopeError("scope is missing")
    wanted = await consents.plan(connection, trees, offline=False)
    for one in consents.flattened(wanted):
        domains = one.scope.required_domains
        if domains and not any(matches(CLIENTS_DOMAIN, domain) for domain in domains):
            raise scopes.ScopeError(f"{one.scope.scope_string} is for people of some domains only")
    ids = await consents.record(
        connection, wanted, identity_id=client.id, client_id=client.id, auto_approved=True
    )
    grant_id = await tokens.add_grant(connection, client_id=client.id, identity_id=client.id)
    allowed = await consent_store.by_id(connection, ids)
    return await issue(
        connection,
        allowed,
        grant_id=grant_id,
        client_id=client.id,
        identity_id=client.id,
        offline=False,
    )


@dataclass(frozen=True)
class Unapproved:
    """A service needs more than the person has allowed."""

    scopes: Sequence[str]


async def dependent(
    connection: Connection, service: Client, token: str, scope: str | None, *, offline: bool
) -> Sequence[Issued] | Refused | Unapproved:
    """Tokens for a service, to do elsewhere what it was given ``token`` for.

    Only what the person allowed on this very path: this client, this scope, this service. What
    one of the deployment's own services gets for later (``offline``) is not part of the login in
    which it was asked to: it has a grant of its own, and ends with the consent.
    """
    found = await tokens.find(connection, token, lock=True)
    if found is None or found.resource_server != service.server_name:
        return Refused("a token that is not for this service")
    allowed = await consent_store.below(connection, found.consent_ids, service.id)
    roots = await consent_store.by_id(connection, found.consent_ids)
    needed = {
        one.depends_on
        for one in await scope_store.dependencies(connection, [one.scope_id for one in roots])
        if not one.optional
    } - {one.scope_id for one in allowed}
    if needed:
        lacking = await scope_store.by_id(connection, list(needed))
        return Unapproved([one.scope_string for one in lacking])
    if scope is not None:
        wanted = set(scopes.top_level(scope))
        unknown = wanted - {one.scope_string for one in allowed}
        if unknown:
            return Unapproved(sorted(unknown))
        allowed = [one for one in allowed if one.scope_string in wanted]
    await consent_store.note_use(connection, [one.id for one in allowed])
    own = await _own_grant(connection, service, found) if offline else None
    return await issue(
        connection,
        allowed,
        grant_id=own or found.grant_id,
        client_id=service.id,
        identity_id=found.identity_id,
        offline=offline,
        parent=None if own else token,
    )


async def _own_grant(connection: Connection, service: Client, found: Token) -> UUID | None:
    """One like that of the token, for a service that is part of the deployment."""
    if not await clients.is_service(connection, service.id):
        return None
    login = await tokens.grant(connection, found.grant_id)
    assert login is not None, "the token belongs to it, and it is held"
    return await tokens.add_grant(
        connection,
        client_id=service.id,
        identity_id=found.identity_id,
        session_id=login.session_id,
        authentications=login.authentications,
    )


async def issue(
    connection: Connection,
    allowed: Sequence[Consent],
    *,
    grant_id: UUID,
    client_id: UUID,
    identity_id: UUID,
    offline: bool,
    parent: str | None = None,
) -> list[Issued]:
    """A token for each resource server, Auth's first; with a refresh token for what allows one."""
    servers: dict[str, list[Consent]] = {}
    for one in allowed:
        servers.setdefault(one.resource_server, []).append(one)
    issued = []
    for server in sorted(servers, key=lambda name: (name != scopes.AUTH, name)):
        here = servers[server]
        lasting = [
            one for one in here if offline and one.allows_refresh and one.scope_allows_refresh
        ]
        add = partial(
            tokens.add,
            connection,
            grant_id=grant_id,
            client_id=client_id,
            identity_id=identity_id,
            resource_server=server,
        )
        refresh_token = None
        if lasting:
            refresh_token = hashing.new_token()
            await add(
                refresh_token,
                kind="refresh",
                scopes=[one.scope_string for one in lasting],
                consent_ids=[one.id for one in lasting],
                parent=parent,
            )
        access_token = hashing.new_token()
        names = [one.scope_string for one in here]
        await add(
            access_token,
            kind="access",
            scopes=names,
            consent_ids=[one.id for one in here],
            parent=refresh_token or parent,
        )
        issued.append(Issued(access_token, server, names, refresh_token))
    return issued
