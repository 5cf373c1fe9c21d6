"""What commands work on: the state of a session, and a table of handlers."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from towpath.dsi.rules import FREE, Access, Rules
from towpath.dsi.storage import PathNotAllowedError, Storage
from towpath.gridftp.errors import GridFTPError, printable
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.channel import SELF, DataChannel
from towpath.gridftp.server.frames import Notice, Opening
from towpath.gridftp.server.permission import OVERTIME_S, Permission, refused_reply_text
from towpath.gridftp.server.recent_digests import RecentDigests
from towpath.gridftp.wire import answers
from towpath.gridftp.wire.answers import FactLines
from towpath.gridftp.wire.ranges import RangeSet
from towpath.gridftp.wire.requests import Request, RequestError

_log: Final = logging.getLogger(__name__)


class AbortedError(Exception):
    """The command that runs was called off: by ABOR, or because its client is gone."""


class NotPermittedError(Exception):
    """The session's permission is over, or is not for this."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(reason, sentence)
        self.reason = reason
        self.sentence = sentence


class WrongChecksumError(Exception):
    """What was received is not what was announced."""

    def __init__(self, computed: str, expected: str) -> None:
        super().__init__(computed, expected)
        self.computed = computed
        self.expected = expected


class Transferred(NamedTuple):
    """One data command that is over, for the access log."""

    opening: Opening
    verb: str
    path: bytes
    bytes_moved: int
    seconds: float
    outcome: str
    """`ok`, or the first line of the reply."""
    streams: int
    protection: str
    """The letter of PROT; `N` without data channel authentication."""
    first: int = 0
    """Where in the file it began, in bytes."""


class Refused(NamedTuple):
    """Any other command that failed, for the access log."""

    opening: Opening
    command: str
    """Printable; what is secret in it left out."""
    reply: str
    """Its first line."""


Report = Callable[[Transferred | Refused], None]
"""Takes what is worth logging; called from the session's thread."""


class LoginCredential(NamedTuple):
    """What was delegated at the login, and whom it may meet."""

    pem: bytes
    trust: TrustRoots

    def __repr__(self) -> str:
        return "LoginCredential(...)"  # it holds a private key


@dataclass
class NextTransfer:
    """What was said about the next data command, and holds for no other."""

    present: RangeSet | None = None
    """REST."""
    modified: int | None = None
    """SITE STORATTR modify."""
    checksums: dict[str, str] = field(default_factory=dict)
    """SITE STORATTR checksum, SCKS: digest by algorithm."""


