"""Looks into endpoints and makes small changes there, each operation bounded in time and number."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.transfer import names
from towpath.transfer.browse.filters import OrderKey, Predicate
from towpath.transfer.browse.gates import Gates
from towpath.transfer.places import link_targets, real_places
from towpath.transfer.rights import Who
from towpath.transfer.sessions import EndpointSessions, home_directory

OPERATION_S = 45.0
"""For one whole operation, waiting included: below the 60 s after which clients ask again."""

PER_SERVER = 8
"""Sessions that browsing holds at one server, whichever endpoints it has and whoever asks; as many
wait there for their next use. Servers commonly allow some 50 to 100 in all (ADR 0027)."""

WAIT_S = 10.0
"""How long an operation waits for one of these before it says so."""

MAX_LIMIT = 100_000
"""Entries in one answer (Transfer API)."""

MAX_REACH = 200_000
"""offset + limit: what must be held in memory to sort a page."""

SPARE_PART = 2
"""A part of the page that may be held beyond it before what is too far behind is dropped: a page is
sorted few times, and little more than it is held."""
SPARE_LEAST = 1000

_T = TypeVar("_T")


@dataclass(slots=True)
class Page:
    """Collects the page of a sorted listing without holding all of it."""

    order: tuple[OrderKey, ...]
    matches: Predicate
    show_hidden: bool
    limit: int
    offset: int
    total: int = 0
    _kept: list[Entry] = field(default_factory=list)

    def begin(self) -> None:
        """The listing begins, perhaps again: what an earlier try had brought is no part of it."""
        self.total = 0
        self._kept.clear()

    def add(self, batch: list[Entry]) -> None:
        """Take in what the server listed next."""
        for entry in batch:
            if entry.name in (".", ".."):
                continue
            if (self.show_hidden or not entry.name.startswith(".")) and self.matches(entry):
                self.total += 1
                self._kept.append(_shown(entry))
        reach = self.offset + self.limit
        if len(self._kept) > reach + max(reach // SPARE_PART, SPARE_LEAST):
            self._sort()
            del self._kept[reach:]

    def _sort(self) -> None:
        for key in reversed(self.order):  # stable: the first key decides last
            self._kept.sort(key=key.value, reverse=key.descending)

    def entries(self) -> list[Entry]:
        """The page, which is the caller's from now on."""
        self._sort()
        page = self._kept[self.offset : self.offset + self.limit]
        self._kept.clear()
        return page


def _shown(entry: Entry) -> Entry:
    """Without what no document has, and with one copy of what is nearly always the same."""
    return entry._replace(
        owner=None if entry.owner is None else sys.intern(entry.owner),
        group=None if entry.group is None else sys.intern(entry.group),
        perm=None,
        unique=None,
    )


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory's listing: one page, and how many entries match in all. Paths are wire paths."""

    path: str
    absolute_path: str
    entries: list[Entry]
    total: int


class Browser:
    """Paths given here are checked wire paths (`names.check_path`); `~` and relative ones work."""

    def __init__(self, sessions: EndpointSessions, *, operation_s: float = OPERATION_S) -> None:
        self._sessions = sessions
        self._operation_s = operation_s
        self._gates: Gates[tuple[str, int]] = Gates(
            PER_SERVER,
            WAIT_S,
            f"{PER_SERVER} operations are already under way at this server",
        )

    async def list(
        self,
        endpoint_id: UUID,
        who: Who,
        path: str,
        page: Page,
    ) -> Directory:
        """List a directory into `page`. NOT_A_DIRECTORY if it is something else."""

        async def action(session: Session) -> Directory:
            target = self._absolute(session, path)
            entry = await session.stat(target)
            if not entry.is_directory:
                raise GridFTPError(
                    Kind.NOT_A_DIRECTORY, "not a directory", where=str(session.server), path=target
                )
            page.begin()
            async for batch in session.list(target):
                await asyncio.to_thread(page.add, batch)
            entries = await asyncio.to_thread(page.entries)
            return Directory(names.tidy(path), names.tidy(target), entries, page.total)

        return await self._run(endpoint_id, who, action, path, repeatable=True)

    async def stat(self, endpoint_id: UUID, who: Who, path: str) -> tuple[str, Entry]:
        """The absolute path and what is there."""

        async def action(session: Session) -> tuple[str, Entry]:
            target = self._absolute(session, path)
            return target, await session.stat(target)

        return await self._run(endpoint_id, who, action, path, repeatable=True)

    async def real_directory(self, endpoint_id: UUID, who: Who, path: str) -> str:
        """Where a directory really is, the links on the way to it followed; absolute.
        NOT_A_DIRECTORY if it is something else."""

        async def action(session: Session) -> str:
            target = self._absolute(session, path)
            entry = await session.stat(target)
            if not entry.is_directory:
                raise GridFTPError(
                    Kind.NOT_A_DIRECTORY, "not a directory", where=str(session.server), path=target
                )
            return real_places(target, await link_targets(session, target))[-1]

        return await self._run(endpoint_id, who, action, path, repeatable=True)

    async def mkdir(self, endpoint_id: UUID, who: Who, path: str) -> None:
        """Create one directory; EXISTS if something is there."""

        async def action(session: Session) -> None:
            await session.mkdir(self._absolute(session, path))

        await self._run(endpoint_id, who, action, path, repeatable=False)

    async def rename(
        self,
        endpoint_id: UUID,
        who: Who,
        old: str,
        new: str,
    ) -> None:
        """Rename a file or directory."""

        async def action(session: Session) -> None:
            source = self._absolute(session, old)
            await session.rename(source, self._absolute(session, new))

        await self._run(endpoint_id, who, action, old, new, repeatable=False)

    @staticmethod
    def _absolute(session: Session, path: str) -> str:
        home = home_directory(session) if names.needs_home(path) else ""
        return names.absolute(path, home)

    async def _run(
        self,
        endpoint_id: UUID,
        who: Who,
        action: Callable[[Session], Awaitable[_T]],
        *paths: str,
        repeatable: bool,
    ) -> _T:
        """What may not be repeated changes something: at these paths."""
        try:
            async with asyncio.timeout(self._operation_s):
                while True:
                    async with self._sessions.borrow(
                        *(endpoint_id, who),
                        writes=not repeatable,
                        paths=paths,
                        place=self._gates.place,
                    ) as borrowed:
                        try:
                            return await action(borrowed.session)
                        except GridFTPError as error:
                            if not (repeatable and borrowed.died_unseen(error)):
                                raise
        except TimeoutError:
            raise GridFTPError(
                Kind.TIMEOUT,
                f"no result within {self._operation_s:.0f} s",
                where=f"endpoint {endpoint_id}",
            ) from None
