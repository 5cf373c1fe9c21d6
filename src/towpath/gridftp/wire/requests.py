"""What a client asks of a server: one class for each command. `request_lines` reads them.

Sources: RFC 959, 2228, 2389, 2428, 3659; GFD.20, GFD.47; GCT 13.24.
"""

from __future__ import annotations

from dataclasses import dataclass

from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.ranges import RangeSet


class RequestError(Exception):
    """A command that cannot be done, and what to answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Request:
    """One command."""


# -- without arguments


class Noop(Request):
    """NOOP."""

    __slots__ = ()


class Quit(Request):
    """QUIT."""

    __slots__ = ()


class Abor(Request):
    """ABOR: stop what was asked for before."""

    __slots__ = ()


class Syst(Request):
    """SYST."""

    __slots__ = ()


class Feat(Request):
    """FEAT."""

    __slots__ = ()


class Pwd(Request):
    """PWD, XPWD."""

    __slots__ = ()


class Cdup(Request):
    """CDUP, XCUP."""

    __slots__ = ()


class Pasv(Request):
    """PASV: listen, one address."""

    __slots__ = ()


class Spas(Request):
    """SPAS: listen, an address for each stripe."""

    __slots__ = ()


class Login(Request):
    """USER, PASS, AUTH, ADAT: all of them are over when a session begins."""

    __slots__ = ()


class SiteWhoami(Request):
    """SITE WHOAMI, WHOAMI."""

    __slots__ = ()


class SiteVersion(Request):
    """SITE VERSION."""

    __slots__ = ()


class SiteNoted(Request):
    """SITE TASKID, SITE CLIENTINFO: for the log."""

    __slots__ = ()


# -- with one path


@dataclass(frozen=True, slots=True)
class OnPath(Request):
    """A command whose only argument is a path."""

    path: bytes
    """Empty where the command may be without: the working directory."""


class Retr(OnPath):
    """RETR: send a file."""

    __slots__ = ()


class Stor(OnPath):
    """STOR: receive a file, replacing what is there."""

    __slots__ = ()


class Appe(OnPath):
    """APPE: receive, behind what is there."""

    __slots__ = ()


class Size(OnPath):
    """SIZE."""

    __slots__ = ()


class Mdtm(OnPath):
    """MDTM: the time of the last change."""

    __slots__ = ()


class Mkd(OnPath):
    """MKD, XMKD."""

    __slots__ = ()


class Rmd(OnPath):
    """RMD, XRMD."""

    __slots__ = ()


class Dele(OnPath):
    """DELE."""

    __slots__ = ()


class Rnfr(OnPath):
    """RNFR: what the next RNTO renames."""

    __slots__ = ()


class Rnto(OnPath):
    """RNTO."""

    __slots__ = ()


class Cwd(OnPath):
    """CWD, XCWD."""

    __slots__ = ()


class Mlst(OnPath):
    """MLST: one entry, on the control channel."""

    __slots__ = ()


class Mlsc(OnPath):
    """MLSC: a directory, on the control channel."""

    __slots__ = ()


class Mlsd(OnPath):
    """MLSD: a directory, on a data channel."""

    __slots__ = ()


class Mlsr(OnPath):
    """MLSR: a tree, on a data channel."""

    __slots__ = ()


class Nlst(OnPath):
    """NLST: names only."""

    __slots__ = ()


class List(OnPath):
    """LIST: for people."""

    __slots__ = ()


class Stat(OnPath):
    """STAT: as LIST, on the control channel."""

    __slots__ = ()


class SiteRdel(OnPath):
    """SITE RDEL: delete a tree."""

    __slots__ = ()


class SiteSymlinkFrom(OnPath):
    """SITE SYMLINKFROM: what the next SITE SYMLINKTO points at."""

    __slots__ = ()


class SiteSymlinkTo(OnPath):
    """SITE SYMLINKTO."""

    __slots__ = ()


# -- with more


@dataclass(frozen=True, slots=True)
class Eret(Request):
    """ERET P: send `length` bytes from `offset` on."""

    offset: int
    length: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Esto(Request):
    """ESTO A: receive, `offset` added to where the data says it belongs; nothing is truncated."""

    offset: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Rest(Request):
    """REST: what is there already, for the next data command."""

    present: RangeSet
    """`REST n` of stream mode is `0-n`."""


@dataclass(frozen=True, slots=True)
class Allo(Request):
    """ALLO: how many bytes will come."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Cksm(Request):
    """CKSM: the digest of a range; `length` None: to the end."""

    algorithm: str
    """Upper case."""
    offset: int
    length: int | None
    path: bytes


