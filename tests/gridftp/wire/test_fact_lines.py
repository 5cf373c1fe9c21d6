"""Whole listings at once: what `parse_fact_line` says of each line, only faster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType, parse_fact_line, parse_fact_lines

VALUES: dict[str, st.SearchStrategy[str]] = {
    "Type": st.sampled_from(
        ["file", "dir", "FILE", "cdir", "CDIR", "pdir", "OS.unix=pipe", "slink", ""]
    ),
    "Modify": st.one_of(
        st.sampled_from(["20260115103059", "20260230000000", "20260115999999", "20260115103059.5"]),
        st.sampled_from(["", "2026", "2026011510305\u0661"]),
    ),
    "Size": st.one_of(
        st.integers(0, 10**25).map(str), st.sampled_from(["", "-1", "+1", "1_0", " 1", "\u0661"])
    ),
    "UNIX.mode": st.sampled_from(["0644", "4755", "", "9", "-1", "00000000644"]),
    "UNIX.owner": st.sampled_from(["root", "", "a b", "\udcff"]),
    "UNIX.group": st.sampled_from(["users", ""]),
    "Perm": st.sampled_from(["awr", ""]),
    "UNIX.slink": st.sampled_from(["/data/real", "", "/with%20blank", "%zz", "a=b"]),
    "Unique": st.sampled_from(["fe00-1", ""]),
    "UNIX.uid": st.sampled_from(["0", "x"]),
    "X.count": st.just("2"),
}
NAMES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"f", b"a; b", b".", b"..", b"a\r", b"a\nb", b"a/b", b" f", b"", b"\xff"]),
)
KEYS = st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=7)
USUAL = ["Type", "Modify", "Size"]


@st.composite
def facts(draw: st.DrawFn, keys: list[str]) -> bytes:
    text = "".join(f"{key}={draw(VALUES[key])};" for key in keys)
    return text.encode("utf-8", "surrogateescape")


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    usual = draw(st.one_of(st.just(USUAL), KEYS))
    lines = []
    for _ in range(draw(st.integers(0, 6))):
        keys = draw(st.sampled_from([usual, usual, usual, draw(KEYS), [*usual, *usual]]))
        end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r\r\n"]))
        lines.append(draw(facts(keys)) + b" " + draw(NAMES) + end)
    return b"".join(lines)


def line_by_line(block: bytes, prefix: str) -> list[Entry] | tuple[Kind, str]:
    entries = []
    try:
        for line in block.split(b"\n")[:-1]:
            entry = parse_fact_line(line.removesuffix(b"\r"), where="w")
            if entry.type not in (EntryType.LISTED_DIRECTORY, EntryType.PARENT_DIRECTORY):
                entries.append(entry._replace(name=prefix + entry.name))
    except GridFTPError as error:
        return error.kind, str(error)
    return entries


def at_once(block: bytes, prefix: str) -> list[Entry] | tuple[Kind, str]:
    try:
        return parse_fact_lines(block, where="w", prefix=prefix)
    except GridFTPError as error:
        return error.kind, str(error)


@given(listings(), st.sampled_from(["", "d/"]))
def test_a_listing_reads_as_its_lines_do(block: bytes, prefix: str) -> None:
    assert at_once(block, prefix) == line_by_line(block, prefix)


@given(st.binary(max_size=200))
def test_so_does_garbage(garbage: bytes) -> None:
    block = garbage + b"\n"
    assert at_once(block, "") == line_by_line(block, "")


def test_the_usual_listing() -> None:
    block = (
        b"Type=cdir;Modify=20260101000000;Size=9;X.count=4; .\r\n"
        b"Type=pdir;Modify=20260101000000;Size=9; ..\r\n"
        b"Type=file;Modify=19700101000001;Size=7; f\r\n"
        b"Type=dir;Modify=19700101010203;Size=9;UNIX.slink=/b%2fc; link\r\n"
        b"Type=dir;Modify=19700101000002;Size=9; d\r\n"
    )
    assert parse_fact_lines(block, prefix="a/") == [
        Entry("a/f", EntryType.FILE, 7, 1),
        Entry("a/link", EntryType.DIRECTORY, 9, 3723, link_target="/b/c"),
        Entry("a/d", EntryType.DIRECTORY, 9, 2),
    ]
    assert parse_fact_lines(b"") == []


def test_half_a_line_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="not whole"):
        parse_fact_lines(b"Type=file; f\r\nType=file; g")
