import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, HEADER_BYTES, Accounting, BlockHeader
from towpath.gridftp.wire.features import common_checksum, parse_features
from towpath.gridftp.wire.markers import parse_performance, parse_ranges, parse_restart
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.replies import Reply, ReplyReader


@given(st.integers(0, 255), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_headers_read_back(descriptor: int, length: int, offset: int) -> None:
    header = BlockHeader(descriptor, length, offset)
    assert len(header.encode()) == HEADER_BYTES == 17
    assert BlockHeader.decode(header.encode()) == header


@given(st.integers(1, 8), st.lists(st.integers(0, 1000), max_size=10), st.randoms())
def test_complete_exactly_when_all_connections_ended(streams: int, sizes, random) -> None:
    ends = [BlockHeader(EOD, 0, 0)] * (streams - 1) + [BlockHeader(EOF | EOD, 0, streams)]
    random.shuffle(ends)
    accounting = Accounting()
    for size in sizes:
        accounting.take(BlockHeader(0, size, 0))
    for number, end in enumerate(ends):
        assert not accounting.complete, number
        accounting.take(end)
    assert accounting.complete
    assert accounting.received_bytes == sum(sizes)


def test_last_data_may_carry_the_end() -> None:
    accounting = Accounting()
    accounting.take(BlockHeader(EOF, 0, 1))
    accounting.take(BlockHeader(EOD | CLOSE, 7, 0))
    assert accounting.complete
    assert accounting.received_bytes == 7


@pytest.mark.parametrize(
    "headers",
    [
        [BlockHeader(EOF, 0, 2), BlockHeader(EOF, 0, 2)],
        [BlockHeader(EOF | EOD, 0, 1), BlockHeader(EOD, 0, 0)],
        [BlockHeader(EOF, 3, 1)],
    ],
)
def test_contradictions_are_refused(headers: list[BlockHeader]) -> None:
    accounting = Accounting()
    for header in headers[:-1]:
        accounting.take(header)
    with pytest.raises(GridFTPError):
        accounting.take(headers[-1])


def test_performance_marker_of_gct() -> None:
    (reply,) = ReplyReader().feed(
        b"112-Perf Marker\r\n Timestamp:  1795543066.7\r\n Stripe Index: 0\r\n"
        b" Stripe Bytes Transferred: 50000000\r\n Total Stripe Count: 1\r\n112 End.\r\n"
    )
    marker = parse_performance(reply)
    assert marker is not None
    assert (marker.timestamp_s, marker.stripe_bytes, marker.stripes) == (1795543066.7, 50000000, 1)


def test_restart_marker_of_gct() -> None:
    assert parse_restart(Reply.of(111, "Range Marker 0-10000,20000-30000")) == RangeSet(
        [ByteRange(0, 10000), ByteRange(20000, 30000)]
    )


@given(st.text(max_size=60))
def test_garbled_markers_are_no_markers(text: str) -> None:
    assert parse_performance(Reply(112, (text.encode("utf-8", "replace"),))) is None
    parse_restart(Reply(111, (b"Range Marker " + text.encode("utf-8", "replace"),)))
    assert parse_restart(Reply(111, (b"Range Marker x-1",))) is None


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "5-1", "1-2,", "²-3"])
def test_what_is_no_range_list(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_ranges(text)


def test_features_of_gct() -> None:
    (reply,) = ReplyReader().feed(
        b"211-Extensions supported\r\n CKSM MD5:10;ADLER32:10;SHA1:10;SHA256:9;SHA512:12;\r\n"
        b" DSI file-13.24\r\n STORATTR\r\n DCSC P,D\r\n MFMT\r\n MLSR\r\n MLSC\r\n"
        b" PARALLEL\r\n211 End.\r\n"
    )
    features = parse_features(reply)
    assert features.checksums == ("SHA256", "MD5", "ADLER32", "SHA1", "SHA512")
    assert features.dcsc
    assert features.mlsc
    assert features.mlsr
    assert features.storattr
    assert features.mfmt
    assert features.parallel
    assert "dsi" in features
    assert "SPAS" not in features


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        (["MD5:1;SHA256:2;BLAKE3:3;", "BLAKE3:1;SHA256:2;"], "BLAKE3"),
        (["MD5:1;SHA256:2;", "BLAKE3:1;XXH128:1;SHA256:2;MD5:3;"], "SHA256"),
        (["XXH128:1;MD5:2;", "XXH128:1;MD5:2;"], "MD5"),
        (["MD5:1;", "SHA256:2;"], None),
    ],
)
def test_the_checksum_that_two_servers_are_asked_for(
    offers: list[str], expected: str | None
) -> None:
    features = [parse_features(Reply.of(211, "", f"CKSM {offer}", "End")) for offer in offers]
    assert common_checksum(features) == expected


def test_a_server_without_features() -> None:
    features = parse_features(Reply.of(211, "none"))
    assert not features.values
    assert features.checksums == ()
    assert not features.dcsc


def test_sessions_of_one_server_share_its_features_unless_they_are_long() -> None:
    short, long = [" MLSC"], [f" FEATURE{number} {'x' * 100}" for number in range(100)]
    for lines, shared in ((short, True), (long, False)):
        one, other = (parse_features(Reply.of(211, "", *lines, "End")) for _ in range(2))
        assert one == other
        assert len(one.values) == len(lines)
        assert (one is other) == shared
