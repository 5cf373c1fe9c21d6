"""What a plan says is in the way, or extra, or was asked for, is removed: file by file, as far as
it is as it was.

Each is looked at again where it is. What is in the way goes only if what comes into its place is at
the source as it was; and what is extra, if the source still has nothing of that name, and has the
item's directory at all.
"""

import posixpath
from collections.abc import Mapping, Sequence

from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    TaskFaultError,
    at_source,
)
from towpath.transfer.engine.item_places import ItemPlaces, real_item_places
from towpath.transfer.engine.last_look import (
    AT_ONCE,
    LastLook,
    Place,
    left_out,
    look_at_each,
    place_of,
)
from towpath.transfer.engine.mirror import other_spellings
from towpath.transfer.engine.pairs import open_both, open_session
from towpath.transfer.engine.recorder import Recorder, record_skipped
from towpath.transfer.engine.removal import remove_each
from towpath.transfer.planned import Action, Facts, Planned, Reason, facts, removable
from towpath.transfer.store import plans
from towpath.transfer.store.plans import Applied
from towpath.transfer.store.segments import Skipped


class PlannedRemoval:
    """Goes through the deletions of the plan that a task follows."""

    def __init__(
        self, context: TaskContext, recorder: Recorder, applied: Applied, look: LastLook
    ) -> None:
        self._context = context
        self._recorder = recorder
        self._plan_no = applied.plan_no
        self._left = {
            Reason.IN_THE_WAY: applied.way_left,
            Reason.EXTRA: applied.extras_left,
            Reason.ASKED: applied.extras_left,
        }
        self._look = look
        self._instead: Mapping[Place, Facts | None] = {}
        """All that is in the way, with what comes into its place."""
        self._places: ItemPlaces | None = None

    async def run(self, reason: Reason) -> None:
        """The last found first: what is in a directory comes before that. Raises TaskFaultError or
        LeaseLostError."""
        batch = await self._next(reason)
        if not batch:
            return
        if reason is Reason.IN_THE_WAY:
            async with self._context.db.connection() as conn:
                self._instead = await plans.in_the_way(conn, self._plan_no)
        opened = await self._open()
        try:
            while batch:
                await self._remove(opened, reason, batch)
                batch = await self._next(reason)
        except (SidedError, GridFTPError) as error:
            sided = (
                error
                if isinstance(error, SidedError)
                else SidedError(error, at_source=self._context.deletes)
            )
            verdict = self._context.judge_sided(sided, Phase.REMOVAL)
            raise TaskFaultError(verdict) from error
        finally:
            await close_all(opened)
        self._instead = {}

    async def _open(self) -> list[Session]:
        """A session at each end of the task; the last is where it removes."""
        context = self._context
        if context.deletes:
            ends = [await open_session(context, context.grant.source_endpoint_id, at_source=True)]
        else:
            ends = list(await open_both(context))
        return [session for session, _ in ends]

    async def _next(self, reason: Reason) -> list[tuple[int, Planned]]:
        async with self._context.db.connection() as conn:
            return await plans.page(
                conn,
                self._plan_no,
                after=self._left[reason],
                limit=AT_ONCE,
                actions=[Action.DELETE],
                reasons=[reason],
                backwards=True,
            )

    async def _remove(
        self, opened: Sequence[Session], reason: Reason, batch: Sequence[tuple[int, Planned]]
    ) -> None:
        context = self._context
        source, written = opened[0], opened[-1]
        entries = [one for _, one in batch]
        with context.at_written():
            looked = await look_at_each(written, [place_of(context, one) for one in entries])
        stays: dict[Planned, str] = {}
        if reason is Reason.EXTRA:
            stays = await self._at_source(source, written, entries)
        elif reason is Reason.IN_THE_WAY:
            stays = await self._not_in_the_way(source, entries)
        for one in await self._look.astray(written, entries):
            stays[one] = "a link to a directory is on the way to it by now"
        goes: list[Planned] = []
        alone: list[Skipped] = []
        for one in entries:
            there = looked[place_of(context, one)]
            if there is None:
                continue  # it is gone already
            if isinstance(there, GridFTPError):
                alone.append(left_out(one, f"it cannot be looked at: {there.message}"))
            elif not removable(one, there):
                alone.append(left_out(one, "it has changed"))
            elif one in stays:
                alone.append(left_out(one, stays[one]))
            else:
                goes.append(one)
        alone += await self._gone(written, goes)
        self._left[reason] = batch[-1][0]
        async with context.fenced() as conn:
            await plans.removed(conn, self._plan_no, reason, self._left[reason])
            if alone:
                await record_skipped(conn, context.task_no, alone)

    async def _gone(self, session: Session, goes: Sequence[Planned]) -> list[Skipped]:
        """Remove these; those that could not be."""
        paths = [place_of(self._context, one) for one in goes]
        trees = [one.there is not None and one.there.is_real_directory for one in goes]
        failed = await remove_each(self._context, session, list(zip(paths, trees, strict=True)))
        alone: list[Skipped] = []
        for one, path in zip(goes, paths, strict=True):
            error = failed.get(path)
            if error is not None:
                why = "something new is in it" if error.kind is Kind.NOT_EMPTY else str(error)
                alone.append(left_out(one, why))
        gone = [tree for path, tree in zip(paths, trees, strict=True) if path not in failed]
        self._recorder.removed(gone.count(False), gone.count(True))
        return alone

    async def _not_in_the_way(
        self, source: Session, entries: Sequence[Planned]
    ) -> dict[Planned, str]:
        """Those for which nothing would come, because that is not what it was."""
        roots = {one: self._root((one.item_no, one.path)) for one in entries}
        paths = {place: self._context.source_path(*place) for place in roots.values()}
        with at_source():
            looked = await look_at_each(source, paths.values())
        comes = {
            place
            for place, path in paths.items()
            if isinstance(here := looked[path], Entry) and facts(here) == self._instead.get(place)
        }
        return {
            one: "what was to come into its place is not at the source as it was"
            for one, root in roots.items()
            if root not in comes
        }

    def _root(self, place: Place) -> Place:
        """Of a tree that is in the way, the top."""
        item_no, path = place
        while (above := (item_no, posixpath.dirname(path))) in self._instead:
            path = above[1]
        return item_no, path

    async def _at_source(
        self, source: Session, destination: Session, entries: Sequence[Planned]
    ) -> dict[Planned, str]:
        """Those that are not known to be extra any more, and why."""
        context = self._context
        if self._places is None and len(context.items) > 1:
            self._places = await real_item_places(
                context.items.values(), source, destination, one_server=False
            )
        asked: dict[Planned, list[str]] = {}
        for one in entries:
            above, name = posixpath.split(one.path)
            asked[one] = [
                context.source_path(one.item_no, posixpath.join(above, spelled))
                for spelled in {name, *other_spellings(name)}
            ]
            if self._places is not None:
                asked[one] += self._places.others(context.items[one.item_no], one.path)
        roots = {one.item_no: context.source_path(one.item_no, "") for one in entries}
        with at_source():
            here = await look_at_each(
                source, [*roots.values(), *(path for some in asked.values() for path in some)]
            )
        stays: dict[Planned, str] = {}
        for one, some in asked.items():
            root = here[roots[one.item_no]]
            found = [now for path in some if (now := here[path]) is not None]
            if not isinstance(root, Entry) or not root.is_directory:
                stays[one] = "the directory that it is not in is not at the source any more"
            elif any(isinstance(now, Entry) for now in found):
                stays[one] = "it is at the source by now"
            elif found:
                stays[one] = "it cannot be told whether it is at the source by now"
        return stays
