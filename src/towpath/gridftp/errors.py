"""What can go wrong between us and a GridFTP server, told once, where it is born."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

REPLY_TEXT_LIMIT = 1000
"""Characters of a server's text kept in an error: enough for a GCT error block, and storable."""


class Scope(StrEnum):
    """How far an error reaches: what else it spoils."""

    FILE = "file"
    CHANNEL = "channel"
    SESSION = "session"
    ENDPOINT = "endpoint"
    CREDENTIAL = "credential"


class Kind(StrEnum):
    """What went wrong."""

    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    IS_A_DIRECTORY = "is_a_directory"
    NOT_A_DIRECTORY = "not_a_directory"
    EXISTS = "exists"
    NOT_EMPTY = "not_empty"
    NO_SPACE = "no_space"
    QUOTA = "quota"
    STORAGE = "storage"
    PATH_NOT_ALLOWED = "path_not_allowed"
    DATA_REFUSED = "data_refused"
    DATA_BROKEN = "data_broken"
    DATA_AUTH = "data_auth"
    ENCRYPTION_REQUIRED = "encryption_required"
    CHANNEL_GONE = "channel_gone"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    SIZE_CHANGED = "size_changed"
    SOURCE_CHANGED = "source_changed"
    CHECKSUM_UNSUPPORTED = "checksum_unsupported"
    AUTHENTICATION = "authentication"
    CREDENTIAL_EXPIRED = "credential_expired"
    UNTRUSTED_HOST = "untrusted_host"
    MAPPING = "mapping"
    LOGIN = "login"
    GRANT_EXPIRED = "grant_expired"
    GRANT_REFUSED = "grant_refused"
    AWAY = "away"
    PAUSED = "paused"
    DRAINING = "draining"
    CONNECT = "connect"
    CONNECTION_LOST = "connection_lost"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    PROTOCOL = "protocol"
    UNSUPPORTED = "unsupported"
    INVALID_NAME = "invalid_name"
    ADDRESS_REFUSED = "address_refused"
    UNKNOWN = "unknown"


class Phase(StrEnum):
    """What was being done."""

    CONNECT = "connect"
    LOGIN = "login"
    LISTING = "listing"
    DATA = "data"
    CHECKSUM = "checksum"
    LINKS = "links"
    REMOVAL = "removal"


class FaultClass(StrEnum):
    """How long an error lasts."""

    PERMANENT = "permanent"
    """Until somebody mends it: doing the same again is known to be of no use."""
    TRANSIENT = "transient"
    """It often goes away by itself."""
    CREDENTIAL = "credential"
    """Until the user's credential is renewed."""
    STALLED = "stalled"
    """No bytes move: what is under way is cut and resumed."""


class Fixer(StrEnum):
    """Who can fix it."""

    YOU = "you"
    ADMINISTRATOR = "the server's administrator"
    OPERATOR = "the operator of this service"
    NETWORK = "who runs the network between the servers"
    SHARER = "who shares the collection"
    NOBODY = "nobody needs to"


class _Facts(NamedTuple):
    scope: Scope
    fault_class: FaultClass
    fixers: tuple[Fixer, ...]
    """Who is most likely to be able to, first."""
    advice: str
    phase: Phase | None = None
    """None: what was being done is known only where it was done."""


_WRITER_ADVICE = (
    "The file is copied again as it is now; one that keeps changing is tried until the deadline."
    " Let what writes it finish, or transfer a snapshot."
)

_YOU, _ADMIN, _NOBODY = Fixer.YOU, Fixer.ADMINISTRATOR, Fixer.NOBODY
_PERMANENT, _TRANSIENT = FaultClass.PERMANENT, FaultClass.TRANSIENT

