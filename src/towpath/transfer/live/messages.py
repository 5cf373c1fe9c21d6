"""Messages of a stream of server-sent events (WHATWG HTML, 9.2)."""

import json
from typing import Any, Final

STILL_HERE: Final = b": still here\n\n"
"""A comment: a stream with nothing to say is not a lost one."""


def message(event: str, document: dict[str, Any], *, id: int | None = None) -> bytes:  # noqa: A002
    """One message. JSON has no line breaks, so a single `data` line holds it.

    A message without an `id` leaves the reader's last one as it is.
    """
    number = "" if id is None else f"id: {id}\n"
    return f"{number}event: {event}\ndata: {json.dumps(document)}\n\n".encode()
