"""Copies between two servers: the bytes go from one to the other and do not pass here."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from towpath.gridftp.client.copy.plan import (
    CopyingOptions,
    End,
    Progress,
    Seen,
    checksum_of,
    walk_there,
)
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.ranges import Checks, move_file
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree import (
    LARGE_BYTES,
    Directory,
    File,
    Found,
    Moved,
    Told,
    TreeTransfer,
    Unmade,
    small_file_streams,
)
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.wire.ranges import RangeSet

AT_REST_S = 1.0
"""For the last answers on a lane that is to be kept; without them it is closed."""


async def copy_between(
    source: End,
    destination: End,
    options: CopyingOptions,
    progress: Progress,
    pool: SessionPool,
) -> bool:
    """Copy a file or a tree; whether all of it was copied. See `copying.copy`."""
    lanes = Lanes(source, destination, options, pool)
    large = LargeFiles(
        Lanes(source, destination, options, pool, streams=options.streams, markers=True),
        pool,
        progress,
    )
    reporter = _Reporter(progress)
    try:
        if options.recursive:
            try:
                await _copy_tree(lanes, large, source, destination, reporter, pool)
            except GridFTPError as error:
                if error.kind is not Kind.NOT_A_DIRECTORY or error.path != source.location.path:
                    raise
            else:
                return reporter.complete
        await _copy_file(large, source, destination, reporter)
    finally:
        await lanes.close()
        await large.close()
    return reporter.complete


async def _copy_tree(
    lanes: "Lanes",
    large: "LargeFiles",
    source: End,
    destination: End,
    reporter: "_Reporter",
    pool: SessionPool,
) -> None:
    walk = walk_there(source, pool, reporter.progress, security=lanes.security)
    transfer = TreeTransfer(
        lanes, destination.location.path, checksum=lanes.checksum, move_large=large.move
    )
    await reporter.take(transfer.run(_found(walk, source, destination, reporter)))


async def _copy_file(
    large: "LargeFiles", source: End, destination: End, reporter: "_Reporter"
) -> None:
    lanes = large.lanes
    file = await _look(lanes, source, destination)
    reporter.progress.planned(file.size)
    transfer = TreeTransfer(
        lanes,
        None,
        checksum=lanes.checksum,
        move_large=large.move,
        small_lanes=0 if file.size >= LARGE_BYTES else 1,
    )
    await reporter.take(transfer.run(_only(file)))


class Lanes:
    """Opens lanes between the servers of two ends, and keeps them, and sessions, in the pool."""

    def __init__(
        self,
        source: End,
        destination: End,
        options: CopyingOptions,
        pool: SessionPool,
        *,
        streams: int | None = None,
        markers: bool = False,
    ) -> None:
        """`streams` None: as is good for small files."""
        clear = source.location.clear or destination.location.clear
        if clear and options.encrypt:
            end = source if source.location.clear else destination
            raise GridFTPError(
                Kind.UNSUPPORTED, "data channels cannot be encrypted here", end.where
            )
        self.source = source.login
        self.destination = destination.login
        self._options = options
        self._pool = pool
        self._streams = streams
        self._markers = markers
        self._algorithm: str | None = None
        self._spare: Lane | None = None
        # Over a clear-text session the credential for the data would be public.
        self._authenticated = not clear
        self._making: asyncio.Task[DataSecurity] | None = None

    async def security(self) -> DataSecurity:
        """How data channels are protected."""
        self._make_security()
        return DataSecurity() if self._making is None else await asyncio.shield(self._making)

    def _make_security(self) -> None:
        """Begin to make the credential: in a thread, while the servers work on the logins."""
        if self._authenticated and self._making is None:
            self._making = asyncio.create_task(self._options.make_security())

    @property
    def _key(self) -> tuple[object, ...]:
        how = (self._options.encrypt, self._authenticated, self._streams, self._markers)
        return (self.source, self.destination, *how)

    def checksum(self, lane: Lane) -> str | None:
        """The algorithm to verify by. Raises CHECKSUM_UNSUPPORTED."""
        if self._options.verify and self._algorithm is None:
            self._algorithm = checksum_of([lane.source, lane.destination])
        return self._algorithm

    async def open(self) -> Lane:
        """A lane, perhaps one that an earlier copy has left."""
        lane, self._spare = self._spare, None
        if lane is not None and not lane.usable:
            await lane.close()
            lane = None
        lane = lane or self.parked()
        if lane is not None:
            return lane
        return await self.open_on(*await self.sessions())

    async def give_back(self, lane: Lane) -> None:
        """For the next copy."""
        if lane.usable and not lane.due:
            # One that was opened and had nothing to do may still be being set up.
            await asyncio.gather(
                *(end.channel.drain(AT_REST_S) for end in (lane.source, lane.destination))
            )
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
        return self._pool.take_lane(self._key)

    async def sessions(self) -> tuple[Session, Session]:
        """One at each end, which may still be logging in."""
        tasks = [
            asyncio.create_task(self._pool.take(login)) for login in (self.source, self.destination)
        ]
        self._make_security()
        try:
            source, destination = await asyncio.gather(*tasks)
        except BaseException:
            await _abandon(tasks)
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
                streams=self._streams or small_file_streams(source, destination),
                markers=self._markers,
            )
        except BaseException as error:
            await asyncio.gather(source.give_up(), destination.give_up())
            if not self._does_without_dcsc(error, (source, destination)):
                raise
        self._authenticated, self._making = False, None
        return await self.open_on(*await self.sessions())

    def _does_without_dcsc(self, error: BaseException, sessions: Sequence[Session]) -> bool:
        """A server that knows no DCSC can still move data, which then nobody authenticates.

        One that knows it and refuses it cannot: what it knows it has told before it refused.
        """
        if not isinstance(error, GridFTPError) or error.setting != "DCSC":
            return False
        refusing = [session for session in sessions if str(session.server) == error.where]
        return not (self._options.encrypt or any(session.features.dcsc for session in refusing))


class LargeFiles:
    """Moves large files, one after the other, by ranges over a lane of their own."""

    def __init__(self, lanes: Lanes, pool: SessionPool, progress: Progress) -> None:
        self.lanes = lanes
        self._pool = pool
        self._progress = progress
        self._lane: Lane | None = None

    async def move(self, file: File, directories: Sequence[str]) -> Moved:
        """Move one; what was compared of it counts when it is tried again."""
        lane = await self._usable_lane()
        lane.send([], directories)
        algorithm = self.lanes.checksum(lane)
        try:
            found = await lane.source.stat(file.source)
            # A lost session may not have kept what nobody has compared.
            if algorithm is None or _differs(found, file):
                self._forget(file)
            file.size, file.source_time = found.size, found.modified
            if not found.size:
                raise _changed(lane, file)
            error = await self._move(lane, file, algorithm)
            if error is None and _differs(await lane.source.stat(file.source), file):
                self._forget(file)
                error = _changed(lane, file)
        except GridFTPError as caught:
            error = caught
        return Moved(file, error)

    async def _move(self, lane: Lane, file: File, algorithm: str | None) -> GridFTPError | None:
        file.arrived = file.arrived or RangeSet()
        outcome = await move_file(
            [lane],
            Piece(file.source, file.destination, file.size, modified=file.modified),
            checks=None if algorithm is None else self._checks(algorithm),
            on_moved=self._progress.moved,
            present=file.arrived,
        )
        return outcome.error

    def _forget(self, file: File) -> None:
        """What has arrived does not count."""
        if file.arrived:
            self._progress.moved(-file.arrived.total)
        file.arrived = None

    def _checks(self, algorithm: str) -> Checks:
        logins = (self.lanes.source, self.lanes.destination)
        source, destination = (partial(self._pool.session, login) for login in logins)
        return Checks(algorithm, source, destination)

    async def _usable_lane(self) -> Lane:
        if self._lane is None or not self._lane.usable:
            await self._give_back()
            self._lane = await self.lanes.open()
        return self._lane

    async def _give_back(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            await self.lanes.give_back(lane)

    async def close(self) -> None:
        """Nothing is left open, but what the pool keeps."""
        await self._give_back()
        await self.lanes.close()


def _differs(entry: Entry, file: File) -> bool:
    return (entry.size, entry.modified) != (file.size, file.source_time)


def _changed(lane: Lane, file: File) -> GridFTPError:
    message = "the source changed while it was copied"
    return GridFTPError(Kind.CHECKSUM_MISMATCH, message, str(lane.source.server), file.source)


async def _abandon(opening: Sequence["asyncio.Task[Session]"]) -> None:
    """Sessions being opened that nobody wants any more."""
    for task in opening:
        task.cancel()
    for opened in await asyncio.gather(*opening, return_exceptions=True):
        if isinstance(opened, Session):
            await opened.give_up()


class _Reporter:
    """Tells `progress` of outcomes."""

    def __init__(self, progress: Progress) -> None:
        self.complete = True
        self.progress = progress

    async def take(self, outcomes: AsyncGenerator[list[Told], None]) -> None:
        async with aclosing(outcomes):
            async for batch in outcomes:
                for told in batch:
                    self._tell(told)

    def _tell(self, told: Told) -> None:
        if isinstance(told, Unmade):
            self.failed(told.destination, told.error)
        elif told.error is not None:
            self.failed(told.file.source, told.error)
        else:
            if told.file.arrived is None:  # of large ones the ranges are told
                self.progress.moved(told.file.size)
            self.progress.done(told.file.source)

    def failed(self, path: str, error: GridFTPError) -> None:
        self.complete = False
        self.progress.failed(path, error)


async def _found(
    walk: AsyncGenerator[list[Seen], None], source: End, destination: End, reporter: _Reporter
) -> AsyncGenerator[list[Found], None]:
    """What a walk has seen, as what is to be moved and made."""
    async with aclosing(walk):
        async for seen in walk:
            found: list[Found] = []
            for name, size, error in seen:
                here, there = source.location.child(name), destination.location.child(name)
                if error is not None:
                    reporter.failed(here, error)
                elif size is None:
                    found.append(Directory(there))
                else:
                    reporter.progress.planned(size)
                    found.append(File(here, there, size))
            yield found


async def _only(file: File) -> AsyncGenerator[list[Found], None]:
    yield [file]


async def _look(lanes: Lanes, source: End, destination: End) -> File:
    """What the source is, and where it goes: like cp, into an existing directory under its name."""
    lane = lanes.parked()
    if lane is not None:
        try:
            return await _look_on(lanes, (lane.source, lane.destination), lane, source, destination)
        except GridFTPError as error:
            if error.kind is not Kind.CONNECTION_LOST:
                raise  # else it had died unseen
            await lanes.close()
    return await _look_on(lanes, await lanes.sessions(), None, source, destination)


async def _look_on(
    lanes: Lanes,
    sessions: tuple[Session, Session],
    lane: Lane | None,
    source: End,
    destination: End,
) -> File:
    """Ask while the lane that will move the file is being opened, on its sessions."""
    opening = asyncio.create_task(lanes.open_on(*sessions) if lane is None else _itself(lane))
    here = asyncio.create_task(sessions[0].stat(source.location.path))
    there = asyncio.create_task(_is_directory(sessions[1], destination))
    asking = (opening, here, there)
    try:
        await asyncio.wait(asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        if not opening.cancelled() and opening.exception() is None:
            lanes.keep(opening.result())
    opening.result()
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
