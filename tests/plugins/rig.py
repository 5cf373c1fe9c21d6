"""Fixtures: two servers of two authorities and a whole deployment that uses them."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer

# Tests wait for settlement in seconds, not in tens of them; the order of events stays the same.
QUICK = {
    "TOWPATH_ENGINE__SETTLE_S": "2",
    "TOWPATH_ENGINE__POLL_S": "1",
}

_TORN = re.compile(r" USER=|\] [A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4} ::")
"""In a path: a line, or the record of a transfer, that another session wrote over the rest."""
_COMMAND = re.compile(r"(?m)^\[(\d+)\].*\[CLIENT\]: (?:RETR|ERET P (\d+) (\d+)) (/.*)")


class Command(NamedTuple):
    """A data command as the server's own log has it. `first`, `length`: of a range.

    `session` is the process of the control session. A session writes its lines when it likes, so
    they say in which session a command came, but not when.
    """

    session: int
    path: str
    first: int | None
    length: int | None


@dataclass
class Rig:
    """A data directory, two endpoints, and `up` as often as a test wants."""

    root: Path
    source: GctServer
    destination: GctServer
    domains: tuple[Domain, Domain]
    settings: dict[str, str]
    endpoints: tuple[str, str] = ("", "")
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def data_dir(self) -> Path:
        """Of the deployment."""
        return self.root / "deployment"

    def up(self, settings: Mapping[str, str] | None = None) -> Deployment:
        """Start the deployment; the first time, register both servers."""
        deployment = Deployment.start(self.data_dir, self.settings | dict(settings or {}))
        self._stack.push(deployment)
        if not self.endpoints[0]:
            here, there = self.domains
            self.endpoints = (
                deployment.add_endpoint(
                    "source", self.source.url(""), here.trust_dir, here.proxy_file
                ),
                deployment.add_endpoint(
                    "destination", self.destination.url(""), there.trust_dir, there.proxy_file
                ),
            )
        return deployment

    def copy_tree(self, deployment: Deployment, **options: object) -> str:
        """Submit root/src -> root/dst; the task id."""
        items = [(str(self.root / "src"), str(self.root / "dst"), True)]
        return deployment.transfer(*self.endpoints, items, **options)

    @property
    def log_bytes(self) -> int:
        """How long the source server's log is."""
        return self._source_log.stat().st_size

    @property
    def _source_log(self) -> Path:
        return self.source.workdir / "server.log"

    def sent(self, since: int = 0) -> list[Command]:
        """All data commands that the source server has logged so far, from `log_bytes` on.

        Now and then a line is torn by another session's, and left out.
        """
        found = []
        with self._source_log.open(errors="surrogateescape") as file:
            file.seek(since)
            log = file.read()
        for session, first, length, path in _COMMAND.findall(log):
            if _TORN.search(path) or not Path(path).is_relative_to(self.root):
                continue
            part = (int(first), int(length)) if first else (None, None)
            found.append(Command(int(session), path, *part))
        return found

    def close(self) -> None:
        """End what still runs."""
        self._stack.close()


@pytest.fixture
def rig(tmp_path: Path, domain_a: Domain, domain_b: Domain) -> Iterator[Rig]:
    """A rig of its own for each test; the source server logs every command."""
    with (
        GctServer.start(domain_a, tmp_path / "server-a", args=("-d", "ALL")) as source,
        GctServer.start(domain_b, tmp_path / "server-b") as destination,
    ):
        made = Rig(tmp_path, source, destination, (domain_a, domain_b), dict(QUICK))
        try:
            yield made
        finally:
            made.close()
