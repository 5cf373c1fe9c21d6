"""The walk: streams the source trees into the plan, a directory a commit (I4).

Transfers start at once. The walk makes the destination's directories before it makes their files
known, so a lane never needs to; it pauses while the plan's window is full.
"""

import asyncio
import posixpath
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer import names
from towpath.transfer.engine.compare import equal
from towpath.transfer.engine.context import (
    SidedError,
    Signal,
    TaskContext,
    TaskFaultError,
    Work,
    at_destination,
    at_source,
    join,
)
from towpath.transfer.engine.faults import Consequence, skipped
from towpath.transfer.engine.fidelity import DirectoryFindings
from towpath.transfer.engine.item_places import ItemPlaces, real_item_places
from towpath.transfer.engine.large import COMPARED_AT_ONCE
from towpath.transfer.engine.links import DirectoryLinks, SourcePlaces
from towpath.transfer.engine.mirror import DirectoryMirror
from towpath.transfer.engine.pairs import BothEnds, open_both
from towpath.transfer.engine.planning import (
    Batch,
    check_room,
    fault,
    file_action,
    missing_directories,
    refused_names,
    removals_of,
)
from towpath.transfer.engine.recorder import Recorder, record_skipped
from towpath.transfer.engine.shared import not_shared, overlaps
from towpath.transfer.engine.stopwatch import CHECKSUM, LISTING_DESTINATION, LISTING_SOURCE
from towpath.transfer.engine.sync import Decision, DestinationDirectory, EntryRoom, decide, status
from towpath.transfer.fidelity import Findings
from towpath.transfer.fidelity import Kind as Loss
from towpath.transfer.places import ancestors
from towpath.transfer.planned import Action, Planned, Reason, facts
from towpath.transfer.store import fidelity, links, plan, plans
from towpath.transfer.store.plan import Directory, File, Item

# A directory with more entries than this goes into the database in parts: bounded memory.
ENTRIES_PER_PART = 2_000
# MKDs sent ahead; a server takes about 1,000 queued commands.
DIRECTORIES_AT_ONCE = 200
WINDOW_FULL_WAIT_S = 0.5
# A directory that failed is looked at again after its back-off, in steps no longer than this.
LOOK_AGAIN_S = 5.0
# Several listings at once save round trips; where a round trip takes less, the server is the bound.
FAR_S = 0.01


