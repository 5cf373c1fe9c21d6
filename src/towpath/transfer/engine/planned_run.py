"""A transfer that follows a plan: it does what that says, in the place of the walk, and no more.

Each entry is looked at again, at both ends, right before it is given to the lanes. What is not as
the plan has it is left alone, and told: a file is not written, a directory with something new in it
is not removed. Of what was in the way, and what is extra, each file was listed when the plan was
made, so that nothing goes with a directory that nobody has seen.

It comes back after a crash to where it was: files go into the plan of the task in the commit that
moves its cursor, and all else may be done twice.
"""

import asyncio
import posixpath
from collections.abc import Sequence
from typing import Final

from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    TaskFaultError,
    Work,
    at_destination,
    at_source,
)
from towpath.transfer.engine.extras import extras_events
from towpath.transfer.engine.pairs import open_both
from towpath.transfer.engine.recorder import Recorder, record_skipped
from towpath.transfer.engine.removal import remove_each
from towpath.transfer.engine.stopwatch import DELETING, LISTING_SOURCE
from towpath.transfer.names import to_text
from towpath.transfer.planned import Action, Planned, Reason, changed, removable
from towpath.transfer.store import counters, links, plans, removals
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.links import Link
from towpath.transfer.store.plan import File
from towpath.transfer.store.plans import Applied
from towpath.transfer.store.segments import Skipped

AT_ONCE: Final = 200
"""Entries looked at together; a server takes about 1,000 queued commands."""
AHEAD_FILES: Final = 1_000
"""Not more are looked at before those are sent: what was looked at long ago may have changed."""
LOOK_AGAIN_S: Final = 0.5

LAST: Final = 2**62
"""Behind all entries."""

_SENT: Final = frozenset({Action.COPY, Action.OVERWRITE})