class Session:
    """One logged-in session, as its commands see it. Used by one thread at a time."""

    def __init__(
        self,
        opening: Opening,
        storage: Storage,
        channel: DataChannel,
        *,
        credential: LoginCredential | None,
        send: Callable[[bytes], None],
        send_marker: Callable[[bytes], None],
        aborted: Callable[[], bool],
        report: Report,
        durable: bool,
        recent: RecentDigests | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.opening: Final = opening
        self._whole: Final = storage
        self._restriction = FREE
        self.storage = storage
        """Narrowed by SITE RESTRICT, and to what is permitted."""
        self.permission = opening.permission
        """None: all that the account may. Another thread may replace it."""
        self._permitted: Permission | None = None
        """The one that `storage` is narrowed to."""
        self.notices: Final[deque[Notice]] = deque()
        """What came of each SITE GRANT that is queued."""
        self._now: Final = now
        self.channel: Final = channel
        self.send: Final = send
        """Takes one whole reply. Raises `SessionEndedError` when nobody is there any more."""
        self.send_marker: Final = send_marker
        """The same for a reply that others follow soon. From any thread."""
        self.aborted: Final = aborted
        """Whether the command that runs should stop."""
        self.report: Final = report
        self.durable: Final = durable
        """Whether a file that is answered for is on the disk."""
        self.recent: Final = RecentDigests() if recent is None else recent
        """Shared by the sessions of an account."""
        self.digest_sent = ""
        """Algorithm of the checksum that is computed while a file is sent; empty: none."""
        self.digest_received = ""
        """The same for files that are received."""
        self.home: Final = normalised(opening.home.encode("utf-8", "surrogateescape"))
        self.directory = self.home
        self.facts = FactLines()
        self.next = NextTransfer()
        self.passive_delayed = False
        """Whether the next transfer listens, and tells where."""
        self.may_delay_passive = False
        self.extended_only = False
        """After EPSV ALL."""
        self.rename_from: bytes | None = None
        self.link_target: bytes | None = None
        self.extended = False
        """MODE E."""
        self.protection = "C"
        self.authenticated = opening.secured
        """DCAU: A after a login by certificate, N after any other."""
        self.quit = False
        if self.authenticated:
            channel.set_authentication(SELF)
        self._credential: Final = credential
        self.use_login_credential()

    def restrict(self, rules: Rules) -> None:
        """Narrow it for good. Raises ValueError."""
        restriction = self._restriction.and_also(rules)
        self.storage = self.storage.restricted(rules)
        self._restriction = restriction

    def demand_permission(self) -> None:
        """Before a command that needs one: raise `NotPermittedError` if there is none any more.

        From here on the storage is narrowed to the one that holds now.
        """
        permission = self.permission
        if permission is None:
            return
        if permission is not self._permitted:
            rules = permission.to_rules()
            self.storage = self._whole.restricted(self._restriction).restricted(rules)
            self._permitted = permission
        if self._now() > permission.expires:
            raise NotPermittedError(
                "expired", "nothing begins any more; SITE GRANT takes a new one"
            )

    @property
    def over_time(self) -> bool:
        """Whether what runs must stop because its permission has ended long ago."""
        permission = self.permission
        return permission is not None and self._now() > permission.expires + OVERTIME_S

    def why_not(self, error: PathNotAllowedError) -> NotPermittedError | None:
        """Whether it is the permission that does not allow a path."""
        if self._permitted is None:
            return None
        place = error.filename
        access = self._permitted.to_rules().access(place) if isinstance(place, bytes) else None
        if access is None or Access.READ not in access:
            return NotPermittedError("prefix", "the grant does not name this path")
        if error.writing and Access.WRITE not in access:
            return NotPermittedError("read-only", "the grant lets this path be read only")
        return None

    def use_login_credential(self) -> None:
        """On data connections, what was delegated at the login (DCSC D)."""
        self.channel.set_credential(None)
        if self._credential is not None:
            try:
                self.channel.set_credential(self._credential.pem, trust=self._credential.trust)
            except ValueError:  # transfers will say that there is none
                _log.warning("the credential delegated to a session is none", exc_info=True)

    def path(self, given: bytes) -> bytes:
        """A clean absolute path, as storages want it. Nothing leads above the root."""
        if given[:1] == b"/":
            # guc and others write a home directory as `/~`.
            if given[:2] == b"/~" and given[2:3] in (b"", b"/"):
                given = self.home + given[2:]
        elif given[:1] == b"~" and given[1:2] in (b"", b"/"):
            given = self.home + given[1:]
        elif given:
            given = self.directory + b"/" + given
        else:
            return self.directory
        return normalised(given)

    def take_next(self) -> NextTransfer:
        """What was said about this transfer; from now on it is about the one after."""
        taken, self.next = self.next, NextTransfer()
        return taken

    def check_aborted(self) -> None:
        """Raise `AbortedError` if this command should stop."""
        if self.aborted():
            raise AbortedError


class SessionEndedError(Exception):
    """The other half has closed the socket between us."""


def normalised(path: bytes) -> bytes:
    """An absolute path without `.`, `..` and double slashes; `..` is read as text, as GCT does."""
    if b"//" not in path and b"/." not in path and (path[-1:] != b"/" or path == b"/"):
        return path
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            del names[-1:]
        elif name and name != b".":
            names.append(name)
    return b"/" + b"/".join(names)


def failure_reply(error: Exception, session: Session, doing: str) -> bytes:
    """What a command's error is answered with; `doing`: to the storage, for an error of its."""
    match error:
        case AbortedError() | GridFTPError() if session.over_time:
            return answers.reply(426, refused_reply_text("expired", "what ran too long was cut"))
        case AbortedError():
            return answers.aborted()
        case GridFTPError() if session.aborted():
            return answers.aborted()  # what else a data connection says of it is only its echo
        case NotPermittedError():
            return answers.reply(530, refused_reply_text(error.reason, error.sentence))
        case PathNotAllowedError():
            refusal = session.why_not(error)
            if refusal is None:
                return answers.path_not_allowed()
            return answers.reply(550, refused_reply_text(refusal.reason, refusal.sentence))
        case OSError():
            return answers.storage_refusal(error, doing)
        case GridFTPError():
            return answers.data_failure(error)
        case RequestError():
            return answers.reply(error.code, error.text)
        case WrongChecksumError():
            return answers.wrong_checksum(error.computed, error.expected)
        case _:
            _log.error("a command failed in a way that nobody foresaw", exc_info=error)
            return answers.reply(451, "Command failed. : internal error of the server")


def first_line(reply: bytes) -> str:
    """For logs."""
    return printable(reply.partition(b"\r\n")[0].decode("utf-8", "surrogateescape"), 300)


R = TypeVar("R", bound=Request)
Handler = Callable[[Session, R], None]


class Entry(NamedTuple):
    """A handler, and the word for what it does to a storage (in errors)."""

    run: Handler[Any]
    doing: str


class Handlers:
    """A table of handlers by the type of request."""

    def __init__(self) -> None:
        self.table: Final[dict[type[Request], Entry]] = {}

    def on(self, request: type[R], *, doing: str = "stat") -> Callable[[Handler[R]], Handler[R]]:
        """Register the decorated function for a request."""

        def register(handler: Handler[R]) -> Handler[R]:
            self.table[request] = Entry(handler, doing)
            return handler

        return register
