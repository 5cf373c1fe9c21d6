"""When a credential's owner should renew it, and what is told of that. Pure."""

from datetime import datetime, timedelta
from typing import Any, Final

from towpath.transfer import times
from towpath.transfer.store.credentials import Expiring
from towpath.transfer.unavailable import giving_a_credential

WITHIN: Final = timedelta(days=1)
"""A person reads mail once a day. What is good for less from the beginning, such as the proxy of a
day's work, is told of when half of its time is over."""
SOON: Final = timedelta(hours=1)
"""Whatever it was made for: who begins something large now should renew it first."""
LATELY: Final = timedelta(days=7)
"""Who used an endpoint within a week is about to use it again."""


def expires_soon(stored: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether a credential that was stored then should be renewed by now."""
    left = not_after - now
    return left < SOON or (left <= WITHIN and now - stored >= (not_after - stored) / 2)


def warning(one: Expiring) -> dict[str, Any]:
    """What its owner is told."""
    return {
        "endpoint_id": str(one.endpoint_id),
        "endpoint_display_name": one.endpoint_display_name,
        "subject": one.subject,
        "expires_at": times.show(one.not_after),
        "unfinished_tasks": one.tasks,
        "advice": f"Renew it {giving_a_credential(one.endpoint_id)}",
    }
