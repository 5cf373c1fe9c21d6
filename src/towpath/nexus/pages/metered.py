"""For what anybody may begin: not too often from one address."""

from fastapi import Request

from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.people import throttle
from towpath.nexus.people.throttle import Attempt
from towpath.platform.database import Connection


def counted(request: Request) -> Attempt:
    """What the request is counted against; given back when somebody has logged in."""
    return throttle.elsewhere_attempt(frame.address_of(request))


async def not_too_many(request: Request, connection: Connection) -> None:
    """Count it. Raises :class:`PageError` (429)."""
    wait_s = await throttle.take(connection, counted(request))
    if wait_s:
        raise PageError(429, "Too many attempts", throttle.told(wait_s))


async def is_recorded(request: Request, connection: Connection) -> bool:
    """Whether a refusal that anybody can cause, as often as they like, goes into the audit log,
    which is kept for ever: one a minute of an address.
    """
    address = frame.address_of(request)
    return not await throttle.take(connection, throttle.record_of_refusal(address))
