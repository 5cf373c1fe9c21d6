"""Agents of a whole deployment: set up with its key, reached through its relay."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from plugins.globus import Globus
from plugins.rig import QUICK
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer

READY_S = 30.0


@dataclass
class Computer:
    """A person's computer with an agent."""

    root: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Path:
        """What it shares."""
        return self.root / "files"

    @property
    def state(self) -> Path:
        """The agent's directory."""
        return self.root / "agent"

    def towpath(self, *words: str) -> str:
        """One of the agent's commands."""
        done = subprocess.run(
            [sys.executable, "-m", "towpath.cli", "connect", *words, "--dir", str(self.state)],
            capture_output=True,
            text=True,
            timeout=60,
            env=self._environment(),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        """`towpath connect start`, in the foreground."""
        words = [sys.executable, "-m", "towpath.cli", "connect", "start", "--dir", str(self.state)]
        with (self.root / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
            )

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.root)}


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Deployment.start(tmp_path / "deployment", QUICK) as started:
        yield started
