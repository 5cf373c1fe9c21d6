"""The control channel: lines out, replies in, in order, wrapped once the login is done.

One `asyncio.Protocol` with its own parsing. Whoever sends a command says who receives its replies;
the channel keeps the receivers in the order of the commands, which is the order of the replies.
"""

from __future__ import annotations

import asyncio
import socket
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.wire.commands import only_reads
from towpath.gridftp.wire.replies import LineSplitter, Reply, ReplyReader

MAX_QUEUED_COMMANDS = 900
"""Commands sent and not yet answered. GCT drops the session above 1000."""

_FREQUENT = {
    line: Reply(int(line[:3]), (line[4:],))
    for line in (
        b"125 Beginning transfer; reusing existing data connection.",
        b"150 Beginning transfer.",
        b"226 Transfer Complete.",
        b"250 OK.",
    )
}
"""What GCT says for nearly every file: not taken apart each time."""

_TOKENS_BYTES = 128 * 1024
"""Wrapped bytes decrypted at one go; the security layer refuses tokens above 256 KiB."""


GATHER_S = 0.008
"""How long replies gather before they are read, where that is wanted. A pair of servers moves some
thirty small files meanwhile, so a lane has always more than that under way."""

GATHER_FROM_COMMANDS = 50
"""Fewer replies to come are read at once: nobody waits for the last ones longer than he must."""

WE_CLOSED = "we closed the session"


class Receiver:
    """Takes the replies of the commands it was sent with."""

    takes_lines = False
    """Whether inner lines of a reply go to `inner_line` as they come."""
    shows_grant = False
    """Whether a refusal is about what it has shown, and not about the session as a whole."""
    takes_intermediate = True
    """Whether 1xx replies go to `intermediate`; else they are dropped."""

    def reply(self, reply: Reply) -> None:
        """The final reply (>= 200) of the next of its commands."""
        raise NotImplementedError

    def lost(self, error: GridFTPError) -> None:
        """The channel ended before the final reply of one of its commands; called for each."""
        raise NotImplementedError

    def intermediate(self, reply: Reply) -> None:
        """A 1xx reply of the command that runs now."""

    def inner_line(self, code: int, line: bytes) -> bool:
        """An inner line of a reply; returns whether it is taken (else the reply keeps it)."""
        raise NotImplementedError


