"""Whole listings at once: what `parse_fact_line` says of each line, only faster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType, parse_fact_line, parse_fact_lines

GOOD: dict[str, str] = {
    "Type": "file",
    "Modify": "20260115103059",
    "Size": "42",
    "UNIX.mode": "0644",
    "UNIX.owner": "root",
    "UNIX.group": "users",
    "Perm": "awr",
    "UNIX.slink": "/data/real",
    "Unique": "fe00-1",
    "UNIX.uid": "0",
    "X.count": "2",
}
ODD: dict[str, list[str]] = {
    "Type": ["dir", "FILE", "cdir", "CDIR", "pdir", "OS.unix=pipe", "slink", ""],
    "Modify": [
        "20260230000000",
        "20260115999999",
        "20260115103059.5",
        "",
        "2026",
        "2026011510305\u0660",
    ],
    "Size": ["0", "9" * 18, str(2**63), "9" * 20, "", "-1", "+1", "1_0", " 1", "\u0660"],
    "UNIX.mode": ["4755", "", "9", "-1", "00000000644"],
    "UNIX.owner": ["", "a b", "\udcff", "a\rb"],
    "UNIX.group": [""],
    "Perm": [""],
    "UNIX.slink": ["", "/with%20blank", "%zz", "a=b", "/a\rb"],
    "Unique": [""],
    "UNIX.uid": ["x"],
    "X.count": [""],
}
ODD_NAMES = [b"a; b", b".", b"..", b"a\r", b"a\nb", b"a/b", b" f", b"", b"\xff", b"a\0", b"a\rb"]
KEYS = st.lists(st.sampled_from(sorted(GOOD)), unique=True, max_size=11)


@st.composite
def lines(draw: st.DrawFn, usual: list[str]) -> bytes:
    """One line, in which at most a few things are odd."""
    odd = draw(st.sets(st.sampled_from([*GOOD, "facts", "name", "end"]), max_size=1))
    keys = draw(st.one_of(KEYS, st.just([*usual, *usual]))) if "facts" in odd else usual
    text = "".join(
        f"{key}={draw(st.sampled_from(ODD[key])) if key in odd else GOOD[key]};" for key in keys
    )
    name = draw(st.sampled_from(ODD_NAMES)) if "name" in odd else b"f"
    end = draw(st.sampled_from([b"\n", b"\r\r\n"])) if "end" in odd else b"\r\n"
    return text.encode("utf-8", "surrogateescape") + b" " + name + end


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    usual = draw(st.one_of(st.just(["Type", "Modify", "Size"]), KEYS))
    return b"".join(draw(st.lists(lines(usual), max_size=5)))


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


def test_one_odd_line_among_good_ones() -> None:
    good = "".join(f"{key}={value};" for key, value in GOOD.items())
    heads = [
        good.replace(f"{key}={GOOD[key]};", f"{key}={value};")
        for key, values in ODD.items()
        for value in values
    ]
    odd = [head.encode("utf-8", "surrogateescape") + b" f\r\n" for head in heads]
    odd += [good.encode() + b" " + name + b"\r\n" for name in ODD_NAMES]
    for line in odd:
        for block in (line, good.encode() + b" a\r\n" + line, line + good.encode() + b" z\r\n"):
            assert at_once(block, "d/") == line_by_line(block, "d/")


@pytest.mark.parametrize("modify", ["20260115103059", "20260230103059", "x"])
@pytest.mark.parametrize("size", ["1", "-1", "9" * 20])
@pytest.mark.parametrize("kind", ["cdir", "pdir", "dir", "Cdir"])
@pytest.mark.parametrize(
    "end", [" .\r\n", " ..\n", " .\r\r\n", " /a\r\n", "X.count=3; .\r\n", " .x\r\n"]
)
def test_the_directory_itself(modify: str, size: str, kind: str, end: str) -> None:
    head = f"Type={kind};Modify={modify};Size={size};{end}".encode()
    for block in (head + head + b"Type=file;Modify=20260115103059;Size=1; f\r\n", head):
        assert at_once(block, "d/") == line_by_line(block, "d/")


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
