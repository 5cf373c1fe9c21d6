"""The plan of a delete: what is named is looked at, and listed to its last file; nothing goes.

What is a file, a tree or a mistake is as the delete itself has it (`engine.delete`). That removes
whole directories by one command; here each file, directory and link is an entry of its own, so that
whoever applies the plan removes nothing else. Directories on the frontier are listed a few at once,
and leave it in the commit that has what was in them (I4).
"""

import asyncio
import fnmatch
import posixpath
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.transfer import names
from towpath.transfer.engine.context import TaskContext, TaskFaultError, join
from towpath.transfer.engine.faults import code_of
from towpath.transfer.engine.last_look import AT_ONCE
from towpath.transfer.engine.pairs import open_session
from towpath.transfer.engine.planning import check_room
from towpath.transfer.places import ancestors, link_targets
from towpath.transfer.planned import Action, Planned, Reason, facts
from towpath.transfer.store import plan, plans
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plan import Directory

ENTRIES_AT_ONCE: Final = 1_000
"""Read from the plan together."""

_NOT_THERE: Final = frozenset({EventCode.FILE_NOT_FOUND, EventCode.NOT_A_DIRECTORY})
"""Faults of what holds up nothing else: the second, a part of its path is a file."""

_NOT_RECURSIVE: Final = "It is a directory, and the delete is not recursive."


@dataclass(slots=True)
class _Found:
    """What looking at an item, or listing a directory, has brought."""

    planned: list[Planned] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)
    """Directories to be listed."""


