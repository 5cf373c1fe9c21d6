"""``python -m bench [AREA ...]``: hold the contests and tell the ratios."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import gridftp, service
from bench.measure import BenchError, end_on_sigterm
from bench.report import machine, new_console, ratios, table
from bench.rig import FULL, QUICK, Scale
from bench.rounds import Contest, Result, hold
from towpath.demo.deployment import DeploymentError
from towpath.demo.gct import ServerMissing

AREAS: dict[str, Callable[[Path, Path, Scale], AbstractContextManager[list[Contest]]]] = {
    "gridftp": gridftp.contests,
    "service": service.contests,
}
ROUNDS = 5
"""The least for a median that can be told to others."""

MEMORY_DIRECTORY = Path("/dev/shm")


@click.command(name="bench")
@click.argument("areas", nargs=-1, type=click.Choice(list(AREAS)), metavar="[AREA]...")
@click.option(
    "--rounds", type=click.IntRange(min=1), help=f"Rounds that count  [default: {ROUNDS}]"
)
@click.option("--quick", is_flag=True, help="Little data, one round: does it work? No figures.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Where the files are  [default: /dev/shm if there is room, else $TMPDIR]",
)
def main(
    areas: tuple[str, ...],
    rounds: int | None,
    quick: bool,  # noqa: FBT001
    directory: Path | None,
) -> None:
    """Measure Towpath against others, on this machine, in interleaved rounds.

    The areas are gridftp and service; without one, all. A table goes to standard error; the last
    line of standard output is a JSON object of ratios: above 1, we are faster.
    """
    end_on_sigterm()
    console = new_console()
    scale = QUICK if quick else FULL
    results: list[Result] = []
    try:
        for area in areas or AREAS:
            results += _hold_area(
                console, area, scale, rounds or (1 if quick else ROUNDS), directory, quick=quick
            )
    except (BenchError, DeploymentError, ServerMissing) as error:
        raise click.ClickException(str(error)) from None
    console.print(table(results))
    if quick:
        console.print("quick: proves that it works; the figures mean nothing")
    click.echo(ratios(results))


def _hold_area(
    console: Console, area: str, scale: Scale, rounds: int, directory: Path | None, *, quick: bool
) -> list[Result]:
    place = directory or _roomy(3 * scale.big_bytes)
    with (
        tempfile.TemporaryDirectory(prefix="towpath-bench-", dir=place) as trees,
        # a database in memory would make our commits cheaper than they are
        tempfile.TemporaryDirectory(prefix="towpath-bench-") as state,
    ):
        console.print(f"[bold]{area}[/]: {machine(Path(trees), Path(state))}", soft_wrap=True)
        with (
            AREAS[area](Path(trees), Path(state), scale) as contests,
            _progress(console) as progress,
        ):
            bar = progress.add_task(area, total=len(contests) * (rounds + (not quick)))

            def tell(line: str) -> None:
                progress.advance(bar)
                progress.console.print(line, markup=False)

            return [
                hold(contest, Path(trees), rounds, warm_up=not quick, tell=tell)
                for contest in contests
            ]


def _roomy(needed_bytes: int) -> Path:
    """Memory, so that protocols are compared and not the disk's mood."""
    usable = os.access(MEMORY_DIRECTORY, os.W_OK)
    if usable and shutil.disk_usage(MEMORY_DIRECTORY).free >= needed_bytes:
        return MEMORY_DIRECTORY
    return Path(tempfile.gettempdir())


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


if __name__ == "__main__":
    main(prog_name="python -m bench")
