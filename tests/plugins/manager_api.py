"""Helpers of the Manager's tests: users, an endpoint's Manager as one caller has it, its node."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from plugins.connect_api import AgentApi
from plugins.transfer_api import Api
from towpath import __version__
from towpath.transfer.manager.asking import manage_scope

ORIGIN = "https://towpath.test"
SECRET = "s" * 40
MAPPINGS = {
    "DATA_TYPE": "expression_identity_mapping#1.0.0",
    "mappings": [
        {"source": "{username}", "match": "(.*)@clients.auth.globus.org", "output": "daemon"}
    ],
}


@dataclass
class User:
    """Somebody: at the Transfer API, and at the Manager of any endpoint."""

    api: Api
    nexus: httpx.AsyncClient

    @property
    def sub(self) -> UUID:
        return self.api.sub

    async def token(self, scope: str) -> str:
        answer = await self.nexus.post(
            "/v2/oauth2/token",
            data={"grant_type": "client_credentials", "scope": scope},
            auth=(str(self.sub), SECRET),
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def at(self, endpoint_id: str, scope: str | None = None) -> "Manager":
        """With a token for that endpoint, or with another one."""
        token = await self.token(scope or manage_scope(UUID(endpoint_id)))
        return Manager(self.api.http, endpoint_id, token)


@dataclass
class Manager:
    """An endpoint's Manager, to one caller."""

    http: httpx.AsyncClient
    endpoint_id: str
    token: str | None

    async def call(
        self, method: str, path: str, document: Any = None, *, expect: int = 200, **query: str | int
    ) -> dict[str, Any]:
        """The envelope, whose form is looked at."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        answer = await self.http.request(
            method,
            f"/gcs/{self.endpoint_id}/api/{path}",
            json=document,
            params=query or None,
            headers={"Authorization": "", **headers},
        )
        assert answer.status_code == expect, answer.text
        envelope: dict[str, Any] = answer.json()
        assert envelope["DATA_TYPE"] == "result#1.0.0"
        assert envelope["http_response_code"] == expect
        assert (envelope["code"] == "success") == (expect < 400)
        assert isinstance(envelope["message"], str)
        assert isinstance(envelope["data"], list)
        assert isinstance(envelope["has_next_page"], bool)
        return envelope

    async def one(
        self, method: str, path: str, document: Any = None, **more: Any
    ) -> dict[str, Any]:
        """The one document of an answer."""
        (found,) = (await self.call(method, path, document, **more))["data"]
        one: dict[str, Any] = found
        return one

    async def refused(
        self, method: str, path: str, document: Any = None, *, expect: int, **query: Any
    ) -> str:
        """What it says."""
        envelope = await self.call(method, path, document, expect=expect, **query)
        assert envelope["data"] == []
        message: str = envelope["message"]
        return message


@dataclass
class Lab:
    """A server's endpoint with one node."""

    id: str
    node: AgentApi

    async def report(self, **more: Any) -> dict[str, Any]:
        """What the node tells; its configuration."""
        answer = await self.node.put(
            "connect/report", {"version": __version__, "node_name": "dtn", **more}
        )
        assert answer.status_code == 200, answer.text
        configuration: dict[str, Any] = answer.json()
        return configuration
