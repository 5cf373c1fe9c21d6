"""Who calls: clients by their secret, people and clients by a token of the Auth API."""

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from fastapi import Request

from towpath.nexus import audit, scopes
from towpath.nexus.oauth.errors import (
    forbidden,
    invalid,
    oauth_error,
    unauthorized,
    unknown_client,
)
from towpath.nexus.store import clients, throttle, tokens
from towpath.nexus.store.throttle import Bucket
from towpath.platform.database import Connection

FIELDS_LIMIT = 50
REFUSALS_TOLD, REFUSAL_TOLD_EVERY_S = 10, 600.0
"""Wrong secrets of a client that the audit log has: ten, then one each ten minutes."""
IDS_LIMIT = 500
"""Things asked for at once by id; the SDK asks for 100."""


async def form_of(request: Request) -> Mapping[str, str]:
    """The url-encoded body. RFC 6749, 3.2: a field must not be there twice."""
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT)
    except ValueError as error:
        raise oauth_error(400, "invalid_request", "the body is not a form") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise oauth_error(400, "invalid_request", "a field is there twice")
    return form


def has_basic(request: Request) -> bool:
    """Whether the caller says to be a client with a secret."""
    return request.headers.get("Authorization", "").lower().startswith("basic ")


async def client_by_secret(request: Request, connection: Connection) -> clients.Client:
    """The client that authenticates itself with Basic (RFC 7617; RFC 6749, 2.3.1)."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        raise unauthorized("client id and secret are needed", error="invalid_client")
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        name, _, secret = text.partition(":")
        id_ = UUID(unquote_plus(name))  # some clients encode the dashes, too
    except (binascii.Error, ValueError) as error:
        raise unknown_client() from error
    return await _with_secret(connection, id_, secret)


async def _with_secret(connection: Connection, id_: UUID, secret: str) -> clients.Client:
    # the RFC wants id and secret form-encoded, which the SDK does not do
    for candidate in dict.fromkeys((secret, unquote_plus(secret))):
        found = await clients.authenticate(connection, id_, candidate)
        if found is not None:
            return found
    # a client that somebody tries to be; told now and then, or it would fill the log
    if await clients.client_exists(connection, id_) and not await throttle.take(
        connection, Bucket(f"refused {id_}", REFUSALS_TOLD, REFUSAL_TOLD_EVERY_S)
    ):
        await audit.append(connection, audit.Act("client.refused", subject=id_, client=id_))
    raise unknown_client()


async def client_at_token_endpoint(
    request: Request, form: Mapping[str, str], connection: Connection
) -> clients.Client:
    """The client: by Basic, by ``client_secret`` in the form, or a public one by its id alone."""
    named = form.get("client_id")
    if has_basic(request):
        found = await client_by_secret(request, connection)
        if "client_secret" in form or (named is not None and named != str(found.id)):
            raise oauth_error(400, "invalid_request", "the client authenticates itself twice")
        return found
    if named is None:
        raise unauthorized("client id and secret are needed", error="invalid_client")
    try:
        id_ = UUID(named)
    except ValueError as error:
        raise unknown_client() from error
    if "client_secret" in form:
        return await _with_secret(connection, id_, form["client_secret"])
    client = await clients.find(connection, id_)
    if client is None or not client.public:
        raise unknown_client()
    return client


def bearer_value(request: Request) -> str | None:
    """The bearer token that came with the request (RFC 6750, 2.1)."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return (value.strip() or None) if kind.lower() == "bearer" else None


async def token_for(
    resource_server: str, request: Request, connection: Connection
) -> tokens.Token | None:
    """The active bearer token that the caller has, if it is for that service and no other."""
    value = bearer_value(request)
    found = None if value is None else await tokens.find(connection, value)
    return found if found is not None and found.resource_server == resource_server else None


async def bearer(request: Request, connection: Connection) -> tokens.Token:
    """The active token of the Auth API that the caller has."""
    found = await token_for(scopes.AUTH, request, connection)
    if found is None:
        raise unauthorized("the token is not active")
    return found


async def bearer_with(request: Request, connection: Connection, *any_of: str) -> tokens.Token:
    """The caller's token, which must have one of some scopes."""
    found = await bearer(request, connection)
    if not set(any_of) & set(found.scopes):
        raise forbidden(f"this needs a token with the scope {any_of[0]}")
    return found


async def client_or_bearer(
    request: Request, connection: Connection
) -> "clients.Client | tokens.Token":
    """Either."""
    if has_basic(request):
        return await client_by_secret(request, connection)
    return await bearer(request, connection)


def listed(text: str) -> list[str]:
    """The parts of a comma-separated parameter."""
    found = [part for part in text.split(",") if part]
    if len(found) > IDS_LIMIT:
        raise invalid(f"at most {IDS_LIMIT} at once")
    if any("\0" in part for part in found):
        raise invalid("a name contains NUL")
    return found


def uuids(text: str) -> list[UUID]:
    """The same, of ids."""
    try:
        return [UUID(part) for part in listed(text)]
    except ValueError as error:
        raise invalid("an id is not a UUID") from error