class Walk:
    """Lists what is on the frontier until it is empty."""

    def __init__(
        self, context: TaskContext, recorder: Recorder, *, last_file_no: int, last_dir_no: int
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._numbers = count(last_file_no + 1)
        self._last_block = last_file_no // plan.BLOCK_OF_NUMBERS
        self._dir_no = last_dir_no
        self._one_server = False
        self._places: ItemPlaces | None = None
        self._source_places = SourcePlaces(context)
        self._listing_source: Session
        self._listing_destination: Session
        self._kept = EntryRoom(context.settings.sync_directory)
        self._visiting: set[int] = set()
        self._visits = 0
        self._none_after: tuple[int, float] | None = None
        """After how many visits, and when, no directory was due."""
        self._choosing = asyncio.Lock()
        self._visited = Signal()
        self._planned_first: dict[int, list[Planned]] = {}
        """Of a plan: what comes before a directory's own entries."""
        self._goes: set[tuple[int, str]] = set()
        """Of a plan: what is in the way, below which nothing would be there."""
        self._in_parts = asyncio.Lock()
        """Held by the one directory that is in the plan in parts: which rows are its is known."""

    async def run(self) -> None:
        """Until nothing is left to list. Raises TaskFaultError or LeaseLostError."""
        if self._context.planning:
            async with self._context.db.connection() as conn:
                self._goes = set(await plans.in_the_way(conn, self._context.task_no))
        while (due_s := await self._next_due_s()) is not None:
            if due_s > 0:
                await self._wait(due_s)
                continue
            (source, here), (destination, there) = await open_both(self._context)
            storages = (end.namespace for end in (here, there))
            self._one_server = len(set(storages)) == 1
            opened = [source, destination]
            try:
                at_once = await self._prepare_listings(opened)
                self._none_after = None  # one that failed earlier may be due by now
                async with asyncio.TaskGroup() as group:
                    for _ in range(at_once):
                        group.create_task(self._visit_all(source, destination))
            finally:
                await close_all([*opened, *self._source_places.leave()])
        self._context.walk_done = True
        self._context.changed.wake()

    async def _prepare_listings(self, opened: list[Session]) -> int:
        """Set the sessions that list; how many directories they list at once.

        If it is several, questions have sessions of their own: they would wait for all listings
        asked for before them.
        """
        self._listing_source, self._listing_destination = opened
        far = max(session.rtt_s for session in opened) >= FAR_S
        at_once = self._context.settings.listings_at_once if far else 1
        if at_once > 1:
            try:
                pairs = await open_both(self._context)
            except TaskFaultError as fault:
                if fault.verdict.consequence is not Consequence.RETRY_TASK:
                    raise
                return 1  # a server allows no more sessions
            self._listing_source, self._listing_destination = (session for session, _ in pairs)
            opened += [self._listing_source, self._listing_destination]
        return at_once

    async def _visit_all(self, source: Session, destination: Session) -> None:
        """All directories that are due now, and what is found in them, beside others that do the
        same on the same sessions."""
        while True:
            visits = self._visits
            directory = await self._next()
            if directory is None:
                if self._visiting:
                    await self._visited.wait(LOOK_AGAIN_S)
                elif visits == self._visits:  # else what that one found was not there yet
                    return
                continue
            try:
                await self._room_in_plan()
                with self._context.stopwatch.phase(LISTING_SOURCE):
                    await self._visit(source, destination, directory)
            except SidedError as sided:
                await self._list_later(directory, sided)
            finally:
                self._visiting.discard(directory.dir_no)
                self._visits += 1
                self._visited.wake()

    async def _room_in_plan(self) -> None:
        while self._context.open_files >= self._context.settings.plan_window:
            with self._context.stopwatch.phase(None):
                await self._context.changed.wait(WINDOW_FULL_WAIT_S)

    async def _list_later(self, directory: Directory, sided: SidedError) -> None:
        """A directory's failure does not hold up the others. Raises TaskFaultError for more."""
        if self._context.planning and sided.error.scope is Scope.FILE:
            await self._plan(
                directory, [fault(self._context, directory.item_no, directory.path, sided)]
            )
            return
        if self._context.skips(sided.error, at_source=sided.at_source):
            await self._skip(directory, sided.error)
            return
        self._recorder.event(self._context.of_one_file(sided, Phase.LISTING))
        delay_s = self._context.backoff_s(directory.attempt + 1)
        async with self._context.fenced() as conn:
            await plan.list_later(conn, self._context.task_no, directory.dir_no, delay_s=delay_s)

    async def _note_impossible(self, directory: Directory, error: GridFTPError) -> None:
        lost = Findings()
        path = self._context.source_path(directory.item_no, directory.path)
        lost.note(Loss.IMPOSSIBLE_NAMES, names.to_text(path), error.message)
        async with self._context.fenced() as conn:
            await fidelity.add(conn, self._context.task_no, lost)

    async def _skip(self, directory: Directory, error: GridFTPError) -> None:
        is_directory = directory.path != "" or bool(
            self._context.items[directory.item_no].recursive
        )
        left_out = skipped(directory.item_no, directory.path, error, is_directory=is_directory)
        async with self._context.fenced() as conn:
            await plan.directory_skipped(
                conn, self._context.task_no, directory.dir_no, is_directory=is_directory
            )
            await record_skipped(conn, self._context.task_no, [left_out])

    async def _wait(self, due_s: float) -> None:
        """For a directory that failed; the watch may end the task's turn meanwhile."""
        self._context.walk_waits = True
        with self._context.stopwatch.phase(None):
            await asyncio.sleep(min(due_s, LOOK_AGAIN_S))
        self._context.walk_waits = False

    async def _next_due_s(self) -> float | None:
        async with self._context.db.connection() as conn:
            return await plan.next_directory_due_s(conn, self._context.task_no)

    async def _next(self) -> Directory | None:
        """The next directory that is due. Between two visits not everybody asks for it."""
        context = self._context
        async with self._choosing:
            none_after = (self._visits, context.clock())
            if self._none_after is not None:
                visits, asked_at = self._none_after
                if visits == self._visits and context.clock() - asked_at < LOOK_AGAIN_S:
                    return None
            async with context.db.connection() as conn:
                directory = await plan.next_directory(conn, context.task_no, but=self._visiting)
            if directory is not None:
                self._visiting.add(directory.dir_no)
            self._none_after = none_after if directory is None else None
            return directory

    async def _visit(self, source: Session, destination: Session, directory: Directory) -> None:
        if directory.path == "" and not await self._item_is_directory(
            source, destination, directory
        ):
            return
        await self._list(source, destination, directory)

    async def _item_is_directory(
        self, source: Session, destination: Session, directory: Directory
    ) -> bool:
        """Look what the item is; a file goes into the plan here."""
        item = self._context.items[directory.item_no]
        assert item.destination_path is not None, "a transfer's items have destinations"
        with at_source():
            entry = await source.stat(item.source_path)
            is_directory = entry.is_directory
            tree = False if item.external_checksum is not None else item.recursive
            if tree is not None and tree != is_directory:
                raise GridFTPError(
                    Kind.IS_A_DIRECTORY if is_directory else Kind.NOT_A_DIRECTORY,
                    _directory_refused(item)
                    if is_directory
                    else "the source is a file, but the item is recursive",
                    where=str(source.server),
                    path=item.source_path,
                )
            if self._one_server and await overlaps(source, destination, item, entry):
                # Opening the destination would empty the source before it is read.
                raise GridFTPError(
                    Kind.INVALID_NAME,
                    "the destination is the source itself, or inside it",
                    where=str(source.server),
                    path=item.destination_path,
                )
        if self._context.planning:
            return await self._plan_item(source, destination, directory, entry)
        self._context.lease.check()
        if is_directory:
            await _make(destination, item.destination_path, ancestors=True)
            return True
        await _make(destination, posixpath.dirname(item.destination_path), ancestors=True)
        level, decision = self._context.options.sync_level, Decision.COPY
        if level is not None:
            there = await status(destination, item.destination_path)
            decision = decide(level, entry, there)
        findings = DirectoryFindings(posixpath.dirname(item.source_path))
        findings.look_at_mode(entry._replace(name=posixpath.basename(item.source_path)))
        found = _Found(findings, self._numbers, files_found=1)
        if decision is Decision.SKIP:
            found.files_skipped = 1
        else:
            found.files.append(found.file(directory, entry, "", decision))
        await self._commit(directory, found, is_directory=False)
        return False

    async def _plan_item(
        self, source: Session, destination: Session, directory: Directory, entry: Entry
    ) -> bool:
        """Put into the plan what is to be made for an item; and the item, if it is a file. Whether
        it is a directory. Raises SidedError."""
        item = self._context.items[directory.item_no]
        assert item.destination_path is not None, "a transfer's items have destinations"
        place = item.destination_path
        above = [place, *ancestors(place)]
        missing = await missing_directories(
            destination, place if entry.is_directory else posixpath.dirname(place)
        )
        planned = [
            Planned(
                *(item.item_no, "", Action.MAKE_DIRECTORY, Reason.NEW),
                above=above.index(one),
            )
            for one in missing
        ]
        if entry.is_directory:
            self._planned_first[directory.dir_no] = planned
            return True
        there = None if missing else await status(destination, place)
        level, decision = self._context.options.sync_level, Decision.COPY
        if level is not None:
            decision = decide(level, entry, there)
        if decision is Decision.COMPARE:
            [decision] = await self._compared(
                BothEnds(source, destination), [self._file(directory, entry, "")]
            )
        action, reason, details = file_action(entry, there, decision, sync_level=level)
        planned.append(
            Planned(item.item_no, "", action, reason, facts(entry), facts(there), details)
        )
        await self._plan(directory, planned, files=1)
        return False

    async def _plan(
        self, directory: Directory, planned: Sequence[Planned], *, files: int = 0
    ) -> None:
        """What leaves the frontier, and is no directory to be listed, is in the plan."""
        context = self._context
        check_room(context, len(planned))
        async with context.fenced() as conn:
            await plans.add(conn, context.task_no, planned)
            await plan.directory_listed(
                conn,
                context.task_no,
                directory,
                files=(),
                directories=(),
                files_found=files,
                links_found=0,
                is_directory=not files,
            )

    def _will_be_new(self, directory: Directory) -> bool:
        """Of a plan: whether what is at the directory's place now will be gone by then."""
        if not self._goes:
            return False
        below = ["", *(path.lstrip("/") for path in ancestors("/" + directory.path))]
        return any((directory.item_no, path) in self._goes for path in (directory.path, *below))

    def _file(self, directory: Directory, entry: Entry, path: str) -> File:
        return File(0, directory.item_no, path, entry.size, entry.modified, compare=True)

    async def _compared(self, ends: BothEnds, files: Sequence[File]) -> list[Decision]:
        """By digests, for a plan. What cannot be compared is told when it is copied. Raises
        SidedError."""
        found: list[Decision] = []
        with self._context.stopwatch.phase(CHECKSUM):
            for first in range(0, len(files), COMPARED_AT_ONCE):
                some = files[first : first + COMPARED_AT_ONCE]
                same = await asyncio.gather(
                    *(equal(self._context, ends, file) for file in some), return_exceptions=True
                )
                for one in same:
                    told = isinstance(one, SidedError) and one.error.scope is Scope.FILE
                    if isinstance(one, BaseException) and not told:
                        raise one
                    found.append(Decision.SKIP if one is True else Decision.COPY)
        return found

    async def _list(self, source: Session, destination: Session, directory: Directory) -> None:
        there = self._there(destination, directory)
        path = self._context.source_path(directory.item_no, directory.path)
        async with AsyncExitStack() as stack:
            if there is not None:
                stack.callback(there.release)
                with self._context.stopwatch.phase(LISTING_DESTINATION):
                    if not self._will_be_new(directory):
                        await there.load()
            mirror = await self._mirror(source, destination, directory, there)
            found = _Found(DirectoryFindings(path), self._numbers, mirror=mirror)
            found.ends = BothEnds(source, destination)
            found.planned = self._planned_first.pop(directory.dir_no, [])
            found.dir_no = directory.dir_no
            entries = await stack.enter_async_context(
                aclosing(self._listing_source.list(path, on_count=found.count))
            )
            try:
                await self._gather(entries, destination, directory, there, found, stack)
                if mirror is not None:
                    await mirror.record()
                    if self._context.planning and mirror.hides_something:
                        found.planned.append(
                            Planned(directory.item_no, directory.path, Action.SKIP, Reason.UNSURE)
                        )
            except SidedError as sided:
                if found.in_parts:
                    await self._context.in_parts(plan.forget_some)
                    async with self._context.fenced() as conn:
                        await plan.forget_unlisted(conn, self._context.task_no)
                        await plans.forget(conn, self._context.task_no, directory.dir_no)
                if sided.error.kind is Kind.INVALID_NAME:
                    await self._note_impossible(directory, sided.error)
                await _read_to_the_end(entries)
                raise
            await self._commit(directory, found, is_directory=True)

    async def _gather(
        self,
        entries: AsyncIterator[list[Entry]],
        destination: Session,
        directory: Directory,
        there: DestinationDirectory | None,
        found: "_Found",
        stack: AsyncExitStack,
    ) -> None:
        """All that is in a directory; if that is much, most of it is in the plan then."""
        found.links = linked = DirectoryLinks(
            self._context,
            directory,
            found.findings,
            self._source_places,
            one_server=self._one_server,
        )
        mirror = found.mirror
        while batch := await _next_batch(entries):
            found.findings.listed(batch)
            taken = [entry for entry in batch if self._takes_part(entry)]
            found.findings.look(taken)
            planned = await self._planned(directory, batch, there)
            copied = followed = await linked.copied(destination, taken)
            gone = await linked.make_way(destination, there, copied)
            if mirror is not None:
                mirror.see(batch)
                await mirror.see_links(batch)
                stays = await mirror.make_way(destination, taken, copied)
                for name in stays & {entry.name for entry in copied}:
                    found.findings.note(Loss.SHARED_WITH_SOURCE, name)
                copied = [entry for entry in copied if entry.name not in stays]
            if self._one_server and there is not None:
                copied = await not_shared(there, copied, found.findings)
            regular = [entry for entry in copied if entry.type is EntryType.FILE]
            decisions = await self._decisions(regular, there)
            if planned is not None:
                planned.taken = {entry.name for entry in taken}
                planned.followed = {entry.name for entry in followed}
                planned.wanted = {entry.name for entry in copied}
                in_the_way = [] if mirror is None else mirror.in_the_way
                planned.gone = {*gone, *(one.name for one in in_the_way)}
                await self._put_into_plan(directory, planned, regular, decisions, found)
                blocked = {one.path for one in found.planned if one.action is Action.FAULT}
                copied = [one for one in copied if _below(directory, one.name) not in blocked]
            for entry in copied:
                if entry.type is EntryType.DIRECTORY:
                    self._dir_no += 1
                    below = _below(directory, entry.name)
                    found.directories.append(Directory(self._dir_no, directory.item_no, below))
            wanted = [] if planned else self._wanted(directory, regular, decisions, found)
            found.files += wanted
            found.files_found += len(regular)
            found.files_skipped += len(regular) - len(wanted)
            if len(found.files) + len(found.directories) + len(found.planned) >= ENTRIES_PER_PART:
                if not found.in_parts:
                    await stack.enter_async_context(self._in_parts)
                    await self._begin_parts(found)
                await self._add_part(destination, found)
        found.findings.all_listed()
        await self._make_all(destination, found.directories)

    async def _begin_parts(self, found: "_Found") -> None:
        self._last_block += 1
        first = self._last_block * plan.BLOCK_OF_NUMBERS
        async with self._context.fenced() as conn:
            await plan.hide(conn, self._context.task_no, first)
        found.in_parts = True
        found.numbers = count(first)
        found.files = [replace(file, file_no=next(found.numbers)) for file in found.files]

    async def _add_part(self, destination: Session, found: "_Found") -> None:
        await self._make_all(destination, found.directories)
        task_no = self._context.task_no
        async with self._context.fenced() as conn:
            await plan.add_part(conn, task_no, found.files, found.directories)
            await plans.add(conn, task_no, found.planned, dir_no=found.dir_no)
        found.files, found.directories, found.planned = [], [], []

    def _takes_part(self, entry: Entry) -> bool:
        is_directory = entry.is_directory and entry.link_target is None
        return self._context.options.filter_rules.take(entry.name, is_directory=is_directory)

    def _there(self, destination: Session, directory: Directory) -> DestinationDirectory | None:
        """What a sync level or mirroring compares with, what is in the way of links that are kept,
        and what may be the source's own."""
        options = self._context.options
        keep = options.recursive_symlinks == "keep"
        compares = options.sync_level is not None or options.delete_destination_extra
        if not compares and not keep and not self._one_server and not self._context.planning:
            return None
        path = self._context.destination_path(directory.item_no, directory.path)
        return DestinationDirectory(
            destination, path, room=self._kept, listing=self._listing_destination
        )

    async def _mirror(
        self,
        source: Session,
        destination: Session,
        directory: Directory,
        there: DestinationDirectory | None,
    ) -> DirectoryMirror | None:
        if there is None or not self._context.options.delete_destination_extra:
            return None
        if self._places is None:
            self._places = await real_item_places(
                self._context.items.values(), source, destination, one_server=self._one_server
            )
        return DirectoryMirror(self._context, self._recorder, self._places, directory, there)

    async def _planned(
        self, directory: Directory, entries: Sequence[Entry], there: DestinationDirectory | None
    ) -> Batch | None:
        """Of a plan: what these entries are decided by, as it is before anything would be done."""
        if not self._context.planning or there is None:
            return None
        looked = await there.look([entry.name for entry in entries])
        return Batch(
            directory.item_no,
            partial(_below, directory),
            self._context.options,
            entries,
            {entry.name: found for entry, found in zip(entries, looked, strict=True)},
        )

    async def _put_into_plan(
        self,
        directory: Directory,
        planned: Batch,
        regular: Sequence[Entry],
        decisions: Sequence[Decision],
        found: "_Found",
    ) -> None:
        """What would be done about these entries. Raises SidedError or TaskFaultError."""
        context, item_no, ends = self._context, directory.item_no, found.ends
        assert ends is not None, "a directory is listed from one to the other"
        by_name = {entry.name: one for entry, one in zip(regular, decisions, strict=True)}
        compared = [entry for entry in regular if by_name[entry.name] is Decision.COMPARE]
        if compared:
            files = [self._file(directory, one, _below(directory, one.name)) for one in compared]
            results = await self._compared(ends, files)
            by_name |= {one.name: result for one, result in zip(compared, results, strict=True)}
        planned.decisions = by_name
        place = context.destination_path(item_no, directory.path)
        in_the_way = [
            (join(place, name), entry) for name in planned.gone if (entry := planned.there[name])
        ]
        more: list[Planned] = []
        if in_the_way:
            base = context.destination_path(item_no, "")
            instead = {join(place, entry.name): facts(entry) for entry in planned.entries}
            more += await removals_of(
                context, item_no, base, in_the_way, Reason.IN_THE_WAY, instead=instead
            )
            self._goes.update((item_no, one.path) for one in more)
        more += await refused_names(ends.destination, place, planned.planned())
        check_room(context, len(more))
        found.planned += more

    async def _decisions(
        self, entries: Sequence[Entry], there: DestinationDirectory | None
    ) -> list[Decision]:
        """By what is known of the destination. Raises SidedError."""
        level = self._context.options.sync_level
        if there is None or level is None:
            return [Decision.COPY] * len(entries)
        looked = await there.look([entry.name for entry in entries])
        return [decide(level, *pair) for pair in zip(entries, looked, strict=True)]

    def _wanted(
        self,
        directory: Directory,
        entries: Sequence[Entry],
        decisions: Sequence[Decision],
        found: "_Found",
    ) -> list[File]:
        """The files that are not known to be at the destination."""
        return [
            found.file(directory, entry, _below(directory, entry.name), decision)
            for entry, decision in zip(entries, decisions, strict=True)
            if decision is not Decision.SKIP
        ]

    async def _make_all(self, destination: Session, directories: list[Directory]) -> None:
        if self._context.planning:
            return
        for first in range(0, len(directories), DIRECTORIES_AT_ONCE):
            some = directories[first : first + DIRECTORIES_AT_ONCE]
            self._context.lease.check()
            with self._context.stopwatch.phase(LISTING_DESTINATION):
                made = await asyncio.gather(
                    *(
                        _make(destination, self._context.destination_path(d.item_no, d.path))
                        for d in some
                    ),
                    return_exceptions=True,
                )
            for failure in made:
                if failure is not None:
                    raise failure

    async def _commit(self, directory: Directory, found: "_Found", *, is_directory: bool) -> None:
        async with self._context.fenced() as conn:
            await plan.directory_listed(
                conn,
                self._context.task_no,
                directory,
                files=found.files,
                directories=found.directories,
                in_parts=found.in_parts,
                files_found=found.files_found,
                files_skipped=found.files_skipped,
                bytes_found=found.bytes_found,
                links_found=found.links.found if found.links else 0,
                is_directory=is_directory,
            )
            await plans.add(conn, self._context.task_no, found.planned)
            if found.in_parts:
                await plans.listed(conn, self._context.task_no, directory.dir_no)
            await fidelity.add(conn, self._context.task_no, found.findings.found)
            if found.links is not None and not self._context.planning:
                await links.add(conn, self._context.task_no, found.links.segments())
            if found.mirror is not None:
                await found.mirror.commit(conn)
        self._context.arrivals.add(*found.work)
        if not self._context.planning:
            self._context.open_files += found.files_found - found.files_skipped
        self._context.changed.wake()


@dataclass(slots=True)
class _Found:
    """What is known of one directory."""

    findings: DirectoryFindings
    numbers: Iterator[int]
    """For its files."""
    files: list[File] = field(default_factory=list)
    """Those to be copied, as far as they are not in the plan."""
    directories: list[Directory] = field(default_factory=list)
    in_parts: bool = False
    """Whether some of it is in the plan, not to be seen yet."""
    files_found: int = 0
    files_skipped: int = 0
    bytes_found: int = 0
    """Of those to be copied."""
    links: DirectoryLinks | None = None
    """None: it is no directory."""
    mirror: DirectoryMirror | None = None
    ends: BothEnds | None = None
    planned: list[Planned] = field(default_factory=list)
    """Of a plan: what would be done, as far as it is not in there."""
    dir_no: int = 0

    @property
    def work(self) -> set[Work]:
        """Who has something to do when it is in the plan."""
        if self.in_parts:
            return {Work.SMALL, Work.LARGE}
        return {Work.LARGE if f.size >= plan.LARGE_FILE_BYTES else Work.SMALL for f in self.files}

    def count(self, names: int) -> None:
        """What the source says how many names the directory has."""
        self.findings.count(names)
        if self.mirror is not None:
            self.mirror.count(names)

    def file(self, directory: Directory, entry: Entry, path: str, decision: Decision) -> File:
        """One that goes into the plan."""
        compare = decision is Decision.COMPARE
        number = next(self.numbers)
        self.bytes_found += entry.size
        return File(number, directory.item_no, path, entry.size, entry.modified, compare=compare)


async def _next_batch(entries: AsyncIterator[list[Entry]]) -> list[Entry]:
    """Of a source's listing; [] at its end. Raises SidedError."""
    with at_source():
        return await anext(entries, [])


async def _read_to_the_end(entries: AsyncIterator[list[Entry]]) -> None:
    """What is left of it would stand in the way of the listings behind."""
    with suppress(GridFTPError):
        async for _ in entries:
            pass


def _below(directory: Directory, name: str) -> str:
    return join(directory.path, name) if directory.path else name


def _directory_refused(item: Item) -> str:
    if item.external_checksum is not None:
        return "the source is a directory, and an external checksum is of a file"
    return "the source is a directory, but the item is not recursive"


async def _make(destination: Session, path: str, *, ancestors: bool = False) -> None:
    """Make a destination directory; one that exists is fine. Raises SidedError."""
    with at_destination():
        try:
            if ancestors:
                await destination.make_directories(path)
            else:
                await destination.mkdir(path)
        except GridFTPError as error:
            if error.kind is not Kind.EXISTS:
                raise
