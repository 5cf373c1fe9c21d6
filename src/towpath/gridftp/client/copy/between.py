"""Copies between two servers: the bytes go from one to the other and do not pass here."""

import asyncio
import posixpath
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from towpath.gridftp.client.copy.movers import checksum_of, protection_of
from towpath.gridftp.client.copy.plan import CopyingOptions, End, Progress
from towpath.gridftp.client.data.link import DataSecurity
from towpath.gridftp.client.lane import Lane, Protection
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree import Directory, File, Found, Told, TreeTransfer, Unmade
from towpath.gridftp.client.tree_listing import Listed, list_tree
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire.listings import Entry, EntryType


async def copy_between(
    source: End,
    destination: End,
    options: CopyingOptions,
    progress: Progress,
    pool: SessionPool,
) -> bool:
    """Copy a file or a tree; whether all of it was copied. See `copying.copy`."""
    lanes = Lanes(source, destination, options, pool)
    try:
        return await _copy(lanes, source, destination, options, progress, pool)
    finally:
        await lanes.close()


async def _copy(
    lanes: "Lanes",
    source: End,
    destination: End,
    options: CopyingOptions,
    progress: Progress,
    pool: SessionPool,
) -> bool:
    reporter = _Reporter(progress)
    if options.recursive:
        root = destination.location.path
        transfer = TreeTransfer(lanes, root, checksum=lanes.checksum)
        listing = list_tree(
            lambda: pool.take(source.login), source.location.path, security=await lanes.security()
        )
        try:
            await reporter.take(transfer.run(_found(listing, source, destination, reporter)))
        except GridFTPError as error:
            if error.kind is not Kind.NOT_A_DIRECTORY or error.path != source.location.path:
                raise
        else:
            return reporter.complete
    file = await _look(lanes, source, destination)
    progress.planned(file.size)
    transfer = TreeTransfer(lanes, None, checksum=lanes.checksum, small_lanes=1)
    await reporter.take(transfer.run(_only(file)))
    return reporter.complete


class Lanes:
    """Opens lanes between the servers of two ends, and keeps them, and sessions, in the pool."""

    def __init__(
        self, source: End, destination: End, options: CopyingOptions, pool: SessionPool
    ) -> None:
        clear = source.location.clear or destination.location.clear
        if clear and options.encrypt:
            end = source if source.location.clear else destination
            raise GridFTPError(
                Kind.UNSUPPORTED, "data channels cannot be encrypted here", end.where
            )
        self._source = source.login
        self._destination = destination.login
        self._options = options
        self._pool = pool
        self._algorithm: str | None = None
        self._spare: Lane | None = None
        # Over a clear-text session the credential for the data would be public.
        self._authenticated = not clear
        self._making: asyncio.Task[DataSecurity] | None = None

    async def security(self) -> DataSecurity:
        """How data channels are protected. The credential is made in a thread, while the servers
        are busy with their part of the logins."""
        if not self._authenticated:
            return DataSecurity()
        if self._making is None:
            self._making = asyncio.create_task(_make_security(protection_of(self._options)))
        return await asyncio.shield(self._making)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._source, self._destination, self._options.encrypt, self._authenticated)

    def checksum(self, lane: Lane) -> str | None:
        """The algorithm to verify by. Raises CHECKSUM_UNSUPPORTED."""
        if self._options.verify and self._algorithm is None:
            self._algorithm = checksum_of([lane.source, lane.destination])
        return self._algorithm

    async def open(self) -> Lane:
        """A lane, perhaps one that an earlier copy has left."""
        spare, self._spare = self._spare, None
        lane = spare or self._pool.take_lane(self._key)
        if lane is not None and lane.usable:
            return lane
        source, destination = await self.sessions()
        return await self.open_on(source, destination)

    async def give_back(self, lane: Lane) -> None:
        """For the next copy."""
        if lane.usable:
            self._pool.keep_lane(self._key, lane)
        else:
            await lane.close()

    def keep(self, lane: Lane) -> None:
        """The next to `open` gets this one."""
        self._spare = lane

    async def close(self) -> None:
        """Nothing is left open that was opened for nothing."""
        spare, self._spare = self._spare, None
        if spare is not None:
            await self.give_back(spare)

    def parked(self) -> Lane | None:
        """A lane that an earlier copy has left."""
        lane = self._pool.take_lane(self._key)
        return lane if lane is not None and lane.usable else None

    async def sessions(self) -> tuple[Session, Session]:
        """One at each end, which may still be logging in."""
        tasks = [
            asyncio.create_task(self._pool.take(login))
            for login in (self._source, self._destination)
        ]
        try:
            source, destination = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            for opened in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(opened, Session):
                    await opened.give_up()
            raise
        return source, destination

    async def open_on(self, source: Session, destination: Session) -> Lane:
        """A lane on these sessions, which are closed if that fails."""
        try:
            security = await self.security()
            return await Lane.open(
                source,
                destination,
                data_credential=security.credential,
                protection=security.protection,
            )
        except BaseException as error:
            await asyncio.gather(source.give_up(), destination.give_up())
            if not self._does_without_dcsc(error, source, destination):
                raise
        self._authenticated = False
        return await self.open_on(*await self.sessions())

    def _does_without_dcsc(
        self, error: BaseException, source: Session, destination: Session
    ) -> bool:
        """A server that knows no DCSC can still move data, which then nobody authenticates."""
        refused = isinstance(error, GridFTPError) and error.message.startswith("DCSC ")
        lacking = not (source.features.dcsc and destination.features.dcsc)
        return refused and lacking and not self._options.encrypt


