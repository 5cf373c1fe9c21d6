"""Mirroring (`delete_destination_extra`): what is at the destination and not at the source goes.

The walk compares both ends of each directory. What is of another type than at the source is in the
way, and goes before the copy; extras are recorded, and go when everything has been transferred.
Where there is doubt nothing goes.
"""

import asyncio
import posixpath
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from towpath.gridftp.client.removal import FAILURES, Failure, Keep, Remover
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    at_destination,
    at_source,
    join,
)
from towpath.transfer.engine.links import link_targets, real_places
from towpath.transfer.engine.pairs import open_both
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import raise_failures, removing
from towpath.transfer.engine.sync import LOOKED_AT_ONCE, DestinationDirectory
from towpath.transfer.filter_rules import FilterRules
from towpath.transfer.store import plan, removals
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.plan import Directory, Item
from towpath.transfer.store.removals import Extra, Extras

EXTRAS_PER_COMMIT: Final = 2_000
"""Of a directory with more they go into the database in parts: bounded memory."""

EXTRAS_AT_ONCE: Final = 1_000
"""Extras removed together; a crash lets at most so many be looked at again."""


class ItemPlaces:
    """Where the items of a task have their ends, to keep one from deleting what is another's."""

    def __init__(
        self,
        items: Iterable[Item],
        *,
        real_sources: Iterable[str] = (),
        real_destinations: Mapping[str, str] | None = None,
    ) -> None:
        """Within one server `real_sources` and `real_destinations` are where the ends really are,
        when links on the way to them are followed."""
        self._above: dict[str, list[Item]] = {}
        for item in items:
            assert item.destination_path is not None, "a transfer's items have destinations"
            self._above.setdefault(item.destination_path, []).append(item)
        self._destinations = sorted(self._above)
        self._sources = sorted(real_sources)
        self._real_destinations = real_destinations or {}

    def protect(self, item: Item, below: str) -> bool:
        """Whether what is `below` an item's destination must stay: an item's destination is there
        or below it; or a source is, or has it."""
        assert item.destination_path is not None, "a transfer's items have destinations"
        if _any_in(self._destinations, join(item.destination_path, below)):
            return True
        if not self._sources:
            return False
        real = self._real_destinations.get(item.destination_path, item.destination_path)
        real = join(real, below)
        return _any_in(self._sources, real) or any(
            _is_in(self._sources, above) for above in _ancestors(real)
        )

    def others(self, path: str, item_no: int) -> list[str]:
        """What at the source is copied to this path, too, by other items than this one."""
        return [
            join(item.source_path, path[len(above.rstrip("/")) + 1 :])
            for above in _ancestors(path)
            for item in self._above.get(above, ())
            if item.item_no != item_no
        ]


async def places_on_one_server(
    items: Iterable[Item], source: Session, destination: Session
) -> ItemPlaces:
    """For a transfer within one server. Raises SidedError."""
    sources: list[str] = []
    destinations: dict[str, str] = {}
    for item in items:
        assert item.destination_path is not None, "a transfer's items have destinations"
        with at_source():
            targets = await link_targets(source, item.source_path)
        sources += [item.source_path, real_places(item.source_path, targets)[-1]]
        with at_destination():
            targets = await link_targets(destination, item.destination_path)
        destinations[item.destination_path] = real_places(item.destination_path, targets)[-1]
    return ItemPlaces(items, real_sources=set(sources), real_destinations=destinations)


