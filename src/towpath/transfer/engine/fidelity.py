"""What a directory's listing says about what its copy will lack."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer import names
from towpath.transfer.engine.context import join
from towpath.transfer.fidelity import MEANING, Finding, Findings, Kind
from towpath.transfer.store.events import Event, EventCode

NAMES_KEPT: Final = 20_000
"""Of one directory, to see which are alike: about 5 MB. What is beyond is told as unseen."""

_IN_MOST_TREES: Final = frozenset({Kind.MODES})
"""Somewhere there is an executable: alone it is told in the report, but makes no event."""

_SPECIAL_BITS: Final = 0o7000
_EXECUTE_BITS: Final = 0o111
_BITS_OF_OWNER: Final = 0o700
_BITS_OF_OTHERS: Final = 0o077


class DirectoryFindings:
    """Looks at the entries of one directory that take part in a transfer."""

    def __init__(self, path: str) -> None:
        """`path` is the directory's at the source."""
        self._path = path
        self.found = Findings()
        self._alike: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._names: int | None = None
        self._listed = 0

    def count(self, names: int) -> None:
        """What the server says how many names there are."""
        self._names = names

    def listed(self, entries: Sequence[Entry]) -> None:
        """It lists these, whether they take part or not."""
        self._listed += len(entries)

    def all_listed(self) -> None:
        """Take note of what it does not list."""
        if self._names is None:
            self.found.unseen(Kind.UNLISTED_NAMES)
        elif (missing := self._names - self._listed) > 0:
            path = names.to_text(self._path)
            self.found.note(Kind.UNLISTED_NAMES, path, f"{missing} names", times=missing)

    def note(self, kind: Kind, name: str, details: str = "") -> None:
        """Found one."""
        self.found.note(kind, names.to_text(join(self._path, name)), details)

    def look(self, entries: Iterable[Entry]) -> None:
        """Take note of what of them is lost."""
        for entry in entries:
            self._look(entry)

    def _look(self, entry: Entry) -> None:
        self._look_for_collisions(entry.name)
        if entry.link_target is not None:
            return
        if entry.type is EntryType.OTHER:
            self.note(Kind.SPECIAL_FILES, entry.name)
            return
        self.look_at_mode(entry)
        if not entry.is_directory:
            self._look_for_hard_links(entry)

    def look_at_mode(self, entry: Entry) -> None:
        """The part of it that is true of what a link points to, too."""
        if entry.mode is None:
            self.found.unseen(Kind.MODES)
            self.found.unseen(Kind.PRIVATE)
            return
        shown = f"mode {entry.mode & 0o7777:04o}"
        lost = _SPECIAL_BITS if entry.is_directory else _SPECIAL_BITS | _EXECUTE_BITS
        if entry.mode & lost:
            self.note(Kind.MODES, entry.name, shown)
        if entry.mode & _BITS_OF_OWNER and not entry.mode & _BITS_OF_OTHERS:
            self.note(Kind.PRIVATE, entry.name, shown)

    def _look_for_collisions(self, name: str) -> None:
        other = self._first(self._alike, as_others_see_it(name), name, Kind.NAME_COLLISIONS)
        if other is not None:
            self.note(Kind.NAME_COLLISIONS, name, f"like {names.to_text(other)}")

    def _look_for_hard_links(self, entry: Entry) -> None:
        if entry.unique is None:
            self.found.unseen(Kind.HARD_LINKS)
            return
        other = self._first(self._files, entry.unique, entry.name, Kind.HARD_LINKS)
        if other is not None:
            self.note(Kind.HARD_LINKS, entry.name, f"the same file as {names.to_text(other)}")

    def _first(self, seen: dict[str, str], key: str, name: str, kind: Kind) -> str | None:
        """The name that was there with this key before."""
        other = seen.get(key)
        if other is None:
            if len(seen) < NAMES_KEPT:
                seen[key] = name
            else:
                self.found.unseen(kind)
        return other


def as_others_see_it(name: str) -> str:
    """What two names have in common that a destination may take for one."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def fidelity_event(found: Mapping[Kind, Finding]) -> Event | None:
    """What is told at the end of a task, if more was not carried over than nearly always."""
    lost = {kind: finding for kind, finding in found.items() if finding.count}
    if not lost.keys() - _IN_MOST_TREES:
        return None
    return Event(
        EventCode.FIDELITY,
        "not everything could be carried over",
        {
            "not_carried_over": [_told(*one) for one in lost.items()],
            "advice": "The task's fidelity report has more of the paths.",
        },
    )


def _told(kind: Kind, finding: Finding) -> dict[str, Any]:
    path, details = finding.examples[0]
    such_as = f"{path} ({details})" if details else path
    return {"count": finding.count, "what": MEANING[kind], "such_as": such_as}
