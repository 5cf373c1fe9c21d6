"""A control session with one GridFTP server: login, commands, listings, file operations."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from towpath.gridftp.client.channel import WE_CLOSED, ControlChannel, Receiver
from towpath.gridftp.client.dial import Dial, Server, Timeouts, default_dial
from towpath.gridftp.client.listing import Listing
from towpath.gridftp.client.login import GsiLogin, quiet_future
from towpath.gridftp.client.operations import Operations, quoted
from towpath.gridftp.client.reach import connect
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.features import Features, parse_features
from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.rooted import Root

__all__ = ["Dial", "Server", "Session", "Timeouts", "TokenSource", "default_dial", "utc_now"]

_SETTINGS: Final = ("TYPE I", "MODE E")
_QUESTIONS: Final = ("FEAT", "PWD")

TokenSource = Callable[[], str]
"""Gives a token that nobody has been shown yet; a secret. Called once for a login."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9._-]+")
_ENCODED: Final = re.compile(r"[A-Za-z0-9._-]{40,}")
"""What may be a piece of a token in a reply; identities have 36 characters."""


_GREETED: Final = re.compile(rb"User ([!-~]{1,256}) logged in")


def account_of(reply: Reply) -> str | None:
    """The account that a server's greeting names, as GCT's and ours do: `230 User X logged in.`"""
    if reply.code != 230:
        return None
    found = next((match for line in reply.raw if (match := _GREETED.match(line))), None)
    return None if found is None else found[1].decode("ascii")


def utc_now() -> datetime:
    """The time of day, aware."""
    return datetime.now(UTC)


class _Pending(Receiver):
    """One command whose final reply someone awaits."""

    __slots__ = ("_on_intermediate", "future")

    def __init__(self, on_intermediate: Callable[[Reply], None] | None) -> None:
        self.future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._on_intermediate = on_intermediate

    def reply(self, reply: Reply) -> None:
        if not self.future.done():  # whoever asked may have stopped waiting
            self.future.set_result(reply)

    def lost(self, error: GridFTPError) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # one of many commands: nobody has to fetch each

    def intermediate(self, reply: Reply) -> None:
        if self._on_intermediate is not None:
            self._on_intermediate(reply)


