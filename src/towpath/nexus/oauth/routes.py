"""The routes that programs call: tokens, introspection, revocation, userinfo, discovery."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from towpath.nexus import audit, documents, scopes
from towpath.nexus.bootstrap import TRANSFER
from towpath.nexus.oauth import grants, id_tokens
from towpath.nexus.oauth.callers import (
    bearer,
    client_at_token_endpoint,
    client_by_secret,
    form_of,
    has_basic,
    uuids,
)
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import (
    NO_STORE,
    forbidden,
    invalid_grant,
    oauth_error,
    unauthorized,
)
from towpath.nexus.oauth.grants import Issued, Refused, Unapproved
from towpath.nexus.oauth.keys import PUBLISHED_AHEAD_S
from towpath.nexus.store import clients, identities, tokens
from towpath.nexus.store import consents as consent_store
from towpath.nexus.store import groups as group_store
from towpath.nexus.store import keys as key_store
from towpath.nexus.store import scopes as scope_store
from towpath.nexus.store.clients import DEPENDENT_TOKEN, Client
from towpath.nexus.store.identities import Identity
from towpath.nexus.well_known import storage_scope
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError


def add_token_routes(app: FastAPI, core: Core) -> None:
    """``/v2/oauth2/token`` and below."""

    @app.post("/v2/oauth2/token")
    async def token(request: Request) -> JSONResponse:
        form = await form_of(request)
        grant = form.get("grant_type")
        async with core.database.connection() as connection:
            client = await client_at_token_endpoint(request, form, connection)
            document: Any
            if grant is None:
                raise oauth_error(400, "invalid_request", "grant_type is missing")
            known = (*client.grant_types, "client_credentials", DEPENDENT_TOKEN)
            if grant in known and grant not in client.grant_types:
                raise oauth_error(400, "unauthorized_client", "this client may not ask so")
            if grant == "authorization_code":
                document = await _code(core, connection, client, form)
            elif grant == "refresh_token":
                document = await _refresh(connection, client, form)
            elif grant == "client_credentials":
                document = await _client_credentials(core, connection, client, form)
            elif grant == DEPENDENT_TOKEN:
                document = await _dependent(connection, client, form)
            else:
                raise oauth_error(
                    400, "unsupported_grant_type", f"grant_type {grant[:100]!r} is not offered"
                )
        return JSONResponse(document, headers=NO_STORE)

    @app.post("/v2/oauth2/token/introspect")
    async def introspect(request: Request) -> JSONResponse:
        form = await form_of(request)
        include = frozenset(form.get("include", "").split(","))
        async with core.database.connection() as connection:
            client = await client_by_secret(request, connection)
            document = await _introspected(core, connection, client, _field(form, "token"), include)
        return JSONResponse(document or {"active": False}, headers=NO_STORE)

    @app.post("/v2/oauth2/token/validate")
    async def validate(request: Request) -> JSONResponse:
        # the CLI asks this of its refresh tokens before every command
        form = await form_of(request)
        async with core.database.connection() as connection:
            client = await client_at_token_endpoint(request, form, connection)
            found = await tokens.find_any(connection, _field(form, "token"))
        active = found is not None and found.client_id == client.id and found.replaced_at is None
        return JSONResponse({"active": active}, headers=NO_STORE)

    @app.post("/v2/oauth2/token/revoke")
    async def revoke(request: Request) -> JSONResponse:
        # Who has the token may end it (RFC 7009 asks for the client's secret, which the CLI does
        # not send: it names its template, and in client mode it sends no token at all).
        form = await form_of(request)
        async with core.database.connection() as connection:
            if has_basic(request):
                await client_by_secret(request, connection)
            if "token" in form:
                async with connection.transaction():
                    await _revoke(connection, form["token"])
        return JSONResponse({"active": False}, headers=NO_STORE)

    @app.get("/v2/oauth2/userinfo")
    @app.post("/v2/oauth2/userinfo")
    async def userinfo(request: Request) -> JSONResponse:
        async with core.database.connection() as connection:
            found = await bearer(request, connection)
            if scopes.OPENID not in found.scopes:
                raise forbidden("this needs a token with the scope openid")
            identity, identity_set = await _person(connection, found.identity_id)
        if identity is None:
            raise unauthorized("the token's identity is gone")
        claims = documents.person_claims(identity, identity_set, found.scopes)
        return JSONResponse(claims, headers=NO_STORE)


def add_discovery_routes(app: FastAPI, core: Core) -> None:
    """What clients find out about us, and people's consents."""

    @app.get("/.well-known/openid-configuration")
    @app.get("/.well-known/oauth-authorization-server")
    async def configuration() -> dict[str, Any]:
        async with core.database.connection() as connection:
            known = await scope_store.advertised(connection)
        return documents.openid_configuration(core.issuer, known)

    @app.get("/jwk.json")
    async def jwks() -> JSONResponse:
        async with core.database.connection() as connection:
            published = await core.keys.published(connection)
        headers = {"Cache-Control": f"public, max-age={PUBLISHED_AHEAD_S}"}
        return JSONResponse(published, headers=headers)

    @app.get("/v2/api/identities/{identity_id}/consents")
    async def consents(request: Request, identity_id: str) -> dict[str, Any]:
        # `all` is Python's word: False, the default, is the trees of the calling client
        every = request.query_params.get("all", "false").lower() == "true"
        async with core.database.connection() as connection:
            found = await bearer(request, connection)
            wanted = uuids(identity_id)
            mine = await identities.identity_set(connection, found.identity_id)
            if not set(wanted) <= set(mine):
                raise forbidden("these are another person's consents")
            if every and scopes.VIEW_CONSENTS not in found.scopes:
                raise forbidden(f"this needs a token with the scope {scopes.VIEW_CONSENTS}")
            # consents are the effective identity's, which the token is for
            given = (
                await consent_store.of_identity(connection, found.identity_id)
                if every
                else await consent_store.of_client(connection, found.identity_id, found.client_id)
            )
        return {"consents": [documents.consent_document(one) for one in given]}


