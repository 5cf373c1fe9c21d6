"""Command lines, without their line end. Every argument is checked here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.listings import format_time
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

LONGEST_PATH_BYTES = 4095
"""What a POSIX system takes. GCT cuts a longer path without a word, and then works on another."""

MAPPED_USER = ":globus-mapping:"
"""USER argument that asks for the account the server maps our identity to."""

GRANT_USER = ":grant:"
"""USER argument that says that the password is a token."""

_RESTRICTION_ENTRY = re.compile(r"(R|W|RW|N)/.*")
_PATTERN = re.compile(r"[*?[]")
_PATTERN_SIGN = re.compile(r"[*?[\]\\]")
_URL_SIGN = re.compile(r"[%,: ]")
"""Signs that mean something else in an entry of a restriction."""


_READS = frozenset(
    b"AUTH ADAT USER PASS FEAT PWD CWD NOOP QUIT TYPE MODE OPTS TREV DCAU DCSC PBSZ PROT PASV SPAS"
    b" SIZE MDTM MLST MLSC MLSD MLSR CKSM".split()
)
_SITE_READS = frozenset(b"HELP WHOAMI VERSION RESTRICT TASKID CLIENTINFO GRANT".split())


def only_reads(line: bytes) -> bool:
    """Whether a command can change nothing at the server but its own session. What is not known to
    be harmless is not.

    No file's contents either: a data command moves them to where somebody may write.
    """
    verb, _, rest = line.partition(b" ")
    if verb.upper() == b"SITE":
        return rest.partition(b" ")[0].upper() in _SITE_READS
    return verb.upper() in _READS


def check_line(line: str) -> str:
    """The line itself. Raises GridFTPError(INVALID_NAME) for one that would be several, or none."""
    if "\r" in line or "\n" in line or "\0" in line:
        raise GridFTPError(
            Kind.INVALID_NAME, "a name with a line break or NUL cannot be sent", "", line
        )
    return line


def _with_path(verb: str, path: str) -> str:
    if not path:
        raise GridFTPError(Kind.INVALID_NAME, "a path must not be empty", "", path)
    if path.startswith((" ", "\t")):
        # Blanks in front of an argument are skipped by servers.
        raise GridFTPError(
            Kind.INVALID_NAME, "a name that begins with a blank needs an absolute path", "", path
        )
    # a character has at most four bytes; those that are no text are one
    if len(path) > LONGEST_PATH_BYTES // 4 and len(path.encode(errors="replace")) > (
        LONGEST_PATH_BYTES
    ):
        raise GridFTPError(
            Kind.INVALID_NAME, f"a path of more than {LONGEST_PATH_BYTES} bytes", "", path
        )
    return check_line(f"{verb} {path}")


def encode_line(line: str, *, ascii_only: bool = False) -> bytes:
    """The line's bytes, without line end.

    Clear-text sessions take ASCII only: GCT drops other bytes without a word. Raises
    GridFTPError(INVALID_NAME).
    """
    try:
        if ascii_only:
            return check_line(line).encode("ascii")
        return check_line(line).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        reason = (
            "this server's session is clear text and carries ASCII names only"
            if ascii_only
            else "the name cannot be encoded"
        )
        raise GridFTPError(
            Kind.INVALID_NAME, reason, "", printable(line.partition(" ")[2], 4096)
        ) from error


def stor(path: str) -> str:
    """Receive a whole file, replacing what is there."""
    return _with_path("STOR", path)


def retr(path: str) -> str:
    """Send a whole file."""
    return _with_path("RETR", path)


def esto(path: str, offset: int) -> str:
    """Receive data that belongs at `offset` of a file; nothing else of it changes (GFD.20)."""
    return _with_path(f"ESTO A {_unsigned(offset)}", path)


def eret(path: str, byte_range: ByteRange) -> str:
    """Send one range of a file (GFD.20)."""
    return _with_path(f"ERET P {_unsigned(byte_range.first)} {_unsigned(byte_range.length)}", path)


def cksm(path: str, algorithm: str, byte_range: ByteRange | None = None) -> str:
    """The digest of a file or of one range of it."""
    return _with_path(_cksm(algorithm, byte_range), path)


@lru_cache(maxsize=8)  # one of a tree's files is asked for as the other
def _cksm(algorithm: str, byte_range: ByteRange | None) -> str:
    first, length = (0, -1) if byte_range is None else (byte_range.first, byte_range.length)
    return f"CKSM {_algorithm(algorithm)} {_unsigned(first)} {length}"


def storattr_modified(unix_s: int) -> str:
    """The time the next STOR gives its file."""
    return f"SITE STORATTR modify={format_time(unix_s)};"


def storattr_expected(modified: int, md5: str) -> str:
    """The same, and the digest that what the next STOR receives must have, else it fails."""
    return f"{storattr_modified(modified)}checksum.md5={_digest(md5)};"


def scks(algorithm: str, digest: str) -> str:
    """The digest that what the next STOR receives must have, else it fails (GCT: MD5 only)."""
    return f"SCKS {_algorithm(algorithm)} {_digest(digest)}"


def mfmt(path: str, unix_s: int) -> str:
    """Set a file's time."""
    return _with_path(f"MFMT {format_time(unix_s)}", path)


def utime(path: str, unix_s: int) -> str:
    """Set a file's time on servers without MFMT."""
    return _with_path(f"SITE UTIME {format_time(unix_s)}", path)


def mlst(path: str) -> str:
    """One entry's facts, on the control channel."""
    return _with_path("MLST", path)


