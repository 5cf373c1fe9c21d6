"""Makes the source's symbolic links again (`recursive_symlinks` 'keep').

After everything else, because a server makes no link to what does not exist. Making one again is
harmless, so a takeover simply goes on with the segments that are left.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.listings import Entry
from towpath.transfer import fidelity, names
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    TaskFaultError,
    at_destination,
    at_source,
    join,
    lies_in,
)
from towpath.transfer.engine.links import same_place
from towpath.transfer.engine.pairs import open_both
from towpath.transfer.engine.removal import remove_files
from towpath.transfer.engine.sync import status
from towpath.transfer.fidelity import Findings
from towpath.transfer.places import link_targets, real_places
from towpath.transfer.store import fidelity as fidelity_store
from towpath.transfer.store import links
from towpath.transfer.store.links import Link

MADE_AT_ONCE: Final = 200
"""Each is two commands sent ahead; a server takes about 1,000 queued ones."""

_TOLD: Final = frozenset(
    {
        Kind.NOT_FOUND,
        Kind.PERMISSION_DENIED,
        Kind.PATH_NOT_ALLOWED,
        Kind.IS_A_DIRECTORY,
        Kind.NOT_A_DIRECTORY,
        Kind.EXISTS,
        Kind.INVALID_NAME,
        Kind.UNSUPPORTED,
    }
)
"""A link that fails so is left out and told; nothing else waits for it."""


class InItsPlace(Enum):
    """What is done about what is where a link should be."""

    LEAVE = auto()  # it is as it should be, or was not to be touched
    REPLACE = auto()
    BLOCKED = auto()  # it is data


def decide(there: Entry | None, target: Entry | None, *, sync_level: int | None) -> InItsPlace:
    """About what is in the place of a link to `target`. `there` None: a link to nothing.

    Another link is replaced, a file or a directory never.
    """
    if sync_level == 0:
        return InItsPlace.LEAVE
    if there is None:
        return InItsPlace.REPLACE
    if there.link_target is None:
        return InItsPlace.BLOCKED
    equal = target is not None and same_place(there, target)
    return InItsPlace.LEAVE if equal else InItsPlace.REPLACE


@dataclass(frozen=True, slots=True)
class Root:
    """An item's tree: where it is, where that really is, and where it goes."""

    path: str
    real: str
    destination: str

    def at_destination(self, target: str) -> str | None:
        """The place in the copy of a place in the tree; None: it is not in the tree."""
        for root in (self.real, self.path):
            if lies_in(target, root):
                return join(self.destination, target[len(root.rstrip("/")) + 1 :])
        return None


class LinkMaking:
    """Goes through the links that the walk has found."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._roots: dict[int, Root] = {}
        self._unsupported = False

    async def run(self) -> None:
        """Until all are made or told. Raises TaskFaultError or LeaseLostError."""
        async with self._context.db.connection() as conn:
            last = await links.last_segment(conn, self._context.task_no)
        if not last:
            return
        (source, _), (destination, _) = await open_both(self._context)
        try:
            while await self._some(source, destination, last):
                pass
        except SidedError as sided:
            raise TaskFaultError(self._context.judge_sided(sided, Phase.LINKS)) from sided
        finally:
            await close_all([source, destination])

    async def _some(self, source: Session, destination: Session, last: int) -> bool:
        """The links of a few segments; False: there are none."""
        task_no = self._context.task_no
        async with self._context.db.connection() as conn:
            segments, found = await links.take(conn, task_no, last=last)
        if not segments:
            return False
        told = Findings()
        for first in range(0, len(found), MADE_AT_ONCE):
            some = found[first : first + MADE_AT_ONCE]
            for link in some:
                await self._find_root(source, link.item_no)
            made = await asyncio.gather(
                *(self._make(destination, link, told) for link in some), return_exceptions=True
            )
            for failure in made:
                if failure is not None:
                    raise failure
        async with self._context.fenced() as conn:
            await links.remove(conn, task_no, segments)
            await fidelity_store.add(conn, task_no, told)
        return True

    async def _find_root(self, source: Session, item_no: int) -> None:
        if item_no in self._roots:
            return
        path = self._context.source_path(item_no, "")
        with at_source():
            real = real_places(path, await link_targets(source, path))[-1]
        if len(self._roots) >= MADE_AT_ONCE:  # a task may have very many items
            self._roots.clear()
        self._roots[item_no] = Root(path, real, self._context.destination_path(item_no, ""))

    async def _make(self, destination: Session, link: Link, told: Findings) -> None:
        """Make one, or tell why it is not there. Raises SidedError."""
        source_path = names.to_text(self._context.source_path(link.item_no, link.path))
        path = self._context.destination_path(link.item_no, link.path)
        inside = self._roots[link.item_no].at_destination(link.target)
        target = link.target if inside is None else inside
        try:
            with at_destination():
                await self._put(destination, path, target, link.replaces)
        except SidedError as sided:
            if sided.error.kind not in _TOLD:
                raise
            details = f"to {names.to_text(target)}: {_why(sided.error, target)}"
            told.note(fidelity.Kind.LINKS_NOT_MADE, source_path, details)
            return
        if inside is None:
            told.note(fidelity.Kind.LINKS_OUTSIDE, source_path, f"to {names.to_text(target)}")

    async def _put(
        self, destination: Session, path: str, target: str, replaces: str | None
    ) -> None:
        """See to it that the link is there. Raises GridFTPError."""
        if self._unsupported:
            raise GridFTPError(Kind.UNSUPPORTED, "", str(destination.server), path)
        try:
            self._context.lease.check()
            await destination.make_link(path, target)
        except GridFTPError as error:
            self._unsupported |= error.kind is Kind.UNSUPPORTED
            if error.kind is not Kind.EXISTS:
                raise
            await self._instead(destination, path, target, replaces, error)

    async def _instead(
        self,
        destination: Session,
        path: str,
        target: str,
        replaces: str | None,
        exists: GridFTPError,
    ) -> None:
        there, pointed_at = await asyncio.gather(
            status(destination, path), status(destination, target)
        )
        decision = decide(there, pointed_at, sync_level=self._context.options.sync_level)
        other = replaces is not None and (there is None or there.link_target != replaces)
        if decision is InItsPlace.BLOCKED or (decision is InItsPlace.REPLACE and other):
            raise exists
        if decision is InItsPlace.REPLACE:
            await remove_files(self._context, destination, [path])
            self._context.lease.check()
            await destination.make_link(path, target)


def _why(error: GridFTPError, target: str) -> str:
    if error.kind is Kind.UNSUPPORTED:
        return "the server cannot make links"
    if error.kind is Kind.NOT_FOUND and error.path == target:
        return "what it points to is not there"
    if error.kind is Kind.EXISTS:
        return "something else is in its place"
    return str(error)