class ControlChannel(asyncio.Protocol):
    """One TCP connection to a server. Made by `loop.create_connection`."""

    def __init__(self, where: str, *, clear_text: bool) -> None:
        self.where = where
        self.clear_text = clear_text
        self.error: GridFTPError | None = None
        """Why the channel is of no use any more."""
        self.peer_ended = False
        """Whether the peer's end of the connection is known to be closed."""
        self.reset_is_end = True
        """Whether a reset, too, shows that the peer has ended its session. Not where somebody
        between us carries the bytes: he resets when he has lost the peer, and passes on its end of
        file when that has ended."""
        self.may_send: Callable[[], bool] | None = None
        """Asked right before queued commands are handed to the kernel; when it says no, they are
        lost, and the channel takes no more. For who may lose the right to act while it works."""
        self.only_reads = False
        """Whether nothing is sent that may change anything at the server (`commands.only_reads`): a
        command that would ends the channel instead."""
        self.by_grant = False
        """Whether a login by grant was accepted: then a 530 says that the grant is over."""
        self.words: Callable[[Reply], Reply] | None = None
        """Gets each refusal, and gives what may be told of it."""
        self.gathers = False
        """Whether replies are read in batches while many are to come: each is a packet of its own,
        and being woken for each costs half of our time. Not together with `pause`."""
        self.paused = False
        """Whether we take nothing from the peer now."""
        self._loop = asyncio.get_running_loop()
        self.lost = self._loop.create_future()
        """Done when the socket is closed at our end."""
        self._transport: asyncio.Transport | None = None
        self._security: Initiator | None = None
        self._protected_replies = False
        self._queue: deque[Receiver] = deque()
        self._backlog: deque[tuple[bytes, Receiver]] = deque()
        self._splitter = LineSplitter()
        self._plain_splitter = LineSplitter()
        self._reader = ReplyReader(self._take_inner_line)
        self._heard_reply = False
        self.heard_at = self._loop.time()
        """When the peer last sent anything, on the loop's clock."""
        self.answered_at = self.heard_at
        """When it last answered a command."""
        self._ending = False
        self._on_closing: Callable[[bool], object] | None = None
        self._idle: asyncio.Future[None] | None = None

    # -- sending

    def send(self, lines: Sequence[bytes], receiver: Receiver) -> None:
        """Queue encoded command lines (without line ends) and write as many as the queue takes.

        After the channel was lost `receiver.lost` is called at once, for each line.
        """
        for line in lines:
            self.queue(line, receiver)
        self.flush()

    def queue(self, line: bytes, receiver: Receiver) -> None:
        """Queue one line; `flush` writes it."""
        if self.error is not None:
            receiver.lost(self.error)
        else:
            self._backlog.append((line, receiver))

    def send_at_once(self, line: bytes, receiver: Receiver) -> None:
        """Send one line ahead of all that is queued here, even if the queue is full."""
        if self.error is not None:
            receiver.lost(self.error)
            return
        waiting, self._backlog = self._backlog, deque([(line, receiver)])
        self._pump(extra=1)
        self._backlog.extend(waiting)

    def flush(self) -> None:
        """Write what the queue takes, in one go."""
        if self._backlog and self.error is None:
            self._pump()

    def send_in_clear(self, lines: Sequence[bytes], receiver: Receiver) -> None:
        """Send lines of the login itself, ahead of everything queued."""
        if self.error is not None:
            receiver.lost(self.error)
            return
        self._queue.extend([receiver] * len(lines))
        self._write(b"".join([line + b"\r\n" for line in lines]))

    def expect(self, receiver: Receiver) -> None:
        """Someone waits for a reply to nothing: the banner."""
        self._queue.append(receiver)

    def protect_commands(self, security: Initiator) -> None:
        """From now on commands are wrapped."""
        self._security = security

    def protect_replies(self) -> None:
        """From the next line on replies are wrapped, and anything else is refused."""
        self._protected_replies = True
        self._reader = ReplyReader(self._take_inner_line)

    def _pump(self, *, extra: int = 0) -> None:
        backlog, queue = self._backlog, self._queue
        out: list[bytes] = []
        security = self._security
        while backlog and len(queue) < MAX_QUEUED_COMMANDS + extra:
            line, receiver = backlog.popleft()
            queue.append(receiver)
            if self.only_reads and not only_reads(line):
                # what was gathered before it is not sent either: it is our own mistake
                verb = line.partition(b" ")[0].decode(errors="replace")
                message = f"the session may only read, and {verb} was about to be sent"
                self.fail(GridFTPError(Kind.UNSUPPORTED, message, self.where))
                return
            if security is None:
                out.append(line + b"\r\n")
            else:
                token = b2a_base64(security.wrap(line + b"\r\n"), newline=False)
                out.append(b"ENC " + token + b"\r\n")
        if not out:
            return
        data = b"".join(out)
        # After the encryption, which takes milliseconds for a lane's files: nothing but the write
        # itself lies between the question and the kernel.
        if self.may_send is None or self.may_send():
            self._write(data)
        else:
            message = "we may not use the session any more"
            self._drop(GridFTPError(Kind.CONNECTION_LOST, message, self.where))

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    # -- receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self.over:
            return  # we only wait for the peer's end
        self.heard_at = self._loop.time()
        try:
            lines = self._splitter.feed(data)
            if not self._protected_replies:
                lines = self._take_clear(lines)
            if lines:
                self._take_wrapped(lines)
        except GridFTPError as error:
            error.where = error.where or self.where
            self.fail(error)
        except SecurityError as error:
            # After the login it is not about anybody's credential: what came is garbled.
            kind = Kind.PROTOCOL if self._protected_replies else Kind[error.kind.value]
            self.fail(GridFTPError(kind, error.message, self.where))
        except Base64Error:
            self.fail(GridFTPError(Kind.PROTOCOL, "a wrapped reply is garbled", self.where))
        if self._backlog and not self.over:
            self._pump()
        if self.gathers and len(self._queue) >= GATHER_FROM_COMMANDS and not self.over:
            self.pause()
            self._loop.call_later(GATHER_S, self.resume)

    def eof_received(self) -> None:
        """Called by the loop."""
        self.peer_ended = True
        if self._reader.skipped and not self._heard_reply:
            error = GridFTPError(Kind.PROTOCOL, "the server does not speak FTP", self.where)
        else:
            error = GridFTPError(
                Kind.CONNECTION_LOST, "the server closed the connection", self.where
            )
        self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self.reset_is_end and isinstance(exc, ConnectionResetError | BrokenPipeError):
            self.peer_ended = True
        self._tell_closing()
        if not self.lost.done():
            self.lost.set_result(None)
        reason = f"the connection broke ({exc})" if exc else "the connection is closed"
        self._drop(GridFTPError(Kind.CONNECTION_LOST, reason, self.where))

    def _take_clear(self, lines: list[bytes]) -> list[bytes]:
        for number, line in enumerate(lines, 1):
            reply = self._reader.push_line(line)
            if reply is not None:
                if not self._dispatch(reply):
                    return []
                if self._protected_replies:
                    return lines[number:]
            elif self._reader.skipped and not self._heard_reply:
                raise GridFTPError(Kind.PROTOCOL, "the server does not speak FTP", self.where)
            else:
                self._check_stray(line)
        return []

    def _take_wrapped(self, lines: list[bytes]) -> None:
        """Decrypt in batches. The outer mark (`632-` for all but the last line of a reply) is the
        server's own; what is inside may come from a hostile file name with line breaks."""
        tokens: list[bytes] = []
        size = 0
        last_mark = b" "
        for line in lines:
            mark = line[3:4]
            if line[:2] != b"63" or mark not in (b" ", b"-"):
                if self._take_plain(tokens, last_mark):
                    self._refuse_unprotected(line)
                return
            if tokens and (mark != last_mark or size > _TOKENS_BYTES):
                if not self._take_plain(tokens, last_mark):
                    return
                tokens, size = [], 0
            last_mark = mark
            tokens.append(a2b_base64(line[4:]))
            size += len(line)
        self._take_plain(tokens, last_mark)

    def _take_plain(self, tokens: list[bytes], mark: bytes) -> bool:
        """Whether the channel is still of use after these."""
        assert self._security is not None
        reader = self._reader
        for line in self._plain_splitter.feed(self._security.unwrap(b"".join(tokens))):
            inside = reader.inside
            reply = None if inside else _FREQUENT.get(line)
            if reply is None:
                reply = reader.push_line(line)
            if reply is None:
                self._check_stray(line)
                continue
            if inside and mark == b"-":
                raise self._forged()
            if not self._dispatch(reply):
                return False
        return True

    def _check_stray(self, line: bytes) -> None:
        # The inner line of a reply whose end came before: that end was not the server's.
        if line.startswith(b" ") and not self._reader.inside:
            raise self._forged()

    def _forged(self) -> GridFTPError:
        return GridFTPError(
            Kind.INVALID_NAME,
            "a name with a line break looks like the end of the server's reply",
            self.where,
        )

    def _refuse_unprotected(self, line: bytes) -> None:
        # Anyone on the path can write clear text: at most it may end the session, as a reset could.
        if line.startswith(b"421"):
            error = classify(Reply(421, (line[4:],)), where=self.where)
        else:
            error = GridFTPError(Kind.PROTOCOL, "the server sent an unprotected reply", self.where)
        self.fail(error)

    def _dispatch(self, reply: Reply) -> bool:
        """Give a reply to whom it belongs; whether the channel is still of use."""
        self._heard_reply = True
        queue = self._queue
        code = reply.code
        if code >= 400 and self.words is not None:
            reply = self.words(reply)
        if code == 421:
            self.fail(classify(reply, where=self.where))
        elif not queue:
            self.fail(
                GridFTPError(
                    Kind.PROTOCOL,
                    "the server answered without being asked",
                    self.where,
                    reply=repr(reply),
                )
            )
        elif code == 530 and self.by_grant and not queue[0].shows_grant:
            self.fail(classify(reply, where=self.where))  # no later command fares better
        elif code < 200:
            if queue[0].takes_intermediate:
                queue[0].intermediate(reply)
        else:
            self.answered_at = self._loop.time()
            queue.popleft().reply(reply)
            if not queue and self._idle is not None and not self._idle.done():
                self._idle.set_result(None)
        return self.error is None

    def _take_inner_line(self, code: int, line: bytes) -> bool:
        queue = self._queue
        return bool(queue) and queue[0].takes_lines and queue[0].inner_line(code, line)

    # -- flow and end

    @property
    def over(self) -> bool:
        """Whether the channel is of no use any more; `error` says why."""
        return self.error is not None

    @property
    def unanswered(self) -> int:
        """Commands whose final reply is still to come, those not yet sent included."""
        return len(self._queue) + len(self._backlog)

    @property
    def served(self) -> Receiver | None:
        """Whom the next reply is for."""
        return self._queue[0] if self._queue else None

    def serves(self, receiver: Receiver) -> bool:
        """Whether the next reply is for this one."""
        return bool(self._queue) and self._queue[0] is receiver

    def pause(self) -> None:
        """Take no more bytes from the peer."""
        if self._transport is not None and not self.over:
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """The opposite of `pause`; harmless when not paused."""
        if self._transport is not None and not self._transport.is_closing():
            self.paused = False
            self._transport.resume_reading()

    def peer_ip(self) -> str:
        """The address at the other end. Raises GridFTPError if that has hung up at once."""
        assert self._transport is not None
        peer = self._transport.get_extra_info("peername")
        if peer is None:
            message = "the server closed the connection"
            raise GridFTPError(Kind.CONNECTION_LOST, message, self.where)
        return str(peer[0])

    def fail(self, error: GridFTPError) -> None:
        """Give the channel up at once: every receiver is told, the socket is closed."""
        self._drop(error)
        if self._transport is not None:
            self._close(self._transport)

    def share(self, on_closing: Callable[[bool], object]) -> int | None:
        """The descriptor of the socket, for another process to have it, too; None if the channel is
        over, so that nothing more will be sent.

        `on_closing` is called once, when we close ours, with whether the peer's end is known to be
        closed.
        """
        transport = self._transport
        if self.over or transport is None or transport.is_closing():
            return None
        self._on_closing = on_closing
        descriptor: int = transport.get_extra_info("socket").fileno()
        return descriptor

    def _close(self, transport: asyncio.Transport) -> None:
        if self._on_closing is not None and not transport.is_closing():
            # The peer hears nothing of a socket that is closed here and open in another process.
            with suppress(OSError), transport.get_extra_info("socket").dup() as shared:
                shared.shutdown(socket.SHUT_WR)
        self._tell_closing()
        transport.abort()

    def _tell_closing(self) -> None:
        on_closing, self._on_closing = self._on_closing, None
        if on_closing is not None:
            on_closing(self.peer_ended)

    async def drain(self, timeout_s: float) -> bool:
        """Take back what is not sent; wait until what is sent has been answered, or lost."""
        while self._backlog:
            self._backlog.pop()
        if self._queue and not self.over:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait(
                [self._idle, self.lost], timeout=timeout_s, return_when="FIRST_COMPLETED"
            )
        return not self._queue

    async def end(self, timeout_s: float, why: str = WE_CLOSED) -> bool:
        """Close our direction and wait for the peer to close its own; returns whether it did.

        Commands still unanswered are lost, and told `why`. A server process that has closed its end
        runs none.
        """
        self._drop(GridFTPError(Kind.CONNECTION_LOST, why, self.where))
        transport = self._transport
        if transport is None:
            return self.peer_ended
        try:
            if not transport.is_closing() and not self._ending:
                self._ending = True
                self.resume()
                transport.write_eof()
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self.lost)
        except TimeoutError:
            pass
        finally:
            self._close(transport)
        await asyncio.shield(self.lost)
        return self.peer_ended

    def _drop(self, error: GridFTPError) -> None:
        if self.over:
            return
        self.error = error
        waiting = [*self._queue, *(receiver for _, receiver in self._backlog)]
        self._queue.clear()
        self._backlog.clear()
        for receiver in waiting:
            receiver.lost(error)
