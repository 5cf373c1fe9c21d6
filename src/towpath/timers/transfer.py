"""What a run asks of Transfer, over HTTP, as the person; and what its answers mean for the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import httpx

from towpath.timers.nexus import NotAllowedError, needed

PREFIX: Final = "/v0.10"
FINAL: Final = frozenset({"SUCCEEDED", "FAILED"})
"""A task in any other status is not over."""
_LATER = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,  # of a fresh token: nexus will say so itself, if it stays so
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,  # too many tasks: some will end
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
MESSAGE_KEPT: Final = 2000
"""Characters of a message that are kept with a run."""


class Trouble(Exception):  # noqa: N818 - an answer, not a fault
    """Transfer did not do it. `passes`: it may do it later."""

    def __init__(self, http_status: int | None, code: str, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        self.message = message
        self.passes = passes

    def document(self) -> dict[str, Any]:
        """As a run's error."""
        return {"code": self.code, "detail": self.message, "status": self.http_status}


@dataclass(frozen=True)
class Accepted:
    """The task of a run."""

    http_status: int
    task_id: UUID


class Transfer:
    """``http`` has Transfer's origin as its ``base_url``.

    Each raises `Trouble`, and `NotAllowedError` where a consent is missing.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def submit(
        self, access_token: str, body: Mapping[str, Any], submission_id: UUID
    ) -> Accepted:
        """Make the task of a run, or find the one that was made for this id."""
        document = {**body, "submission_id": str(submission_id)}
        answer = await self._ask("POST", "/transfer", access_token, document)
        try:
            return Accepted(answer.status_code, UUID(answer.json()["task_id"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _no_answer(error) from error

    async def task(self, access_token: str, task_id: UUID) -> dict[str, Any]:
        """The task's document."""
        answer = await self._ask("GET", f"/task/{task_id}", access_token)
        try:
            document: dict[str, Any] = answer.json()
            _ = document["status"]
        except (ValueError, KeyError, TypeError) as error:
            raise _no_answer(error) from error
        return document

    async def sees(self, access_token: str, endpoint_id: UUID) -> bool:
        """Whether there is such an endpoint for this person."""
        try:
            await self._ask("GET", f"/endpoint/{endpoint_id}", access_token)
        except Trouble as trouble:
            if trouble.http_status == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    async def _ask(
        self, method: str, path: str, access_token: str, document: Any = None
    ) -> httpx.Response:
        try:
            answer = await self._http.request(
                method,
                f"{PREFIX}{path}",
                json=document,
                headers={"Authorization": f"Bearer {access_token}"},
            )
        except httpx.HTTPError as error:
            raise _no_answer(error) from error
        if answer.is_error:
            raise refusal(answer)
        return answer


def refusal(answer: httpx.Response) -> Trouble | NotAllowedError:
    """What an error of Transfer's means."""
    try:
        found = answer.json()
    except ValueError:
        found = None
    document: dict[str, Any] = found if isinstance(found, dict) else {}
    status = answer.status_code
    code = str(document.get("code") or status)[:MESSAGE_KEPT]
    message = str(document.get("message") or answer.reason_phrase)[:MESSAGE_KEPT]
    if status == HTTPStatus.FORBIDDEN and code == "ConsentRequired":
        scopes = document.get("required_scopes") or []
        return NotAllowedError(needed(*(str(one) for one in scopes)), message)
    passes = status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Trouble(status, code, message, passes=passes)


def _no_answer(error: Exception) -> Trouble:
    told = f"Transfer does not answer: {type(error).__name__}"
    return Trouble(None, "ServiceUnavailable", told, passes=True)
