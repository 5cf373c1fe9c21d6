"""Who asks: bearer tokens, introspected at nexus (RFC 7662), cached for a moment.

An answer is reused for at most 5 s, so that a revoked token dies within that time. While nexus does
not answer, what it said up to 60 s ago still holds; after that every request is refused.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

import httpx
import structlog
from fastapi import Request

from towpath.platform.errors import ApiError

FRESH_S = 5.0
STALE_S = 60.0
CACHE_SIZE = 10_000
"""About 5 MB; the oldest answers leave first."""
TOKEN_LIMIT = 4096
"""Characters; a longer one is not ours."""
INTROSPECT = "/v2/oauth2/token/introspect"
INCLUDE = "identity_set,groups,session_info,root_client"

_log = structlog.stdlib.get_logger("towpath.guard")


@dataclass(frozen=True)
class Authentication:
    """How and when an identity proved itself in the session in which a token was issued."""

    at: float
    """Seconds since 1970."""
    amr: frozenset[str]
    """The methods (RFC 8176)."""
    acr: str | None


@dataclass(frozen=True)
class Principal:
    """Who is behind a token, as nexus knew it at most FRESH_S ago."""

    sub: UUID
    username: str
    client_id: UUID
    scopes: frozenset[str]
    identity_set: frozenset[UUID]
    """All identities of whoever it is; `sub` is one of them."""
    expires_at: float
    """Seconds since 1970."""
    groups: frozenset[UUID] = frozenset()
    """Those in which any of them is active."""
    authentications: Mapping[UUID, Authentication] = field(default_factory=dict)
    """By identity; none for a client, which has no session."""
    root_client_id: UUID | None = None
    """The application that the person has logged in with. `client_id` may be a service that acts
    on its behalf, on what was allowed to it there."""

    @cached_property
    def shown(self) -> str:
        """`sub` as text: each line of the log has it."""
        return str(self.sub)


@dataclass(frozen=True)
class _Answer:
    principal: Principal | None
    at: float


class Guard:
    """Asks nexus, with this service's own client, whom a token stands for.

    ``http`` has nexus' origin as its ``base_url`` (in one process: an ASGI transport).
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        client_id: UUID,
        client_secret: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._login = httpx.BasicAuth(str(client_id), client_secret)
        self._monotonic = monotonic
        self._wall = wall
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}

    def accepted_lately(self, request: Request) -> bool:
        """Whether nexus has just accepted the token that a request brings, and is not asked again.

        False for a request without one.
        """
        bearer = request.headers.get("Authorization", "").partition(" ")[2].strip()
        answer = self._answers.get(hashlib.sha256(bearer.encode()).digest())
        return answer is not None and answer.principal is not None

    async def principal(self, bearer: str) -> Principal:
        """Whom ``bearer`` stands for.

        Raises :class:`ApiError`: 401 if the token is not active, 503 if nexus cannot say.
        """
        if not bearer or len(bearer) > TOKEN_LIMIT:
            raise ApiError.not_authenticated()
        key = hashlib.sha256(bearer.encode()).digest()
        answer = self._answers.get(key)
        if answer is None or self._monotonic() - answer.at > FRESH_S:
            answer = await self._ask(key, bearer, answer)
        found = answer.principal
        if found is None or found.expires_at <= self._wall():
            raise ApiError.not_authenticated()
        return found

    async def _ask(self, key: bytes, bearer: str, known: _Answer | None) -> _Answer:
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._introspect(key, bearer))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        try:
            # shielded: a caller that goes away does not take the answer from the others
            return await asyncio.shield(task)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            if known is not None and self._monotonic() - known.at <= STALE_S:
                _log.warning("guard.nexus_unavailable", error=str(error), kind=type(error).__name__)
                return known
            raise nexus_unavailable(error) from error

    def _forget(self, key: bytes, done: asyncio.Task[_Answer]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen here, also if every caller has gone away

    async def _introspect(self, key: bytes, bearer: str) -> _Answer:
        asked_at = self._monotonic()
        response = await self._http.post(
            INTROSPECT, data={"token": bearer, "include": INCLUDE}, auth=self._login
        )
        response.raise_for_status()
        answer = _Answer(_principal_of(response.json()), asked_at)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > CACHE_SIZE:
            self._answers.popitem(last=False)
        return answer

    async def ask(self, path: str, document: Any) -> Any:
        """What nexus answers this service itself, with its own client. Raises ``httpx.HTTPError``,
        ValueError.
        """
        response = await self._http.post(path, json=document, auth=self._login)
        return response.raise_for_status().json()

    def require(self, scope: str) -> Callable[[Request], Awaitable[Principal]]:
        """A FastAPI dependency: the principal of a request whose token has ``scope``.

        401 without an active token, 403 without the scope.
        """

        async def dependency(request: Request) -> Principal:
            found = await self.principal(bearer_of(request))
            if scope not in found.scopes:
                raise ApiError.forbidden(f"this needs a token with the scope {scope}")
            structlog.contextvars.bind_contextvars(principal=found.shown)
            return found

        return dependency


def nexus_unavailable(error: Exception) -> ApiError:
    """For a request that cannot be decided without nexus: it is refused."""
    _log.warning("guard.nexus_unavailable", error=str(error), kind=type(error).__name__)
    return ApiError(
        503,
        "ServiceUnavailable",
        "the identity service does not answer; try again",
        headers={"Retry-After": "5"},
    )


def bearer_of(request: Request) -> str:
    """The token that a request brings. Raises :class:`ApiError`: 401."""
    for name, value in request.scope["headers"]:  # `headers` would be made for this alone
        if name == b"authorization":
            kind, _, bearer = str(value, "latin-1").partition(" ")
            if kind.lower() == "bearer":
                return bearer.strip()
            break
    raise ApiError.not_authenticated("No bearer token")


def _principal_of(document: dict[str, Any]) -> Principal | None:
    if document["active"] is not True:
        return None
    sub = UUID(document["sub"])
    return Principal(
        sub=sub,
        username=str(document["username"]),
        client_id=UUID(document["client_id"]),
        scopes=frozenset(str(document["scope"]).split()),
        identity_set=frozenset(UUID(one) for one in document.get("identity_set") or (str(sub),)),
        expires_at=float(document["exp"]),
        groups=frozenset(UUID(one) for one in document.get("groups") or ()),
        root_client_id=UUID(document.get("root_client_id") or document["client_id"]),
        authentications={
            UUID(identity): Authentication(
                at=float(one["auth_time"]),
                amr=frozenset(one.get("amr") or ()),
                acr=one.get("acr"),
            )
            for identity, one in (document.get("session_info") or {})
            .get("authentications", {})
            .items()
        },
    )
