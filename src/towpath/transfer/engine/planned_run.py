"""A transfer that follows a plan: it does what that says, in the place of the walk, and no more.

Each entry is looked at again, at both ends, right before it is given to the lanes (`last_look`);
what waits there under a new lease, or is large, once more. What is not as the plan has it is left
alone, and told: a file is not written, a directory with something new in it is not removed. Of what
was in the way, and what is extra, each file was listed when the plan was made, so that nothing goes
with a directory that nobody has seen (`planned_removal`).

It comes back after a crash to where it was: files go into the plan of the task in the commit that
moves its cursor, and all else may be done twice.
"""

import asyncio
import posixpath
from collections.abc import Sequence
from typing import Final

from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    TaskFaultError,
    Work,
    at_destination,
)
from towpath.transfer.engine.extras import extras_events
from towpath.transfer.engine.last_look import AT_ONCE, LastLook, left_out, look_at_each, place_of
from towpath.transfer.engine.pairs import open_both
from towpath.transfer.engine.planned_removal import PlannedRemoval
from towpath.transfer.engine.recorder import Recorder, record_skipped
from towpath.transfer.engine.stopwatch import DELETING, LISTING_SOURCE
from towpath.transfer.planned import Action, Planned, Reason
from towpath.transfer.store import counters, links, plan, plans, removals
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.links import Link
from towpath.transfer.store.plan import File
from towpath.transfer.store.plans import Applied
from towpath.transfer.store.segments import Skipped

AHEAD_FILES: Final = 1_000
"""Not more are looked at before those are sent: what was looked at long ago may have changed."""
LOOK_AGAIN_S: Final = 0.5
IDLE_S: Final = 60.0
"""GCT ends sessions that are idle for 600 s, where its administrator has set nothing less; and they
are a process at each server."""

_SENT: Final = frozenset({Action.COPY, Action.OVERWRITE})


