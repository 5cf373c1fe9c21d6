"""A whole tree listed by several sessions at once, as a stream.

Each session takes directories from one frontier and adds to it what it finds (`Lister`). The first
one begins in its login's last flight, so a small tree is there as soon as the login is; more are
opened while there is much to do.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from towpath.gridftp.client.asked import Place, Way
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.lister import (
    DataTrouble,
    Done,
    Lister,
    Restart,
    RootError,
)
from towpath.gridftp.client.listing_costs import control_s, data_setup_s, login_s
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry

SESSIONS: Final = 3
"""With three a server of two or four cores is busy, and nobody's limit of sessions is reached."""

FACTS: Final = ("Type", "Size", "Modify", "UNIX.slink")
"""What is needed to transfer a tree. Other facts double the bytes."""

ALL_FACTS: Final = (*FACTS, "Perm", "UNIX.mode", "UNIX.owner", "UNIX.group", "Unique")

WAITING_ENTRIES: Final = 20_000
"""Found and not yet taken by the consumer, before the servers have to wait."""

WIDE: Final = 1000
"""Directories on the frontier from which on the deepest are taken first, so that it does not grow;
below that the highest are, because most is found in them. One that waits takes 100 bytes."""

MAX_LOSSES: Final = 4
"""Sessions lost in one directory before it counts as one that cannot be listed."""

MAX_LOSSES_IN_ALL: Final = 8
"""Sessions lost without a directory listed in between: it is the server, or the way to it."""

RETRY_S: Final = 0.1
"""Between attempts to replace a session when none is left, and with each loss longer: a server may
not have noticed yet that the last one is gone."""

MAX_DATA_TROUBLES: Final = 3
"""Data channels that broke without a directory listed in between."""

EAGER_RTT_S: Final = 0.01
"""From here on all sessions are opened at once: their logins take longer than what they cost."""

ALONE: Final = 4
"""A single session tells nothing while its data channel is made. Whoever moves files meanwhile
stands still, and is served faster than it can work by MLSC, too."""

_PRIOR_ENTRIES: Final = 20
"""A directory is taken to have so many until some are known."""


MakeSecurity = Callable[[], Awaitable[DataSecurity]]


class Listed(NamedTuple):
    """A part of what was found."""

    entries: list[Entry]
    """Files, directories, links and others; names are paths relative to the root."""
    failed: list[tuple[str, GridFTPError]]
    """Directories, relative to the root, that could not be listed, or not to their end."""


async def list_tree(
    open_session: Callable[[], Awaitable[Session]],
    root: str,
    *,
    security: DataSecurity | MakeSecurity = DataSecurity(),  # noqa: B008 - frozen
    sessions: int = SESSIONS,
    facts: Sequence[str] = FACTS,
    keep_session: Callable[[Session], None] | None = None,
    starts: Sequence[str] = ("",),
    data_channels: bool = True,
) -> AsyncGenerator[Listed, None]:
    """Everything below a directory; links to directories are told and not followed.

    A directory is told before anything that is in it, and the entries of one directory come in the
    server's order; otherwise the order is nobody's. Each entry is told once. While the consumer is
    busy the servers wait.

    `open_session` gives sessions as `Session.start` does, up to `sessions` of them. Those that have
    nothing more to do go to `keep_session`, set up for listing as they are; without it they are
    closed, as all are when the consumer stops early (close the iterator then, as with
    `contextlib.aclosing`). `security`, or what makes it when it is needed, is for the data channels
    that large trees are listed over; without a credential only their other end's address is
    checked, and names travel in clear. A server that cannot reach us is asked without data
    channels.

    With `starts`, directories relative to the root, only these are listed; what is wrong with one
    of them does not end the others. Without `data_channels` the server need not reach us.

    Raises GridFTPError when the root cannot be listed (NOT_A_DIRECTORY for a file), when no session
    can be opened, and when sessions are lost again and again.
    """
    tree = Tree(open_session, root, security, sessions, facts, keep_session)
    tree.begin_at(starts)
    if not data_channels:
        tree.forgo_data()
    tree.start()
    try:
        while (listed := await tree.next()) is not None:
            yield listed
    finally:
        await tree.close()


