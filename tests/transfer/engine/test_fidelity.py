"""What a listing says about what a copy will lack."""

from itertools import product

import pytest

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine import fidelity
from towpath.transfer.engine.fidelity import DirectoryFindings, as_others_see_it, fidelity_event
from towpath.transfer.fidelity import EXAMPLES_MAX, Example, Finding, Kind, Known, known


def counts(*entries: Entry) -> dict[Kind, int]:
    findings = DirectoryFindings("/s")
    findings.look(entries)
    return {kind: finding.count for kind, finding in findings.found.items() if finding.count}


def file(name: str, mode: int | None = 0o644, unique: str | None = None) -> Entry:
    return Entry(name, EntryType.FILE, mode=mode, unique=unique or name)


def directory(name: str, mode: int) -> Entry:
    return Entry(name, EntryType.DIRECTORY, mode=mode)


def test_nothing_is_found_where_nothing_is() -> None:
    assert counts(file("a"), file("b", 0o640), directory("c", 0o755), directory("d", 0o750)) == {}
    assert fidelity_event(DirectoryFindings("/s").found) is None


@pytest.mark.parametrize(
    ("entry", "kinds"),
    [
        (file("x", 0o755), {Kind.MODES}),
        (file("x", 0o4644), {Kind.MODES}),
        (file("x", 0o600), {Kind.PRIVATE}),
        (file("x", 0), set()),
        (file("x", 0o700), {Kind.MODES, Kind.PRIVATE}),
        (directory("x", 0o1777), {Kind.MODES}),
        (directory("x", 0o2775), {Kind.MODES}),
        (directory("x", 0o700), {Kind.PRIVATE}),
        (Entry("x", EntryType.OTHER, mode=0o644), {Kind.SPECIAL_FILES}),
        (Entry("x", EntryType.FILE, mode=0o700, link_target="/y"), set()),
    ],
)
def test_each_kind(entry: Entry, kinds: set[Kind]) -> None:
    assert counts(entry) == dict.fromkeys(kinds, 1)


def test_names_and_files_that_are_alike() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    alike = ("STRASSE", "stra\u00dfe", composed, decomposed, "CAF\u00c9", "other")
    assert counts(*map(file, alike)) == {Kind.NAME_COLLISIONS: 3}
    assert counts(file("a", unique="1"), file("b", unique="1"), file("c", unique="1")) == {
        Kind.HARD_LINKS: 2
    }
    for one, two in product((composed, decomposed, "CAFE\u0301"), repeat=2):
        assert as_others_see_it(one) == as_others_see_it(two)
    assert as_others_see_it("\udce9") == "\udce9", "bytes that are no UTF-8"


def test_what_a_server_does_not_tell_is_not_known() -> None:
    findings = DirectoryFindings("/s")
    findings.look([Entry("a", EntryType.FILE), Entry("b", EntryType.FILE)])
    for kind in (Kind.MODES, Kind.PRIVATE, Kind.HARD_LINKS):
        assert known(kind, findings.found[kind]) is Known.NOT_KNOWN
    findings.look([file("c", 0o700, "1"), file("d", 0o700, "1")])
    for kind in (Kind.MODES, Kind.PRIVATE, Kind.HARD_LINKS):
        assert known(kind, findings.found[kind]) is Known.AT_LEAST
    assert known(Kind.MODES, Finding()) is Known.EXACT


def test_names_that_are_not_listed() -> None:
    findings = DirectoryFindings("/s")
    findings.count(5)
    findings.listed([file("a"), file("b")])
    findings.listed([file("c")])
    findings.all_listed()
    unlisted = findings.found[Kind.UNLISTED_NAMES]
    assert (unlisted.count, unlisted.examples) == (2, [Example("/s", "2 names")])
    assert known(Kind.UNLISTED_NAMES, unlisted) is Known.EXACT
    uncounted = DirectoryFindings("/s")
    uncounted.listed([file("a")])
    uncounted.all_listed()
    assert known(Kind.UNLISTED_NAMES, uncounted.found[Kind.UNLISTED_NAMES]) is Known.NOT_KNOWN


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "NAMES_KEPT", 10)
    findings = DirectoryFindings("/s")
    findings.look([file(f"{number}", 0o755) for number in range(EXAMPLES_MAX + 20)])
    modes = findings.found[Kind.MODES]
    assert (modes.count, len(modes.examples)) == (EXAMPLES_MAX + 20, EXAMPLES_MAX)
    assert findings.found[Kind.HARD_LINKS].unseen == EXAMPLES_MAX + 10
    assert known(Kind.HARD_LINKS, findings.found[Kind.HARD_LINKS]) is Known.NOT_KNOWN


def test_the_event_names_what_and_where() -> None:
    lost = {
        Kind.SPECIAL_FILES: Finding(1, 0, [Example("/s/pipe", "")]),
        Kind.MODES: Finding(1200, 0, [Example("/s/run.sh", "mode 0755")]),
        Kind.HARD_LINKS: Finding(0, 7, []),
    }
    event = fidelity_event(lost)
    assert event is not None
    assert isinstance(event.details, dict)
    special, modes = event.details["not_carried_over"]
    assert (special["count"], special["such_as"]) == (1, "/s/pipe")
    assert special["what"].startswith("pipes")
    assert (modes["count"], modes["such_as"]) == (1200, "/s/run.sh (mode 0755)")


def test_executables_alone_make_no_event() -> None:
    assert fidelity_event({Kind.MODES: Finding(1, 0, [Example("/s/run.sh", "mode 0755")])}) is None