def mlsc(path: str) -> str:
    """A directory's entries, on the control channel."""
    return _with_path("MLSC", path)


def mlsd(path: str) -> str:
    """A directory's entries, on a data channel."""
    return _with_path("MLSD", path)


def mlsr(path: str) -> str:
    """A tree's entries, on a data channel."""
    return _with_path("MLSR", path)


def mkd(path: str) -> str:
    """Make a directory."""
    return _with_path("MKD", path)


def rmd(path: str) -> str:
    """Delete an empty directory."""
    return _with_path("RMD", path)


def dele(path: str) -> str:
    """Delete a file."""
    return _with_path("DELE", path)


def rnfr(path: str) -> str:
    """First half of a rename."""
    return _with_path("RNFR", path)


def rnto(path: str) -> str:
    """Second half of a rename."""
    return _with_path("RNTO", path)


def size(path: str) -> str:
    """A file's bytes."""
    return _with_path("SIZE", path)


def mdtm(path: str) -> str:
    """A file's time."""
    return _with_path("MDTM", path)


def cwd(path: str) -> str:
    """Where relative paths start. Not a directory whose name only begins with two dots."""
    if any(part.startswith("..") and part != ".." for part in path.split("/")):
        # GCT takes the dots for the way up, here and nowhere else: /a/b/..c would be /ac.
        raise GridFTPError(
            Kind.INVALID_NAME, "a name that begins with two dots cannot be changed to", "", path
        )
    return _with_path("CWD", path)


def rdel(path: str) -> str:
    """Delete a tree; symbolic links in it are deleted, not followed."""
    return _with_path("SITE RDEL", path)


def chmod(path: str, mode: int) -> str:
    """Set permission bits."""
    if not 0 <= mode <= 0o7777:
        raise ValueError(f"not a mode: {mode:#o}")
    return _with_path(f"SITE CHMOD {mode:04o}", path)


def chgrp(path: str, group: str) -> str:
    """Set the group, by name or number."""
    return _with_path(f"SITE CHGRP {_word(group)}", path)


def symlink_from(target: str) -> str:
    """First half of making a symbolic link: where it points."""
    return _with_path("SITE SYMLINKFROM", target)


def symlink_to(path: str) -> str:
    """Second half of making a symbolic link: its own path."""
    return _with_path("SITE SYMLINKTO", path)


def truncate(path: str, size_bytes: int) -> str:
    """Cut a file."""
    return _with_path(f"SITE TRNC {_unsigned(size_bytes)}", path)


def restrict(entries: str) -> str:
    """Narrow the session to some paths for good: `RW/a,R/b`; R reads, W writes, N nothing.

    The longest entry that fits decides; what fits none cannot be used. `restriction` makes entries
    of any paths. Raises GridFTPError(INVALID_NAME).
    """
    if not all(_RESTRICTION_ENTRY.fullmatch(entry) for entry in check_line(entries).split(",")):
        # GCT takes an entry without a path, answers 250, and restricts nothing.
        raise GridFTPError(
            Kind.INVALID_NAME, "a restriction needs R, W or N and a full path", "", entries
        )
    return f"SITE RESTRICT {entries}"


def restriction(places: Iterable[tuple[str, bool]]) -> str:
    """Entries for `restrict`, from absolute paths and whether they may be written to.

    GCT reads an entry as a part of a URL, and one with `*`, `?` or `[` as a pattern, which is for
    no path below it.
    """
    entries: list[str] = []
    for path, write in places:
        letters = "RW" if write else "R"
        if _PATTERN.search(path):
            exact = _PATTERN_SIGN.sub(r"\\\g<0>", path)
            told = [exact, f"{exact}/*"]
        else:
            told = [path]
        entries += [letters + _URL_SIGN.sub(lambda sign: f"%{ord(sign[0]):02X}", t) for t in told]
    return ",".join(entries)


def task_id(text: str) -> str:
    """A mark for the server's transfer log."""
    return f"SITE TASKID {_word(text)}"


def client_info(application: str, version: str) -> str:
    """Who we are, for the server's logs and statistics."""
    if '"' in application + version:
        raise ValueError("a quote in the client's name or version")
    return check_line(f'SITE CLIENTINFO scheme=gsiftp;appname="{application}";appver="{version}";')


def port(address: HostPort) -> str:
    """The address the data sender connects to."""
    return f"PORT {address}"


def rest(present: RangeSet) -> str:
    """What is there already, for the next data command (MODE E)."""
    return f"REST {present}"


def parallelism(streams: int) -> str:
    """How many connections the data sender opens."""
    return f"OPTS RETR Parallelism={streams},{streams},{streams};"


def digest_sent(algorithm: str) -> str:
    """Compute this digest of what is sent from now on, for CKSM; empty: none (our own servers)."""
    return f"OPTS RETR Digest={algorithm and _algorithm(algorithm)};"


def digest_received(algorithm: str) -> str:
    """The same of what is received."""
    return f"OPTS STOR Digest={algorithm and _algorithm(algorithm)};"


def _word(text: str) -> str:
    """One argument among several."""
    if not text or not text.isprintable() or " " in text:
        raise ValueError(f"not one word: {text!r}")
    return text


def _algorithm(name: str) -> str:
    if not name.replace("-", "").isalnum():
        raise ValueError(f"not an algorithm: {name!r}")
    return name


def _digest(text: str) -> str:
    if not text.isalnum():
        raise ValueError(f"not a digest: {text!r}")
    return text


def _unsigned(number: int) -> int:
    if number < 0:
        raise ValueError(f"negative: {number}")
    return number
