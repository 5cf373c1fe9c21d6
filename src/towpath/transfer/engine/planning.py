"""Plans: the walk of a transfer that does nothing, and says what it would do.

The decisions are the walk's own (`walk`, `sync`, `links`, `mirror`); here they are put into words,
and what would be removed is listed to its last file, so that whoever applies the plan removes
nothing else. Sessions of a plan send no command that changes anything (`pairs.open_another`).
"""

import posixpath
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from towpath.gridftp.client.removal import Keep, is_real_directory
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree_listing import list_tree
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer import names
from towpath.transfer.engine.context import (
    Options,
    SidedError,
    TaskContext,
    TaskFaultError,
    at_destination,
    join,
)
from towpath.transfer.engine.faults import code_of, plan_too_large
from towpath.transfer.engine.last_look import look_at, look_at_each
from towpath.transfer.engine.pairs import open_another, open_session
from towpath.transfer.engine.removal import keeping
from towpath.transfer.engine.sync import Decision, status
from towpath.transfer.places import ancestors
from towpath.transfer.planned import Action, Facts, Planned, Reason, facts
from towpath.transfer.store import plans, removals
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plan import encode
from towpath.transfer.store.removals import Extra

EXTRAS_AT_ONCE: Final = 1_000
"""Looked at, and put into the plan, together."""

MAY_BE_LONG_NAME: Final = 140
"""Bytes of a name that every file system holds: encrypted ones 143, nearly all others 255."""
MAY_BE_LONG_PATH: Final = 1_000
"""Bytes of a path that every server can reach: some 1,023, most 4,095."""

_MAY_NOT_READ: Final = "The source says that you may not read it."
_MAY_NOT_WRITE: Final = "The destination says that you may not write it."
_NEW_NAMES: Final = frozenset({Action.COPY, Action.MAKE_DIRECTORY, Action.MAKE_LINK})
_IN_ITS_PLACE: Final = "A file or directory is in the place of the link."


def check_room(context: TaskContext, more: int) -> None:
    """So many entries more are in the plan. Raises TaskFaultError if that is too much."""
    context.planned_entries += more
    most = context.settings.plan_entries
    if context.planned_entries > most:
        raise TaskFaultError(plan_too_large(most))