class PlannedRun:
    """Brings the entries of a plan to what they say."""

    def __init__(self, context: TaskContext, recorder: Recorder, applied: Applied) -> None:
        self._context = context
        self._recorder = recorder
        self._plan_no = applied.plan_no
        self._cursor = applied.cursor

    async def run(self) -> None:
        """Until all that is to be copied is with the lanes. Raises TaskFaultError or
        LeaseLostError."""
        if not self._cursor:
            with self._context.stopwatch.phase(DELETING):
                await self._delete(Reason.IN_THE_WAY)
        source, destination = [session for session, _ in await open_both(self._context)]
        try:
            while batch := await self._next():
                await self._room()
                with self._context.stopwatch.phase(LISTING_SOURCE):
                    await self._take(source, destination, batch)
        except SidedError as sided:
            raise TaskFaultError(self._context.judge_sided(sided, Phase.LISTING)) from sided
        finally:
            await close_all([source, destination])
        async with self._context.fenced() as conn:
            await plans.all_taken(conn, self._context.task_no)
        self._context.walk_done = True
        self._context.changed.wake()

    async def delete_extras(self) -> None:
        """When all has arrived: what the plan says is extra goes, as far as it is as it was. Raises
        TaskFaultError or LeaseLostError."""
        await self._delete(Reason.EXTRA)

    async def told(self) -> list[Event]:
        """What its owner is to be told in the end."""
        async with self._context.db.connection() as conn:
            left_out = await counters.skipped_errors(conn, self._context.task_no)
            done = await removals.extras(conn, self._context.task_no)
        told = list(extras_events(done))
        if left_out:
            told.append(_not_done(left_out))
        return told

    async def _room(self) -> None:
        while self._context.open_files >= AHEAD_FILES:
            with self._context.stopwatch.phase(None):
                await self._context.changed.wait(LOOK_AGAIN_S)

    async def _next(self) -> list[tuple[int, Planned]]:
        async with self._context.db.connection() as conn:
            return await plans.page(conn, self._plan_no, after=self._cursor, limit=AT_ONCE)

    async def _take(
        self, source: Session, destination: Session, batch: Sequence[tuple[int, Planned]]
    ) -> None:
        """Some entries, in order: directories are made, files go to the lanes.

        Raises SidedError.
        """
        context = self._context
        active = [
            (number, one)
            for number, one in batch
            if one.action in _SENT or one.action in (Action.MAKE_DIRECTORY, Action.MAKE_LINK)
        ]
        looked = await asyncio.gather(*(self._look(source, destination, one) for _, one in active))
        left_out: list[Skipped] = []
        files: list[File] = []
        to_link: list[Link] = []
        directories: list[Planned] = []
        for (number, one), (here, there) in zip(active, looked, strict=True):
            why = changed(one, here, there)
            if why is not None:
                left_out.append(_left_out(one, why))
            elif one.action is Action.MAKE_DIRECTORY:
                if there is None:
                    directories.append(one)
            elif one.action is Action.MAKE_LINK:
                assert one.here is not None, "a link of the source"
                to_link.append(Link(one.item_no, one.path, one.here.target or ""))
            else:
                assert here is not None, "it is there"
                files.append(File(number, one.item_no, one.path, here.size, here.modified))
        left_out += await self._make(destination, directories)
        homeless = await self._without_directory(destination, [*files, *to_link])
        left_out += [
            Skipped(*one, False, EventCode.PLAN_CHANGED, "its directory is not there", 0.0)
            for one in homeless
        ]
        files = [file for file in files if (file.item_no, file.path) not in homeless]
        to_link = [link for link in to_link if (link.item_no, link.path) not in homeless]
        made = sum(one.action is Action.MAKE_DIRECTORY for _, one in batch)
        skipped = sum(one.reason == Reason.SAME for _, one in batch)
        self._cursor = batch[-1][0]
        async with context.fenced() as conn:
            await plans.advance(
                conn,
                self._plan_no,
                context.task_no,
                cursor=self._cursor,
                files=files,
                found=sum(one.action in _SENT for _, one in batch) + skipped,
                skipped=skipped,
                directories=made,
                symlinks=sum(one.action is Action.MAKE_LINK for _, one in batch),
            )
            if to_link:
                await links.add(conn, context.task_no, [links.pack(to_link)])
            if left_out:
                await record_skipped(conn, context.task_no, left_out)
        context.open_files += len(files)
        context.arrivals.add(Work.SMALL, Work.LARGE)
        context.changed.wake()

    async def _look(
        self, source: Session, destination: Session, one: Planned
    ) -> tuple[Entry | None, Entry | None]:
        here = None
        if one.here is not None:
            with at_source():
                here = await _found(source, self._context.source_path(one.item_no, one.path))
        return here, await _there(destination, self._place(one))

    async def _without_directory(
        self, destination: Session, ends: Sequence[File | Link]
    ) -> set[tuple[int, str]]:
        """Those that have none at the destination, where a lane would make it."""
        above: dict[str, set[tuple[int, str]]] = {}
        for one in ends:
            place = self._context.destination_path(one.item_no, one.path)
            above.setdefault(posixpath.dirname(place), set()).add((one.item_no, one.path))
        looked = await asyncio.gather(*(_there(destination, path) for path in above))
        return {
            one
            for found, those in zip(looked, above.values(), strict=True)
            if found is None or not found.is_directory
            for one in those
        }

    def _place(self, one: Planned) -> str:
        path = self._context.destination_path(one.item_no, one.path)
        for _ in range(one.above):
            path = path.rpartition("/")[0] or "/"
        return path

    async def _make(self, destination: Session, directories: Sequence[Planned]) -> list[Skipped]:
        """Make them, parents first; those that cannot be."""
        self._context.lease.check()
        made = await asyncio.gather(*(_made(destination, self._place(one)) for one in directories))
        return [
            _left_out(one, str(error))
            for one, error in zip(directories, made, strict=True)
            if error is not None
        ]

    async def _delete(self, reason: Reason) -> None:
        """The last found first: what is in a directory comes before that. Raises TaskFaultError."""
        last = LAST
        while batch := await self._backwards(last, reason):
            last = batch[-1][0]
            source, destination = [session for session, _ in await open_both(self._context)]
            try:
                await self._delete_some(destination, [one for _, one in batch])
            except (SidedError, GridFTPError) as error:
                sided = (
                    error if isinstance(error, SidedError) else SidedError(error, at_source=False)
                )
                verdict = self._context.judge_sided(sided, Phase.REMOVAL)
                raise TaskFaultError(verdict) from error
            finally:
                await close_all([source, destination])

    async def _backwards(self, before: int, reason: Reason) -> list[tuple[int, Planned]]:
        async with self._context.db.connection() as conn:
            return await plans.page(
                conn,
                self._plan_no,
                after=before,
                limit=AT_ONCE,
                actions=[Action.DELETE],
                reasons=[reason],
                backwards=True,
            )

    async def _delete_some(self, destination: Session, batch: Sequence[Planned]) -> None:
        looked = await asyncio.gather(*(_there(destination, self._place(one)) for one in batch))
        goes: list[Planned] = []
        left_out: list[Skipped] = []
        for one, there in zip(batch, looked, strict=True):
            if there is None:
                continue  # it is gone already
            if removable(one, there):
                goes.append(one)
            else:
                left_out.append(_left_out(one, "the destination has changed"))
        failed = await remove_each(
            self._context, destination, [(self._place(one), _is_directory(one)) for one in goes]
        )
        for one in goes:
            error = failed.get(self._place(one))
            if error is not None:
                why = "something new is in it" if error.kind is Kind.NOT_EMPTY else str(error)
                left_out.append(_left_out(one, why))
        gone = [one for one in goes if self._place(one) not in failed]
        directories = sum(_is_directory(one) for one in gone)
        self._recorder.removed(len(gone) - directories, directories)
        if left_out:
            async with self._context.fenced() as conn:
                await record_skipped(conn, self._context.task_no, left_out)


def _not_done(left_out: int) -> Event:
    return Event(
        EventCode.PLAN_CHANGED,
        "not all of the plan was done",
        {
            "left_out": left_out,
            "error": "So much is not as it was when the plan was made, and was left alone.",
            "advice": "It is in the list of skipped errors. Make another plan for it.",
        },
    )


def _is_directory(one: Planned) -> bool:
    return (
        one.there is not None and one.there.type == EntryType.DIRECTORY and one.there.target is None
    )


async def _found(source: Session, path: str) -> Entry | None:
    """What is at the source; None: nothing that can be read. Raises GridFTPError."""
    try:
        return await source.stat(path)
    except GridFTPError as error:
        if error.scope is not Scope.FILE:
            raise
        return None


async def _there(destination: Session, path: str) -> Entry | None:
    """What is at the destination; what cannot be told is not what it was. Raises SidedError."""
    with at_destination():
        try:
            return await destination.stat(path)
        except GridFTPError as error:
            if error.kind is Kind.NOT_FOUND:
                return None
            if error.scope is not Scope.FILE:
                raise
            return Entry(path, EntryType.OTHER)


async def _made(destination: Session, path: str) -> GridFTPError | None:
    with at_destination():
        try:
            await destination.mkdir(path)
        except GridFTPError as error:
            if error.kind is Kind.EXISTS:
                return None
            if error.scope is not Scope.FILE:
                raise
            return error
    return None


def _left_out(one: Planned, why: str) -> Skipped:
    said = f"{one.action} was planned: {why}"
    is_directory = one.action is Action.MAKE_DIRECTORY or _is_directory(one)
    return Skipped(one.item_no, one.path, is_directory, EventCode.PLAN_CHANGED, to_text(said), 0.0)