_FACTS: dict[Kind, _Facts] = {
    Kind.NOT_FOUND: _Facts(
        Scope.FILE, _PERMANENT, (_YOU,), "Check the path; it does not exist on the server."
    ),
    Kind.PERMISSION_DENIED: _Facts(
        Scope.FILE,
        _PERMANENT,
        (_YOU, _ADMIN),
        "Ask the owner or the server's administrator for access to this path.",
    ),
    Kind.IS_A_DIRECTORY: _Facts(
        Scope.FILE, _PERMANENT, (_YOU,), "The path is a directory; name a file."
    ),
    Kind.NOT_A_DIRECTORY: _Facts(
        Scope.FILE, _PERMANENT, (_YOU,), "A part of the path is a file; name a directory."
    ),
    Kind.EXISTS: _Facts(
        Scope.FILE,
        _PERMANENT,
        (_YOU,),
        "Something with this name is there already: remove or rename it.",
    ),
    Kind.NOT_EMPTY: _Facts(
        Scope.FILE,
        _PERMANENT,
        (_YOU,),
        "The directory is not empty; delete recursively.",
        Phase.REMOVAL,
    ),
    Kind.NO_SPACE: _Facts(
        Scope.ENDPOINT, _TRANSIENT, (_ADMIN, _YOU), "Free space on the server's storage."
    ),
    Kind.QUOTA: _Facts(
        Scope.ENDPOINT, _TRANSIENT, (_YOU, _ADMIN), "Free some of your quota on the server."
    ),
    Kind.STORAGE: _Facts(
        Scope.FILE,
        _TRANSIENT,
        (_ADMIN,),
        "The server cannot read or write its own disk here: tell its administrator.",
    ),
    Kind.PATH_NOT_ALLOWED: _Facts(
        Scope.FILE,
        _PERMANENT,
        (_ADMIN,),
        "The server's administrator does not allow access to this path.",
    ),
    Kind.DATA_REFUSED: _Facts(
        Scope.CHANNEL,
        _TRANSIENT,
        (_ADMIN, Fixer.NETWORK),
        "The sending server cannot reach the receiving one: check the receiver's data port"
        " range, whether some of it is free, and the firewalls between them.",
        Phase.DATA,
    ),
    Kind.DATA_BROKEN: _Facts(
        Scope.CHANNEL,
        _TRANSIENT,
        (_NOBODY,),
        "The data connection broke; it is tried again.",
        Phase.DATA,
    ),
    Kind.DATA_AUTH: _Facts(
        Scope.CHANNEL,
        _PERMANENT,
        (_ADMIN,),
        "The two servers do not accept each other's data channel credential: both must support"
        " DCSC, and their clocks must be right.",
        Phase.DATA,
    ),
    Kind.ENCRYPTION_REQUIRED: _Facts(
        Scope.ENDPOINT,
        _PERMANENT,
        (_YOU,),
        "This server moves data encrypted only: ask for encryption.",
        Phase.DATA,
    ),
    Kind.CHANNEL_GONE: _Facts(
        Scope.CHANNEL, _TRANSIENT, (_NOBODY,), "The data channel is set up anew.", Phase.DATA
    ),
    Kind.CHECKSUM_MISMATCH: _Facts(
        Scope.FILE,
        _TRANSIENT,
        (_NOBODY,),
        "What arrived differs from the source; the file is sent again.",
        Phase.CHECKSUM,
    ),
    Kind.SIZE_CHANGED: _Facts(Scope.FILE, _TRANSIENT, (_YOU,), _WRITER_ADVICE),
    Kind.SOURCE_CHANGED: _Facts(Scope.FILE, _TRANSIENT, (_YOU,), _WRITER_ADVICE),
    Kind.CHECKSUM_UNSUPPORTED: _Facts(
        Scope.ENDPOINT,
        _PERMANENT,
        (_YOU,),
        "Choose a checksum both servers offer, or switch verification off.",
        Phase.CHECKSUM,
    ),
    Kind.AUTHENTICATION: _Facts(
        Scope.CREDENTIAL,
        _PERMANENT,
        (_ADMIN, _YOU),
        "The server does not accept the credential: it must trust the authority that issued it,"
        " with revocation lists that are not too old, and its clock must be right.",
        Phase.LOGIN,
    ),
    Kind.CREDENTIAL_EXPIRED: _Facts(
        Scope.CREDENTIAL,
        FaultClass.CREDENTIAL,
        (_YOU,),
        "Renew the credential for this endpoint.",
        Phase.LOGIN,
    ),
    Kind.UNTRUSTED_HOST: _Facts(
        Scope.ENDPOINT,
        _PERMANENT,
        (_YOU, _ADMIN),
        "The server's certificate does not prove that it is this host: check host name,"
        " expected subject and the endpoint's trusted authorities.",
        Phase.LOGIN,
    ),
    Kind.MAPPING: _Facts(
        Scope.CREDENTIAL,
        _PERMANENT,
        (_ADMIN,),
        "The server has no local account for this identity: ask its administrator to add one.",
        Phase.LOGIN,
    ),
    Kind.LOGIN: _Facts(
        Scope.CREDENTIAL,
        _PERMANENT,
        (_YOU,),
        "Check the user name and the credential or pass phrase; the server's own words say more.",
        Phase.LOGIN,
    ),
    Kind.GRANT_EXPIRED: _Facts(
        Scope.SESSION,
        _TRANSIENT,
        (_NOBODY, _ADMIN),
        "The session is opened anew with a new grant. If it stays so, set the clock of the"
        " endpoint's computer right.",
        Phase.LOGIN,
    ),
    Kind.GRANT_REFUSED: _Facts(
        Scope.CREDENTIAL,
        _PERMANENT,
        (_ADMIN, Fixer.OPERATOR),
        "The endpoint does not take this service's grants: set it up anew with a setup key of"
        " this service.",
        Phase.LOGIN,
    ),
    Kind.AWAY: _Facts(
        Scope.ENDPOINT,
        _TRANSIENT,
        (_YOU, _ADMIN),
        "Wake it up or switch it on, see that it has network, and that the agent runs there"
        " (towpath connect status).",
        Phase.CONNECT,
    ),
    Kind.DRAINING: _Facts(
        Scope.ENDPOINT,
        _TRANSIENT,
        (_ADMIN,),
        "The endpoint's administrator is taking it out of service: ask for how long.",
        Phase.CONNECT,
    ),
    Kind.PAUSED: _Facts(
        Scope.ENDPOINT,
        _TRANSIENT,
        (_YOU, _ADMIN),
        "Somebody has paused the endpoint; work goes on when it is resumed there.",
        Phase.CONNECT,
    ),
    Kind.CONNECT: _Facts(
        Scope.ENDPOINT,
        _TRANSIENT,
        (_ADMIN, _YOU),
        "Check host name and port, that the server is running, and that it takes sessions.",
        Phase.CONNECT,
    ),
    Kind.CONNECTION_LOST: _Facts(
        Scope.SESSION,
        _TRANSIENT,
        (_NOBODY,),
        "The connection to the server was lost; it is tried again.",
    ),
    Kind.TIMEOUT: _Facts(
        Scope.SESSION,
        _TRANSIENT,
        (_ADMIN,),
        "The server did not answer in time; if it stays so, ask its administrator.",
    ),
    Kind.STALLED: _Facts(
        Scope.CHANNEL,
        FaultClass.STALLED,
        (_NOBODY,),
        "No bytes moved; the transfer is cut and resumed.",
        Phase.DATA,
    ),
    Kind.PROTOCOL: _Facts(
        Scope.SESSION,
        _TRANSIENT,
        (_YOU,),
        "Check that the right server listens at this host and port.",
    ),
    Kind.UNSUPPORTED: _Facts(
        Scope.ENDPOINT,
        _PERMANENT,
        (_ADMIN,),
        "The server does not offer this operation; its administrator may have switched it off.",
    ),
    Kind.INVALID_NAME: _Facts(
        Scope.FILE, _PERMANENT, (_YOU,), "Rename it: GridFTP cannot carry this name to this server."
    ),
    Kind.ADDRESS_REFUSED: _Facts(
        Scope.ENDPOINT,
        _PERMANENT,
        (_YOU, Fixer.OPERATOR),
        "The address is not one that may be dialled: declare it as a data host of the endpoint,"
        " or ask the operator to allow it.",
    ),
    Kind.UNKNOWN: _Facts(
        Scope.FILE,
        _TRANSIENT,
        (_ADMIN,),
        "See the server's own words, and show them to its administrator.",
    ),
}

