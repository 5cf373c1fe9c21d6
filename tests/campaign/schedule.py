"""Which faults come, in which order: drawn from the seed alone."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from campaign.makers import MAKERS


class Planned(NamedTuple):
    """One fault to be. `random` decides everything else about it."""

    number: int
    kind: str
    random: Random


def faults(seed: int, kinds: frozenset[str]) -> Iterator[Planned]:
    """Endless: the campaign takes from it until enough have hit something."""
    random = Random(f"{seed}:faults")
    names = [name for name in MAKERS if name in kinds]
    weights = [MAKERS[name].weight for name in names]
    number = 0
    while True:
        [kind] = random.choices(names, weights)
        yield Planned(number, kind, Random(f"{seed}:{number}:fault"))
        number += 1
