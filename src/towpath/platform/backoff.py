"""How long who failed waits before he tries again."""

from random import Random


def backoff_s(failures: int, *, first_s: float, max_s: float, random: Random) -> float:
    """Seconds until what has failed `failures` times (>= 1) in a row is tried again.

    They double from `first_s` to `max_s`, each shortened by chance by up to half.
    """
    # The exponent is bounded before 2.0 ** n could overflow.
    ceiling = min(max_s, first_s * 2.0 ** min(max(failures, 1) - 1, 16))
    return ceiling * (0.5 + random.random() / 2)
