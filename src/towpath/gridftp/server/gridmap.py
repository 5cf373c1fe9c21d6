"""The gridmap file: which local accounts a certificate's name may use (GCT, gridmap(5)).

A line is a name, in quotes where it has spaces, and a comma list of accounts, the first of which
is the usual one: `"/O=Lab/CN=Ana Lu" ana,data`. A backslash escapes the next character; `\\xHH` is
a byte. Lines that begin with `#` say nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from towpath.gridftp.security.names import canonical

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Some 200,000 lines; more is not a gridmap."""

_LINE = re.compile(rb"""\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s]\S*))\s+(\S+)\s*""")
_ESCAPE = re.compile(rb"\\x([0-9A-Fa-f]{2})|\\(.)|([^\x20-\x7e])", re.DOTALL)


class GridmapContent(NamedTuple):
    """What a file says."""

    accounts: Mapping[str, tuple[str, ...]]
    """By name."""
    bad_lines: tuple[int, ...]
    """Numbers of the lines that make no sense: they map nobody."""


def parse_gridmap(content: bytes) -> GridmapContent:
    """Read a gridmap file. A name that comes twice has the accounts of all its lines."""
    accounts: dict[str, tuple[str, ...]] = {}
    bad: list[int] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        match = _LINE.fullmatch(line)
        names = [] if match is None else match[3].decode("ascii", "replace").split(",")
        if match is None or not all(name.isascii() and name for name in names):
            bad.append(number)
            continue
        quoted, bare = match[1], match[2]
        subject = canonical(_unescaped(bare if quoted is None else quoted))
        accounts[subject] = tuple(dict.fromkeys((*accounts.get(subject, ()), *names)))
    return GridmapContent(accounts, tuple(bad))


def _unescaped(text: bytes) -> str:
    """In the spelling of `names.one_line`: odd bytes as `\\xNN`, `/` and `+` of a value escaped."""

    def plain(match: re.Match[bytes]) -> bytes:
        hexadecimal, escaped, odd = match.groups()
        if escaped is not None and escaped in b"/+":
            return match[0]
        byte = bytes.fromhex(hexadecimal.decode()) if hexadecimal else escaped or odd
        if b"\x20" <= byte <= b"\x7e":
            return b"\\" + byte if hexadecimal and byte in b"/+" else byte
        return b"\\x%02X" % byte[0]

    return _ESCAPE.sub(plain, text).decode("ascii")


class Gridmap:
    """A gridmap file, read again when it has changed. Safe to use from several threads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Nothing is read until it is asked."""
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._content = GridmapContent({}, ())

    def accounts(self, subject: str) -> tuple[str, ...]:
        """The accounts that this name (one line) may use, the usual one first.

        Raises `OSError` when the file cannot be read, `ValueError` when it is too large: nobody is
        let in by what it said before.
        """
        return self._current().accounts.get(canonical(subject), ())

    def bad_lines(self) -> tuple[int, ...]:
        """Numbers of the lines that make no sense. Raises as `accounts` does."""
        return self._current().bad_lines

    def names_account(self, account: str) -> bool:
        """Whether anyone may use this account. Raises as `accounts` does."""
        return any(account in names for names in self._current().accounts.values())

    def _current(self) -> GridmapContent:
        with self._lock:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._seen:
                with self._path.open("rb") as file:
                    content = file.read(MAX_FILE_BYTES + 1)
                if len(content) > MAX_FILE_BYTES:
                    raise ValueError(f"{self._path} is too large to be a gridmap file")
                self._content = parse_gridmap(content)
                self._seen = state
            return self._content
