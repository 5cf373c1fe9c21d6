"""Helpers for tests of the routes of agents and relays."""

from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from plugins.transfer_api import Api
from towpath import __version__


class AgentApi:
    """A node, with its token."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(f"/v0.10/{path}", headers=self._headers)

    async def post(self, path: str, document: Any = None) -> httpx.Response:
        return await self._http.post(f"/v0.10/{path}", json=document, headers=self._headers)

    async def put(self, path: str, document: Any) -> httpx.Response:
        return await self._http.put(f"/v0.10/{path}", json=document, headers=self._headers)


def request_for(key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A certificate request, PEM."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def asked(setup_key: str) -> dict[str, Any]:
    """What a computer sends that has this setup key."""
    return {
        "setup_key": setup_key.rsplit("/", 1)[1],
        "tunnel_key": "ssh-ed25519 " + "A" * 68,
        "certificate_request": request_for(),
        "version": __version__,
        "node_name": "laptop",
    }


async def set_up(api: Api, setup_key: str) -> tuple[dict[str, Any], AgentApi]:
    """The answer to it, and the agent."""
    answer = await api.http.post(
        "/v0.10/connect/setup", json=asked(setup_key), headers={"Authorization": ""}
    )
    assert answer.status_code == 200, answer.text
    return answer.json(), AgentApi(api.http, answer.json()["agent_token"])


def relay_document(**more: Any) -> dict[str, Any]:
    """A relay's heartbeat."""
    return {
        "host": "relay.example.org",
        "port": 443,
        "host_key": "ssh-ed25519 " + "C" * 68,
        "data_addresses": ["192.0.2.99"],
        "version": __version__,
        "agents": 0,
        "draining": False,
        **more,
    }
