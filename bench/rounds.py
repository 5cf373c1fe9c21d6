"""Contests: several sides do the same work in turn, and every result is checked."""

import math
import shutil
import statistics
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from bench.measure import BenchError, Sample

P = TypeVar("P")

Mover = Callable[[Path], Sample]
"""Does the contest's work into an empty directory, measured."""

Check = Callable[[Path, bool], None]
"""Looks at what is in the directory then, closely if asked to; raises `BenchError`."""


WALL_S: Callable[[Sample], float] = attrgetter("wall_s")


@dataclass(frozen=True)
class Ratio:
    """What is told of a contest: one of our sides against one or more ways to use a peer."""

    key: str
    ours: str
    peers: tuple[str, ...]
    """In each round the one that was fastest then counts."""
    part: Callable[[Sample], float] = WALL_S
    """What is compared."""


@dataclass(frozen=True)
class Contest:
    """The same work for all sides."""

    name: str
    sides: Mapping[str, Mover]
    ratios: tuple[Ratio, ...]
    check: Check


class Room(NamedTuple):
    """What a place has to itself, and what the user asked for."""

    trees: Path
    """For what is moved; other places of the area find it there."""
    state: Path
    """For a database: on a disk."""
    quick: bool
    profiles: Path | None
    """Where profiles of the library go."""


@dataclass(frozen=True)
class Plan(Generic[P]):
    """A contest that can be held at a place `P`."""

    name: str
    round_s: float
    """What a round of full size takes on two cores, to say how long it will be."""
    make: Callable[[P], Contest]
    """Makes what is to be moved, too."""


@dataclass(frozen=True)
class Place(Generic[P]):
    """Servers and what else several contests need; opened if one of them is held."""

    open: Callable[[Room], AbstractContextManager[P]]
    plans: tuple[Plan[P], ...]


@dataclass
class Result:
    """The samples of a contest, side by side, round by round."""

    contest: Contest
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def ratio(self, ratio: Ratio, part: Callable[[Sample], float]) -> float:
        """The median over the rounds of peer divided by ours; above 1, ours needs less."""
        ours = self.samples[ratio.ours]
        rounds = zip(*(self.samples[peer] for peer in ratio.peers), strict=True)
        best = [min(peers, key=lambda sample: sample.wall_s) for peers in rounds]
        return statistics.median(
            part(peer) / part(sample) if part(sample) else math.inf
            for sample, peer in zip(ours, best, strict=True)
        )


Told = Callable[[str], None]
"""Is told a line after each round."""


def hold(contest: Contest, work: Path, rounds: int, *, warm_up: bool, tell: Told) -> Result:
    """Hold the contest: A, B, C, A, B, C, ... Raises `BenchError` if a result is wrong.

    The warm-up is a round that does not count: programs and files come into the caches, memory
    is touched for the first time, a service logs in. Results are looked at closely in the warm-up
    and the first round that counts.
    """
    result = Result(contest, {side: [] for side in contest.sides})
    for number in range(0 if warm_up else 1, rounds + 1):
        walls = []
        for side, mover in contest.sides.items():
            sample = _move(contest, side, mover, work / "destination", closely=number <= 1)
            walls.append(f"{side} {sample.wall_s:.2f} s")
            if number:
                result.samples[side].append(sample)
        tell(f"{contest.name} {f'{number}/{rounds}' if number else 'warm-up'}: {', '.join(walls)}")
    return result


def _move(contest: Contest, side: str, mover: Mover, to: Path, *, closely: bool) -> Sample:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    sample = mover(to)
    try:
        contest.check(to, closely)
    except BenchError as error:
        raise BenchError(f"{contest.name}, {side}: {error}") from None
    shutil.rmtree(to)
    return sample
