"""Symbolic links met in a tree (`recursive_symlinks`): passed over, made again, or followed.

Servers tell of a link what it points to, and where that really is, links on the way resolved. So
where a directory of the plan really is follows from the links among the parts of its path, and
nothing about it needs to be remembered.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from towpath.gridftp.client.session import Session
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer import names
from towpath.transfer.engine.context import (
    TaskContext,
    at_destination,
    at_source,
    join,
    lies_in,
)
from towpath.transfer.engine.fidelity import DirectoryFindings
from towpath.transfer.engine.pairs import open_session
from towpath.transfer.engine.removal import remove_files
from towpath.transfer.engine.sync import DestinationDirectory
from towpath.transfer.fidelity import Kind
from towpath.transfer.places import LOOKED_AT_ONCE, absolute_target, link_targets, real_places
from towpath.transfer.store import links
from towpath.transfer.store.links import Link, Segment
from towpath.transfer.store.plan import Directory

FOLLOWED_MAX: Final = 8
"""Links to directories on one path. Two in each directory make 2^8 copies of the last one."""


class SourcePlaces:
    """Asks the source where its directories really are, on a session of its own.

    On the walk's a question would wait for the listings asked for before it.
    """

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._session: Session | None = None
        self._opening = asyncio.Lock()

    async def link_targets(self, path: str) -> dict[str, str]:
        """See `link_targets`. Raises SidedError or TaskFaultError."""
        async with self._opening:
            if self._session is None or self._session.closed:
                endpoint_id = self._context.grant.source_endpoint_id
                self._session, _ = await open_session(self._context, endpoint_id, at_source=True)
        with at_source():
            return await link_targets(self._session, path)

    def leave(self) -> list[Session]:
        """Its session, if there is one, to be closed."""
        session, self._session = self._session, None
        return [] if session is None else [session]


class DirectoryLinks:
    """The links of one directory of the source."""

    def __init__(
        self,
        context: TaskContext,
        directory: Directory,
        findings: DirectoryFindings,
        source_places: SourcePlaces,
        *,
        one_server: bool,
    ) -> None:
        """`one_server`: source and destination are the same."""
        self.found = 0
        self._context = context
        self._mode = context.options.recursive_symlinks
        self._directory = directory
        self._findings = findings
        self._source_places = source_places
        self._one_server = one_server
        self._places: list[str] = []
        self._deep = 0
        self._to_make: list[Link] = []
        self._packed: list[Segment] = []

    async def _find_places(self) -> None:
        """Find out where the directory really is."""
        root = self._context.items[self._directory.item_no].source_path
        path = self._context.source_path(self._directory.item_no, self._directory.path)
        targets = await self._source_places.link_targets(path)
        self._places = real_places(path, targets)
        self._deep = sum(1 for linked in targets if linked != root and lies_in(linked, root))

    async def copied(self, destination: Session, entries: Sequence[Entry]) -> list[Entry]:
        """The entries without those links that are not copied as what they point to.

        Raises SidedError.
        """
        linked = [entry for entry in entries if entry.link_target is not None]
        if not linked:
            return list(entries)
        self.found += len(linked)
        if self._mode == "copy":
            left_out = await self._not_copied(destination, linked)
            return [entry for entry in entries if entry.name not in left_out]
        for entry in linked:
            if self._mode == "keep":
                self._keep(entry)
            else:
                self._note(Kind.LINKS_IGNORED, entry)
        return [entry for entry in entries if entry.link_target is None]

    async def make_way(
        self, destination: Session, there: DestinationDirectory | None, entries: Sequence[Entry]
    ) -> list[str]:
        """Remove links that an earlier 'keep' made where now these files and directories go, as far
        as it is known what is there (`there`).

        A server writes through a link, and what it points to is a part of the copy, too. Links that
        lead out of the copy are somebody's arrangement, and stay. Returns the names of those that
        are removed (of a plan: would be). Raises SidedError.
        """
        if there is None:
            return []
        looked = await there.look([entry.name for entry in entries])
        linked = {
            entry.name: found.link_target
            for entry, found in zip(entries, looked, strict=True)
            if found is not None and found.link_target is not None
        }
        if not linked:
            return []
        item_no = self._directory.item_no
        root = self._context.destination_path(item_no, "")
        place = self._context.destination_path(item_no, self._directory.path)
        with at_destination():
            real = real_places(root, await link_targets(destination, root))[-1]
            gone = [
                n for n, target in linked.items() if lies_in(absolute_target(place, target), real)
            ]
            for first in range(0, 0 if self._context.planning else len(gone), LOOKED_AT_ONCE):
                some = gone[first : first + LOOKED_AT_ONCE]
                await remove_files(self._context, destination, [join(place, name) for name in some])
        there.forget(gone)
        return gone

    def segments(self) -> list[Segment]:
        """The links to be made."""
        if self._to_make:
            self._pack()
        return self._packed

    def _keep(self, entry: Entry) -> None:
        path = join(self._directory.path, entry.name) if self._directory.path else entry.name
        self._to_make.append(Link(self._directory.item_no, path, entry.link_target or ""))
        if len(self._to_make) >= links.SEGMENT_LINKS:
            self._pack()

    def _pack(self) -> None:
        self._packed.append(links.pack(self._to_make))
        self._to_make = []

    async def _not_copied(self, destination: Session, linked: Sequence[Entry]) -> set[str]:
        if not self._places:
            await self._find_places()
        names_left_out: set[str] = set()
        for first in range(0, len(linked), LOOKED_AT_ONCE):
            some = linked[first : first + LOOKED_AT_ONCE]
            reasons = await asyncio.gather(*(self._why_not(destination, entry) for entry in some))
            for entry, why in zip(some, reasons, strict=True):
                if why is not None:
                    self._note(Kind.LINKS_NOT_FOLLOWED, entry, why)
                    names_left_out.add(entry.name)
                elif entry.type is EntryType.OTHER:
                    self._note(Kind.SPECIAL_FILES, entry)
                else:
                    self._findings.look_at_mode(entry)
        return names_left_out

    async def _why_not(self, destination: Session, entry: Entry) -> str | None:
        """Why a link is not copied as what it points to; None: it is."""
        target = absolute_target(self._places[-1], entry.link_target or "")
        if entry.is_directory:
            if leads_round(target, self._places):
                return "a directory that it is in"
            if self._deep >= FOLLOWED_MAX:
                return f"behind {self._deep} other links"
        if self._one_server and await self._leads_to_copy(destination, entry, target):
            return "where its own copy would be"
        return None

    async def _leads_to_copy(self, destination: Session, entry: Entry, target: str) -> bool:
        """Within one server: what it points to is the place of its copy, or holds it, or is in it.

        A directory would be copied into itself, and a file emptied, or removed with a directory
        that is in the way, before it is read.
        """
        directory = self._directory
        place = self._context.destination_path(directory.item_no, directory.path)
        path = join(place, entry.name)
        with at_destination():
            real = real_places(path, await link_targets(destination, path))[-1]
        return lies_in(real, target) or lies_in(target, real)

    def _note(self, kind: Kind, entry: Entry, why: str = "") -> None:
        target = f"to {names.to_text(entry.link_target or '')}"
        self._findings.note(kind, entry.name, f"{target}: {why}" if why else target)


def leads_round(target: str, places: Sequence[str]) -> bool:
    """Whether a directory that one is in, or came through, is `target` or below it."""
    return any(lies_in(place, target) for place in places)


def same_place(one: Entry, other: Entry) -> bool:
    """Whether two names at one server are of one file, links followed."""
    if one.unique is not None and other.unique is not None:
        return one.unique == other.unique
    places = {entry.link_target or entry.name for entry in (one, other)}
    return len(places) == 1
