"""Processes that were started: when they are ready, and what they have started themselves."""

import contextlib
import subprocess
import threading
from pathlib import Path

START_TIMEOUT_S = 30.0
"""It takes a second or less; this is for a machine busy with other work."""


def until_ready(
    process: "subprocess.Popen[str]", log: Path, what: str, within_s: float = START_TIMEOUT_S
) -> str:
    """Wait for the line on its standard output that begins with `ready `, and return it.

    Raises `OSError` with what is in `log`, its standard error, when it ends first; it is killed if
    it takes too long.
    """
    assert process.stdout is not None
    timer = threading.Timer(within_s, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                return line
    finally:
        timer.cancel()
    process.wait()
    raise OSError(f"{what} did not start: {log.read_text(errors='replace')[-2000:]}")


def descendants(root: int) -> list[int]:
    """The living descendants of a process, parents before children."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    tree = [root]
    for pid in tree:
        tree += [child for child, parent in parents.items() if parent == pid]
    return tree[1:]
