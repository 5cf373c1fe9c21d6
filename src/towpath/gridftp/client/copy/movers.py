"""Moves batches of files one of three ways: up to a server, down from it, or between two."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from towpath.gridftp.client.copy.plan import CopyingOptions, End, Job, Progress
from towpath.gridftp.client.data.link import DataSecurity
from towpath.gridftp.client.data.mode_e import local_error
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.lane import Lane, Piece, Protection
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, classify
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands

LARGE_BYTES = 16 * 1024 * 1024
"""From this size on a file is worth several streams, and goes alone when it has them."""

CHECKSUMS = ("SHA256", "ADLER32", "SHA1", "MD5", "SHA512")
"""In order of preference: with today's processors SHA256 costs less than MD5."""


class Result(NamedTuple):
    """What became of a job in one attempt."""

    job: Job
    status: Literal["done", "failed", "void"]
    error: GridFTPError | None


class Mover(Protocol):
    """Keeps its sessions between batches, and makes new ones when a failure has cost them."""

    async def directories(self, paths: list[str]) -> list[tuple[str, GridFTPError]]:
        """Make directories, parents first; those that exist are fine. What failed."""

    async def move(self, jobs: list[Job]) -> list[Result]:
        """Move files, in order. Raises `GridFTPError` for what concerns all of them."""

    async def close(self) -> None:
        """Give the sessions back."""


def mover_between(
    source: End, destination: End, options: CopyingOptions, progress: Progress
) -> Mover:
    """The mover for these ends. Raises `ValueError` when both are here."""
    here = (source.location.server is None, destination.location.server is None)
    if all(here):
        raise ValueError("both ends are local")
    if any(here):
        return _Single(source, destination, options, progress)
    return _Pair(source, destination, options, progress)


