"""The service's API, as an agent calls it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from towpath import __version__
from towpath.connect.configuration import Configuration
from towpath.connect.errors import ConnectError, Trouble
from towpath.connect.setup_key import SetupKey

TIMEOUT_S: Final = 20.0
"""For one call: a proxy and a far service take some seconds."""
BASE: Final = "/v0.10/connect"
AUTHORITY_BYTES: Final = 64 * 1024
"""Of a certificate in PEM; it has 1 KiB."""

_BY_CODE: Final = {
    "ConnectEndpointGone": Trouble.GONE,
    "AgentTooOld": Trouble.TOO_OLD,
}


@dataclass(frozen=True)
class Redeemed:
    """What a setup key was good for."""

    endpoint_id: str
    node_id: str
    kind: str
    display_name: str
    owner: str
    """Whose endpoint it is: a user name."""
    agent_token: str = field(repr=False)
    configuration: Configuration


class Service:
    """One agent's client. A context manager; calls raise `ConnectError`."""

    def __init__(
        self,
        url: str,
        *,
        authority: str | None,
        token: str | None = None,
        proxy: str | None = None,
    ) -> None:
        """`authority`: PEM of the only authority that is believed; None: those of the system."""
        self.url = url
        self._http = _client(url, _trust(authority), proxy)
        if token is not None:
            self._http.headers["Authorization"] = f"Bearer {token}"

    async def __aenter__(self) -> Self:
        """Connections are kept until the end."""
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._http.aclose()

    async def redeem(
        self, key: SetupKey, *, tunnel_key: str, certificate_request: str, node_name: str
    ) -> Redeemed:
        """Become the endpoint's agent."""
        body = {
            "setup_key": key.secret,
            "tunnel_key": tunnel_key,
            "certificate_request": certificate_request,
            "version": __version__,
            "node_name": node_name,
        }
        document = await self._call("POST", "/setup", body, refused=Trouble.KEY)
        try:
            return Redeemed(
                endpoint_id=str(document["endpoint_id"]),
                node_id=str(document["node_id"]),
                kind=str(document["kind"]),
                display_name=str(document["display_name"]),
                owner=str(document["owner"]["username"]),
                agent_token=str(document["agent_token"]),
                configuration=Configuration.from_document(document["configuration"]),
            )
        except (KeyError, TypeError) as error:
            raise ConnectError(
                Trouble.REFUSED, f"the service at {self.url} answers otherwise than it should"
            ) from error

    async def configuration(self) -> Configuration:
        """As it is now."""
        return Configuration.from_document(await self._call("GET", "/configuration"))

    async def renew(self, certificate_request: str) -> Configuration:
        """Get a new certificate for the host's key."""
        body = {"certificate_request": certificate_request}
        return Configuration.from_document(await self._call("POST", "/certificate", body))

    async def report(self, report: Mapping[str, Any]) -> Configuration:
        """Say how this agent is set."""
        return Configuration.from_document(await self._call("PUT", "/report", report))

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        refused: Trouble = Trouble.REFUSED,
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, f"{BASE}{path}", json=body)
        except (httpx.HTTPError, OSError) as error:
            raise _away(self.url, error) from error
        document = _document(response)
        if response.is_success:
            return document
        code = str(document.get("code", ""))
        told = str(document.get("message") or f"it answered {response.status_code}")
        trouble = _BY_CODE.get(code.rpartition(".")[2])
        if trouble is None:
            trouble = _of_status(response.status_code, refused)
        raise ConnectError(trouble, _ADVICE[trouble].format(url=self.url, told=told.rstrip(".")))


_ADVICE: Final = {
    Trouble.GONE: "the endpoint was deleted at {url}: {told}. Make a new one there and run "
    "'towpath connect setup' with its key",
    Trouble.TOO_OLD: "{url} does not serve this version of towpath any more: {told}. Update it "
    "('pip install --upgrade towpath') and start again",
    Trouble.TOKEN: "{url} does not know this agent: {told}. Perhaps another computer was set up in "
    "its place; ask the service for a new setup key",
    Trouble.KEY: "{url} does not take this setup key: {told}. Ask the service for a new one",
    Trouble.REFUSED: "{url} refuses: {told}",
    Trouble.AWAY: "{url} cannot answer now: {told}. It is asked again",
}


def _of_status(status: int, refused: Trouble) -> Trouble:
    if status >= 500 or status in (408, 429):
        return Trouble.AWAY
    if status == 401 and refused is Trouble.REFUSED:
        return Trouble.TOKEN
    return refused


async def fetch_authority(key: SetupKey, proxy: str | None) -> str | None:
    """The authority that the key means (PEM); None: a public one. Raises `ConnectError`.

    It comes over a connection that proves nothing; the digest in the key does.
    """
    if key.pin is None:
        return None
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    try:
        async with _client(key.url, trust, proxy) as http:
            response = await http.get(f"{BASE}/authority")
    except (httpx.HTTPError, OSError) as error:
        raise _away(key.url, error) from error
    authority = _first_certificate(response.content[:AUTHORITY_BYTES])
    if authority is None or sha256(ssl.PEM_cert_to_DER_cert(authority)).hexdigest() != key.pin:
        raise ConnectError(
            Trouble.AUTHORITY,
            f"who answers at {key.url} is not the service that made this key: its authority is "
            "another one. Nothing was sent. Check that the key is whole and new; if it is, somebody"
            " sits between",
        )
    return authority


def _first_certificate(answer: bytes) -> str | None:
    """It alone, in PEM: whatever stood behind it was not looked at, and must not be believed."""
    try:
        der = x509.load_pem_x509_certificate(answer).public_bytes(Encoding.DER)
    except ValueError:
        return None
    return ssl.DER_cert_to_PEM_cert(der)


def _client(url: str, trust: ssl.SSLContext, proxy: str | None) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        verify=trust,
        proxy=proxy,
        timeout=TIMEOUT_S,
        trust_env=False,  # the proxy of the environment has been looked for (`proxy`)
        headers={"User-Agent": f"towpath-connect/{__version__}"},
    )


def _trust(authority: str | None) -> ssl.SSLContext:
    if authority is None:
        return ssl.create_default_context()
    return ssl.create_default_context(cadata=authority)


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _away(url: str, error: Exception) -> ConnectError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConnectError(
                Trouble.AUTHORITY,
                f"the certificate of {url} is not from the authority that was pinned at setup "
                f"({cause.verify_message}). If the service was installed anew, ask it for a new "
                "setup key",
            )
        cause = cause.__cause__ or cause.__context__
    why = str(error) or type(error).__name__
    return ConnectError(Trouble.AWAY, f"{url} does not answer ({why})")
