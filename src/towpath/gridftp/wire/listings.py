"""Machine listings: one line, one entry (RFC 3659 section 7, with the facts of GCT)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.wire.numbers import parse_unsigned


class EntryType(StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "dir"
    LISTED_DIRECTORY = "cdir"
    PARENT_DIRECTORY = "pdir"
    OTHER = "other"
    """A pipe, socket or device: never transferred."""


class Entry(NamedTuple):
    """One file or directory as a server tells it.

    For a symbolic link, type and size are those of its target, and `link_target` says where it
    points.
    """

    name: str
    """Base name, relative path (MLSR) or path (MLST); bytes that are not UTF-8 as surrogates."""
    type: EntryType
    size: int = 0
    """Bytes."""
    modified: int | None = None
    """Unix seconds, UTC."""
    mode: int | None = None
    """UNIX permission bits."""
    owner: str | None = None
    group: str | None = None
    perm: str = ""
    """RFC 3659 letters: what the logged-in user may do."""
    link_target: str | None = None
    unique: str | None = None
    """Device and inode: equal for two names of one file."""

    @property
    def is_directory(self) -> bool:
        """Whether it can be listed."""
        return self.type in _DIRECTORIES


_DIRECTORIES = frozenset(
    {EntryType.DIRECTORY, EntryType.LISTED_DIRECTORY, EntryType.PARENT_DIRECTORY}
)
_MODE = re.compile("[0-7]{1,7}")
_TYPES = {kind.value: kind for kind in EntryType if kind is not EntryType.OTHER}


def parse_fact_line(line: bytes, *, where: str = "", relative_paths: bool = False) -> Entry:
    """One line of MLSD or MLSC (or MLSR, with `relative_paths`), without its line end.

    A name that would lead out of the listed directory raises PROTOCOL: a hostile server must not be
    able to choose where its files go. A line without facts (the second half of a name with a line
    break) raises INVALID_NAME.
    """
    entry = _parse(line, where)
    if entry.type is EntryType.LISTED_DIRECTORY or entry.type is EntryType.PARENT_DIRECTORY:
        return entry
    name = entry.name
    if relative_paths:
        parts = name.split("/")
        if "" in parts or ".." in parts or "." in parts:
            raise _hostile(name, where)
    elif "/" in name or name in ("", ".", ".."):
        raise _hostile(name, where)
    if "\0" in name:
        raise _hostile(name, where)
    return entry


def parse_status_line(line: bytes, *, where: str = "") -> Entry:
    """The one line of an MLST reply, without its leading space; the name is a path."""
    return _parse(line, where)


def _hostile(name: str, where: str) -> GridFTPError:
    return GridFTPError(
        Kind.PROTOCOL, f"the server listed a name that is no name: {printable(name, 200)!r}", where
    )


def _parse(line: bytes, where: str) -> Entry:
    text = line.decode("utf-8", "surrogateescape")
    facts, separator, name = text.partition("; ")
    if not separator:
        raise GridFTPError(Kind.INVALID_NAME, "the listing holds a name with a line break", where)
    if name.endswith("\r"):
        raise GridFTPError(
            Kind.INVALID_NAME, "the listing holds a name that ends in a carriage return", where
        )
    values: dict[str, str] = {}
    for fact in facts.split(";"):
        key, equals, value = fact.partition("=")
        if not equals:
            raise GridFTPError(
                Kind.INVALID_NAME, "the listing holds a name with a line break", where
            )
        values[key.lower()] = value
    try:
        size = values.get("size")
        modify = values.get("modify")
        mode = values.get("unix.mode")
        return Entry(
            name,
            _TYPES.get(values.get("type", "").lower(), EntryType.OTHER),
            parse_unsigned(size) if size else 0,
            parse_time(modify) if modify else None,
            _parse_mode(mode) if mode else None,
            values.get("unix.owner"),
            values.get("unix.group"),
            values.get("perm", ""),
            _link_target(values.get("unix.slink")),
            values.get("unique"),
        )
    except ValueError as error:
        raise GridFTPError(
            Kind.PROTOCOL, f"the server listed facts that are none: {printable(facts, 200)}", where
        ) from error


def _link_target(text: str | None) -> str | None:
    """GCT escapes what would end the fact, as in a URL."""
    return unquote(text, errors="surrogateescape") if text and "%" in text else text


@lru_cache(maxsize=256)
def _parse_mode(text: str) -> int:
    if not _MODE.fullmatch(text):
        raise ValueError(f"not a mode: {text!r}")
    return int(text, 8)


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    return int(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp())


def parse_time(text: str) -> int:
    """`YYYYMMDDHHMMSS[.fraction]` in UTC to Unix seconds. Raises ValueError."""
    if len(text) < 14 or not text[:14].isascii() or not text[:14].isdigit():
        raise ValueError(f"not a time: {text!r}")
    return _day(text[:8]) + int(text[8:10]) * 3600 + int(text[10:12]) * 60 + int(text[12:14])


def format_time(unix_s: int) -> str:
    """Unix seconds to `YYYYMMDDHHMMSS` in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%d%H%M%S").rjust(14, "0")
