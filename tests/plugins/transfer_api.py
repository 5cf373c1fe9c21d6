"""Helpers of the Transfer API's tests: a user, the document of a server, what errors look like."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer


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
