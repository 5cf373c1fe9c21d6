"""The unmodified `globus` command, each call bounded."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins.globus_forks import Forks
from plugins.transfer_api import hold_documents
from towpath.demo.deployment import Deployment

CALL_S = 60.0
"""For commands that work; the machine may be busy."""

AT_ONCE_S = 15.0
"""For commands that fail: one request, no retries (six of them would take a minute)."""


@dataclass
class Globus:
    """Runs the command in an environment of its own."""

    environment: dict[str, str]

    @classmethod
    def of(cls, deployment: Deployment, home: Path) -> "Globus":
        """Logged in at the deployment, with a home directory of its own."""
        home.mkdir()
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        return cls(environment | deployment.environment())

    def run(
        self, *arguments: str, expect: int = 0, within_s: float = CALL_S, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        began = time.monotonic()
        done = self._call(arguments, stdin, within_s + 60)
        told = f"globus {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == expect, told
        assert "Traceback" not in done.stderr, told
        assert time.monotonic() - began < within_s, told
        return done

    def text(self, *arguments: str, **more: Any) -> str:
        return self.run(*arguments, **more).stdout

    def json(self, *arguments: str, **more: Any) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run(*arguments, "-F", "json", **more).stdout)
        hold_documents(document)
        return document

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One that may fail; nothing is asserted."""
        return self._call(arguments, "", CALL_S)

    def _call(
        self, arguments: Sequence[str], stdin: str, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return Forks.of(self.environment).run(arguments, self.environment, stdin, timeout_s)

    def fails(self, *arguments: str, expect: int = 1, stdin: str = "") -> str:
        """What the client says of a failure."""
        done = self.run(*arguments, expect=expect, within_s=AT_ONCE_S, stdin=stdin)
        return done.stdout + done.stderr
