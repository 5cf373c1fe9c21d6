"""What contests need: trees to move, servers of one authority, and ways to run both sides."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from bench.measure import RUN_TIMEOUT_S, Action, BenchError, Ran, Sample, measure, run_command
from bench.rounds import Mover
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.servers import HERE, Host, Server
from towpath.demo.trees import TreeFile, digests, expected_digests, make_tree

SEED = 2026


@dataclass(frozen=True)
class Tree:
    """A tree to be moved; made when it is asked for, and only once in a directory."""

    root: Path
    files: Sequence[TreeFile]

    @classmethod
    def make(cls, root: Path, files: Sequence[TreeFile]) -> "Tree":
        """Write it, unless it is there."""
        if not root.exists():
            make_tree(root, files, SEED)
        return cls(root, files)

    @cached_property
    def expected(self) -> Mapping[str, str]:
        """SHA-256 by path."""
        return expected_digests(self.files, SEED)

    @cached_property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)

    def check(self, to: Path, closely: bool) -> None:  # noqa: FBT001
        """Raises `BenchError` if it has not arrived: number and sizes; closely, the contents."""
        files = [path for path in to.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        if (len(files), size) != (len(self.files), self.size_bytes):
            raise BenchError(
                f"{len(files)} files, {size} bytes arrived"
                f" of {len(self.files)} files, {self.size_bytes} bytes"
            )
        if closely and digests(to) != self.expected:
            raise BenchError("what arrived differs from what was sent")


def nested(fan: int, files: int, size: int) -> list[TreeFile]:
    """Files of one size in `fan` times `fan` directories below `fan` others."""
    return [
        TreeFile(f"d{number % fan}/e{number // fan % fan}/f{number:06}", size)
        for number in range(files)
    ]


@dataclass
class Site:
    """Two servers of one trust domain: globus-url-copy has one credential for both ends."""

    work: Path
    """Keys and logs; not what is moved."""
    domain: Domain
    client: Host
    source: Server
    destination: Server
    lasting: set[int] = field(default_factory=set)
    """Children of this process that stay between runs: the memory of others' counts for no one."""

    @classmethod
    @contextmanager
    def open(
        cls,
        work: Path,
        *,
        client: Host = HERE,
        source: Host = HERE,
        destination: Host = HERE,
        servers: type[Server] = GctServer,
    ) -> "Iterator[Site]":
        """Start the servers; keys and logs are below `work`."""
        domain = Domain.create(work / "domain", "Bench")
        domain.issue("host", "localhost", hosts=("localhost", source.name, destination.name))
        with (
            servers.start(domain, work / "server-a", host=source) as server_a,
            servers.start(domain, work / "server-b", host=destination) as server_b,
        ):
            pids = {server_a.pid, server_b.pid}
            yield cls(work, domain, client, server_a, server_b, pids)

    @property
    def environment(self) -> dict[str, str]:
        """Of programs that act for the user."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "X509_CERT_DIR": str(self.domain.trust_dir),
            "X509_USER_PROXY": str(self.domain.proxy_file),
        }

    def urls(self, tree: Path, to: Path, end: str) -> tuple[str, str]:
        """Source and destination; `end` is `/` for what is in a directory, `/NAME` for a file."""
        return self.source.url(f"{tree}{end}"), self.destination.url(f"{to}{end}")

    def measure(
        self,
        action: Action,
        *,
        servers: Sequence[int] | None = None,
        mover: int | None = None,
        service: int | None = None,
        sessions_stay: bool = False,
    ) -> Sample:
        """Run and measure; `servers` are the GridFTP servers unless others are named.

        `mover` and `service` are lasting processes that move the files: see `bench.measure`.
        """
        taking_part = {mover, service, *(servers or self.server_pids)}
        return measure(
            action,
            servers=servers or self.server_pids,
            service=service,
            bystanders=self.lasting - taking_part,
            sessions_stay=sessions_stay,
        )

    def command(self, *words: str | Path, servers: Sequence[int] | None = None) -> Sample:
        """Run a program as the user, where the client is, and measure it."""
        command = [*self.client.enter, *words]
        return self.measure(lambda: run_command(command, self.environment), servers=servers)

    @property
    def server_pids(self) -> tuple[int, int]:
        """The listening processes of both servers."""
        return self.source.pid, self.destination.pid

    def guc(self, tree: Tree, end: str, *options: str) -> Mover:
        """globus-url-copy, the client of the Grid Community Toolkit."""
        program = program_path("globus-url-copy")
        return lambda to: self.command(program, *options, *self.urls(tree.root, to, end))


class Library:
    """The running process of `bench.library`."""

    def __init__(self, site: Site, process: "subprocess.Popen[str]") -> None:
        self._site = site
        self._process = process
        site.lasting.add(process.pid)

    @classmethod
    def start(cls, site: Site) -> Self:
        """Start it where the client is. Nothing is loaded before its first job."""
        process = subprocess.Popen(
            [
                *site.client.enter,
                *("setpriv", "--pdeathsig", "KILL"),
                *(sys.executable, "-P", Path(__file__).with_name("library.py")),
            ],
            env=site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return cls(site, process)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def run(self, job: Mapping[str, Any]) -> Ran:
        """Have a job done. Raises `BenchError` with what the library says if it is not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(RUN_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            print(json.dumps(job), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            raise BenchError(f"the library's process ended at {job}")
        took = json.loads(answer)
        if "error" in took:
            raise BenchError(f"the library: {took['error']}")
        return Ran(took["wall_s"], took["cpu_s"])

    def close(self) -> None:
        """End the process."""
        self._site.lasting.discard(self.pid)
        self._process.kill()
        with self._process:
            pass


def program_path(name: str) -> Path:
    """A program of this Python environment or of the machine."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}:{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise BenchError(f"{name} is not installed: run `make deps` as root, then `make setup`")
    return Path(found)
