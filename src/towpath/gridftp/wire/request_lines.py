"""Command lines as a server reads them: bytes to typed requests. The pair of `commands`.

One entry in `_PARSERS` for each command. What is no command, or has not the arguments that it must
have, raises `RequestError` with the reply that GCT's server gives (GCT 13.24).

Paths are bytes, as they were sent: nothing quotes or escapes them. Blanks in front of an argument
are skipped, those inside and behind belong to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

from towpath.gridftp.wire import requests
from towpath.gridftp.wire.addresses import HostPort, parse_six_numbers
from towpath.gridftp.wire.listings import parse_time
from towpath.gridftp.wire.markers import parse_ranges
from towpath.gridftp.wire.numbers import LARGEST, parse_unsigned
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.requests import OnPath, Request, RequestError

MOST_STREAMS: Final = 1024
"""Of `OPTS RETR Parallelism`: more than this is a mistake. The server's own limit is lower."""

MOST_STRIPES: Final = 256
"""Addresses in one SPOR: as GCT."""

LONGEST_INTERVAL_S: Final = 86_400.0
"""Of markers. A longer one is none."""

SHORTEST_INTERVAL_S: Final = 0.01
"""Of markers, but for 0, which is none. Each is a reply of its own, encrypted where all are: nobody
follows more than a hundred a second, and without a bound one session would keep a core busy."""


def _syntax() -> RequestError:
    return RequestError(501, "Syntax error in parameters or arguments.")


def _invalid() -> RequestError:
    return RequestError(501, "Invalid command arguments.")


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
    return requests.List(argument)


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
        return requests.Type("A")
    if word in ("I", "L 8"):
        return requests.Type("I")
    raise RequestError(501, f"'{_printable(argument)}' unrecognized type.")


def _mode(argument: bytes) -> Request:
    word = _word(argument).upper()
    if word not in ("S", "E"):
        raise RequestError(501, f"'{_printable(argument)}' unrecognized transfer mode.")
    return requests.Mode(word)


def _stru(argument: bytes) -> Request:
    if _word(argument).upper() != "F":
        raise RequestError(501, "Syntax error in parameter.")
    return requests.Stru("F")


def _prot(argument: bytes) -> Request:
    word = _word(argument).upper()
    if word not in ("C", "S", "P"):
        raise RequestError(536, f"{_printable(argument)} protection level not supported.")
    return requests.Prot(word)


def _pbsz(argument: bytes) -> Request:
    bad = RequestError(501, f"Bad value for PBSZ: {_printable(argument)}")
    size = _number(argument.strip(b" "), bad)
    if size > 0xFFFFFFFF:  # RFC 2228
        raise bad
    return requests.Pbsz(size)


def _dcau(argument: bytes) -> Request:
    letter, _, subject = argument.partition(b" ")
    match letter.upper():
        case b"N" | b"A":
            return requests.Dcau(letter.decode().upper())
        case b"S":
            if not subject.strip():
                raise RequestError(501, "DCAU S expected subject.")
            try:
                return requests.Dcau("S", subject.strip(b" ").decode("utf-8"))
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
            return requests.Dcsc("D")
        case b"P" if blob:
            return requests.Dcsc("P", blob)
        case b"":
            raise _syntax()
        case _:
            raise _invalid()


def _sbuf(argument: bytes) -> Request:
    return requests.Sbuf(_number(argument.strip(b" "), RequestError(502, "Invalid Parameter.")))


def _site_sbuf(argument: bytes) -> Request:
    return requests.Sbuf(_number(argument.strip(b" "), _syntax()), site=True)


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
    return requests.Trev(event, _interval(words[1]))


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
    return requests.OptsRetr(streams, block_bytes, markers_s, digest)


def _opts_stor(options: str) -> Request:
    (key, value), *more = _pairs(options)
    if key != "digest" or more:
        raise _opts_failed()
    return requests.OptsStor(_digest_option(value))


def _digest_option(value: str) -> str:
    return _algorithm(value.encode()) if value else ""


def _opts_mlst(options: str) -> Request:
    facts = (part.strip().lower() for part in options.split(";"))
    return requests.OptsMlst(tuple(fact for fact in facts if fact))


def _opts_pasv(options: str) -> Request:
    (key, value), *more = _pairs(options)
    if key != "allowdelayed" or value not in ("0", "1") or more:
        raise _opts_failed()
    return requests.OptsPasv(value == "1")


def _opts_utf8(options: str) -> Request:
    if options.upper() not in ("", "ON"):
        raise _opts_failed()
    return requests.OptsUtf8()


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
        return requests.Lang("EN")
    if _word(argument).upper() not in ("EN", "EN-US"):
        raise RequestError(501, f"'{_printable(argument)}' unrecognized language.")
    return requests.Lang("EN")


def _help(argument: bytes) -> Request:
    return requests.Help(_text(argument.strip(b" ")).upper())


def _allo(argument: bytes) -> Request:
    words = argument.split()  # `ALLO n R m`: the size of records, which files here have not
    if not words:
        raise _syntax()
    return requests.Allo(_number(words[0], _syntax()))


