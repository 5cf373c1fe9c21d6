"""Mirroring (`delete_destination_extra`): what is at the destination and not at the source goes.

The walk compares both ends of each directory. What is of another type than at the source is in the
way, and goes before the copy; extras are recorded, and go when everything has been transferred.
Where there is doubt nothing goes.
"""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from towpath.gridftp.client.removal import is_real_directory
from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    at_destination,
    at_source,
    join,
    lies_in,
)
from towpath.transfer.engine.item_places import ItemPlaces
from towpath.transfer.engine.pairs import open_both
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import keeping, removing
from towpath.transfer.engine.sync import DestinationDirectory, status
from towpath.transfer.places import LOOKED_AT_ONCE, absolute_target, link_targets, real_places
from towpath.transfer.store import removals
from towpath.transfer.store.plan import Directory, Item

EXTRAS_PER_COMMIT: Final = 2_000
"""Of a directory with more they go into the database in parts: bounded memory."""


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
        self._spellings = {spelling(name) for name in entries or ()}
        self._spelled_otherwise: list[str] = []
        """Names of the source that the destination has in another spelling."""
        self._seen = 0
        self._count: int | None = None
        self._recorded = 0
        self.in_the_way: list[Entry] = []
        """What `make_way` removed at last, or, of a plan, would remove."""

    def count(self, names: int) -> None:
        """What the source says how many names the directory has."""
        self._count = names

    def see(self, entries: Sequence[Entry]) -> None:
        """These names are at the source, whether they take part or not."""
        self._seen += len(entries)
        if self._unseen is not None:
            for entry in entries:
                if entry.name in self._unseen:
                    del self._unseen[entry.name]
                elif self._spellings and spelling(entry.name) in self._spellings:
                    self._spelled_otherwise.append(entry.name)

    async def see_links(self, entries: Sequence[Entry]) -> None:
        """Where these lead to, nothing is removed from now on: it may be all there is.

        Whether they take part or not.
        """
        source = self._context.source_path(self._directory.item_no, self._directory.path)
        places = [
            place
            for entry in entries
            if entry.link_target is not None
            for place in self._places.linked(absolute_target(source, entry.link_target))
        ]
        if places:
            async with self._context.fenced() as conn:
                await removals.add_linked(conn, self._context.task_no, places)

    async def make_way(
        self, destination: Session, taken: Sequence[Entry], copied: Sequence[Entry]
    ) -> set[str]:
        """Remove what is at the places of these files and directories, or links that are kept, and
        is something else. Raises SidedError.

        Returns the names of which it stays, because links lead there.

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
        stays = await self._linked(destination, wanted, in_the_way)
        self.in_the_way = in_the_way = [one for one in in_the_way if one.name not in stays]
        if not in_the_way:
            return stays
        if self._context.planning:
            self._there.forget([one.name for one in in_the_way])
            return stays
        files = [self._at(one.name) for one in in_the_way if not is_real_directory(one)]
        trees = [self._at(one.name) for one in in_the_way if is_real_directory(one)]
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
        return stays

    async def record(self) -> None:
        """Put the extras into the database, to be seen when the directory is. Raises SidedError."""
        if self.hides_something:
            return
        if self._unseen is not None:
            names = self._may_go(self._unseen.values())
            if not self._spelled_otherwise and not any(self._questions(name) for name in names):
                await self._add(names)
                return
        # Not on the walk's sessions: other directories' listings are under way there, and may have
        # to wait for what this one holds.
        source, destination = [opened for opened, _ in await open_both(self._context)]
        try:
            await self._see_spellings(destination)
            async for entries in self._at_destination(destination):
                names = self._may_go(entries)
                asked = {name: self._questions(name) for name in names}
                present = await _present(source, [one for some in asked.values() for one in some])
                await self._add([name for name in names if present.isdisjoint(asked[name])])
        finally:
            await close_all([source, destination])

    async def commit(self, conn: AsyncConnection[Any]) -> None:
        """In the commit in which the directory leaves the frontier."""
        await removals.directory_listed(
            conn,
            self._context.task_no,
            self._directory.dir_no,
            any_extras=self._recorded > 0,
            unsure=self.hides_something,
        )

    @property
    def hides_something(self) -> bool:
        """Whether names may be at the source that it does not list: an extra may have one of them.

        A server that does not tell how many there are may leave out links that point nowhere.
        """
        return self._count is None or self._count > self._seen

    async def _see_spellings(self, destination: Session) -> None:
        """A destination that takes two spellings for one name may tell the other one: what is there
        by the source's, though it is not listed so, is no extra. Raises SidedError."""
        if self._unseen is None:
            return
        same: set[str] = set()
        for name in self._spelled_otherwise:
            if await status(destination, self._at(name)) is not None:
                same.add(spelling(name))
        self._unseen = {n: one for n, one in self._unseen.items() if spelling(n) not in same}

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
            if take(entry.name, is_directory=is_real_directory(entry))
            and not self._protects(entry.name)
        ]

    def _questions(self, name: str) -> list[str]:
        """Paths of the source; if one of them is there, the name is no extra."""
        others = self._places.others(self._item, self._below(name))
        if self._unseen is not None:
            return others
        own = [
            self._context.source_path(self._directory.item_no, self._below(one))
            for one in {name, *other_spellings(name)}
        ]
        return [*own, *others]

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

    async def _linked(
        self, destination: Session, wanted: Sequence[Entry], in_the_way: Sequence[Entry]
    ) -> set[str]:
        """Names of what links of the source lead to, or into, as far as they have been seen: it may
        have been moved here and left as a link, and is all there is. Raises SidedError."""
        data = {self._below(one.name): one.name for one in in_the_way if one.link_target is None}
        if not data:
            return set()
        item_no = self._directory.item_no
        async with self._context.db.connection() as conn:
            found = await removals.linked(
                conn, self._context.task_no, [(item_no, below) for below in data]
            )
        by_own_links = await self._linked_by_name(destination, wanted, data.values())
        return {data[below] for _, below in found} | by_own_links

    async def _linked_by_name(
        self, destination: Session, wanted: Sequence[Entry], in_the_way: Iterable[str]
    ) -> set[str]:
        """Those that the link of the same name leads to, or into. On another server, too: it may
        have the same files."""
        linked = {one.name: one.link_target for one in wanted if one.link_target is not None}
        names = [name for name in in_the_way if name in linked]
        if not names:
            return set()
        with at_destination():
            place = real_places(self._path, await link_targets(destination, self._path))[-1]
        source = self._context.source_path(self._directory.item_no, self._directory.path)
        return {
            name
            for name in names
            if lies_in(absolute_target(source, linked[name] or ""), join(place, name))
        }

    def _protects(self, name: str) -> bool:
        return self._places.protect(self._item, self._below(name))

    @property
    def _item(self) -> Item:
        return self._context.items[self._directory.item_no]

    def _at(self, name: str) -> str:
        return join(self._path, name)

    def _below(self, name: str) -> str:
        return join(self._directory.path, name) if self._directory.path else name


def spelling(name: str) -> str:
    """Equal for names that some file systems take for one: case or Unicode form differs."""
    return name if name.isascii() and name.islower() else _folded(name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def other_spellings(name: str) -> set[str]:
    """The likeliest of them."""
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    return {name.lower(), name.upper(), *forms} - {name}


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
