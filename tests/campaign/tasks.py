"""What is asked for: tasks drawn from the seed. The same seed and number are the same task."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from campaign.ground import HONEST, PLACES
from towpath.demo.trees import TreeFile, make_tree

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024
LARGE_FILE_BYTES = 80 * MEBIBYTE
"""So much goes in ranges."""


@dataclass(frozen=True)
class TaskPlan:
    """One transfer: what there is to copy, and how."""

    number: int
    seed: int
    source: str
    destination: str
    files: tuple[TreeFile, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def submission_id(self) -> UUID:
        """Names the request, however often it is sent."""
        return UUID(int=Random(f"{self.seed}:{self.number}:submission").getrandbits(128), version=4)

    @property
    def verifies(self) -> bool:
        """Whether the service compares what arrived."""
        return bool(self.options["verify_checksum"])


def draw(seed: int, number: int) -> TaskPlan:
    """The task of this number."""
    random = Random(f"{seed}:{number}:task")
    source, destination = random.sample(PLACES, 2)
    verify = destination != HONEST or random.random() < 0.5
    options = {
        "verify_checksum": verify,
        "preserve_timestamp": random.random() < 0.3,
        "encrypt_data": random.random() < 0.15,
    }
    return TaskPlan(number, seed, source, destination, _files(random), options)


def _files(random: Random) -> tuple[TreeFile, ...]:
    """Mostly small ones; now and then a large one among them."""
    files = []
    for directory in range(random.randint(1, 6)):
        for file in range(random.randint(0, 40)):
            size = int(random.choice((0, 1, 2, 16, 64, 256, 1024)) * KIBIBYTE * random.random())
            files.append(TreeFile(f"d{directory}/f{file:03}", size))
    if random.random() < 0.08:
        files.append(TreeFile("large", LARGE_FILE_BYTES + random.randrange(16 * MEBIBYTE)))
    return (*files, TreeFile("first", random.randrange(MEBIBYTE)))


@dataclass(frozen=True)
class Trees:
    """Where a task's files are."""

    source: Path
    destination: Path

    @classmethod
    def of(cls, plan: TaskPlan, source: Path, destination: Path) -> "Trees":
        """In the storages of the two servers."""
        name = f"{plan.number:05}"
        return cls(source / name / "source", destination / name / "destination")

    def make(self, plan: TaskPlan) -> None:
        """Write the source, and a place that the servers' account may write to."""
        self.source.mkdir(parents=True)
        make_tree(self.source, plan.files, plan.seed)
        self.destination.mkdir(parents=True)
        self.destination.chmod(0o777)

    def remove(self) -> None:
        """When nobody needs them any more."""
        for tree in (self.source, self.destination):
            shutil.rmtree(tree.parent)

    def keep(self, place: Path) -> None:
        """Storages end with the campaign: what is to be looked at later goes here."""
        for tree in (self.source, self.destination):
            shutil.copytree(tree, place / tree.parent.name / tree.name, symlinks=True)


def submission(plan: TaskPlan, trees: Trees, endpoints: Mapping[str, str]) -> dict[str, Any]:
    """The document that asks for it."""
    item = {
        "DATA_TYPE": "transfer_item",
        "source_path": os.fspath(trees.source),
        "destination_path": os.fspath(trees.destination),
        "recursive": True,
    }
    return {
        "DATA_TYPE": "transfer",
        "submission_id": str(plan.submission_id),
        "label": f"task {plan.number}",
        "source_endpoint": endpoints[plan.source],
        "destination_endpoint": endpoints[plan.destination],
        "DATA": [item],
        **plan.options,
    }