class DirectoryMirror:
    """One directory of the walk, compared with the destination's."""

    def __init__(
        self,
        context: TaskContext,
        recorder: Recorder,
        places: ItemPlaces,
        directory: Directory,
        there: DestinationDirectory,
    ) -> None:
        """`there` has been loaded."""
        self._context = context
        self._recorder = recorder
        self._places = places
        self._directory = directory
        self._there = there
        self._path = context.destination_path(directory.item_no, directory.path)
        entries = there.entries
        self._unseen = None if entries is None else dict(entries)
        self._seen = 0
        self._count: int | None = None
        self._recorded = 0

    def count(self, names: int) -> None:
        """What the source says how many names the directory has."""
        self._count = names

    def see(self, entries: Sequence[Entry]) -> None:
        """These names are at the source, whether they take part or not."""
        self._seen += len(entries)
        if self._unseen is not None:
            for entry in entries:
                self._unseen.pop(entry.name, None)

    async def make_way(self, taken: Sequence[Entry], copied: Sequence[Entry]) -> None:
        """Remove what is at the places of these files and directories, or links that are kept, and
        is something else. Raises SidedError.

        `taken` take part; of these, `copied` are copied as files or directories.
        """
        wanted = [one for one in copied if one.is_directory or one.type is EntryType.FILE]
        if self._context.options.recursive_symlinks == "keep":
            wanted += [one for one in taken if one.link_target is not None]
        there = await self._there.look([entry.name for entry in wanted])
        in_the_way = [
            found._replace(name=entry.name)
            for entry, found in zip(wanted, there, strict=True)
            if found is not None and self._differ(entry, found) and not self._protects(entry.name)
        ]
        if not in_the_way:
            return
        files = [self._at(one.name) for one in in_the_way if not _is_directory(one)]
        trees = [self._at(one.name) for one in in_the_way if _is_directory(one)]
        destination_id = self._context.grant.destination_endpoint_id
        assert destination_id is not None, "a transfer has a destination"
        keep = keeping(self._context.options.filter_rules, set(trees))
        async with removing(
            self._context, self._recorder, destination_id, at_source=False, keep=keep
        ) as remover:
            self._context.lease.check()
            failures = await remover.remove(files, trees)
        if failures:
            raise SidedError(failures[0].error, at_source=False)
        self._there.forget([one.name for one in in_the_way])

    async def record(self) -> None:
        """Put the extras into the database, to be seen when the directory is. Raises SidedError."""
        if self._hides_something:
            return
        if self._unseen is not None:
            names = self._may_go(self._unseen.values())
            if not any(self._questions(name) for name in names):
                await self._add(names)
                return
        # Not on the walk's sessions: other directories' listings are under way there, and may have
        # to wait for what this one holds.
        source, destination = [opened for opened, _ in await open_both(self._context)]
        try:
            async for entries in self._at_destination(destination):
                names = self._may_go(entries)
                asked = {name: self._questions(name) for name in names}
                present = await _present(source, [one for some in asked.values() for one in some])
                await self._add([name for name in names if present.isdisjoint(asked[name])])
        finally:
            await asyncio.gather(source.close(), destination.close())

    async def commit(self, conn: AsyncConnection[Any]) -> None:
        """In the commit in which the directory leaves the frontier."""
        await removals.directory_listed(
            conn,
            self._context.task_no,
            self._directory.dir_no,
            any_extras=self._recorded > 0,
            unsure=self._hides_something,
        )

    @property
    def _hides_something(self) -> bool:
        """Whether names are at the source that it does not list: an extra may have one of them."""
        return self._count is not None and self._count > self._seen

    async def _at_destination(self, destination: Session) -> AsyncIterator[list[Entry]]:
        if self._unseen is not None:
            yield list(self._unseen.values())
            return
        with at_destination():
            async for batch in destination.list(self._path):
                yield batch

    def _may_go(self, entries: Iterable[Entry]) -> list[str]:
        """Names that no rule excludes, and that are not on the way to an item's end."""
        take = self._context.options.filter_rules.take
        return [
            entry.name
            for entry in entries
            if take(entry.name, is_directory=_is_directory(entry))
            and not self._protects(entry.name)
        ]

    def _questions(self, name: str) -> list[str]:
        """Paths of the source; if one of them is there, the name is no extra."""
        others = self._places.others(self._at(name), self._directory.item_no)
        if self._unseen is not None:
            return others
        return [
            self._context.source_path(self._directory.item_no, self._below(name)),
            *others,
        ]

    async def _add(self, names: Sequence[str]) -> None:
        for first in range(0, len(names), EXTRAS_PER_COMMIT):
            some = names[first : first + EXTRAS_PER_COMMIT]
            async with self._context.fenced() as conn:
                await removals.add_extras(
                    conn,
                    self._context.task_no,
                    dir_no=self._directory.dir_no,
                    item_no=self._directory.item_no,
                    paths=[self._below(name) for name in some],
                    first=self._recorded == 0,
                )
            self._recorded += len(some)

    def _differ(self, source: Entry, destination: Entry) -> bool:
        """Whether what is at the destination must go for what is to come."""
        if source.link_target is not None and self._context.options.recursive_symlinks == "keep":
            return destination.link_target is None
        if destination.link_target is not None:
            return True
        return source.is_directory != destination.is_directory or (
            not source.is_directory and destination.type is not EntryType.FILE
        )

    def _protects(self, name: str) -> bool:
        item = self._context.items[self._directory.item_no]
        return self._places.protect(item, self._below(name))

    def _at(self, name: str) -> str:
        return join(self._path, name)

    def _below(self, name: str) -> str:
        return join(self._directory.path, name) if self._directory.path else name


