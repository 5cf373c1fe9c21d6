"""Sessions and lanes between two uses: parked, kept alive, given to the next who needs one.

A login costs three round trips and a process at the server; a lane two more and the connections
between the servers. So what is sound after its use waits a while for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from towpath.gridftp.client.channel import Receiver
from towpath.gridftp.client.dial import Dial, Server, Timeouts, default_dial
from towpath.gridftp.client.lane import Lane
from towpath.gridftp.client.session import Session, TokenSource, utc_now
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.rooted import Root

IDLE_S: Final = 900.0
"""How long a session waits for its next use. Each is a process of some MiB at its server, and one
of those its administrator allows: more than a quarter of an hour is not worth it."""

KEEPALIVE_S: Final = 120.0
"""After so long without a word a parked session says NOOP. GCT ends sessions that are idle for
600 s; an administrator may have set a fifth of it, and hardly less."""

PER_LOGIN: Final = 4
"""Parked sessions of one login: what one transfer or a few people browsing use at a time."""

IN_ALL: Final = 64
"""Parked sessions; each takes 40 KiB here and some MiB at its server."""

PER_SERVER: Final = 8
"""Parked sessions at one server, of all logins together: it commonly allows some 50 to 100, which
are for work before they are for waiting."""

LANE_IDLE_S: Final = 240.0
"""How long a lane waits. Nothing goes over its data connections meanwhile, and many a firewall
between two sites forgets a connection after five minutes of silence."""

LANES_PER_KEY: Final = 4
"""Parked lanes of one key: as many as one transfer uses."""

LANES_IN_ALL: Final = 16
"""Parked lanes; each holds a session and a data channel's connections at two servers."""

_LOOKS: Final = 4
"""How often the pool looks at what is parked within the time after which it must act."""

_LOOKED_AT_AT_ONCE: Final = 50
"""Parked ones looked at before others get their turn: fifty NOOPs take some milliseconds."""

T = TypeVar("T")
Item = TypeVar("Item", bound=Session | Lane)


@dataclass(frozen=True, slots=True)
class Login:
    """All that a session is opened with. Sessions are shared only between equal logins.

    Trust roots count as equal only when they are the same object.
    """

    server: Server
    credential: Credential | None
    """None: anonymously, in clear text."""
    trust: TrustRoots | None
    owner: str = ""
    """Whose sessions these are; the server does not learn it."""
    restriction: str | None = None
    """See `Session.open`."""
    delegate: bool = False
    token: TokenSource | None = None
    """See `Session.open`. Equal ones give tokens for the same."""
    root: Root | None = None
    """See `Session.open`."""
    purpose: str = ""
    """What its sessions are set up for; with other settings than a login leaves they serve for
    nothing else."""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """A session for one use."""

    session: Session
    fresh: bool
    """Not one that was parked."""

    def died_unseen(self, error: GridFTPError) -> bool:
        """Whether this is how a parked session fails that its server had dropped meanwhile."""
        return not self.fresh and error.kind is Kind.CONNECTION_LOST


