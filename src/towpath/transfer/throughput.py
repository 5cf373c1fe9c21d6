"""What a task had done at instants from its start to now: enough for a plot, at any length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

MOST_POINTS: Final = 298
"""Kept; with the start and with how it stands now a plot has 300, which is what it can show."""
FIRST_INTERVAL_S: Final = 1.0
"""As finely as people look at a short transfer. It doubles whenever there are too many points."""


class Point(NamedTuple):
    """What had been done at an instant (seconds since 1970)."""

    at: float
    bytes: int
    files: int
    faults: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """Points at least `interval_s` apart, in order."""

    interval_s: float = FIRST_INTERVAL_S
    points: Sequence[Point] = ()

    def is_due(self, at: float) -> bool:
        """Whether a point at this instant is one more; also when the clock was set back."""
        return not self.points or not 0 <= at - self.points[-1].at < self.interval_s

    def note(self, before: Point, point: Point) -> Self:
        """With one more point, if it is due; `before`: how it was when that began to be written.

        Where nothing was noted for a while nothing had happened: another point says until when.
        What a clock had told that was set back since then is dropped.
        """
        if not self.is_due(point.at):
            return self
        points = [one for one in self.points if one.at < point.at]
        if points and point.at - points[-1].at >= 2 * self.interval_s:
            points.append(before._replace(at=point.at - self.interval_s))
        points.append(point)
        interval_s = self.interval_s
        while len(points) > MOST_POINTS:
            interval_s *= 2
            points = [points[0], *_apart(points[1:-1], points[0].at, interval_s), points[-1]]
        return type(self)(interval_s, points)


def _apart(points: Sequence[Point], after: float, interval_s: float) -> list[Point]:
    """Those that are so far from the one before them."""
    kept: list[Point] = []
    for point in points:
        if point.at - after >= interval_s:
            kept.append(point)
            after = point.at
    return kept