async def _make_security(protection: Protection) -> DataSecurity:
    credential = await asyncio.to_thread(DataCredential.create, datetime.now(UTC))
    return DataSecurity(credential, protection)


class _Reporter:
    """Tells `progress` of outcomes."""

    def __init__(self, progress: Progress) -> None:
        self.complete = True
        self.progress = progress

    async def take(self, outcomes: AsyncIterator[list[Told]]) -> None:
        progress = self.progress
        async for batch in outcomes:
            for told in batch:
                if isinstance(told, Unmade):
                    self.failed(told.destination, told.error)
                elif told.error is not None:
                    self.failed(told.file.source, told.error)
                else:
                    progress.moved(told.file.size)
                    progress.done(told.file.source)

    def failed(self, path: str, error: GridFTPError) -> None:
        self.complete = False
        self.progress.failed(path, error)


async def _found(
    listing: AsyncIterator[Listed], source: End, destination: End, reporter: _Reporter
) -> AsyncIterator[list[Found]]:
    """What the listing tells, as what is to be moved and made."""
    from_root = source.location.path.rstrip("/") + "/"
    to_root = destination.location.path.rstrip("/") + "/"
    progress = reporter.progress
    async for listed in listing:
        found: list[Found] = []
        for entry in listed.entries:
            name = entry.name
            if entry.type is EntryType.FILE:
                if "r" in entry.perm or not entry.perm:
                    progress.planned(entry.size)
                    found.append(File(from_root + name, to_root + name, entry.size))
                else:  # in a pipeline its failure would void what follows
                    reporter.failed(from_root + name, _unreadable(source, from_root + name))
            elif entry.is_directory and entry.link_target is None:
                found.append(Directory(to_root + name))
            else:
                reason = "a link to a directory" if entry.is_directory else "not a regular file"
                progress.skipped(from_root + name, reason)
        for name, error in listed.failed:
            reporter.failed(posixpath.join(from_root, name), error)
        yield found


def _unreadable(source: End, path: str) -> GridFTPError:
    return GridFTPError(
        Kind.PERMISSION_DENIED, "the listing says that you may not read it", source.where, path
    )


async def _only(file: File) -> AsyncIterator[list[Found]]:
    yield [file]


async def _look(lanes: Lanes, source: End, destination: End) -> File:
    """What the source is, and where it goes: like cp, into an existing directory under its name.

    Asked while the lane that will move it is being opened, on its sessions.
    """
    lane = lanes.parked()
    if lane is None:
        sessions = await lanes.sessions()
        opening = asyncio.create_task(lanes.open_on(*sessions))
    else:
        sessions = lane.source, lane.destination
        opening = asyncio.create_task(_itself(lane))
    here = asyncio.create_task(sessions[0].stat(source.location.path))
    there = asyncio.create_task(_is_directory(sessions[1], destination))
    await asyncio.wait([opening, here, there])
    try:
        lane = opening.result()
    except BaseException:
        for task in (here, there):
            task.exception()
        raise
    lanes.keep(lane)
    entry, into = here.result(), there.result()
    return _file(entry, source, destination, into=into)


async def _itself(lane: Lane) -> Lane:
    return lane


async def _is_directory(session: Session, destination: End) -> bool:
    path = destination.location.path
    if path.endswith("/"):
        return True
    try:
        return (await session.stat(path)).is_directory
    except GridFTPError as error:
        if error.scope is not Scope.FILE:
            raise
        return False


def _file(entry: Entry, source: End, destination: End, *, into: bool) -> File:
    path = source.location.path
    if entry.is_directory:
        raise GridFTPError(
            Kind.IS_A_DIRECTORY, "is a directory (-r copies directories)", source.where, path
        )
    target = destination.location
    return File(path, target.child(source.location.name) if into else target.path, entry.size)
