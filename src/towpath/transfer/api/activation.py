"""Routes of activation, as clients of the time before collections know it: a user gives an endpoint
a credential by MyProxy, or by signing a proxy for a key that is made here and stays here.

What they lead to is the caller's credential for the endpoint (`api.credentials`).
"""

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Literal
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import SecretStr, ValidationError

from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.proxies import make_proxy_request, signed_by_next
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.guard import Principal
from towpath.platform.http import new_router
from towpath.platform.secrets import SealError
from towpath.transfer import times
from towpath.transfer.api.answers import activation as answers
from towpath.transfer.api.answers.base import reads
from towpath.transfer.api.bodies import Document, Text, read_document
from towpath.transfer.api.credential_bodies import LogonDocument
from towpath.transfer.api.credentials import activation_state, log_on, needs_none, store
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.service import (
    PREFIX,
    Caller,
    Service,
    TransferService,
    parse_id,
    visible_endpoint,
    who,
)
from towpath.transfer.store import credentials, delegations, endpoints
from towpath.transfer.store.credentials import Kept
from towpath.transfer.store.endpoints import Endpoint

router = new_router(f"{PREFIX}/endpoint/{{endpoint_id}}")

FOR_EVER_S = -1
"""How documents say that something does not expire."""

Type = Literal["myproxy", "delegate_proxy"]


class FilledRequirement(Document):
    """One requirement, filled in."""

    type: Text
    name: Text
    value: SecretStr | None = None


class ActivationDocument(Document):
    """Body of activate: the requirements of one type, filled in."""

    DATA: list[FilledRequirement]


@router.get("/activation_requirements", response_model=answers.ActivationRequirements)
async def activation_requirements(
    endpoint_id: str,
    caller: Caller,
    service: Service,
    type: Type | None = None,  # noqa: A002 - the parameter's name
) -> JSONResponse:
    """What an activation needs. Asked for delegate_proxy, it has a key to sign a proxy for."""
    async with service.database.connection() as conn:
        endpoint, kept = await _endpoint(conn, service, endpoint_id, caller)
    return JSONResponse(
        {
            "DATA_TYPE": "activation_requirements",
            **_state(service, endpoint, kept),
            **await _requirements(service, endpoint, caller, type),
        }
    )


@router.post("/autoactivate", response_model=answers.ActivationResult)
async def autoactivate(
    endpoint_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    if_expires_in: Annotated[int | None, Query(ge=0, le=2**31)] = None,
) -> JSONResponse:
    """See whether the endpoint can be used as things are. The answer's code says it."""
    async with service.database.connection() as conn:
        endpoint, kept = await _endpoint(conn, service, endpoint_id, caller)
    state = _state(service, endpoint, kept)
    left_s = state["expires_in"]
    if not state["activated"]:
        code = "AutoActivationFailed"
        message = (
            "No credential of yours for this endpoint is good any more: activate it"
            if kept is not None
            else "You have given no credential for this endpoint: activate it"
        )
    elif if_expires_in is not None and (left_s == FOR_EVER_S or left_s >= if_expires_in):
        code, message = "AlreadyActivated", "Endpoint is already activated"
    elif left_s == FOR_EVER_S:
        code = "AutoActivated.GlobusOnlineCredential"
        message = "Endpoint activated by this service's own word"
    else:
        code = "AutoActivated.CachedCredential"
        message = "Endpoint activated with the credential that you gave before"
    more = await _requirements(service, endpoint, caller, None)
    return _result(request, endpoint, kept, code, message, {**state, **more})