class _Renewal(Receiver):
    """One SITE GRANT."""

    shows_grant = True

    __slots__ = ("_session", "done")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.done = quiet_future()

    def reply(self, reply: Reply) -> None:
        if self.done.done():
            return
        if reply.ok:
            self.done.set_result(None)
        else:
            self.done.set_exception(self._session._about_token(reply))  # noqa: SLF001

    def lost(self, error: GridFTPError) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Session(Operations):
    """A control channel with one server. `open` logs in; `start` returns while that goes on.

    Commands of several callers may be mixed; the server runs them one at a time, in order. All
    methods raise GridFTPError. After TIMEOUT, CONNECTION_LOST or PROTOCOL the session is over.
    """

    def __init__(
        self, server: Server, channel: ControlChannel, timeouts: Timeouts, rtt_s: float
    ) -> None:
        """Use `open` or `start`."""
        self.server = server
        self.channel = channel
        self.timeouts = timeouts
        self.features = Features()
        self.home: str | None = None
        """The directory the server starts in."""
        self.account: str | None = None
        """The account on the server, where its greeting names it; from when the login is over."""
        self.root: Root | None = None
        """Of a session that sees one directory only: where that is. All paths begin there."""
        self.peer_ip = ""
        """The address the control channel is connected to."""
        self.peer_subject: str | None = None
        """Who the server has proven to be; None on clear-text sessions."""
        self.rtt_s = rtt_s
        """The way to the server and back, in seconds, when the connection was made."""
        self.renaming = asyncio.Lock()
        self._login: asyncio.Task[None] | None = None
        self._questions: asyncio.Task[None] | None = None

    # -- login

    @classmethod
    async def open(
        cls,
        server: Server,
        *,
        credential: Credential | None,
        trust: TrustRoots | None,
        restriction: str | None = None,
        delegate: bool = False,
        token: TokenSource | None = None,
        root: Root | None = None,
        dial: Dial = default_dial,
        timeouts: Timeouts | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> Session:
        """Connect and log in: by GSI, or, without a credential, anonymously in clear text.

        `restriction` narrows the session to some paths for good (`commands.restrict`); a server
        that does not do that raises UNSUPPORTED. An expired credential raises CREDENTIAL_EXPIRED
        before anything is dialled. `token`: gives what is shown after the login by credential, to
        servers that know us by it and not by a gridmap (see `renew`). `root`: a directory of the
        server where the session's paths begin (`wire.rooted`); what is outside is kept from it by
        `restriction`, or `token`.
        """
        session = await cls.start(
            server,
            credential=credential,
            trust=trust,
            restriction=restriction,
            delegate=delegate,
            token=token,
            root=root,
            dial=dial,
            timeouts=timeouts,
            clock=clock,
        )
        try:
            await session.ready()
        except BaseException:
            await session.give_up()
            raise
        return session

    @classmethod
    async def start(
        cls,
        server: Server,
        *,
        credential: Credential | None,
        trust: TrustRoots | None,
        restriction: str | None = None,
        delegate: bool = False,
        token: TokenSource | None = None,
        root: Root | None = None,
        dial: Dial = default_dial,
        timeouts: Timeouts | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> Session:
        """The same, but return as soon as the server is verified and commands may follow.

        What is sent before `accepted` travels in the login's last flight and saves a round trip,
        and before `ready` it is answered before less urgent questions. With a restriction nothing
        may be: a server that refused it would do it unrestricted.
        """
        if token is not None and credential is None:
            raise ValueError("a token is shown after a login by credential")
        times = timeouts or Timeouts()
        settings: tuple[str, ...] = _SETTINGS
        if restriction is not None:
            settings = (commands.restrict(restriction), *settings)
        initiator: Initiator | None = None
        if credential is not None:
            if trust is None:
                raise ValueError("a GSI login needs trust roots")
            if credential.expired(clock()):
                raise GridFTPError(
                    Kind.CREDENTIAL_EXPIRED,
                    f"the credential of {credential.subject} expired at"
                    f" {credential.not_after:%Y-%m-%d %H:%M} UTC",
                    str(server),
                )
            if not credential.has_ssl_context(trust):  # making one parses every authority
                await asyncio.to_thread(credential.ssl_context, trust)
            initiator = Initiator(
                credential, trust, server.host, server.subject, delegate=delegate, now=clock
            )
        channel, rtt_s = await connect(server, dial, times, clear_text=credential is None)
        session = cls(server, channel, times, rtt_s)
        if root is not None:
            session.root = root
            channel.words = root.words
        try:
            session.peer_ip = channel.peer_ip()
            await session._begin_login(initiator, settings, token)
            if restriction is not None:
                await session.accepted()
        except BaseException:
            await session.give_up()
            raise
        return session

    async def accepted(self) -> None:
        """Wait until the server has accepted the login. Raises what it said if it has not."""
        assert self._login is not None
        await asyncio.shield(self._login)

    def ask(self) -> None:
        """Ask for what `ready` waits for, behind what has been sent so far.

        GCT sends every reply as a packet of its own, and TCP lets it send about ten before it hears
        of the first: what is asked eagerly would hold up the answers that somebody waits for.
        """
        if self._questions is None:
            self._questions = asyncio.create_task(self._learn(self.submit(_QUESTIONS)))
            self._questions.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def ready(self) -> None:
        """Wait until the login is accepted, and `features` and `home` are known."""
        self.ask()
        await self.accepted()
        assert self._questions is not None
        await asyncio.shield(self._questions)

    async def _learn(self, futures: Sequence[asyncio.Future[Reply]]) -> None:
        await self.accepted()
        features, home = await self.answers(futures, self.timeouts.login_s)
        if features.ok:
            self.features = parse_features(features)
        self.home = quoted(home.text) if home.code == 257 else None
        if self.root is not None:
            self.home = "/"

    async def _begin_login(
        self, initiator: Initiator | None, settings: Sequence[str], token: TokenSource | None
    ) -> None:
        deadline = asyncio.get_running_loop().time() + self.timeouts.login_s
        sent: list[str] = []
        replies: list[asyncio.Future[Reply]] = []

        def send_commands(user: str) -> None:
            password = "towpath@localhost" if token is None else self._checked_token(token())
            lines = (f"USER {user}", f"PASS {password}", *settings)
            replies.extend(self.submit(lines))
            sent.extend(line.partition(" ")[0] for line in lines)

        login: GsiLogin | None = None
        if initiator is None:
            send_commands("anonymous")
        else:
            user = commands.MAPPED_USER if token is None else commands.GRANT_USER
            login = GsiLogin(self.channel, initiator, lambda: send_commands(user))
            login.start()
            try:
                async with asyncio.timeout_at(deadline):
                    await login.verified
            except TimeoutError:
                raise self._login_timeout() from None
            self.peer_subject = initiator.peer_subject
        self._login = asyncio.create_task(
            self._finish_login(login, sent, replies, deadline, by_grant=token is not None)
        )
        self._login.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _finish_login(
        self,
        login: GsiLogin | None,
        sent: list[str],
        futures: list[asyncio.Future[Reply]],
        deadline: float,
        *,
        by_grant: bool,
    ) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                if login is not None:
                    await login.done
                replies = [await future for future in futures]
        except TimeoutError:
            error = self._login_timeout()
            self.channel.fail(error)
            raise error from None
        except GridFTPError:
            # The server may say why, and only then hang up.
            answered = [f.result() for f in futures if f.done() and f.exception() is None]
            self._check_login(sent, answered)
            raise
        self._check_login(sent, replies)
        self.channel.by_grant = by_grant
        self.account = next((name for one in replies if (name := account_of(one))), None)

    def _check_login(self, sent: Sequence[str], replies: Sequence[Reply]) -> None:
        for verb, reply in zip(sent, replies, strict=False):
            if verb == "PASS" and reply.code == 503:
                pass  # USER alone was enough
            elif not reply.ok:
                error = self._about_token(reply) if verb == "PASS" else self._said(reply)
                if verb == "SITE":
                    error.kind = Kind.UNSUPPORTED
                    error.message = "the server does not narrow the session to the allowed paths"
                elif error.kind is Kind.UNKNOWN:
                    error.kind = Kind.LOGIN
                self.channel.fail(error)
                raise error

    def _said(self, reply: Reply) -> GridFTPError:
        return classify(reply, where=str(self.server))

    def _about_token(self, reply: Reply) -> GridFTPError:
        """The server may repeat what it was shown."""
        error = self._said(reply)
        if error.reply is not None:
            error.reply = _ENCODED.sub("...", error.reply)
        return error

    def _checked_token(self, token: str) -> str:
        """Raises GridFTPError(INVALID_NAME), which does not hold the token."""
        if _TOKEN.fullmatch(token) is None:
            raise GridFTPError(Kind.INVALID_NAME, "a token is letters and digits", str(self.server))
        return token

    def renew(self, token: str) -> asyncio.Future[None]:
        """Show a new token (SITE GRANT), ahead of all that is still to be sent; it holds from when
        it arrives, for what is queued there too.

        Nobody has to wait for the answer, which comes in its turn, or fetch it: GridFTPError of why
        it was not taken. The session then goes on until what it was opened with is over.
        """
        renewal = _Renewal(self)
        self.channel.send_at_once(f"SITE GRANT {self._checked_token(token)}".encode(), renewal)
        return renewal.done

    def _login_timeout(self) -> GridFTPError:
        return GridFTPError(
            Kind.TIMEOUT,
            f"the server did not finish the login within {self.timeouts.login_s:g} s",
            str(self.server),
        )

    # -- commands

    @property
    def closed(self) -> bool:
        """Whether the session is of no use any more."""
        return self.channel.error is not None

    def encode(self, line: str) -> bytes:
        """A command line's bytes. Raises GridFTPError(INVALID_NAME)."""
        try:
            if self.root is not None:
                line = self.root.command(line)
            return commands.encode_line(line, ascii_only=self.channel.clear_text)
        except GridFTPError as error:
            error.where = str(self.server)
            raise

    def submit(
        self, lines: Sequence[str], on_intermediate: Callable[[Reply], None] | None = None
    ) -> list[asyncio.Future[Reply]]:
        """Send commands without waiting, in one write; their final replies, whatever the codes.

        A future raises only when the session ends first. Raises GridFTPError(INVALID_NAME) before
        anything is sent. More commands than the server queues wait here.
        """
        encoded = [self.encode(line) for line in lines]
        futures: list[asyncio.Future[Reply]] = []
        for line in encoded:
            pending = _Pending(on_intermediate)
            futures.append(pending.future)
            self.channel.queue(line, pending)
        self.channel.flush()
        return futures

    async def answers(
        self,
        futures: Sequence[asyncio.Future[Reply]],
        timeout_s: float | None = None,
    ) -> list[Reply]:
        """The replies of submitted commands. When one does not come in time, the session is over.

        Each has its time from when those before it were answered, for which others wait.
        """
        limit_s = self.timeouts.reply_s if timeout_s is None else timeout_s
        return [await self._answer(future, limit_s) for future in futures]

    async def _answer(self, future: asyncio.Future[Reply], limit_s: float) -> Reply:
        channel, loop = self.channel, asyncio.get_running_loop()
        asked_at = looked_at = loop.time()
        while not future.done():
            now = loop.time()
            due_at = max(looked_at, channel.answered_at) + limit_s
            if now < due_at:
                await asyncio.wait([future], timeout=due_at - now)
                continue
            served = channel.served
            ours = isinstance(served, _Pending) and served.future is future
            if ours or now - asked_at > self.timeouts.checksum_s:
                error = GridFTPError(
                    Kind.TIMEOUT, f"no answer within {limit_s:g} s", str(self.server)
                )
                channel.fail(error)
                raise error
            looked_at = now
        return future.result()

    # -- listing

    async def list(
        self, path: str, *, on_count: Callable[[int], None] | None = None
    ) -> AsyncGenerator[list[Entry], None]:
        """A directory's entries (MLSC), at most 1000 at a time, as they arrive.

        Without the directory itself and its parent. `on_count` is called with the number of its
        names, if the server tells it: more than are listed, if there are links that point nowhere,
        or names that the server cannot look at. While nobody asks for the next batch nothing
        is read from the server. Several may be asked for at once: they come one after the other,
        and each has to be taken before the next comes. Leaving one early ends the session. A name
        that this form cannot carry raises INVALID_NAME and ends the session, because such a name
        can be made to look like the server's own replies.
        """
        listing = Listing(self.channel, str(self.server), path, on_count)
        self.channel.send([self.encode(commands.mlsc(path))], listing)
        try:
            while (batch := await listing.next_batch(self.timeouts.reply_s)) is not None:
                if self.root is not None:
                    batch = [one for seen in batch if (one := self.root.entry(seen)) is not None]
                if batch:
                    yield batch
        finally:
            listing.leave()

    # -- end

    async def give_up(self) -> None:
        """Close the socket at once, without asking what the server does about it."""
        self.channel.fail(
            GridFTPError(Kind.CONNECTION_LOST, "we gave the session up", str(self.server))
        )
        await asyncio.shield(self.channel.lost)

    async def close(self, why: str = WE_CLOSED) -> bool:
        """End the session; whether the server has confirmed its own end. `why`: for those who wait
        for replies.

        True: the server's process has closed the connection, so it runs no more of our commands.
        False: not known, a command may still be running there.
        """
        for task in (self._questions, self._login):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, GridFTPError):
                    await asyncio.wait([task])
        return await self.channel.end(self.timeouts.close_s, why)


async def close_all(sessions: Sequence[Session]) -> bool:
    """End sessions; whether each server has confirmed its own end (see `Session.close`).

    None is left open, however this ends: a server keeps a process for each. Whoever comes here with
    a failure may have been cancelled at the same time: then not one of the tasks that `gather`
    makes begins.
    """
    try:
        return all(await asyncio.gather(*(session.close() for session in sessions)))
    except BaseException:
        await asyncio.gather(*(session.give_up() for session in sessions))
        raise
