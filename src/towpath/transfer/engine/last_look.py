"""The last look at entries of a plan before what it says is done to them: whether they are still
what they were.

Both ends of an entry are looked at, and the directories on the way to where it is written, or
deleted: where one of them is a link by now, what is at the path is somewhere else, though it may
look the same.
Nothing is sent from here but questions.
"""

import asyncio
import posixpath
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import TaskContext, at_destination, at_source
from towpath.transfer.engine.shared import one_file
from towpath.transfer.names import to_text
from towpath.transfer.places import ancestors
from towpath.transfer.planned import Action, Planned, changed
from towpath.transfer.store import plans
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plan import File
from towpath.transfer.store.segments import Skipped

AT_ONCE: Final = 200
"""Entries, or paths, looked at together; a server takes about 1,000 queued commands."""

Place = tuple[int, str]
"""An item, and a path below it."""

_NOT_THERE: Final = frozenset({Kind.NOT_FOUND, Kind.NOT_A_DIRECTORY})


class Seen(NamedTuple):
    """An entry as it is now."""

    here: Entry | None
    there: Entry | None
    why: str | None
    """Why it is left alone; None: it is as it was."""


async def look_at(session: Session, path: str) -> Entry | GridFTPError | None:
    """What is at a path: None is nothing, and an error, of this path alone, that it cannot be told.
    Raises GridFTPError for any other."""
    try:
        return await session.stat(path)
    except GridFTPError as error:
        if error.kind in _NOT_THERE:
            return None
        if error.scope is not Scope.FILE:
            raise
        return error


async def look_at_each(
    session: Session, paths: Collection[str]
) -> dict[str, Entry | GridFTPError | None]:
    """The same of several, however many there are. Raises GridFTPError."""
    wanted = list(dict.fromkeys(paths))
    found: dict[str, Entry | GridFTPError | None] = {}
    for first in range(0, len(wanted), AT_ONCE):
        some = wanted[first : first + AT_ONCE]
        looked = await asyncio.gather(*(look_at(session, path) for path in some))
        found |= zip(some, looked, strict=True)
    return found


def place_of(context: TaskContext, one: Planned) -> str:
    """Where an entry is at the destination, or where it is deleted."""
    path = context.written_path(one.item_no, one.path)
    for _ in range(one.above):
        path = path.rpartition("/")[0] or "/"
    return path


class LastLook:
    """Looks at entries of the plan that a transfer follows."""

    def __init__(self, context: TaskContext, plan_no: int) -> None:
        self._context = context
        self._plan_no = plan_no
        self._links: dict[Place, str | None] = {}
        """Links to directories that were on the way when the plan was made, with their targets."""
        self._made: dict[int, list[str]] = {}
        """Directories that lead to an item's end, and were not there then."""
        self._links_above: dict[str, str] = {}
        """Of a delete: links above what is named, as they were then; by absolute path."""
        self.one_server = False
        """Whether both ends are at one: what is there under two names may be one file."""

    async def begin(self) -> None:
        """Before any entry is looked at."""
        async with self._context.db.connection() as conn:
            for one in await plans.on_the_way(conn, self._plan_no):
                if one.action is Action.MAKE_DIRECTORY:
                    self._made.setdefault(one.item_no, []).append(place_of(self._context, one))
                elif one.there is not None:
                    self._links[one.item_no, one.path] = one.there.target
            self._links_above = await plans.links_above(conn, self._plan_no) or {}

    async def entries(
        self, source: Session, destination: Session, entries: Sequence[Planned]
    ) -> list[Seen]:
        """As they are now. Raises SidedError."""
        looked = await asyncio.gather(*(self._both(source, destination, one) for one in entries))
        astray = await self.astray(destination, entries)
        return [
            self._seen(one, here, there, is_astray=one in astray)
            for one, (here, there) in zip(entries, looked, strict=True)
        ]

    async def _both(
        self, source: Session, destination: Session, one: Planned
    ) -> tuple[Entry | GridFTPError | None, Entry | GridFTPError | None]:
        here = None
        if one.here is not None:
            with at_source():
                here = await look_at(source, self._context.source_path(one.item_no, one.path))
        with at_destination():
            return here, await look_at(destination, place_of(self._context, one))

    def _seen(
        self,
        one: Planned,
        here: Entry | GridFTPError | None,
        there: Entry | GridFTPError | None,
        *,
        is_astray: bool,
    ) -> Seen:
        if isinstance(here, GridFTPError):
            return Seen(None, None, f"the source cannot be looked at: {here.message}")
        if isinstance(there, GridFTPError):
            return Seen(here, None, f"the destination cannot be looked at: {there.message}")
        why = changed(one, here, there)
        if why is None and is_astray:
            why = "a link to a directory is on the way to it by now"
        if why is None and self.one_server and _is_one(here, there):
            # opening the destination would empty the source
            why = "source and destination are one and the same by now"
        return Seen(here, there, why)

    async def astray(self, session: Session, entries: Sequence[Planned]) -> set[Planned]:
        """Those that are not where they were: a directory on the way to them is a link now, and was
        none, or another one. Raises SidedError."""
        ways = {one: list(self._way(one)) for one in entries}
        with self._context.at_written():
            found = await look_at_each(session, [path for way in ways.values() for path, _ in way])
        targets = {path: one.link_target for path, one in found.items() if isinstance(one, Entry)}
        return {
            one for one, way in ways.items() if any(targets.get(path) != was for path, was in way)
        }

    def _way(self, one: Planned) -> Iterator[tuple[str, str | None]]:
        """Directories on the way to an entry, below its item's destination, and those above that,
        as far as the plan makes them; each with the target, if it was a link. Of what is deleted
        all: of a link nothing is listed, so there were none but above what is named."""
        own = place_of(self._context, one)
        if self._context.deletes:
            for path in ancestors(own):
                if path != "/":
                    yield path, self._links_above.get(path)
            return
        for path in self._made.get(one.item_no, ()):
            if own.startswith(path.rstrip("/") + "/"):
                yield path, None
        path = one.path
        while path := posixpath.dirname(path):
            was = self._links.get((one.item_no, path))
            yield self._context.destination_path(one.item_no, path), was

    async def files(
        self, source: Session, destination: Session, files: Sequence[File]
    ) -> list[tuple[File, Skipped]]:
        """Files of the plan, by the numbers of their entries: those that are not as they were, and
        what is told of them. Raises SidedError."""
        async with self._context.db.connection() as conn:
            entries = await plans.numbered(conn, self._plan_no, [file.file_no for file in files])
        seen = await self.entries(source, destination, [entries[file.file_no] for file in files])
        return [
            (file, left_out(entries[file.file_no], one.why))
            for file, one in zip(files, seen, strict=True)
            if one.why is not None
        ]


def _is_one(here: Entry | None, there: Entry | None) -> bool:
    return here is not None and there is not None and one_file(here, there)


def left_out(one: Planned, why: str) -> Skipped:
    """What is told of an entry that is left alone."""
    said = f"{one.action} was planned: {why}"
    is_directory = one.action is Action.MAKE_DIRECTORY or (
        one.there is not None and one.there.is_real_directory
    )
    return Skipped(one.item_no, one.path, is_directory, EventCode.PLAN_CHANGED, to_text(said), 0.0)