@router.post(
    "/activate", response_model=answers.ActivationResult, openapi_extra=reads(ActivationDocument)
)
async def activate(
    endpoint_id: str,
    request: Request,
    caller: Caller,
    service: Service,
    if_expires_in: Annotated[int | None, Query(ge=0, le=2**31)] = None,
) -> JSONResponse:
    """Give a credential, by MyProxy or by delegation."""
    document = await read_document(request, ActivationDocument)
    async with service.database.connection() as conn:
        endpoint, kept = await _endpoint(conn, service, endpoint_id, caller)
    state = _state(service, endpoint, kept)
    enough = if_expires_in is not None and state["expires_in"] >= if_expires_in
    if state["expires_in"] == FOR_EVER_S or (state["activated"] and enough):
        code, message = "AlreadyActivated", "Endpoint is already activated"
        return _result(request, endpoint, kept, code, message, {**state, **_none()})
    filled = {(one.type, one.name): one.value for one in document.DATA if one.value is not None}
    if ("delegate_proxy", "proxy_chain") in filled:
        chain = filled["delegate_proxy", "proxy_chain"].get_secret_value()
        credential = await _delegated(service, endpoint.id, caller, chain)
        code = "Activated.ClientProxyCredential"
    else:
        values = {name: value for (kind, name), value in filled.items() if kind == "myproxy"}
        credential = await _logged_on(service, endpoint.id, caller, values)
        code = "Activated.MyProxyCredential"
    if credential.expired(service.now()):
        raise _failed(
            f"the credential of {credential.subject} expired at {times.show(credential.not_after)}"
        )
    await store(service, caller, endpoint.id, credential)
    async with service.database.transaction() as conn:
        await delegations.delete(conn, endpoint.id, caller.sub)
        kept = await credentials.kept(conn, endpoint.id, caller.sub)
    state = _state(service, endpoint, kept)
    message = "Endpoint activated successfully"
    return _result(request, endpoint, kept, code, message, {**state, **_none()})