class _Data(Enum):
    """What is known of data channels from this server to us."""

    UNKNOWN = "unknown"
    REACHED = "reached"
    IMPOSSIBLE = "impossible"


class _NotLoggedIn(Exception):  # noqa: N818
    """A session could not be opened, or its login was refused."""

    def __init__(self, error: GridFTPError) -> None:
        super().__init__(str(error))
        self.error = error


class Tree:
    """What the sessions share: the frontier, the consumer's basket, and what is known so far."""

    def __init__(
        self,
        open_session: Callable[[], Awaitable[Session]],
        root: str,
        security: DataSecurity | MakeSecurity,
        sessions: int,
        facts: Sequence[str],
        keep_session: Callable[[Session], None] | None = None,
    ) -> None:
        self._security = security
        self._making_security = asyncio.Lock()
        self.facts = f"OPTS MLST {';'.join([*facts, 'X.count'])};"
        """The command that asks for no more than these."""
        self._open_session = open_session
        self._keep_session = keep_session
        self._root = root
        self._below_root = root if root.endswith("/") else f"{root}/"
        self._sessions = max(1, sessions)
        self._frontier: deque[str] = deque()
        self._again = [Place("")]
        """Directories that are not simply the next: the root, and what is listed once more."""
        self._unfinished = 1
        self._entries = 0
        self._directories = 0
        self._losses = 0
        self._logged_in = False
        """Whether any session ever was."""
        self._data = _Data.UNKNOWN
        self._data_troubles = 0
        self._probing: set[Lister] = set()
        """Who finds out whether the server reaches us."""
        self._probing_since = 0.0
        self._workers: set[asyncio.Task[None]] = set()
        self._listers: list[Lister] = []
        """With the sessions that are open, the oldest first."""
        self._task: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._news = asyncio.Event()
        self._complete = asyncio.Event()
        self._basket: deque[Listed] = deque()
        self._in_basket = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    # -- the consumer's side

    def begin_at(self, starts: Sequence[str]) -> None:
        """List these, relative to the root, instead of the root."""
        self._again = [Place(path) for path in starts if not path]
        self._frontier = deque(path for path in starts if path)
        self._unfinished = len(starts)

    def forgo_data(self) -> None:
        """Make no data channels."""
        self._data = _Data.IMPOSSIBLE

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: self._filled.set())

    async def next(self) -> Listed | None:
        """The next part; None after the last. Raises GridFTPError."""
        assert self._task is not None
        while not self._basket:
            if self._task.done():
                await self._task
                return None
            self._filled.clear()
            await self._filled.wait()
        listed = self._basket.popleft()
        self._in_basket -= _size(listed)
        _pulse(self._emptied)
        return listed

    async def close(self) -> None:
        """End everything that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()

    # -- the work

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                self._hire(at_once=True)
                await self._complete.wait()
                for worker in self._workers:
                    worker.cancel()
        except BaseExceptionGroup as group:
            first = group.exceptions[0]
            raise first.error if isinstance(first, RootError) else first from None

    def _hire(self, *, at_once: bool = False) -> None:
        assert self._group is not None
        worker = self._group.create_task(self._work(at_once=at_once))
        self._workers.add(worker)
        worker.add_done_callback(self._dismiss)

    def _dismiss(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        _pulse(self._news)  # who was not to wait for a data channel may have to now

    async def _work(self, *, at_once: bool) -> None:
        """One session after the other: one that is lost is replaced."""
        while True:
            if not at_once:
                await self.wait_for_work(lambda: bool(self._frontier or self._again))
            at_once = False
            try:
                session = await self._open()
                while session.rtt_s >= EAGER_RTT_S and len(self._workers) < self._sessions:
                    self._hire(at_once=True)
                await self._use(session)
            except _NotLoggedIn as refusal:
                if self._listers:
                    self._sessions = len(self._workers) - 1  # the server takes no more
                    return
                if refusal.error.permanent or not self._logged_in:
                    raise refusal.error from refusal
                self._count_loss(refusal.error)
                await asyncio.sleep(RETRY_S * self._losses)

    async def _open(self) -> Session:
        try:
            return await self._open_session()
        except GridFTPError as error:
            raise _NotLoggedIn(error) from error

    async def _use(self, session: Session) -> None:
        """List with one session until it is lost. Raises _NotLoggedIn and what ends all."""
        lister = Lister(self, session)
        self._listers.append(lister)
        try:
            await lister.run()
        except DataTrouble as trouble:
            await lister.flush()
            self._count_trouble(trouble.error)
        except Restart:
            await lister.flush()
        except GridFTPError as error:
            if not lister.logged_in:
                raise _NotLoggedIn(error) from error
            await lister.flush()
            if error.permanent and error.kind is not Kind.INVALID_NAME:
                raise
            if not self._give_up_first(lister, error):
                self._count_loss(error)
            await lister.flush()
        finally:
            self._logged_in = self._logged_in or lister.logged_in
            self._listers.remove(lister)
            self._probing.discard(lister)
            self.put_back(lister.unfinished())
            if self._keep_session is not None and self._is_sound(session):
                lister.give_back()
                self._keep_session(session)
            else:
                await lister.end()

    def _is_sound(self, session: Session) -> bool:
        """Whether it has done all it was asked for, at the end of everything."""
        done = self._complete.is_set() and not session.channel.unanswered
        return done and not session.closed

    def _count_trouble(self, error: GridFTPError) -> None:
        self._data_troubles += 1
        if (
            self._data is _Data.UNKNOWN
            or self._data_troubles >= MAX_DATA_TROUBLES
            or error.permanent
        ):
            self._data = _Data.IMPOSSIBLE

    def _give_up_first(self, lister: Lister, error: GridFTPError) -> bool:
        """Whether a session was lost because of the directory that it listed."""
        first = next(iter(lister.unfinished()), None)
        if first is None:
            return False
        first.losses += 1
        if error.kind is not Kind.INVALID_NAME and first.losses < MAX_LOSSES:
            return False
        # Names that look like the server's own answers end a session each.
        lister.fail_first(error)
        return True

    def _count_loss(self, error: GridFTPError) -> None:
        self._losses += 1
        if self._losses >= MAX_LOSSES_IN_ALL:
            raise error

    # -- what the listers use

    async def security(self) -> DataSecurity:
        """For data channels."""
        async with self._making_security:
            if not isinstance(self._security, DataSecurity):
                self._security = await self._security()
        return self._security

    def absolute(self, path: str) -> str:
        """The server's path of one that is relative to the root."""
        return self._below_root + path if path else self._root

    @property
    def mean_entries(self) -> float:
        """What a directory has on average, as far as is known."""
        return (self._entries + _PRIOR_ENTRIES) / (self._directories + 1)

    def _control_s(self, directories: int, rtt_s: float) -> float:
        """How long one session would be busy with so many, without a data channel."""
        return control_s(directories, directories * self.mean_entries, rtt_s)

    @property
    def data_possible(self) -> bool:
        """Whether the server may be able to reach us."""
        return self._data is not _Data.IMPOSSIBLE

    def data_reached(self) -> None:
        """It is."""
        if self._data is _Data.UNKNOWN:
            self._data = _Data.REACHED
            self._tell_listers()

    def wants_data(self, lister: Lister, rtt_s: float, *, at_any_cost: bool) -> bool:
        """Whether a session should have a data channel made."""
        if self._data is _Data.IMPOSSIBLE:
            return False
        if self._data is _Data.UNKNOWN and len(self._workers) > 1:
            # It may take seconds to find out; one goes on without.
            oldest = self._listers[0]
            if lister is oldest or oldest in self._probing:
                return False
        # Directories lead to directories: what is still to be found counts as much as what was.
        expected = 2 * self._unfinished
        cost_s = data_setup_s(rtt_s) * (1 if self._sessions > 1 else ALONE)
        wanted = (
            at_any_cost
            or self._control_s(expected, rtt_s) > cost_s
            or any(place.way is Way.DATA for place in self._again)
        )
        if wanted and self._data is _Data.UNKNOWN:
            self._probing_since = self._probing_since or asyncio.get_running_loop().time()
            self._probing.add(lister)
        return wanted

    def about_to_know(self, lister: Lister, rtt_s: float) -> bool:
        """Whether others will know in a moment if the server reaches us."""
        if self._data is not _Data.UNKNOWN or self._probing <= {lister}:
            return False
        passed_s = asyncio.get_running_loop().time() - self._probing_since
        return passed_s < 2 * data_setup_s(rtt_s)

    def offers(self, *, data: bool) -> bool:
        """Whether there is a directory for a session with or without a data channel."""
        return bool(self._frontier) or any(self._suits(place, data=data) for place in self._again)

    def _suits(self, place: Place, *, data: bool) -> bool:
        return data or place.way is not Way.DATA or not self.data_possible

    def take(self, count: int, *, data: bool) -> list[Place]:
        """At most so many directories; not more than a fair share of what waits."""
        suitable = [place for place in self._again if self._suits(place, data=data)][:count]
        for place in suitable:
            self._again.remove(place)
        share = math.ceil(len(self._frontier) / len(self._workers))
        take_next = self._frontier.popleft
        if len(self._frontier) > WIDE:
            take_next = self._frontier.pop
        return suitable + [Place(take_next()) for _ in range(min(count - len(suitable), share))]

    def put_back(self, places: Iterable[Place]) -> None:
        """Taken, and not finished."""
        self._again += places
        self._tell_listers()

    def add(self, paths: Sequence[str]) -> None:
        """Directories that were found; the consumer knows of them already."""
        self._frontier += paths
        self._unfinished += len(paths)
        self._tell_listers()

    def finished(self, done: Done) -> None:
        """Directories have been listed, or cannot be; all there is to tell of them was told."""
        self._unfinished -= done.directories
        self._directories += done.listed
        self._entries += done.entries
        if done.listed:
            self._losses = 0
        if done.by_data:
            self._data_troubles = 0
        if not self._unfinished:
            self._complete.set()

    def _tell_listers(self) -> None:
        """There is something to do, or another way of doing it."""
        _pulse(self._news)
        for lister in self._listers:
            if lister.hungry:
                lister.wake()

    async def wait_for_work(self, offered: Callable[[], bool]) -> None:
        """Until `offered` says yes."""
        while not offered():
            await self._news.wait()

    def hire_if_useful(self, rtt_s: float) -> None:
        """Open more sessions, if what waits keeps those that are there busy for long enough."""
        busy_s = self._control_s(len(self._frontier), rtt_s)
        while len(self._workers) < self._sessions and busy_s / len(self._workers) > login_s(rtt_s):
            self._hire()

    async def tell(self, entries: list[Entry], failed: list[tuple[str, GridFTPError]]) -> None:
        """Hand something to the consumer; waits while there is much in the basket."""
        while self._in_basket >= WAITING_ENTRIES:
            await self._emptied.wait()
        listed = Listed(entries, failed)
        self._basket.append(listed)
        self._in_basket += _size(listed)
        self._filled.set()


def _size(listed: Listed) -> int:
    return len(listed.entries) + len(listed.failed)


def _pulse(event: asyncio.Event) -> None:
    """Wake all who wait now."""
    event.set()
    event.clear()
