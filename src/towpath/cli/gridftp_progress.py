"""How ``towpath gridftp cp`` tells of its progress: a bar on a terminal, else one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from towpath.gridftp.client.copy.plan import Progress
from towpath.gridftp.errors import GridFTPError, printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Reporter(Progress):
    """Counts, and prints what must be said at once to standard error."""

    def __init__(self) -> None:
        self._files = 0
        self._failed = 0
        self._bytes = 0
        self._planned = 0
        self._started = time.monotonic()

    def planned(self, size: int) -> None:
        """One more file."""
        self._planned += size

    def moved(self, count: int) -> None:
        """Bytes; from any thread."""
        self._bytes += count

    def done(self, path: str) -> None:  # noqa: ARG002 - another reporter may show it
        """A file has arrived."""
        self._files += 1

    def failed(self, path: str, error: GridFTPError) -> None:
        """A file is given up."""
        self._failed += 1
        self._say(f"{printable(path)}: {error}. {error.advice}")

    def skipped(self, path: str, reason: str) -> None:
        """Something that is not copied."""
        self._say(f"{printable(path)}: skipped: {reason}")

    def conclude(self) -> None:
        """The last line."""
        seconds = time.monotonic() - self._started
        line = f"{self._files} files, {self._bytes / 1e6:.1f} MB in {seconds:.1f} s"
        if self._failed:
            line += f"; {self._failed} failed"
        click.echo(line, err=True)

    def _say(self, line: str) -> None:
        click.echo(line, err=True)


class BarReporter(Reporter):
    """The same with a bar."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("copying", total=0)

    def planned(self, size: int) -> None:
        """One more file."""
        super().planned(size)
        self._bar.update(self._task, total=self._planned)

    def moved(self, count: int) -> None:
        """Bytes; from any thread."""
        super().moved(count)
        self._bar.advance(self._task, count)

    def _say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False)


@contextmanager
def reporter() -> Iterator[Reporter]:
    """The one that fits where standard error goes."""
    if not sys.stderr.isatty():
        yield Reporter()
        return
    from rich.console import Console  # noqa: PLC0415 - only who sees a bar waits for its import
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield BarReporter(bar)
