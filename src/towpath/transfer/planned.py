"""What a plan says of a transfer, or of a delete, entry by entry: what would be done, why, what was
there. Pure.

The facts are what an entry is told apart by when the plan is applied: what is something else by
then is left alone.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from towpath.gridftp.wire.listings import Entry, EntryType


class Action(StrEnum):
    """What would be done about an entry."""

    COPY = "copy"
    OVERWRITE = "overwrite"
    SKIP = "skip"
    MAKE_DIRECTORY = "make_directory"
    MAKE_LINK = "make_link"
    DELETE = "delete"
    FAULT = "fault"


class Reason(StrEnum):
    """Why. Of a fault it is the code of the event that a task would have."""

    NEW = "new"  # nothing is there
    ALL = "no_sync_level"  # without a sync level everything is copied
    DIFFERS = "differs"  # as the sync level compares
    SAME = "same"
    FILTER = "filter"
    LINK_IGNORED = "link_ignored"
    LINK_NOT_FOLLOWED = "link_not_followed"
    SPECIAL = "special_file"
    SHARED = "shared_with_source"
    THROUGH_LINK = "through_link"  # what comes goes into what the link leads to
    REPLACES = "replaces"  # a link whatever is there, but no file or directory
    EXTRA = "extra"
    IN_THE_WAY = "in_the_way"
    LINKED = "linked"  # links of the source lead there
    UNSURE = "unsure"  # the source does not list all names
    NOT_ALL_READ = "not_all_read"  # the source could not be read everywhere
    ASKED = "asked"  # of a delete: it was named, or is in what was
    MISSING = "missing"  # of a delete that ignores it
    HOLDS_MORE = "holds_more"  # something that is in it stays


MEANING: Final = {
    Reason.NEW: "Nothing is there.",
    Reason.ALL: "It is there; without a sync level everything is copied.",
    Reason.DIFFERS: "It is there, and the sync level says that it differs.",
    Reason.SAME: "It is there, and the sync level says that it need not be copied.",
    Reason.FILTER: "A filter rule excludes it.",
    Reason.LINK_IGNORED: "Links are ignored.",
    Reason.LINK_NOT_FOLLOWED: "The link cannot be copied as what it points to.",
    Reason.SPECIAL: "It is a pipe, socket or device.",
    Reason.SHARED: "Source and destination are one and the same there.",
    Reason.THROUGH_LINK: "A link to a directory is there: what comes goes into that directory.",
    Reason.REPLACES: "A link is there; unless it is the same one, it is replaced.",
    Reason.EXTRA: "It is not at the source.",
    Reason.IN_THE_WAY: "It is of another type than at the source.",
    Reason.LINKED: "Links of the source lead there: it may be all there is.",
    Reason.UNSURE: "The source does not list all names of this directory; extras of it stay.",
    Reason.NOT_ALL_READ: "Not everything could be read at the source: nothing extra is deleted.",
    Reason.ASKED: "You asked for it, or for a directory that it is in.",
    Reason.MISSING: "It is not there, and that is no matter.",
    Reason.HOLDS_MORE: "Something that is in it stays, so it cannot go.",
}


class Facts(NamedTuple):
    """What an entry is told apart by."""

    type: str
    size: int | None
    """None for what is no file."""
    modified: int | None
    target: str | None
    """Of a link."""

    @property
    def is_real_directory(self) -> bool:
        """Whether it is a directory, and no link to one."""
        return self.type == EntryType.DIRECTORY and self.target is None


class Planned(NamedTuple):
    """One line of a plan. `path` is below its item's paths."""

    item_no: int
    path: str
    action: Action
    reason: str
    here: Facts | None = None
    """What is at the source; of what is in the way, what would come into its place."""
    there: Facts | None = None
    """What is where the task writes, or deletes."""
    details: str = ""
    above: int = 0
    """A directory so many levels above the item's destination."""


def facts(entry: Entry | None) -> Facts | None:
    """Of what a server tells; of directories neither size nor time, which change with what is in
    them."""
    if entry is None:
        return None
    if entry.type is not EntryType.FILE:
        # a directory that is asked for by name may call itself the listed one
        kind = EntryType.DIRECTORY if entry.is_directory else entry.type
        return Facts(kind, None, None, entry.link_target)
    return Facts(entry.type, entry.size, entry.modified, entry.link_target)


def changed(entry: Planned, here: Entry | None, there: Entry | None) -> str | None:
    """What has become of an entry that was planned; None: it is as it was.

    A directory that was to be made and is there has what it needs; a link to one leads elsewhere.
    """
    if entry.here is not None and facts(here) != entry.here:
        return "the source is not there any more" if here is None else "the source has changed"
    now = facts(there)
    made = entry.action is Action.MAKE_DIRECTORY and now is not None and now.is_real_directory
    if now == entry.there or made:
        return None
    if entry.there is None:
        return "something is at the destination by now"
    return "the destination has changed" if now is not None else "the destination is gone"


def removable(entry: Planned, there: Entry) -> bool:
    """Whether what was to be deleted is still that. A link goes, and not what it points to, so that
    may have changed: the same task may have written it."""
    now = facts(there)
    assert now is not None, "it is there"
    if entry.there is not None and entry.there.target is not None:
        return now.target == entry.there.target
    return now == entry.there
