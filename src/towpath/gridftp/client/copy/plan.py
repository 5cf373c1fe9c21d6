"""What there is to copy: the ends of a copy, and the walk over what is at its source."""

import asyncio
import os
import posixpath
import stat
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.data.mode_e import local_error
from towpath.gridftp.client.pool import Login, SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.listings import EntryType


@dataclass(frozen=True)
class Access:
    """How to log in to a server."""

    credential: Credential | None
    trust: TrustRoots | None

    def login(self, location: Location) -> Login:
        """To the location's server."""
        assert location.server is not None
        credential = None if location.clear else self.credential
        return Login(location.server, credential, self.trust)

    async def open(self, location: Location) -> Session:
        """A session with it. Raises `GridFTPError`."""
        login = self.login(location)
        return await Session.open(login.server, credential=login.credential, trust=login.trust)


@dataclass(frozen=True)
class End:
    """One end of a copy: where, and how to get in (None: it is here)."""

    location: Location
    access: Access | None = None

    @property
    def login(self) -> Login:
        """To its server."""
        assert self.access is not None
        return self.access.login(self.location)

    @property
    def where(self) -> str:
        """Its server, or `local`."""
        return str(self.location.server or "local")


@dataclass(frozen=True)
class CopyingOptions:
    """What the user asked for."""

    recursive: bool = False
    streams: int = 1
    verify: bool = True
    encrypt: bool = False


class Progress:
    """Hears of the work: override what you want to hear. `moved` is called from threads."""

    def planned(self, size: int) -> None:
        """One more file of this size will be copied."""

    def moved(self, count: int) -> None:
        """Bytes moved (negative: they have to be moved again)."""

    def done(self, path: str) -> None:
        """A file has arrived, verified if that was asked for."""

    def failed(self, path: str, error: GridFTPError) -> None:
        """A file is given up."""

    def skipped(self, path: str, reason: str) -> None:
        """Something that is not copied."""


@dataclass(slots=True)
class Job:
    """One file to copy between here and a server."""

    source: str
    destination: str
    size: int
    attempts: int = 0


class Directory(NamedTuple):
    """One directory to make."""

    path: str


async def settle(end: End, pool: SessionPool) -> End:
    """With the home directory filled in."""
    if end.location.server is None or not end.location.path.startswith("/~"):
        return end
    async with pool.session(end.login) as session:
        return End(end.location.at_home(session), end.access)


async def plan(
    source: End,
    destination: End,
    options: CopyingOptions,
    progress: Progress,
    pool: SessionPool,
) -> AsyncIterator[Job | Directory]:
    """Directories, each before what is in it, and files."""
    if source.location.server is None:
        path = Path(source.location.path)
        is_directory, size = await asyncio.to_thread(_local_status, path)
        walk = _walk_here(path, progress)
        session = None
    else:
        session = await pool.take(source.login)
        try:
            entry = await session.stat(source.location.path)
        except BaseException:
            await session.close()
            raise
        is_directory, size = entry.is_directory, entry.size
        walk = walk_there(session, source.location.path, progress)
    try:
        if not is_directory:
            target = await _file_target(source.location, destination, pool)
            yield Job(source.location.path, target, size)
            return
        if not options.recursive:
            raise GridFTPError(
                Kind.IS_A_DIRECTORY,
                "is a directory (-r copies directories)",
                source.where,
                source.location.path,
            )
        yield Directory(destination.location.path)
        async for name, size_or_none in walk:
            target = destination.location.child(name)
            if size_or_none is None:
                yield Directory(target)
            else:
                yield Job(source.location.child(name), target, size_or_none)
    finally:
        if session is not None:
            await session.close()


async def _file_target(source: Location, destination: End, pool: SessionPool) -> str:
    """Like cp: into an existing directory under the file's own name."""
    location = destination.location
    into = location.path.endswith("/")
    if not into and location.server is None:
        into = await asyncio.to_thread(Path(location.path).is_dir)
    elif not into:
        async with pool.session(destination.login) as session:
            try:
                into = (await session.stat(location.path)).is_directory
            except GridFTPError as error:
                if error.scope is not Scope.FILE:
                    raise
    return location.child(source.name) if into else location.path


def _local_status(path: Path) -> tuple[bool, int]:
    """Whether it is a directory, and its size."""
    try:
        status = path.stat()
    except OSError as error:
        raise local_error(error, os.fspath(path)) from error
    return stat.S_ISDIR(status.st_mode), status.st_size


async def _walk_here(root: Path, progress: Progress) -> AsyncIterator[tuple[str, int | None]]:
    """Relative paths with size (None: a directory). Links to directories are not followed."""
    waiting = deque([""])
    while waiting:
        relative = waiting.popleft()
        try:
            entries = await asyncio.to_thread(_scan, root / relative)
        except OSError as error:
            raise local_error(error, os.fspath(root / relative)) from error
        for name, kind, size in entries:
            path = posixpath.join(relative, name)
            if kind == "directory":
                waiting.append(path)
                yield path, None
            elif kind == "file":
                yield path, size
            else:
                progress.skipped(os.fspath(root / path), kind)


def _scan(directory: Path) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append((entry.name, "directory", 0))
            elif entry.is_file():
                found.append((entry.name, "file", entry.stat().st_size))
            else:
                found.append((entry.name, _why_not(entry), 0))
    return sorted(found)


def _why_not(entry: "os.DirEntry[str]") -> str:
    if not entry.is_symlink():
        return "not a regular file"
    return "a link to a directory" if entry.is_dir() else "a link to nothing"


async def walk_there(
    session: Session, root: str, progress: Progress
) -> AsyncIterator[tuple[str, int | None]]:
    """The same on a server. Names that could lead out of the tree never get this far."""
    waiting = deque([""])
    while waiting:
        relative = waiting.popleft()
        async for batch in session.list(posixpath.join(root, relative)):
            for entry in batch:
                path = posixpath.join(relative, entry.name)
                if entry.is_directory and entry.link_target is None:
                    waiting.append(path)
                    yield path, None
                elif entry.type is EntryType.FILE:
                    yield path, entry.size
                else:
                    reason = "a link to a directory" if entry.is_directory else "not a regular file"
                    progress.skipped(posixpath.join(root, path), reason)
