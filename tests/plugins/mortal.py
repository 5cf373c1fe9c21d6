"""`towpath worker` that strikes once: right before, or right after, its n-th commit.

    python -m plugins.mortal N before|after VICTIM --data DIR

VICTIM is `self`, which dies by SIGKILL, `both`, its witness too, or the pid of a GridFTP server,
whose sessions do. N 0: never. A worker that is stopped prints how many commits there were; a
statement in autocommit is one, too.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from towpath.cli import worker
from towpath.demo.processes import descendants
from towpath.platform.database import Connection, Database


@dataclass
class Fate:
    """What happens at which commit."""

    at: int
    before: bool
    strike: Callable[[], None]
    commits: int = 0

    def begin(self) -> int:
        """One more commit, which is not sent yet; its number."""
        self.commits += 1
        if self.before and self.commits == self.at:
            self.strike()
        return self.commits

    def end(self, number: int) -> None:
        """It is done, and nobody was told."""
        if not self.before and number == self.at:
            self.strike()


class CountedDatabase(Database):
    """Tells fate of every commit."""

    fate: ClassVar[Fate]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Autocommit: all that is done with the connection counts as one commit."""
        async with super().connection() as connection:
            number = self.fate.begin()
            yield connection
            self.fate.end(number)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One that is rolled back does not count."""
        async with super().transaction() as connection:
            yield connection
            number = self.fate.begin()
        self.fate.end(number)


def kill_children(parent: int) -> None:
    """A server's sessions, as a crash of its host would; a worker's witness."""
    for pid in descendants(parent):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def die(*, alone: bool) -> None:
    """With the witness, or alone."""
    if not alone:
        kill_children(os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def main(number: str, when: str, victim: str, *arguments: str) -> None:
    """Run the worker until its end."""
    if victim in ("self", "both"):
        strike = partial(die, alone=victim == "self")
    else:
        strike = partial(kill_children, int(victim))
    CountedDatabase.fate = Fate(int(number), when == "before", strike)
    worker.Database = CountedDatabase  # type: ignore[misc]
    worker.command.main(arguments, standalone_mode=False)
    print(CountedDatabase.fate.commits)


if __name__ == "__main__":
    main(*sys.argv[1:])
