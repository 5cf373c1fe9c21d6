"""The Auth API: tokens for clients, introspection, identities."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from towpath.nexus import documents, hashing, scopes
from towpath.nexus.bootstrap import TRANSFER
from towpath.nexus.pages import account, frame, joining, login, visitor
from towpath.nexus.people.mail import NoMailer, Post
from towpath.nexus.people.passwords import Passwords
from towpath.nexus.people.service import People
from towpath.nexus.store import clients, identities, tokens
from towpath.platform.database import Connection, Database
from towpath.platform.errors import AUTH_ERRORS, ApiError
from towpath.platform.http import new_app
from towpath.platform.settings import PeopleSettings

PREFIXES = ("/v2/oauth2", "/v2/api", "/v2/web", "/account", "/.well-known", "/jwk.json")
"""The paths on the deployment's origin that are nexus'."""

_PEOPLE = PeopleSettings()

BODY_LIMIT = 64 * 1024
IDS_LIMIT = 500
"""Identities asked for at once; the SDK asks for 100."""
FIELDS_LIMIT = 50

_ROLE_OF_RESOURCE_SERVER = {scopes.TRANSFER: TRANSFER}
"""Which of our services may introspect tokens for which resource server."""

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749, 5.1


def create_app(
    database: Database,
    *,
    issuer: str,
    signing_key: rsa.RSAPublicKey,
    people: PeopleSettings = _PEOPLE,
    post: Post | None = None,
    passwords: Passwords | None = None,
) -> FastAPI:
    """The app. ``issuer`` is the deployment's origin; without ``post`` no mail is sent."""
    app = new_app("nexus", AUTH_ERRORS, max_body_bytes=BODY_LIMIT)
    frame.install(app, frame.Frame.of(issuer, people))
    visitor.install(app)
    service = People(
        database=database,
        settings=people,
        passwords=passwords or Passwords(people.logins_at_once),
        post=post or Post(NoMailer(), "nobody@localhost"),
        origin=issuer,
    )
    for pages in (login, joining, account):
        app.include_router(pages.routes(service))
    keys = documents.key_document(signing_key)

    @app.post("/v2/oauth2/token")
    async def token(request: Request) -> JSONResponse:
        form = await _form(request)
        async with database.connection() as connection:
            client = await _client(request, connection)
            grant = form.get("grant_type")
            if grant is None:
                raise _oauth_error(400, "invalid_request", "grant_type is missing")
            if grant != "client_credentials":
                raise _oauth_error(
                    400, "unsupported_grant_type", f"grant_type {grant[:100]!r} is not offered"
                )
            grouped = _requested(form.get("scope", ""))
            made = []
            async with connection.transaction():
                for server, granted in grouped.items():
                    value = hashing.new_token()
                    await tokens.add(
                        connection,
                        value,
                        client_id=client.id,
                        identity_id=client.id,
                        resource_server=server,
                        scopes=granted,
                    )
                    made.append((value, server, granted))
        first, *rest = made
        others = [documents.token_document(*one) for one in rest]
        return JSONResponse(documents.token_document(*first, others), headers=_NO_STORE)

    @app.post("/v2/oauth2/token/introspect")
    async def introspect(request: Request) -> JSONResponse:
        form = await _form(request)
        include = frozenset(form.get("include", "").split(","))
        async with database.connection() as connection:
            client = await _client(request, connection)
            found = await tokens.find(connection, _token_of(form))
            inactive = JSONResponse({"active": False}, headers=_NO_STORE)
            if found is None or not await _may_introspect(connection, client.id, found):
                return inactive
            known = await identities.identities_by_id(connection, [found.identity_id])
        if not known:
            return inactive
        return JSONResponse(
            documents.introspection_document(found, known[0], issuer, include),
            headers=_NO_STORE,
        )

    @app.post("/v2/oauth2/token/validate")
    async def validate(request: Request) -> dict[str, bool]:
        form = await _form(request)
        async with database.connection() as connection:
            client = await _client(request, connection)
            found = await tokens.find(connection, _token_of(form))
        return {"active": found is not None and found.client_id == client.id}

    @app.post("/v2/oauth2/token/revoke")
    async def revoke(request: Request) -> dict[str, bool]:
        # Who has the token may end it; the CLI revokes without authenticating itself, and in
        # client mode without a token at all.
        form = await _form(request)
        async with database.connection() as connection:
            if "authorization" in request.headers:
                await _client(request, connection)
            if "token" in form:
                await tokens.revoke(connection, form["token"])
        return {"active": False}

    @app.get("/v2/oauth2/userinfo")
    async def userinfo(request: Request) -> dict[str, Any]:
        async with database.connection() as connection:
            found = await _bearer(request, connection)
            if scopes.OPENID not in found.scopes:
                raise ApiError(403, "FORBIDDEN", "this needs a token with the scope openid")
            known = await identities.identities_by_id(connection, [found.identity_id])
        if not known:
            raise _unauthorized("the token's identity is gone")
        return documents.userinfo_document(known[0])

    @app.get("/v2/api/identities")
    async def identity_list(request: Request) -> dict[str, Any]:
        ids, usernames = (request.query_params.get(key) for key in ("ids", "usernames"))
        if (ids is None) == (usernames is None):
            raise ApiError(400, "INVALID_PARAMETERS", "give either ids or usernames")
        async with database.connection() as connection:
            await _client_or_bearer(request, connection)
            if ids is not None:
                found = await identities.identities_by_id(connection, _uuids(ids))
            else:
                found = await identities.identities_by_username(
                    connection, _listed(usernames or "")
                )
        return {"identities": [documents.identity_document(one) for one in found]}

    @app.get("/v2/api/identities/{identity_id}")
    async def identity(request: Request, identity_id: str) -> dict[str, Any]:
        async with database.connection() as connection:
            await _client_or_bearer(request, connection)
            found = await identities.identities_by_id(connection, _uuids(identity_id))
        if not found:
            raise ApiError(404, "NOT_FOUND", f"there is no identity {identity_id[:100]}")
        return {"identity": documents.identity_document(found[0])}

    @app.get("/.well-known/openid-configuration")
    async def configuration() -> dict[str, Any]:
        return documents.openid_configuration(issuer)

    @app.get("/jwk.json")
    async def jwks() -> dict[str, Any]:
        return keys

    return app


