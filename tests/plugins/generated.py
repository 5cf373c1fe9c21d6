"""A walk over a tree that nobody has to make: its listings are computed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import walk
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import leases, plan

BATCH_ENTRIES = 1000
HOUR_S = 3600


@dataclass
class GeneratedTree:
    """A root with `directories` in it; each has so many files, and so many empty directories."""

    directories: dict[str, tuple[int, int]]
    listed: Counter[str] = field(default_factory=Counter)
    """How often each was listed to its end."""
    begun: Counter[str] = field(default_factory=Counter)
    """How often each was asked for."""
    failures: dict[str, GridFTPError] = field(default_factory=dict)
    """Directories that cannot be made at the first try."""
    after_batch: Callable[[], None] = lambda: None

    @property
    def files(self) -> int:
        """In all of it."""
        return sum(files for files, _ in self.directories.values())

    async def list(self, path: str, **_options: object) -> AsyncIterator[list[Entry]]:
        """As `Session.list`."""
        name = path.removeprefix("/source").removeprefix("/")
        self.begun[name] += 1
        if name == "":
            entries = [Entry(one, EntryType.DIRECTORY) for one in self.directories]
            for first in range(0, len(entries), BATCH_ENTRIES):
                yield entries[first : first + BATCH_ENTRIES]
        elif name in self.directories:
            files, directories = self.directories[name]
            for kind, count in ((EntryType.FILE, files), (EntryType.DIRECTORY, directories)):
                for first in range(0, count, BATCH_ENTRIES):
                    await asyncio.sleep(0)
                    self.after_batch()
                    some = range(first, min(first + BATCH_ENTRIES, count))
                    yield [Entry(f"{kind[0]}{n:07}", kind, n % 4096, n) for n in some]
        self.listed[name] += 1


class GeneratedSession:
    """What the walk asks of a session, at either end."""

    def __init__(self, tree: GeneratedTree, rtt_s: float) -> None:
        self.server = SimpleNamespace(host="generated", port=2811)
        self.rtt_s = rtt_s
        self.list = tree.list
        self._failures = tree.failures

    async def stat(self, path: str) -> Entry:
        """The root."""
        return Entry(path, EntryType.DIRECTORY)

    async def mkdir(self, path: str) -> None:
        """Made, unless it is to fail."""
        if (error := self._failures.pop(path, None)) is not None:
            raise error

    async def make_directories(self, path: str) -> None:
        """Made."""

    async def close(self) -> bool:
        """Closed."""
        return True


@dataclass
class GeneratedWalk:
    """Walks one task over the tree, as often as it takes."""

    database: Database
    task_no: int
    tree: GeneratedTree
    rtt_s: float = 0.0
    settings: EngineSettings = field(default_factory=EngineSettings)
    epoch: int = 0
    opened: int = 0
    """How often sessions were opened at both ends."""
    context: TaskContext = field(init=False)
    """Of the present lease."""

    async def begin(self) -> None:
        """First of all."""
        async with self.database.transaction() as conn:
            await leases.start(conn, self.task_no)

    async def run(self) -> None:
        """One lease, from where the last one ended."""
        self.epoch += 1
        async with self.database.transaction() as conn:
            await conn.execute(
                "UPDATE task SET lease_epoch = %s, lease_until = now() + interval '1 day'"
                " WHERE task_no = %s",
                (self.epoch, self.task_no),
            )
            progress = await plan.resume(conn, self.task_no, self.epoch)
        loop = asyncio.get_running_loop()
        self.context = TaskContext(
            db=self.database,
            grant=cast(
                "Any",
                SimpleNamespace(
                    task_no=self.task_no,
                    lease_epoch=self.epoch,
                    options={},
                    type="TRANSFER",
                    owner_full=False,
                ),
            ),
            lease=LeaseClock(loop.time(), HOUR_S, loop.time),
            sessions=cast("Any", None),
            data_credentials=cast("Any", None),
            settings=self.settings,
            random=Random(1),
            clock=loop.time,
            options=Options.from_document({}),
            items={0: plan.Item(0, "/source", "/destination", recursive=True)},
        )
        self.context.open_files = progress.open_files
        await walk.Walk(
            self.context,
            Recorder(self.context),
            last_file_no=progress.last_file_no,
            last_dir_no=progress.last_dir_no,
        ).run()

    async def open_both(self, _context: TaskContext) -> Any:
        """Instead of `pairs.open_both`; two servers."""
        self.opened += 1
        ends = []
        for number in (1, 2):
            server = SimpleNamespace(host=f"generated{number}", port=2811)
            login = SimpleNamespace(
                server=server, endpoint_id=UUID(int=number), namespace=str(server)
            )
            ends.append((GeneratedSession(self.tree, self.rtt_s), login))
        return tuple(ends)
