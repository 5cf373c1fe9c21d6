"""Command lines as a server reads them: bytes to typed requests. The pair of `commands`.

One class for each command, one entry in `_PARSERS`. What is no command, or has not the arguments
that it must have, raises `RequestError` with the reply that GCT's server gives (RFC 959, 2228,
2389, 2428, 3659; GFD.20, GFD.47; GCT 13.24).

Paths are bytes, as they were sent: nothing quotes or escapes them. Blanks in front of an argument
are skipped, those inside and behind belong to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from towpath.gridftp.wire.addresses import HostPort, parse_six_numbers
from towpath.gridftp.wire.listings import parse_time
from towpath.gridftp.wire.markers import parse_ranges
from towpath.gridftp.wire.numbers import LARGEST, parse_unsigned
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

MOST_STREAMS: Final = 1024
"""Of `OPTS RETR Parallelism`: more than this is a mistake. The server's own limit is lower."""

MOST_STRIPES: Final = 256
"""Addresses in one SPOR: as GCT."""

LONGEST_INTERVAL_S: Final = 86_400.0
"""Of markers. A longer one is none."""

SHORTEST_INTERVAL_S: Final = 0.01
"""Of markers, but for 0, which is none. Each is a reply of its own, encrypted where all are: nobody
follows more than a hundred a second, and without a bound one session would keep a core busy."""


class RequestError(Exception):
    """A command that cannot be done, and what to answer."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


def _syntax() -> RequestError:
    return RequestError(501, "Syntax error in parameters or arguments.")


def _invalid() -> RequestError:
    return RequestError(501, "Invalid command arguments.")


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


# -- parsing

_Parser = Callable[[bytes], Request]

_LONGEST_VERB: Final = 32


def parse_request(line: bytes) -> Request:
    """What a line (without its end) asks for. Raises `RequestError`, and nothing else."""
    verb, _, argument = line.partition(b" ")
    parser = _PARSERS.get(verb) or _PARSERS.get(verb[:_LONGEST_VERB].upper())
    if parser is None:
        raise RequestError(500, "Command not supported.")
    if b"\0" in argument:
        raise _syntax()  # no path, word or number holds one
    return parser(argument.lstrip(b" "))


def _plain(request: Request) -> _Parser:
    return lambda _argument: request


def _path(request: type[OnPath]) -> _Parser:
    def parse(argument: bytes) -> Request:
        if not argument:
            raise _syntax()
        return request(argument)

    return parse


def _path_or_none(request: type[OnPath]) -> _Parser:
    return request


def _list(argument: bytes) -> Request:
    # Clients for people send options of ls(1), as in `LIST -la /tmp`.
    while argument.startswith(b"-"):
        argument = argument.partition(b" ")[2].lstrip(b" ")
    return List(argument)


def _word(argument: bytes) -> str:
    """One printable ASCII word; there may be blanks behind."""
    word = argument.strip(b" ")
    if not word or b" " in word:
        raise _syntax()
    return _text(word)


def _text(argument: bytes) -> str:
    try:
        text = argument.decode("ascii")
    except UnicodeDecodeError:
        raise _syntax() from None
    if not text.isprintable():
        raise _syntax()
    return text


def _heads(argument: bytes, count: int) -> tuple[list[bytes], bytes]:
    """`count` words, and the path behind them."""
    words: list[bytes] = []
    for _ in range(count):
        word, _, argument = argument.partition(b" ")
        argument = argument.lstrip(b" ")
        words.append(word)
    if not argument:
        raise _syntax()
    return words, argument


def _number(text: bytes, otherwise: RequestError) -> int:
    try:
        return parse_unsigned(text.decode("ascii", "replace"))
    except ValueError:
        raise otherwise from None


def _printable(text: bytes) -> str:
    """For an answer: on one line, and not long."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text[:40])


def _type(argument: bytes) -> Request:
    word = _text(argument.strip(b" ")).upper()
    if not word:
        raise _syntax()
    if word in ("A", "A N"):
        return Type("A")
    if word in ("I", "L 8"):
        return Type("I")
    raise RequestError(501, f"'{_printable(argument)}' unrecognized type.")


