"""What is asked of every statement: whose it is, for whom, when, and whether for the first time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar, Final, Protocol

from towpath.grants.keys import KeySet
from towpath.grants.reasons import Reason
from towpath.grants.replays import Replays

SKEW_S: Final = 60
"""How far clocks may be apart: machines with NTP are within a second, laptops that just woke up are
not."""
MAX_TEXT: Final = 2048
"""Characters of an issuer, an account's or another name."""
MAX_JTI: Final = 128
"""Characters of a statement's id; each is remembered for its life. Ours have 22."""

Refused = tuple[Reason, str]
"""Why a statement is not taken, for programs and for people."""


class Statement(Protocol):
    """What all of them say."""

    @property
    def issuer(self) -> str:
        """The deployment's issuer URL."""

    @property
    def audience(self) -> str:
        """The id of whom it was made for."""

    @property
    def issued(self) -> int:
        """Seconds of the epoch."""

    @property
    def expires(self) -> int:
        """Seconds of the epoch."""


class Judge:
    """Decides for one audience. For several threads."""

    audience_kind: ClassVar[str]
    """What the audience is."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        keys: Callable[[], KeySet],
        now: Callable[[], float] = time.time,
        replays: Replays | None = None,
    ) -> None:
        """`keys` gives those of the issuer as they are now; `now` the time of day, seconds."""
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._now = now
        self._replays = Replays() if replays is None else replays

    def _refused(self, said: Statement) -> Refused | None:
        now = self._now()
        if said.issuer != self._issuer:
            return Reason.ISSUER, "it was made by another deployment"
        if said.audience != self._audience:
            return Reason.AUDIENCE, f"it was made for another {self.audience_kind}"
        if said.issued > now + SKEW_S:
            return Reason.CLOCK, f"it is from {_clock(said.issued)}, and here it is {_clock(now)}"
        if said.expires + SKEW_S < now:
            return Reason.EXPIRED, f"it ended at {_clock(said.expires)}; here it is {_clock(now)}"
        return None

    def _used_up(self, said: Statement, statement_id: str) -> Refused | None:
        """Last of all: what is refused for something else is not used up by it."""
        until = said.expires + SKEW_S
        if self._replays.is_first(statement_id, until=until, now=self._now()):
            return None
        return Reason.REPLAYED, "it was used before"


def _clock(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:.0f}"
