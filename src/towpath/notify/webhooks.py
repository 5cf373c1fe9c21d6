"""Delivers to webhooks: a signed POST, only where the dial policy allows, and never for long."""

import json
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from towpath import __version__
from towpath.notify.queue import Delivery, NotDelivered
from towpath.platform.outbound import Outbound, OutboundError, RefusedError, UnreachableError
from towpath.platform.standard_webhooks import headers

GONE: Final = 410
"""Standard Webhooks: the receiver wants no more."""


class HookSender:
    """Posts messages."""

    def __init__(self, outbound: Outbound, *, now: Callable[[], float] = time.time) -> None:
        self._outbound = outbound
        self._now = now

    async def send(self, delivery: Delivery) -> int | None:
        """One POST; 2xx is success, redirects are not followed. Raises `NotDelivered`.

        What a failure says is the same for all addresses that are not allowed, whatever is there:
        nobody learns of a network what he may not (I7).
        """
        hook = delivery.hook
        assert hook is not None, "it is for a webhook"
        body = body_of(delivery)
        try:
            answer = await self._outbound.request(
                "POST",
                hook.url,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": f"Towpath-Webhooks/{__version__}",
                    **headers(hook.secrets, message_id(delivery), int(self._now()), body),
                },
                content=body,
                authority=hook.authority,
                read_answer=False,
            )
        except RefusedError:
            raise NotDelivered(
                "the address is not one that this service may call; the operator decides"
            ) from None
        except UnreachableError as error:
            raise NotDelivered(_unreachable(error, hook.url)) from None
        except OutboundError as error:
            raise NotDelivered(str(error)) from None
        if 200 <= answer.status < 300:
            return answer.status
        moved = 300 <= answer.status < 400
        raise NotDelivered(
            f"the receiver answered {answer.status}"
            + ("; redirects are not followed: give the final URL" if moved else ""),
            answer.status,
            permanent=answer.status == GONE,
            gone=answer.status == GONE,
        )


def message_id(delivery: Delivery) -> str:
    """The same with every attempt: who has seen it does nothing."""
    return f"msg_{delivery.message_id.hex}"


def body_of(delivery: Delivery) -> bytes:
    """As Standard Webhooks proposes: type, timestamp, data; and how many are not told."""
    said: dict[str, Any] = {
        "type": delivery.topic,
        "timestamp": delivery.created_at.isoformat(timespec="milliseconds"),
        "data": delivery.document,
    }
    if delivery.more:
        said["not_told"] = delivery.more
    return json.dumps(said, separators=(",", ":")).encode("ascii")


def _unreachable(error: UnreachableError, url: str) -> str:
    """Which of our own sentences, without words of a library or a system."""
    host = urlsplit(url).hostname or ""
    if error.certificate:
        return f"{host} has no certificate for this name that is trusted"
    if error.late:
        return f"{host} did not answer in time"
    return f"{host} cannot be reached"