def _mode(argument: bytes) -> Request:
    word = _word(argument).upper()
    if word not in ("S", "E"):
        raise RequestError(501, f"'{_printable(argument)}' unrecognized transfer mode.")
    return Mode(word)


def _stru(argument: bytes) -> Request:
    if _word(argument).upper() != "F":
        raise RequestError(501, "Syntax error in parameter.")
    return Stru("F")


def _prot(argument: bytes) -> Request:
    word = _word(argument).upper()
    if word not in ("C", "S", "P"):
        raise RequestError(536, f"{_printable(argument)} protection level not supported.")
    return Prot(word)


def _pbsz(argument: bytes) -> Request:
    bad = RequestError(501, f"Bad value for PBSZ: {_printable(argument)}")
    size = _number(argument.strip(b" "), bad)
    if size > 0xFFFFFFFF:  # RFC 2228
        raise bad
    return Pbsz(size)


def _dcau(argument: bytes) -> Request:
    letter, _, subject = argument.partition(b" ")
    match letter.upper():
        case b"N" | b"A":
            return Dcau(letter.decode().upper())
        case b"S":
            if not subject.strip():
                raise RequestError(501, "DCAU S expected subject.")
            try:
                return Dcau("S", subject.strip(b" ").decode("utf-8"))
            except UnicodeDecodeError:
                raise _syntax() from None
        case b"":
            raise _syntax()
        case _:
            raise RequestError(501, "Bad DCAU mode.")


def _dcsc(argument: bytes) -> Request:
    kind, _, blob = argument.partition(b" ")
    blob = blob.strip(b" ")
    match kind.upper():
        case b"D":
            return Dcsc("D")
        case b"P" if blob:
            return Dcsc("P", blob)
        case b"":
            raise _syntax()
        case _:
            raise _invalid()


def _sbuf(argument: bytes) -> Request:
    return Sbuf(_number(argument.strip(b" "), RequestError(502, "Invalid Parameter.")))


def _site_sbuf(argument: bytes) -> Request:
    return Sbuf(_number(argument.strip(b" "), _syntax()), site=True)


_SECONDS = re.compile(r"(\d{1,6}(\.\d{0,6})?|\.\d{1,6})", re.ASCII)


