"""Asking other people's https servers: only where the dial policy allows, and never for long.

Each request has a connection of its own to an address that was checked (invariant I7), TLS verified
against the name, no redirects, and a bound on time and size.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from towpath.platform.dial import DialPolicy, DialRefused

TIMEOUT_S = 10.0
"""For a whole exchange: somebody waits for it in front of a browser."""
TRUSTS_KEPT = 64
"""Sets of authorities; a deployment asks a few servers."""
BODY_LIMIT = 256 * 1024
"""Of an answer. Key sets and metadata have a few kilobytes."""


class OutboundError(Exception):
    """There was no answer that can be used; the message says whose and why."""


class UnreachableError(OutboundError):
    """The server does not answer, or not with a certificate that we accept."""


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises :class:`OutboundError`."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise OutboundError("the answer is not JSON") from error
        if not isinstance(document, dict):
            raise OutboundError("the answer is not a JSON object")
        return document


class Outbound:
    """An https client behind a :class:`~towpath.platform.dial.DialPolicy`."""

    def __init__(self, policy: DialPolicy, *, timeout_s: float = TIMEOUT_S) -> None:
        self._policy = policy
        self._timeout_s = timeout_s

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        authority: str | None = None,
    ) -> Answer:
        """One exchange. ``authority``: certificates (PEM) to trust beside the system's.

        Raises :class:`OutboundError`, :class:`UnreachableError`.
        """
        host = urlsplit(url).hostname or url
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._request(method, url, headers, form, authority)
        except DialRefused as error:
            raise OutboundError(str(error)) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise UnreachableError(
                f"{host} does not answer within {self._timeout_s:g} s"
            ) from error
        except (httpx.TransportError, OSError) as error:
            raise UnreachableError(f"{host} cannot be reached: {error}") from error

    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
        authority: str | None,
    ) -> Answer:
        parts = httpx.URL(url)
        if parts.scheme != "https" or not parts.host or parts.userinfo:
            raise OutboundError(f"{url[:200]!r} is not an https URL")
        addresses = await self._policy.addresses(parts.host, parts.port or 443)
        for address in addresses[:-1]:
            try:
                return await self._exchange(address, method, parts, headers, form, authority)
            except httpx.ConnectError:
                continue
        return await self._exchange(addresses[-1], method, parts, headers, form, authority)

    async def _exchange(
        self,
        address: str,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
        authority: str | None,
    ) -> Answer:
        # trust_env: a proxy in the environment would dial for us, where no policy looks.
        # timeout: for each step; it comes before the one for all, because httpx leaves a connection
        # open that is cancelled in its TLS handshake
        async with httpx.AsyncClient(
            verify=_tls(authority), trust_env=False, timeout=self._timeout_s / 2
        ) as client:
            request = client.build_request(
                method,
                url.copy_with(host=address),
                headers={
                    **(headers or {}),
                    "Host": url.netloc.decode("ascii"),
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",  # what is bounded is what is read
                },
                data=form,
                # the certificate must be that of the name, not of the address
                extensions={"sni_hostname": url.host},
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = bytearray()
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > BODY_LIMIT:
                        raise OutboundError(f"{url.host} answers with more than {BODY_LIMIT} bytes")
                return Answer(answer.status_code, bytes(body))
            finally:
                await answer.aclose()


@lru_cache(maxsize=TRUSTS_KEPT)
def _tls(authority: str | None) -> ssl.SSLContext:
    """Made once: to read all of the system's authorities takes some 20 ms of a core."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(cadata=authority)
    return context
