"""Machine listings: one line, one entry (RFC 3659 section 7, with the facts of GCT)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import repeat
from operator import add
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
    perm: str | None = None
    """RFC 3659 letters: what the logged-in user may do. None: the server does not say."""
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
    return _parse_named(line.decode("utf-8", "surrogateescape"), where, relative_paths)


def _parse_named(text: str, where: str, relative_paths: bool) -> Entry:  # noqa: FBT001
    entry = _parse(text, where)
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
    return _parse(line.decode("utf-8", "surrogateescape"), where)


def parse_fact_lines(block: bytes, *, where: str = "", prefix: str = "") -> list[Entry]:
    """The entries of a directory from whole lines of its listing, with their line ends.

    As `parse_fact_line` line by line, and raising what it raises, but four times faster; without
    the lines for the directory itself and its parent. `prefix` is put before each name.
    """
    if block and not block.endswith(b"\n"):
        raise ValueError("the last line is not whole")
    text = block.decode("utf-8", "surrogateescape")
    last_line = text[text.rfind("\n", 0, -1) + 1 :]
    facts = last_line.partition("; ")[0].split(";")
    shape = _shape_of(tuple([fact.partition("=")[0] for fact in facts]))
    if shape is None:
        return _parse_slowly(text.split("\n")[:-1], where, prefix)
    rows = shape.pattern.findall(text)
    # The directory itself and its parent come first, and have facts of their own.
    first = next((number for number, row in enumerate(rows) if not row[-1]), len(rows))
    heads = [row[-1][:-1] for row in rows[:first]]
    entries = _parse_slowly([line for line in heads if not _is_head(line)], where, prefix)
    rows = rows[first:]
    usual = [row for row in rows if not row[-1]]
    try:
        usual_entries = shape.entries(usual, prefix)
    except ValueError:  # the 30th of February
        return _parse_slowly(text.split("\n")[:-1], where, prefix)
    if len(usual) == len(rows):
        return entries + usual_entries
    quickly = iter(usual_entries)
    for row in rows:
        if row[-1]:
            entries += _parse_slowly([row[-1][:-1]], where, prefix)
        else:
            entries.append(next(quickly))
    return entries


def _is_head(line: str) -> bool:
    """Whether a line is plainly that of the listed directory or its parent, and well-formed."""
    match = _HEAD.fullmatch(line)
    try:
        return match is not None and _hour(match[1]) is not None
    except ValueError:
        return False


def _parse_slowly(lines: Iterable[str], where: str, prefix: str) -> list[Entry]:
    entries: list[Entry] = []
    for line in lines:
        entry = _parse_named(line.removesuffix("\r"), where, relative_paths=False)
        if entry.type is EntryType.LISTED_DIRECTORY or entry.type is EntryType.PARENT_DIRECTORY:
            continue
        entries.append(entry._replace(name=prefix + entry.name) if prefix else entry)
    return entries


_HEAD = re.compile(
    r"Type=[cp]dir;Modify=([0-9]{10})[0-9]{4};Size=[0-9]{1,18};(?:X\.count=[0-9]*;)? \.\.?\r?"
)

_MAX_FACTS = 32
"""GCT knows 13; the pattern for a line without end would take long to make."""


class _Shape:
    """Lines with the same facts in the same order: nearly all lines of a listing are alike.

    Takes only what it understands exactly as `_parse` does; the last group of its pattern is any
    other line.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        groups = 0
        facts: list[str] = []
        self._at: dict[str, int] = {}
        for key in keys:
            value, width = _VALUES.get(key.lower(), ("[^;\r\n]*", 0))
            if width:
                self._at[key.lower()] = groups
                groups += width
            facts.append(f"{re.escape(key)}={value};")
        self._name_at = groups
        name = r"(?!\.\.?\r?\n)([^\r\n\0/]+)"
        self.pattern = re.compile(f"{''.join(facts)} {name}\r?\n|([^\n]*\n)")

    def entries(self, rows: list[tuple[str, ...]], prefix: str) -> list[Entry]:
        """The entries of matched lines, column by column: no step in Python for each line."""
        if not rows:
            return []
        columns = list(zip(*rows, strict=True))
        at = self._at

        def texts(key: str, otherwise: str | None) -> Iterable[str | None]:
            return columns[at[key]] if key in at else repeat(otherwise)

        names = columns[self._name_at]
        if prefix:
            names = tuple([prefix + name for name in names])
        types: Iterable[EntryType] = repeat(EntryType.OTHER)
        if "type" in at:
            types = map(_TYPES.__getitem__, columns[at["type"]])
        sizes: Iterable[int] = repeat(0)
        if "size" in at:
            sizes = map(int, columns[at["size"]])
        modified: Iterable[int | None] = repeat(None)
        if "modify" in at:
            hours, rests = columns[at["modify"] : at["modify"] + 2]
            modified = map(add, map(_hour, hours), map(_within_hour, rests))
        modes: Iterable[int | None] = repeat(None)
        if "unix.mode" in at:
            modes = map(int, columns[at["unix.mode"]], repeat(8))
        fields = zip(
            names,
            types,
            sizes,
            modified,
            modes,
            texts("unix.owner", None),
            texts("unix.group", None),
            texts("perm", None),
            map(_link_target, texts("unix.slink", None)),
            texts("unique", None),
            strict=False,  # what all lines lack is repeated for as long as there are names
        )
        return list(map(tuple.__new__, repeat(Entry), fields))


