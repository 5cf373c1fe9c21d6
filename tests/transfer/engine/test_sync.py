"""Sync levels: what is there already."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.sync import Decision, decide

few = st.integers(0, 2)
names = st.sampled_from(["a", "b", "c"])
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


COPY, SKIP, COMPARE = Decision.COPY, Decision.SKIP, Decision.COMPARE
SOURCE = Entry("f", EntryType.FILE, 5, 100)
TABLE = [
    # what is at the destination                         level 0  level 1  level 2  level 3
    (None, (COPY, COPY, COPY, COPY)),
    (Entry("f", EntryType.DIRECTORY, 5, 100), (COPY, COPY, COPY, COPY)),
    (Entry("f", EntryType.OTHER, 5, 100), (COPY, COPY, COPY, COPY)),
    (Entry("f", EntryType.FILE, 6, 100), (SKIP, COPY, COPY, COPY)),
    (Entry("f", EntryType.FILE, 5, 99), (SKIP, SKIP, COPY, COPY)),
    (Entry("f", EntryType.FILE, 5, None), (SKIP, SKIP, COPY, COPY)),
    (Entry("f", EntryType.FILE, 5, 100), (SKIP, SKIP, SKIP, COMPARE)),
    (Entry("f", EntryType.FILE, 5, 101), (SKIP, SKIP, SKIP, COMPARE)),
]


@pytest.mark.parametrize(("there", "decisions"), TABLE)
@pytest.mark.parametrize("level", range(4))
def test_the_whole_table(there: Entry | None, decisions: tuple[Decision, ...], level: int) -> None:
    assert decide(level, SOURCE, there) is decisions[level]
    timeless = decide(level, SOURCE._replace(modified=None), there)
    assert timeless is (COPY if level >= 2 else decisions[level]), "an unknown time is newer"


@dataclass
class Version:
    """A file as it is: its contents are a number."""

    content: int
    size: int
    modified: int

    def entry(self, *, tells_times: bool) -> Entry:
        return Entry("f", EntryType.FILE, self.size, self.modified if tells_times else None)


class Syncing(RuleBasedStateMachine):
    """Two directories that are written by others, and brought together now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.contents = 0
        self.here: dict[str, Version] = {}
        self.there: dict[str, Version] = {}

    def _new(self, size: int) -> Version:
        self.now += 1
        self.contents += 1
        return Version(self.contents, size, self.now)

    @rule(name=names, size=few, at_source=st.booleans())
    def write(self, name: str, size: int, at_source: bool) -> None:
        (self.here if at_source else self.there)[name] = self._new(size)

    @rule(name=names, age=few)
    def set_the_time_back(self, name: str, age: int) -> None:
        for files in (self.here, self.there):
            if name in files:
                files[name].modified -= age

    @rule(name=names, at_source=st.booleans())
    def remove(self, name: str, at_source: bool) -> None:
        (self.here if at_source else self.there).pop(name, None)

    @rule(level=st.integers(0, 3), preserve=st.booleans(), times=st.tuples(*[st.booleans()] * 2))
    def sync(self, level: int, preserve: bool, times: tuple[bool, bool]) -> None:
        before = {name: replace(file) for name, file in self.there.items()}
        self._pass(level, preserve, times)
        for name, file in self.here.items():
            there, kept = self.there[name], self.there[name] == before.get(name)
            if level >= 1:
                assert there.size == file.size
            if level >= 2 and all(times):
                assert there.modified >= file.modified
            if level == 3:
                assert there.content == file.content
            assert kept or there.content == file.content, "what is copied is the source's"
            assert not preserve or kept or there.modified == file.modified
        assert self.there.keys() == before.keys() | self.here.keys(), "extras stay"
        if level < 2 or all(times):
            assert self._pass(level, preserve, times) == 0, "the second time there is nothing to do"

    def _pass(self, level: int, preserve: bool, times: tuple[bool, bool]) -> int:
        copied = 0
        for name, file in self.here.items():
            there = self.there.get(name)
            decision = decide(
                level,
                file.entry(tells_times=times[0]),
                None if there is None else there.entry(tells_times=times[1]),
            )
            if decision is COMPARE:
                assert level == 3
                assert there is not None
                decision = SKIP if there.content == file.content else COPY
            if decision is COPY:
                self.now += 1
                modified = file.modified if preserve else self.now
                self.there[name] = replace(file, modified=modified)
                copied += 1
        return copied


TestSyncing = Syncing.TestCase
TestSyncing.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
