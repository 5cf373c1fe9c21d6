"""The tutorial, done as a reader does it: its marked blocks are saved and run in order.

``<!-- save: FILE -->`` saves the block, ``<!-- run -->`` runs it in one shell that lasts, and
``<!-- run until: TEXT -->`` starts it in a terminal of its own and goes on when TEXT is printed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-transfer.md"
_MARKED = re.compile(
    r"^<!-- (save|run|run until)(?:: (.+?))? -->\n```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
READY_TIMEOUT_S = 90
SHELL_TIMEOUT_S = 150
STOP_TIMEOUT_S = 60


class Block(NamedTuple):
    """One marked block."""

    action: str
    argument: str
    text: str


def blocks() -> list[Block]:
    """All marked blocks, in order."""
    return [Block(*found) for found in _MARKED.findall(TUTORIAL.read_text())]


class Terminal:
    """A program that goes on running."""

    def __init__(self, text: str, directory: Path, environment: dict[str, str]) -> None:
        self.said = ""
        self._rest: threading.Thread | None = None
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {text.strip()}"],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, wanted: str) -> None:
        """Until it prints `wanted`."""
        assert self._process.stdout is not None
        timer = threading.Timer(READY_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                self.said += line
                if wanted in line:
                    break
            else:
                pytest.fail(f"never said {wanted!r}:\n{self.said}")
        finally:
            timer.cancel()
        # read on, or it would stand still when the pipe is full
        self._rest = threading.Thread(target=self._process.stdout.read)
        self._rest.start()

    def interrupt(self) -> None:
        """Ctrl-C, and wait for the end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(STOP_TIMEOUT_S)
        if self._rest is not None:
            self._rest.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def test_the_tutorial_works(tmp_path: Path) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "TOWPATH_HTTP__PORT": "0",
    }
    directory = tmp_path / "first-transfer"
    directory.mkdir()
    (tmp_path / "home").mkdir()
    terminals: list[Terminal] = []
    script = "set -euo pipefail\n"
    try:
        for block in blocks():
            match block.action:
                case "save":
                    (directory / block.argument).write_text(block.text)
                case "run until":
                    terminals.append(Terminal(block.text, directory, environment))
                    terminals[-1].wait_for(block.argument)
                case _:
                    script += block.text
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SHELL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "SUCCEEDED" in done.stdout
        assert re.search(r"^identical$", done.stdout, re.MULTILINE), done.stdout
    finally:
        for terminal in reversed(terminals):
            terminal.interrupt()
        shutil.rmtree(directory, ignore_errors=True)


def test_the_tutorial_is_found_whole() -> None:
    actions = [block.action for block in blocks()]
    assert actions.count("save") == 1
    assert actions.count("run until") == 2
    assert actions.count("run") >= 5
