"""Replies as a server writes them: whole ones, with their line ends. The pair of `replies`,
`listings`, `features` and `addresses`, and of `refusals`: what is refused here is understood
there. Markers are written where they are read, in `markers`.

The texts are those of GCT's server wherever a client may look at them (RFC 959, 2228, 2389, 3659;
GFD.20; GCT 13.24). No text of others gets into a reply with a line break in it: a file's name must
not be able to answer the next command.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote_from_bytes

from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.features import CHECKSUMS
from towpath.gridftp.wire.listings import EntryType, format_time

# -- any reply


def reply(code: int, text: str | bytes) -> bytes:
    """A reply of one line."""
    return b"%d %b\r\n" % (code, one_line(text))


def block(code: int, first: str | bytes, *more: str | bytes, last: str = "End.") -> bytes:
    """A reply of several lines, each with its code, as GCT writes errors."""
    head = b"%d-" % code
    parts = [head + one_line(text) + b"\r\n" for text in (first, *more)]
    return b"".join(parts) + reply(code, last)


def listing(code: int, first: str | bytes, lines: Iterable[bytes], last: str = "End.") -> bytes:
    """A reply of several lines, the inner ones after one space, as GCT writes what was asked for.

    `lines` are without line ends, and hold none.
    """
    inner = b"".join([b" %b\r\n" % line for line in lines])
    return b"%d-%b\r\n%b%d %b\r\n" % (code, one_line(first), inner, code, last.encode())


def one_line(text: str | bytes) -> bytes:
    """Without line breaks, however it came by them."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if b"\r" in raw or b"\n" in raw:
        return raw.replace(b"\r", b"?").replace(b"\n", b"?")
    return raw


# -- what a storage refuses


class _Meaning(NamedTuple):
    code: int
    name: str
    """After `c=`: what programs read."""


_UNKNOWN: Final = _Meaning(451, "INTERNAL_ERROR")
_ERRNOS: Final[dict[int, _Meaning]] = {
    errno.ENOENT: _Meaning(550, "PATH_NOT_FOUND"),
    errno.ENOTDIR: _Meaning(550, "NOT_A_DIRECTORY"),
    errno.EISDIR: _Meaning(550, "IS_A_DIRECTORY"),
    errno.EACCES: _Meaning(550, "PERMISSION_DENIED"),
    # GCT calls the next two INTERNAL_ERROR; what a program should make of them is this.
    errno.EPERM: _Meaning(550, "PERMISSION_DENIED"),
    errno.EROFS: _Meaning(550, "PERMISSION_DENIED"),
    errno.EEXIST: _Meaning(553, "PATH_EXISTS"),
    errno.ENOSPC: _Meaning(552, "NO_SPACE_LEFT"),
    errno.EDQUOT: _Meaning(552, "QUOTA_EXCEEDED"),
    errno.EFBIG: _Meaning(552, "INTERNAL_ERROR"),
    errno.ENAMETOOLONG: _Meaning(553, "INTERNAL_ERROR"),
    errno.ELOOP: _Meaning(550, "PATH_NOT_FOUND"),
    # what will never work: a device as a file, a group that is none, a move between file systems
    errno.EINVAL: _Meaning(550, "INTERNAL_ERROR"),
    errno.ENXIO: _Meaning(550, "INTERNAL_ERROR"),
    errno.EXDEV: _Meaning(550, "INTERNAL_ERROR"),
    errno.ESPIPE: _Meaning(550, "INTERNAL_ERROR"),
    errno.ETXTBSY: _Meaning(450, "INTERNAL_ERROR"),
    errno.ENOTSUP: _Meaning(504, "INTERNAL_ERROR"),
    errno.ECONNRESET: _Meaning(426, "INTERNAL_ERROR"),
    errno.ECONNABORTED: _Meaning(426, "INTERNAL_ERROR"),
}
"""What each error of a storage is answered with; any other is `_UNKNOWN`."""


def storage_refusal(error: OSError, doing: str) -> bytes:
    """What a storage's error is answered with; `doing` is a word, such as `mkdir`."""
    number = error.errno or errno.EIO
    meaning = _ERRNOS.get(number, _UNKNOWN)
    return block(
        meaning.code,
        f"GlobusError: v=1 c={meaning.name}",
        f"GridFTP-Errno: {number}",
        f"GridFTP-Reason: System error in {doing}",
        f"GridFTP-Error-String: {os.strerror(number)}",
    )


