"""Where the time of a task went, from its request to its end: seconds by what was waited for.

Pure. What is known comes from two sides. While a worker has the task it tells what it waited for
(`engine.stopwatch`), and the time since it told last is shared out by that. While nobody has it,
how it stood is noted at each change (`Standing`), and follows from that. All times are the
database's, in seconds since 1970. That clock may be set: what a worker has measured itself stays as
it is, and what was noted while nobody had the task is cut to the time that is left (`whole`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple


class Category(StrEnum):
    """What the time of a task may have gone to; `MEANING` says what each is."""

    SOURCE = "source_read"
    NETWORK = "network"
    DESTINATION = "destination_write"
    MOVING = "moving"
    CHECKSUM = "checksum"
    LISTING = "listing"
    DELETING = "deleting"
    LOGIN = "login"
    RETRY = "retry"
    SERVICE = "service"
    ENDING = "ending"
    RECOVERY = "recovery"
    BACKOFF = "backoff"
    SERVER_AWAY = "server_away"
    QUEUE_OWNER = "queue_owner"
    QUEUE_WORKERS = "queue_workers"
    WAITING_FOR_TASK = "waiting_for_task"
    CREDENTIAL = "credential"
    PAUSED = "paused"
    OWNER_SUSPENDED = "owner_suspended"
    UNEXPLAINED = "unexplained"


MEANING: Final[Mapping[Category, str]] = {
    Category.SOURCE: "Data moved, and the source was behind.",
    Category.NETWORK: "Data moved, and most likely the network between the two was the bound.",
    Category.DESTINATION: "Data moved, and the destination was behind.",
    Category.MOVING: "Data moved; which part of the way was the bound cannot be told.",
    Category.CHECKSUM: "Checksums were computed, and no data moved meanwhile.",
    Category.LISTING: "Directories were listed, compared and made.",
    Category.DELETING: "Files and directories were deleted.",
    Category.LOGIN: "Sessions at the servers were opened.",
    Category.RETRY: "All that was left had failed, and waited to be tried again.",
    Category.SERVICE: "The service was busy with itself: its database, its plan.",
    Category.ENDING: "All was done, or given up, and the task came to its end.",
    Category.RECOVERY: "A worker or a session was lost: until another had taken over, and what"
    " had been under way was known to be still, and compared.",
    Category.BACKOFF: "After a fault that held up everything, before it was tried again.",
    Category.SERVER_AWAY: "A server did not answer.",
    Category.QUEUE_OWNER: "As many of its owner's tasks as may run at once were running.",
    Category.QUEUE_WORKERS: "It waited for a place at a worker.",
    Category.WAITING_FOR_TASK: "An earlier task wrote at one of its destinations.",
    Category.CREDENTIAL: "It waited for a credential to be renewed (INACTIVE).",
    Category.PAUSED: "It was paused.",
    Category.OWNER_SUSPENDED: "The account of its owner was suspended.",
    Category.UNEXPLAINED: "Nothing is known of it.",
}

MOVES: Final = (Category.SOURCE, Category.NETWORK, Category.DESTINATION, Category.MOVING)
"""Data moved."""

NOTED: Final[frozenset[Category]] = frozenset(
    {
        Category.RECOVERY,
        Category.BACKOFF,
        Category.SERVER_AWAY,
        Category.QUEUE_OWNER,
        Category.QUEUE_WORKERS,
        Category.WAITING_FOR_TASK,
        Category.CREDENTIAL,
        Category.PAUSED,
        Category.OWNER_SUSPENDED,
    }
)
"""What is counted while nobody tells of the task: by two times of the database's clock, which may
have been set in between."""

CLOCK_SET_S: Final = 10.0
"""By so much the database's clock and a worker's differ only if one was set: a worker tells as
often, and may begin a while after it was given the task."""

DETAILS_KEPT: Final = 4
"""Of a category: who paused it, say. Those with less time count as others: rows are bounded."""

Entry = tuple[Category, str]
"""A category, and what of it: an end (`source`, `destination`), a name, a task, or nothing."""

Spent = dict[Category, dict[str, float]]
"""Seconds by category and detail."""


class Standing(NamedTuple):
    """How a task stands from a moment on."""

    at: float
    status: str
    paused: bool
    suspended: bool
    epoch: int | None
    """Of the lease that a worker has; None: nobody has one."""
    waits_for: int | None
    """The number of a task."""
    not_before: float


class Away(NamedTuple):
    """A server did not answer; `role` says at which end it is."""

    since: float
    until: float
    role: str


class Holder(NamedTuple):
    """A task that another waited for: `name` what its owner may know; `ended` inf: it has not."""

    name: str
    ended: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What belongs to a task's standings."""

    away: Sequence[Away] = ()
    holders: Mapping[int, Holder] = field(default_factory=dict)
    queue: Category = Category.QUEUE_WORKERS
    """Why it waited for its turn."""
    paused_by: str = ""
    backs_off_for: str = ""
    """The end at which the last fault was."""


def add(spent: Spent, entry: Entry, seconds: float) -> None:
    """Count seconds; less than none are none."""
    if seconds <= 0:
        return
    category, detail = entry
    details = spent.setdefault(category, {})
    details[detail] = details.get(detail, 0.0) + seconds
    named = [one for one in details if one]
    if len(named) > DETAILS_KEPT:
        least = min(named, key=details.__getitem__)
        details[""] = details.get("", 0.0) + details.pop(least)