_CONNECTION_KINDS = frozenset(
    {
        Kind.DATA_BROKEN,
        Kind.DATA_REFUSED,
        Kind.CHANNEL_GONE,
        Kind.CONNECTION_LOST,
        Kind.TIMEOUT,
        Kind.STALLED,
    }
)
"""Kinds that are often only the echo of what went wrong at the other end."""


@dataclass(eq=False)
class GridFTPError(Exception):
    """One failure, with all that a user or a retry policy needs to know of it."""

    kind: Kind
    message: str
    """What failed, for people."""
    where: str
    """`host:port` of the server, or empty when no server was involved."""
    path: str | None = None
    reply: str | None = None
    """The server's own words: printable and bounded."""
    setting: str | None = None
    """The command that was refused, where that was a setting of a data channel."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What else there is to know of this kind of failure, for people."""

    @property
    def scope(self) -> Scope:
        """How far the failure reaches."""
        return _FACTS[self.kind].scope

    @property
    def phase(self) -> Phase | None:
        """What was being done, where the kind says it."""
        return _FACTS[self.kind].phase

    @property
    def fault_class(self) -> FaultClass:
        """How long it lasts."""
        return _FACTS[self.kind].fault_class

    @property
    def permanent(self) -> bool:
        """Whether doing the same again is known to be of no use."""
        return self.fault_class in (FaultClass.PERMANENT, FaultClass.CREDENTIAL)

    @property
    def fixers(self) -> tuple[Fixer, ...]:
        """Who can fix it."""
        return _FACTS[self.kind].fixers

    @property
    def advice(self) -> str:
        """What the user can do."""
        return _FACTS[self.kind].advice

    @property
    def ends_all(self) -> bool:
        """Whether no other file between the same ends will do better."""
        reaches_all = self.scope in (Scope.ENDPOINT, Scope.CREDENTIAL, Scope.CHANNEL)
        return self.permanent and reaches_all

    @property
    def is_echo(self) -> bool:
        """Whether this is often only what one end sees of the other end's failure."""
        return self.kind in _CONNECTION_KINDS

    def __str__(self) -> str:
        parts = [f"{self.where}: " if self.where else "", self.message]
        if self.path is not None:
            parts.append(f" ({printable(self.path)})")
        if self.reply:
            parts.append(f": {self.reply}")
        return "".join(parts)


def printable(text: str, limit: int = REPLY_TEXT_LIMIT) -> str:
    """`text` on one line, fit for logs and screens: control characters and stray bytes escaped."""
    shown = "".join(map(_shown, text[:limit]))
    return shown + ("..." if len(text) > limit else "")


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if character == "\n":
        return " / "
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def cause_of(source: GridFTPError | None, destination: GridFTPError | None) -> GridFTPError | None:
    """Which of two ends' errors is the cause: the first that is not an echo of the other end's.

    If both may be echoes, it is a session that was lost, as that breaks its data channel too.
    """
    both = [error for error in (source, destination) if error is not None]
    return min(both, key=_remoteness, default=None)


def _remoteness(error: GridFTPError) -> int:
    if not error.is_echo:
        return 0
    return 1 if error.scope is Scope.SESSION else 2