def path_not_allowed() -> bytes:
    """A rule of the server, and not the file system, forbids a path."""
    return reply(550, "Command failed : Path not allowed.")


def wrong_checksum(computed: str, expected: str) -> bytes:
    """What was received is not what was announced."""
    return block(
        550,
        "GlobusError: v=1 c=INCORRECT_CHECKSUM",
        f"GridFTP-Computed-Checksum: {computed}",
        f"GridFTP-Expected-Checksum: {expected}",
    )


# -- what goes wrong with data connections

_DATA_CODES: Final[dict[Kind, int]] = {
    Kind.DATA_REFUSED: 425,
    Kind.DATA_BROKEN: 426,
    Kind.STALLED: 426,
    Kind.TIMEOUT: 426,
    Kind.PROTOCOL: 426,
    Kind.CONNECTION_LOST: 426,
    Kind.ADDRESS_REFUSED: 504,
}


def data_failure(error: GridFTPError) -> bytes:
    """What an error of the data channel is answered with; 500 where nothing says it better."""
    if error.kind is Kind.CHANNEL_GONE:
        return reply(500, "Command failed")
    code = _DATA_CODES.get(error.kind, 500)
    said = f"Command failed. : {printable(error.message)}"
    if error.kind is Kind.DATA_AUTH:
        return block(code, said, "globus_xio: an authentication operation failed")
    return block(code, said)


def aborted() -> bytes:
    """The answer of a command that ABOR stopped."""
    return reply(426, "Command Aborted.")


# -- data addresses


def passive(address: HostPort, *, delayed: bool = False) -> bytes:
    """PASV's answer; `delayed`: told when the transfer begins."""
    return reply(127 if delayed else 227, f"Entering Passive Mode ({address})")


def striped_passive(addresses: Sequence[HostPort]) -> bytes:
    """SPAS's answer."""
    return listing(
        229,
        "Entering Striped Passive Mode.",
        [str(address).encode() for address in addresses],
        last="End",
    )


def extended_passive(port: int) -> bytes:
    """EPSV's answer."""
    return reply(229, f"Entering Extended Passive Mode (|||{port}|)")


# -- features

_FEATURES_BEFORE_FACTS: Final = (
    "STORATTR",
    "DCSC P,D",
    "MFMT",
    "WHOAMI",
    "MLSR",
    "MLSC",
    "UTF8",
    "LANG EN",
    "DCAU",
    "PARALLEL",
    "SIZE",
)
_FEATURES_AFTER_FACTS: Final = (
    "ERET",
    "ESTO",
    "SPAS",
    "SPOR",
    "EPSV",
    "EPRT",
    "TVFS",
    "REST STREAM",
    "MDTM",
    "PASV AllowDelayed;",
    "DIGEST RETR;STOR;",
)


def features(checksums: Sequence[str], wanted: FactLines) -> bytes:
    """FEAT's answer. `checksums`: the algorithms, the most preferred first."""
    preferences = "".join(f"{name}:{10 + rank};" for rank, name in enumerate(checksums))
    lines = (
        f"CKSM {preferences}",
        *_FEATURES_BEFORE_FACTS,
        f"MLST {wanted.offer()}",
        *_FEATURES_AFTER_FACTS,
    )
    return listing(211, "Extensions supported", [line.encode() for line in lines])


PREFERRED_CHECKSUMS: Final = CHECKSUMS

# -- listings


