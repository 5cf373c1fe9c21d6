"""Properties of every wire value: written and read back, in any portions, and never fooled."""

import random
import string
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.blocks import EOD, EOF, Accounting, BlockHeader
from towpath.gridftp.wire.features import Features, parse_features
from towpath.gridftp.wire.listings import (
    Entry,
    EntryType,
    format_time,
    parse_fact_line,
    parse_status_line,
)
from towpath.gridftp.wire.markers import (
    LONGEST_LIST,
    PerformanceMarker,
    parse_performance,
    parse_ranges,
    parse_restart,
)
from towpath.gridftp.wire.numbers import LARGEST, parse_unsigned
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.replies import LineSplitter, Reply, ReplyReader

T = TypeVar("T")
sizes = st.integers(0, LARGEST)
ranges = st.tuples(sizes, sizes).map(lambda pair: ByteRange(min(pair), max(pair)))
raw_names = st.binary(min_size=1, max_size=60).filter(
    lambda name: not set(name) & set(b"\r\n\0/") and name not in (b".", b"..")
)
garbage = st.binary(max_size=400) | st.lists(
    st.sampled_from(
        [b"250", b"250-", b"250 ", b"550-", b"150-x", b"63", b" ", b"\r\n", b"\n", b"\r", b"\0",
         b"Type=file;", b"Size=", b"; ", b"=", b";", b"-1", b"9" * 30, b"\xff", b"1,2,3,4,5,6",
         b"112-", b"Stripe Bytes Transferred:", b"111 Range Marker ", b"0-5,", "１".encode()]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def attempted(call: Callable[[], T]) -> T | GridFTPError:
    """The result, or the one kind of error that may come of a peer's or a caller's text."""
    try:
        return call()
    except GridFTPError as error:
        return error


# -- commands

BUILDERS: dict[str, Callable[[str], str]] = {
    "STOR ": commands.stor,
    "RETR ": commands.retr,
    "ESTO A 7 ": lambda path: commands.esto(path, 7),
    "ERET P 7 3 ": lambda path: commands.eret(path, ByteRange(7, 10)),
    "CKSM SHA256 7 3 ": lambda path: commands.cksm(path, "SHA256", ByteRange(7, 10)),
    "MFMT 19700101000001 ": lambda path: commands.mfmt(path, 1),
    "SITE UTIME 19700101000001 ": lambda path: commands.utime(path, 1),
    "MLST ": commands.mlst,
    "MLSC ": commands.mlsc,
    "MLSD ": commands.mlsd,
    "MLSR ": commands.mlsr,
    "MKD ": commands.mkd,
    "RMD ": commands.rmd,
    "DELE ": commands.dele,
    "RNFR ": commands.rnfr,
    "RNTO ": commands.rnto,
    "SIZE ": commands.size,
    "MDTM ": commands.mdtm,
    "CWD ": commands.cwd,
    "SITE RDEL ": commands.rdel,
    "SITE CHMOD 0640 ": lambda path: commands.chmod(path, 0o640),
    "SITE CHGRP users ": lambda path: commands.chgrp(path, "users"),
    "SITE SYMLINKFROM ": commands.symlink_from,
    "SITE SYMLINKTO ": commands.symlink_to,
    "SITE TRNC 7 ": lambda path: commands.truncate(path, 7),
}


@pytest.mark.parametrize("head", BUILDERS)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda t: t.encode("utf-8", "replace")))
def test_a_path_is_sent_as_its_bytes_or_not_at_all(head: str, raw: bytes) -> None:
    line = attempted(lambda: commands.encode_line(BUILDERS[head](text(raw))))
    if isinstance(line, GridFTPError):
        assert line.kind is Kind.INVALID_NAME
        dots = head == "CWD " and any(part.startswith(b"..") for part in raw.split(b"/"))
        assert not raw or set(raw) & set(b"\r\n\0") or raw[:1] in b" \t" or dots
    else:
        assert line == head.encode() + raw


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
@pytest.mark.parametrize("path", ["/" + "d" * 4095, "/" + "é" * 2048, "/" + "\udcff" * 4095])
def test_a_path_that_servers_would_cut_is_not_sent(builder, path: str) -> None:
    with pytest.raises(GridFTPError) as caught:
        builder(path)
    assert caught.value.kind is Kind.INVALID_NAME
    builder(path[: len(path) // 2])
    if "é" not in path:
        builder(path[:-1])


@given(st.text(max_size=100))
def test_a_line_is_one_line(line: str) -> None:
    for ascii_only in (False, True):
        encoded = attempted(partial(commands.encode_line, line, ascii_only=ascii_only))
        if isinstance(encoded, GridFTPError):
            assert encoded.kind is Kind.INVALID_NAME
        else:
            assert not set(encoded) & set(b"\r\n\0")
            assert encoded.decode() == line
            assert not ascii_only or line.isascii()


@pytest.mark.parametrize(
    "build",
    [
        lambda: commands.chgrp("/f", "a b"),
        lambda: commands.chgrp("/f", ""),
        lambda: commands.chmod("/f", 0o10000),
        lambda: commands.chmod("/f", -1),
        lambda: commands.truncate("/f", -1),
        lambda: commands.task_id("a\nDELE b"),
        lambda: commands.client_info('a";appver="', "1"),
        lambda: commands.scks("MD5", "00;x"),
        lambda: commands.scks("M D5", "00"),
        lambda: commands.storattr_expected(0, "00;modify=1"),
        lambda: commands.cksm("/f", "MD5 0 1"),
    ],
)
def test_arguments_that_would_be_several(build: Callable[[], str]) -> None:
    with pytest.raises(ValueError, match=r"not|negative|quote"):
        build()


def test_a_rule_that_would_be_a_command() -> None:
    with pytest.raises(GridFTPError):
        commands.restrict("RW/\r\nDELE /f")


# -- numbers


@given(sizes)
def test_numbers_read_back(number: int) -> None:
    assert parse_unsigned(str(number)) == number


@given(st.text(max_size=30) | st.text(string.digits, max_size=6000))
def test_what_is_no_number(written: str) -> None:
    try:
        number = parse_unsigned(written)
    except ValueError:
        digits = bool(written) and set(written) <= set(string.digits)
        assert not digits or len(written) > 19 or int(written) > LARGEST
    else:
        assert 0 <= number <= LARGEST
        assert int(written) == number


# -- listings

_TYPE_NAMES = {kind: kind.value for kind in EntryType} | {EntryType.OTHER: "OS.unix=pipe"}


def written(entry: Entry) -> bytes:
    """As GCT writes an entry."""
    facts = [f"Type={_TYPE_NAMES[entry.type]}", f"Size={entry.size}"]
    if entry.modified is not None:
        facts.append(f"Modify={format_time(entry.modified)}")
    facts.append(f"Perm={entry.perm}")
    if entry.mode is not None:
        facts.append(f"UNIX.mode={entry.mode:04o}")
    for key, value in (("UNIX.owner", entry.owner), ("UNIX.group", entry.group)):
        if value is not None:
            facts.append(f"{key}={value}")
    if entry.unique is not None:
        facts.append(f"Unique={entry.unique}")
    if entry.link_target is not None:
        target = entry.link_target.encode("utf-8", "surrogateescape")
        facts.append("UNIX.slink=" + quote(target, safe="/"))
    return (";".join(facts) + "; " + entry.name).encode("utf-8", "surrogateescape")


words = st.text(string.ascii_letters + string.digits + "-_$", min_size=1, max_size=20)
entries = st.builds(
    Entry,
    raw_names.map(text),
    st.sampled_from([EntryType.FILE, EntryType.DIRECTORY, EntryType.OTHER]),
    sizes,
    st.none() | st.integers(-(2**31), 253402300799),
    st.none() | st.integers(0, 0o7777),
    st.none() | words,
    st.none() | words,
    st.text("awrcfmpel", max_size=6),
    st.none() | st.binary(min_size=1, max_size=40).map(text),
    st.none() | words,
)


@given(entries)
def test_entries_read_back(entry: Entry) -> None:
    assert parse_fact_line(written(entry)) == entry
    assert parse_status_line(written(entry)) == entry


@given(st.lists(entries, max_size=6), st.data())
def test_a_listing_in_any_portions(listing: list[Entry], data: st.DataObject) -> None:
    stream = b"".join(written(entry) + b"\r\n" for entry in listing)
    splitter = LineSplitter()
    lines: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        lines += splitter.feed(stream[:size])
        stream = stream[size:]
    assert [parse_fact_line(line) for line in lines] == listing


@given(garbage)
def test_garbage_is_no_entry(line: bytes) -> None:
    for parse in (
        parse_fact_line,
        parse_status_line,
        partial(parse_fact_line, relative_paths=True),
    ):
        entry = attempted(partial(parse, line))
        assert isinstance(entry, GridFTPError) or 0 <= entry.size <= LARGEST


@pytest.mark.parametrize(
    "fact", ["Size=-5", "Size=1_0", "Size=+1", "Size=１", "Size=" + "9" * 19, "Size=" + "9" * 5000,
             "UNIX.mode=-7", "UNIX.mode=0o7", "UNIX.mode=" + "7" * 99, "Modify=20260230000000"]
)  # fmt: skip
def test_facts_that_are_none(fact: str) -> None:
    with pytest.raises(GridFTPError) as caught:
        parse_fact_line(f"Type=file;{fact}; n".encode())
    assert caught.value.kind is Kind.PROTOCOL


def test_the_target_of_a_link_is_unescaped() -> None:
    entry = parse_fact_line(b"Type=dir;UNIX.slink=/a%3B%20b/%25/%C3%A9/%FF; l; x")
    assert (entry.name, entry.link_target) == ("l; x", "/a; b/%/é/\udcff")


# -- replies


@given(st.lists(garbage, max_size=5))
def test_garbage_in_any_portions_gives_the_same_replies(portions: list[bytes]) -> None:
    whole, split, by_byte = ReplyReader(), ReplyReader(), ReplyReader()
    stream = b"".join(portions)
    expected = whole.feed(stream)
    assert [reply for portion in portions for reply in split.feed(portion)] == expected
    assert [r for i in range(len(stream)) for r in by_byte.feed(stream[i : i + 1])] == expected
    assert {split.skipped, by_byte.skipped} == {whole.skipped}
    for reply in expected:
        assert 100 <= reply.code < 700


@pytest.mark.parametrize(
    "endless",
    [
        b"x",
        b"250-\r\n",
        b" \r\n",
        b"\n",
        b"250-" + b"y" * 1000 + b"\r\n",
        b"250-a\r\n b\r\n",
        b"nonsense\r\n",
    ],
)
def test_no_endless_text_fills_the_memory(endless: bytes) -> None:
    """What may be kept of one reply: 4 MiB as the reader counts, and what Python adds."""
    portion = endless * (65536 // len(endless) + 1)
    reader = ReplyReader()
    reader.feed(b"250-begins\r\n" if not endless.startswith(b"n") else b"")

    def flood() -> None:
        for _ in range(2000):
            reader.feed(portion)

    tracemalloc.start()
    try:
        with pytest.raises(GridFTPError) as caught:
            flood()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert caught.value.kind is Kind.PROTOCOL


# -- blocks


@given(
    st.lists(
        st.builds(
            BlockHeader,
            st.integers(0, 255),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1) | st.integers(0, 4),
        ),
        max_size=12,
    )
)
def test_no_headers_confuse_the_accounting(headers: list[BlockHeader]) -> None:
    accounting = Accounting()
    for header in headers:
        refused = attempted(partial(accounting.take, header))
        if refused is not None:
            assert refused.kind is Kind.PROTOCOL
            return
    announced = [header.offset for header in headers if header.descriptor & EOF]
    ends = sum(bool(header.descriptor & EOD) for header in headers)
    assert accounting.complete == (announced == [ends])


@pytest.mark.parametrize("descriptor", [EOF, EOF | EOD])
def test_an_end_of_no_connections(descriptor: int) -> None:
    with pytest.raises(GridFTPError):
        Accounting().take(BlockHeader(descriptor, 0, 0))


# -- markers, ranges, features, addresses


@given(
    st.builds(PerformanceMarker, st.integers(0, 2**40).map(lambda n: n / 10), sizes, sizes, sizes)
)
def test_performance_markers_read_back(marker: PerformanceMarker) -> None:
    (reply,) = ReplyReader().feed(
        f"112-Perf Marker\r\n Timestamp:  {marker.timestamp_s}\r\n Stripe Index: {marker.stripe}"
        f"\r\n Stripe Bytes Transferred: {marker.stripe_bytes}\r\n"
        f" Total Stripe Count: {marker.stripes}\r\n112 End.\r\n".encode()
    )
    assert parse_performance(reply) == marker


@given(st.lists(ranges, max_size=8).map(RangeSet))
def test_restart_markers_read_back(present: RangeSet) -> None:
    if not len(present):
        return
    (reply,) = ReplyReader().feed(f"111 Range Marker {present}\r\n".encode())
    assert parse_restart(reply) == present
    assert commands.rest(present) == f"REST {present}"


@given(garbage)
def test_garbage_is_no_marker(data: bytes) -> None:
    for code in (111, 112):
        for reply in (Reply(code, (b"", data, b"")), Reply(code, (b"Range Marker " + data,))):
            parse_restart(reply)
            marker = parse_performance(reply)
            assert marker is None or 0 <= marker.stripe_bytes <= LARGEST
    with suppress(ValueError):
        parse_ranges(text(data))


@pytest.mark.parametrize("value", ["-5", "1_0", "１", "9" * 5000, "inf", ""])
def test_progress_that_is_none(value: str) -> None:
    reply = Reply.of(112, "Perf Marker", f"Stripe Bytes Transferred: {value}", "End.")
    assert parse_performance(reply) is None


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_time_that_is_none(value: str) -> None:
    reply = Reply.of(112, "", f"Timestamp: {value}", "Stripe Bytes Transferred: 1", "")
    assert parse_performance(reply) is None


def test_a_list_of_ranges_has_an_end() -> None:
    """In the worst order, so that each is put in front of all others."""
    many = ",".join(f"{at}-{at + 1}" for at in range(16_000, 0, -2))
    assert len(many) > LONGEST_LIST
    with pytest.raises(ValueError, match="too long"):
        parse_ranges(many)


feature_names = st.text(string.ascii_uppercase, min_size=1, max_size=8).filter(
    lambda name: name != "CKSM"
)


@given(
    st.dictionaries(feature_names, st.text(string.ascii_letters + " ,;*=.", max_size=20)),
    st.dictionaries(words.map(str.upper), st.integers(0, 99), max_size=6),
    st.randoms(),
)
def test_features_read_back(values: dict[str, str], checksums: dict[str, int], chance) -> None:
    """Names, parameters, and the algorithms in the order of their numbers."""
    items = list(checksums.items())
    chance.shuffle(items)
    cksm = "".join(f"{name}:{rank};" for name, rank in items)
    lines = [f" {name} {parameters}" for name, parameters in values.items()]
    lines.insert(random.Random(1).randrange(len(lines) + 1), f" CKSM {cksm}")
    wire = "211-Extensions supported\r\n" + "\r\n".join(lines) + "\r\n211 End.\r\n"
    (reply,) = ReplyReader().feed(wire.encode())
    features = parse_features(reply)
    assert {name: features.values[name] for name in values} == {
        name: parameters.strip() for name, parameters in values.items()
    }
    assert sorted(features.checksums) == sorted(checksums)
    ranks = [checksums[name] for name in features.checksums]
    assert ranks == sorted(ranks)


@given(st.lists(garbage, max_size=5))
def test_garbage_gives_features_of_some_kind(lines: list[bytes]) -> None:
    found = parse_features(Reply(211, (b"", *lines, b"")))
    assert isinstance(found, Features)
    assert isinstance(found.dcsc, bool)


def test_a_preference_of_five_thousand_digits() -> None:
    reply = Reply.of(211, "", f"CKSM MD5:{'9' * 5000};SHA256:1;SHA1:-1;", "End")
    assert parse_features(reply).checksums == ("SHA256", "MD5", "SHA1")


addresses = st.builds(HostPort, st.ip_addresses(v=4).map(str), st.integers(1, 65535))


@given(st.lists(addresses, min_size=1, max_size=5))
def test_striped_addresses_read_back(hosts: list[HostPort]) -> None:
    wire = "229-Entering Striped Passive Mode.\r\n"
    wire += "".join(f" {host}\r\n" for host in hosts) + "229 End\r\n"
    (reply,) = ReplyReader().feed(wire.encode())
    assert parse_passive(reply) == hosts
    assert [commands.port(host) for host in hosts] == [f"PORT {host}" for host in hosts]


@given(st.sampled_from([227, 229, 200, 500]), st.lists(garbage, min_size=1, max_size=4))
def test_garbage_is_no_address(code: int, lines: list[bytes]) -> None:
    found = attempted(lambda: parse_passive(Reply(code, tuple(lines))))
    if isinstance(found, GridFTPError):
        assert found.kind is Kind.PROTOCOL
    else:
        assert all(0 < address.port < 65536 for address in found)
