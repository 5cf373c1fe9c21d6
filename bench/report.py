"""What is told: progress and a table for people, one line of JSON for programs."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measure import Sample
from bench.rounds import Result

MEBIBYTE = 1024 * 1024
_LOG_COLUMNS = 140
"""For logs: wide enough for the table."""

wall_s: Callable[[Sample], float] = attrgetter("wall_s")
cpu_s: Callable[[Sample], float] = attrgetter("cpu_s")


def new_console() -> Console:
    """Standard error."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, width=_LOG_COLUMNS)


def machine(trees: Path, state: Path) -> str:
    """What the figures depend on."""
    load = os.getloadavg()[0]
    busy = "" if load < 0.5 else " (busy: trust CPU seconds more than wall time)"
    return (
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()};"
        f" load {load:.1f} at the start{busy}; files in {trees}, state in {state}"
    )


def table(results: Iterable[Result]) -> Table:
    """Two rows for each contest; medians, the extremes of wall time, and the ratios."""
    shown = Table(caption="ratios: peer / ours, median over the rounds; above 1 ours needs less")
    shown.add_column("contest", overflow="fold")
    for heading in (
        "side", "n", "wall s (min-max)", "mover CPU s", "server CPU s", "peak MiB", "wall ratio",
        "CPU ratio",
    ):  # fmt: skip
        shown.add_column(heading, justify="right")
    for result in results:
        shown.add_row(
            result.name,
            "ours",
            *_cells(result.ours),
            f"{result.ratio(wall_s):.2f}",
            f"{result.ratio(cpu_s):.2f}",
        )
        shown.add_row("", "peer", *_cells(result.peer), "", "", end_section=True)
    return shown


def ratios(results: Iterable[Result]) -> str:
    """One JSON object: the wall ratio of each contest."""
    return json.dumps({result.name: round(result.ratio(wall_s), 3) for result in results})


def _cells(samples: Sequence[Sample]) -> tuple[str, ...]:
    walls, mover, server, peaks = zip(*samples, strict=True)
    return (
        str(len(samples)),
        f"{statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})",
        f"{statistics.median(mover):.2f}",
        f"{statistics.median(server):.2f}",
        f"{max(peaks) / MEBIBYTE:.0f}",
    )
