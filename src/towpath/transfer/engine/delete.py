"""Delete tasks: what is named goes, with all below it.

Deleting again what is gone already is no error under a second lease, so nothing needs to be
remembered: a takeover simply goes through the items again.
"""

import fnmatch
import posixpath
from collections.abc import Iterator, Sequence

from towpath.gridftp.client.removal import FAILURES, Failure, Remover
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.transfer import names
from towpath.transfer.engine.context import TaskContext, TaskFaultError, join
from towpath.transfer.engine.faults import Consequence
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import raise_failures, removing
from towpath.transfer.store import removals

# Paths looked at, and then deleted, together.
PATHS_AT_ONCE = 1_000
# Names that match a pattern and are kept in memory; more take another listing.
MATCHES_AT_ONCE = 100_000


class DeleteRun:
    """Goes through the items of a delete task."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        options = context.grant.options
        self._recursive = bool(options.get("recursive"))
        self._globs = bool(options.get("interpret_globs"))
        self._ignore_missing = bool(options.get("ignore_missing"))
        self._failures: list[Failure] = []
        self._begun = False

    async def run(self) -> None:
        """Until all that can go is gone. Raises TaskFaultError or LeaseLostError."""
        context = self._context
        if not context.grant.first_start:
            # An earlier lease deleted some of the items: that they are missing is its work.
            async with context.db.connection() as conn:
                self._begun = await removals.have_begun(conn, context.task_no)
            self._ignore_missing |= self._begun
        async with removing(
            context, self._recorder, context.grant.source_endpoint_id, at_source=True
        ) as remover:
            for paths in self._steps():
                if self._is_pattern(paths[0]):
                    await self._delete_matching(remover, paths[0])
                else:
                    await self._delete(remover, paths)
        # What cannot go does not hold up the rest: the task tries again, later.
        raise_failures(context, self._recorder, self._failures, at_source=True)

    def _steps(self) -> Iterator[list[str]]:
        """The items in order: a pattern alone, other paths together."""
        step: list[str] = []
        for item in self._context.items.values():
            alone = self._is_pattern(item.source_path)
            if step and (alone or len(step) >= PATHS_AT_ONCE):
                yield step
                step = []
            step.append(item.source_path)
            if alone:
                yield step
                step = []
        if step:
            yield step

    def _is_pattern(self, path: str) -> bool:
        return self._globs and names.is_pattern(path)

    async def _delete_matching(self, remover: Remover, pattern: str) -> None:
        """What the pattern of the last component matches."""
        parent, last = posixpath.split(pattern)
        session = await remover.session()
        none_yet = True
        while True:
            names: list[str] = []
            more = False
            async for batch in session.list(parent):
                found = [e.name for e in batch if fnmatch.fnmatchcase(e.name, last)]
                more |= bool(found) and len(names) >= MATCHES_AT_ONCE
                names += found if len(names) < MATCHES_AT_ONCE else []
            if none_yet and not names and not self._ignore_missing:
                raise GridFTPError(
                    Kind.NOT_FOUND, "nothing matches", where=str(session.server), path=pattern
                )
            none_yet = False
            before = len(self._failures)
            for first in range(0, len(names), PATHS_AT_ONCE):
                some = names[first : first + PATHS_AT_ONCE]
                await self._delete(remover, [join(parent, name) for name in some], matched=True)
            if not more or len(self._failures) - before >= len(names):
                return

    async def _delete(
        self, remover: Remover, paths: Sequence[str], *, matched: bool = False
    ) -> None:
        """Nothing of these is deleted if one of them should not have been named."""
        paths = list(dict.fromkeys(paths))
        files: list[str] = []
        trees: list[str] = []
        for path, entry in zip(paths, await remover.look(paths), strict=True):
            if isinstance(entry, GridFTPError):
                self._cannot_look(path, entry, matched=matched)
            elif not entry.is_directory or entry.link_target is not None:
                files.append(path)
            elif self._recursive:
                trees.append(path)
            else:
                raise GridFTPError(
                    Kind.IS_A_DIRECTORY,
                    "it is a directory, and the task is not recursive",
                    where=str((await remover.session()).server),
                    path=path,
                )
        if not self._begun:
            async with self._context.fenced() as conn:
                await removals.begin(conn, self._context.task_no)
            self._begun = True
        self._context.lease.check()
        self._add(await remover.remove(files, trees))

    def _cannot_look(self, path: str, error: GridFTPError, *, matched: bool) -> None:
        if error.kind is Kind.NOT_FOUND and (matched or self._ignore_missing):
            return
        verdict = self._context.judge(error, Phase.REMOVAL, at_source=True)
        if verdict.consequence is Consequence.FAIL_TASK:
            raise TaskFaultError(verdict) from error
        self._add([Failure(path, error)])

    def _add(self, failures: Sequence[Failure]) -> None:
        self._failures += failures[: FAILURES - len(self._failures)]
