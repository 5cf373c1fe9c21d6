"""Sync levels: what is there already."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.sync import Decision, decide

few = st.integers(0, 2)
times = st.none() | few
entries = st.builds(
    Entry,
    name=st.just("f"),
    type=st.sampled_from([EntryType.FILE, EntryType.DIRECTORY, EntryType.OTHER]),
    size=few,
    modified=times,
)
files = entries.map(lambda entry: entry._replace(type=EntryType.FILE))


@given(files, st.none() | entries)
def test_a_higher_level_copies_what_a_lower_one_does(source: Entry, there: Entry | None) -> None:
    decisions = [decide(level, source, there) for level in range(4)]
    copies = [decision is Decision.COPY for decision in decisions]
    assert copies == sorted(copies)
    assert Decision.COMPARE not in decisions[:3]
    assert Decision.SKIP not in decisions[3:], "equal facts are no proof at the highest level"


@given(files, entries, st.integers(0, 3))
def test_only_a_file_is_there_already(source: Entry, there: Entry, level: int) -> None:
    copied = decide(level, source, there) is Decision.COPY
    if there.type is not EntryType.FILE:
        assert copied
    else:
        newer = None in (source.modified, there.modified) or source.modified > there.modified  # type: ignore[operator]
        assert copied == ((level >= 1 and source.size != there.size) or (level >= 2 and newer))


@pytest.mark.parametrize("level", range(4))
def test_what_is_missing_is_copied(level: int) -> None:
    assert decide(level, Entry("f", EntryType.FILE), None) is Decision.COPY
