"""What a plan says of entries, and how many it may have."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.context import Options, TaskFaultError
from towpath.transfer.engine.faults import Consequence
from towpath.transfer.engine.planning import Batch, check_room
from towpath.transfer.engine.sync import Decision
from towpath.transfer.planned import Action, Planned, Reason, changed, facts, removable
from towpath.transfer.store.events import EventCode

FILE = Entry("f", EntryType.FILE, 5, 100)
DIRECTORY = Entry("f", EntryType.DIRECTORY, 4096, 100)
LINK = FILE._replace(link_target="/t")
ENTRIES = st.builds(
    Entry,
    st.just("f"),
    st.sampled_from((EntryType.FILE, EntryType.DIRECTORY, EntryType.OTHER)),
    st.integers(0, 3),
    st.integers(0, 3) | st.none(),
    link_target=st.none() | st.sampled_from(("/t", "/u")),
)


def planned(
    entry: Entry,
    there: Entry | None,
    *,
    decision: Decision = Decision.COPY,
    taken: bool = True,
    followed: bool = True,
    wanted: bool = True,
    gone: bool = False,
    **options: Any,
) -> list[Planned]:
    def named(given: bool) -> set[str]:
        return {"f"} if given else set()

    return Batch(
        1,
        lambda name: f"d/{name}",
        Options.from_document(options),
        [entry],
        {"f": there},
        taken=named(taken),
        followed=named(followed),
        wanted=named(wanted),
        decisions={"f": decision},
        gone=named(gone),
    ).planned()


@pytest.mark.parametrize(
    ("entry", "there", "more", "action", "reason"),
    [
        (FILE, None, {}, Action.COPY, Reason.NEW),
        (FILE, FILE, {}, Action.OVERWRITE, Reason.ALL),
        (FILE, FILE, {"sync_level": 1}, Action.OVERWRITE, Reason.DIFFERS),
        (FILE, FILE, {"sync_level": 1, "decision": Decision.SKIP}, Action.SKIP, Reason.SAME),
        (FILE, DIRECTORY, {}, Action.FAULT, EventCode.IS_A_DIRECTORY),
        (FILE, DIRECTORY, {"gone": True}, Action.COPY, Reason.NEW),
        (FILE, None, {"taken": False}, Action.SKIP, Reason.FILTER),
        (FILE, FILE, {"wanted": False}, Action.SKIP, Reason.SHARED),
        (DIRECTORY, None, {}, Action.MAKE_DIRECTORY, Reason.NEW),
        (DIRECTORY, FILE, {}, Action.FAULT, EventCode.NOT_A_DIRECTORY),
        (FILE._replace(type=EntryType.OTHER), None, {}, Action.SKIP, Reason.SPECIAL),
        (LINK, None, {"followed": False}, Action.SKIP, Reason.LINK_IGNORED),
        (
            LINK,
            None,
            {"followed": False, "recursive_symlinks": "copy"},
            Action.SKIP,
            Reason.LINK_NOT_FOLLOWED,
        ),
        (
            LINK,
            None,
            {"followed": False, "recursive_symlinks": "keep"},
            Action.MAKE_LINK,
            Reason.NEW,
        ),
        (
            LINK,
            LINK,
            {"followed": False, "recursive_symlinks": "keep"},
            Action.MAKE_LINK,
            Reason.REPLACES,
        ),
        (
            LINK,
            FILE,
            {"followed": False, "recursive_symlinks": "keep"},
            Action.FAULT,
            EventCode.ENDPOINT_ERROR,
        ),
        (
            LINK,
            FILE,
            {"followed": False, "recursive_symlinks": "keep", "sync_level": 0},
            Action.SKIP,
            Reason.SAME,
        ),
    ],
)
def test_what_would_be_done(
    entry: Entry, there: Entry | None, more: dict[str, Any], action: Action, reason: str
) -> None:
    [one] = planned(entry, there, **more)
    assert (one.action, one.reason, one.path) == (action, reason, "d/f")


def test_a_directory_that_is_there_needs_nothing() -> None:
    assert planned(DIRECTORY, DIRECTORY) == []
    [one] = planned(DIRECTORY, DIRECTORY._replace(link_target="/t"))
    assert (one.action, one.reason) == (Action.SKIP, Reason.THROUGH_LINK)


def test_what_the_server_says_cannot_be_read_is_told() -> None:
    for perm, doubtful in (("w", True), ("", True), ("rw", False), (None, False)):
        [one] = planned(FILE._replace(perm=perm), None)
        assert (one.action, bool(one.details)) == (Action.COPY, doubtful)
    [one] = planned(FILE._replace(perm="r"), FILE._replace(perm="r"))
    assert (one.action, "may not write" in one.details) == (Action.OVERWRITE, True)


@given(ENTRIES, ENTRIES | st.none(), ENTRIES | st.none(), ENTRIES | st.none())
def test_what_is_as_it_was_is_done_and_nothing_else(
    here: Entry, there: Entry | None, here_now: Entry | None, there_now: Entry | None
) -> None:
    one = Planned(1, "f", Action.COPY, Reason.NEW, facts(here), facts(there))
    assert changed(one, here, there) is None
    same = facts(here_now) == facts(here) and facts(there_now) == facts(there)
    assert (changed(one, here_now, there_now) is None) == same


def test_a_directory_that_was_made_meanwhile_is_as_good() -> None:
    one = Planned(1, "f", Action.MAKE_DIRECTORY, Reason.NEW, facts(DIRECTORY), None)
    assert changed(one, DIRECTORY, DIRECTORY) is None
    assert changed(one, DIRECTORY, FILE) is not None
    assert changed(one, DIRECTORY, DIRECTORY._replace(link_target="/t")) is not None
    assert changed(one, None, None) is not None
    listed = DIRECTORY._replace(type=EntryType.LISTED_DIRECTORY, size=9)
    assert changed(one, listed, listed) is None, "asked for by name it may be called otherwise"


def test_a_link_goes_whatever_has_become_of_what_it_points_to() -> None:
    one = Planned(1, "f", Action.DELETE, Reason.EXTRA, None, facts(LINK))
    assert removable(one, LINK._replace(size=9))
    assert not removable(one, LINK._replace(link_target="/u"))
    assert not removable(one, FILE)
    assert not removable(one._replace(there=facts(FILE)), FILE._replace(size=9))


def test_a_plan_has_a_limit() -> None:
    context: Any = SimpleNamespace(planned_entries=0, settings=SimpleNamespace(plan_entries=3))
    check_room(context, 3)
    with pytest.raises(TaskFaultError) as caught:
        check_room(context, 1)
    assert caught.value.verdict.consequence is Consequence.FAIL_TASK
    assert caught.value.verdict.event.code is EventCode.PLAN_TOO_LARGE
