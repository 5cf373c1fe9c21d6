"""What there is to copy: the ends of a copy, and the walk over what is at its source."""

import asyncio
import os
import posixpath
import stat
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.data.files import local_error
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.pool import Login, SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree_listing import MakeSecurity, list_tree
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.features import common_checksum
from towpath.gridftp.wire.listings import EntryType

LISTING_FACTS = ("Type", "Size", "Perm", "UNIX.slink")
"""What a copy without times needs to know."""


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

    @property
    def protection(self) -> Protection:
        """Of data channels."""
        return Protection.PRIVATE if self.encrypt else Protection.CLEAR

    async def make_security(self) -> DataSecurity:
        """A new throw-away credential for data channels, made in a thread."""
        credential = await asyncio.to_thread(DataCredential.create, datetime.now(UTC))
        return DataSecurity(credential, self.protection)


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


class Left(NamedTuple):
    """What will not be copied, although it should: a source's path, and why."""

    path: str
    error: GridFTPError


class Seen(NamedTuple):
    """What a listing tells of a tree at a server."""

    name: str
    """Relative to the root."""
    size: int | None = None
    """None: a directory."""
    error: GridFTPError | None = None
    """It cannot be read, or not be listed."""


def checksum_of(sessions: Sequence[Session]) -> str:
    """The algorithm to verify by, which all of them know. Raises CHECKSUM_UNSUPPORTED."""
    algorithm = common_checksum(session.features for session in sessions)
    if algorithm is None:
        where = " and ".join(str(session.server) for session in sessions)
        raise GridFTPError(Kind.CHECKSUM_UNSUPPORTED, "no checksum to verify by", where)
    return algorithm


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
) -> AsyncGenerator[Job | Directory | Left, None]:
    """Directories, each before what is in it, and files."""
    path = source.location.path
    if source.location.server is None:
        is_directory, size = await asyncio.to_thread(_local_status, Path(path))
    else:
        async with pool.session(source.login) as session:
            entry = await session.stat(path)
        is_directory, size = entry.is_directory, entry.size
    if not is_directory:
        yield Job(path, await _file_target(source.location, destination, pool), size)
        return
    if not options.recursive:
        raise GridFTPError(
            Kind.IS_A_DIRECTORY, "is a directory (-r copies directories)", source.where, path
        )
    yield Directory(destination.location.path)
    if source.location.server is None:
        walk = _walk_here(Path(path), progress)
    else:
        walk = walk_there(source, pool, progress, security=_listing_security(source, options))
    async with aclosing(walk):
        async for batch in walk:
            for name, size_or_none, error in batch:
                target = destination.location.child(name)
                if error is not None:
                    yield Left(source.location.child(name), error)
                elif size_or_none is None:
                    yield Directory(target)
                else:
                    yield Job(source.location.child(name), target, size_or_none)


def _listing_security(source: End, options: CopyingOptions) -> DataSecurity | MakeSecurity:
    return DataSecurity() if source.location.clear else options.make_security


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


async def _walk_here(root: Path, progress: Progress) -> AsyncGenerator[list[Seen], None]:
    """A tree here. Links to directories are not followed."""
    waiting = deque([""])
    while waiting:
        relative = waiting.popleft()
        try:
            entries = await asyncio.to_thread(_scan, root / relative)
        except OSError as error:
            raise local_error(error, os.fspath(root / relative)) from error
        seen: list[Seen] = []
        for name, kind, size in entries:
            path = posixpath.join(relative, name)
            if kind == "directory":
                waiting.append(path)
                seen.append(Seen(path))
            elif kind == "file":
                seen.append(Seen(path, size))
            else:
                progress.skipped(os.fspath(root / path), kind)
        yield seen


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
    source: End,
    pool: SessionPool,
    progress: Progress,
    *,
    security: DataSecurity | MakeSecurity,
) -> AsyncGenerator[list[Seen], None]:
    """A tree at a server. Names that could lead out of it never get this far."""
    login = replace(source.login, purpose="listing trees")
    root = source.location.path
    listing = list_tree(
        lambda: pool.take(login),
        root,
        security=security,
        sessions=1,  # one lists several times as fast as files can be moved
        facts=LISTING_FACTS,
        keep_session=lambda session: pool.give_back(login, session, sound=True),
    )
    async with aclosing(listing):
        async for listed in listing:
            seen: list[Seen] = []
            for entry in listed.entries:
                path = posixpath.join(root, entry.name)
                if entry.is_directory and entry.link_target is None:
                    seen.append(Seen(entry.name))
                elif entry.is_directory:
                    progress.skipped(path, "a link to a directory")
                elif entry.type is not EntryType.FILE:
                    progress.skipped(path, "not a regular file")
                elif not entry.perm or "r" in entry.perm:
                    seen.append(Seen(entry.name, entry.size))
                else:  # in a pipeline its failure would void what follows
                    seen.append(Seen(entry.name, error=_unreadable(source, path)))
            seen += (Seen(name, error=error) for name, error in listed.failed)
            yield seen


def _unreadable(source: End, path: str) -> GridFTPError:
    return GridFTPError(
        Kind.PERMISSION_DENIED, "the listing says that you may not read it", source.where, path
    )
