"""Trees removed by several sessions: listed ahead, and deleted meanwhile.

A directory that holds nothing but files goes with one command (SITE RDEL, which follows no links),
right after it was listed. Other files go one by one (DELE), many commands ahead, and directories
after all that was in them. What is left is listed again, until nothing is or nothing more can go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final, NamedTuple, TypeVar

from towpath.gridftp.client.asked import HELD_ENTRIES
from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.client.tree_listing import list_tree
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.listings import Entry, EntryType, parse_status_line
from towpath.gridftp.wire.replies import Reply

SESSIONS: Final = 2
"""That delete, and as many that list. One session deletes 33,000 files a second (DELE) and two
41,000; with more it gets less, because they wait for each other in the server's kernel."""

AT_ONCE: Final = 400
"""Commands sent in one go; two such batches are under way, and a server queues about 1,000."""

FILES_AT_ONCE: Final = 20_000
"""That such a batch may delete, in about a second: two batches are soon over when nobody waits for
them any more."""

SLOWEST_S: Final = 10
"""Files that a server deletes in a second at least, in silence, when a directory goes whole."""

QUEUED: Final = 4
"""Batches waiting for a session before the listing has to wait."""

REMEMBERED: Final = 50_000
"""Directories remembered until they are empty, at some 200 bytes each. Of more, those listed last
are: no directory is listed before the one that it is in. The others take another listing."""

FAILURES: Final = 1_000
"""Paths that could not be removed and are told."""

FACTS: Final = ("Type", "UNIX.slink")

_HIDING: Final = frozenset({Kind.NOT_EMPTY, Kind.INVALID_NAME})

T = TypeVar("T")

Keep = Callable[[str, bool], bool]
"""Whether a path (absolute), which is a directory or not, is to stay with all below it."""


class Failure(NamedTuple):
    """A path that could not be removed."""

    path: str
    error: GridFTPError


