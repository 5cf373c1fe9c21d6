"""What the routes share: the service's parts, the caller, and their errors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from towpath.platform.database import Connection, Database
from towpath.platform.errors import ApiError
from towpath.platform.guard import Guard, Principal, bearer_of
from towpath.platform.settings import TimerSettings
from towpath.timers.nexus import TIMER_SCOPE, Kept, Nexus, NotAllowedError, Tokens, UnavailableError
from towpath.timers.runner import requirement
from towpath.timers.store import timers
from towpath.timers.transfer import Transfer


@dataclass(frozen=True, slots=True)
class TimersService:
    """The API's parts. `wake` is called when something may be due at once."""

    database: Database
    guard: Guard
    nexus: Nexus
    transfer: Transfer
    kept: Kept
    wake: Callable[[], None]
    limits: TimerSettings = field(default_factory=TimerSettings)
    now: Callable[[Connection], Awaitable[datetime]] = timers.now


def _service(request: Request) -> TimersService:
    service = request.app.state.timers
    assert isinstance(service, TimersService)
    return service


Service = Annotated[TimersService, Depends(_service)]


async def _caller(request: Request, service: Service) -> Principal:
    return await service.guard.require(TIMER_SCOPE)(request)


Caller = Annotated[Principal, Depends(_caller)]
"""Who asks; 401 or 403 before anything else is looked at."""


class InvalidError(Exception):
    """422: something in the document cannot be used."""

    def __init__(self, loc: tuple[str, ...], msg: str, kind: str = "value_error") -> None:
        super().__init__(msg)
        self.mistake = {"loc": list(loc), "msg": msg, "type": kind}


async def tokens_of(service: TimersService, request: Request) -> Tokens:
    """What lets a timer of the caller's transfer for him. Raises ApiError: 403, 503."""
    try:
        return await service.nexus.exchange(bearer_of(request))
    except NotAllowedError as error:
        message = "You have not allowed Timers to transfer for you: consent, and try again"
        raise ApiError(
            403, "ConsentRequired", message, extras=requirement(error.scopes, message)
        ) from error
    except UnavailableError as error:
        raise ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "the identity service does not answer; try again",
            headers={"Retry-After": "5"},
        ) from error


def no_such_timer(timer_id: str) -> ApiError:
    """404: also for another's, which does not exist for the caller (I7)."""
    return ApiError.not_found(f"No such timer '{timer_id[:80]}'", code="NOT_FOUND")


async def own_timer(
    conn: Connection, timer_id: str, caller: Principal, *, lock: bool = False
) -> timers.Timer:
    """A timer of the caller's. With `lock`, its row is held. Raises ApiError: 404."""
    try:
        wanted = UUID(timer_id)
    except ValueError:
        raise no_such_timer(timer_id) from None
    found = await timers.get(conn, caller.sub, wanted, lock=lock)
    if found is None:
        raise no_such_timer(timer_id)
    return found