def _rest(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    text = _text(argument.strip(b" "))
    try:
        if "-" in text:
            return requests.Rest(parse_ranges(text))
        return requests.Rest(RangeSet([ByteRange(0, parse_unsigned(text))]))
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
    return requests.Eret(_number(offset, bad), min(_number(length, bad), LARGEST), path)


def _esto(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    match = _ESTO.fullmatch(argument)
    if match is None:
        raise _bad_partial(argument)
    offset, path = (group for group in match.groups() if group is not None)
    return requests.Esto(_number(offset, RequestError(501, "bad parameter.")), path)


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
    return requests.Cksm(_algorithm(algorithm), offset, length, path)


_DIGEST = re.compile(r"[0-9a-f]{1,128}")


def _digest(text: str) -> str:
    digest = text.strip().lower()
    if not _DIGEST.fullmatch(digest):
        raise _invalid()
    return digest


def _scks(argument: bytes) -> Request:
    (algorithm,), digest = _heads(argument, 1)
    return requests.Scks(_algorithm(algorithm), _digest(_text(digest)))


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
    return requests.SiteStorattr(modified, tuple(checksums))


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
    return requests.SetTime(_time(_text(time)), path)


def _chmod(argument: bytes) -> Request:
    (mode,), path = _heads(argument, 1)
    if not re.fullmatch(rb"[0-7]{1,5}", mode) or int(mode, 8) > 0o7777:
        raise _invalid()
    return requests.SiteChmod(int(mode, 8), path)


def _chgrp(argument: bytes) -> Request:
    (group,), path = _heads(argument, 1)
    return requests.SiteChgrp(_text(group), path)


def _trnc(argument: bytes) -> Request:
    (size,), path = _heads(argument, 1)
    return requests.SiteTrnc(_number(size, RequestError(500, "Invalid length.")), path)


def _restrict(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    return requests.SiteRestrict(argument.decode("utf-8", "surrogateescape"))


def _site_noted(argument: bytes) -> Request:
    if not argument:
        raise _syntax()
    return requests.SiteNoted()


def _dsi(argument: bytes) -> Request:
    return requests.SiteDsi(_word(argument))


def _epsv(argument: bytes) -> Request:
    match argument.strip(b" ").upper():
        case b"":
            return requests.Epsv(0)
        case b"1":
            return requests.Epsv(4)
        case b"2":
            return requests.Epsv(6)
        case b"ALL":
            return requests.EpsvAll()
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
    return requests.Port(tuple(addresses))


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
    return requests.Port((HostPort(str(host), port),))


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
    b"WHOAMI": _plain(requests.SiteWhoami()),
    b"VERSION": _plain(requests.SiteVersion()),
    b"TASKID": _site_noted,
    b"CLIENTINFO": _site_noted,
    b"RESTRICT": _restrict,
    b"GRANT": _plain(requests.SiteGrant()),
    b"DSI": _dsi,
    b"STORATTR": _storattr,
    b"CHMOD": _chmod,
    b"CHGRP": _chgrp,
    b"UTIME": _set_time,
    b"RDEL": _path(requests.SiteRdel),
    b"SYMLINKFROM": _path(requests.SiteSymlinkFrom),
    b"SYMLINKTO": _path(requests.SiteSymlinkTo),
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
    b"NOOP": _plain(requests.Noop()),
    b"QUIT": _plain(requests.Quit()),
    b"ABOR": _plain(requests.Abor()),
    b"SYST": _plain(requests.Syst()),
    b"FEAT": _plain(requests.Feat()),
    b"PWD": _plain(requests.Pwd()),
    b"XPWD": _plain(requests.Pwd()),
    b"CDUP": _plain(requests.Cdup()),
    b"XCUP": _plain(requests.Cdup()),
    b"PASV": _plain(requests.Pasv()),
    b"SPAS": _plain(requests.Spas()),
    b"WHOAMI": _plain(requests.SiteWhoami()),
    b"USER": _plain(requests.Login()),
    b"PASS": _plain(requests.Login()),
    b"AUTH": _plain(requests.Login()),
    b"ADAT": _plain(requests.Login()),
    b"RETR": _path(requests.Retr),
    b"STOR": _path(requests.Stor),
    b"APPE": _path(requests.Appe),
    b"SIZE": _path(requests.Size),
    b"MDTM": _path(requests.Mdtm),
    b"MKD": _path(requests.Mkd),
    b"XMKD": _path(requests.Mkd),
    b"RMD": _path(requests.Rmd),
    b"XRMD": _path(requests.Rmd),
    b"DELE": _path(requests.Dele),
    b"RNFR": _path(requests.Rnfr),
    b"RNTO": _path(requests.Rnto),
    b"CWD": _path(requests.Cwd),
    b"XCWD": _path(requests.Cwd),
    b"MLST": _path_or_none(requests.Mlst),
    b"MLSC": _path_or_none(requests.Mlsc),
    b"MLSD": _path_or_none(requests.Mlsd),
    b"MLSR": _path_or_none(requests.Mlsr),
    b"NLST": _path_or_none(requests.Nlst),
    b"LIST": _list,
    b"STAT": _path_or_none(requests.Stat),
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
