"""Helpers of the Transfer API's tests: a user, the document of a server, what errors look like."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import TypeAdapter
from starlette.routing import compile_path

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.transfer.api.answers import bookmarks, credentials, endpoints, tasks, webhooks
from towpath.transfer.api.answers.base import Error

_DOCUMENTS: dict[str, Any] = {
    "bookmark": bookmarks.Bookmark,
    "credential_list": credentials.CredentialList,
    "endpoint": endpoints.Endpoint,
    "endpoint_test": endpoints.EndpointTest,
    "event": tasks.Event,
    "fidelity_report": tasks.FidelityReport,
    "file": endpoints.File,
    "skipped_error": tasks.SkippedError,
    "successful_transfer": tasks.SuccessfulTransfer,
    "task": tasks.Task,
    "webhook_delivery": webhooks.WebhookDelivery,
}


@dataclass
class Api:
    """A user of the API."""

    http: httpx.AsyncClient
    sub: UUID

    async def get(self, route: str, **params: Any) -> httpx.Response:
        return await self.http.get(f"/v0.10/{route}", params=params)

    async def post(self, path: str, document: Any = None) -> httpx.Response:
        return await self.http.post(f"/v0.10/{path}", json=document)

    async def put(self, path: str, document: Any) -> httpx.Response:
        return await self.http.put(f"/v0.10/{path}", json=document)

    async def delete(self, path: str) -> httpx.Response:
        return await self.http.delete(f"/v0.10/{path}")


def server_document(server: GctServer, domain: Domain, **more: Any) -> dict[str, Any]:
    """The document that registers a running server."""
    return {
        "DATA_TYPE": "endpoint",
        "display_name": "lake",
        "DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://localhost:{server.port}"}],
        "trust_roots": dict(domain.trust.files),
        **more,
    }


def assert_error(response: httpx.Response, status: int, code: str) -> str:
    """Checks status, shape and header of an error; returns its message."""
    document = response.json()
    assert (response.status_code, document["code"]) == (status, code), response.text
    assert response.headers["X-Transfer-API-Error"] == code
    assert len(document["request_id"]) == 9
    assert document["resource"].startswith("/v0.10/")
    message: str = document["message"]
    assert message
    return message


def held_to_schemas(
    app: FastAPI, seen: set[str] | None = None, *, error: Any = Error
) -> Callable[[httpx.Response], Awaitable[None]]:
    """For a client of an API's `app` (hook `response`): each answer has exactly the fields that
    the document of the API gives it. `seen` gets the names of the routes; `error` is what an error
    must be.
    """

    routes = list(iter_route_contexts(app.routes))

    async def hold(response: httpx.Response) -> None:
        if response.headers.get("content-type") != "application/json":
            return
        body = await response.aread()
        if response.status_code >= 400:
            _adapter(error).validate_json(body)
            return
        route = _route(routes, response.request)
        if "fields" in response.request.url.params:
            return
        model = route.responses.get(response.status_code, {}).get("model")
        if response.status_code == (route.status_code or 200):
            model = route.response_model
        assert model is not None, f"{route.name} answers {response.status_code}: not documented"
        _adapter(model).validate_json(body)
        if seen is not None:
            seen.add(route.name or "")

    return hold


def hold_documents(found: Any) -> None:
    """The same for what a client of a whole deployment shows, list or single document."""
    if isinstance(found, list):
        for one in found:
            hold_documents(one)
    elif isinstance(found, dict):
        model = _DOCUMENTS.get(found.get("DATA_TYPE", ""))
        if model is not None:
            _adapter(model).validate_json(json.dumps(found))
        else:
            hold_documents(list(found.values()))


@cache
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _route(routes: list[RouteContext], request: httpx.Request) -> RouteContext:
    for route in routes:
        path, *_ = compile_path(route.path or "")
        if request.method in (route.methods or ()) and path.match(request.url.path):
            return route
    raise AssertionError(f"no route {request.method} {request.url.path}")