class SessionPool:
    """Opens sessions, and keeps what is given back for a while.

    Whoever takes a session or lane has it alone until it is given back. Parked ones are kept alive
    with NOOP; one that is lost while parked is dropped without a word. When there are too many the
    one that waited longest is closed. As a context it is closed at the end. All methods that wait
    raise GridFTPError.
    """

    def __init__(
        self,
        dial: Dial = default_dial,
        timeouts: Timeouts | None = None,
        clock: Callable[[], datetime] = utc_now,
        *,
        per_login: int = PER_LOGIN,
        per_server: int = PER_SERVER,
        in_all: int = IN_ALL,
        idle_s: float = IDLE_S,
        lanes_per_key: int = LANES_PER_KEY,
        lanes_in_all: int = LANES_IN_ALL,
        lane_idle_s: float = LANE_IDLE_S,
        keepalive_s: float = KEEPALIVE_S,
    ) -> None:
        """The bounds are of what is parked; what is in use is the callers' to bound."""
        self._dial = dial
        self._timeouts = timeouts
        self._clock = clock
        self._sessions: _Shelf[Session] = _Shelf(
            self._drop_soon, per_login, per_server, in_all, idle_s
        )
        self._lanes: _Shelf[Lane] = _Shelf(
            self._drop_soon, lanes_per_key, lanes_in_all, lanes_in_all, lane_idle_s
        )
        self._keepalive_s = keepalive_s
        self._look_every_s = min(keepalive_s, idle_s, lane_idle_s) / _LOOKS
        self._keeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[object]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- sessions

    async def take(self, login: Login) -> Session:
        """A parked session, or one just started, whose login may still be under way.

        What is sent before `Session.ready` travels in the login's last flight (`Session.start`).
        """
        return self.take_parked(login) or await self.start(login)

    def take_parked(self, login: Login) -> Session | None:
        """A parked session, if there is one. It may have died unseen."""
        if login.credential is not None and login.credential.expired(self._clock()):
            return None
        return self._sessions.take(login)

    async def start(self, login: Login) -> Session:
        """A new session, whose login may still be under way."""
        return await Session.start(
            login.server,
            credential=login.credential,
            trust=login.trust,
            restriction=login.restriction,
            delegate=login.delegate,
            token=login.token,
            root=login.root,
            dial=self._dial,
            timeouts=self._timeouts,
            clock=self._clock,
        )

    def give_back(self, login: Login, session: Session, *, sound: bool) -> None:
        """Park a session, or close it in the background.

        `sound` means that it is as a login leaves it. A user who has changed what others do not set
        for themselves (`OPTS MLST`, `CWD`) has to set it back, or say that it is not. One with
        commands still unanswered is never sound.
        """
        if sound and _is_at_rest(session):
            self._park(self._sessions, login, session, (session,))
        else:
            self._close_soon(session)

    @asynccontextmanager
    async def borrow(self, login: Login, *, fresh: bool = False) -> AsyncIterator[Borrowed]:
        """A session for one use, logged in; parked afterwards.

        After a GridFTPError too, if no answer is outstanding. A use that was broken off in another
        way, by cancellation too, may be half done: its session is closed. `fresh`: not one that was
        parked.
        """
        parked = None if fresh else self.take_parked(login)
        session = parked or await self.start(login)
        sound = False
        try:
            await session.ready()
            yield Borrowed(session, fresh=parked is None)
            sound = True
        except GridFTPError:
            sound = True
            raise
        finally:
            self.give_back(login, session, sound=sound)

    @asynccontextmanager
    async def session(self, login: Login) -> AsyncIterator[Session]:
        """The same, for those who do not repeat what failed on a session that died unseen."""
        async with self.borrow(login) as borrowed:
            yield borrowed.session

    async def run(
        self, login: Login, action: Callable[[Session], Awaitable[T]], *, repeatable: bool
    ) -> T:
        """Do something with a session, and, if it is `repeatable` and the session turns out to have
        died while it was parked, do it again with a new one."""
        async with self.borrow(login) as borrowed:
            try:
                return await action(borrowed.session)
            except GridFTPError as error:
                if not (repeatable and borrowed.died_unseen(error)):
                    raise
        async with self.borrow(login, fresh=True) as borrowed:
            return await action(borrowed.session)

    # -- lanes

    def take_lane(self, key: Hashable) -> Lane | None:
        """A parked lane with its data channel, if there is one; nothing has to be set up.

        The key must tell all that lanes differ in: both logins, protection, streams, markers, and
        the data channel's credential. Whether these credentials are still valid is the caller's to
        check, and `Lane.on_progress` to set. The data channel may have died unseen: what fails
        first on such a lane is to be tried again on a new one.
        """
        return self._lanes.take(key)

    def keep_lane(self, key: Hashable, lane: Lane) -> None:
        """Park a lane, or close it in the background if it is broken or has work under way."""
        lane.on_progress = None
        lane.directory_errors.clear()
        sessions = (lane.source, lane.destination)
        if lane.usable and not lane.due and all(map(_is_at_rest, sessions)):
            self._park(self._lanes, key, lane, sessions)
        else:
            self._close_soon(lane)

    # -- keeping

    def _park(
        self, shelf: _Shelf[Item], key: Hashable, item: Item, sessions: tuple[Session, ...]
    ) -> None:
        if self._closed:
            self._close_soon(item)
            return
        shelf.park(key, item, sessions)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """One for all that is parked: a timer for each session would cost more than its NOOPs."""
        while self._sessions or self._lanes:
            await asyncio.sleep(self._look_every_s)
            await self._sessions.look_at_all(self._keepalive_s)
            await self._lanes.look_at_all(self._keepalive_s)
        self._keeper = None

    def _close_soon(self, item: Session | Lane) -> None:
        """One whose commands may still run: the server's end is waited for."""
        self._finish(item.close())

    def _drop_soon(self, item: Session | Lane) -> None:
        """One at rest: there is nothing to wait for."""
        self._finish(item.give_up())

    def _finish(self, closing: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all that is parked, and wait until nothing is closing any more.

        What is in use stays its user's; given back later, it is closed.
        """
        self._closed = True
        self._sessions.clear()
        self._lanes.clear()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        while self._closing:
            await asyncio.wait(self._closing)


def _is_at_rest(session: Session) -> bool:
    return not session.closed and session.channel.unanswered == 0


def _place(item: Session | Lane) -> tuple[str, int]:
    """The server that keeps a process for it; of a lane, one of the two."""
    server = item.server if isinstance(item, Session) else item.source.server
    return server.host, server.port


class _Pulse(Receiver):
    """The sign of life of one parked session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked_at: float | None = None

    def feel(self, now: float, keepalive_s: float) -> bool:
        """Ask for a sign of life if there was none for long. False: it has not come in time."""
        channel = self._session.channel
        if self._asked_at is not None:
            return now - self._asked_at < self._session.timeouts.reply_s
        if now - channel.heard_at >= keepalive_s:
            self._asked_at = now
            channel.send([b"NOOP"], self)
        return True

    def reply(self, reply: Reply) -> None:
        """Whatever the server thinks of NOOP, it lives."""
        del reply
        self._asked_at = None

    def lost(self, error: GridFTPError) -> None:
        """The shelf hears of it from the channel."""


class _Parked(Generic[Item]):
    """A session or lane that waits."""

    __slots__ = ("item", "key", "on_loss", "pulses", "sessions", "since")

    def __init__(
        self, key: Hashable, item: Item, sessions: tuple[Session, ...], since: float
    ) -> None:
        self.key = key
        self.item = item
        self.sessions = sessions
        self.since = since
        self.pulses = tuple(map(_Pulse, sessions))
        self.on_loss: Callable[[object], None] | None = None


class _Shelf(Generic[Item]):
    """Where items of one sort wait, within bounds. The one parked last is taken first."""

    def __init__(
        self,
        drop_soon: Callable[[Session | Lane], None],
        per_key: int,
        per_server: int,
        in_all: int,
        idle_s: float,
    ) -> None:
        self._drop_soon = drop_soon
        self._per_key = per_key
        self._per_server = per_server
        self._in_all = in_all
        self._idle_s = idle_s
        self._waiting: dict[Hashable, list[_Parked[Item]]] = {}
        self._in_order: dict[_Parked[Item], None] = {}
        """All of them, the oldest first."""

    def __len__(self) -> int:
        return len(self._in_order)

    def park(self, key: Hashable, item: Item, sessions: tuple[Session, ...]) -> None:
        """Let an item wait; drop what is too many."""
        parked = _Parked(key, item, sessions, asyncio.get_running_loop().time())
        parked.on_loss = partial(self._lost, parked)
        for session in sessions:
            session.channel.lost.add_done_callback(parked.on_loss)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(parked)
        self._in_order[parked] = None
        if len(waiting) > self._per_key:
            self._drop(waiting[0])
        there = [one for one in self._in_order if _place(one.item) == _place(item)]
        if len(there) > self._per_server:
            self._drop(there[0])
        if len(self._in_order) > self._in_all:
            self._drop(next(iter(self._in_order)))

    def take(self, key: Hashable) -> Item | None:
        """An item that is not known to be dead."""
        while waiting := self._waiting.get(key):
            parked = waiting[-1]
            self._remove(parked)
            if not any(session.closed for session in parked.sessions):
                return parked.item
            self._drop_soon(parked.item)
        return None

    async def look_at_all(self, keepalive_s: float) -> None:
        """Drop what waited too long or gives no sign of life; ask the others for one."""
        for count, parked in enumerate(list(self._in_order), 1):
            if parked in self._in_order:  # it may have been taken since the round began
                self._look_at(parked, keepalive_s)
            if count % _LOOKED_AT_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _look_at(self, parked: _Parked[Item], keepalive_s: float) -> None:
        now = asyncio.get_running_loop().time()
        alive = [pulse.feel(now, keepalive_s) for pulse in parked.pulses]
        if not all(alive) or now - parked.since >= self._idle_s:
            self._drop(parked)

    def clear(self) -> None:
        """Drop all."""
        for parked in list(self._in_order):
            self._drop(parked)

    def _lost(self, parked: _Parked[Item], _lost: object) -> None:
        if parked in self._in_order:
            self._drop(parked)

    def _drop(self, parked: _Parked[Item]) -> None:
        self._remove(parked)
        self._drop_soon(parked.item)

    def _remove(self, parked: _Parked[Item]) -> None:
        del self._in_order[parked]
        waiting = self._waiting[parked.key]
        waiting.remove(parked)
        if not waiting:
            del self._waiting[parked.key]
        assert parked.on_loss is not None
        for session in parked.sessions:
            session.channel.lost.remove_done_callback(parked.on_loss)
