"""Command lines, without their line end. Every argument is checked here and nowhere else."""

from __future__ import annotations

from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.listings import format_time
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

MAPPED_USER = ":globus-mapping:"
"""USER argument that asks for the account the server maps our identity to."""


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
    if not algorithm.replace("-", "").isalnum():
        raise ValueError(f"not an algorithm: {algorithm!r}")
    first, length = (0, -1) if byte_range is None else (byte_range.first, byte_range.length)
    return _with_path(f"CKSM {algorithm} {_unsigned(first)} {length}", path)


def storattr_modified(unix_s: int) -> str:
    """The time the next STOR gives its file."""
    return f"SITE STORATTR modify={format_time(unix_s)};"


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


def port(address: HostPort) -> str:
    """The address the data sender connects to."""
    return f"PORT {address}"


def rest(present: RangeSet) -> str:
    """What is there already, for the next data command (MODE E)."""
    return f"REST {present}"


def parallelism(streams: int) -> str:
    """How many connections the data sender opens."""
    return f"OPTS RETR Parallelism={streams},{streams},{streams};"


def _unsigned(number: int) -> int:
    if number < 0:
        raise ValueError(f"negative: {number}")
    return number