class ExtrasRun:
    """Removes the extras, when everything has been transferred."""

    def __init__(self, context: TaskContext, recorder: Recorder) -> None:
        self._context = context
        self._recorder = recorder
        self._trees: set[str] = set()
        self._failures: list[Failure] = []

    async def run(self) -> None:
        """Until all are gone that can go. Raises TaskFaultError or LeaseLostError."""
        context = self._context
        async with context.db.connection() as conn:
            left_out = await plan.skipped(conn, context.task_no)
        if left_out:
            self._recorder.event(_all_stay(left_out))
            return
        batch = await self._next(0)
        if batch:
            await self._remove_all(batch)
        raise_failures(context, self._recorder, self._failures, at_source=False)
        await self._recorder.flush()
        async with context.db.connection() as conn:
            done = await removals.extras(conn, context.task_no)
        for event in _told(done):
            self._recorder.event(event)

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
                if _is_directory(entry):
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
        left = {
            place for failure in failures for place in (failure.path, *_ancestors(failure.path))
        }
        return [number for path, number in paths.items() if path not in left]


def keeping(rules: FilterRules, roots: set[str]) -> Keep | None:
    """What stays in trees that are removed: names that the rules exclude. None: nothing."""
    if not rules:
        return None

    def keep(path: str, is_directory: bool) -> bool:  # noqa: FBT001 - called with positions
        while path not in roots and path != "/":
            path, name = posixpath.split(path)
            if not rules.take(name, is_directory=is_directory):
                return True
            is_directory = True
        return False

    return keep


def _is_directory(entry: Entry) -> bool:
    return entry.is_directory and entry.link_target is None


def _is_in(paths: Sequence[str], path: str) -> bool:
    """Whether sorted `paths` have it."""
    at = bisect_left(paths, path)
    return paths[at : at + 1] == [path]


def _any_in(paths: Sequence[str], place: str) -> bool:
    """Whether any of sorted `paths` is `place` or below it."""
    below = place.rstrip("/") + "/"
    at = bisect_left(paths, below)
    return _is_in(paths, place) or any(path.startswith(below) for path in paths[at : at + 1])


def _ancestors(path: str) -> list[str]:
    """The directories above an absolute path, the nearest first."""
    found: list[str] = []
    while path != "/":
        path = posixpath.dirname(path)
        found.append(path)
    return found


async def _present(source: Session, paths: Sequence[str]) -> set[str]:
    """Which of these are at the source. Raises SidedError."""
    present: set[str] = set()
    for first in range(0, len(paths), LOOKED_AT_ONCE):
        some = paths[first : first + LOOKED_AT_ONCE]
        there = await asyncio.gather(*(_is_there(source, path) for path in some))
        present |= {path for path, is_there in zip(some, there, strict=True) if is_there}
    return present


async def _is_there(source: Session, path: str) -> bool:
    with at_source():
        try:
            await source.stat(path)
        except GridFTPError as error:
            if error.kind in (Kind.NOT_FOUND, Kind.NOT_A_DIRECTORY):
                return False
            raise
        return True


def _all_stay(left_out: int) -> Event:
    return Event(
        EventCode.DELETE_DESTINATION_EXTRA_SKIPPED,
        "nothing extra deleted at the destination",
        {
            "error": f"{left_out} files or directories could not be read at the source, so it is"
            " not known what is extra at the destination. Nothing of it has been deleted.",
            "advice": "Mend what is in the list of skipped errors, and submit again.",
        },
    )


def _told(done: Extras) -> Iterable[Event]:
    if done.unsure_directories:
        yield Event(
            EventCode.DELETE_DESTINATION_EXTRA_SKIPPED,
            "not everything extra deleted at the destination",
            {
                "directories": done.unsure_directories,
                "error": "In so many directories the source has names that its server does not"
                " list, such as links that point nowhere. What is extra there at the destination"
                " has not been deleted, because it may be one of these.",
                "advice": "Remove such links at the source, and submit again.",
            },
        )
    if done.files or done.directories:
        yield Event(
            EventCode.DELETED_DESTINATION_EXTRA,
            "deleted what was extra at the destination",
            {"files": done.files, "directories": done.directories},
        )
