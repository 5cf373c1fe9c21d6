"""Replies as a server writes them are read as they are meant, whatever is in them."""

import errno
import string
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import answers
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.answers import FactLines
from towpath.gridftp.wire.features import parse_features
from towpath.gridftp.wire.listings import EntryType, parse_fact_line, parse_status_line
from towpath.gridftp.wire.numbers import LARGEST
from towpath.gridftp.wire.replies import Reply, ReplyReader


def read(wire: bytes) -> Reply:
    """As our client reads it: exactly one reply, with nothing left and nothing passed over."""
    reader = ReplyReader()
    (reply,) = reader.feed(wire)
    assert not reader.inside
    assert not reader.skipped
    return reply


texts = st.text(max_size=60) | st.binary(max_size=60)


@given(st.integers(100, 599), texts)
def test_no_text_makes_two_replies_of_one(code: int, text: str | bytes) -> None:
    try:
        wire = answers.reply(code, text)
    except UnicodeEncodeError:
        return
    reply = read(wire)
    assert reply.code == code
    raw = text.encode() if isinstance(text, str) else text
    if b"\r" not in raw and b"\n" not in raw:
        assert reply.raw == (raw,)


@given(st.integers(400, 599), st.lists(st.binary(max_size=60), min_size=1, max_size=5))
def test_blocks_of_any_text_are_one_reply(code: int, lines: list[bytes]) -> None:
    reply = read(answers.block(code, *lines))
    assert (reply.code, len(reply.raw)) == (code, len(lines) + 1)


# -- refusals

MEANT = {
    errno.ENOENT: (550, Kind.NOT_FOUND),
    errno.EACCES: (550, Kind.PERMISSION_DENIED),
    errno.EPERM: (550, Kind.PERMISSION_DENIED),
    errno.EROFS: (550, Kind.PERMISSION_DENIED),
    errno.EISDIR: (550, Kind.IS_A_DIRECTORY),
    errno.ENOTDIR: (550, Kind.NOT_A_DIRECTORY),
    errno.EEXIST: (553, Kind.EXISTS),
    errno.ENOTEMPTY: (451, Kind.NOT_EMPTY),
    errno.ENOSPC: (552, Kind.NO_SPACE),
    errno.EDQUOT: (552, Kind.QUOTA),
    errno.EIO: (451, Kind.STORAGE),
    errno.ESTALE: (451, Kind.STORAGE),
    errno.ELOOP: (550, Kind.NOT_FOUND),
    errno.ENAMETOOLONG: (553, Kind.INVALID_NAME),
    errno.ENOTSUP: (504, Kind.UNSUPPORTED),
}


@pytest.mark.parametrize("number", MEANT, ids=errno.errorcode.get)
def test_a_storage_s_error_is_understood_by_our_client(number: int) -> None:
    reply = read(answers.storage_refusal(OSError(number, "text of ours"), "open"))
    assert (reply.code, classify(reply, where="").kind) == MEANT[number]
    assert "text of ours" not in reply.text
    assert f"GridFTP-Errno: {number}\n" in reply.text


def test_an_error_without_a_number() -> None:
    assert read(answers.storage_refusal(OSError("odd"), "open")).code == 451


@pytest.mark.parametrize(
    "kind",
    [Kind.CHANNEL_GONE, Kind.DATA_REFUSED, Kind.DATA_BROKEN, Kind.DATA_AUTH],
)
def test_a_data_channel_s_error_is_understood_by_our_client(kind: Kind) -> None:
    reply = read(answers.data_failure(GridFTPError(kind, "it went\r\n226 wrong", "")))
    assert classify(reply, where="").kind is kind


@pytest.mark.parametrize("kind", [Kind.STALLED, Kind.TIMEOUT, Kind.PROTOCOL])
def test_what_the_other_end_did_not_do_is_a_broken_channel(kind: Kind) -> None:
    reply = read(answers.data_failure(GridFTPError(kind, "data connection timed out", "")))
    assert classify(reply, where="").kind is Kind.DATA_BROKEN


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_an_answer(kind: Kind) -> None:
    assert 400 <= read(answers.data_failure(GridFTPError(kind, "x", ""))).code < 600


def test_the_other_refusals() -> None:
    assert classify(read(answers.path_not_allowed()), where="").kind is Kind.PATH_NOT_ALLOWED
    wrong = read(answers.wrong_checksum("aa", "bb"))
    assert classify(wrong, where="").kind is Kind.CHECKSUM_MISMATCH
    assert "GridFTP-Computed-Checksum: aa\nGridFTP-Expected-Checksum: bb" in wrong.text
    assert read(answers.aborted()).code == 426


# -- addresses, features

