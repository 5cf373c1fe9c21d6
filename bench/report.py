"""What is told: progress and a table for people, one line of JSON for programs."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter

from rich.console import Console
from rich.table import Table

from bench.measure import Sample
from bench.rounds import WALL_S, Result, Room

MEBIBYTE = 1024 * 1024
_LOG_COLUMNS = 140
"""For logs: wide enough for the table."""

cpu_s: Callable[[Sample], float] = attrgetter("cpu_s")


def new_console() -> Console:
    """Standard error."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, width=_LOG_COLUMNS)


def machine(room: Room) -> str:
    """What the figures depend on."""
    load = os.getloadavg()[0]
    busy = "" if load < 0.5 else " (busy: trust CPU seconds more than wall time)"
    return (
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()};"
        f" load {load:.1f} at the start{busy}; files in {room.trees}, state in {room.state}"
    )


def sides_table(results: Iterable[Result]) -> Table:
    """A row for each side of each contest; medians, and the extremes of wall time."""
    shown = Table()
    shown.add_column("contest", overflow="fold")
    shown.add_column("side")
    for heading in ("n", "wall s (min-max)", "mover CPU s", "server CPU s", "peak MiB"):
        shown.add_column(heading, justify="right")
    for result in results:
        name = result.contest.name
        for side, samples in result.samples.items():
            shown.add_row(name, side, *_cells(samples))
            name = ""
        shown.add_section()
    return shown


def ratios_table(results: Iterable[Result]) -> Table:
    """A row for each ratio."""
    shown = Table(caption="peer / ours, median over the rounds; above 1 ours needs less")
    shown.add_column("ratio", overflow="fold")
    shown.add_column("ours / peer")
    for heading in ("told", "wall", "CPU"):
        shown.add_column(heading, justify="right")
    for result in results:
        for ratio in result.contest.ratios:
            shown.add_row(
                ratio.key,
                f"{ratio.ours} / {' or '.join(ratio.peers)}",
                f"{result.ratio(ratio, ratio.part):.2f}",
                f"{result.ratio(ratio, WALL_S):.2f}",
                f"{result.ratio(ratio, cpu_s):.2f}",
            )
        shown.add_section()
    return shown


def figures(console: Console, found: Mapping[str, float]) -> str:
    """Show figures that have no peer; the line of JSON."""
    table = Table()
    table.add_column("figure")
    table.add_column("", justify="right")
    for name, figure in found.items():
        table.add_row(name, f"{figure:,.4g}" if figure < 1000 else f"{figure:,.0f}")
    console.print(table)
    return json.dumps(found)


def ratios(results: Iterable[Result]) -> str:
    """One JSON object: the ratios, of wall time unless their names say otherwise."""
    return json.dumps(
        {
            ratio.key: round(result.ratio(ratio, ratio.part), 3)
            for result in results
            for ratio in result.contest.ratios
        }
    )


def _cells(samples: Sequence[Sample]) -> tuple[str, ...]:
    walls, mover, server, peaks = zip(*samples, strict=True)
    return (
        str(len(samples)),
        f"{statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})",
        f"{statistics.median(mover):.2f}",
        f"{statistics.median(server):.2f}",
        f"{max(peaks) / MEBIBYTE:.0f}",
    )
