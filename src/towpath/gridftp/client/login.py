"""The GSI login as a receiver of replies: it answers each token as it comes, without a task.

Everything that does not depend on an answer is sent ahead: the first token before the banner, and
the commands after the login right behind the last token. With TLS 1.3 that is two flights.
"""

from __future__ import annotations

import asyncio
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable

from towpath.gridftp.client.channel import ControlChannel, Receiver
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.wire.replies import Reply


def quiet_future() -> asyncio.Future[None]:
    """A future whose exception nobody has to fetch."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


class Banner(Receiver):
    """Expects the server's greeting."""

    def __init__(self, channel: ControlChannel) -> None:
        self._channel = channel
        channel.expect(self)

    def reply(self, reply: Reply) -> None:
        """220, or this is no FTP server, or one that does not want us."""
        if reply.code == 220:
            return
        if reply.ok:
            error = GridFTPError(
                Kind.PROTOCOL,
                "the server's greeting is none",
                self._channel.where,
                reply=repr(reply),
            )
        else:
            error = classify(reply, where=self._channel.where)
            if error.kind is Kind.UNKNOWN:
                error.kind, error.message = Kind.CONNECT, "the server takes no sessions"
        self._channel.fail(error)

    def lost(self, error: GridFTPError) -> None:
        """Told to those who sent commands."""


class GsiLogin(Receiver):
    """Drives an `Initiator` over AUTH and ADAT."""

    def __init__(
        self, channel: ControlChannel, initiator: Initiator, send_commands: Callable[[], None]
    ) -> None:
        """`send_commands` is called once, as soon as commands can be sent."""
        self._channel = channel
        self._initiator = initiator
        self._send_commands = send_commands
        self._commands_sent = False
        self._authenticating = False
        self._unanswered = 0
        """Of our lines: when the server has answered all of them, it waits for the next."""
        self.verified = quiet_future()
        """Done when the peer has proven who it is and the commands are sent."""
        self.done = quiet_future()
        """Done when the server has accepted us."""

    def start(self) -> None:
        """Send the first flight. Raises GridFTPError, for an expired credential before sending."""
        try:
            tokens = self._initiator.step(None)
        except SecurityError as error:
            raise self._translated(error) from None
        self._send([b"AUTH GSSAPI", *self._adats(tokens)])

    def reply(self, reply: Reply) -> None:
        """The answer to AUTH, then to each token."""
        self._unanswered -= 1
        if self.done.done() or self.verified.cancelled():
            return  # who waited has given up, and is about to end the channel
        try:
            if not self._authenticating:
                self._take_auth(reply)
            elif reply.code in (235, 335):
                self._take_token(reply)
            else:
                self._refused(reply)
        except SecurityError as error:
            self._fail(self._translated(error))

    def lost(self, error: GridFTPError) -> None:
        """The channel ended first."""
        for future in (self.verified, self.done):
            if not future.done():
                future.set_exception(error)

    def _take_auth(self, reply: Reply) -> None:
        if reply.code == 334:
            self._authenticating = True
        elif reply.ok:
            self._fail(self._nonsense(reply))
        else:
            self._fail(
                GridFTPError(
                    Kind.UNSUPPORTED,
                    "the server does not offer GSI login",
                    self._channel.where,
                    reply=classify(reply, where="").reply,
                )
            )

    def _take_token(self, reply: Reply) -> None:
        head, equals, text = reply.raw[-1].partition(b"ADAT=")
        try:
            token = a2b_base64(text) if equals and not head.strip() else b""
        except Base64Error:
            self._fail(self._nonsense(reply))
            return
        tokens: list[bytes] = []
        if token:
            tokens = self._initiator.step(token)
        if reply.code == 235:
            if not self._initiator.complete or tokens:
                self._fail(self._nonsense(reply))
                return
            self._channel.protect_replies()
            self.done.set_result(None)
            return
        if tokens:
            self._send(self._adats(tokens))
        elif not self._unanswered:
            self._fail(self._nonsense(reply))  # it wants more, and we have nothing more to say
            return
        if self._initiator.complete and not self._commands_sent:
            self._commands_sent = True
            self._channel.protect_commands(self._initiator)
            self._send_commands()
            self.verified.set_result(None)

    def _refused(self, reply: Reply) -> None:
        if reply.ok:
            self._fail(self._nonsense(reply))
            return
        error = classify(reply, where=self._channel.where)
        if error.kind not in (Kind.CREDENTIAL_EXPIRED, Kind.MAPPING):
            # GCT names every reason not to take a credential "authentication error".
            error = GridFTPError(
                Kind.AUTHENTICATION,
                "the server refused the credential",
                error.where,
                reply=error.reply,
            )
        self._fail(error)

    def _fail(self, error: GridFTPError) -> None:
        self.lost(error)
        self._channel.fail(error)

    def _nonsense(self, reply: Reply) -> GridFTPError:
        return GridFTPError(
            Kind.PROTOCOL,
            "the server's login makes no sense",
            self._channel.where,
            reply=classify(reply, where="").reply,
        )

    def _translated(self, error: SecurityError) -> GridFTPError:
        return GridFTPError(
            Kind[error.kind.value], error.message, self._channel.where, facts=error.facts
        )

    def _send(self, lines: list[bytes]) -> None:
        self._unanswered += len(lines)
        self._channel.send_in_clear(lines, self)

    @staticmethod
    def _adats(tokens: Iterable[bytes]) -> list[bytes]:
        return [b"ADAT " + b2a_base64(token, newline=False) for token in tokens]
