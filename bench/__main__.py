"""``python -m bench [AREA ...]``: hold the contests and tell the ratios."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import (
    api,
    connect,
    delete,
    gridftp,
    gui,
    live,
    nexus,
    recovery,
    relay,
    server,
    service,
    sessions,
)
from bench.measure import BenchError, end_on_sigterm
from bench.report import machine, new_console, ratios, ratios_table, sides_table
from bench.rounds import Place, Plan, Result, Room, hold
from towpath.demo.deployment import DeploymentError
from towpath.demo.gct import ServerMissing

AREAS: dict[str, tuple[Place[Any], ...]] = {
    "gridftp": gridftp.PLACES,
    "service": service.PLACES,
    "delete": delete.PLACES,
    "server": server.PLACES,
}
ALONE = (
    sessions.AREA,
    recovery.AREA,
    nexus.AREA,
    live.AREA,
    api.AREA,
    gui.AREA,
    relay.AREA,
    connect.AREA,
)
"""No contests: each has figures of its own."""

ROUNDS = 5
"""The least for a median that can be told to others."""

MEMORY_DIRECTORY = Path("/dev/shm")
MEMORY_BYTES = 3 * gridftp.FULL.big_bytes
"""The largest file, its copy, and as much again for the rest of the machine."""


@click.command(name="bench")
@click.argument("areas", nargs=-1, type=click.Choice([*AREAS, *ALONE]), metavar="[AREA]...")
@click.option(
    "--only",
    metavar="PATTERN",
    default="",
    help="Only contests in whose name this regular expression is found.",
)
@click.option("--list", "list_only", is_flag=True, help="Tell the names of the contests, and end.")
@click.option(
    "--rounds", type=click.IntRange(min=1), help=f"Rounds that count  [default: {ROUNDS}]"
)
@click.option("--quick", is_flag=True, help="Little data, one round: does it work? No figures.")
@click.option(
    "--profile",
    "profiles",
    type=click.Path(file_okay=False, path_type=Path),
    help="One round; write into this directory what our library spends its time on. No figures.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the files are  [default: /dev/shm if there is room, else $TMPDIR]",
)
def main(
    areas: tuple[str, ...],
    only: str,
    list_only: bool,  # noqa: FBT001
    rounds: int | None,
    quick: bool,  # noqa: FBT001
    profiles: Path | None,
    directory: Path | None,
) -> None:
    """Measure Towpath against others, on this machine, in interleaved rounds.

    The areas are gridftp, service, delete and server; without one, all. Tables go to standard
    error; the last line of standard output is a JSON object of ratios: above 1, we are faster. A
    contest that goes wrong has no figure; the others are held all the same, and the exit code is 1.

    Some are no contests and are measured alone: sessions tells what thousands of sessions cost us,
    recovery what is sent again when a copy is broken half-way, and how soon it goes on, nexus what
    tokens, logins and groups take, live what those who watch cost, api what a request costs,
    gui what the web interface does, relay what agents cost a relay, and how fast it joins, connect
    what computers behind NAT move. Their figures are JSON, too.
    """
    end_on_sigterm()
    if alone := [area for area in areas if area in ALONE]:
        if len(areas) > 1:
            raise click.BadParameter(f"{alone[0]} is measured alone")
        where = directory or _roomy(quick=quick)
        _measure_alone(alone[0], quick=quick, rounds=rounds, only=only, directory=where)
        return
    chosen = [places for area in areas or AREAS if (places := _matching(AREAS[area], only))]
    plans = [plan for places in chosen for place in places for plan in place.plans]
    if not plans:
        raise click.BadParameter(f"no contest matches {only!r}; see --list")
    if list_only:
        click.echo("\n".join(plan.name for plan in plans))
        return
    if profiles is not None:
        profiles.mkdir(parents=True, exist_ok=True)
    once = quick or profiles is not None
    console = new_console()
    with _progress(console) as progress:
        run = _Run(progress, plans, rounds or (1 if once else ROUNDS), warm_up=not once)
        if not quick:
            console.print(f"this will take about {run.expected_s / 60:.0f} minutes")
        for places in chosen:
            with (
                tempfile.TemporaryDirectory(
                    prefix="towpath-bench-", dir=directory or _roomy(quick=quick)
                ) as trees,
                # a database in memory would make our commits cheaper than they are
                tempfile.TemporaryDirectory(prefix="towpath-bench-") as state,
            ):
                room = Room(Path(trees), Path(state), quick, profiles)
                console.print(machine(room), soft_wrap=True)
                for place in places:
                    run.hold_all(place, room)
    console.print(sides_table(run.results))
    console.print(ratios_table(run.results))
    if once:
        console.print("this proves that it works; the figures mean nothing")
    click.echo(ratios(run.results))
    if run.failed:
        raise click.ClickException(f"no figure for {', '.join(run.failed)}: see above")


def _measure_alone(
    area: str, *, quick: bool, rounds: int | None, only: str, directory: Path
) -> None:
    console = new_console()
    try:
        if area == sessions.AREA:
            told = sessions.measure(console, quick=quick)
        elif area == nexus.AREA:
            told = nexus.measure(console, quick=quick, only=only)
        elif area == live.AREA:
            told = live.measure(console, quick=quick)
        elif area == api.AREA:
            told = api.measure(console, quick=quick)
        elif area == gui.AREA:
            told = gui.measure(console, quick=quick, only=only)
        elif area == relay.AREA:
            told = relay.measure(console, quick=quick)
        else:
            place = connect if area == connect.AREA else recovery
            told = place.measure(
                console, quick=quick, rounds=rounds, only=only, directory=directory
            )
    except (BenchError, DeploymentError, ServerMissing) as error:
        raise click.ClickException(str(error)) from None
    click.echo(told)


class _Run:
    """Holds contests, and keeps what comes of them."""

    def __init__(
        self, progress: Progress, plans: Sequence[Plan[Any]], rounds: int, *, warm_up: bool
    ) -> None:
        self.results: list[Result] = []
        self.failed: list[str] = []
        self._rounds = rounds
        self._warm_up = warm_up
        self.expected_s = sum(self._expected_s(plan) for plan in plans)
        self._progress = progress
        self._bar = progress.add_task("", total=self.expected_s)

    def hold_all(self, place: Place[Any], room: Room) -> None:
        """Hold the contests of a place; one that goes wrong is told and does not end the rest."""
        pending = list(place.plans)
        try:
            with place.open(room) as at:
                while pending:
                    plan = pending.pop(0)
                    try:
                        self._hold(plan, at, room)
                    except BenchError as error:
                        self._fail(plan, error)
        except (BenchError, DeploymentError, ServerMissing) as error:
            for plan in pending:
                self._fail(plan, error)

    def _hold(self, plan: Plan[Any], at: object, room: Room) -> None:
        self._progress.update(self._bar, description=plan.name)

        def tell(line: str) -> None:
            self._progress.console.print(line, markup=False, soft_wrap=True)
            self._progress.advance(self._bar, plan.round_s)

        contest = plan.make(at)
        result = hold(contest, room.trees, self._rounds, warm_up=self._warm_up, tell=tell)
        self.results.append(result)

    def _fail(self, plan: Plan[Any], error: Exception) -> None:
        self.failed.append(plan.name)
        self._progress.console.print(f"{plan.name}: {error}", style="red", markup=False)

    def _expected_s(self, plan: Plan[Any]) -> float:
        return plan.round_s * (self._rounds + self._warm_up)


def _matching(places: tuple[Place[Any], ...], pattern: str) -> list[Place[Any]]:
    """The places with those of their contests that are wanted."""
    kept = [
        replace(place, plans=tuple(plan for plan in place.plans if re.search(pattern, plan.name)))
        for place in places
    ]
    return [place for place in kept if place.plans]


def _roomy(*, quick: bool) -> Path:
    """Memory, so that protocols are compared and not the disk's mood."""
    usable = os.access(MEMORY_DIRECTORY, os.W_OK)
    if usable and (quick or shutil.disk_usage(MEMORY_DIRECTORY).free >= MEMORY_BYTES):
        return MEMORY_DIRECTORY
    return Path(tempfile.gettempdir())


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


if __name__ == "__main__":
    main(prog_name="python -m bench")