@router.post("/deactivate", response_model=answers.Deactivated)
async def deactivate(
    endpoint_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Forget the caller's credential for an endpoint. Repeating it is harmless."""
    async with service.database.transaction() as conn:
        endpoint, _ = await _endpoint(conn, service, endpoint_id, caller)
        await credentials.delete(conn, endpoint.id, caller.sub)
        await delegations.delete(conn, endpoint.id, caller.sub)
    return JSONResponse(
        result("result", "Deactivated", "Endpoint deactivated successfully", request.url.path)
    )


async def _endpoint(
    conn: Connection, service: TransferService, endpoint_id: str, caller: Principal
) -> tuple[Endpoint, Kept | None]:
    wanted = parse_id(endpoint_id, "endpoint", "EndpointNotFound")
    seen = await visible_endpoint(conn, wanted, who(caller), service.now())
    return seen.endpoint, await credentials.kept(conn, wanted, caller.sub)


def _needs_none(service: TransferService, endpoint: Endpoint) -> bool:
    return needs_none(endpoint) or endpoint.id in service.authorities


def _state(service: TransferService, endpoint: Endpoint, kept: Kept | None) -> JsonObject:
    if _needs_none(service, endpoint):
        return {"activated": True, "expires_in": FOR_EVER_S, "expire_time": None}
    return activation_state(kept, service.now())


def _none() -> JsonObject:
    return {"auto_activation_supported": True, "oauth_server": None, "length": 0, "DATA": []}


async def _requirements(
    service: TransferService, endpoint: Endpoint, caller: Principal, kind: Type | None
) -> JsonObject:
    """None for an endpoint that needs no credential. Only who asks for delegation gets a key."""
    if _needs_none(service, endpoint):
        return _none()
    data: list[JsonObject] = []
    if kind != "delegate_proxy":
        data += [_requirement("myproxy", *one) for one in _MYPROXY]
    if kind == "delegate_proxy":
        public, wanted = await _new_key(service, endpoint.id, caller)
        values = {"public_key": public, "certificate_request": wanted}
        data += [
            {**_requirement("delegate_proxy", *one), "value": values.get(one[0])}
            for one in _DELEGATION
        ]
    return {**_none(), "length": len(data), "DATA": data}


# Name, what a form calls it, what it is, whether it is secret, whether it must be there.
_MYPROXY = (
    ("hostname", "MyProxy Server", "HOST or HOST:PORT of the MyProxy server", False, True),
    ("username", "Username", "Your name at the MyProxy server", False, True),
    ("passphrase", "Passphrase", "Your pass phrase there; it is used once", True, True),
    ("server_dn", "Server DN", "Ignored: the endpoint's trust roots decide", False, False),
    ("lifetime_in_hours", "Credential Lifetime (hours)", "How long it shall last", False, False),
)
_DELEGATION = (
    ("public_key", "Public Key", "The key that the proxy is for, PEM", False, True),
    ("certificate_request", "Certificate Request", "The same as PKCS #10, PEM", False, False),
    ("proxy_chain", "Proxy Chain", "The proxy, and the chain that signed it, PEM", True, True),
)


def _requirement(
    kind: Type,
    name: str,
    ui_name: str,
    description: str,
    private: bool,  # noqa: FBT001
    required: bool,  # noqa: FBT001
) -> JsonObject:
    return {
        "DATA_TYPE": "activation_requirement",
        "type": kind,
        "name": name,
        "ui_name": ui_name,
        "description": description,
        "value": None,
        "private": private,
        "required": required,
    }


async def _new_key(
    service: TransferService, endpoint_id: UUID, caller: Principal
) -> tuple[str, str]:
    """A key for a proxy, kept sealed: its public half, and a request for its certificate."""
    key_pem, request_der = await asyncio.to_thread(make_proxy_request)
    sealed = service.sealer.seal(key_pem, delegations.seal_context(endpoint_id, caller.sub))
    async with service.database.transaction() as conn:
        await delegations.put(conn, endpoint_id, caller.sub, sealed)
    request = x509.load_der_x509_csr(request_der)
    public = request.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode(), request.public_bytes(Encoding.PEM).decode()


async def _delegated(
    service: TransferService, endpoint_id: UUID, caller: Principal, chain: str
) -> Credential:
    """The key that waits, with the proxy that was signed for it. Raises ApiError."""
    async with service.database.connection() as conn:
        sealed = await delegations.get(conn, endpoint_id, caller.sub)
    context = delegations.seal_context(endpoint_id, caller.sub)
    key_pem = None
    if sealed is not None:
        with suppress(SealError):  # the operator's key is gone: so is this one
            key_pem = service.sealer.unseal(sealed, context)
    if key_pem is None:
        raise _failed(
            "there is no key of yours for this endpoint, or it is too old: ask for the"
            " activation_requirements of type delegate_proxy first"
        )
    if "PRIVATE KEY" in chain:
        raise _failed("proxy_chain holds a private key, which must not leave your side")
    try:
        credential = await asyncio.to_thread(Credential.from_pem, key_pem + chain.encode())
    except ValueError as error:
        raise _failed(f"proxy_chain: {error}") from None
    if not await asyncio.to_thread(signed_by_next, credential):
        raise _failed(
            "proxy_chain: its first certificate is not signed by the second: give the proxy, the"
            " certificate that signed it, and the rest of that one's chain"
        )
    return credential


async def _logged_on(
    service: TransferService,
    endpoint_id: UUID,
    caller: Principal,
    values: dict[str, SecretStr],
) -> Credential:
    """What a MyProxy server gives. Raises ApiError."""
    hours = values.get("lifetime_in_hours")
    wanted: dict[str, Any] = {
        "server": _text(values, "hostname"),
        "username": _text(values, "username"),
        "passphrase": _text(values, "passphrase"),
    }
    try:
        if hours is not None and hours.get_secret_value():
            wanted["lifetime_h"] = int(hours.get_secret_value())
        document = LogonDocument.model_validate(wanted)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        names = {"server": "hostname", "lifetime_h": "lifetime_in_hours"}
        field = str(first["loc"][0]) if first["loc"] else ""
        raise _failed(f"{names.get(field, field)}: {first['msg']}") from None
    except ValueError:
        raise _failed("lifetime_in_hours is a whole number") from None
    async with service.database.connection() as conn:
        trust_files = await endpoints.get_trust_roots(conn, endpoint_id)
    return await log_on(service, caller, document, trust_files)


def _text(values: dict[str, SecretStr], name: str) -> str:
    value = values.get(name)
    if value is None or not value.get_secret_value():
        raise _failed(f"{name} of type myproxy is missing")
    return value.get_secret_value()


def _failed(why: str) -> ApiError:
    return ApiError(400, "ClientError.ActivationFailed", f"The endpoint is not activated: {why}")


def _result(
    request: Request,
    endpoint: Endpoint,
    kept: Kept | None,
    code: str,
    message: str,
    more: JsonObject,
) -> JSONResponse:
    return JSONResponse(
        result(
            "activation_result",
            code,
            message,
            request.url.path,
            endpoint=str(endpoint.id),
            subject=None if kept is None or not more["activated"] else kept.subject,
            **more,
        )
    )