def _unauthorized(message: str, **extras: str) -> ApiError:
    """The one Auth code that the CLI takes for 'not logged in'."""
    return ApiError(
        401,
        "UNAUTHORIZED",
        message,
        extras=extras,
        headers={"WWW-Authenticate": 'Basic realm="towpath"'},
    )


def _oauth_error(status: int, error: str, description: str) -> ApiError:
    """RFC 6749, 5.2: ``error`` is one of its names."""
    return ApiError(status, error.upper(), description, extras={"error": error}, headers=_NO_STORE)


async def _form(request: Request) -> Mapping[str, str]:
    """The url-encoded body. RFC 6749, 3.2: a field must not be there twice."""
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT)
    except ValueError as error:
        raise _oauth_error(400, "invalid_request", "the body is not a form") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _oauth_error(400, "invalid_request", "a field is there twice")
    return form


def _token_of(form: Mapping[str, str]) -> str:
    token = form.get("token")
    if token is None:
        raise _oauth_error(400, "invalid_request", "token is missing")
    return token


async def _client(request: Request, connection: Connection) -> clients.Client:
    """The client that authenticates itself with Basic (RFC 7617; RFC 6749, 2.3.1)."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        raise _unauthorized("client id and secret are needed", error="invalid_client")
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        name, _, secret = text.partition(":")
        id_ = UUID(name)
    except (binascii.Error, ValueError) as error:
        raise _unauthorized("the client is unknown", error="invalid_client") from error
    # the RFC wants id and secret form-encoded, which the SDK does not do
    for candidate in dict.fromkeys((secret, unquote_plus(secret))):
        found = await clients.authenticate(connection, id_, candidate)
        if found is not None:
            return found
    raise _unauthorized("the client is unknown or its secret is wrong", error="invalid_client")


async def _bearer(request: Request, connection: Connection) -> tokens.Token:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    found = await tokens.find(connection, value.strip()) if kind.lower() == "bearer" else None
    # a token for another service is not one for us
    if found is None or found.resource_server != scopes.AUTH:
        raise _unauthorized("the token is not active")
    return found


async def _client_or_bearer(request: Request, connection: Connection) -> None:
    if request.headers.get("Authorization", "").lower().startswith("basic "):
        await _client(request, connection)
    else:
        await _bearer(request, connection)


async def _may_introspect(connection: Connection, client_id: UUID, token: tokens.Token) -> bool:
    """The token's own client may, and the service that the token is for."""
    if token.client_id == client_id:
        return True
    role = _ROLE_OF_RESOURCE_SERVER.get(token.resource_server)
    return role is not None and await clients.client_of_role(connection, role) == client_id


def _requested(text: str) -> dict[str, list[str]]:
    try:
        wanted = scopes.top_level(text)
        if not wanted:
            raise scopes.ScopeError("scope is missing")
        return scopes.by_resource_server(wanted)
    except scopes.ScopeError as error:
        raise _oauth_error(400, "invalid_scope", str(error)) from error


def _listed(text: str) -> list[str]:
    found = [part for part in text.split(",") if part]
    if len(found) > IDS_LIMIT:
        raise ApiError(400, "INVALID_PARAMETERS", f"at most {IDS_LIMIT} at once")
    if any("\0" in part for part in found):
        raise ApiError(400, "INVALID_PARAMETERS", "a name contains NUL")
    return found


def _uuids(text: str) -> list[UUID]:
    try:
        return [UUID(part) for part in _listed(text)]
    except ValueError as error:
        raise ApiError(400, "INVALID_PARAMETERS", "an id is not a UUID") from error
