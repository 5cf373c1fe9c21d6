"""Tokens for what timers do when nobody is there: asked of nexus, over HTTP, as Timers' own client.

Who sets a timer shows a token for Timers. For that one nexus gives a refresh token for Transfer (a
dependent token, "offline"), if the person has allowed it on this very path; each run gets a fresh
access token for it. The refresh token is stored sealed, for one timer, and never logged (I6).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import httpx

from towpath.platform.secrets import NoKeyError, Sealer, SealError

TIMER_SCOPE: Final = "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"
TRANSFER_SCOPE: Final = "urn:globus:auth:scope:transfer.api.globus.org:all"
TRANSFER: Final = "transfer.api.globus.org"
"""Fixed literals inside the clients, on any deployment."""

_TOKEN = "/v2/oauth2/token"  # noqa: S105 - a route
_REVOKE = "/v2/oauth2/token/revoke"
_DEPENDENT = "urn:globus:auth:grant_type:dependent_token"


class NotAllowedError(Exception):
    """The person has not allowed this, or not any more: `scopes` are to be consented to."""

    def __init__(self, scopes: Sequence[str], message: str | None = None) -> None:
        super().__init__(message or "the consent for this is missing")
        self.scopes = list(scopes)
        self.message = message
        """Transfer's, which clients may know."""


class UnavailableError(Exception):
    """Nexus does not answer, or not as it should: it may later."""


class NoKeyHereError(UnavailableError):
    """The key under which a timer's token is sealed is not in the file that this process has."""


@dataclass(frozen=True)
class Tokens:
    """What a run works with, and what gets the next one."""

    access_token: str
    refresh_token: str

    def __repr__(self) -> str:
        return "Tokens(...)"


class Nexus:
    """``http`` has nexus' origin as its ``base_url`` (in one process: an ASGI transport)."""

    def __init__(self, http: httpx.AsyncClient, client_id: UUID, client_secret: str) -> None:
        self._http = http
        self._login = httpx.BasicAuth(str(client_id), client_secret)

    async def exchange(self, bearer: str) -> Tokens:
        """For the token of whoever sets a timer: those for Transfer.

        Raises `NotAllowedError` or `UnavailableError`.
        """
        found = await self._ask(
            {"grant_type": _DEPENDENT, "token": bearer, "access_type": "offline"}
        )
        for one in found if isinstance(found, list) else []:
            if one.get("resource_server") == TRANSFER and one.get("refresh_token"):
                return Tokens(str(one["access_token"]), str(one["refresh_token"]))
        raise NotAllowedError(needed())

    async def refresh(self, refresh_token: str) -> Tokens:
        """A fresh access token; the refresh token is to be kept, if it is a new one.

        Raises `NotAllowedError` or `UnavailableError`.
        """
        found = await self._ask({"grant_type": "refresh_token", "refresh_token": refresh_token})
        try:
            return Tokens(str(found["access_token"]), str(found["refresh_token"] or refresh_token))
        except (KeyError, TypeError) as error:
            raise UnavailableError("nexus answered a refresh without tokens") from error

    async def revoke(self, refresh_token: str) -> None:
        """End a token that is not needed any more. Raises `UnavailableError`."""
        try:
            answer = await self._http.post(_REVOKE, data={"token": refresh_token}, auth=self._login)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise UnavailableError(f"nexus does not answer: {type(error).__name__}") from error

    async def _ask(self, form: dict[str, str]) -> Any:
        try:
            answer = await self._http.post(_TOKEN, data=form, auth=self._login)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(f"nexus does not answer: {type(error).__name__}") from error
        if answer.status_code == HTTPStatus.OK:
            return document
        word = document.get("error") if isinstance(document, dict) else None
        if word in ("invalid_grant", "dependent_consent_required"):
            raise NotAllowedError(needed())
        raise UnavailableError(f"nexus answered {answer.status_code} ({word})")


def needed(*below: str) -> list[str]:
    """What a person must allow for a timer; `below`: scopes, as Transfer words what it lacks."""
    return [f"{TIMER_SCOPE}[{scope}]" for scope in below or (TRANSFER_SCOPE,)]


class Kept:
    """Refresh tokens at rest: each opens for its own timer only."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, timer_id: UUID, refresh_token: str) -> bytes:
        """As the database keeps it."""
        return self._sealer.seal(refresh_token.encode(), token_context(timer_id))

    def unseal(self, timer_id: UUID, sealed: bytes | None) -> str:
        """The token. Raises `NotAllowedError` where it is gone: its owner gives another one; and
        `NoKeyHereError` where its key is not here, or not yet.
        """
        if sealed is None:
            raise NotAllowedError(needed())
        try:
            return self._sealer.unseal(sealed, token_context(timer_id)).decode()
        except NoKeyError as error:
            raise NoKeyHereError(
                "the key of the timer's token is not where the service looks for it, which its"
                " operator is told; if it is lost, a new token helps (globus timer resume)"
            ) from error
        except SealError as error:
            raise NotAllowedError(needed()) from error

    def opens(self, timer_id: UUID, sealed: bytes | None) -> bool:
        """Whether there is a token that can be used."""
        try:
            self.unseal(timer_id, sealed)
        except (NotAllowedError, NoKeyHereError):
            return False
        return True


def token_context(timer_id: UUID) -> bytes:
    """What a timer's token is sealed for."""
    return b"timer " + timer_id.bytes