def total(spent: Spent) -> float:
    """All of it."""
    return sum(sum(details.values()) for details in spent.values())


def share_out(spent: Spent, seconds: float, weights: Mapping[Entry, float]) -> None:
    """Count seconds in these proportions; without any they are the service's own."""
    whole = sum(weights.values())
    if whole <= 0:
        add(spent, (Category.SERVICE, ""), seconds)
        return
    for entry, weight in weights.items():
        add(spent, entry, seconds * weight / whole)


def account(
    spent: Spent, standings: Sequence[Standing], facts: Facts, *, since: float, until: float
) -> None:
    """Count the time from `since` to `until` by how the task stood; `standings` in their order: the
    first is how it stood at `since`.

    What is under a lease here is what nobody has told of: a worker that was lost had it, until
    somebody took over.
    """
    # not by the time of the first: the clock may have been set back since it was noted
    begins = [since, *(one.at for one in standings[1:])]
    ends = [*begins[1:], until]
    for standing, begin, end in zip(standings, begins, ends, strict=True):
        for entry, seconds in _stretch(standing, facts, begin, min(end, until)):
            add(spent, entry, seconds)


def _stretch(
    standing: Standing, facts: Facts, begin: float, end: float
) -> Iterable[tuple[Entry, float]]:
    """What one stretch, in which nothing changed, was spent on."""
    if end <= begin:
        return
    if standing.epoch is not None:
        yield (Category.RECOVERY, ""), end - begin
    elif standing.paused:
        yield (Category.PAUSED, facts.paused_by), end - begin
    elif standing.suspended:
        yield (Category.OWNER_SUSPENDED, ""), end - begin
    elif standing.status == "INACTIVE":
        yield (Category.CREDENTIAL, facts.backs_off_for), end - begin
    else:
        if standing.waits_for is not None:
            holder = facts.holders.get(standing.waits_for)
            ended = min(max(holder.ended, begin), end) if holder is not None else begin
            if holder is not None:
                yield (Category.WAITING_FOR_TASK, holder.name), ended - begin
            begin = ended
        yield from _until_its_turn(standing, facts, begin, end)


def _until_its_turn(
    standing: Standing, facts: Facts, begin: float, end: float
) -> Iterable[tuple[Entry, float]]:
    """While a server did not answer it waits for that; else for its back-off, and then its turn."""
    cuts = {begin, end}
    for moment in (standing.not_before, *(m for away in facts.away for m in away[:2])):
        if begin < moment < end:
            cuts.add(moment)
    for first, after in pairwise(sorted(cuts)):
        away = next((a for a in facts.away if a.since <= first and after <= a.until), None)
        if away is not None:
            yield (Category.SERVER_AWAY, away.role), after - first
        elif after <= standing.not_before:
            yield (Category.BACKOFF, facts.backs_off_for), after - first
        else:
            yield (facts.queue, ""), after - first


def load(stored: Mapping[str, Mapping[str, float]]) -> Spent:
    """From JSON."""
    return {Category(category): dict(details) for category, details in stored.items()}


def dump(spent: Spent) -> dict[str, Any]:
    """For JSON; a millisecond is as fine as anybody looks."""
    return {
        category: {detail: round(seconds, 3) for detail, seconds in details.items()}
        for category, details in spent.items()
    }


def settle(
    spent: Spent,
    standings: Sequence[Standing],
    facts: Facts,
    *,
    since: float,
    now: float,
    epoch: int | None,
    weights: Mapping[Entry, float],
    measured_s: float | None = None,
) -> None:
    """Count all until now. `weights`: what is told of the time under the lease `epoch`, if that is
    the last there was; None: nobody tells of any. `measured_s`: how long that was by the clock of
    who tells it, which is never set; None: that is not known."""
    leased = None
    if epoch is not None:
        leased = next((n for n, one in enumerate(standings) if one.epoch == epoch), None)
    if leased is None:
        account(spent, standings, facts, since=since, until=now)
        return
    begin = since
    if leased:
        begin = standings[leased].at
        account(spent, standings[:leased], facts, since=since, until=min(begin, now))
    seconds = now - begin
    if measured_s is not None and abs(seconds - measured_s) > CLOCK_SET_S:
        seconds = measured_s
    share_out(spent, seconds, weights)


def whole(spent: Spent, wall_s: float) -> Spent:
    """The same, so that it adds up to `wall_s`: what is missing is unexplained. What is too much,
    because a clock was set, is taken from what was only noted, and if that is not enough from all
    alike."""
    wall_s = max(wall_s, 0.0)
    noted: Spent = {category: details for category, details in spent.items() if category in NOTED}
    excess = total(spent) - wall_s
    if excess > 0:
        cut = noted if total(noted) >= excess else spent
        part = 1 - excess / total(cut)
        return {
            c: {d: s * part if c in cut else s for d, s in details.items()}
            for c, details in spent.items()
        }
    filled = {category: dict(details) for category, details in spent.items()}
    add(filled, (Category.UNEXPLAINED, ""), -excess)
    return filled
