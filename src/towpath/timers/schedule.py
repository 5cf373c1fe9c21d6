"""When a timer runs: plain arithmetic, on instants. Of clocks, databases and time zones it knows
nothing; an interval is a number of seconds, also where clocks are put back in autumn.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Schedule:
    """`start`, and from then on every `interval_s` seconds; None: once.

    It ends after `most_runs` runs, or with the last instant that is not later than `until`.
    """

    start: datetime
    interval_s: int | None = None
    most_runs: int | None = None
    until: datetime | None = None


def first(schedule: Schedule) -> datetime | None:
    """The first instant; None if the end is before it."""
    return schedule.start if may_begin(schedule, schedule.start) else None


def following(schedule: Schedule, *, after: datetime, begun: int) -> datetime | None:
    """The next instant that is later than `after`, when `begun` runs have begun; None: no more.

    Those between are left out: however many were missed, one run makes up for them.
    """
    most_runs = 1 if schedule.interval_s is None else schedule.most_runs
    if most_runs is not None and begun >= most_runs:
        return None
    if after < schedule.start:
        return first(schedule)
    if schedule.interval_s is None:
        return None
    interval = timedelta(seconds=schedule.interval_s)
    steps = (after - schedule.start) // interval + 1
    found = schedule.start + steps * interval
    return found if may_begin(schedule, found) else None


def may_begin(schedule: Schedule, now: datetime) -> bool:
    """Whether a run may begin now that was due before: nothing begins after the end."""
    return schedule.until is None or now <= schedule.until
