"""What happens around an agent: the machine sleeps, and its address changes.

Both leave a connection that looks alive and is dead; TCP would find out in a quarter of an hour.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

LOOK_S: Final = 3.0
"""How often we look. It costs two system calls."""
MISSED_S: Final = 12.0
"""So much longer than planned a look comes when the machine slept, or this process was stopped.
A busy machine is seconds late."""


class Change(Enum):
    """What a look has found."""

    NONE = "nothing"
    SLEPT = "slept"
    """Connections may be dead: try them."""
    MOVED = "moved"
    """The address that connections came from is not ours any more: they are dead."""
    REROUTED = "rerouted"
    """The way leads over another address; the old one is still there: try them."""
    CUT_OFF = "cut off"
    """There is no way there now."""


def boot_clock() -> float:
    """Seconds, those counted too in which the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def local_address(host: str, port: int) -> str | None:
    """The address that a connection there would come from; None: there is no way there.

    Sends nothing. `host` is in numbers.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def is_ours(host: str) -> bool:
    """Whether this machine has the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def outward() -> tuple[str | None, str | None]:
    """The addresses from which this machine goes out, of both kinds; documentation's addresses
    (RFC 5737, 3849) stand for everybody."""
    return local_address("192.0.2.1", 9), local_address("2001:db8::1", 9)


class Hope:
    """For who waits without a connection: whether something has changed that may help."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = boot_clock,
        addresses: Callable[[], tuple[str | None, str | None]] = outward,
    ) -> None:
        self._clock = clock
        self._addresses = addresses
        self._looked_at = clock()
        self._were = addresses()

    def look(self) -> bool:
        """Whether the machine woke up, or goes out from other addresses than before. To be called
        every `LOOK_S`."""
        now, addresses = self._clock(), self._addresses()
        slept = now - self._looked_at > LOOK_S + MISSED_S
        moved = addresses != self._were and any(addresses)
        self._looked_at, self._were = now, addresses
        return slept or moved


class Lookout:
    """Looks now and then, for one connection that is open."""

    def __init__(
        self,
        *,
        ours: str,
        theirs: tuple[str, int],
        clock: Callable[[], float] = boot_clock,
        way: Callable[[str, int], str | None] = local_address,
        has: Callable[[str], bool] = is_ours,
    ) -> None:
        """`ours` and `theirs`: the connection's ends, in numbers."""
        self._ours = ours
        self._theirs = theirs
        self._clock = clock
        self._way = way
        self._has = has
        self._looked_at = clock()

    def look(self) -> Change:
        """What has changed since the last look, which should be `LOOK_S` ago."""
        now = self._clock()
        since, self._looked_at = now - self._looked_at, now
        now_from = self._way(*self._theirs)
        if now_from is None:
            return Change.CUT_OFF
        if now_from != self._ours:
            return Change.REROUTED if self._has(self._ours) else Change.MOVED
        return Change.SLEPT if since > LOOK_S + MISSED_S else Change.NONE