class _Sessions:
    """One end's session, opened again after it was lost."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._session: Session | None = None

    async def get(self) -> Session:
        if self._session is None or self._session.closed:
            await self.close()
            self._session = await self.end.open()
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


class _Single:
    """Between here and one server."""

    def __init__(
        self, source: End, destination: End, options: CopyingOptions, progress: Progress
    ) -> None:
        self._up = source.location.server is None
        self._sessions = _Sessions(destination if self._up else source)
        self._options = options
        self._progress = progress
        self._credential: DataCredential | None = None

    async def directories(self, paths: list[str]) -> list[tuple[str, GridFTPError]]:
        if self._up:
            return await _make_directories(await self._sessions.get(), paths)
        return await asyncio.to_thread(_make_local_directories, paths)

    async def move(self, jobs: list[Job]) -> list[Result]:
        results: dict[int, Result] = {}
        small = [job for job in jobs if self._options.streams == 1 or job.size < LARGE_BYTES]
        if small:
            for result in await self._run(small, 1):
                results[id(result.job)] = result
        for job in jobs:
            if id(job) not in results:
                (results[id(job)],) = await self._run([job], self._options.streams)
        return [results[id(job)] for job in jobs]

    async def _run(self, jobs: list[Job], streams: int) -> list[Result]:
        session = await self._sessions.get()
        security = self._security(session)
        options = DataOptions(
            security=security,
            streams=streams,
            checksum=_checksum([session]) if self._options.verify else None,
            on_progress=self._progress.moved,
        )
        if self._up:
            copies = [Copy(Path(job.source), job.destination, job.size) for job in jobs]
            outcomes = await upload(session, copies, options)
        else:
            copies = [Copy(Path(job.destination), job.source, job.size) for job in jobs]
            outcomes = await download(session, copies, options)
        return [
            Result(job, outcome.status, outcome.error)
            for job, outcome in zip(jobs, outcomes, strict=True)
        ]

    def _security(self, session: Session) -> DataSecurity:
        if not _protects_data([session], self._sessions.end, encrypt=self._options.encrypt):
            return DataSecurity()
        self._credential = self._credential or DataCredential.create(datetime.now(UTC))
        return DataSecurity(self._credential, _protection(self._options))

    async def close(self) -> None:
        await self._sessions.close()


class _Pair:
    """Between two servers: the bytes do not pass here."""

    def __init__(
        self, source: End, destination: End, options: CopyingOptions, progress: Progress
    ) -> None:
        self._source = _Sessions(source)
        self._destination = _Sessions(destination)
        self._options = options
        self._progress = progress
        self._credential: DataCredential | None = None
        self._lane: Lane | None = None
        self._partly = 0
        """Bytes that markers told of the file under way; the last marker need not tell all."""

    def _moved(self, count: int) -> None:
        self._partly += count
        self._progress.moved(count)

    async def directories(self, paths: list[str]) -> list[tuple[str, GridFTPError]]:
        return await _make_directories(await self._destination.get(), paths)

    async def move(self, jobs: list[Job]) -> list[Result]:
        lane = await self._get_lane()
        sessions = [await self._source.get(), await self._destination.get()]
        checksum = _checksum(sessions) if self._options.verify else None
        pieces = [
            Piece(job.source, job.destination, job.size, checksum=checksum, tag=job) for job in jobs
        ]
        lane.send(pieces)
        results: list[Result] = []
        while len(results) < len(jobs):
            for outcome in await lane.outcomes():
                job = outcome.piece.tag
                assert isinstance(job, Job)
                results.append(Result(job, outcome.status, outcome.error))
                if outcome.status == "done":
                    self._progress.moved(job.size - self._partly)
                    self._partly = 0
        return results

    async def _get_lane(self) -> Lane:
        if self._lane is not None and not self._lane.broken:
            return self._lane
        if self._lane is not None:
            await self._lane.close()
        source, destination = await self._source.get(), await self._destination.get()
        ends = [self._source.end, self._destination.end]
        if all(
            _protects_data([source, destination], end, encrypt=self._options.encrypt)
            for end in ends
        ):
            self._credential = self._credential or DataCredential.create(datetime.now(UTC))
        self._lane = await Lane.open(
            source,
            destination,
            data_credential=self._credential,
            protection=_protection(self._options),
            streams=self._options.streams,
            markers=True,
            on_progress=self._moved,
        )
        return self._lane

    async def close(self) -> None:
        if self._lane is not None:
            await self._lane.close()
        await self._source.close()
        await self._destination.close()


def _protection(options: CopyingOptions) -> Protection:
    return Protection.PRIVATE if options.encrypt else Protection.CLEAR


def _protects_data(sessions: list[Session], end: End, *, encrypt: bool) -> bool:
    """Whether data channels can be authenticated. Raises UNSUPPORTED when they have to be.

    Over a clear-text session the credential for it would be public.
    """
    if not end.location.clear and all(session.features.dcsc for session in sessions):
        return True
    if encrypt:
        where = str(end.location.server)
        raise GridFTPError(Kind.UNSUPPORTED, "data channels cannot be encrypted here", where)
    return False


def _checksum(sessions: list[Session]) -> str:
    """The best algorithm that all of them know. Raises CHECKSUM_UNSUPPORTED."""
    for algorithm in CHECKSUMS:
        if all(algorithm in session.features.checksums for session in sessions):
            return algorithm
    where = " and ".join(str(session.server) for session in sessions)
    raise GridFTPError(Kind.CHECKSUM_UNSUPPORTED, "no checksum to verify by", where)


async def _make_directories(session: Session, paths: list[str]) -> list[tuple[str, GridFTPError]]:
    """The first with everything above it, the others below it in one flight."""
    await session.make_directories(paths[0])
    failed: list[tuple[str, GridFTPError]] = []
    replies = await session.answers(session.submit([commands.mkd(path) for path in paths[1:]]))
    for path, reply in zip(paths[1:], replies, strict=True):
        if not reply.ok:
            error = classify(reply, where=str(session.server), path=path)
            if error.kind is not Kind.EXISTS:
                failed.append((path, error))
    return failed


def _make_local_directories(paths: list[str]) -> list[tuple[str, GridFTPError]]:
    failed: list[tuple[str, GridFTPError]] = []
    for path in paths:
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            failed.append((os.fspath(path), local_error(error, path)))
    return failed
