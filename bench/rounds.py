"""Contests: ours and a peer move the same files in turn, and every result is checked."""

import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import BenchError, Sample
from towpath.demo.trees import digests

Mover = Callable[[Path], Sample]
"""Moves the contest's files into an empty directory, measured."""


@dataclass(frozen=True)
class Contest:
    """The same work for two."""

    name: str
    ours: Mover
    peer: Mover
    expected: Mapping[str, str]
    """SHA-256 by path of what must be in the destination afterwards."""
    size_bytes: int


@dataclass
class Result:
    """The samples of a contest, round by round."""

    name: str
    ours: list[Sample] = field(default_factory=list)
    peer: list[Sample] = field(default_factory=list)

    def ratio(self, part: Callable[[Sample], float]) -> float:
        """The median over the rounds of peer divided by ours; above 1, ours needs less."""
        return statistics.median(
            part(peer) / part(ours) for ours, peer in zip(self.ours, self.peer, strict=True)
        )


Told = Callable[[str], None]
"""Is told a line after each round."""


def hold(contest: Contest, work: Path, rounds: int, *, warm_up: bool, tell: Told) -> Result:
    """Hold the contest: ours, peer, ours, peer, ... Raises `BenchError` if a result is wrong.

    The warm-up is a round that does not count: programs and files come into the caches, memory
    is touched for the first time, a service logs in. Contents are compared in the warm-up and
    the first round that counts, number and sizes of files in each.
    """
    result = Result(contest.name)
    for number in range(0 if warm_up else 1, rounds + 1):
        ours, peer = (
            _move(contest, side, mover, work / "destination", compare=number <= 1)
            for side, mover in (("ours", contest.ours), ("peer", contest.peer))
        )
        tell(
            f"{contest.name} {f'{number}/{rounds}' if number else 'warm-up'}: "
            f"{ours.wall_s:.2f} s, peer {peer.wall_s:.2f} s: {peer.wall_s / ours.wall_s:.2f}"
        )
        if number:
            result.ours.append(ours)
            result.peer.append(peer)
    return result


def _move(contest: Contest, side: str, mover: Mover, to: Path, *, compare: bool) -> Sample:
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    sample = mover(to)
    _check(f"{contest.name}, {side}", contest, to, compare=compare)
    shutil.rmtree(to)
    return sample


def _check(who: str, contest: Contest, to: Path, *, compare: bool) -> None:
    files = [path for path in to.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    if (len(files), size) != (len(contest.expected), contest.size_bytes):
        raise BenchError(
            f"{who}: {len(files)} files, {size} bytes arrived"
            f" of {len(contest.expected)} files, {contest.size_bytes} bytes"
        )
    if compare and digests(to) != contest.expected:
        raise BenchError(f"{who}: what arrived differs from what was sent")