class PlannedRun:
    """Brings the entries of a plan to what they say."""

    def __init__(self, context: TaskContext, recorder: Recorder, applied: Applied) -> None:
        self._context = context
        self._recorder = recorder
        self._plan_no = applied.plan_no
        self._cursor = applied.cursor
        self._look = LastLook(context, applied.plan_no)
        self._removal = PlannedRemoval(context, recorder, applied, self._look)

    async def begin(self) -> None:
        """Before anything is sent under this lease: what was given to the lanes, and waits for them
        since nobody knows when, is looked at again. Raises TaskFaultError or LeaseLostError."""
        await self._look.begin()
        self._context.last_look = self._look.files
        files = await self._unsent(0)
        if not files:
            return
        source, destination = await self._open()
        try:
            while files:
                for file, what in await self._look.files(source, destination, files):
                    self._recorder.skipped(file.file_no, what)
                files = await self._unsent(files[-1].file_no)
        except SidedError as sided:
            raise TaskFaultError(self._context.judge_sided(sided, Phase.LISTING)) from sided
        finally:
            await close_all([source, destination])
        await self._recorder.flush()

    async def _open(self) -> tuple[Session, Session]:
        (source, here), (destination, there) = await open_both(self._context)
        self._look.one_server = here.namespace == there.namespace
        return source, destination

    async def _unsent(self, after: int) -> list[File]:
        async with self._context.db.connection() as conn:
            return await plan.unsent(conn, self._context.task_no, after=after, limit=AT_ONCE)

    async def run(self) -> None:
        """Until all that is to be copied is with the lanes. Raises TaskFaultError or
        LeaseLostError."""
        if not self._cursor:
            with self._context.stopwatch.phase(DELETING):
                await self._removal.run(Reason.IN_THE_WAY)
        ends: tuple[Session, ...] = ()
        try:
            while batch := await self._next():
                source, destination = ends = await self._room(ends)
                with self._context.stopwatch.phase(LISTING_SOURCE):
                    await self._take(source, destination, batch)
        except SidedError as sided:
            raise TaskFaultError(self._context.judge_sided(sided, Phase.LISTING)) from sided
        finally:
            await close_all(ends)
        async with self._context.fenced() as conn:
            await plans.all_taken(conn, self._context.task_no)
        self._context.walk_done = True
        self._context.changed.wake()

    async def delete_extras(self) -> None:
        """When all has arrived: what the plan says is extra goes, as far as it is as it was. Raises
        TaskFaultError or LeaseLostError."""
        await self._removal.run(Reason.EXTRA)

    async def told(self) -> list[Event]:
        """What its owner is to be told in the end."""
        async with self._context.db.connection() as conn:
            alone = await counters.skipped_errors(conn, self._context.task_no)
            done = await removals.extras(conn, self._context.task_no)
        told = list(extras_events(done))
        if alone:
            told.append(not_done(alone))
        return told

    async def _room(self, ends: tuple[Session, ...]) -> tuple[Session, ...]:
        """Sessions at both ends, when there is room for more files: these, unless they have waited
        for so long that their servers may end them."""
        context, since = self._context, self._context.clock()
        while context.open_files >= AHEAD_FILES:
            with context.stopwatch.phase(None):
                await context.changed.wait(LOOK_AGAIN_S)
            if ends and context.clock() - since >= IDLE_S:
                await close_all(ends)
                ends = ()
        return ends or await self._open()

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
        looked = await self._look.entries(source, destination, [one for _, one in active])
        alone = [as_expected(one) for _, one in batch if one.action is Action.FAULT]
        files: list[File] = []
        to_link: list[Link] = []
        directories: list[Planned] = []
        for (number, one), (here, there, why) in zip(active, looked, strict=True):
            if why is not None:
                alone.append(left_out(one, why))
            elif one.action is Action.MAKE_DIRECTORY:
                if there is None:
                    directories.append(one)
            elif one.action is Action.MAKE_LINK:
                assert one.here is not None, "a link of the source"
                replaces = "" if one.there is None else one.there.target
                to_link.append(Link(one.item_no, one.path, one.here.target or "", replaces))
            else:
                assert here is not None, "it is there"
                files.append(File(number, one.item_no, one.path, here.size, here.modified))
        alone += await self._make(destination, directories)
        homeless = await self._without_directory(destination, [*files, *to_link])
        alone += [
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
            if alone:
                await record_skipped(conn, context.task_no, alone)
        context.open_files += len(files)
        context.arrivals.add(Work.SMALL, Work.LARGE)
        context.changed.wake()

    async def _without_directory(
        self, destination: Session, ends: Sequence[File | Link]
    ) -> set[tuple[int, str]]:
        """Those that have none at the destination, where a lane would make it."""
        above: dict[str, set[tuple[int, str]]] = {}
        for one in ends:
            place = self._context.destination_path(one.item_no, one.path)
            above.setdefault(posixpath.dirname(place), set()).add((one.item_no, one.path))
        with at_destination():
            looked = await look_at_each(destination, above)
        return {
            one
            for path, those in above.items()
            if not isinstance(found := looked[path], Entry) or not found.is_directory
            for one in those
        }

    async def _make(self, destination: Session, directories: Sequence[Planned]) -> list[Skipped]:
        """Make them, parents first; those that cannot be."""
        self._context.lease.check()
        made = await asyncio.gather(
            *(_made(destination, place_of(self._context, one)) for one in directories)
        )
        return [
            left_out(one, str(error))
            for one, error in zip(directories, made, strict=True)
            if error is not None
        ]


def not_done(entries: int) -> Event:
    """What is told of so much that was left alone, or could not be done."""
    return Event(
        EventCode.PLAN_CHANGED,
        "not all of the plan was done",
        {
            "left_out": entries,
            "error": "So much could not be done, as the plan said, or is not as it was when that"
            " was made, and was left alone.",
            "advice": "It is in the list of skipped errors. Make another plan for it.",
        },
    )


def as_expected(one: Planned) -> Skipped:
    """What is told of a fault that the plan has: nobody tries it."""
    seen = one.here or one.there
    is_directory = seen is not None and seen.is_real_directory
    return Skipped(one.item_no, one.path, is_directory, one.reason, one.details, 0.0)


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
