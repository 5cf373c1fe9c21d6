"""Moves batches of files up to a server, or down from it."""

import asyncio
import os
from pathlib import Path
from typing import Literal, NamedTuple

from towpath.gridftp.client.copy.plan import CopyingOptions, End, Job, Progress, checksum_of
from towpath.gridftp.client.data.files import local_error
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands

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
        self._security: DataSecurity | None = None

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
        security = await self._get_security(session)
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

    async def _get_security(self, session: Session) -> DataSecurity:
        if not self._protects_data(session):
            return DataSecurity()
        self._security = self._security or await self._options.make_security()
        return self._security

    def _protects_data(self, session: Session) -> bool:
        """Whether data channels can be authenticated. Raises UNSUPPORTED when they have to be.

        Over a clear-text session the credential for it would be public.
        """
        if not self._end.location.clear and session.features.dcsc:
            return True
        if self._options.encrypt:
            message = "data channels cannot be encrypted here"
            raise GridFTPError(Kind.UNSUPPORTED, message, self._end.where)
        return False

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
