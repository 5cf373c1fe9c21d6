"""Area `gui`: what the web interface costs those who look at it, and the service."""

import re

from rich.console import Console

from bench.gui import activity, files
from bench.measure import BenchError
from bench.report import figures

AREA = "gui"
PARTS = {"activity": activity.measure, "files": files.measure}
"""By name: each gives figures, and raises `BenchError`."""


def measure(console: Console, *, quick: bool, only: str) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    chosen = [part for name, part in PARTS.items() if re.search(only, name)]
    if not chosen:
        raise BenchError(f"no part of {AREA} matches {only!r}; there are {', '.join(PARTS)}")
    found: dict[str, float] = {}
    for part in chosen:
        found |= part(console, quick=quick)
    return figures(console, found)
