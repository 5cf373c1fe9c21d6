r"""The first line on a connection that is to be joined with another one.

Who dials says one of::

    TPJ1 pass <JWS>\n        the service, for a control connection to an agent
    TPJ1 ticket <ticket>\n   an agent, for a data connection: to its relay, or to another agent
    TPJ1 probe <nonce>\n     a relay that looks whether an agent's port can be reached

and the other side answers ``TPJ1 ok\n``, or ``TPJ1 no <reason> <text>\n`` and closes. After ``ok``
the connection carries whatever the two joined ends say. Who dials may send that ahead, without
waiting for the answer: it is delivered once joined.

Both parsers take what arrives in any pieces and leave what comes behind the line in ``rest``.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from towpath.tunnel.tickets import is_ticket

MAGIC: Final = b"TPJ1 "
"""How every line begins. The relay's port tells by it, SSH begins with ``SSH-``."""

LINE_LIMIT: Final = 4096
"""Bytes with the line feed: a pass has some 500."""

PROLOGUE_S: Final = 10.0
"""Within which the line must be there, and the answer to a pass."""

TEXT_LIMIT: Final = 1000
"""Characters of the text of a refusal."""

_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_REASON = re.compile(r"[a-z-]{1,32}", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class PrologueError(Exception):
    """The other side does not say what it should; the message never repeats its words."""


class Refusal(StrEnum):
    """Why a connection was not joined: the reason word of ``TPJ1 no``."""

    PASS = "pass"  # noqa: S105 - a word
    """The pass is not valid, was used, or is for another relay."""
    TICKET = "ticket"
    """Nobody waits for this ticket (any more)."""
    GONE = "gone"
    """The agent is not connected here (any more)."""
    BUSY = "busy"
    """The agent, or the relay, has as many connections as it may."""
    DRAINING = "draining"
    """The relay ends; there are others."""
    MALFORMED = "malformed"
    """That was no prologue."""
    FAILED = "failed"
    """The other half did not come, or went."""


@dataclass(frozen=True)
class PassShown:
    """``TPJ1 pass``."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class TicketSaid:
    """``TPJ1 ticket``."""

    ticket: str = field(repr=False)


@dataclass(frozen=True)
class ProbeSaid:
    """``TPJ1 probe``."""

    nonce: str


Said = PassShown | TicketSaid | ProbeSaid


@dataclass(frozen=True)
class Joined:
    """``TPJ1 ok``."""


@dataclass(frozen=True)
class NotJoined:
    """``TPJ1 no``. A reason that this version does not know reads as ``failed``."""

    reason: Refusal
    text: str


OK: Final = MAGIC + b"ok\n"


def prologue(said: Said) -> bytes:
    """The line to begin with. ValueError if it could not be read by the other side."""
    match said:
        case PassShown(token):
            line = b"pass " + token.encode("ascii")
        case TicketSaid(ticket):
            line = b"ticket " + ticket.encode("ascii")
        case ProbeSaid(nonce):
            line = b"probe " + nonce.encode("ascii")
    line = MAGIC + line + b"\n"
    try:
        if len(line) > LINE_LIMIT or _said(line[:-1]) != said:
            raise ValueError("it does not fit into a prologue")
    except PrologueError as error:
        raise ValueError(str(error)) from None
    return line


def refusal(reason: Refusal, text: str) -> bytes:
    """The line that says why not; the text on one line, cut where it is too long."""
    shown = " ".join(_UNPRINTABLE.sub(" ", text).split())[:TEXT_LIMIT]
    encoded = shown.encode()[: LINE_LIMIT - 64].decode(errors="ignore").encode()
    return MAGIC + f"no {reason.value} ".encode() + encoded + b"\n"


class _Line:
    """One bounded line out of what arrives; what is behind it stays in ``rest``."""

    def __init__(self) -> None:
        self.rest = b""
        self._begun = bytearray()

    def _feed(self, data: bytes) -> bytes | None:
        line, ended, rest = data.partition(b"\n")
        self._begun += line
        if not self._begun.startswith(MAGIC[: len(self._begun)]):
            raise PrologueError("this does not begin like a prologue")
        if len(self._begun) >= LINE_LIMIT:
            raise PrologueError(f"the first line has more than {LINE_LIMIT} bytes")
        if not ended:
            return None
        if len(self._begun) < len(MAGIC):
            raise PrologueError("this does not begin like a prologue")
        self.rest = rest
        return bytes(self._begun)


class PrologueReader(_Line):
    """The side that was dialled. Feed until there is a result; then ``rest`` is what followed."""

    def feed(self, data: bytes) -> Said | None:
        """What was said, once the line is whole. Raises :class:`PrologueError`."""
        line = self._feed(data)
        return None if line is None else _said(line)


class AnswerReader(_Line):
    """The side that dialled."""

    def feed(self, data: bytes) -> Joined | NotJoined | None:
        """The answer, once the line is whole. Raises :class:`PrologueError`."""
        line = self._feed(data)
        return None if line is None else _answer(line)


def _said(line: bytes) -> Said:
    try:
        verb, _, word = line[len(MAGIC) :].decode("ascii").partition(" ")
    except UnicodeDecodeError:
        raise PrologueError("a prologue is ASCII") from None
    if verb == "pass" and _JWS.fullmatch(word):
        return PassShown(word)
    if verb == "ticket" and is_ticket(word):
        return TicketSaid(word)
    if verb == "probe" and _NONCE.fullmatch(word):
        return ProbeSaid(word)
    raise PrologueError("a prologue shows a pass, says a ticket, or is a probe")


def _answer(line: bytes) -> Joined | NotJoined:
    answer = line[len(MAGIC) :]
    if answer == b"ok":
        return Joined()
    verb, _, rest = answer.partition(b" ")
    reason, _, text = rest.decode(errors="replace").partition(" ")
    if verb != b"no" or not _REASON.fullmatch(reason):
        raise PrologueError("an answer is ok, or no and why")
    shown = _UNPRINTABLE.sub(" ", text)[:TEXT_LIMIT]
    try:
        return NotJoined(Refusal(reason), shown)
    except ValueError:
        return NotJoined(Refusal.FAILED, shown)