@dataclass(frozen=True, slots=True)
class Scks(Request):
    """SCKS: the digest that what the next STOR receives must have."""

    algorithm: str
    digest: str
    """Lower case."""


@dataclass(frozen=True, slots=True)
class SiteStorattr(Request):
    """SITE STORATTR: facts for the next STOR; unknown ones are passed over."""

    modified: int | None
    """Unix seconds."""
    checksums: tuple[tuple[str, str], ...] = ()
    """(algorithm in upper case, digest in lower case)."""


@dataclass(frozen=True, slots=True)
class SetTime(Request):
    """MFMT, SITE UTIME."""

    modified: int
    """Unix seconds."""
    path: bytes


@dataclass(frozen=True, slots=True)
class SiteChmod(Request):
    """SITE CHMOD."""

    mode: int
    path: bytes


@dataclass(frozen=True, slots=True)
class SiteChgrp(Request):
    """SITE CHGRP: by name or number."""

    group: str
    path: bytes


@dataclass(frozen=True, slots=True)
class SiteTrnc(Request):
    """SITE TRNC: cut a file."""

    size_bytes: int
    path: bytes


@dataclass(frozen=True, slots=True)
class SiteRestrict(Request):
    """SITE RESTRICT: narrow the session to some paths, for good."""

    rules: str


@dataclass(frozen=True, slots=True)
class SiteGrant(Request):
    """SITE GRANT: a new permission for the session. What is shown is the acceptor's to look at."""


@dataclass(frozen=True, slots=True)
class SiteDsi(Request):
    """SITE DSI: another storage."""

    name: str


@dataclass(frozen=True, slots=True)
class Help(Request):
    """HELP, SITE HELP; `verb` is empty for all commands."""

    verb: str


@dataclass(frozen=True, slots=True)
class Lang(Request):
    """LANG."""

    tag: str


@dataclass(frozen=True, slots=True)
class Type(Request):
    """TYPE: `A` or `I`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Stru(Request):
    """STRU: `F`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Mode(Request):
    """MODE: `S` or `E`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Pbsz(Request):
    """PBSZ: a protection buffer's size; nothing depends on it."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Prot(Request):
    """PROT: `C`, `S` or `P`."""

    letter: str


@dataclass(frozen=True, slots=True)
class Dcau(Request):
    """DCAU: `N`, `A`, or `S` with a subject."""

    letter: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Dcsc(Request):
    """DCSC: `P` with a credential in base64, or `D` for that of the login."""

    kind: str
    blob: bytes = b""

    def __repr__(self) -> str:
        return f"Dcsc({self.kind!r}, ...)"  # it holds a private key


@dataclass(frozen=True, slots=True)
class Sbuf(Request):
    """SBUF and its many SITE forms: the size of TCP's buffers."""

    size_bytes: int
    site: bool = False
    """The SITE forms are answered in other words."""


@dataclass(frozen=True, slots=True)
class Trev(Request):
    """TREV: how often markers are sent; 0: never."""

    event: str
    """`PERF` or `RESTART`."""
    interval_s: float


@dataclass(frozen=True, slots=True)
class OptsRetr(Request):
    """OPTS RETR; None: not told."""

    streams: int | None = None
    block_bytes: int | None = None
    markers_s: float | None = None
    digest: str | None = None
    """Algorithm, upper case, of a checksum of what is sent; empty: of none."""


@dataclass(frozen=True, slots=True)
class OptsStor(Request):
    """OPTS STOR: how files are received."""

    digest: str
    """As of `OptsRetr`, of what is received."""


@dataclass(frozen=True, slots=True)
class OptsMlst(Request):
    """OPTS MLST: the facts that are wanted."""

    facts: tuple[str, ...]
    """Lower case, as sent."""


@dataclass(frozen=True, slots=True)
class OptsPasv(Request):
    """OPTS PASV AllowDelayed: the address may come with the transfer."""

    delayed: bool


@dataclass(frozen=True, slots=True)
class OptsUtf8(Request):
    """OPTS UTF8 ON: names are bytes here, so nothing changes."""


@dataclass(frozen=True, slots=True)
class Epsv(Request):
    """EPSV; the family is 4, 6, or 0 for that of the control connection."""

    family: int


@dataclass(frozen=True, slots=True)
class EpsvAll(Request):
    """EPSV ALL: a promise to use nothing else (RFC 2428)."""


@dataclass(frozen=True, slots=True)
class Port(Request):
    """PORT, SPOR, EPRT: where to connect."""

    addresses: tuple[HostPort, ...]
