"""A source that is not what it was when it was listed: noticed, told, and copied as it is now.

How it is noticed is told in the architecture ("A source that changes").
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.transfer import times
from towpath.transfer.engine.context import TaskContext
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File

LOOK_EVERY_S = 2.0
"""One command in so long costs nothing, and not more than that is sent of a file that grows."""


def change(file: File, now: Entry, *, where: str, path: str) -> GridFTPError | None:
    """What has become of a source that is in the plan as `file`; None: nothing, by its size and
    time."""
    if is_as_listed(file, now):
        return None
    resized = file.size != now.size
    return GridFTPError(
        Kind.SIZE_CHANGED if resized else Kind.SOURCE_CHANGED,
        f"the source had {file.size} bytes when it was looked at, and has {now.size} now"
        if resized
        else "the source was written after it was looked at",
        where,
        path,
        facts={
            "listed_size": file.size,
            "listed_time": times.show_file_time(file.modified),
            "size_now": now.size,
            "time_now": times.show_file_time(now.modified),
        },
    )


def is_as_listed(file: File, now: Entry) -> bool:
    """Whether a source has the facts that the plan has of it."""
    return (file.size, file.modified) == (now.size, now.modified)


def as_now(file: File, now: Entry) -> File:
    """The file with the facts that its source has now."""
    return replace(file, size=now.size, modified=now.modified)


async def take_note(context: TaskContext, files: Sequence[File]) -> None:
    """The plan has these files as they are now; restart points of what they were are void.

    Nothing of them may be on its way to the plan: flush the recorder first.
    """
    async with context.fenced() as conn:
        for file in files:
            await plan.changed_at_source(
                conn, context.task_no, file.file_no, size=file.size, modified=file.modified
            )


class SourceWatch:
    """Looks now and then, beside what else goes on, whether a source is still what it was."""

    def __init__(self, look: Callable[[], Awaitable[Entry]], clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._looked_at = clock()
        self._looking: asyncio.Task[Entry | None] | None = None

    def seen(self) -> Entry | None:
        """What has been seen since the last call, if anything; begins to look again when due."""
        if self._looking is None:
            if self._clock() - self._looked_at >= LOOK_EVERY_S:
                self._looking = asyncio.create_task(self._once())
            return None
        if not self._looking.done():
            return None
        entry = self._looking.result()
        self._looking, self._looked_at = None, self._clock()
        return entry

    async def _once(self) -> Entry | None:
        try:
            return await self._look()
        except GridFTPError:
            return None  # whoever reads the source will hear of that

    async def aclose(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
