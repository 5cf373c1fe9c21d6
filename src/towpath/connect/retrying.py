"""How long an agent waits before it tries its relays again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 3.0
"""The longest first wait. A relay that went took hundreds of tunnels with it: they come back spread
over this time, and a transfer that waits has its agent back in seconds."""
LONGEST_S: Final = 60.0
"""However long nobody has answered: somebody who repairs something sees it soon."""
STEADY_S: Final = 60.0
"""A tunnel that held so long was a good one; what comes after it begins anew."""


class Waits:
    """Growing waits, drawn at random: all of a storm's agents draw another number."""

    def __init__(self, draw: Callable[[float, float], float] = random.uniform) -> None:
        self._draw = draw
        self._tries = 0

    def next_s(self) -> float:
        """Of the next wait."""
        longest = min(LONGEST_S, FIRST_S * 2**self._tries)
        self._tries = min(self._tries + 1, 16)
        return self._draw(0.0 if self._tries == 1 else longest / 4, longest)

    def reset(self) -> None:
        """It worked for a while."""
        self._tries = 0
