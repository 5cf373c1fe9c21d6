"""Which faults come, in which order: drawn from the seed alone."""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import NamedTuple

from campaign.makers import MAKERS


class Planned(NamedTuple):
    """One fault to be. `random` decides everything else about it."""

    number: int
    kind: str
    random: Random


def faults(seed: int, kinds: frozenset[str]) -> Iterator[Planned]:
    """Endless: the campaign takes from it until enough have hit something.

    They come in rounds, each kind in each as often as its weight says: no kind is rare by chance.
    """
    random = Random(f"{seed}:faults")
    due = {name: random.random() for name in MAKERS if name in kinds}
    numbers = count()
    while True:
        for name in due:
            due[name] += MAKERS[name].weight
        round_ = [name for name in due for _ in range(int(due[name]))]
        random.shuffle(round_)
        for name in round_:
            due[name] -= 1
            number = next(numbers)
            yield Planned(number, name, Random(f"{seed}:{number}:fault"))
