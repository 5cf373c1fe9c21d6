"""Tickets: what two connections say that are to be joined. One use, known to nobody else."""

import re
import secrets
from collections.abc import Callable
from typing import Final

TICKET_BYTES: Final = 32
"""Nobody guesses 256 bits."""

TICKET_LIFETIME_S: Final = 30.0
"""From when it was made until it must have been said: a few round trips, also over a bad line."""

_TICKET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_ticket(random: Callable[[int], str] = secrets.token_urlsafe) -> str:
    """A ticket: 43 characters of base64url."""
    return random(TICKET_BYTES)


def is_ticket(text: str) -> bool:
    """Whether it has the form of one."""
    return _TICKET.fullmatch(text) is not None