_TEXT = (r"([^;\r\n]*)", 1)
_VALUES: dict[str, tuple[str, int]] = {
    "type": ("(file|dir)", 1),
    "size": ("([0-9]{1,18})", 1),
    "modify": ("([0-9]{10})([0-9]{4})", 2),
    "unix.mode": ("([0-7]{1,7})", 1),
    "unix.owner": _TEXT,
    "unix.group": _TEXT,
    "perm": _TEXT,
    "unix.slink": _TEXT,
    "unique": _TEXT,
}
"""How a fact that an entry keeps usually looks, and in how many groups it is matched."""


@lru_cache(maxsize=64)
def _shape_of(keys: tuple[str, ...]) -> _Shape | None:
    """The shape with these facts; None when lines with them are better read one by one."""
    if len(keys) > _MAX_FACTS or len({key.lower() for key in keys}) < len(keys) or "" in keys:
        return None
    return _Shape(keys)


def _hostile(name: str, where: str) -> GridFTPError:
    return GridFTPError(
        Kind.PROTOCOL, f"the server listed a name that is no name: {printable(name, 200)!r}", where
    )


def _parse(text: str, where: str) -> Entry:
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
            values.get("perm"),
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


@lru_cache(maxsize=16384)  # two years of hours
def _hour(text: str) -> int:
    return _day(text[:8]) + int(text[8:]) * 3600


@lru_cache(maxsize=4096)  # all 3,600
def _within_hour(text: str) -> int:
    return int(text[:2]) * 60 + int(text[2:])


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    # not strptime: it imports a module, which the account of a server's session may not read
    day = datetime(int(text[:4]), int(text[4:6]), int(text[6:8]), tzinfo=UTC)
    return int(day.timestamp())


def parse_time(text: str) -> int:
    """`YYYYMMDDHHMMSS[.fraction]` in UTC to Unix seconds. Raises ValueError."""
    if len(text) < 14 or not text[:14].isascii() or not text[:14].isdigit():
        raise ValueError(f"not a time: {text!r}")
    return _day(text[:8]) + int(text[8:10]) * 3600 + int(text[10:12]) * 60 + int(text[12:14])


def format_time(unix_s: int) -> str:
    """Unix seconds to `YYYYMMDDHHMMSS` in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%d%H%M%S").rjust(14, "0")