class Remover:
    """Removes what it is told to at one server. Close it.

    `remove` and `look` raise GridFTPError when no session can be opened, or one is lost.
    """

    def __init__(
        self,
        open_session: Callable[[], Awaitable[Session]],
        *,
        sessions: int = SESSIONS,
        keep: Keep | None = None,
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        """`tell` is called with numbers of files and of directories that have been removed.

        What `keep` says stays is no failure, and neither are the directories above it.
        """
        self._open_session = open_session
        self._most = max(1, sessions)
        self._keep = keep
        self._tell = tell or (lambda _files, _directories: None)
        self._deleting: list[Session] = []
        self._lost: list[Session] = []
        """These deleted, too, until their connections ended."""
        self._opening = asyncio.Lock()
        self._parked: list[Session] = []
        """These have listed, and are ready to do so again."""
        self._whole = keep is None
        """Whether directories of files may go by one command."""

    async def close(self) -> bool:
        """End all sessions; whether the server has confirmed that none of them does anything."""
        sessions = [*self._deleting, *self._lost, *self._parked]
        self._deleting, self._lost, self._parked = [], [], []
        return await close_all(sessions)

    async def look(self, paths: Sequence[str]) -> list[Entry | GridFTPError]:
        """What is at these paths, or why that cannot be told."""
        session = await self._session(0)
        found: list[Entry | GridFTPError] = []
        for some in _batches(paths):
            sent = _send(session, [_Command(commands.mlst, path) for path in some])
            for command, reply in sent:
                try:
                    answer = await _answer(session, command, reply)
                    found.append(_status(session, command.path, answer))
                except GridFTPError as error:
                    if session.closed:
                        raise
                    found.append(error)
        return found

    async def remove(self, files: Iterable[str] = (), trees: Sequence[str] = ()) -> list[Failure]:
        """Remove files (or links) and whole directories, by absolute paths.

        What is gone already is fine. Returns what could not be removed, without the directories
        above it, and at most FAILURES.
        """
        tried = await self._try(files, trees, whole=self._whole)
        first = tried.failed
        while trees and tried.worth_repeating:
            tried = await self._try((), trees, whole=False)
            if not tried.removed:
                break
        failed = tried.failed
        if failed is not first:
            failed = {path: first[path] for path in first if path not in trees} | failed
        above = _above(failed)
        return [
            Failure(path, error)
            for path, error in failed.items()
            if path not in above and not (self._keep and error.kind is Kind.NOT_EMPTY)
        ]

    # -- one listing, and the deletion of what it tells

    async def _try(self, files: Iterable[str], trees: Sequence[str], *, whole: bool) -> _Try:
        tried = _Try(whole)
        queue = _Queue()
        try:
            async with asyncio.TaskGroup() as group:
                workers = [
                    group.create_task(self._work(number, queue, tried))
                    for number in range(self._most)
                ]
                await queue.put_all(_deletion(path) for path in files)
                if trees:
                    await self._list(trees, queue, tried)
                await queue.join()
                session = await self._session(0)
                for worker in workers:
                    worker.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None
        # In order and by one session: nothing has to be waited for between a directory and the
        # one that it is in.
        deepest_first = list(reversed(tried.directories))
        await self._in_order(session, (_removal(path) for path in deepest_first), tried)
        if self._whole and whole:
            hiding = tried.hiding()
            rest = [path for path in deepest_first if path in hiding]
            await self._in_order(session, (_whole(path, 0) for path in rest), tried)
        return tried

    async def _work(self, number: int, queue: _Queue, tried: _Try) -> None:
        """Send what is queued with one session, two batches ahead, until cancelled."""
        if number > 0:
            await queue.crowded.wait()
        try:
            session = await self._session(number)
        except GridFTPError:
            if number == 0:
                raise
            return  # the server takes no more of them
        before: list[_Sent] = []
        while True:
            if before and queue.empty:
                await self._settle(session, before, tried)
                queue.done()
                before = []
            batch = await queue.get()
            sent = _send(session, batch)
            if before:
                await self._settle(session, before, tried)
                queue.done()
            before = sent

    async def _in_order(self, session: Session, commands_: Iterable[_Command], tried: _Try) -> None:
        before: list[_Sent] = []
        for batch in _batches(commands_):
            sent = _send(session, batch)
            await self._settle(session, before, tried)
            before = sent
        await self._settle(session, before, tried)

    async def _settle(self, session: Session, sent: Sequence[_Sent], tried: _Try) -> None:
        """Take the answers. Raises GridFTPError when the session ends first."""
        files = directories = 0
        for command, reply in sent:
            try:
                answer = await _answer(session, command, reply)
            except GridFTPError as error:
                if session.closed:
                    raise
                tried.fail(command.path, error)
                continue
            if answer.ok:
                files += command.files
                directories += command.directories
                tried.failed.pop(command.path, None)
                continue
            failure = classify(answer, where=str(session.server), path=command.path)
            if failure.kind is not Kind.NOT_FOUND:
                tried.fail(command.path, failure)
            if command.slow and failure.kind is Kind.UNSUPPORTED:
                self._whole = False
        tried.removed += files + directories
        self._tell(files, directories)

    async def _list(self, trees: Sequence[str], queue: _Queue, tried: _Try) -> None:
        for tree in trees:
            tried.remember(tree)
        listing = list_tree(
            self._lister,
            "/",
            sessions=self._most,
            facts=FACTS,
            keep_session=self._parked.append,
            starts=[tree.strip("/") for tree in trees],
            # Servers may have no way to us; and deleting takes longer than listing anyhow.
            data_channels=False,
        )
        async with aclosing(listing):
            async for listed in listing:
                for path, error in listed.failed:
                    tried.unlisted(f"/{path}", error)
                await queue.put_all(self._commands(listed.entries, tried))

    def _commands(self, entries: Iterable[Entry], tried: _Try) -> Iterator[_Command]:
        """What is sent because of a part of the listing."""
        for parent, group in groupby(entries, lambda entry: _parent(f"/{entry.name}")):
            members = list(group)
            if tried.goes_whole(parent, members):
                tried.directories.pop(parent, None)
                yield _whole(parent, len(members))
                continue
            for entry in members:
                path = f"/{entry.name}"
                is_directory = is_real_directory(entry)
                if self._keep is not None and self._keep(path, is_directory):
                    continue
                if is_directory:
                    tried.remember(path)
                else:
                    yield _deletion(path)

    # -- sessions

    async def session(self) -> Session:
        """One for short questions; what is asked waits for what is being deleted by it."""
        return await self._session(0)

    async def _session(self, number: int) -> Session:
        """One of those that delete."""
        async with self._opening:
            self._lost += [session for session in self._deleting if session.closed]
            self._deleting = [session for session in self._deleting if not session.closed]
            if number >= len(self._deleting):
                self._deleting.append(await self._open_session())
            return self._deleting[min(number, len(self._deleting) - 1)]

    async def _lister(self) -> Session:
        while self._parked:
            if not (session := self._parked.pop()).closed:
                return session
        return await self._open_session()


class _Command(NamedTuple):
    build: Callable[[str], str]
    path: str
    files: int = 0
    """That are gone when it has succeeded."""
    directories: int = 0
    slow: bool = False


_Sent = tuple[_Command, "asyncio.Future[Reply] | GridFTPError"]


@dataclass
class _Try:
    """What one listing of trees led to."""

    whole: bool
    """Whether directories of files go by one command."""
    directories: dict[str, None] = field(default_factory=dict)
    """Still to be removed, in the order in which they were listed."""
    removed: int = 0
    failed: dict[str, GridFTPError] = field(default_factory=dict)
    _forgotten: bool = False
    _in_parts: set[str] = field(default_factory=set)
    """Directories of which more is to come."""

    def remember(self, path: str) -> None:
        """A directory goes when all else has gone."""
        self.directories[path] = None
        if len(self.directories) > REMEMBERED:
            del self.directories[next(iter(self.directories))]
            self._forgotten = True

    def unlisted(self, path: str, error: GridFTPError) -> None:
        """A directory that could not be listed; an empty one can be removed all the same."""
        if error.kind is Kind.NOT_FOUND:
            self.directories.pop(path, None)
        else:
            self.fail(path, error)

    def fail(self, path: str, error: GridFTPError) -> None:
        """It is still there. What was the matter first is told."""
        if len(self.failed) < FAILURES:
            self.failed.setdefault(path, error)

    def goes_whole(self, directory: str, entries: Sequence[Entry]) -> bool:
        """Whether a directory may go at once, with all that is in it."""
        if len(entries) > HELD_ENTRIES:
            self._in_parts.add(directory)
        return (
            self.whole
            and directory not in self._in_parts
            and not any(is_real_directory(entry) for entry in entries)
        )

    def hiding(self) -> set[str]:
        """Directories in which there is more than could be listed, and those above them.

        GCT does not list links that point nowhere, and names with line breaks cannot be.
        """
        hiding = {path for path, error in self.failed.items() if error.kind in _HIDING}
        return hiding - _above(path for path in self.failed if path not in hiding)

    @property
    def worth_repeating(self) -> bool:
        """Whether listing what is left may lead to more."""
        return self._forgotten or bool(self.whole and self.failed) or bool(self.hiding())


class _Queue:
    """Batches of commands on their way to the sessions."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[list[_Command]] = asyncio.Queue(QUEUED)
        self._batch: list[_Command] = []
        self._files = 0
        self.crowded = asyncio.Event()
        """Set when there is work for more than one session."""
        self.get = self._queue.get
        self.done = self._queue.task_done

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._queue.empty()

    async def put_all(self, commands_: Iterable[_Command]) -> None:
        """Pass them on; a few wait here for more, unless there is nothing else to do."""
        for command in commands_:
            self._batch.append(command)
            self._files += command.files
            if len(self._batch) >= AT_ONCE or self._files >= FILES_AT_ONCE:
                await self._put()
        if self._batch and self.empty:
            await self._put()

    async def _put(self) -> None:
        if self._queue.full():
            self.crowded.set()
        batch, self._batch, self._files = self._batch, [], 0
        await self._queue.put(batch)

    async def join(self) -> None:
        """Pass on the last, and wait until all have been settled."""
        if self._batch:
            await self._put()
        await self._queue.join()


def _send(session: Session, batch: Sequence[_Command]) -> list[_Sent]:
    """Send them in one write; those that cannot be put in words have failed."""
    lines: list[str] = []
    refused: dict[int, GridFTPError] = {}
    for number, command in enumerate(batch):
        try:
            line = command.build(command.path)
            session.encode(line)
        except GridFTPError as error:
            refused[number] = error
        else:
            lines.append(line)
    replies = iter(session.submit(lines))
    return [
        (command, refused[number] if number in refused else next(replies))
        for number, command in enumerate(batch)
    ]


async def _answer(
    session: Session, command: _Command, reply: asyncio.Future[Reply] | GridFTPError
) -> Reply:
    """What the server says."""
    if isinstance(reply, GridFTPError):
        raise reply
    if reply.done():
        return reply.result()
    [answer] = await session.answers([reply], _patience_s(session, command))
    return answer


def _patience_s(session: Session, command: _Command) -> float:
    times = session.timeouts
    if not command.slow:
        return times.reply_s
    # A directory in which there is more than could be listed takes nobody knows how long.
    return times.reply_s + command.files / SLOWEST_S if command.files else times.checksum_s


def _status(session: Session, path: str, answer: Reply) -> Entry:
    session.require(answer, path)
    if len(answer.raw) < 3:
        raise GridFTPError(Kind.PROTOCOL, "the server told no facts", str(session.server), path)
    return parse_status_line(answer.raw[1], where=str(session.server))


def _deletion(path: str) -> _Command:
    return _Command(commands.dele, path, files=1)


def _removal(path: str) -> _Command:
    return _Command(commands.rmd, path, directories=1)


def _whole(path: str, files: int) -> _Command:
    return _Command(commands.rdel, path, files=files, directories=1, slow=True)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch


def is_real_directory(entry: Entry) -> bool:
    """Whether it is a directory, and no link to one."""
    return entry.type is EntryType.DIRECTORY and entry.link_target is None


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _above(failed: Iterable[str]) -> set[str]:
    """The directories above what failed: they cannot be empty."""
    found: set[str] = set()
    for path in failed:
        above = _parent(path)
        while above and above not in found:
            found.add(above)
            above = _parent(above)
    return found
