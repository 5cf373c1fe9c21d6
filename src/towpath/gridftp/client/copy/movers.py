"""Moves batches of files up to a server, or down from it."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from towpath.gridftp.client.copy.plan import CopyingOptions, End, Job, Progress
from towpath.gridftp.client.data.link import DataSecurity
from towpath.gridftp.client.data.mode_e import local_error
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.lane import Protection
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, classify
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.features import CHECKSUMS

LARGE_BYTES = 16 * 1024 * 1024
"""From this size on a file is worth several streams, and goes alone when it has them."""


class Result(NamedTuple):
    """What became of a job in one attempt."""

    job: Job
    status: Literal["done", "failed", "void"]
    error: GridFTPError | None


class Mover:
    """Between here and one server. Keeps its session, and gets a new one when a failure cost it."""

    def __init__(
        self,
        source: End,
        destination: End,
        options: CopyingOptions,
        progress: Progress,
        pool: SessionPool,
    ) -> None:
        self._up = source.location.server is None
        self._end = destination if self._up else source
        self._pool = pool
        self._session: Session | None = None
        self._options = options
        self._progress = progress
        self._credential: DataCredential | None = None

    async def directories(self, paths: list[str]) -> list[tuple[str, GridFTPError]]:
        """Make directories, parents first; those that exist are fine. What failed."""
        if self._up:
            return await _make_directories(await self._usable_session(), paths)
        return await asyncio.to_thread(_make_local_directories, paths)

    async def move(self, jobs: list[Job]) -> list[Result]:
        """Move files, in order. Raises `GridFTPError` for what concerns all of them."""
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
        session = await self._usable_session()
        security = self._security(session)
        options = DataOptions(
            security=security,
            streams=streams,
            checksum=checksum_of([session]) if self._options.verify else None,
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
        if not _protects_data([session], self._end, encrypt=self._options.encrypt):
            return DataSecurity()
        self._credential = self._credential or DataCredential.create(datetime.now(UTC))
        return DataSecurity(self._credential, protection_of(self._options))

    async def _usable_session(self) -> Session:
        if self._session is None or self._session.closed:
            self.close()
            self._session = await self._pool.take(self._end.login)
            await self._session.ready()
        return self._session

    def close(self) -> None:
        """Give the session back."""
        session, self._session = self._session, None
        if session is not None:
            self._pool.give_back(self._end.login, session, sound=True)


def protection_of(options: CopyingOptions) -> Protection:
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


def checksum_of(sessions: list[Session]) -> str:
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
