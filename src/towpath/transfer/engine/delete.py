"""Delete tasks: what is named goes, depth first, commands pipelined.

Deleting again what is gone already is no error under a second lease, so nothing needs to be
remembered: a takeover simply goes through the items again.
"""

import asyncio
import fnmatch
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import TaskContext, TaskFaultError, join
from towpath.transfer.engine.faults import for_whole_task
from towpath.transfer.engine.pairs import open_session
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import plan
from towpath.transfer.store.plan import Item

# DELEs sent ahead; a server takes about 1,000 queued commands.
DELETES_AT_ONCE = 200
GLOB_CHARACTERS = frozenset("*?[")


class DeleteRun:
    """Goes through the items of a delete task."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        options = context.grant.options
        self._recursive = bool(options.get("recursive"))
        self._globs = bool(options.get("interpret_globs"))
        self._ignore_missing = bool(options.get("ignore_missing"))

    async def run(self) -> None:
        """Until all items are gone. Raises TaskFaultError or LeaseLostError."""
        if not self._context.grant.first_start:
            # An earlier lease deleted some of the items: that they are missing is its work.
            async with self._context.db.connection() as conn:
                self._ignore_missing |= await plan.deleted_before(conn, self._context.task_no)
        session, _ = await open_session(
            self._context, self._context.grant.source_endpoint_id, at_source=True
        )
        try:
            for item in self._context.items.values():
                async for path in self._expand(session, item):
                    await self._delete(session, path)
        except GridFTPError as error:
            # One path that cannot go holds up the rest: the task tries again, later.
            verdict = for_whole_task(self._context.judge(error, at_source=True))
            raise TaskFaultError(verdict) from error
        finally:
            await session.close()

    async def _expand(self, session: Session, item: Item) -> AsyncIterator[str]:
        """The paths an item names: itself, or what its last component's pattern matches."""
        parent, last = posixpath.split(item.source_path)
        if not self._globs or not GLOB_CHARACTERS.intersection(last):
            yield item.source_path
            return
        found = [
            entry.name
            async for batch in session.list(parent)
            for entry in batch
            if fnmatch.fnmatchcase(entry.name, last)
        ]
        if not found and not self._ignore_missing:
            raise GridFTPError(
                Kind.NOT_FOUND, "nothing matches", where=str(session.server), path=item.source_path
            )
        for name in found:
            yield join(parent, name)

    async def _delete(self, session: Session, path: str) -> None:
        try:
            entry = await session.stat(path)
        except GridFTPError as error:
            if error.kind is Kind.NOT_FOUND and self._ignore_missing:
                return
            raise
        if not entry.is_directory or entry.link_target is not None:
            self._context.lease.check()
            await _gone(session.delete_file, path)
            await self._count(files=1, directories=0)
            return
        if not self._recursive:
            raise GridFTPError(
                Kind.IS_A_DIRECTORY,
                "it is a directory, and the task is not recursive",
                where=str(session.server),
                path=path,
            )
        await self._delete_tree(session, path)

    async def _delete_tree(self, session: Session, root: str) -> None:
        """Depth first with a stack of our own: (directory, already emptied)."""
        stack = [(root, False)]
        while stack:
            path, emptied = stack.pop()
            if emptied:
                self._context.lease.check()
                await _gone(session.delete_directory, path)
                await self._count(files=0, directories=1)
                continue
            files: list[str] = []
            directories: list[str] = []
            async for batch in _listed(session, path):
                for entry in batch:
                    is_directory = entry.is_directory and entry.link_target is None
                    (directories if is_directory else files).append(join(path, entry.name))
            for first in range(0, len(files), DELETES_AT_ONCE):
                some = files[first : first + DELETES_AT_ONCE]
                self._context.lease.check()
                results = await asyncio.gather(
                    *(_gone(session.delete_file, one) for one in some), return_exceptions=True
                )
                for result in results:
                    if result is not None:
                        raise result
                await self._count(files=len(some), directories=0)
            stack.append((path, True))
            stack.extend((one, False) for one in directories)

    async def _count(self, *, files: int, directories: int) -> None:
        async with self._context.fenced() as conn:
            await plan.count_deleted(
                conn, self._context.task_no, files=files, directories=directories
            )


async def _listed(session: Session, path: str) -> AsyncIterator[list[Entry]]:
    """A directory's entries; none if it is gone: an earlier lease's last command may remove it."""
    try:
        async for batch in session.list(path):
            yield batch
    except GridFTPError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise


async def _gone(delete: Callable[[str], Awaitable[None]], path: str) -> None:
    """Delete; gone already is as good."""
    try:
        await delete(path)
    except GridFTPError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
