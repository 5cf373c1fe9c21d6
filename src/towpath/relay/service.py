"""The service, as a relay asks it: over HTTPS, as the client that it is registered as."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from towpath.grants.keys import KeySet
from towpath.relay.limits import REMEMBERED_S, SERVICE_S

SCOPE: Final = "urn:globus:auth:scope:transfer.api.globus.org:all"
TOKEN_MARGIN_S: Final = 120.0
"""A token is renewed so long before its end."""
REMEMBERED_AGENTS: Final = 20_000
"""Agents that were confirmed lately, 0.5 KiB each; the oldest goes."""
REASON_CHARACTERS: Final = 500


class ServiceAwayError(Exception):
    """It does not answer, or with an error of its own: to be tried again."""


class ServiceRefusedError(Exception):
    """It answered no: this relay is not registered, or a request was wrong."""


@dataclass(frozen=True)
class Registered:
    """What the service says to a relay that tells of itself."""

    relay_id: str
    issuer: str
    keys: KeySet
    interval_s: float
    cut: tuple[str, ...]
    """Nodes whose tunnels are to be ended: they were removed."""


@dataclass(frozen=True)
class Confirmed:
    """An agent that the service knows."""

    endpoint_id: str
    kind: str
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DialAnswer:
    """Whether an agent may have a connection to an address, and why not."""

    allowed: bool
    message: str


class Service:
    """One deployment's service."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        client_id: str,
        client_secret: str,
    ) -> None:
        """``http`` has the service's origin as its base URL, and trusts its certificate."""
        self._http = http
        self._auth = httpx.BasicAuth(client_id, client_secret)
        self._token: str | None = None
        self._token_until = 0.0
        self._logging_in = asyncio.Lock()
        self._confirmed: dict[tuple[str, str], tuple[float, Confirmed]] = {}

    async def register(self, document: Mapping[str, Any]) -> Registered:
        """Tell of ourselves. Raises :class:`ServiceAwayError`, :class:`ServiceRefusedError`."""
        answer = await self._call("PUT", "/relay", document)
        try:
            return Registered(
                relay_id=str(answer["relay_id"]),
                issuer=str(answer["issuer"]),
                keys=KeySet.from_jwks(answer["keys"]),
                interval_s=float(answer["interval_s"]),
                cut=_cut(answer),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceAwayError(f"its answer to a relay is malformed: {error}") from error

    async def agent(self, node_id: str, tunnel_key: str, address: str) -> Confirmed | None:
        """Whose key this is; None if it is not (any more) this node's.

        While the service is away, its answer of the last minutes stands. Raises
        :class:`ServiceAwayError`, :class:`ServiceRefusedError`.
        """
        request = {"node_id": node_id, "tunnel_key": tunnel_key, "address": address}
        known = (node_id, tunnel_key)
        try:
            answer = await self._call("POST", "/relay/agent", request, absent_is_none=True)
        except ServiceAwayError:
            until, confirmed = self._confirmed.get(known, (0.0, None))
            if confirmed is None or until < time.monotonic():
                raise
            return confirmed
        self._confirmed.pop(known, None)
        if answer is None:
            return None
        try:
            limits = answer.get("limits") or {}
            found = Confirmed(str(answer["endpoint_id"]), str(answer["kind"]), dict(limits))
        except (KeyError, TypeError, ValueError) as error:
            raise ServiceAwayError(f"its answer about an agent is malformed: {error}") from error
        self._confirmed[known] = time.monotonic() + REMEMBERED_S, found
        if len(self._confirmed) > REMEMBERED_AGENTS:
            del self._confirmed[next(iter(self._confirmed))]
        return found

    async def report(
        self,
        connected: Sequence[Mapping[str, Any]],
        lost: Sequence[Mapping[str, Any]],
        *,
        everybody: bool,
    ) -> tuple[str, ...]:
        """Who is connected, and who not any more. Returns the nodes whose tunnels are to be ended.

        Raises :class:`ServiceAwayError`, :class:`ServiceRefusedError`.
        """
        document = {"all": everybody, "connected": list(connected), "lost": list(lost)}
        return _cut(await self._call("POST", "/relay/presence", document))

    async def may_dial(self, node_id: str, host: str, port: int) -> DialAnswer:
        """Raises :class:`ServiceAwayError`, :class:`ServiceRefusedError`."""
        request = {"node_id": node_id, "host": host, "port": port}
        answer = await self._call("POST", "/relay/dial", request)
        message = answer.get("message")
        shown = message[:REASON_CHARACTERS] if isinstance(message, str) else ""
        return DialAnswer(answer.get("allowed") is True, shown)

    async def _call(
        self, method: str, path: str, document: Mapping[str, Any], *, absent_is_none: bool = False
    ) -> Any:
        try:
            async with asyncio.timeout(SERVICE_S):
                response = await self._authorized(method, path, document)
                if response.status_code == httpx.codes.UNAUTHORIZED:
                    self._token = None  # it may have been revoked: once more with a new one
                    response = await self._authorized(method, path, document)
        except (httpx.HTTPError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise ServiceAwayError(f"it does not answer: {why}") from error
        if absent_is_none and response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _document(response, f"{method} {path}")

    async def _authorized(
        self, method: str, path: str, document: Mapping[str, Any]
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self._bearer()}"}
        return await self._http.request(method, f"/v0.10{path}", json=document, headers=headers)

    async def _bearer(self) -> str:
        async with self._logging_in:
            if self._token is None or self._token_until < time.monotonic():
                response = await self._http.post(
                    "/v2/oauth2/token",
                    data={"grant_type": "client_credentials", "scope": SCOPE},
                    auth=self._auth,
                )
                answer = _document(response, "the relay's login")
                try:
                    lives_s = float(answer["expires_in"])
                    self._token = str(answer["access_token"])
                except (KeyError, TypeError, ValueError):
                    raise ServiceAwayError("its answer to our login is malformed") from None
                self._token_until = time.monotonic() + lives_s - TOKEN_MARGIN_S
            return self._token


def _cut(answer: Mapping[str, Any]) -> tuple[str, ...]:
    told = answer.get("cut")
    return tuple(one for one in told if isinstance(one, str)) if isinstance(told, list) else ()


def _document(response: httpx.Response, what: str) -> Any:
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServiceAwayError(f"it answers {what} with {response.status_code} and no document")
    if response.is_success:
        return document
    told = document.get("message") or document.get("error_description") or document.get("error")
    text = f"{what}: {response.status_code} {str(told)[:REASON_CHARACTERS]}"
    if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise ServiceAwayError(text)
    raise ServiceRefusedError(text)