class Described(Protocol):
    """What there is to tell of an entry; `dsi.Status` has it."""

    @property
    def type(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def modified(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def owner(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def unique(self) -> str: ...
    @property
    def links(self) -> int: ...
    @property
    def link_target(self) -> bytes | None: ...
    @property
    def perm(self) -> str: ...


def is_listable(name: bytes) -> bool:
    """Whether a listing can hold a name: its lines end at line breaks."""
    return b"\n" not in name and b"\r" not in name


@lru_cache(maxsize=256)
def _word(text: str) -> str:
    """An account's name as a fact's value: nothing that would end it."""
    return "".join("_" if character in ";\r\n" else character for character in text)


@lru_cache(maxsize=4096)
def _modify(unix_s: int) -> str:
    try:
        return format_time(unix_s)
    except (OverflowError, ValueError, OSError):  # a year that has five digits
        return "99991231235959" if unix_s > 0 else "00010101000000"


def _type(entry: Described) -> str:
    return entry.type if entry.type != EntryType.OTHER else "OS.unix=other"


_FACTS: Final[dict[str, tuple[str, Callable[[Any], object]]]] = {
    "type": ("Type=%s;", _type),
    "modify": ("Modify=%s;", lambda entry: _modify(entry.modified)),
    "charset": ("Charset=UTF-8;%.0s", lambda _entry: ""),
    "size": ("Size=%d;", lambda entry: entry.size),
    "perm": ("Perm=%s;", lambda entry: entry.perm),
    "unix.mode": ("UNIX.mode=%04o;", lambda entry: entry.mode),
    "unix.owner": ("UNIX.owner=%s;", lambda entry: _word(entry.owner)),
    "unix.uid": ("UNIX.uid=%d;", lambda entry: entry.uid),
    "unix.group": ("UNIX.group=%s;", lambda entry: _word(entry.group)),
    "unix.gid": ("UNIX.gid=%d;", lambda entry: entry.gid),
    "unique": ("Unique=%s;", lambda entry: entry.unique),
}
"""Facts in the order of GCT, each with how it looks and where it comes from."""

_LINK: Final = "unix.slink"
"""A fact of links only."""

_OFFER: Final = (
    "Type",
    "Size",
    "Modify",
    "Perm",
    "Charset",
    "UNIX.mode",
    "UNIX.owner",
    "UNIX.uid",
    "UNIX.group",
    "UNIX.gid",
    "Unique",
    "UNIX.slink",
)

DEFAULT_FACTS: Final = frozenset(name.lower() for name in _OFFER) - {"charset"}


class FactLines:
    """Writes the lines of MLST, MLSC, MLSD and MLSR with the facts that were asked for."""

    __slots__ = ("_format", "_getters", "_link", "facts")

    def __init__(self, facts: Iterable[str] = DEFAULT_FACTS) -> None:
        """`facts`: names in lower case; unknown ones are passed over (RFC 3659, 7.9).

        GCT's `X.count` is one of these: how many names a directory has is known when it is listed.
        """
        self.facts: Final = frozenset(facts) & {*_FACTS, _LINK}
        chosen = [_FACTS[name] for name in _FACTS if name in self.facts]
        self._format = "".join(form for form, _ in chosen)
        self._getters = tuple(getter for _, getter in chosen)
        self._link = _LINK in self.facts

    def offer(self) -> str:
        """For FEAT: all facts there are, the chosen ones with a star."""
        return "".join(f"{name}{'*' if name.lower() in self.facts else ''};" for name in _OFFER)

    def line(self, name: bytes, entry: Described) -> bytes:
        """One entry's line, without its end. The name must be listable."""
        facts = self._format % tuple([getter(entry) for getter in self._getters])
        if self._link and entry.link_target is not None:
            facts += f"UNIX.slink={quote_from_bytes(entry.link_target, safe=_SAFE)};"
        return b"%b %b" % (facts.encode("utf-8", "surrogateescape"), name)

    def head(self, kind: EntryType, name: bytes, entry: Described) -> bytes:
        """The line of the listed directory (`cdir`) or its parent (`pdir`)."""
        facts = self._format % tuple(
            [kind.value if getter is _type else getter(entry) for getter in self._getters]
        )
        return b"%b %b" % (facts.encode("utf-8", "surrogateescape"), name)


_SAFE: Final = "".join(chr(code) for code in range(33, 127) if chr(code) not in "%;")
"""What of a link's target is not escaped: all that GCT leaves."""

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_KINDS: Final = {EntryType.DIRECTORY: "d", EntryType.FILE: "-"}


def list_line(name: bytes, entry: Described) -> bytes:
    """One line of LIST and STAT, in the form of `ls -l` and GCT, times in UTC; without its end."""
    kind = next((sign for type_, sign in _KINDS.items() if entry.type == type_), "?")
    bits = "".join(
        letter if entry.mode & (0o400 >> place) else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    when = time.gmtime(min(max(entry.modified, 0), 253402300799))
    text = (
        f"{kind}{bits} {entry.links:3d} {_word(entry.owner):>8} {_word(entry.group):>8}"
        f" {entry.size:12d} {_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d}"
        f" {when.tm_hour:02d}:{when.tm_min:02d} "
    )
    return text.encode("utf-8", "surrogateescape") + name
