"""A computer behind a router joins by what the README says, and nothing else."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plugins.nat import Nat

README = Path(__file__).parents[2] / "README.md"
HEADING = re.compile(r"(?m)^#+ Connect a computer$")
COMMANDS = 2
"""As promised: one to set up, one to start."""
WITHIN_S = 60.0


def commands() -> list[str]:
    """Of `towpath connect`, in the section's examples, as they stand there."""
    found = HEADING.search(README.read_text())
    assert found, "the README says how to connect a computer"
    section = re.split(r"(?m)^#+ ", README.read_text()[found.end() :])[0]
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", section)
    return [line for block in blocks for line in block.splitlines() if "towpath connect" in line]


@pytest.mark.long
def test_two_commands_and_a_minute(nat: Nat, capsys: pytest.CaptureFixture[str]) -> None:
    """In a home that has never had an agent, from the first command until a listing succeeds."""
    computer = nat.internet.home().host()
    home = nat.root / "fresh"
    home.mkdir()
    (home / "results.csv").write_text("1\n")
    globus = nat.globus()
    made = globus.json("gcp", "create", "mapped", "my laptop")
    words = commands()
    assert len(words) == COMMANDS, words
    began = time.monotonic()
    running = []
    try:
        for line in words:
            command = line.replace("KEY", made["globus_connect_setup_key"])
            process = subprocess.Popen(
                [*computer.enter, "setpriv", "--pdeathsig", "KILL", "sh", "-c", f"exec {command}"],
                env={
                    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                    "HOME": str(home),
                    "LANG": "C.UTF-8",
                },
                cwd=home,
                stdin=subprocess.DEVNULL,
            )
            running.append(process)
            if line is not words[-1]:
                assert process.wait(WITHIN_S) == 0, command
        while True:
            listed = globus.attempt("ls", made["id"])
            took_s = time.monotonic() - began
            if listed.returncode == 0:
                break
            assert took_s < WITHIN_S, listed.stderr
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert took_s < WITHIN_S
    with capsys.disabled():
        print(f"\n{len(words)} commands, {took_s:.1f} s until `globus ls` works")