@dataclass(slots=True)
class Batch:
    """What the walk has decided about some entries of a directory; it takes what the decisions are
    about in the order in which they are made."""

    item_no: int
    below: Callable[[str], str]
    options: Options
    entries: Sequence[Entry]
    there: Mapping[str, Entry | None]
    """What is at the destination under their names."""
    taken: Collection[str] = ()
    """Names that no filter excludes."""
    followed: Collection[str] = ()
    """Of these, those that are files or directories, or copied as such."""
    wanted: Collection[str] = ()
    """Of these, those that are not one and the same at both ends."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """Of files."""
    gone: Collection[str] = ()
    """What was in the way under these names would be removed before."""

    def planned(self) -> list[Planned]:
        """All of them, in words."""
        return [one for entry in self.entries for one in self._of(entry)]

    def _of(self, entry: Entry) -> list[Planned]:
        there = None if entry.name in self.gone else self.there.get(entry.name)
        action, reason, details = self._decision(entry, there)
        if action is None:
            return []
        path = self.below(entry.name)
        return [Planned(self.item_no, path, action, reason, facts(entry), facts(there), details)]

    def _decision(self, entry: Entry, there: Entry | None) -> tuple[Action | None, str, str]:
        name = entry.name
        if name not in self.taken:
            return Action.SKIP, Reason.FILTER, ""
        if name not in self.followed and entry.link_target is not None:
            return self._link(there)
        if name not in self.wanted:
            return Action.SKIP, Reason.SHARED, ""
        if entry.is_directory:
            return _directory(there)
        if entry.type is EntryType.FILE:
            return self._file(entry, there)
        return Action.SKIP, Reason.SPECIAL, ""

    def _link(self, there: Entry | None) -> tuple[Action, str, str]:
        mode = self.options.recursive_symlinks
        if mode == "ignore":
            return Action.SKIP, Reason.LINK_IGNORED, ""
        if mode == "copy":
            return Action.SKIP, Reason.LINK_NOT_FOLLOWED, ""
        if there is None:
            return Action.MAKE_LINK, Reason.NEW, ""
        if self.options.sync_level == 0:
            return Action.SKIP, Reason.SAME, ""
        if there.link_target is None:
            return Action.FAULT, EventCode.ENDPOINT_ERROR, _IN_ITS_PLACE
        return Action.MAKE_LINK, Reason.REPLACES, ""

    def _file(self, entry: Entry, there: Entry | None) -> tuple[Action, str, str]:
        return file_action(
            entry, there, self.decisions[entry.name], sync_level=self.options.sync_level
        )


def _directory(there: Entry | None) -> tuple[Action | None, str, str]:
    if there is None:
        return Action.MAKE_DIRECTORY, Reason.NEW, ""
    if not there.is_directory:
        return Action.FAULT, EventCode.NOT_A_DIRECTORY, "A file is where a directory goes."
    if there.link_target is not None:
        return Action.SKIP, Reason.THROUGH_LINK, ""
    return None, "", ""


def file_action(
    entry: Entry, there: Entry | None, decision: Decision, *, sync_level: int | None
) -> tuple[Action, str, str]:
    """What would be done about a file of the source, why, and what stands against it."""
    if decision is Decision.SKIP:
        return Action.SKIP, Reason.SAME, ""
    doubts = [_MAY_NOT_READ] if _denies(entry, "r") else []
    if there is None:
        return Action.COPY, Reason.NEW, " ".join(doubts)
    if there.type is not EntryType.FILE:
        return Action.FAULT, EventCode.IS_A_DIRECTORY, "A directory is where a file goes."
    doubts += [_MAY_NOT_WRITE] if _denies(there, "w") else []
    return Action.OVERWRITE, Reason.ALL if sync_level is None else Reason.DIFFERS, " ".join(doubts)


def _denies(entry: Entry, right: str) -> bool:
    """Whether a server says that one has not this right. No more than a doubt: GCT's tells by the
    mode, and knows of no access lists."""
    return entry.perm is not None and right not in entry.perm


def fault(context: TaskContext, item_no: int, path: str, sided: SidedError) -> Planned:
    """Something that cannot be looked at, and what a task would do about it."""
    error = sided.error
    left_out = context.skips(error, at_source=sided.at_source)
    role = "source" if sided.at_source else "destination"
    return Planned(
        item_no,
        path,
        Action.SKIP if left_out else Action.FAULT,
        code_of(error),
        details=f"At the {role}: {names.to_text(error.message)}",
    )


async def refused_names(
    destination: Session, place: str, planned: Sequence[Planned]
) -> list[Planned]:
    """The same, with names that the destination says it cannot hold as faults. `place` is where
    they go. Of names that every file system holds nothing is asked. Raises SidedError.
    """
    long = {
        number: posixpath.basename(one.path)
        for number, one in enumerate(planned)
        if one.action in _NEW_NAMES and one.there is None and _may_be_long(place, one.path)
    }
    if not long:
        return list(planned)
    # below what is not there yet a server does not say
    with at_destination():
        held_in = await _nearest(destination, place)
        looked = await look_at_each(
            destination, [join(above, name) for name in long.values() for above in (held_in, place)]
        )
    told = list(planned)
    for number, name in long.items():
        for said in (looked[join(held_in, name)], looked[join(place, name)]):
            if isinstance(said, GridFTPError) and said.kind is Kind.INVALID_NAME:
                told[number] = told[number]._replace(
                    action=Action.FAULT,
                    reason=code_of(said),
                    details=f"At the destination: {names.to_text(said.message)}",
                )
    return told


def _may_be_long(place: str, path: str) -> bool:
    name = posixpath.basename(path)
    return (
        len(encode(name)) > MAY_BE_LONG_NAME
        or len(encode(place)) + len(encode(name)) >= MAY_BE_LONG_PATH
    )


async def _nearest(destination: Session, path: str) -> str:
    """The directory itself, or the nearest above it that is there. Raises GridFTPError."""
    for one in [path, *ancestors(path)]:
        there = await look_at(destination, one)
        if there is not None and not isinstance(there, GridFTPError):
            return one
    return "/"


async def missing_directories(destination: Session, path: str) -> list[str]:
    """Of a directory and those above it, what is not there, the highest first. Raises SidedError
    if something else is in its place."""
    above = [*reversed(ancestors(path)), path] if path != "/" else ["/"]
    missing: list[str] = []
    for one in above:
        there = None if missing else await status(destination, one)
        if there is None:
            missing.append(one)
        elif not there.is_directory:
            error = GridFTPError(
                Kind.NOT_A_DIRECTORY, "a file is there already", str(destination.server), one
            )
            raise SidedError(error, at_source=False)
    return missing


async def tree_below(
    context: TaskContext, roots: Sequence[str], keep: Keep | None
) -> list[tuple[str, Entry]]:
    """All that is below these directories of the destination and would go with them, each directory
    before what is in it; links are not followed. Raises TaskFaultError."""
    destination_id = context.grant.destination_endpoint_id
    assert destination_id is not None, "a transfer has a destination"
    first, login = await open_session(context, destination_id, at_source=False)
    ready = [first]

    async def open_next() -> Session:
        return ready.pop() if ready else await open_another(context, login, writes=False)

    found: list[tuple[str, Entry]] = []
    kept: set[str] = set()
    try:
        listing = list_tree(
            open_next,
            "/",
            sessions=1,
            starts=[root.strip("/") for root in roots],
            data_channels=False,
        )
        async with aclosing(listing):
            async for listed in listing:
                for _, error in listed.failed:
                    if error.kind is not Kind.NOT_FOUND:
                        raise SidedError(error, at_source=False)
                for entry in listed.entries:
                    path = f"/{entry.name}"
                    if keep is not None and keep(path, is_real_directory(entry)):
                        kept.update(ancestors(path))
                    else:
                        found.append((path, entry))
                check_room(context, 0 if len(found) < context.settings.plan_entries else len(found))
    except GridFTPError as error:
        verdict = context.judge(error, Phase.LISTING, at_source=False)
        raise TaskFaultError(verdict) from error
    finally:
        for session in ready:
            await session.close()
    return [(path, entry) for path, entry in found if path not in kept]


async def removals_of(
    context: TaskContext,
    item_no: int,
    base: str,
    entries: Sequence[tuple[str, Entry]],
    reason: Reason,
    *,
    instead: Mapping[str, Facts | None] = MappingProxyType({}),
) -> list[Planned]:
    """What it means to remove these (absolute paths) of the destination; `base` is the item's.

    `instead`: what comes into the places of some of them.
    """
    trees = {path for path, entry in entries if is_real_directory(entry)}
    found = list(entries)
    if trees:
        keep = keeping(context.options.filter_rules, trees)
        below = await tree_below(context, sorted(trees), keep)
        inside = {path for path, _ in below}
        if keep is not None:  # directories of which something stays do, too
            found = [(p, e) for p, e in found if p not in trees or await _goes(context, p, inside)]
        found += below
    root = base.rstrip("/") + "/"
    return [
        Planned(
            *(item_no, path.removeprefix(root), Action.DELETE, reason),
            *(instead.get(path), facts(entry)),
        )
        for path, entry in found
    ]


async def _goes(context: TaskContext, tree: str, inside: Collection[str]) -> bool:
    """Whether all that is in a directory goes."""
    everything = await tree_below(context, [tree], None)
    return all(path in inside for path, _ in everything)


class PlanExtras:
    """What a mirror would delete in the end is put into the plan when all has been seen."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context

    async def run(self) -> None:
        """Until all are in the plan. Raises TaskFaultError or LeaseLostError."""
        context = self._context
        async with context.db.connection() as conn:
            not_all_read = await plans.not_all_read(conn, context.task_no)
        last = 0
        while batch := await self._next(last):
            last = batch[-1].extra_no
            planned = await self._planned(batch, not_all_read=not_all_read)
            check_room(context, len(planned))
            async with context.fenced() as conn:
                await plans.add(conn, context.task_no, planned)
                await removals.extras_gone(conn, context.task_no, [one.extra_no for one in batch])

    async def _next(self, after: int) -> list[Extra]:
        async with self._context.db.connection() as conn:
            return await removals.next_extras(
                conn, self._context.task_no, after=after, limit=EXTRAS_AT_ONCE
            )

    async def _planned(self, batch: Sequence[Extra], *, not_all_read: bool) -> list[Planned]:
        context = self._context
        async with context.db.connection() as conn:
            stay = await removals.linked(
                conn, context.task_no, [(extra.item_no, extra.path) for extra in batch]
            )
        planned: list[Planned] = []
        destination_id = context.grant.destination_endpoint_id
        assert destination_id is not None, "a transfer has a destination"
        session, _ = await open_session(context, destination_id, at_source=False)
        try:
            goes: dict[int, list[tuple[str, Entry]]] = {}
            for extra in batch:
                path = context.destination_path(extra.item_no, extra.path)
                with at_destination():
                    there = await status(session, path)
                if there is None:
                    continue
                if not_all_read or (extra.item_no, extra.path) in stay:
                    reason = Reason.NOT_ALL_READ if not_all_read else Reason.LINKED
                    planned.append(
                        Planned(
                            *(extra.item_no, extra.path, Action.SKIP, reason, None, facts(there))
                        )
                    )
                else:
                    goes.setdefault(extra.item_no, []).append((path, there))
        except SidedError as sided:
            raise TaskFaultError(context.judge_sided(sided, Phase.LISTING)) from sided
        finally:
            await session.close()
        for item_no, entries in goes.items():
            base = context.destination_path(item_no, "")
            planned += await self._removals(item_no, base, entries)
        return planned

    async def _removals(
        self, item_no: int, base: str, entries: Sequence[tuple[str, Entry]]
    ) -> list[Planned]:
        try:
            return await removals_of(self._context, item_no, base, entries, Reason.EXTRA)
        except SidedError as sided:
            verdict = self._context.judge_sided(sided, Phase.LISTING)
            raise TaskFaultError(verdict) from sided