def _field(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if value is None:
        raise oauth_error(400, "invalid_request", f"{name} is missing")
    return value


async def _code(
    core: Core, connection: Connection, client: Client, form: Mapping[str, str]
) -> dict[str, Any]:
    code = _field(form, "code")
    async with connection.transaction():
        outcome = await grants.exchange_code(
            connection, client, code, form.get("redirect_uri"), form.get("code_verifier")
        )
        if isinstance(outcome, Refused):
            await _note_refusal(connection, client, outcome, "code.replayed")
        else:
            await clients.note_use(connection, client.id)
            await _note_issue(
                connection, client, outcome.code.identity_id, "authorization_code", outcome.tokens
            )
            id_token = await _id_token(
                core,
                connection,
                client,
                outcome.tokens[0],
                identity_id=outcome.code.identity_id,
                grant_id=outcome.code.grant_id,
                nonce=outcome.code.nonce,
            )
    if isinstance(outcome, Refused):
        raise invalid_grant()
    return documents.tokens_document(outcome.tokens, state=outcome.code.state, id_token=id_token)


async def _id_token(
    core: Core,
    connection: Connection,
    client: Client,
    first: Issued,
    *,
    identity_id: UUID,
    grant_id: UUID | None = None,
    nonce: str | None = None,
) -> str | None:
    """If openid was granted. The SDK wants one for a client's own identity, too."""
    if scopes.OPENID not in first.scopes:
        return None
    identity, identity_set = await _person(connection, identity_id)
    grant = None if grant_id is None else await tokens.grant(connection, grant_id)
    assert identity is not None
    claims = id_tokens.claims(
        issuer=core.issuer,
        client_id=client.id,
        identity=identity,
        identity_set=identity_set,
        scopes=first.scopes,
        nonce=nonce,
        authentications={} if grant is None else grant.authentications,
        access_token=first.access_token,
        now_s=int((await key_store.now(connection)).timestamp()),
    )
    return await core.keys.sign(connection, claims)


async def _refresh(
    connection: Connection, client: Client, form: Mapping[str, str]
) -> dict[str, Any]:
    refresh_token = _field(form, "refresh_token")
    try:
        async with connection.transaction():
            outcome = await grants.refresh(connection, client, refresh_token, form.get("scope"))
            if isinstance(outcome, Refused):
                await _note_refusal(connection, client, outcome, "token.reused")
            else:
                act = audit.Act(
                    "token.refreshed",
                    client=client.id,
                    details={"resource_server": outcome.resource_server},
                )
                await audit.append(connection, act)
    except scopes.ScopeError as error:
        raise oauth_error(400, "invalid_scope", str(error)) from error
    if isinstance(outcome, Refused):
        raise invalid_grant()
    return documents.tokens_document([outcome])


async def _client_credentials(
    core: Core, connection: Connection, client: Client, form: Mapping[str, str]
) -> dict[str, Any]:
    try:
        async with connection.transaction():
            issued = await grants.client_credentials(connection, client, form.get("scope", ""))
            await _note_issue(connection, client, client.id, "client_credentials", issued)
            id_token = await _id_token(core, connection, client, issued[0], identity_id=client.id)
    except scopes.ScopeError as error:
        raise oauth_error(400, "invalid_scope", str(error)) from error
    return documents.tokens_document(issued, id_token=id_token)


async def _dependent(
    connection: Connection, client: Client, form: Mapping[str, str]
) -> list[dict[str, Any]]:
    token = _field(form, "token")
    offline = form.get("access_type", "online") == "offline"
    try:
        async with connection.transaction():
            outcome = await grants.dependent(
                connection, client, token, form.get("scope"), offline=offline
            )
            if not isinstance(outcome, Refused | Unapproved):
                await _note_issue(connection, client, None, "dependent_token", outcome)
    except scopes.ScopeError as error:
        raise oauth_error(400, "invalid_scope", str(error)) from error
    if isinstance(outcome, Refused):
        raise invalid_grant()
    if isinstance(outcome, Unapproved):
        raise _unapproved(outcome)
    return [documents.token_document(one) for one in outcome]


def _unapproved(outcome: Unapproved) -> ApiError:
    """The SDK makes an authorization requirement of it."""
    message = "the person has not allowed all that this needs"
    one = {
        "status": "403",
        "code": "DEPENDENT_CONSENT_REQUIRED",
        "title": "Forbidden",
        "detail": message,
        "unapproved_scopes": list(outcome.scopes),
    }
    return oauth_error(403, "dependent_consent_required", message, {"errors": [one]})


async def _introspected(
    core: Core, connection: Connection, client: Client, token: str, include: frozenset[str]
) -> dict[str, Any] | None:
    """What the caller may know of the token; None if it is not active, or not the caller's affair.

    The token's own client may know, and the service that it is for.
    """
    # of access tokens alone: a service must not take a refresh token for one
    found = await tokens.find(connection, token)
    if found is None:
        return None
    is_for_us = found.resource_server == client.server_name or await _is_storage_of(
        connection, client, found
    )
    if found.client_id != client.id and not is_for_us:
        return None
    identity, identity_set = await _person(connection, found.identity_id)
    if identity is None:
        return None
    owners = {str(one.client_id) for one in await scope_store.by_string(connection, found.scopes)}
    audience = [found.resource_server, *sorted(owners), str(found.client_id)]
    document = documents.introspection_document(found, identity, audience, core.issuer)
    ids = [one.id for one in identity_set]
    if not is_for_us:
        # an application about its own token: no more than userinfo would tell it
        document["name"] = identity.name if scopes.PROFILE in found.scopes else None
        document["email"] = identity.email if scopes.EMAIL in found.scopes else None
        if scopes.VIEW_IDENTITY_SET not in found.scopes:
            include -= {"identity_set", "identities_set", "identity_set_detail"}
    if include & {"identity_set", "identities_set"}:
        document["identity_set"] = document["identities_set"] = [str(one) for one in ids]
    if "identity_set_detail" in include:
        document["identity_set_detail"] = documents.identity_set_detail(identity_set)
    # whose scopes say nothing of groups is not told of them: only the deployment's own services,
    # whose access rules name groups
    if "groups" in include and await clients.is_service(connection, client.id):
        document["groups"] = [str(one) for one in await group_store.group_ids_of(connection, ids)]
    if "root_client" in include and is_for_us:
        # of a token that a service got for another: whose login it began with
        stands_on = await consent_store.by_id(connection, found.consent_ids)
        root = next((one.root_client_id for one in stands_on), found.client_id)
        document["root_client_id"] = str(root)
    if "session_info" in include:
        grant = await tokens.grant(connection, found.grant_id)
        document["session_info"] = None if grant is None else documents.session_document(grant)
    return document


async def _is_storage_of(connection: Connection, client: Client, token: tokens.Token) -> bool:
    """Whether the token is for an endpoint or a collection, and the client is Transfer, which
    answers for all of them.
    """
    if any(storage_scope(one) is None for one in token.scopes):
        return False
    return client.id == await clients.client_of_role(connection, TRANSFER)


async def _person(
    connection: Connection, identity_id: UUID
) -> tuple[Identity | None, list[Identity]]:
    """An identity, and its identity set: itself first."""
    found = await identities.identities_by_id(connection, [identity_id])
    if not found:
        return None, []
    identity = found[0]
    if identity.account_id is None:
        return identity, [identity]
    others = await identities.identities_of_account(connection, identity.account_id)
    return identity, [identity, *(one for one in others if one.id != identity.id)]


async def _revoke(connection: Connection, token: str) -> None:
    found = await tokens.find_any(connection, token)
    await tokens.revoke(connection, token)
    if found is not None:
        act = audit.Act(
            "token.revoked",
            actor=found.identity_id,
            client=found.client_id,
            details={"resource_server": found.resource_server, "kind": found.kind},
        )
        await audit.append(connection, act)


async def _note_refusal(
    connection: Connection, client: Client, refused: Refused, compromised: audit.Kind
) -> None:
    if refused.compromised:
        act = audit.Act(compromised, subject=refused.identity_id, client=client.id)
        await audit.append(connection, act)


async def _note_issue(
    connection: Connection,
    client: Client,
    identity_id: UUID | None,
    grant_type: str,
    issued: Sequence[Issued],
) -> None:
    act = audit.Act(
        "token.issued",
        actor=identity_id,
        client=client.id,
        details={
            "grant_type": grant_type,
            "scopes": {one.resource_server: list(one.scopes) for one in issued},
        },
    )
    await audit.append(connection, act)
