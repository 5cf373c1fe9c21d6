"""Where the time of a task went, told: numbers that add up, and one sentence. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from towpath.transfer import accounting
from towpath.transfer.accounting import Category, Entry, Spent


class Sure(StrEnum):
    """How sure it is that the time went there."""

    MEASURED = "measured"  # it was noted when it began and ended, or seen while it lasted
    LIKELY = "likely"  # one end had not answered what the other had
    GUESS = "guess"  # by how fast other tasks were at the same ends
    UNKNOWN = "unknown"


_SURE: Final = {
    Category.SOURCE: Sure.LIKELY,
    Category.DESTINATION: Sure.LIKELY,
    Category.NETWORK: Sure.GUESS,
    Category.MOVING: Sure.UNKNOWN,
    Category.UNEXPLAINED: Sure.UNKNOWN,
}

MUCH_FASTER: Final = 2.0
"""An end that was so much faster with another peer is not the bound."""
AS_FAST: Final = 1.25
"""One that was hardly faster with any other may be."""

CLAUSES: Final = 4
"""More of them nobody reads."""
ENOUGH: Final = 0.9
"""When so much is told the rest can be looked up."""


class Part(NamedTuple):
    """Of the time: what it went to. `detail`: an end, who paused it, a task, or nothing."""

    category: Category
    detail: str
    ms: int


@dataclass(frozen=True, slots=True)
class Share:
    """A category with all its details, the longest first."""

    category: Category
    ms: int
    sure: Sure
    details: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bytes a second while data moved: of this task, and the fastest that its owner's others were
    from the same source to elsewhere, and from elsewhere to the same destination. None: not known.
    """

    own: float | None = None
    from_source: float | None = None
    to_destination: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where it went. `shares` have `wall_ms` together, the longest first."""

    wall_ms: int
    shares: Sequence[Share]
    sentence: str

    @property
    def unexplained(self) -> float:
        """Of 1."""
        known_not = sum(one.ms for one in self.shares if one.category is Category.UNEXPLAINED)
        return known_not / self.wall_ms if self.wall_ms else 0.0


def explain(
    spent: Spent,
    wall_s: float,
    *,
    names: Mapping[str, str],
    beginning: str,
    speeds: Speeds | None = None,
) -> Explanation:
    """Tell of what was counted. `names`: of both ends, by `source` and `destination`. `beginning`:
    of the sentence, as far as the duration."""
    wall_ms = max(round(wall_s * 1000), 0)
    parts = in_ms(accounting.whole(spent, wall_s), wall_ms)
    guessed = guess(speeds or Speeds())
    shares: dict[Category, list[Part]] = {}
    for part in parts:
        category = part.category
        if category is Category.MOVING and guessed is not None:
            category = guessed
        shares.setdefault(category, []).append(part)
    found = [_share(category, of_it) for category, of_it in shares.items()]
    found.sort(key=lambda share: -share.ms)
    return Explanation(wall_ms, found, _sentence(beginning, wall_ms, found, names))


def _share(category: Category, parts: list[Part]) -> Share:
    ms = sum(part.ms for part in parts)
    sure = _SURE.get(category, Sure.MEASURED)
    if 2 * sum(part.ms for part in parts if part.category is not category) > ms:
        sure = Sure.GUESS
    by_detail: dict[str, int] = {}
    for part in parts:
        by_detail[part.detail] = by_detail.get(part.detail, 0) + part.ms
    details = [Part(category, detail, of_it) for detail, of_it in by_detail.items()]
    return Share(category, ms, sure, sorted(details, key=lambda part: -part.ms))


def in_ms(spent: Spent, wall_ms: int) -> list[Part]:
    """Whole milliseconds that have `wall_ms` together; `spent` has about that."""
    exact: dict[Entry, float] = {
        (category, detail): seconds * 1000
        for category, details in spent.items()
        for detail, seconds in details.items()
    }
    found = {entry: int(ms) for entry, ms in exact.items()}
    missing = wall_ms - sum(found.values())
    if not found:
        return [Part(Category.UNEXPLAINED, "", wall_ms)] if wall_ms else []
    if missing > 0:
        each, rest = divmod(missing, len(found))
        order = sorted(found, key=lambda entry: found[entry] - exact[entry])
        for number, entry in enumerate(order):
            found[entry] += each + (number < rest)
    while missing < 0:  # rounded up
        entry = max(found, key=found.__getitem__)
        taken = min(found[entry], -missing)
        found[entry] -= taken
        missing += taken
    return [Part(*entry, ms) for entry, ms in found.items() if ms]


def guess(speeds: Speeds) -> Category | None:
    """Which part of the way was the bound, by how fast its ends were with others; None: it does not
    show."""
    own, here, there = speeds.own, speeds.from_source, speeds.to_destination
    if not own or here is None or there is None:
        return None
    if here >= MUCH_FASTER * own and there >= MUCH_FASTER * own:
        return Category.NETWORK
    if here <= AS_FAST * own and there >= MUCH_FASTER * own:
        return Category.SOURCE
    if there <= AS_FAST * own and here >= MUCH_FASTER * own:
        return Category.DESTINATION
    return None


_CLAUSES: Final[Mapping[Category, str]] = {
    Category.SOURCE: "{source} read as fast as it could",
    Category.NETWORK: "data moved, most likely as fast as the network between the two allows",
    Category.DESTINATION: "{destination} wrote as fast as it could",
    Category.MOVING: "data moved",
    Category.CHECKSUM: "checksums were computed{at}",
    Category.LISTING: "directories were listed and made{at}",
    Category.DELETING: "files were deleted",
    Category.LOGIN: "it logged in to the servers",
    Category.RETRY: "all that was left had failed, and waited to be tried again",
    Category.SERVICE: "the service was busy with itself",
    Category.ENDING: "it came to its end",
    Category.RECOVERY: "it recovered from the loss of a worker or a session",
    Category.BACKOFF: "it waited to try again after a fault{at}",
    Category.SERVER_AWAY: "it waited for {server}, which did not answer",
    Category.QUEUE_OWNER: "it waited for its turn behind other tasks of its owner",
    Category.QUEUE_WORKERS: "it waited for a free place",
    Category.WAITING_FOR_TASK: "it waited for another task at its destination",
    Category.CREDENTIAL: "it waited for a renewed credential{of}",
    Category.PAUSED: "it was paused{by}",
    Category.OWNER_SUSPENDED: "the account of its owner was suspended",
    Category.UNEXPLAINED: "nobody knows what it did",
}

_FRACTIONS: Final = (
    (1 / 4, "a quarter of it"),
    (1 / 3, "a third of it"),
    (1 / 2, "half of it"),
    (2 / 3, "two thirds of it"),
    (3 / 4, "three quarters of it"),
)
_NEAR: Final = 0.04
_NEARLY_ALL: Final = 0.93


def _sentence(
    beginning: str, wall_ms: int, shares: Sequence[Share], names: Mapping[str, str]
) -> str:
    clauses: list[str] = []
    told = 0
    for share in shares:
        if len(clauses) >= CLAUSES or told >= ENOUGH * wall_ms:
            break
        amount = duration(share.ms) if clauses else _amount(share.ms / wall_ms, share.ms)
        clauses.append(f"{amount} {_clause(share, names)}")
        told += share.ms
    whole = f"{beginning} {duration(wall_ms)}"
    return f"{whole}: {'; '.join(clauses)}." if clauses else f"{whole}."


def _clause(share: Share, names: Mapping[str, str]) -> str:
    longest = share.details[0]
    detail = longest.detail if 2 * longest.ms > share.ms else ""
    server = names.get(detail, "")
    return _CLAUSES[share.category].format(
        source=names.get("source", "the source"),
        destination=names.get("destination", "the destination"),
        server=server or "a server",
        at=f" at {server}" if server else "",
        of=f" for {server}" if server else "",
        by=f" by {detail}" if detail else "",
    )


def _amount(share: float, ms: int) -> str:
    if share >= _NEARLY_ALL:
        return "nearly all of it"
    value, words = min(_FRACTIONS, key=lambda one: abs(one[0] - share))
    return words if abs(value - share) <= _NEAR else duration(ms)


def duration(ms: int) -> str:
    """As people say it: two units at most."""
    seconds = ms / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    for unit_s, unit, below_s, below in (
        (86_400, "days", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= 2 * unit_s or (seconds >= unit_s and unit != "days"):
            whole, rest = divmod(round(seconds / below_s), unit_s // below_s)
            return f"{whole} {unit} {rest} {below}" if rest else f"{whole} {unit}"
    return f"{seconds} s"
