"""Fidelity: what a transfer cannot carry over, as kinds, counts and examples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final, NamedTuple

EXAMPLES_MAX: Final = 100
"""Of each kind and task: enough to see what it is about, and a few tens of kilobytes."""


class Kind(StrEnum):
    """What may be lost."""

    LINKS_IGNORED = auto()
    LINKS_NOT_FOLLOWED = auto()
    LINKS_NOT_MADE = auto()
    LINKS_OUTSIDE = auto()
    UNLISTED_NAMES = auto()
    SHARED_WITH_SOURCE = auto()
    SPECIAL_FILES = auto()
    MODES = auto()
    PRIVATE = auto()
    HARD_LINKS = auto()
    SPARSE_FILES = auto()
    NAME_COLLISIONS = auto()
    IMPOSSIBLE_NAMES = auto()


class Known(StrEnum):
    """How much a count says."""

    EXACT = auto()
    AT_LEAST = auto()
    NOT_KNOWN = auto()


MEANING: Final[Mapping[Kind, str]] = {
    Kind.LINKS_IGNORED: "symbolic links that were left out, because recursive_symlinks is 'ignore'",
    Kind.LINKS_NOT_FOLLOWED: "symbolic links whose targets were not copied",
    Kind.LINKS_NOT_MADE: "symbolic links that could not be made at the destination",
    Kind.LINKS_OUTSIDE: "symbolic links that point out of the tree: they were made as they are, and"
    " may mean something else at the destination",
    Kind.UNLISTED_NAMES: "names that the source's server counts and does not list: symbolic links"
    " that point to nothing, and what it cannot look at",
    Kind.SHARED_WITH_SOURCE: "files and directories that were left as they are, because source and"
    " destination, on one server, are the same there, or links of the source lead there",
    Kind.SPECIAL_FILES: "pipes, sockets and devices: they are not copied",
    Kind.MODES: "files and directories with permission bits that were not carried over: executable"
    " files, and set-user-id, set-group-id and sticky bits",
    Kind.PRIVATE: "files and directories that only their owner may use at the source: at the"
    " destination they have the permissions that it gives to new ones",
    Kind.HARD_LINKS: "further names of files that have several names in one directory: each was"
    " copied as a file of its own",
    Kind.SPARSE_FILES: "files with holes: servers do not tell of them, and holes arrive as zeros",
    Kind.NAME_COLLISIONS: "names that differ from another in their directory only in case or in"
    " Unicode form: where the destination does not tell such names apart, one file replaced the"
    " other",
    Kind.IMPOSSIBLE_NAMES: "directories that hold names which GridFTP cannot carry, such as names"
    " with a line break",
}

NEVER_CARRIED: Final = (
    "owner and group",
    "permission bits",
    "access control lists and extended attributes",
    "times of directories",
)
TIMES_OF_FILES: Final = "times of files"
"""Besides, unless `preserve_timestamp` is set."""


class Example(NamedTuple):
    """One of what was found. Both as the API shows them."""

    path: str
    """At the source."""
    details: str


@dataclass(slots=True)
class Finding:
    """How often something was found. `unseen` entries could not be looked at for it."""

    count: int = 0
    unseen: int = 0
    examples: list[Example] = field(default_factory=list)


class Findings(dict[Kind, Finding]):
    """What was found, by kind; a kind that is missing was found nowhere."""

    def note(self, kind: Kind, path: str, details: str = "", *, times: int = 1) -> None:
        """Found one, or several in one place."""
        finding = self.setdefault(kind, Finding())
        finding.count += times
        if len(finding.examples) < EXAMPLES_MAX:
            finding.examples.append(Example(path, details))

    def unseen(self, kind: Kind) -> None:
        """Could not look at one."""
        self.setdefault(kind, Finding()).unseen += 1


def known(kind: Kind, finding: Finding) -> Known:
    """What a count means at the end of a task."""
    if kind is Kind.SPARSE_FILES:
        return Known.NOT_KNOWN
    if finding.unseen:
        return Known.AT_LEAST if finding.count else Known.NOT_KNOWN
    # Names of one file in several directories are not looked for.
    return Known.AT_LEAST if kind is Kind.HARD_LINKS else Known.EXACT
