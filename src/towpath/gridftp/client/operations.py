"""What a server is asked to do by itself, without a data channel: one method, one exchange."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.features import Features
from towpath.gridftp.wire.listings import Entry, parse_status_line, parse_time
from towpath.gridftp.wire.numbers import parse_unsigned
from towpath.gridftp.wire.ranges import ByteRange
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.rooted import Root

MAX_DEPTH = 2048
"""Directories above a path: more do not fit in the 4096 bytes that a path may have."""


class Operations(ABC):
    """The operations of a `Session`. All methods raise GridFTPError.

    Where a path is a symbolic link the server looks at what it points to, except for deleting and
    renaming.
    """

    server: Server
    timeouts: Timeouts
    features: Features
    root: Root | None
    renaming: asyncio.Lock

    @abstractmethod
    def submit(
        self, lines: Sequence[str], on_intermediate: Callable[[Reply], None] | None = None
    ) -> list[asyncio.Future[Reply]]:
        """See `Session.submit`."""

    @abstractmethod
    async def answers(
        self, futures: Sequence[asyncio.Future[Reply]], timeout_s: float | None = None
    ) -> list[Reply]:
        """See `Session.answers`."""

    async def command(
        self, line: str, *, path: str | None = None, timeout_s: float | None = None
    ) -> Reply:
        """Send one command and return its final reply; one >= 400 raises what it means."""
        (reply,) = await self.answers(self.submit([line]), timeout_s)
        return self.require(reply, path)

    def require(self, reply: Reply, path: str | None = None) -> Reply:
        """The reply, if it is a good one. Raises what it means otherwise."""
        if not reply.ok:
            raise classify(reply, where=str(self.server), path=path)
        return reply

    # -- looking

    async def stat(self, path: str) -> Entry:
        """One entry's facts (MLST); its name is the path as the server writes it."""
        return self._status(await self.command(commands.mlst(path), path=path), path)

    async def size(self, path: str) -> int:
        """A file's bytes (SIZE)."""
        reply = await self.command(commands.size(path), path=path)
        try:
            return parse_unsigned(reply.text.strip())
        except ValueError:
            raise self._senseless("the server told no size", reply, path) from None

    async def modified(self, path: str) -> int:
        """When a file or directory was last changed, in Unix seconds (MDTM)."""
        reply = await self.command(commands.mdtm(path), path=path)
        try:
            return parse_time(reply.text.strip())
        except ValueError:
            raise self._senseless("the server told no time", reply, path) from None

    async def checksum(
        self,
        path: str,
        algorithm: str,
        byte_range: ByteRange | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """The digest of a file or of a range of it, in lower-case hex (CKSM)."""
        line = commands.cksm(path, algorithm, byte_range)
        try:
            reply = await self.command(line, path=path, timeout_s=self._silent_s(timeout_s))
        except GridFTPError as error:
            if error.kind is Kind.UNSUPPORTED:
                error.kind = Kind.CHECKSUM_UNSUPPORTED
            raise
        digest = reply.text.strip().lower()
        if reply.code != 213 or not digest:  # two such answers would be equal
            raise self._senseless("the server told no checksum", reply, path)
        return digest

    # -- making and changing

    async def mkdir(self, path: str) -> None:
        """Make one directory (MKD)."""
        await self.command(commands.mkd(path), path=path)

    async def make_directories(self, path: str) -> None:
        """Make a directory and all above it; those that are there already are fine."""
        above = [*ancestors(path), path.rstrip("/")]
        lines = [commands.mkd(directory) for directory in above if directory]
        replies = await self.answers(self.submit([*lines, commands.mlst(path)]))
        status = replies.pop()
        if status.ok:
            if self._status(status, path).is_directory:
                return
            raise GridFTPError(
                Kind.NOT_A_DIRECTORY, "a file is there already", str(self.server), path
            )
        for reply in replies:
            error = None if reply.ok else classify(reply, where=str(self.server), path=path)
            if error is not None and error.kind is not Kind.EXISTS:
                raise error
        self.require(status, path)

    async def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link at `path`; GCT wants `target` to exist (SITE SYMLINKFROM, -TO).

        In one write: another one's commands must not come between.
        """
        lines = [commands.symlink_from(target), commands.symlink_to(path)]
        begun, made = await self.answers(self.submit(lines))
        if made.ok and not begun.ok:
            # GCT has taken the target of an earlier link: it keeps that if a rule forbids the link
            await self.delete_file(path)
        self.require(begun, target)
        self.require(made, path)

    async def rename(self, old: str, new: str) -> None:
        """Rename, replacing a file that is at `new` (RNFR, RNTO).

        One after the other: GCT keeps the first half if a rule forbids the second, and would take
        it for that of a later rename whose own it refuses.
        """
        async with self.renaming:
            await self.command(commands.rnfr(old), path=old)
            await self.command(commands.rnto(new), path=new)

    async def set_modified(self, path: str, unix_s: int) -> None:
        """Set a file's time, in Unix seconds (MFMT, or SITE UTIME on servers without)."""
        builder = commands.mfmt if self.features.mfmt else commands.utime
        await self.command(builder(path, unix_s), path=path)

    async def set_mode(self, path: str, mode: int) -> None:
        """Set permission bits (SITE CHMOD)."""
        await self.command(commands.chmod(path, mode), path=path)

    async def set_group(self, path: str, group: str) -> None:
        """Set the group, by name or number (SITE CHGRP)."""
        await self.command(commands.chgrp(path, group), path=path)

    async def truncate(self, path: str, size_bytes: int) -> None:
        """Cut a file to `size_bytes`, which must not be more than it has (SITE TRNC)."""
        await self.command(commands.truncate(path, size_bytes), path=path)

    # -- deleting

    async def delete_file(self, path: str) -> None:
        """Delete a file, or a symbolic link itself (DELE)."""
        await self.command(commands.dele(path), path=path)

    async def delete_directory(self, path: str) -> None:
        """Delete an empty directory (RMD)."""
        await self.command(commands.rmd(path), path=path)

    async def delete_tree(self, path: str, timeout_s: float | None = None) -> None:
        """Delete a directory with all that is in it, or a file; links are not followed (SITE RDEL).

        The server stops at the first thing it cannot delete, and says nothing while it works.
        """
        limit_s = self._silent_s(timeout_s)
        await self.command(commands.rdel(path), path=path, timeout_s=limit_s)

    # -- the session itself

    async def change_directory(self, path: str) -> None:
        """Set where relative paths start (CWD)."""
        await self.command(commands.cwd(path), path=path)

    async def working_directory(self) -> str:
        """Where relative paths start (PWD)."""
        reply = await self.command("PWD")
        path = quoted(reply.text)
        if path is None:
            raise self._senseless("the server told no directory", reply, None)
        return path

    async def restrict(self, rules: str) -> None:
        """Narrow the session for good, once (SITE RESTRICT): `RW/data/shared,R/data/public`.

        The longest prefix of a path decides; what has none is refused with PATH_NOT_ALLOWED.
        """
        await self.command(commands.restrict(rules))

    async def set_task_id(self, text: str) -> None:
        """Mark what follows in the server's transfer log, with one word (SITE TASKID)."""
        await self.command(commands.task_id(text))

    async def set_client_info(self, application: str, version: str) -> None:
        """Tell the server who we are, for its logs and statistics (SITE CLIENTINFO)."""
        await self.command(commands.client_info(application, version))

    async def whoami(self) -> str:
        """The account the server runs this session as (SITE WHOAMI)."""
        return (await self.command("SITE WHOAMI")).text.strip()

    async def server_version(self) -> str:
        """What the server calls its version (SITE VERSION)."""
        return (await self.command("SITE VERSION")).text.strip()

    # --

    def _status(self, reply: Reply, path: str) -> Entry:
        if len(reply.raw) < 3:
            raise self._senseless("the server told no facts", reply, path)
        entry = parse_status_line(reply.raw[1], where=str(self.server))
        if self.root is None:
            return entry
        inside = self.root.entry(entry._replace(name=path))
        if inside is None:
            raise GridFTPError(
                Kind.PATH_NOT_ALLOWED, "a link that leads out", str(self.server), path
            )
        return inside

    def _silent_s(self, timeout_s: float | None) -> float:
        """For commands that keep the server busy, in silence, for as long as it takes."""
        return self.timeouts.checksum_s if timeout_s is None else timeout_s

    def _senseless(self, message: str, reply: Reply, path: str | None) -> GridFTPError:
        return GridFTPError(Kind.PROTOCOL, message, str(self.server), path, repr(reply))


def quoted(text: str) -> str | None:
    """What stands between the first and the last quote: GCT doubles no quotes in names."""
    first, last = text.find('"'), text.rfind('"')
    return text[first + 1 : last] if last > first else None


def ancestors(path: str) -> list[str]:
    """The directories above a path, from the top, without `/`."""
    found: list[str] = []
    while (path := path.rstrip("/").rpartition("/")[0]) and len(found) < MAX_DEPTH:
        found.append(path)
    return found[::-1]