class DeletePlanning:
    """Goes through the items of a delete, and all that is below them."""

    def __init__(self, context: TaskContext, *, last_dir_no: int) -> None:
        self._context = context
        self._dir_no = last_dir_no
        self._one_by_one = False
        self._listings = asyncio.Semaphore(context.settings.listings_at_once)
        self._recursive = bool(context.grant.options.get("recursive"))
        self._ignore_missing = bool(context.grant.options.get("ignore_missing"))

    async def run(self) -> None:
        """Until all is in the plan. Raises TaskFaultError or LeaseLostError."""
        session = await self._open()
        try:
            await self._note_links(session)
            while batch := await self._next():
                if session.closed:
                    await session.close()
                    session = await self._open()
                await self._visit(session, batch)
        finally:
            await session.close()
        await self._settle()

    async def _open(self) -> Session:
        source_id = self._context.grant.source_endpoint_id
        session, _ = await open_session(self._context, source_id, at_source=True)
        return session

    async def _note_links(self, session: Session) -> None:
        """By those above what is named it is somewhere else when they change."""
        context = self._context
        async with context.db.connection() as conn:
            if await plans.links_above(conn, context.task_no) is not None:
                return
        above = {
            context.written_path(number, "")
            if context.is_pattern(number)
            else posixpath.dirname(context.written_path(number, ""))
            for number in context.items
        }
        try:
            targets = await link_targets(session, *above)
        except GridFTPError as error:
            verdict = context.judge(error, Phase.LISTING, at_source=True)
            raise TaskFaultError(verdict) from error
        check_room(context, len(targets))
        async with context.fenced() as conn:
            await plans.note_links(conn, context.task_no, targets)

    async def _next(self) -> Sequence[Directory]:
        limit = 1 if self._one_by_one else AT_ONCE
        async with self._context.db.connection() as conn:
            return await plan.next_directories(conn, self._context.task_no, limit=limit)

    async def _visit(self, session: Session, batch: Sequence[Directory]) -> None:
        """What ends the session, such as a name that cannot be sent, is told of all that were asked
        for with it: they are asked for again, and if it was all of them one alone. Raises
        TaskFaultError if that is no better."""
        alone = len(batch) == 1
        answers = await asyncio.gather(
            *(self._found(session, one, alone=alone) for one in batch), return_exceptions=True
        )
        seen = [
            (directory, found)
            for directory, found in zip(batch, answers, strict=True)
            if isinstance(found, _Found)
        ]
        for error in answers:
            if not isinstance(error, _Found | GridFTPError):
                raise error
        for error in answers:
            if isinstance(error, GridFTPError) and alone:
                verdict = self._context.judge(error, Phase.LISTING, at_source=True)
                raise TaskFaultError(verdict) from error
        self._one_by_one = not seen
        await self._commit(seen)

    async def _found(self, session: Session, directory: Directory, *, alone: bool) -> _Found:
        """Raises GridFTPError for what is not, or may be not, of this directory alone, and
        TaskFaultError."""
        found = _Found()
        try:
            if directory.path or self._context.is_pattern(directory.item_no):
                await self._list(session, directory, found)
            else:
                await self._look(session, directory, found)
        except GridFTPError as error:
            self._context.planned_entries -= len(found.planned)
            if error.scope is not Scope.FILE or (session.closed and not alone):
                raise
            found = _Found()
            if error.kind is not Kind.NOT_FOUND or not directory.path:  # else it has just gone
                path = directory.path or self._name(directory)
                details = names.to_text(error.message)
                self._add(
                    found,
                    Planned(directory.item_no, path, Action.FAULT, code_of(error), details=details),
                )
        return found

    def _name(self, item: Directory) -> str:
        """An item's path below what its entries are below: of a pattern, that."""
        if not self._context.is_pattern(item.item_no):
            return ""
        return posixpath.basename(self._context.items[item.item_no].source_path)

    async def _list(self, session: Session, directory: Directory, found: _Found) -> None:
        """Of an item that is a pattern, what matches it. Raises GridFTPError."""
        pattern = "" if directory.path else self._name(directory)
        place = self._context.written_path(directory.item_no, directory.path)
        if pattern and not (await session.stat(place)).is_directory:
            # listed, a file is said to be in itself
            raise GridFTPError(
                Kind.NOT_A_DIRECTORY, "a file is there", where=str(session.server), path=place
            )
        async with self._listings, aclosing(session.list(place)) as batches:
            async for batch in batches:
                for entry in batch:
                    if not pattern or fnmatch.fnmatchcase(entry.name, pattern):
                        path = posixpath.join(directory.path, entry.name)
                        if self._take(found, directory, entry, path):
                            found.trees.append(path)
        if pattern and not found.planned:
            self._is_missing(
                found,
                directory,
                GridFTPError(
                    Kind.NOT_FOUND,
                    "nothing matches",
                    where=str(session.server),
                    path=join(place, pattern),
                ),
            )

    async def _look(self, session: Session, item: Directory, found: _Found) -> None:
        """At an item; a tree is listed, too. Raises GridFTPError."""
        try:
            entry = await session.stat(self._context.written_path(item.item_no, ""))
        except GridFTPError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            self._is_missing(found, item, error)
        else:
            if self._take(found, item, entry, ""):
                await self._list(session, item, found)

    def _is_missing(self, found: _Found, item: Directory, error: GridFTPError) -> None:
        if not self._ignore_missing:
            raise error
        self._add(found, Planned(item.item_no, self._name(item), Action.SKIP, Reason.MISSING))

    def _take(self, found: _Found, directory: Directory, entry: Entry, path: str) -> bool:
        """Whether it is a tree that goes."""
        tree = entry.is_directory and entry.link_target is None
        action, reason, details = Action.DELETE, str(Reason.ASKED), ""
        if tree and not self._recursive:
            action, reason = Action.FAULT, str(EventCode.IS_A_DIRECTORY)
            details = _NOT_RECURSIVE
        self._add(
            found,
            Planned(
                *(directory.item_no, path, action, reason), there=facts(entry), details=details
            ),
        )
        return tree and action is Action.DELETE

    def _add(self, found: _Found, one: Planned) -> None:
        """Raises TaskFaultError when there are too many."""
        check_room(self._context, 1)
        found.planned.append(one)

    async def _commit(self, seen: Sequence[tuple[Directory, _Found]]) -> None:
        below: list[Directory] = []
        for directory, found in seen:
            for path in found.trees:
                self._dir_no += 1
                below.append(Directory(self._dir_no, directory.item_no, path))
        context = self._context
        async with context.fenced() as conn:
            planned = [one for _, found in seen for one in found.planned]
            await plans.add(conn, context.task_no, planned)
            await plan.visited(conn, context.task_no, [one for one, _ in seen], below)

    async def _settle(self) -> None:
        """What only shows when all is known."""
        context, after = self._context, 0
        told: list[Told] = []
        while True:
            async with context.db.connection() as conn:
                page = await plans.page(conn, context.task_no, after=after, limit=ENTRIES_AT_ONCE)
            if not page:
                break
            after = page[-1][0]
            told += [
                Told(number, one.action, one.reason, context.written_path(one.item_no, one.path))
                for number, one in page
            ]
        done = await asyncio.to_thread(settled, told)
        async with context.fenced() as conn:
            await plans.leave_out(conn, context.task_no, done.out)
            await plans.stay(conn, context.task_no, done.stay)


class Told(NamedTuple):
    """An entry of the plan of a delete; `place` is absolute."""

    number: int
    action: Action
    reason: str
    place: str


class Settled(NamedTuple):
    """Numbers of entries that are not to be in the plan, and of directories that cannot go."""

    out: list[int]
    stay: list[int]


def settled(told: Iterable[Told]) -> Settled:
    """What is said twice, because one item is in another, is said once: the last time, so that what
    is in a directory comes after it. A directory that cannot be emptied stays."""
    last: dict[tuple[Action, str], int] = {}
    out: list[int] = []
    faults: set[str] = set()
    above: set[str] = set()
    for one in told:
        key = one.action, one.place
        if key in last:
            out.append(last[key])
        last[key] = one.number
        if one.action is Action.FAULT and one.reason not in _NOT_THERE:
            faults.add(one.place)
            above.update(ancestors(one.place))
    deletions = [
        (place, number) for (action, place), number in last.items() if action is Action.DELETE
    ]
    out += [number for place, number in deletions if place in faults]
    return Settled(
        out, [number for place, number in deletions if place in above and place not in faults]
    )
