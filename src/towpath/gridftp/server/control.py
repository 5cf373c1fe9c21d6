"""One control connection: its lines, its login, its TLS; then commands in, replies out, as frames.

Commands are taken in the order they come, however many were sent ahead; what blocks or takes long
(the arithmetic of GSI, looking up accounts) is done in a thread, and what comes meanwhile waits.
Of what the commands after the login mean this module knows nothing (see `frames`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import ssl
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Protocol, cast

from towpath.gridftp.errors import GridFTPError, printable
from towpath.gridftp.security import acceptor as gsi
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.server.accounts import Account, Accounts, LoginRefused
from towpath.gridftp.server.frames import (
    FrameError,
    FrameReader,
    Notice,
    Opening,
    frame,
    frames,
)
from towpath.gridftp.server.limits import (
    CLOSE_S,
    COMMANDS_BEFORE_LOGIN,
    FAILED_PASSWORD_DELAY_S,
    LINE_BYTES,
    LOGIN_ATTEMPTS,
    REPLY_BYTES,
    WRAPPED_BYTES,
    WRITE_BUFFER_BYTES,
    Limits,
)
from towpath.gridftp.server.permission import (
    Admission,
    TokenRefused,
    Tokens,
    refused_reply_text,
)
from towpath.gridftp.wire import answers
from towpath.gridftp.wire.commands import GRANT_USER
from towpath.gridftp.wire.replies import LineSplitter

_log: Final = logging.getLogger(__name__)

_MAPPING = ":globus-mapping:"
"""As `USER`: the account that the gridmap names first."""

_NOT_AUTHENTICATED = b"530 Must perform GSSAPI authentication.\r\n"
_NOT_LOGGED_IN = b"530 Please login with USER and PASS.\r\n"
_GONE = b"421 Service not available, closing control connection.\r\n"
_IDLE = b"421 Idle Timeout: closing control connection.\r\n"
_GRANT = b"SITE GRANT"
_HELP = (
    b"214-Before the login:\r\n AUTH ADAT ENC USER PASS FEAT HELP NOOP QUIT SITE\r\n214 End.\r\n"
)

OpenSession = Callable[[Opening, socket.socket], None]
"""Takes over a session: its end of the socket is the callee's from now on, also when it raises
`OSError`. The first frame that comes out of the socket is the same opening (see
`frames.read_opening`). It must not block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReport:
    """One login, for the access log: tried, with success or not."""

    session_id: str
    peer_host: str
    subject: str
    """Of the certificate; empty when there is none, or it was not believed."""
    account: str
    """The local account, or the name that was asked for."""
    outcome: str
    """`ok`, or why not."""
    grant: str = ""
    """Id of the token that was shown, as far as there was one and it was legible."""
    renewal: bool = False
    """Whether it was shown by a session that was open already."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """What all connections of a server share."""

    accounts: Accounts | None
    """Who logs in without a token; None: nobody."""
    security: Callable[[], gsi.HostSecurity] | None
    """Gives what GSI logins need, as it is now; None: no GSI."""
    open_session: OpenSession
    threads: Executor
    """Where logins do what blocks."""
    limits: Limits
    features: bytes = answers.features(answers.PREFERRED_CHECKSUMS, answers.FactLines())
    """The answer to FEAT before the login: that of a session which nothing was asked of yet."""
    greeting: str = "GridFTP Server ready."
    report: Callable[[LoginReport], None] = lambda _report: None
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    tokens: Tokens | None = None
    """Takes logins by token; None: there are none."""


class Door(Protocol):
    """Who counts the connections."""

    def came(self, control: Control) -> str | None:
        """A connection is there. Gives the reason when it must not stay."""

    def may_log_in(self) -> bool:
        """Whether there is room for one more session."""

    def logged_in(self, control: Control) -> None:
        """It is a session from now on."""

    def gone(self, control: Control) -> None:
        """It is closed; called once for each that came."""


class Control(asyncio.Protocol):
    """One connection; made by a listening server for each."""

    def __init__(self, service: Service, door: Door, ways: tuple[str, str] | None = None) -> None:
        """`ways`: the client's address and ours, in numbers, where the connection is none of TCP
        and does not tell them."""
        self._ways = ways
        self._service = service
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._splitter = LineSplitter(LINE_BYTES)
        self._held: deque[bytes] = deque()
        """Lines that wait for the one before them."""
        self._task: asyncio.Task[None] | None = None
        """The step of the login that runs now."""
        self._gsi: gsi.Acceptor | None = None
        self._wrapped = False
        """Whether commands and replies are protected: after 235."""
        self._user: str | None = None
        self._commands = 0
        self._failures = 0
        self._session: _SessionLink | None = None
        self._admission: Admission | None = None
        """After a login by token: what it gave."""
        self._out: list[bytes] = []
        self._reading_held_by: set[str] = set()
        self._unanswered = 0
        self._last_code = b""
        self._ended = False
        self._cut: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._stalled_at: float | None = None
        self._came_at = self._active_at = self._loop.time()
        self._session_id = service.new_id()
        self.peer_host = ""
        """The client's address, in numbers; IPv4 as IPv4."""
        self._local_host = ""

    # -- the client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, unless there is no room."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        if self._ways is not None:
            self.peer_host, self._local_host = self._ways
        else:
            self.peer_host = _host(transport.get_extra_info("peername"))
            self._local_host = _host(transport.get_extra_info("sockname"))
        refusal = self._door.came(self)
        if refusal is not None:
            self.drop(refusal)
            return
        self._transport.write(b"220 " + self._service.greeting.encode() + b"\r\n")

    def data_received(self, data: bytes) -> None:
        """Lines, or parts of them."""
        if self._ended:
            return
        self._active_at = self._loop.time()
        try:
            self._held.extend(self._splitter.feed(data))
        except GridFTPError:
            self._end(b"500 Command line too long.\r\n")
            return
        self._work()

    def eof_received(self) -> None:
        """The client is gone: so is the session."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more can be said."""
        del exc
        self._ended = True
        if self._cut is not None:
            self._cut.cancel()
        self._held.clear()
        if self._task is not None:
            self._task.cancel()
        if self._session is not None:
            self._session.close()
        self._door.gone(self)

    def pause_writing(self) -> None:
        """The client does not read: then we do not take more for him."""
        self._stalled_at = self._loop.time()
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0
        if self._session is not None:
            self._session.pause()
        self._hold_reading("client")

    def resume_writing(self) -> None:
        """The opposite."""
        self._stalled_at = None
        if self._session is not None:
            self._session.resume()
        self._release_reading("client")

    def check(self, now: float) -> None:
        """Look at the clock (of the loop): end what has waited for too long."""
        if self._ended or self._transport is None:
            return
        limits = self._service.limits
        if self._stalled_at is not None:
            unsent = self._transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._stalled_at = unsent, now
            elif now - self._stalled_at >= limits.write_stall_s:
                self._ended = True
                self._transport.abort()
        elif self._session is None:
            if now - self._came_at >= limits.login_s:
                self._end(_IDLE)
        elif not self._unanswered and now - self._active_at >= limits.idle_s:
            self._end(_IDLE)

    def drop(self, reason: str) -> None:
        """Close, to make room."""
        self._end(answers.reply(421, reason))

    def shut_down(self) -> None:
        """Close, because the server ends."""
        self._end(_GONE)

    # -- the session's side

    def _take_replies(self, replies: list[bytes]) -> None:
        self._active_at = self._loop.time()
        for reply in replies:
            self._reply(reply)
            code = reply[:3]
            if code >= b"200":
                self._last_code = code
                if self._unanswered:
                    self._unanswered -= 1
        self._flush()

    def _session_ended(self) -> None:
        if self._ended:
            return
        # After QUIT it has said goodbye; else it has been lost.
        self._end(None if self._last_code in (b"221", b"421") else _GONE)

    # -- lines

    def _work(self) -> None:
        """Take what is held, as far as it goes."""
        while self._held and self._task is None and not self._ended:
            if self._session is not None:
                self._forward(self._session)
                break
            self._take(self._held.popleft())
        self._flush()

    def _forward(self, session: _SessionLink) -> None:
        lines = self._held
        if self._wrapped:
            commands: list[bytes] = []
            for line in lines:
                command = self._unwrapped(line)
                if command is None:
                    break
                commands.append(command)
        else:
            commands = list(lines)
        lines.clear()
        if commands:
            self._unanswered += len(commands)
            if self._admission is not None:
                self._send_with_notices(session, commands, self._admission)
            else:
                session.send(commands)

    def _send_with_notices(
        self, session: _SessionLink, commands: list[bytes], admission: Admission
    ) -> None:
        """What SITE GRANT shows goes no further than here; the session is told what came of it, at
        once, and answers the command in its turn."""
        for number, command in enumerate(commands):
            token = _token_in(command)
            if token is not None:
                commands[number] = _GRANT
                session.write(self._renewed(token, admission).to_frame())
        session.send(commands)

    def _renewed(self, token: str, admission: Admission) -> Notice:
        service, acceptor = self._service, self._gsi
        assert service.tokens is not None
        assert acceptor is not None
        try:
            permission = service.tokens.renew(token, acceptor.peer_sha256, admission)
        except TokenRefused as refusal:
            self._report_token(refusal.reason, refusal.token_id, admission.account, renewal=True)
            text = refused_reply_text(refusal.reason, refusal.sentence)
            return Notice(permission=None, code=530, text=text)
        except Exception:  # noqa: BLE001 - it is logged; what carries us carries others, too
            _log.exception("who takes tokens has failed")
            self._end(_GONE)
            return Notice(permission=None, code=451, text="GRANT: internal error of the server.")
        self._report_token("ok", permission.permission_id, admission.account, renewal=True)
        return Notice(permission=permission, code=200, text="GRANT accepted.")

    def _unwrapped(self, line: bytes) -> bytes | None:
        """The command in a line; None when there is none: then the connection has ended."""
        assert self._gsi is not None
        if line[:4].upper() != b"ENC ":
            # Whoever is on the path can write clear text, at most he may end the session.
            self._end(b"533 Commands must be protected by ENC.\r\n")
            return None
        try:
            command = self._gsi.unwrap(a2b_base64(line[4:]))
        except (Base64Error, SecurityError):
            self._end(b"535 The command cannot be decrypted.\r\n")
            return None
        if command.endswith(b"\r\n"):
            return command[:-2]
        return command[:-1] if command.endswith(b"\n") else command

    def _take(self, line: bytes) -> None:
        """One line before the login."""
        self._commands += 1
        if self._commands > COMMANDS_BEFORE_LOGIN:
            self._end(b"421 Too many commands before the login.\r\n")
            return
        if self._wrapped:
            command = self._unwrapped(line)
            if command is None:
                return
            line = command
        verb, argument = _split(line)
        if verb == b"QUIT":
            self._end(b"221 Goodbye.\r\n")
        elif not self._wrapped and verb == b"AUTH":
            self._take_auth(argument)
        elif not self._wrapped and verb == b"ADAT":
            self._take_adat(argument)
        elif not self._wrapped and not self._takes_clear_text:
            self._reply(_NOT_AUTHENTICATED)
        elif verb == b"USER":
            self._user = argument.decode("utf-8", "surrogateescape")
            self._reply(answers.reply(331, f"Password required for {printable(self._user, 100)}."))
        elif verb == b"PASS":
            self._take_pass(argument)
        elif verb == b"NOOP":
            self._reply(b"200 NOOP command successful.\r\n")
        elif verb == b"FEAT":
            self._reply(self._service.features)
        elif verb == b"HELP" or (verb == b"SITE" and argument.upper().startswith(b"HELP")):
            self._reply(_HELP)
        else:
            self._reply(_NOT_LOGGED_IN)

    # -- the login

    @property
    def _takes_clear_text(self) -> bool:
        accounts = self._service.accounts
        return accounts is not None and accounts.take_clear_text

    def _take_auth(self, argument: bytes) -> None:
        if self._service.security is None or argument.strip().upper() != b"GSSAPI":
            self._reply(b"504 Unknown authentication type.\r\n")
            return
        self._gsi = self._service.security().acceptor()
        self._reply(b"334 Using authentication type; ADAT must follow.\r\n")

    def _take_adat(self, argument: bytes) -> None:
        if self._gsi is None:
            self._reply(_NOT_AUTHENTICATED)
            return
        token = b""
        with suppress(Base64Error):
            token = a2b_base64(argument)
        if not token:
            self._reply(b"501 There is no token in base64.\r\n")
            return
        self._start(self._step(self._gsi, token))

    async def _step(self, acceptor: gsi.Acceptor, token: bytes) -> None:
        try:
            answer = await self._in_thread(acceptor.step, token)
        except SecurityError as error:
            self._gsi = None
            self._report(acceptor.peer_subject, "", error.message)
            self._fail(answers.block(530, "Authentication Error", f"{printable(error.message)}."))
            return
        if not acceptor.complete:
            self._reply(b"335 ADAT=" + b2a_base64(answer, newline=False) + b"\r\n")
            return
        if answer:
            self._reply(b"235 ADAT=" + b2a_base64(answer, newline=False) + b"\r\n")
        else:
            self._reply(b"235 GSSAPI Authentication successful.\r\n")
        self._wrapped = True

    def _take_pass(self, argument: bytes) -> None:
        if self._user is None:
            self._reply(b"503 Login with USER first.\r\n")
            return
        user, self._user = self._user, None
        if user == GRANT_USER and self._service.tokens is not None:
            self._start(self._log_in_by(self._service.tokens, argument))
            return
        self._start(self._log_in(user, argument.decode("utf-8", "surrogateescape")))

    async def _log_in(self, user: str, password: str) -> None:
        subject = self._gsi.peer_subject if self._wrapped and self._gsi is not None else ""
        accounts = self._service.accounts
        try:
            if accounts is None:
                raise LoginRefused("logins are by grant here")
            if self._wrapped:
                wanted = None if user == _MAPPING else user
                account = await self._in_thread(accounts.of_subject, subject, wanted)
            else:
                account = await self._in_thread(accounts.of_password, user, password)
        except LoginRefused as refusal:
            self._report(subject, user, str(refusal))
            if not self._wrapped:
                await asyncio.sleep(FAILED_PASSWORD_DELAY_S)
            self._fail(answers.block(530, f"Login incorrect. : {refusal}"))
            return
        await self._begin(subject, account)

    async def _log_in_by(self, tokens: Tokens, argument: bytes) -> None:
        """By what was shown as the password."""
        acceptor = self._gsi if self._wrapped else None
        try:
            if acceptor is None:
                raise TokenRefused("certificate", "a grant is shown after a login by certificate")
            token = argument.strip(b" ").decode("ascii", "replace")
            admission: Admission = await self._in_thread(tokens.log_in, token, acceptor.peer_sha256)
        except TokenRefused as refusal:
            self._report_token(refusal.reason, refusal.token_id, GRANT_USER)
            text = refused_reply_text(refusal.reason, refusal.sentence)
            self._fail(answers.reply(530, text))
            return
        self._admission = admission
        account = Account(admission.account, admission.home)
        await self._begin(acceptor.peer_subject, account, admission)

    async def _begin(
        self, subject: str, account: Account, admission: Admission | None = None
    ) -> None:
        """The session of who may have one."""
        grant = "" if admission is None else admission.permission.permission_id
        if not self._door.may_log_in():
            self._report(subject, account.name, "too many sessions", grant)
            self._end(b"421 Too many sessions; try again later.\r\n")
            return
        try:
            self._session = await self._open(subject, account, admission)
        except OSError as error:
            self._report(subject, account.name, f"no session could be opened: {error}", grant)
            self._end(_GONE)
            return
        self._report(subject, account.name, "ok", grant)
        self._door.logged_in(self)
        self._reply(answers.reply(230, f"User {account.name} logged in."))

    async def _open(
        self, subject: str, account: Account, admission: Admission | None
    ) -> _SessionLink:
        """Raises OSError."""
        delegated = self._gsi.delegated if self._wrapped and self._gsi is not None else None
        opening = Opening(
            session_id=self._session_id,
            subject=subject,
            account=account.name,
            peer_host=self.peer_host,
            local_host=self._local_host,
            secured=self._wrapped,
            credential=None if delegated is None else delegated.to_pem().decode("ascii"),
            home=account.home,
            permission=None if admission is None else admission.permission,
            extra={} if admission is None else dict(admission.extra),
        )
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            link = _SessionLink(self)
            await self._loop.create_unix_connection(lambda: link, sock=ours)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        link.write(frame(opening.to_frame()))
        if self._gsi is not None:
            self._gsi.forget_delegated()
        try:
            self._service.open_session(opening, theirs)
        except BaseException:
            link.close()
            raise
        return link

    def _start(self, step: Coroutine[Any, Any, None]) -> None:
        """Run one step of the login; what comes meanwhile waits."""
        self._hold_reading("login")
        self._task = self._loop.create_task(self._run(step))

    async def _run(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._end(_GONE)
            raise
        finally:
            self._task = None
            if self._ended and self._session is not None:
                self._session.close()
        self._release_reading("login")
        self._work()

    async def _in_thread(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await self._loop.run_in_executor(self._service.threads, function, *arguments)

    def _fail(self, reply: bytes) -> None:
        self._failures += 1
        self._reply(reply)
        if self._failures >= LOGIN_ATTEMPTS:
            self._end(b"421 Too many failed logins.\r\n")

    def _report(
        self,
        subject: str,
        account: str,
        outcome: str,
        grant: str = "",
        *,
        renewal: bool = False,
    ) -> None:
        self._service.report(
            LoginReport(
                session_id=self._session_id,
                peer_host=self.peer_host,
                subject=subject,
                account=account,
                outcome=outcome,
                grant=grant,
                renewal=renewal,
            )
        )

    def _report_token(
        self, outcome: str, token_id: str | None, account: str, *, renewal: bool = False
    ) -> None:
        subject = "" if self._gsi is None else self._gsi.peer_subject
        self._report(subject, account, outcome, token_id or "", renewal=renewal)

    # -- replies, flow, end

    def _reply(self, reply: bytes) -> None:
        """Queue one whole reply; `_flush` writes it."""
        if not self._wrapped:
            self._out.append(reply)
            return
        assert self._gsi is not None
        wrap = self._gsi.wrap
        if len(reply) <= WRAPPED_BYTES:
            first, last = [], reply
        else:
            *first, last = [line + b"\n" for line in reply.removesuffix(b"\n").split(b"\n")]
        for part in first:
            self._out += (b"632-", b2a_base64(wrap(part), newline=False), b"\r\n")
        self._out += (b"632 ", b2a_base64(wrap(last), newline=False), b"\r\n")

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            text = b"".join(self._out)
            self._out.clear()
            self._transport.write(text)

    def _end(self, reply: bytes | None) -> None:
        """Say the last word and close."""
        if self._ended or self._transport is None:
            return
        self._ended = True
        if reply is not None:
            try:
                self._reply(reply)
            except ssl.SSLError:  # TLS has failed, so it is said in clear
                self._out.append(_GONE)
        self._flush()
        self._transport.close()
        self._cut = self._loop.call_later(CLOSE_S, self._transport.abort)
        if self._session is not None:
            self._session.close()

    def _hold_reading(self, reason: str) -> None:
        self._reading_held_by.add(reason)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _release_reading(self, reason: str) -> None:
        self._reading_held_by.discard(reason)
        if self._reading_held_by or self._transport is None or self._transport.is_closing():
            return
        self._transport.resume_reading()


class _SessionLink(asyncio.Protocol):
    """Our end of the socket to the session."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._reader = FrameReader(REPLY_BYTES)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            replies = self._reader.feed(data)
        except FrameError:
            self.close()
            return
        if replies:
            self._control._take_replies(replies)  # noqa: SLF001 - two halves of one thing

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._control._session_ended()  # noqa: SLF001

    def pause_writing(self) -> None:
        self._control._hold_reading("session")  # noqa: SLF001

    def resume_writing(self) -> None:
        self._control._release_reading("session")  # noqa: SLF001

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def send(self, commands: list[bytes]) -> None:
        self.write(frames(commands))

    def pause(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        # Not `close`: a session that is stuck would keep what is unsent, and us, for ever.
        assert self._transport is not None
        self._transport.abort()


def _token_in(command: bytes) -> str | None:
    """What a SITE GRANT shows; None for any other command."""
    if command[:4].upper() != b"SITE":
        return None
    verb, argument = _split(command)
    word, token = _split(argument)
    if verb != b"SITE" or word != b"GRANT":
        return None
    return token.strip(b" ").decode("ascii", "replace")


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Verb and argument."""
    verb, _space, argument = line.partition(b" ")
    return verb.upper(), argument.lstrip(b" ")


def _host(address: object) -> str:
    """The address of a socket name, in numbers; an IPv4 address behind IPv6 as IPv4."""
    if not isinstance(address, tuple):
        return ""  # gone already
    text = str(address[0]).partition("%")[0]
    found = ip_address(text)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)
