"""Which paths may be read and written: the rules of GCT's ``-rp`` and of ``SITE RESTRICT``.

A rule is ``R/path``, ``W/path``, ``RW/path`` or ``N/path`` (read, write, both, neither); rules are
joined by commas. The rule of the longest path that is the asked path or a directory above it
holds; a path that no rule names may not be touched. A directory above an allowed path may be
entered and listed, so that one can get there, and its listing shows only what leads there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Flag
from typing import Final
from urllib.parse import unquote

from towpath.dsi.storage import PathNotAllowedError

MAX_PATHS: Final = 10_000
"""Paths with a rule, and directories above them. Hundreds are many for people to keep."""
MAX_BYTES: Final = 2 * 1024 * 1024
"""Of all these paths together; each session may have rules of its own."""
MAX_PATH_BYTES: Final = 4096
"""Of a path that a rule names or is held against: the kernel opens no longer one. What is looked up
is each directory above it, so a path without end would take a time without end."""
_RULE = re.compile(r"\s*(RW|WR|R|W|N)\s*(/.*)", re.DOTALL | re.IGNORECASE)


class Access(Flag):
    """What may be done with a path."""

    NONE = 0
    ENTER = 1
    """Pass through, look at and list: on the way to an allowed path."""
    READ = 2
    WRITE = 4


_OF_LETTERS: Final = {
    "N": Access.NONE,
    "R": Access.ENTER | Access.READ,
    "W": Access.ENTER | Access.WRITE,
    "RW": Access.ENTER | Access.READ | Access.WRITE,
}
_ALL: Final = _OF_LETTERS["RW"]


@dataclass(frozen=True)
class Rules:
    """Rules in force."""

    table: dict[bytes, Access] | None = None
    """By path, with the directories above allowed ones; None: everything is allowed."""

    @classmethod
    def parse(cls, text: str) -> Rules:
        """Read ``R/a,RW/b,N/c``; ValueError says what is wrong.

        A path may hold commas, as long as what follows one does not look like a rule. ``%2C`` is
        one in any case: as in GCT, a path is spelled as in a URL.
        """
        found: list[tuple[str, str]] = []
        for part in re.split(r",(?=\s*(?:RW|WR|R|W|N)\s*/)", text, flags=re.IGNORECASE):
            match = _RULE.fullmatch(part)
            if match is None or part.endswith(","):
                raise ValueError(f"{part!r} is no rule: R, W, RW or N and an absolute path")
            letters = match[1].upper()
            path = unquote(match[2], errors="surrogateescape")
            found.append(("RW" if letters == "WR" else letters, path))
        return cls.of(found)

    @classmethod
    def of(cls, found: Iterable[tuple[str, str]]) -> Rules:
        """Letters (R, W, RW, N) and path of each; ValueError says what is wrong.

        For paths that others have chosen: no path can look like a rule here.
        """
        rules: dict[bytes, Access] = {}
        for letters, given in found:
            if letters not in _OF_LETTERS or not given.startswith("/"):
                raise ValueError(f"{letters!r} {given!r}: a rule is letters and an absolute path")
            rules[_cleaned(given)] = _OF_LETTERS[letters]
        if rules == {b"/": _ALL}:
            return FREE
        table = dict(rules)
        for path, access in rules.items():
            covering = Access.NONE
            for above in reversed(list(_above(path))) if access else ():
                covering = rules.get(above, covering)
                if not covering:
                    table[above] = Access.ENTER
            if len(table) > MAX_PATHS:  # before there are many more
                break
        return cls._bounded(table)

    @classmethod
    def _bounded(cls, table: dict[bytes, Access]) -> Rules:
        if len(table) > MAX_PATHS:
            raise ValueError(f"rules for {len(table)} paths; at most {MAX_PATHS}")
        if sum(map(len, table)) > MAX_BYTES:
            raise ValueError(f"rules for paths of more than {MAX_BYTES} bytes")
        return cls(table)

    @property
    def allow_all(self) -> bool:
        """Whether no path is forbidden."""
        return self.table is None

    def and_also(self, other: Rules) -> Rules:
        """Rules that allow what both allow. ValueError: they are too many."""
        if self.allow_all or other.allow_all:
            return other if self.allow_all else self
        assert self.table is not None, "it has a way of its own to do this"
        assert other.table is not None, "it goes first"
        paths = self.table.keys() | other.table.keys()
        return self._bounded({path: self.access(path) & other.access(path) for path in paths})

    def access(self, path: bytes) -> Access:
        """What may be done with a path: a clean, absolute one."""
        return _ALL if self.table is None else _looked_up(self.table, path)

    def demand(self, path: bytes, wanted: Access) -> None:
        """Raise PathNotAllowedError unless `wanted` may be done with the path."""
        if self.table is not None and wanted not in _looked_up(self.table, path):
            raise PathNotAllowedError(path, writing=Access.WRITE in wanted)

    def demand_below(self, path: bytes, wanted: Access) -> None:
        """As `demand`, for the path and all that is or could be below it."""
        self.demand(path, wanted)
        prefix = path.rstrip(b"/") + b"/"
        for ruled, access in (self.table or {}).items():
            if ruled.startswith(prefix) and wanted not in access:
                raise PathNotAllowedError(ruled, writing=Access.WRITE in wanted)

    def may_show(self, path: bytes) -> bool:
        """Whether the path, or anything that is or could be below it, may be read."""
        table = self.table
        if table is None or Access.READ in _looked_up(table, path):
            return True
        prefix = path.rstrip(b"/") + b"/"
        return any(
            Access.READ in access for ruled, access in table.items() if ruled.startswith(prefix)
        )


FREE: Final = Rules()
"""No rules: everything is allowed."""


def _looked_up(table: dict[bytes, Access], path: bytes) -> Access:
    if len(path) > MAX_PATH_BYTES:
        return Access.NONE
    found = table.get(path)
    if found is not None:
        return found
    for above in _above(path):
        found = table.get(above)
        if found is not None:
            # What is only on the way to an allowed path gives nothing to what is beside it.
            return Access.NONE if found is Access.ENTER else found
    return Access.NONE


def _above(path: bytes) -> Iterable[bytes]:
    """The directories above a path, the nearest first."""
    while path != b"/":
        path = path[: path.rfind(b"/")] or b"/"
        yield path


def _cleaned(path: str) -> bytes:
    if "\0" in path:
        raise ValueError("a path holds no NUL")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError(f"{path!r}: a rule names a path without ..")
    cleaned = b"/" + b"/".join(name.encode("utf-8", "surrogateescape") for name in names)
    if len(cleaned) > MAX_PATH_BYTES:
        raise ValueError(f"a path of {len(cleaned)} bytes; at most {MAX_PATH_BYTES}")
    return cleaned
