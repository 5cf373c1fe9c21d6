"""Copies files and trees between here and servers, and between two servers.

This is the client's own copying, for one command and one process. Nothing of it survives the
process: that is what the transfer service is for.
"""

import asyncio
from collections import deque

from towpath.gridftp.client.copy.between import copy_between
from towpath.gridftp.client.copy.movers import Mover
from towpath.gridftp.client.copy.plan import (
    CopyingOptions,
    Directory,
    End,
    Job,
    Left,
    Progress,
    plan,
    settle,
)
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.tree import MAX_ATTEMPTS, RETRY_DELAY_S
from towpath.gridftp.errors import GridFTPError

BATCH_FILES = 100
"""Files commanded ahead: enough to hide a round trip of 25 ms, few enough to do again."""

BATCH_BYTES = 256 * 1024 * 1024
"""Planned bytes from which on moving starts."""


async def copy(
    source: End,
    destination: End,
    options: CopyingOptions,
    progress: Progress,
    pool: SessionPool | None = None,
) -> bool:
    """Copy a file, or with `recursive` the content of one directory into another.

    Whether everything was copied: single files that fail are told to `progress` and left out.
    Sessions and lanes come from `pool`, and wait there for the next copy. Raises `GridFTPError` for
    what concerns all files, and `ValueError` when both ends are here.
    """
    if source.location.server is None and destination.location.server is None:
        raise ValueError("both ends are local")
    if pool is not None:
        return await _copy(source, destination, options, progress, pool)
    async with SessionPool() as own:
        return await _copy(source, destination, options, progress, own)


async def _copy(
    source: End, destination: End, options: CopyingOptions, progress: Progress, pool: SessionPool
) -> bool:
    source, destination = await settle(source, pool), await settle(destination, pool)
    if source.location.server is not None and destination.location.server is not None:
        return await copy_between(source, destination, options, progress, pool)
    mover = Mover(source, destination, options, progress, pool)
    runner = _Runner(mover, progress)
    try:
        async for item in plan(source, destination, options, progress, pool):
            await runner.add(item)
        await runner.flush()
    finally:
        mover.close()
    return runner.complete


class _Runner:
    """Between here and a server: batches, of which what is void or may work later is repeated."""

    def __init__(self, mover: Mover, progress: Progress) -> None:
        self.complete = True
        self._mover = mover
        self._progress = progress
        self._directories: list[str] = []
        self._jobs: deque[Job] = deque()
        self._bytes = 0

    async def add(self, item: Job | Directory | Left) -> None:
        if isinstance(item, Left):
            self.complete = False
            self._progress.failed(item.path, item.error)
        elif isinstance(item, Directory):
            self._directories.append(item.path)
        else:
            self._progress.planned(item.size)
            self._jobs.append(item)
            self._bytes += item.size
        if (
            len(self._jobs) >= BATCH_FILES
            or self._bytes >= BATCH_BYTES
            or len(self._directories) >= BATCH_FILES
        ):
            await self.flush()

    async def flush(self) -> None:
        if self._directories:
            directories, self._directories = self._directories, []
            for path, error in await self._mover.directories(directories):
                self.complete = False
                self._progress.failed(path, error)
        while self._jobs:
            batch = [self._jobs.popleft() for _ in range(min(BATCH_FILES, len(self._jobs)))]
            again: list[Job] = []
            for result in await self._mover.move(batch):
                if result.status == "done":
                    self._progress.done(result.job.source)
                elif result.error is None or await self._worth_repeating(result.job, result.error):
                    again.append(result.job)
            self._jobs.extendleft(reversed(again))
        self._bytes = 0

    async def _worth_repeating(self, job: Job, error: GridFTPError) -> bool:
        if error.ends_all:
            raise error
        job.attempts += 1
        if not error.permanent and job.attempts < MAX_ATTEMPTS:
            await asyncio.sleep(RETRY_DELAY_S * job.attempts)
            return True
        self.complete = False
        self._progress.failed(job.source, error)
        return False