def _interval(text: str) -> float:
    if not _SECONDS.fullmatch(text):
        raise _syntax()
    seconds = float(text)
    return seconds and min(max(seconds, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)


def _trev(argument: bytes) -> Request:
    words = _text(argument).split()
    if len(words) < 2:
        raise _syntax()
    event = words[0].upper()
    if event not in ("PERF", "RESTART"):
        raise RequestError(502, "Unsupported event.")
    return Trev(event, _interval(words[1]))


def _opts(argument: bytes) -> Request:
    about, _, options = _text(argument).partition(" ")
    parser = _OPTIONS.get(about.upper())
    if not about:
        raise _syntax()
    if parser is None:
        raise _opts_failed()
    return parser(options.strip())


def _opts_failed() -> RequestError:
    return RequestError(500, "OPTS failed.")


def _pairs(options: str) -> list[tuple[str, str]]:
    """`Key=value;Key=value;`, keys in lower case."""
    pairs: list[tuple[str, str]] = []
    for option in filter(None, (part.strip() for part in options.split(";"))):
        key, equals, value = option.partition("=")
        if not equals:
            raise _opts_failed()
        pairs.append((key.strip().lower(), value.strip()))
    if not pairs:
        raise _opts_failed()
    return pairs


def _opts_retr(options: str) -> Request:
    streams: int | None = None
    block_bytes: int | None = None
    markers_s: float | None = None
    digest: str | None = None
    try:
        for key, value in _pairs(options):
            match key:
                case "parallelism":  # start, least, most: only the first counts, as in GCT
                    streams = parse_unsigned(value.partition(",")[0].strip())
                    if not 1 <= streams <= MOST_STREAMS:
                        raise _opts_failed()
                case "stripelayout":  # one stripe: both layouts are the same
                    if value.lower() not in ("blocked", "partitioned"):
                        raise _opts_failed()
                case "blocksize":
                    block_bytes = parse_unsigned(value)
                case "markers":
                    markers_s = _interval(value)
                case "digest":
                    digest = _digest_option(value)
                case _:
                    raise _opts_failed()
    except (ValueError, RequestError):
        raise _opts_failed() from None
    return OptsRetr(streams, block_bytes, markers_s, digest)


def _opts_stor(options: str) -> Request:
    (key, value), *more = _pairs(options)
    if key != "digest" or more:
        raise _opts_failed()
    return OptsStor(_digest_option(value))


def _digest_option(value: str) -> str:
    return _algorithm(value.encode()) if value else ""


def _opts_mlst(options: str) -> Request:
    facts = (part.strip().lower() for part in options.split(";"))
    return OptsMlst(tuple(fact for fact in facts if fact))


def _opts_pasv(options: str) -> Request:
    (key, value), *more = _pairs(options)
    if key != "allowdelayed" or value not in ("0", "1") or more:
        raise _opts_failed()
    return OptsPasv(value == "1")


def _opts_utf8(options: str) -> Request:
    if options.upper() not in ("", "ON"):
        raise _opts_failed()
    return OptsUtf8()


_OPTIONS: Final[dict[str, Callable[[str], Request]]] = {
    "RETR": _opts_retr,
    "STOR": _opts_stor,
    "MLST": _opts_mlst,
    "PASV": _opts_pasv,
    "UTF8": _opts_utf8,
    "UTF-8": _opts_utf8,
}


def _lang(argument: bytes) -> Request:
    if not argument:
        return Lang("EN")
    if _word(argument).upper() not in ("EN", "EN-US"):
        raise RequestError(501, f"'{_printable(argument)}' unrecognized language.")
    return Lang("EN")


def _help(argument: bytes) -> Request:
    return Help(_text(argument.strip(b" ")).upper())


def _allo(argument: bytes) -> Request:
    words = argument.split()  # `ALLO n R m`: the size of records, which files here have not
    if not words:
        raise _syntax()
    return Allo(_number(words[0], _syntax()))


def _rest(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    text = _text(argument.strip(b" "))
    try:
        if "-" in text:
            return Rest(parse_ranges(text))
        return Rest(RangeSet([ByteRange(0, parse_unsigned(text))]))
    except ValueError:
        raise RequestError(501, "bad parameter.") from None


# `*+` gives nothing back: two parts that both take spaces would try all ways to share them.
_ERET = re.compile(
    rb'(?is)P\s*+(?:=\s*+)?"\s*+(\d+)\s+(\d+)\s*"\s+(.+)'  # the form of GFD.20
    rb"|P +(\d+) +(\d+) +(.+)"
)
_ESTO = re.compile(rb'(?is)A\s*+(?:=\s*+)?"\s*+(\d+)\s*"\s+(.+)|A +(\d+) +(.+)')


def _eret(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    match = _ERET.fullmatch(argument)
    if match is None:
        raise _bad_partial(argument)
    offset, length, path = (group for group in match.groups() if group is not None)
    bad = RequestError(501, "bad parameter.")
    return Eret(_number(offset, bad), min(_number(length, bad), LARGEST), path)


def _esto(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    match = _ESTO.fullmatch(argument)
    if match is None:
        raise _bad_partial(argument)
    offset, path = (group for group in match.groups() if group is not None)
    return Esto(_number(offset, RequestError(501, "bad parameter.")), path)


def _bad_partial(argument: bytes) -> RequestError:
    if len(argument.split()) < 2:
        return _syntax()
    return RequestError(501, "bad parameter.")


def _algorithm(word: bytes) -> str:
    name = _text(word).upper()
    if not name.replace("-", "").replace("_", "").isalnum():
        raise RequestError(500, "Unknown checksum algorithm requested.")
    return name


def _cksm(argument: bytes) -> Request:
    (algorithm, first, count), path = _heads(argument, 3)
    offset = _number(first, RequestError(500, "Invalid offset."))
    length = None if count == b"-1" else _number(count, RequestError(500, "Invalid length."))
    return Cksm(_algorithm(algorithm), offset, length, path)


_DIGEST = re.compile(r"[0-9a-f]{1,128}")


def _digest(text: str) -> str:
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise _invalid()
    return digest


def _scks(argument: bytes) -> Request:
    (algorithm,), digest = _heads(argument, 1)
    return Scks(_algorithm(algorithm), _digest(_text(digest)))


def _storattr(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    modified: int | None = None
    checksums: list[tuple[str, str]] = []
    for fact in _text(argument).split(";"):
        key, _, value = fact.strip().partition("=")
        key = key.lower()
        if key == "modify":
            modified = _time(value)
        elif key.startswith("checksum."):
            checksums.append((_algorithm(key[9:].encode()), _digest(value)))
    return SiteStorattr(modified, tuple(checksums))


def _time(text: str) -> int:
    try:
        if not re.fullmatch(r"\d{14}(\.\d*)?", text, re.ASCII):
            raise ValueError(text)
        if not (text[8:10] < "24" and text[10:12] < "60" and text[12:14] < "61"):
            raise ValueError(text)
        return parse_time(text)
    except (ValueError, OverflowError):
        raise _invalid() from None


def _set_time(argument: bytes) -> Request:
    (time,), path = _heads(argument, 1)
    return SetTime(_time(_text(time)), path)


def _chmod(argument: bytes) -> Request:
    (mode,), path = _heads(argument, 1)
    if not re.fullmatch(rb"[0-7]{1,5}", mode) or int(mode, 8) > 0o7777:
        raise _invalid()
    return SiteChmod(int(mode, 8), path)


def _chgrp(argument: bytes) -> Request:
    (group,), path = _heads(argument, 1)
    return SiteChgrp(_text(group), path)


def _trnc(argument: bytes) -> Request:
    (size,), path = _heads(argument, 1)
    return SiteTrnc(_number(size, RequestError(500, "Invalid length.")), path)


def _restrict(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    return SiteRestrict(argument.decode("utf-8", "surrogateescape"))


def _site_noted(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    return SiteNoted()


def _dsi(argument: bytes) -> Request:
    return SiteDsi(_word(argument))


def _epsv(argument: bytes) -> Request:
    match argument.strip(b" ").upper():
        case b"":
            return Epsv(0)
        case b"1":
            return Epsv(4)
        case b"2":
            return Epsv(6)
        case b"ALL":
            return EpsvAll()
        case _:
            raise RequestError(501, "Invalid protocol.")


def _illegal_port() -> RequestError:
    return RequestError(501, "Illegal PORT command.")


def _ports(argument: bytes) -> Request:
    words = argument.split()
    if not words:
        raise _syntax()
    if len(words) > MOST_STRIPES:
        raise _illegal_port()
    addresses: list[HostPort] = []
    for word in words:
        address = parse_six_numbers(word.decode("ascii", "replace"))
        if address is None or len(word) > 23:
            raise _illegal_port()
        addresses.append(address)
    return Port(tuple(addresses))


def _eprt(argument: bytes) -> Request:
    text = _text(argument.strip(b" "))
    if not text:
        raise _syntax()
    parts = text.split(text[0])
    if len(parts) != 5 or parts[0] or parts[4]:
        raise _illegal_port()
    if parts[1] not in ("1", "2"):
        raise RequestError(522, "Network protocol not supported, use (1,2).")
    try:
        host = (
            ipaddress.IPv4Address(parts[2]) if parts[1] == "1" else ipaddress.IPv6Address(parts[2])
        )
        port = parse_unsigned(parts[3])
    except ValueError:
        raise _illegal_port() from None
    if not 0 < port < 65536:
        raise _illegal_port()
    return Port((HostPort(str(host), port),))


def _site(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    verb, _, rest = argument.partition(b" ")
    parser = _SITE_PARSERS.get(verb[:_LONGEST_VERB].upper())
    if parser is None:
        raise RequestError(500, "Invalid command.")
    return parser(rest.lstrip(b" "))


_SITE_PARSERS: Final[dict[bytes, _Parser]] = {
    b"HELP": _help,
    b"WHOAMI": _plain(SiteWhoami()),
    b"VERSION": _plain(SiteVersion()),
    b"TASKID": _site_noted,
    b"CLIENTINFO": _site_noted,
    b"RESTRICT": _restrict,
    b"DSI": _dsi,
    b"STORATTR": _storattr,
    b"CHMOD": _chmod,
    b"CHGRP": _chgrp,
    b"UTIME": _set_time,
    b"RDEL": _path(SiteRdel),
    b"SYMLINKFROM": _path(SiteSymlinkFrom),
    b"SYMLINKTO": _path(SiteSymlinkTo),
    b"TRNC": _trnc,
    b"SBUF": _site_sbuf,
    b"BUFSIZE": _site_sbuf,
    b"SBUFSZ": _site_sbuf,
    b"SBUFSIZ": _site_sbuf,
    b"STORBUFSIZE": _site_sbuf,
    b"RBUFSZ": _site_sbuf,
    b"RBUFSIZ": _site_sbuf,
    b"RETRBUFSIZE": _site_sbuf,
}

_PARSERS: Final[dict[bytes, _Parser]] = {
    b"NOOP": _plain(Noop()),
    b"QUIT": _plain(Quit()),
    b"ABOR": _plain(Abor()),
    b"SYST": _plain(Syst()),
    b"FEAT": _plain(Feat()),
    b"PWD": _plain(Pwd()),
    b"XPWD": _plain(Pwd()),
    b"CDUP": _plain(Cdup()),
    b"XCUP": _plain(Cdup()),
    b"PASV": _plain(Pasv()),
    b"SPAS": _plain(Spas()),
    b"WHOAMI": _plain(SiteWhoami()),
    b"USER": _plain(Login()),
    b"PASS": _plain(Login()),
    b"AUTH": _plain(Login()),
    b"ADAT": _plain(Login()),
    b"RETR": _path(Retr),
    b"STOR": _path(Stor),
    b"APPE": _path(Appe),
    b"SIZE": _path(Size),
    b"MDTM": _path(Mdtm),
    b"MKD": _path(Mkd),
    b"XMKD": _path(Mkd),
    b"RMD": _path(Rmd),
    b"XRMD": _path(Rmd),
    b"DELE": _path(Dele),
    b"RNFR": _path(Rnfr),
    b"RNTO": _path(Rnto),
    b"CWD": _path(Cwd),
    b"XCWD": _path(Cwd),
    b"MLST": _path_or_none(Mlst),
    b"MLSC": _path_or_none(Mlsc),
    b"MLSD": _path_or_none(Mlsd),
    b"MLSR": _path_or_none(Mlsr),
    b"NLST": _path_or_none(Nlst),
    b"LIST": _list,
    b"STAT": _path_or_none(Stat),
    b"ERET": _eret,
    b"ESTO": _esto,
    b"REST": _rest,
    b"ALLO": _allo,
    b"CKSM": _cksm,
    b"SCKS": _scks,
    b"MFMT": _set_time,
    b"TYPE": _type,
    b"STRU": _stru,
    b"MODE": _mode,
    b"PBSZ": _pbsz,
    b"PROT": _prot,
    b"DCAU": _dcau,
    b"DCSC": _dcsc,
    b"SBUF": _sbuf,
    b"TREV": _trev,
    b"OPTS": _opts,
    b"LANG": _lang,
    b"HELP": _help,
    b"EPSV": _epsv,
    b"PORT": _ports,
    b"SPOR": _ports,
    b"EPRT": _eprt,
    b"SITE": _site,
}

VERBS: Final = tuple(verb.decode() for verb in _PARSERS if verb[:1] != b"X")
"""All commands but the old names of some (RFC 775)."""

SITE_VERBS: Final = tuple(verb.decode() for verb in _SITE_PARSERS)
