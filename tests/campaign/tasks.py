"""What is asked for: tasks drawn from the seed. The same seed and number are the same task."""

import hashlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from campaign.ground import ACCOUNT, HONEST, PLACES
from towpath.demo.trees import TreeFile, content, make_tree

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024
LARGE_FILE_BYTES = 80 * MEBIBYTE
"""So much goes in ranges."""
DAY_S = 86_400
ALGORITHMS = ("MD5", "SHA1", "SHA256", "SHA512")
TREE = "tree"
"""What is copied as a tree, at both ends; single files are beside it."""


class There(StrEnum):
    """How a file that is at the destination before compares with the source's."""

    SAME = "same"  # in all, and it is newer
    OTHER = "other"  # as long, older, with other contents
    SHORTER = "shorter"  # and older


SKIPPED_AT: Mapping[There, frozenset[int]] = {
    There.SAME: frozenset({0, 1, 2, 3}),
    There.OTHER: frozenset({0, 1}),
    There.SHORTER: frozenset({0}),
}
"""The sync levels at which such a file is left as it is."""


class Intervention(NamedTuple):
    """What its owner does when so many files have arrived."""

    what: str
    after_files: int


class Single(NamedTuple):
    """An item that is one file. `external`: with the digest that it must have."""

    path: str
    size: int
    external: bool


@dataclass(frozen=True)
class TransferPlan:
    """One transfer: what there is to copy, and how. Paths are below `TREE`."""

    number: int
    seed: int
    source: str
    destination: str
    files: tuple[TreeFile, ...]
    singles: tuple[Single, ...]
    links: tuple[tuple[str, str], ...]
    """Symbolic links, each with the path that it points to."""
    there: tuple[tuple[str, There], ...]
    """What is at the destination before."""
    extras: tuple[str, ...]
    """The same, of paths that the source does not have."""
    options: Mapping[str, Any]
    algorithm: str | None
    intervention: Intervention | None

    route = "transfer"

    @property
    def places(self) -> tuple[str, str]:
        """The servers that it uses."""
        return self.source, self.destination

    def takes_part(self, path: str) -> bool:
        """Whether no filter rule leaves a path of the tree out."""
        *directories, name = path.split("/")
        for rule in self.options.get("filter_rules", ()):
            names = [name] if rule["type"] == "file" else directories
            if any(fnmatchcase(one, rule["name"]) for one in names):
                return False
        return True

    @property
    def arrivals(self) -> dict[str, str]:
        """What should be at the destination in the end: path there to path at the source."""
        found = {f"{TREE}/{f.path}": f"{TREE}/{f.path}" for f in self.files}
        if self.options["recursive_symlinks"] == "copy":
            found |= {f"{TREE}/{link}": f"{TREE}/{target}" for link, target in self.links}
        found = {
            there: here
            for there, here in found.items()
            if self.takes_part(there.removeprefix(f"{TREE}/"))
        }
        return found | {single.path: single.path for single in self.singles}

    def make(self, source: Path, destination: Path) -> None:
        """Write what there is before: the source, and a place that the servers may write to."""
        (source / TREE).mkdir(parents=True)
        make_tree(source / TREE, self.files, self.seed)
        make_tree(source, (TreeFile(s.path, s.size) for s in self.singles), self.seed)
        for link, target in self.links:
            (source / TREE / link).symlink_to(source / TREE / target)
        sizes = dict(self.files)
        for path, how in self.there:
            size = sizes[path] // 2 if how is There.SHORTER else sizes[path]
            seed = self.seed if how is There.SAME else self.seed + 1
            make_tree(destination / TREE, [TreeFile(path, size)], seed)
            at = time.time() + (DAY_S if how is There.SAME else -DAY_S)
            os.utime(destination / TREE / path, (at, at))
        make_tree(destination / TREE, (TreeFile(path, 100) for path in self.extras), self.seed)
        give_to_servers(destination)

    def document(
        self, source: Path, destination: Path, endpoints: Mapping[str, str]
    ) -> dict[str, Any]:
        """What asks for it."""
        items = [_item(source / TREE, destination / TREE, recursive=True)]
        for single in self.singles:
            item = _item(source / single.path, destination / single.path, recursive=False)
            if single.external:
                item["external_checksum"] = _digest(single, self.seed, self.algorithm or "MD5")
            items.append(item)
        if self.algorithm is not None:
            items = [{**item, "checksum_algorithm": self.algorithm} for item in items]
        return {
            "DATA_TYPE": "transfer",
            "submission_id": str(submission_id(self.seed, self.number)),
            "label": f"task {self.number}",
            "source_endpoint": endpoints[self.source],
            "destination_endpoint": endpoints[self.destination],
            "DATA": items,
            **self.options,
        }


@dataclass(frozen=True)
class DeletePlan:
    """One delete: of directories, or of what a pattern matches in one."""

    number: int
    seed: int
    source: str
    files: tuple[TreeFile, ...]
    pattern: str | None
    directories: tuple[str, ...]
    intervention: Intervention | None = None

    route = "delete"

    @property
    def places(self) -> tuple[str, str]:
        """The server that it uses."""
        return self.source, self.source

    def goes(self, path: str) -> bool:
        """Whether a file should be gone in the end."""
        directory, _, name = path.rpartition("/")
        if self.pattern is not None:
            return directory == self.directories[0] and fnmatchcase(name, self.pattern)
        return directory in self.directories

    def make(self, source: Path, destination: Path) -> None:
        """Write what there is before."""
        source.mkdir(parents=True)
        make_tree(destination, self.files, self.seed)
        for directory in self.directories:
            (destination / directory).mkdir(exist_ok=True)
        give_to_servers(destination)

    def document(
        self, _source: Path, destination: Path, endpoints: Mapping[str, str]
    ) -> dict[str, Any]:
        """What asks for it."""
        paths = [destination / directory for directory in self.directories]
        if self.pattern is not None:
            paths = [paths[0] / self.pattern]
        return {
            "DATA_TYPE": "delete",
            "submission_id": str(submission_id(self.seed, self.number)),
            "label": f"task {self.number}",
            "endpoint": endpoints[self.source],
            "recursive": True,
            "ignore_missing": True,
            "interpret_globs": self.pattern is not None,
            "DATA": [{"DATA_TYPE": "delete_item", "path": os.fspath(path)} for path in paths],
        }


