"""What an account may do with a file, from its permission bits.

As GCT tells it: access control lists, and that root may do all, are left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from towpath.dsi.storage import EntryType

MAX_CACHED: Final = 4096
"""Combinations of type, bits, owner and group whose letters are remembered: a tree has a few."""


@dataclass(frozen=True)
class Account:
    """Who asks."""

    uid: int
    groups: frozenset[int]
    _known: dict[tuple[EntryType, int, int, int], str] = field(default_factory=dict, repr=False)

    @classmethod
    def of_process(cls) -> Account:
        """The account that this process runs as."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))

    def perm(self, kind: EntryType, mode: int, uid: int, gid: int) -> str:
        """The letters of RFC 3659, 7.5.5, in the order in which GCT writes them.

        Deleting and renaming a file (``d``, ``f``) depend on its directory, and GCT does not tell
        of them; of a directory it does.
        """
        key = (kind, mode, uid, gid)
        letters = self._known.get(key)
        if letters is None:
            if len(self._known) >= MAX_CACHED:
                self._known.clear()
            letters = self._known[key] = self._letters(kind, mode, uid, gid)
        return letters

    def _letters(self, kind: EntryType, mode: int, uid: int, gid: int) -> str:
        if self.uid == uid:
            bits = mode >> 6
        elif gid in self.groups:
            bits = mode >> 3
        else:
            bits = mode
        readable, writable, enterable = bits & 4, bits & 2, bits & 1
        if kind is EntryType.FILE:
            return ("aw" if writable else "") + ("r" if readable else "")
        if kind is not EntryType.DIRECTORY or not enterable:
            return ""
        return ("cfmp" if writable else "") + "e" + ("l" if readable else "")
