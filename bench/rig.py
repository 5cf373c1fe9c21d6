"""The place of the contests: one authority, two GridFTP servers, and the trees to move."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError, Sample, measure, run_command
from bench.rounds import Contest, Mover
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, expected_digests, make_tree, uniform

SEED = 2026
STREAMS = 4
"""Data connections for the large file, on both sides of a contest."""


@dataclass(frozen=True)
class Scale:
    """How much is moved."""

    directories: int
    files_per_directory: int
    small_bytes: int
    big_bytes: int


FULL = Scale(directories=10, files_per_directory=100, small_bytes=1024, big_bytes=1024**3)
QUICK = Scale(directories=10, files_per_directory=10, small_bytes=1024, big_bytes=64 * 1024**2)


@dataclass(frozen=True)
class Tree:
    """A tree to be moved."""

    root: Path
    expected: dict[str, str]
    size_bytes: int


@dataclass(frozen=True)
class Site:
    """Two servers of one trust domain: globus-url-copy has one credential for both ends."""

    work: Path
    scale: Scale
    domain: Domain
    source: GctServer
    destination: GctServer

    @classmethod
    @contextmanager
    def open(cls, work: Path, scale: Scale) -> "Iterator[Site]":
        """Start the servers; keys, logs and trees are below `work`."""
        domain = Domain.create(work / "domain", "Bench")
        with (
            GctServer.start(domain, work / "server-a") as source,
            GctServer.start(domain, work / "server-b") as destination,
        ):
            yield cls(work, scale, domain, source, destination)

    def small_tree(self) -> Tree:
        """Many small files in some directories."""
        scale = self.scale
        files = uniform(scale.directories, scale.files_per_directory, scale.small_bytes)
        return self._tree("small", list(files))

    def big_file(self) -> Tree:
        """One large file."""
        return self._tree("big", [TreeFile("file", self.scale.big_bytes)])

    def tiny_file(self) -> Tree:
        """One small file."""
        return self._tree("tiny", [TreeFile("file", self.scale.small_bytes)])

    def _tree(self, name: str, files: list[TreeFile]) -> Tree:
        root = self.work / name
        size_bytes = make_tree(root, files, SEED)
        return Tree(root, expected_digests(files, SEED), size_bytes)

    def contest(self, name: str, tree: Tree, *, ours: Mover, peer: Mover) -> Contest:
        """A contest to move this tree."""
        return Contest(name, ours, peer, tree.expected, tree.size_bytes)

    def command(self, *words: str | Path, bystanders: tuple[int, ...] = ()) -> Sample:
        """Run a program as the user and measure it."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "X509_CERT_DIR": str(self.domain.trust_dir),
            "X509_USER_PROXY": str(self.domain.proxy_file),
        }
        return measure(
            lambda: run_command(words, environment),
            servers=self.server_pids,
            bystanders=bystanders,
        )

    @property
    def server_pids(self) -> tuple[int, int]:
        """The listening processes of both servers."""
        return self.source.pid, self.destination.pid

    # How the peer is called: globus-url-copy, the client of the Grid Community Toolkit.

    def guc_tree(self, tree: Tree, bystanders: tuple[int, ...] = ()) -> Mover:
        """The tree, with guc's fastest options: one mode E channel for all, pipelined commands."""
        return self._guc(tree, "/", "-r", "-cd", "-fast", "-pp", bystanders=bystanders)

    def guc_big(self, tree: Tree, *options: str, bystanders: tuple[int, ...] = ()) -> Mover:
        """The large file."""
        words = ("-fast", "-p", str(STREAMS), *options)
        return self._guc(tree, "/file", *words, bystanders=bystanders)

    def guc_file(self, tree: Tree) -> Mover:
        """One file, as anybody would type it."""
        return self._guc(tree, "/file", bystanders=())

    def _guc(self, tree: Tree, end: str, *options: str, bystanders: tuple[int, ...]) -> Mover:
        program = program_path("globus-url-copy")
        return lambda to: self.command(
            program,
            *options,
            self.source.url(f"{tree.root}{end}"),
            self.destination.url(f"{to}{end}"),
            bystanders=bystanders,
        )


def program_path(name: str) -> Path:
    """A program of this Python environment or of the machine."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}:{os.environ['PATH']}")
    if found is None:
        raise BenchError(f"{name} is not installed: run `make deps` as root, then `make setup`")
    return Path(found)
