"""The end of a mirroring transfer: what is extra at the destination goes."""

import posixpath
from collections.abc import Iterable, Sequence
from typing import Final

from towpath.gridftp.client.removal import FAILURES, Failure, Remover, is_real_directory
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.engine.context import TaskContext
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import keeping, raise_failures, removing
from towpath.transfer.places import ancestors
from towpath.transfer.store import counters, removals
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.removals import Extra, Extras

EXTRAS_AT_ONCE: Final = 1_000
"""Extras removed together; a crash lets at most so many be looked at again."""


class ExtrasRun:
    """Removes the extras, when everything has been transferred."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self.told: list[Event] = []
        """What its owner is to be told when the task has ended well."""
        self._trees: set[str] = set()
        self._failures: list[Failure] = []

    async def run(self) -> None:
        """Until all are gone that can go. Raises TaskFaultError or LeaseLostError."""
        context = self._context
        async with context.db.connection() as conn:
            left_out = await counters.skipped_errors(conn, context.task_no)
        if left_out:
            self.told.append(_all_stay(left_out))
            return
        await self._leave_linked()
        batch = await self._next(0)
        if batch:
            await self._remove_all(batch)
        raise_failures(context, self._recorder, self._failures, at_source=False)
        await self._recorder.flush()
        async with context.db.connection() as conn:
            done = await removals.extras(conn, context.task_no)
        self.told += extras_events(done)

    async def _leave_linked(self) -> None:
        """What links of the source lead to, or into, stays: it may be all there is."""
        context, last = self._context, 0
        while batch := await self._next(last):
            last = batch[-1].extra_no
            places = {(extra.item_no, extra.path): extra.extra_no for extra in batch}
            async with context.db.connection() as conn:
                stay = await removals.linked(conn, context.task_no, list(places))
            if not stay:
                continue
            directories = {(item_no, posixpath.dirname(path)) for item_no, path in stay}
            async with context.fenced() as conn:
                await removals.extras_stay(
                    conn,
                    context.task_no,
                    [places[one] for one in stay],
                    directories=len(directories),
                )

    async def _next(self, after: int) -> list[Extra]:
        async with self._context.db.connection() as conn:
            return await removals.next_extras(
                conn, self._context.task_no, after=after, limit=EXTRAS_AT_ONCE
            )

    async def _remove_all(self, batch: list[Extra]) -> None:
        context = self._context
        destination_id = context.grant.destination_endpoint_id
        assert destination_id is not None, "a transfer has a destination"
        keep = keeping(context.options.filter_rules, self._trees)
        async with removing(
            context, self._recorder, destination_id, at_source=False, keep=keep
        ) as remover:
            while batch:
                gone = await self._remove(remover, batch)
                async with context.fenced() as conn:
                    await removals.extras_gone(conn, context.task_no, gone)
                batch = await self._next(batch[-1].extra_no)

    async def _remove(self, remover: Remover, batch: Sequence[Extra]) -> list[int]:
        """Numbers of those that are gone. What they are is looked at again: hours may have gone by,
        and a directory that is a link now must not be followed."""
        paths = {self._context.destination_path(e.item_no, e.path): e.extra_no for e in batch}
        files: list[str] = []
        self._trees.clear()
        failures: list[Failure] = []
        for path, entry in zip(paths, await remover.look(list(paths)), strict=True):
            if not isinstance(entry, GridFTPError):
                if is_real_directory(entry):
                    self._trees.add(path)
                else:
                    files.append(path)
            elif entry.kind is not Kind.NOT_FOUND:
                failures.append(Failure(path, entry))
        self._context.lease.check()
        failures += await remover.remove(files, sorted(self._trees))
        self._failures += failures[: FAILURES - len(self._failures)]
        if len(failures) >= FAILURES:
            return []  # there may be more of them than are told
        left = {place for failure in failures for place in (failure.path, *ancestors(failure.path))}
        return [number for path, number in paths.items() if path not in left]


def _all_stay(left_out: int) -> Event:
    return Event(
        EventCode.DELETE_DESTINATION_EXTRA_SKIPPED,
        "nothing extra deleted at the destination",
        {
            "skipped": left_out,
            "error": "Not everything could be read at the source, so it is not known what is extra"
            " at the destination. Nothing of it has been deleted.",
            "advice": "Mend what is in the list of skipped errors, and submit again.",
        },
    )


def extras_events(done: Extras) -> Iterable[Event]:
    """What is told of it in the end."""
    if done.unsure_directories:
        yield Event(
            EventCode.DELETE_DESTINATION_EXTRA_SKIPPED,
            "not everything extra deleted at the destination",
            {
                "directories": done.unsure_directories,
                "error": "In so many directories the source has names that its server does not"
                " list, such as links that point nowhere, or may have such names, or links of the"
                " source lead to what is extra at the destination. There it has not been deleted,"
                " because it may be one of these.",
                "advice": "Remove such links at the source, and submit again.",
            },
        )
    if done.files or done.directories:
        yield Event(
            EventCode.DELETED_DESTINATION_EXTRA,
            "deleted what was extra at the destination",
            {"files": done.files, "directories": done.directories},
        )
