"""Somebody's shell with the unmodified `globus` command, and a browser to log in with."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WITHIN_S = 60.0
GLOBUS = Path(sys.executable).with_name("globus")


@dataclass
class Terminal:
    """`allow` takes the address that the command shows, logs in, and returns the code."""

    home: Path
    environment: dict[str, str]
    allow: Callable[[str], str]

    def run(self, *words: str, expect: int = 0) -> str:
        """A command that needs no browser; all that it says."""
        done = subprocess.run(
            [GLOBUS, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == expect, f"{words}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        """What it says as JSON."""
        return json.loads(self.run(*words, "-F", "json"))

    def with_a_code(self, *words: str) -> str:
        """A command that shows an address and waits for the code; what it says in the end."""
        process = subprocess.Popen(
            [GLOBUS, *words],
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"https://\S+/authorize\?\S+", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        rest, _ = process.communicate(self.allow(found[0]) + "\n", timeout=WITHIN_S)
        assert process.returncode == 0, said + rest
        return said + rest
