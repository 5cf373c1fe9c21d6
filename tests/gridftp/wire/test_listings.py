import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import (
    EntryType,
    format_time,
    parse_fact_line,
    parse_status_line,
    parse_time,
)

GCT = (
    b"Type=file;Modify=20261124175543;Size=1475;Perm=awr;UNIX.mode=0644;UNIX.owner=root;UNIX.uid=0;"
    b"UNIX.group=users;UNIX.gid=0;Unique=fe00-224035; "
)
names = st.binary(min_size=1, max_size=60).filter(
    lambda name: not set(name) & set(b"\r\n\0/") and name not in (b".", b"..")
)


@given(names)
def test_every_name_survives(name: bytes) -> None:
    entry = parse_fact_line(GCT + name)
    assert entry.name.encode("utf-8", "surrogateescape") == name


def test_facts() -> None:
    entry = parse_fact_line(GCT + b"; odd = name; ")
    assert entry.name == "; odd = name; "
    assert (entry.type, entry.size, entry.mode) == (EntryType.FILE, 1475, 0o644)
    assert (entry.owner, entry.group, entry.perm) == ("root", "users", "awr")
    assert entry.unique == "fe00-224035"
    assert format_time(entry.modified or 0) == "20261124175543"


def test_link_pipe_and_unknown_types() -> None:
    link = parse_fact_line(b"Type=dir;UNIX.slink=/data/real; link")
    assert link.is_directory
    assert link.link_target == "/data/real"
    assert parse_fact_line(b"Type=OS.unix=pipe;Size=0; p").type is EntryType.OTHER


@pytest.mark.parametrize("name", [b"../x", b"/etc/passwd", b"..", b".", b"", b"a/b", b"a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(GCT + name)
    assert caught.value.kind is Kind.PROTOCOL


@pytest.mark.parametrize("name", [b"/a", b"a/../b", b"..", b"a//b", b"./a", b"a/", b""])
def test_a_relative_path_that_leads_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(GCT + name, relative_paths=True)
    assert caught.value.kind is Kind.PROTOCOL


def test_relative_and_absolute_names_where_they_belong() -> None:
    assert parse_fact_line(GCT + b"a/b/..c", relative_paths=True).name == "a/b/..c"
    assert parse_status_line(GCT + b"/a/b").name == "/a/b"
    assert parse_fact_line(b"Type=cdir; /a/b").type is EntryType.LISTED_DIRECTORY


@pytest.mark.parametrize("line", [b"second half of a name", b"", b"half; name"])
def test_half_names_are_told(line: bytes) -> None:
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(line)
    assert caught.value.kind is Kind.INVALID_NAME


@pytest.mark.parametrize(
    "line", [b"Type=file;Size=x; n", b"Type=file;Modify=2026; n", b"Type=file;UNIX.mode=9; n"]
)
def test_garbled_facts_are_told(line: bytes) -> None:
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(line)
    assert caught.value.kind is Kind.PROTOCOL


@given(st.binary(max_size=120))
def test_garbage_raises_only_our_error(line: bytes) -> None:
    for relative_paths in (False, True):
        try:
            parse_fact_line(line, relative_paths=relative_paths)
        except GridFTPError:
            continue


@given(st.integers(0, 253402300799))
def test_times_read_back(unix_s: int) -> None:
    assert parse_time(format_time(unix_s)) == unix_s