Plan = TransferPlan | DeletePlan


def submission_id(seed: int, number: int) -> UUID:
    """Names the request, however often it is sent."""
    return UUID(int=Random(f"{seed}:{number}:submission").getrandbits(128), version=4)


def draw(seed: int, number: int) -> Plan:
    """The task of this number."""
    random = Random(f"{seed}:{number}:task")
    return (
        _delete(random, seed, number) if random.random() < 0.1 else _transfer(random, seed, number)
    )


def _transfer(random: Random, seed: int, number: int) -> TransferPlan:
    source, destination = random.sample(PLACES, 2)
    files = _files(random)
    sizes = dict(files)
    paths = list(sizes)
    mirrors = random.random() < 0.15
    external = random.random() < 0.3
    options: dict[str, Any] = {
        # what is damaged on the way is noticed only by those who look
        "verify_checksum": destination != HONEST or random.random() < 0.5,
        "preserve_timestamp": random.random() < 0.3,
        "encrypt_data": random.random() < 0.15,
        "skip_source_errors": random.random() < 0.3,
        "recursive_symlinks": random.choice(("ignore", "keep", "copy")),
        "delete_destination_extra": mirrors,
    }
    if random.random() < 0.3:
        options["sync_level"] = random.randrange(4)
    if random.random() < 0.2:
        options["filter_rules"] = [random.choice(_RULES)]
    some = [path for path in paths if random.random() < 0.2] if random.random() < 0.5 else []
    return TransferPlan(
        number,
        seed,
        source,
        destination,
        files,
        tuple(
            Single(f"single{n}", random.randrange(MEBIBYTE), external)
            for n in range(random.choice((0, 0, 1, 3)))
        ),
        tuple((f"link{n}", random.choice(paths)) for n in range(random.choice((0, 0, 2)))),
        tuple((path, _before(random, sizes[path])) for path in some if path != LARGE),
        tuple(f"extra{n}/file" for n in range(random.choice((0, 2)))),
        options,
        random.choice((None, None, *ALGORITHMS)),
        _intervention(random),
    )


def _before(random: Random, size: int) -> There:
    """What is at a file's destination before. Nothing is shorter than an empty file, or another."""
    how = random.choice(list(There))
    return how if size else There.SAME


LARGE = "large"
_RULES = (
    {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "f*1", "type": "file"},
    {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "d1", "type": "dir"},
)


def _delete(random: Random, seed: int, number: int) -> DeletePlan:
    files = _files(random)
    directories = sorted({f.path.rpartition("/")[0] for f in files} - {""}) or ["d0"]
    pattern = random.choice((None, "f*", "*2", "f00[0-4]"))
    return DeletePlan(
        number,
        seed,
        random.choice(PLACES),
        tuple(file for file in files if file.path != LARGE),
        pattern,
        tuple(directories[:1] if pattern else directories[: random.randint(1, 4)]),
    )


def _intervention(random: Random) -> Intervention | None:
    if random.random() < 0.8:
        return None
    return Intervention(random.choice(("cancel", "pause")), random.randint(0, 30))


def _files(random: Random) -> tuple[TreeFile, ...]:
    """Mostly small ones; now and then a large one among them."""
    files = []
    for directory in range(random.randint(1, 6)):
        for file in range(random.randint(0, 40)):
            size = int(random.choice((0, 1, 2, 16, 64, 256, 1024)) * KIBIBYTE * random.random())
            files.append(TreeFile(f"d{directory}/f{file:03}", size))
    if random.random() < 0.08:
        files.append(TreeFile(LARGE, LARGE_FILE_BYTES + random.randrange(16 * MEBIBYTE)))
    return (*files, TreeFile("first", random.randrange(MEBIBYTE)))


def _item(source: Path, destination: Path, *, recursive: bool) -> dict[str, Any]:
    return {
        "DATA_TYPE": "transfer_item",
        "source_path": os.fspath(source),
        "destination_path": os.fspath(destination),
        "recursive": recursive,
    }


def _digest(single: Single, seed: int, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    for chunk in content(single.path, single.size, seed):
        digest.update(chunk)
    return digest.hexdigest()


def give_to_servers(root: Path) -> None:
    """The account that the servers run as owns what is below."""
    root.mkdir(parents=True, exist_ok=True)
    for directory, _, names in os.walk(root):
        for name in (".", *names):
            shutil.chown(Path(directory, name), ACCOUNT)


@dataclass(frozen=True)
class Trees:
    """Where a task's files are."""

    source: Path
    destination: Path

    @classmethod
    def of(cls, plan: Plan, outgoing: Path, incoming: Path) -> "Trees":
        """In the storages of its servers."""
        name = f"{plan.number:05}"
        return cls(outgoing / name / "source", incoming / name / "destination")

    def remove(self) -> None:
        """When nobody needs them any more."""
        for tree in (self.source, self.destination):
            shutil.rmtree(tree.parent)

    def keep(self, place: Path) -> None:
        """Storages end with the campaign: what is to be looked at later goes here."""
        for tree in (self.source, self.destination):
            shutil.copytree(tree, place / tree.parent.name / tree.name, symlinks=True)