addresses = st.builds(HostPort, st.ip_addresses(v=4).map(str), st.integers(1, 65535))


@given(addresses)
def test_passive_addresses_read_back(address: HostPort) -> None:
    assert parse_passive(read(answers.passive(address))) == [address]
    assert read(answers.passive(address, delayed=True)).code == 127
    assert read(answers.extended_passive(address.port)).text.endswith(f"(|||{address.port}|)")


@given(st.lists(addresses, min_size=1, max_size=5))
def test_striped_addresses_read_back(hosts: list[HostPort]) -> None:
    assert parse_passive(read(answers.striped_passive(hosts))) == hosts


def test_features_read_back() -> None:
    features = parse_features(read(answers.features(("SHA256", "MD5", "BLAKE3"), FactLines())))
    assert features.checksums == ("SHA256", "MD5", "BLAKE3")
    assert features.dcsc
    assert features.mlsc
    assert features.mlsr
    assert features.storattr
    assert features.mfmt
    assert features.parallel


# -- facts


@dataclass
class Status:
    type: str
    size: int = 0
    modified: int = 0
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    owner: str = "root"
    group: str = "root"
    unique: str = "1-2"
    links: int = 1
    link_target: bytes | None = None
    perm: str = "awr"


raw_names = st.binary(min_size=1, max_size=60).filter(
    lambda name: not set(name) & set(b"\r\n\0/") and name not in (b".", b"..")
)
words = st.text(string.ascii_letters + string.digits + "-_$é", min_size=1, max_size=20)
statuses = st.builds(
    Status,
    st.sampled_from(["file", "dir", "other"]),
    st.integers(0, LARGEST),
    st.integers(-(2**31), 253402300799),
    st.integers(0, 0o7777),
    st.integers(0, 2**32),
    st.integers(0, 2**32),
    words,
    words,
    words,
    st.integers(1, 100),
    st.none() | st.binary(min_size=1, max_size=40),
    st.text("awrcfmpel", max_size=6),
)


@given(raw_names, statuses)
def test_facts_read_back(name: bytes, status: Status) -> None:
    line = FactLines().line(name, status)
    for entry in (parse_fact_line(line), parse_status_line(line)):
        assert entry.name.encode("utf-8", "surrogateescape") == name
        assert entry.type == status.type
        assert entry.size == status.size
        assert entry.modified == status.modified
        assert entry.mode == status.mode
        assert (entry.owner, entry.group) == (status.owner, status.group)
        assert entry.perm == status.perm
        assert entry.unique == status.unique
        target = entry.link_target
        told = None if target is None else target.encode("utf-8", "surrogateescape")
        assert told == status.link_target


@given(raw_names, statuses, st.sets(st.sampled_from(sorted(answers.DEFAULT_FACTS))))
def test_only_the_facts_that_are_wanted(name: bytes, status: Status, wanted: set[str]) -> None:
    line = FactLines(wanted).line(name, status)
    facts, _, found = line.partition(b" ")
    told = {fact.partition(b"=")[0].decode().lower() for fact in facts.split(b";") if fact}
    links = set() if status.link_target else {"unix.slink"}
    assert told == wanted - links
    assert found == name


def test_the_order_and_the_form_are_those_of_gct() -> None:
    status = Status("file", 1475, 1795542943, 0o644, unique="fe00-224035", perm="r")
    assert FactLines().line(b"name", status) == (
        b"Type=file;Modify=20261124175543;Size=1475;Perm=r;UNIX.mode=0644;UNIX.owner=root;"
        b"UNIX.uid=0;UNIX.group=root;UNIX.gid=0;Unique=fe00-224035; name"
    )
    head = FactLines({"type", "size"}).head(EntryType.LISTED_DIRECTORY, b".", Status("dir", 4096))
    assert head == b"Type=cdir;Size=4096; ."


@pytest.mark.parametrize("year", [-(2**40), 2**40])
def test_times_that_have_no_year_of_four_digits(year: int) -> None:
    entry = parse_fact_line(FactLines().line(b"n", Status("file", modified=year)))
    assert entry.modified is not None


def test_an_account_s_name_ends_no_fact() -> None:
    line = FactLines().line(b"n", Status("file", owner="a;Type=dir\r\n226 x"))
    assert parse_fact_line(line).type is EntryType.FILE
    assert b"\n" not in line


@given(raw_names, statuses)
def test_lines_for_people_are_one_line(name: bytes, status: Status) -> None:
    line = answers.list_line(name, status)
    assert b"\n" not in line
    assert line.endswith(b" " + name)


def test_the_offer_tells_what_is_chosen() -> None:
    assert FactLines({"type", "size"}).offer().startswith("Type*;Size*;Modify;Perm;Charset;")
