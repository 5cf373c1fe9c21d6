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


class RefusedError(OutboundError):
    """The dial policy does not allow the address."""


class UnreachableError(OutboundError):
    """The server does not answer, or not with a certificate that we accept."""

    late = False
    """Whether it took too long."""
    certificate = False
    """Whether its certificate is why."""


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

    def __init__(
        self, policy: DialPolicy, *, timeout_s: float = TIMEOUT_S, allow_http: bool = False
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._schemes = ("https", "http") if allow_http else ("https",)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        content: bytes | None = None,
        authority: str | None = None,
        read_answer: bool = True,
    ) -> Answer:
        """One exchange. ``form`` or ``content`` is sent. ``authority``: certificates (PEM) to trust
        beside the system's. Without ``read_answer`` its status is all that is waited for.

        Raises :class:`OutboundError`, :class:`RefusedError`, :class:`UnreachableError`.
        """
        host = urlsplit(url).hostname or url
        sent = _Sent(method, headers or {}, form, content, authority, read_answer)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._request(url, sent)
        except DialRefused as error:
            raise RefusedError(str(error)) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            late = UnreachableError(f"{host} does not answer within {self._timeout_s:g} s")
            late.late = True
            raise late from error
        except (httpx.TransportError, OSError) as error:
            away = UnreachableError(f"{host} cannot be reached: {error}")
            away.certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
            raise away from error

    async def _request(self, url: str, sent: "_Sent") -> Answer:
        try:
            parts = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError):
            raise OutboundError(f"{url[:200]!r} is not a URL") from None
        if parts.scheme not in self._schemes or not parts.host or parts.userinfo:
            raise OutboundError(f"{url[:200]!r} is not an https URL")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = await self._policy.addresses(parts.host, port)
        for address in addresses[:-1]:
            try:
                return await self._exchange(address, parts, sent)
            except httpx.ConnectError:
                continue
        return await self._exchange(addresses[-1], parts, sent)

    async def _exchange(self, address: str, url: httpx.URL, sent: "_Sent") -> Answer:
        # trust_env: a proxy in the environment would dial for us, where no policy looks.
        # timeout: for each step; it comes before the one for all, because httpx leaves a connection
        # open that is cancelled in its TLS handshake
        async with httpx.AsyncClient(
            verify=_tls(sent.authority), trust_env=False, timeout=self._timeout_s / 2
        ) as client:
            request = client.build_request(
                sent.method,
                url.copy_with(host=address),
                headers={
                    **sent.headers,
                    "Host": url.netloc.decode("ascii"),
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",  # what is bounded is what is read
                },
                data=sent.form,
                content=sent.content,
                # the certificate must be that of the name, not of the address
                extensions={"sni_hostname": url.host},
            )
            answer = await client.send(request, stream=True, follow_redirects=False)
            try:
                body = bytearray()
                if not sent.read_answer:
                    return Answer(answer.status_code, b"")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > BODY_LIMIT:
                        raise OutboundError(f"{url.host} answers with more than {BODY_LIMIT} bytes")
                return Answer(answer.status_code, bytes(body))
            finally:
                await answer.aclose()


@dataclass(frozen=True)
class _Sent:
    """What a request is made of, but its address."""

    method: str
    headers: Mapping[str, str]
    form: Mapping[str, str] | None
    content: bytes | None
    authority: str | None
    read_answer: bool


@lru_cache(maxsize=TRUSTS_KEPT)
def _tls(authority: str | None) -> ssl.SSLContext:
    """Made once: to read all of the system's authorities takes some 20 ms of a core."""
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(cadata=authority)
    return context
